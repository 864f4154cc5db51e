"""Processes told apart for certain, since an id alone is soon somebody else's, and signals."""

import os
import select
import signal
import socket
from pathlib import Path
from typing import Self


def process_identity() -> str:
    """This process, told apart from any other that has, had or will have its id.

    Boot, pid namespace, pid, and start time in ticks; without /proc only the pid.
    """
    return "/".join([*_system(), str(os.getpid()), _start_time(os.getpid()) or ""])


def process_gone(identity: str, *, one_kernel: bool) -> bool:
    """Whether the process is known to be gone; False also when it cannot be known from here.

    Another boot means gone where all processes share ``one_kernel``, and another machine elsewhere.
    """
    boot, namespace, pid, started = identity.split("/")
    boot_here, namespace_here = _system()
    if not boot or not boot_here:
        return False
    if boot != boot_here:
        return one_kernel
    return namespace == namespace_here and _start_time(int(pid)) != started


def _system() -> tuple[str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, os.readlink("/proc/self/ns/pid")
    except OSError:
        return "", ""


def _start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat; the name in field 2 may hold blanks and parentheses.

    A zombie has ended in all but name, so it counts as gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


class StopSignals:
    """Takes note of SIGTERM and SIGINT inside the block; the former handlers return after it.

    Only for the main thread. A handler may interrupt any line, also one that holds a lock, so it
    does nothing but note the number: whoever waits here acts on it.
    """

    def __init__(self) -> None:
        self.received: list[int] = []

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._before = {
            number: signal.signal(number, lambda got, _: self.received.append(got))
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd)
        self._reader.close()
        self._writer.close()

    def wait(self, timeout: float) -> None:
        """Sleep ``timeout`` seconds, or until any signal comes."""
        if select.select([self._reader], [], [], timeout)[0]:
            self._reader.recv(4096)
