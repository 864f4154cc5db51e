"""A child process, as its host sees it; ``horae.child`` is what runs in it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Final

from horae.registry import Generation
from horae.scheduling.process_protocol import decode_message, encode_message

PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); pipes = map(int, sys.argv[2:]); "
    "from horae.child import main; del sys.argv[1:]; main(*pipes)"
)
"""Not ``-m``: only this finds horae, and the plugins, wherever this process does."""

PATIENCE: Final = 2.0
"""Seconds that a child has to end before it is killed from here; its keeper is faster."""

LOOK: Final = 1.0
"""Seconds between looks at the clock while a child says nothing."""


class Child:
    """A fresh interpreter with the code of one generation, in a session of its own.

    One thread at a time talks with it; ``end`` and ``cancel`` are for any thread, and never wait.
    """

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.run: Any = None
        self.idle_since = 0.0
        self._ended: str | None = None
        self._told: float | None = None
        self._worker: int | None = None
        self._buffer = b""
        self._cancel: Any = None
        self._sending = threading.Lock()
        self._start()
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        source = generation.source
        origin = {
            "plugin": generation.plugin,
            "number": generation.number,
            "distribution": generation.distribution,
            "version": generation.version,
            "value": None if source is None else source.value,
            "record": None if source is None else source.record,
            "contents": None if source is None else source.contents,
        }
        self.send("load", origin)

    def _start(self) -> None:
        theirs, self._requests = os.pipe()
        self._answers, other = os.pipe()
        arguments = [json.dumps(sys.path), str(theirs), str(other)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 (this very interpreter, and horae)
                [sys.executable, "-u", "-c", PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if sys.__stderr__ is None else 2,
                pass_fds=(theirs, other),
                start_new_session=True,
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(theirs)
            os.close(other)

    @property
    def alive(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process.poll() is None

    def send(self, kind: str, content: object) -> None:
        """Say something about the run that is under way; a child that has ended hears nothing."""
        with self._sending:
            self._write(encode_message(kind, content, self.run))
        self._send_cancel()

    def cancel(self, run: Any) -> None:
        """Tell it that the event of ``run`` was cancelled."""
        self._cancel = run
        self._send_cancel()

    def _send_cancel(self) -> None:
        # Whoever is sending at this moment looks here afterwards.
        if self._cancel is not None and self._sending.acquire(blocking=False):
            try:
                run, self._cancel = self._cancel, None
                self._write(encode_message("cancel", None, run))
            finally:
                self._sending.release()

    def receive(self) -> tuple[str, Any, Any] | None:
        """The kind, the content and the run of its next message; None when it is gone."""
        while b"\n" not in self._buffer:
            if self._poll.poll(LOOK * 1000):
                read = os.read(self._answers, 65536)
                if not read:
                    return None
                self._buffer += read
            elif self._told is not None and time.monotonic() > self._told + PATIENCE:
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        kind, content, run = decode_message(line)
        if kind == "ready":
            self._worker = content
        return kind, content, run

    def end(self) -> None:
        """Tell its keeper to end it and all that it has started; returns at once."""
        self._told = self._told or time.monotonic()
        self._process.terminate()

    def finish(self) -> str:
        """Wait for its end, and tell how it ended; kill it if that takes too long."""
        if self._ended is None:
            try:
                code = self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._kill()
                code = self._process.wait()
            self._ended = _told(code)
        return self._ended

    def close(self) -> None:
        """Wait for its end, and let go of the line; nobody may use it any more."""
        self.finish()
        self._close()

    def _kill(self) -> None:
        """The keeper is stuck, or stopped."""
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._worker, signal.SIGKILL)
        self._process.kill()

    def _write(self, message: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            while message:
                message = message[os.write(self._requests, message) :]

    def _close(self) -> None:
        os.close(self._requests)
        os.close(self._answers)


def _told(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was ended by {name}"
