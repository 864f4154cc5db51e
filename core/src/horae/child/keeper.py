"""The keeper: ends a worker and all that it started, on order or when the host is gone.

Nothing but the standard library is imported here, and no thread started: the process forks.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final

GRACE: Final = 0.5
"""Seconds between SIGTERM and SIGKILL."""

LOOK: Final = 1.0
"""Seconds between looks at whether the host lives, where the pipe does not tell."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


def keep(requests: int, answers: int) -> None:
    """Become two processes. Returns in the worker; the keeper ends as the worker did, after it.

    ``requests`` is read by the worker; to the keeper, its end means that the host is gone.
    """
    host, keeper = os.getppid(), os.getpid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # whoever loses its parent below here becomes our child
    worker = os.fork()
    if worker:
        os.close(answers)
        _Keeper(host, worker, requests).serve()
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(1)  # it was gone before it could have taken us along
    for pipe in (requests, answers):
        os.set_inheritable(pipe, False)


class _Keeper:
    def __init__(self, host: int, worker: int, requests: int) -> None:
        self._host = host
        self._worker = worker
        self._told = False
        self._woken, writer = socket.socketpair()
        writer.setblocking(False)
        self._writer = writer
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._tell)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll = select.poll()
        self._poll.register(requests, 0)  # asks for nothing, and is told of the other end's close
        self._poll.register(self._woken, select.POLLIN)

    def _tell(self, *_: object) -> None:
        self._told = True

    def serve(self) -> None:
        """Wait for a reason to end the worker, then end it and all that it started."""
        hung_up = False
        while not (hung_up or self._told or self._ended() or os.getppid() != self._host):
            ready = dict(self._poll.poll(LOOK * 1000))
            if ready.pop(self._woken.fileno(), None):
                self._woken.recv(4096)
            hung_up = bool(ready)
        self._terminate()
        _end_like(self._kill())

    def _ended(self) -> bool:
        """Whether the worker has. It stays a zombie, so that its id, which is that of its process
        group, cannot become another's; orphans that have ended are let go.
        """
        while (found := _any_ended()) not in (None, self._worker):
            os.waitpid(found, 0)
        return found is not None

    def _terminate(self) -> None:
        _signal_group(self._worker, signal.SIGTERM)
        until = time.monotonic() + GRACE
        while time.monotonic() < until and not (self._ended() and self._alone()):
            time.sleep(0.005)

    def _alone(self) -> bool:
        others = _children() - {self._worker}
        return all(os.waitpid(pid, os.WNOHANG)[0] for pid in others)

    def _kill(self) -> int:
        """Kill what is left, and also what has left the process group; how the worker ended."""
        _signal_group(self._worker, signal.SIGKILL)
        _, status = os.waitpid(self._worker, 0)
        while left := _children():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return status


def _any_ended() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _children() -> set[int]:
    """Our children, the zombies among them; none where the system has no such list."""
    me = os.getpid()
    try:
        return set(map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split()))
    except OSError:
        return set()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # the worker has not made the group its own yet
        os.kill(group, number)


def _end_like(status: int) -> None:
    """End this process as the worker ended, for the host to see how; without a second core dump."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _prctl(option: int, value: int) -> None:
    """Linux alone has it; elsewhere the process group and the pipe must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
