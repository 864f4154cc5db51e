"""Rows: lateness at a steady rate, and how soon a host starts what another process schedules."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta

from benchmarks.child import Child
from benchmarks.harness import Bench, Line, new_event, rank, sleep_until, soon
from benchmarks.plugin import NOOP
from horae import Host
from horae_hookspecs import Run

RATE = 100
STARTS = 50


def lateness(bench: Bench) -> Iterator[Line]:
    """A hundred events a second, with nothing else in the store and with much."""
    for pending in (0, bench.sizes.pending):
        late = _lateness(bench.url(), pending, bench.sizes.seconds)
        name = f"lateness at {RATE}/s, {pending:,} pending"
        p50, p99, most = rank(late, 0.50), rank(late, 0.99), max(late)
        note = f"p99 {p99:.2f}, max {most:.2f}"
        yield Line(name, "ms, p50", p50, None, "<= 0.5", p50 <= 0.5, note)


def _lateness(url: str, pending: int, length: int) -> list[float]:
    with closing(Host(url)) as client:
        client.store.add([new_event()] * pending)
        with Child(url) as child:
            count = RATE * length
            first = soon(1.0)
            client.store.add([new_event(_at(first, i)) for i in range(count)])
            sleep_until(_at(first, count))
            child.settled(count)
        return [_milliseconds(run, run.occurrence) for run in client.runs(limit=count)]


def _at(first: datetime, index: int) -> datetime:
    return first + timedelta(seconds=index / RATE)


def start(bench: Bench) -> Iterator[Line]:
    """From the call of ``schedule`` in one process to the start of the run in another."""
    url = bench.url()
    with closing(Host(url)) as client, Child(url):
        late = [_start(client) for _ in range(STARTS)]
    note = f"p99 {rank(late, 0.99):.1f}"
    yield Line("start of another process's event", "ms, p50", rank(late, 0.5), note=note)


def _start(client: Host) -> float:
    event = client.schedule(NOOP)
    run = client.wait(event.id, timeout=10)
    assert run is not None
    return _milliseconds(run, event.created)


def _milliseconds(run: Run, since: datetime) -> float:
    return (run.started - since) / timedelta(milliseconds=1)
