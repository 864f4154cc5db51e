"""Rows: the pause of upgrade and unload, and events of a type that goes away and comes back."""

import importlib
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

from benchmarks import plugin
from benchmarks.harness import Bench, Line, new_event, seconds, sleep_until, soon
from horae import Host
from horae_hookspecs import Outcome

SAMPLE, MODULE, TYPE = "sample", "horae_sample_plugin", "sample.http_probe"
TIMES = 20
EVENTS = 1_000


def pause(bench: Bench) -> Iterator[Line]:
    """How long an upgrade keeps a plugin's types away, beyond its own import; and an unload."""
    own = statistics.median(_import_seconds() for _ in range(TIMES))
    with closing(Host(bench.url())) as host:
        host.start()
        host.load_plugin(SAMPLE)
        absence = _Absence(host)
        calls = [seconds(lambda: host.upgrade_plugin(SAMPLE)) for _ in range(TIMES)]
        away = statistics.median(absence.lasted) - own
        unload = statistics.median(_unload_seconds(host) for _ in range(TIMES))
    note = (
        f"beyond its import of {own * 1e3:.1f} ms; whole call {statistics.median(calls) * 1e3:.1f}"
    )
    yield _pause("upgrade, idle host: type away", away, note)
    yield _pause("unload, idle host: whole call", unload)


def _pause(name: str, taken: float, note: str = "") -> Line:
    return Line(name, "ms", taken * 1e3, None, "<= 15", taken <= 0.015, note)


class _Absence:
    """Watches the registry's swaps; ``lasted`` is how long the type was away, each time."""

    def __init__(self, host: Host) -> None:
        self.lasted: list[float] = []
        self._registry = host.registry
        self._next = host.registry.on_change
        self._left = 0.0
        host.registry.on_change = self

    def __call__(self) -> None:
        if TYPE not in self._registry.snapshot.types:
            self._left = time.perf_counter()
        elif self._left:
            self.lasted.append(time.perf_counter() - self._left)
            self._left = 0.0
        self._next()


def _unload_seconds(host: Host) -> float:
    taken = seconds(lambda: host.unload_plugin(SAMPLE))
    host.load_plugin(SAMPLE)
    return taken


def _import_seconds() -> float:
    try:
        return seconds(lambda: importlib.import_module(MODULE))
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == MODULE]:
            del sys.modules[name]


def unknown(bench: Bench) -> Iterator[Line]:
    """Events whose plugin is unloaded when they come due, and comes back: each runs once."""
    with closing(Host(bench.url())) as host:
        host.start()
        host.load_plugin(plugin)
        due = soon(0.5)
        host.store.add([new_event(due)] * EVENTS)
        host.unload_plugin(plugin.__name__)
        sleep_until(due)
        host.run_until_idle(60)
        kept = sum(waiting.overdue for waiting in host.waiting())
        host.load_plugin(plugin)
        host.run_until_idle(60)
        once = _run_once(host) if kept == EVENTS else 0
    name = "events of an absent type, kept and run once"
    yield Line(name, f"of {EVENTS:,}", once, None, f"{EVENTS:,}", once == EVENTS)


def _run_once(host: Host) -> int:
    runs = Counter(run.event_id for run in host.runs(limit=2 * EVENTS, outcome=Outcome.SUCCEEDED))
    return list(runs.values()).count(1)
