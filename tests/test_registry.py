"""The registry: whole snapshots, one swap, and calls that are counted before they are made."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

from horae import TypeTaken
from horae.payloads import JobType
from horae.registry import Contribution, Entry, Generation, Registry, Snapshot
from horae_builtin_plugins.schedule import Interval, Once
from horae_hookspecs import ScheduledEventRegistryWrapper


def a_contribution(owner: str | Generation, *types: str, **parts: Any) -> Contribution:
    """What one generation of a plugin brings."""
    events = ScheduledEventRegistryWrapper()
    generation = Generation(owner, 1) if isinstance(owner, str) else owner
    for event_type in types:
        events.register(event_type)(lambda context: None)
    entries = {
        found.event_type: Entry(found.event_type, JobType(found), found.policy, generation)
        for found in events.registrations
    }
    return Contribution(generation, types=entries, **parts)


@contextmanager
def repeated(action: Callable[[], None], threads: int = 1) -> Iterator[None]:
    """Do ``action`` over and over in other threads, in tiny slices, while the block lasts."""
    stop, before = threading.Event(), sys.getswitchinterval()

    def work() -> None:
        while not stop.is_set():
            action()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    sys.setswitchinterval(1e-5)
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        stop.set()
        for worker in workers:
            worker.join()


# -- snapshots


def test_what_is_published_is_there_as_a_whole() -> None:
    """Types, kinds, executors and observers of all contributions are joined."""
    registry = Registry()
    tides = a_contribution("tides", "tide.mark", "tide.fall", kinds={"once": Once})
    moons = a_contribution("moons", "moon.rise", kinds={"interval": Interval})
    registry.publish(tides)
    registry.publish(moons)
    snapshot = registry.snapshot
    assert set(snapshot.types) == {"tide.mark", "tide.fall", "moon.rise"}
    assert dict(snapshot.kinds) == {"once": Once, "interval": Interval}
    assert snapshot.types["moon.rise"].generation is moons.generation
    assert snapshot.contributions == (tides, moons)


def test_observers_of_one_hook_come_in_order_of_loading() -> None:
    """Every plugin's implementations are kept."""
    registry = Registry()
    registry.publish(a_contribution("a", observers={"hook": ("one", "two")}))
    registry.publish(a_contribution("b", observers={"hook": ("three",), "other": ("four",)}))
    observers: dict[str, Any] = dict(registry.snapshot.observers)
    assert observers == {
        "hook": ("one", "two", "three"),
        "other": ("four",),
    }


def test_a_snapshot_never_changes() -> None:
    """Who holds one goes on with what was loaded when it was taken; nobody can write to it."""
    registry = Registry()
    tides = a_contribution("tides", "tide.mark")
    registry.publish(tides)
    before = registry.snapshot
    registry.withdraw(tides.generation)
    assert set(before.types) == {"tide.mark"}
    assert dict(registry.snapshot.types) == {}
    with pytest.raises(TypeError):
        before.types["tide.mark"] = None  # type: ignore[index]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        before.types = {}  # type: ignore[misc]


def test_withdrawing_twice_is_harmless() -> None:
    """The second time there is nothing left of the generation."""
    registry = Registry()
    tides, moons = a_contribution("tides", "tide.mark"), a_contribution("moons", "moon.rise")
    registry.publish(tides)
    registry.publish(moons)
    for _ in range(2):
        registry.withdraw(tides.generation)
        assert set(registry.snapshot.types) == {"moon.rise"}


def test_publishing_again_is_one_step() -> None:
    """While a generation brings more and more, what it had is never missing."""
    registry, missed = Registry(), threading.Event()
    generation = Generation("application", 1)
    names = [f"type.n{n}" for n in range(50)]
    steps = [a_contribution(generation, *names[:n]) for n in range(1, 51)]
    registry.publish(steps[0])

    def watch() -> None:
        if names[0] not in registry.snapshot.types:
            missed.set()

    with repeated(watch):
        for step in steps:
            registry.publish(step)
            time.sleep(0)
    assert not missed.is_set()
    assert set(registry.snapshot.types) == set(names)


def test_every_swap_is_told() -> None:
    """``on_change`` is called after the new snapshot is in place."""
    told: list[set[str]] = []
    registry = Registry(lambda: told.append(set(registry.snapshot.types)))
    tides = a_contribution("tides", "tide.mark")
    registry.publish(tides)
    registry.withdraw(tides.generation)
    assert told == [{"tide.mark"}, set()]


# -- conflicts


@pytest.mark.parametrize(
    ("what", "name", "parts"),
    [
        ("event type", "tide.mark", {}),
        ("schedule kind", "once", {"kinds": {"once": Once}}),
        ("executor", "fast", {"executors": {"fast": None}}),
    ],
)
def test_a_name_has_one_owner(what: str, name: str, parts: dict[str, Any]) -> None:
    """The error names both plugins and what they want; nothing of the second is published."""
    types = ("tide.mark",) if not parts else ()
    registry = Registry()
    registry.publish(a_contribution("tides", *types, **parts))
    before = registry.snapshot
    rival = a_contribution("moons", "moon.rise", *types, **parts)
    with pytest.raises(TypeTaken) as caught:
        registry.publish(rival)
    assert str(caught.value) == (
        f"Plugin 'moons' failed at publish: {what} {name!r} belongs to plugin 'tides', and 'moons' "
        "wants it too. Unload 'tides' first, or rename it in one of the two."
    )
    assert (caught.value.plugin, caught.value.owner, caught.value.name) == ("moons", "tides", name)
    assert registry.snapshot is before


def test_a_failed_replacement_changes_nothing() -> None:
    """A generation that wants what another owns keeps what it had, and nobody is told."""
    told: list[Snapshot] = []
    registry = Registry()
    tides = a_contribution("tides", "tide.mark")
    registry.publish(tides)
    registry.publish(a_contribution("moons", "moon.rise"))
    before = registry.snapshot
    registry.on_change = lambda: told.append(registry.snapshot)
    with pytest.raises(TypeTaken):
        registry.publish(a_contribution(tides.generation, "tide.mark", "moon.rise"))
    assert registry.snapshot is before
    assert told == []


def test_publishing_from_many_threads_loses_nothing() -> None:
    """Each swap builds on the one before."""
    registry = Registry()
    many = [a_contribution(f"plugin{n}", f"type.n{n}") for n in range(40)]
    threads = [threading.Thread(target=registry.publish, args=(one,)) for one in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(registry.snapshot.types) == {f"type.n{n}" for n in range(40)}


# -- calls under way


def test_a_generation_is_idle_when_nobody_is_inside() -> None:
    """As many have to leave as entered; the wait ends with the last one, or when time is up."""
    generation = Generation("tides", 1)
    assert generation.wait_idle(0)
    generation.enter()
    generation.enter()
    assert not generation.wait_idle(0)
    generation.leave()
    assert not generation.wait_idle(0.01)
    thread = threading.Thread(target=generation.leave)
    thread.start()
    assert generation.wait_idle(10)
    thread.join()


def call(registry: Registry, entry: Entry, code: Callable[[], None]) -> bool:
    """Dispatch as the runner does: count in, look again, call."""
    entry.generation.enter()
    try:
        if registry.snapshot.types.get(entry.event_type) is not entry:
            return False
        code()
        return True
    finally:
        entry.generation.leave()


def test_no_call_reaches_retired_code() -> None:
    """Threads dispatch while generations come and go: after withdraw and wait, none gets in."""
    registry, retired = Registry(), set[int]()
    late: list[int] = []
    called, refused = threading.Event(), threading.Event()
    generations = [a_contribution(Generation("tides", n), "tide.mark") for n in range(100)]

    def dispatch() -> None:
        entry = registry.snapshot.types.get("tide.mark")
        if entry is None:
            return
        number = entry.generation.number
        time.sleep(0)  # room for a withdrawal between the look-up and the call

        def code() -> None:
            time.sleep(0)  # room for it in the middle of a call
            if number in retired:
                late.append(number)

        (called if call(registry, entry, code) else refused).set()

    with repeated(dispatch, threads=4):
        for current in generations:
            registry.publish(current)
            called.clear()
            assert called.wait(10)
            registry.withdraw(current.generation)
            assert current.generation.wait_idle(10)
            retired.add(current.generation.number)
    assert late == []
    assert refused.is_set()
