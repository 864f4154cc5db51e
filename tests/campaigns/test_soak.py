"""Work without end, plugins coming and going: the host stays as small as it was."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from horae import Host, SystemClock
from kit.sites import Site, plugin

TIDE = plugin("""
    TABLE = list(range(20_000))  # were one generation to stay, it would show

    @events.register("tide.mark")
    def mark(context, height: float = 0.0):
        return height + len(TABLE)

    @hookimpl
    def horae_run_finished(run):
        assert run.result is not None
""")
CYCLES = 20
EVENTS = 150
ALLOWED = 200_000
"""Bytes; one generation of the plugin left behind holds about 800,000."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """With the plugin ``tide`` installed."""
    site = Site(tmp_path / "site")
    site.install(TIDE, plugin="tide")
    yield site
    site.close()


def cycle(host: Host) -> None:
    """Load, schedule, run, unload; some events find the plugin gone, and wait for the next."""
    host.load_plugin("tide")
    host.schedule_many([{"event_type": "tide.mark", "arguments": {"height": 1.5}}] * EVENTS)
    host.run_until_idle(30)
    report = host.unload_plugin("tide")
    assert report.collected, report.holders
    host.schedule("tide.mark")


@pytest.mark.usefixtures("site")
def test_memory_does_not_grow_with_events_or_generations(host_on: Callable[..., Host]) -> None:
    """After 3,000 events and 20 generations of a plugin, the process holds what it held before."""
    host = host_on(clock=SystemClock()).start()
    tracemalloc.start()
    try:
        sizes = [size_after(lambda: cycle(host)) for _ in range(CYCLES)]
    finally:
        tracemalloc.stop()
    print("traced bytes after each cycle:", sizes)  # noqa: T201 (a figure)
    assert host.events(state="finished", limit=1).total >= EVENTS * CYCLES
    # The median step, so that what anything else in this process imports once is no growth.
    steps = [after - before for before, after in pairwise(sizes[CYCLES // 4 :])]
    assert median(steps) * CYCLES < ALLOWED


def size_after(action: Callable[[], None]) -> int:
    """The bytes that Python holds once ``action`` is over."""
    action()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
