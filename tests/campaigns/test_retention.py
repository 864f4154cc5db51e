"""A long history is deleted in flat memory and in short transactions."""

import os
import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, SettableClock
from horae.scheduling.retention import BATCH
from horae.stores.base import Store
from stores.samples import a_host, an_event, claim, settled

LONG_FORM = pytest.mark.skipif("HORAE_CAMPAIGN" not in os.environ, reason="for minutes")

MOST_MEMORY = 5_000_000
"""Bytes; a million ids alone would be eight times that."""


def fill(store: Store, events: int) -> None:
    """A history of so many events, each with a run."""
    store.join(a_host())
    for _ in range(events // 1000):
        with store.transaction():
            store.add([an_event() for _ in range(1000)])
            store.settle([settled(one) for one in claim(store)])


@pytest.mark.parametrize(
    "events",
    [
        10_000,
        pytest.param(1_000_000, marks=[pytest.mark.campaign, pytest.mark.timeout(1800), LONG_FORM]),
    ],
)
def test_a_long_history_goes_in_flat_memory(
    host_on: Callable[..., Host], clock: SettableClock, events: int
) -> None:
    """Twice as many rows as events; whatever their number, no more than a batch is held."""
    host = host_on()
    fill(host.store, events)
    waits = host.store.add([an_event(due=clock.micros() + 10**15)])
    clock.advance(timedelta(days=31))
    batches: list[tuple[float, Any]] = []
    prune = host.store.prune

    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        batch = prune(*arguments)
        batches.append((time.perf_counter() - began, batch))
        return batch

    host.store.prune = timed  # type: ignore[method-assign]
    tracemalloc.start()
    began = time.perf_counter()
    host.run_until_idle(1500)
    seconds = time.perf_counter() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (run,) = host.runs(event_type="horae.retention")
    assert run.result == {"events": events, "runs": events}
    assert [event.id for event in host.events(event_type="tide.mark")] == [waits[0].id]
    assert all(batch.events + batch.runs <= BATCH for _, batch in batches)
    slowest = max(seconds for seconds, _ in batches)
    print(  # noqa: T201 (the campaign's report)
        f"{2 * events} rows in {seconds:.1f} s, {len(batches)} batches, the slowest of them "
        f"{slowest * 1000:.0f} ms, {peak / 1e6:.1f} MB at the most"
    )
    assert peak < MOST_MEMORY
