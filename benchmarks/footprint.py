"""Rows: memory and CPU of a host with nothing to do, and the start of the command."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

from benchmarks.child import Child
from benchmarks.harness import Bench, Line, new_event, seconds
from horae import Host

SETTLING = 1.0
"""Seconds that a host gets to read whatever it wants to read."""

WATCHED = 5.0
STARTS = 10


def memory(bench: Bench) -> Iterator[Line]:
    """The peak memory of a host process over a store with and without pending events."""
    pending = bench.sizes.pending
    full, empty = _mebibytes(bench.url(), pending), _mebibytes(bench.url(), 0)
    name = f"memory with {pending:,} pending"
    note = "bare: the host with none"
    yield Line(name, "MiB", full, empty, "no more than with none", full / empty <= 1.05, note)


def _mebibytes(url: str, pending: int) -> float:
    with closing(Host(url)) as client:
        client.store.add([new_event()] * pending)
    with Child(url) as child:
        time.sleep(SETTLING)
        return child.usage()["rss"] / 1024


def idle(bench: Bench) -> Iterator[Line]:
    """What waiting costs."""
    with Child(bench.url()) as child:
        time.sleep(SETTLING)
        before = child.usage()
        time.sleep(WATCHED)
        after = child.usage()
    share = (after["cpu"] - before["cpu"]) / (after["at"] - before["at"])
    yield Line("idle host", "% of a core", share * 100)


def command(_: Bench) -> Iterator[Line]:
    """``horae --help`` beside an interpreter that starts and ends."""
    horae = [sys.executable, "-m", "horae", "--help"]
    attempt = subprocess.run(horae, capture_output=True, text=True, check=False)
    if attempt.returncode:
        said = (attempt.stderr.strip().splitlines() or ["no output"])[-1]
        yield Line("horae --help", "s", None, note=f"n/a: {said}")
        return
    taken = statistics.median(_start_seconds(horae) for _ in range(STARTS))
    python = statistics.median(_start_seconds([sys.executable, "-c", "pass"]) for _ in range(5))
    yield Line("horae --help", "s", taken, python, "<= 0.25", taken <= 0.25, "bare: python -c pass")


def _start_seconds(program: list[str]) -> float:
    return seconds(lambda: subprocess.run(program, capture_output=True, check=True))
