"""Programs in processes of their own, to be watched, signalled and killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

JOURNAL_HOST: Final = Path(__file__).with_name("journal_host.py")
"""The program of a host whose jobs write down that they ran; see there for its types."""


class Note(NamedTuple):
    """One line of a journal: a job began to run; ``at`` is in nanoseconds since the epoch."""

    event_id: int
    key: str
    pid: int
    at: int


def read_journal(journal: Path) -> list[Note]:
    """All notes so far, in order."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [
        Note(int(event_id), key, int(pid), int(at))
        for event_id, key, pid, at in map(str.split, lines)
    ]


class Process:
    """A running Python program; what it says on standard output is read line by line."""

    def __init__(self, command: list[str], errors: Path) -> None:
        self._errors = errors
        with errors.open("w") as stream:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stream, text=True
            )
        self.pid = self._popen.pid

    def expect(self, line: str) -> None:
        """Read on until it says ``line``. Raises AssertionError if it ends before."""
        assert self._popen.stdout is not None
        for said in self._popen.stdout:
            if said.rstrip() == line:
                return
        raise AssertionError(f"It ended without saying {line!r}:\n{self._errors.read_text()}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def wait(self, timeout: float = 30) -> int:
        """Its exit code, once it has ended; negative for the signal that ended it."""
        return self._popen.wait(timeout)

    def kill(self) -> None:
        """End it as ``kill -9`` does, and wait until it is gone; harmless when it is."""
        self._popen.kill()
        self._popen.wait()
        assert self._popen.stdout is not None
        self._popen.stdout.close()

    def cpu_time(self) -> float:
        """Seconds of processor time that all its threads have used."""
        # Linux makes the number of a process's CPU clock from its id, as glibc's
        # clock_getcpuclockid does; /proc/PID/stat counts in ticks of 10 ms, too coarse here.
        return time.clock_gettime((~self.pid << 3) | 2)


class Processes:
    """Starts programs in ``folder`` and kills at the end whatever is left of them."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/events.db"
        self.journal = folder / "journal"
        self._folder = folder
        self._started: list[Process] = []

    def start(
        self, program: Path | str, *arguments: object, python: str | Path = sys.executable
    ) -> Process:
        """Run a program, given as a file or as source text."""
        source = ["-c", program] if isinstance(program, str) else [str(program)]
        command = [str(python), "-u", "-P", *source, *map(str, arguments)]
        errors = self._folder / f"process-{os.getpid()}-{len(self._started)}.err"
        self._started.append(Process(command, errors))
        return self._started[-1]

    def start_host(self, *arguments: object) -> Process:
        """A journal host on ``url`` and ``journal``, up and running."""
        process = self.start(JOURNAL_HOST, self.url, self.journal, *arguments)
        process.expect("running")
        return process

    def notes(self) -> list[Note]:
        """What the journal hosts have written down."""
        return read_journal(self.journal)

    def end(self) -> None:
        """Kill what is left."""
        for process in self._started:
            process.kill()


@contextmanager
def started_in(folder: Path) -> Iterator[Processes]:
    """``Processes`` for the length of a ``with`` block."""
    processes = Processes(folder)
    try:
        yield processes
    finally:
        processes.end()
