"""The worker's end of the line to its host."""

import os
import queue
import sys
import threading
from collections.abc import Mapping
from typing import Any

from structlog import DropEvent
from structlog.typing import EventDict

from horae.scheduling.process_protocol import decode_message, encode_message, load_error
from horae_hookspecs import OutsideRunError


class Line:
    """Says what goes on in the worker, and listens in a thread of its own.

    ``run`` is the run that the main thread is in, as the host names it; ``ending`` says that the
    host has had enough of it, or of us.
    """

    def __init__(self, requests: int, answers: int) -> None:
        self.run: Any = None
        self.ending = False
        self._owner = os.getpid()
        self._requests = requests
        self._answers = answers
        self._cancelled: Any = None
        self._asked = 0
        self._todo: queue.SimpleQueue[tuple[str, Any, Any]] = queue.SimpleQueue()
        self._answered: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._asking = threading.Lock()
        threading.Thread(target=self._listen, name="horae-line", daemon=True).start()

    @property
    def ours(self) -> bool:
        """Whether this is the worker, and not a process that a job forked off it."""
        return os.getpid() == self._owner

    def next(self) -> tuple[str, Any, Any]:
        """What the host wants next: the kind of the message, its content, and the run."""
        return self._todo.get()

    def cancelled(self, run: Any) -> bool:
        """Whether the host has said that the event of this run was cancelled."""
        return run is not None and self._cancelled == run

    def send(self, kind: str, content: object) -> None:
        """Say something about the run that is under way."""
        self._write(encode_message(kind, content, self.run))

    def ask(self, run: Any, kind: str, content: object) -> Any:
        """Say something about ``run`` that the host answers; gives or raises the answer."""
        if not self.ours:
            raise OutsideRunError("A run's context works in the process of its job alone.")
        with self._asking:
            if run != self.run:
                raise OutsideRunError("The run of this context is over.")
            self._asked += 1
            self.send(kind, [self._asked, content])
            # A job that lets itself be interrupted may have left an earlier answer unread.
            while (answer := self._answered.get())["to"] != self._asked:
                continue
        if "error" in answer:
            raise load_error(answer["error"])
        return answer["value"]

    def log(self, _: object, method: str, event: EventDict) -> EventDict:
        """The last of structlog's processors: the host logs it, with what it knows of the run."""
        text = event.pop("event", "")
        plain = {name: value if _is_plain(value) else repr(value) for name, value in event.items()}
        if self.ours:
            self.send("log", [method, str(text), plain])
        else:
            sys.stderr.write(f"{method}: {text} {plain}\n")
        raise DropEvent

    def _listen(self) -> None:
        with open(self._requests, "rb", closefd=False) as lines:
            for line in lines:
                kind, content, run = decode_message(line)
                if kind == "answer":
                    self._answered.put(content)
                elif kind == "cancel":
                    self._cancelled = run
                else:
                    self._todo.put((kind, content, run))
        self._todo.put(("end", None, None))

    def _write(self, message: bytes) -> None:
        with self._sending:
            while message:
                message = message[os.write(self._answers, message) :]


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))
