"""Rows: schedule one by one, schedule many, drain."""

import statistics
from collections.abc import Iterator
from contextlib import closing

from benchmarks import bare, plugin
from benchmarks.child import Child
from benchmarks.harness import (
    FAR,
    MODES,
    Bench,
    Line,
    alternate,
    new_event,
    seconds,
    sleep_until,
    soon,
)
from horae import Host

HUEY = {"FULL": 4_744 / 6_700, "NORMAL": 21_387 / 47_900}
"""What Huey reached of the bare limit, measured side by side on one machine."""

HEAD_START = 3.0
"""Seconds for a host process to come up before what it shall drain is due."""


def schedule(bench: Bench) -> Iterator[Line]:
    """One event per call and commit."""
    for mode in MODES:
        yield _schedule(bench, mode)


def _schedule(bench: Bench, mode: str) -> Line:
    count = bench.sizes.one_by_one
    horae, limit = alternate(
        bench.sizes.rounds,
        lambda: _schedule_each(bench.url(mode), count),
        lambda: bare.insert_each(bench.file(), mode, count),
    )
    target = f"ratio > {HUEY[mode]:.2f} (Huey)"
    return Line(f"schedule, {mode}", "events/s", horae, limit, target, horae / limit > HUEY[mode])


def _schedule_each(url: str, count: int) -> float:
    with closing(_client(url)) as host:
        host.schedule(plugin.NOOP, {}, FAR)  # loads what the first call needs

        def each() -> None:
            for _ in range(count):
                host.schedule(plugin.NOOP, {}, FAR)

        return count / seconds(each)


def bulk(bench: Bench) -> Iterator[Line]:
    """All events in one call and commit."""
    count = bench.sizes.bulk
    horae, limit = alternate(
        bench.sizes.rounds,
        lambda: _schedule_many(bench.url(), count),
        lambda: bare.insert_many(bench.file(), "FULL", count),
    )
    yield Line("schedule_many", "events/s", horae, limit, ">= 100,000", horae >= 100_000)


def _schedule_many(url: str, count: int) -> float:
    requests = [{"event_type": plugin.NOOP, "schedule": FAR}] * count
    with closing(_client(url)) as host:
        return count / seconds(lambda: host.schedule_many(requests))


def drain(bench: Bench) -> Iterator[Line]:
    """Events that come due all at once, run by a host in a process of its own."""
    for mode in MODES:
        yield from _drain(bench, mode)


def _drain(bench: Bench, mode: str) -> Iterator[Line]:
    cpu: list[float] = []
    count = bench.sizes.drain
    horae, limit = alternate(
        bench.sizes.rounds,
        lambda: _drain_rate(bench.url(mode), count, cpu),
        lambda: bare.drain(bench.file(), mode, count),
    )
    yield Line(f"drain, {mode}", "events/s", horae, limit, ">= 20,000", horae >= 20_000)
    each = statistics.median(cpu)
    yield Line(f"drain, {mode}: CPU", "s per 1,000", each, None, "<= 0.04", each <= 0.04)


def _drain_rate(url: str, count: int, cpu: list[float]) -> float:
    due = soon(HEAD_START)
    with closing(_client(url)) as client:
        client.store.add([new_event(due)] * count)
    with Child(url) as child:
        before = child.usage()
        if before["at"] > due.timestamp():
            raise RuntimeError("The host came up too late to be watched; is the machine busy?")
        sleep_until(due)
        after = child.settled(count)
    cpu.append((after["cpu"] - before["cpu"]) / count * 1_000)
    return count / (after["at"] - due.timestamp())


def _client(url: str) -> Host:
    host = Host(url)
    host.load_plugin(plugin)
    return host
