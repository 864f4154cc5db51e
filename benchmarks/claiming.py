"""Row: what a claim costs with a full store against an empty one."""

import sqlite3
import statistics
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import attrs

from benchmarks.harness import Bench, Line, new_event, seconds, soon
from horae.clock import SystemClock
from horae.settings import parse_sqlite_url
from horae.stores.records import HostRecord, Provider
from horae.stores.sqlite import SqliteStore

BATCH = 100
CLAIMS = 40
STEPS = 10
"""The progress handler is called once for so many steps of SQLite's virtual machine."""

ABSENT = "bench.absent"
ME = HostRecord(
    id="bench-0", name="bench", identity="", pid=0, beat=0, beaten=0, event_types={}, kinds=()
)


def claim(bench: Bench) -> Iterator[Line]:
    """Batches of due events, with and without overdue events of an absent type and future ones."""
    with (
        closing(_Claimer(bench.url(), bench.sizes.pending)) as full,
        closing(_Claimer(bench.url(), 0)) as empty,
    ):
        pairs = [(full.take(), empty.take()) for _ in range(CLAIMS)]
        counted = full.count_steps(), empty.count_steps()
    time_full, time_empty = (statistics.median(column) * 1e6 for column in zip(*pairs, strict=True))
    name = f"claim of {BATCH}, {bench.sizes.pending:,} absent and as many future"
    yield _line(name, "us", time_full, time_empty)
    yield _line("the same in VM steps", "steps", *counted)


def _line(name: str, unit: str, full: float, empty: float) -> Line:
    note = "bare: the claim with none"
    return Line(name, unit, full, empty, "ratio <= 1.2", full / empty <= 1.2, note)


class _Claimer:
    """A store with enough due events for every claim, and a load that no claim should feel."""

    def __init__(self, url: str, load: int) -> None:
        self.store = SqliteStore(url, parse_sqlite_url(url))
        self.store.open()
        self.store.join(ME)
        past = soon(-60)
        self.store.add([new_event(past)] * (BATCH * (CLAIMS + 1)))
        self.store.add([new_event(past, ABSENT)] * load)
        self.store.add([new_event()] * load)
        self._lanes = {
            lane.id: Provider("bench", None, 1)
            for lane in self.store.lanes()
            if lane.event_type != ABSENT
        }
        self.close = self.store.close

    def take(self) -> float:
        """Claim one batch; the seconds it took."""
        return seconds(self._take)

    def _take(self) -> None:
        now = SystemClock().micros()
        claimed = self.store.claim(ME.id, self._lanes, now, BATCH)
        assert claimed is not None
        assert len(claimed.claims) == BATCH

    def count_steps(self) -> float:
        """Claim one batch; the steps of SQLite's virtual machine that it took."""
        counter = _Counter()
        # No verb tells what it cost, so the store's own connection is asked.
        writer: sqlite3.Connection | Any = self.store._writer.connection
        writer.set_progress_handler(counter.add, STEPS)
        self._take()
        writer.set_progress_handler(None, 0)
        return counter.calls * STEPS


@attrs.define
class _Counter:
    calls: int = 0

    def add(self) -> int:
        self.calls += 1
        return 0  # anything else would end the statement
