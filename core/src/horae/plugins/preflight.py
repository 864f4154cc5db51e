"""Import a plugin in a child process first, so that what ends or stops a process ends that one.

``horae.child.preflight`` is the program: it imports the plugin and asks for its contribution, as
the host does afterwards, and activates nothing.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs

from horae.plugins.discovery import BUILTIN_DISTRIBUTION, Candidate
from horae.plugins.loader import Refused
from horae.stores.base import Store
from horae_hookspecs import HostView

PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); order = json.loads(sys.argv[2]); "
    "from horae.child.preflight import main; del sys.argv[1:]; main(**order)"
)
"""Not ``-m``: only this finds horae, and the plugin, wherever this process does."""

START: Final = 60.0
"""Seconds that the child has to start, before the plugin's own time begins."""

GRACE: Final = 2.0
"""Seconds beyond the plugin's own until the child is killed; by itself it ends in time."""

LOOK: Final = 0.05
"""Seconds between looks at whether the child lives, where its pipes do not tell."""

MAX_WRITTEN: Final = 32 * 1024
MAX_LINES: Final = 8

DUMP: Final = re.compile(r"^(Fatal Python error: |Timeout \()", re.MULTILINE)
THREAD: Final = re.compile(r"^(?:Current thread|Thread) .*$", re.MULTILINE)
FRAME: Final = re.compile(r'File "(?!<frozen)(.+)", line (\d+) in (.+)')


class Preflight:
    """The preflight of one host: of code that it has not loaded before, this time or earlier.

    ``seconds`` is how long the import may take; 0 does without.
    """

    def __init__(self, store: Store, host: HostView, seconds: float) -> None:
        self._store = store
        self._host = host
        self._seconds = seconds
        self._seen: set[str | None] = set()

    def check(self, candidate: Candidate, ahead: Path | None = None) -> None:
        """Import an unknown plugin elsewhere first; one that is not installed lies in the folder
        ``ahead``. Raises Refused, as ``attempt``.
        """
        if self._seconds and not self._knows(candidate):
            attempt(candidate, self._seconds, ahead)

    def note(self, candidate: Candidate) -> None:
        """These files were loaded, and all went well."""
        self._seen.add(candidate.record)

    def _knows(self, candidate: Candidate) -> bool:
        """Never an editable install, whose RECORD tells nothing of its sources."""
        if candidate.distribution == BUILTIN_DISTRIBUTION:
            return True
        if candidate.record is None or not candidate.files:
            return False
        rows = self._store.plugin_rows(self._host.name)
        stored = {row.record for row in rows if row.plugin == candidate.name}
        return candidate.record in self._seen | stored


def attempt(candidate: Candidate, seconds: float, ahead: Path | None = None) -> None:
    """Refuse a plugin that cannot be imported in a child process within ``seconds``, with the
    folder ``ahead`` of the others on its path.

    Raises Refused with what became of the child: error, exit, signal or hang, and the last that
    it wrote.
    """
    with _child(candidate, seconds, ahead) as child:
        child.listen(seconds)
    problem = _problem(child, seconds)
    if problem is not None:
        raise Refused(f"in a child process {problem}{_last_words(child.written)}")


@attrs.define
class _Child:
    process: "subprocess.Popen[bytes]"
    answers: int
    answered: bytes = b""
    raw: bytes = b""
    late: bool = False

    @property
    def written(self) -> str:
        """The last of what it wrote to its standard output and error."""
        return self.raw.decode(errors="replace")

    @property
    def verdict(self) -> dict[str, Any] | None:
        """What it found, if it came to say so."""
        lines = self.answered.splitlines()
        found: dict[str, Any] | None = (
            json.loads(lines[1]) if self.answered.count(b"\n") > 1 else None
        )
        return found

    def listen(self, seconds: float) -> None:
        """Hear it out, until it has a verdict, or has ended, or its time is over."""
        assert self.process.stdout is not None
        open_ends = {self.answers, self.process.stdout.fileno()}
        begun, until = False, time.monotonic() + START
        while time.monotonic() < until:
            ended = self.verdict is not None or self._ended()
            ready = select.select(open_ends, (), (), 0 if ended else LOOK)[0]
            for end in ready:
                if not self._read(end):
                    open_ends.discard(end)
            if ended and not ready:
                return
            if not begun and self.answered:
                begun, until = True, time.monotonic() + seconds + GRACE
        self.late = True

    def _read(self, end: int) -> bytes:
        text = os.read(end, 65536)
        if end == self.answers:
            self.answered += text
        else:
            self.raw = (self.raw + text)[-MAX_WRITTEN:]
        return text

    def _ended(self) -> bool:
        """Left a zombie, so that its id, which is that of its process group, stays its own."""
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, look) is not None


@contextmanager
def _child(candidate: Candidate, seconds: float, ahead: Path | None) -> Iterator[_Child]:
    """A child at work; at the end, it and all that it started in its session are gone."""
    answers, theirs = os.pipe()
    order = {
        "answers": theirs,
        "plugin": candidate.name,
        "distribution": candidate.distribution,
        "record": candidate.record,
        "seconds": seconds,
    }
    path = [*([str(ahead)] if ahead else []), *sys.path]
    command = [sys.executable, "-u", "-c", PROGRAM, json.dumps(path), json.dumps(order)]
    try:
        try:
            process = subprocess.Popen(  # noqa: S603 (this very interpreter, and horae)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        try:
            yield _Child(process, answers)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    finally:
        os.close(answers)


def _problem(child: _Child, seconds: float) -> str | None:
    """What is wrong, in words; None when all is well."""
    if child.verdict is not None:
        problem: str | None = child.verdict["problem"]
        return problem
    place = _place(child.written)
    at = f" in {place}" if place else ""
    code = child.process.returncode
    if not child.answered:
        return f"horae itself did not start ({_end(code)})"
    if child.late or "\nTimeout (" in f"\n{child.written}":
        return f"it had not been imported after {seconds:g} s; it hangs{at}"
    return f"its import ended the process{at} ({_end(code)})"


def _end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    number = -code
    return f"{signal.Signals(number).name}: {signal.strsignal(number)}"


def _place(written: str) -> str | None:
    """Where the thread that imports was, from what faulthandler wrote."""
    dump = DUMP.search(written)
    if dump is None:
        return None
    threads = THREAD.split(written[dump.start() :])[1:]
    # After a fault the one that did it, first and alone; else all, and the main thread is last.
    frames = FRAME.findall(threads[0 if dump[0].startswith("Fatal") else -1]) if threads else []
    return f"{frames[0][0]}, line {frames[0][1]}, {frames[0][2]}" if frames else None


def _last_words(written: str) -> str:
    dump = DUMP.search(written)
    own = written[: dump.start()] if dump else written
    lines = own.strip().splitlines()[-MAX_LINES:]
    return "".join(["; the last it wrote:", *(f"\n  {line}" for line in lines)]) if lines else ""
