"""What fell due while its type was absent, and how a type that is back is taken on."""

from collections.abc import Callable, MutableMapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from horae import Host, SettableClock
from horae.clock import SystemClock, to_micros
from horae.scheduling.leases import Lease
from horae_builtin_plugins.schedule import Interval
from horae_hookspecs import (
    Absent,
    Outcome,
    RunContext,
    ScheduledEvent,
    ScheduledEventRegistryWrapper,
    State,
    hookimpl,
)
from kit.events import LONG, outcomes, runs_of, stored
from kit.hosts import until

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class Tides:
    """An application's own plugin, with one type."""

    def __init__(self, **policy: Any) -> None:
        self.ran: list[datetime] = []
        self.policy = policy

    @hookimpl
    def horae_event_types(self) -> ScheduledEventRegistryWrapper:
        events = ScheduledEventRegistryWrapper()

        @events.register("tide.mark", **self.policy)
        def mark(context: RunContext) -> None:
            self.ran.append(context.occurrence)

        return events


def leave_for(host: Host, clock: SettableClock, plugin: Tides, length: timedelta) -> None:
    """The type is withdrawn, and is published again after ``length``."""
    host.unload_plugin(type(plugin).__name__, drain=0)
    clock.advance(length)
    host.load_plugin(plugin)
    host.run_until_idle(LONG)


def due_of(event: ScheduledEvent) -> datetime:
    """When it was due at first."""
    assert event.due is not None
    return event.due


def back(logs: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """What was told of types that are back."""
    return [line for line in logs if line["event"] == "type.back"]


# -- the policies


def test_by_default_an_absence_is_harmless(host: Host, clock: SettableClock) -> None:
    """What fell due in it is run when the type is back, however late."""
    host.start().load_plugin(tides := Tides(missed="skip"))
    event = host.schedule("tide.mark", None, MINUTE)
    leave_for(host, clock, tides, HOUR)
    assert outcomes(host, event) == [Outcome.SUCCEEDED]


@pytest.mark.parametrize("absent", ["skip", timedelta(minutes=58)])
def test_a_single_occurrence_can_expire_in_an_absence(
    host: Host, clock: SettableClock, absent: Absent
) -> None:
    """It is recorded as skipped, with the times and the rule; and only once the type is back."""
    host.start().load_plugin(tides := Tides())
    event = host.schedule("tide.mark", None, MINUTE, absent=absent)
    host.unload_plugin("Tides", drain=0)
    clock.advance(HOUR)
    host.run_until_idle(LONG)
    assert (stored(host, event).state, runs_of(host, event)) == (State.PENDING, [])
    host.load_plugin(tides)
    host.run_until_idle(LONG)
    (run,) = runs_of(host, event)
    assert (run.outcome, run.covers, tides.ran) == (Outcome.SKIPPED, 1, [])
    rule = "absent='skip'" if absent == "skip" else "absent=0:58:00"
    assert run.error == (
        "fell due while its type was absent, from 2026-01-01 00:00:00+00:00 to "
        f"2026-01-01 01:00:00+00:00, and is late by 0:59:00 ({rule})"
    )
    after = stored(host, event)
    assert (after.state, after.due, after.reason) == (State.EXPIRED, None, run.error)


def test_what_is_not_too_old_is_run_after_an_absence(host: Host, clock: SettableClock) -> None:
    """A timedelta is the most that an occurrence may be late."""
    host.start().load_plugin(tides := Tides(absent=timedelta(minutes=59)))
    event = host.schedule("tide.mark", None, MINUTE)
    leave_for(host, clock, tides, HOUR)
    assert outcomes(host, event) == [Outcome.SUCCEEDED]


def test_a_recurring_event_moves_on_after_an_absence(host: Host, clock: SettableClock) -> None:
    """All that fell due in it is one row; what comes due later is run."""
    host.start().load_plugin(tides := Tides())
    event = host.schedule("tide.mark", None, Interval(minutes=7), absent="skip")
    leave_for(host, clock, tides, HOUR)
    (run,) = runs_of(host, event)
    assert (run.outcome, run.covers) == (Outcome.SKIPPED, 8)
    assert stored(host, event).due == due_of(event) + 8 * timedelta(minutes=7)
    clock.advance(timedelta(minutes=3))
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.SKIPPED, Outcome.SUCCEEDED]


def test_the_policy_is_stored_with_the_event(host: Host, clock: SettableClock) -> None:
    """As its type had it when it was scheduled; what the next version says is for new events."""
    host.start().load_plugin(Tides(absent="skip"))
    event = host.schedule("tide.mark", None, MINUTE)
    held = host.schedule("tide.mark", None, MINUTE, absent="hold")
    leave_for(host, clock, Tides(absent="hold"), HOUR)
    assert outcomes(host, event) == [Outcome.SKIPPED]
    assert outcomes(host, held) == [Outcome.SUCCEEDED]
    event = host.schedule("tide.mark", None, MINUTE)
    leave_for(host, clock, Tides(absent="skip"), HOUR)
    assert outcomes(host, event) == [Outcome.SUCCEEDED]


def test_where_nobody_could_say_the_type_is_asked_when_it_is_back(
    host: Host, clock: SettableClock
) -> None:
    """An event that was scheduled while its type was away."""
    host.start().load_plugin(Tides())
    host.unload_plugin("Tides", drain=0)
    event = host.schedule("tide.mark", None, MINUTE)
    clock.advance(HOUR)
    host.load_plugin(Tides(absent="skip"))
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.SKIPPED]


# -- what an absence is


def test_what_was_due_before_an_absence_is_a_misfire(host: Host, clock: SettableClock) -> None:
    """And what falls due after it is on time."""
    host.start().load_plugin(tides := Tides(absent="skip"))
    paused = host.schedule("tide.mark", None, MINUTE)
    host.pause(paused.id)
    clock.advance(2 * MINUTE)
    leave_for(host, clock, tides, HOUR)
    after = host.schedule("tide.mark", None, MINUTE)
    clock.advance(MINUTE)
    host.resume(paused.id)
    host.run_until_idle(LONG)
    for event in (paused, after):
        assert outcomes(host, event) == [Outcome.SUCCEEDED]


def test_a_host_that_is_down_is_no_absence(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """What fell due meanwhile is missed, not absent: it is run."""
    tides = Tides(absent="skip")
    first = host_on().start()
    first.load_plugin(tides)
    event = first.schedule("tide.mark", None, MINUTE)
    first.close()
    clock.advance(HOUR)
    second = host_on().start()
    second.load_plugin(tides)
    second.run_until_idle(LONG)
    assert outcomes(second, event) == [Outcome.SUCCEEDED]


def test_one_host_that_unloads_a_type_says_nothing_about_the_others(
    host_on: Callable[..., Host], clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The absence begins when the last of them withdraws it, were it before the next beat."""
    first, second = host_on(name="first").start(), host_on(name="second").start()
    tides = Tides(absent="skip")
    first.load_plugin(Tides(absent="skip"))
    second.load_plugin(tides)
    until(lambda: all("tide.mark" in host.event_types for host in first.store.hosts()))
    monkeypatch.setattr(Lease, "changed", lambda self: None)
    paused = first.schedule("tide.mark", None, MINUTE)
    first.pause(paused.id)
    first.unload_plugin("Tides", drain=0)
    clock.advance(2 * MINUTE)
    late = first.schedule("tide.mark", None, MINUTE)
    second.unload_plugin("Tides", drain=0)
    (info,) = [one for one in first.event_types() if one.event_type == "tide.mark"]
    assert info.withdrawn == clock.now()
    clock.advance(HOUR)
    first.load_plugin(tides)
    first.resume(paused.id)
    first.run_until_idle(LONG)
    assert outcomes(first, paused) == [Outcome.SUCCEEDED]
    assert outcomes(first, late) == [Outcome.SKIPPED]


def test_an_absence_is_remembered_over_a_restart(
    host_on: Callable[..., Host], clock: SettableClock, logs: list[MutableMapping[str, Any]]
) -> None:
    """What was left of it is judged the same by the next host, which tells nothing new."""
    tides = Tides(absent="skip")
    first = host_on().start()
    first.load_plugin(tides)
    paused = first.schedule("tide.mark", None, MINUTE)
    first.pause(paused.id)
    leave_for(first, clock, tides, HOUR)
    first.close()
    clock.advance(HOUR)
    second = host_on().start()
    second.load_plugin(tides)
    second.resume(paused.id)
    second.run_until_idle(LONG)
    assert outcomes(second, paused) == [Outcome.SKIPPED]
    (info,) = [one for one in second.event_types() if one.event_type == "tide.mark"]
    assert info.absent_from is not None
    assert info.absent_until == info.absent_from + HOUR
    assert len(back(logs)) == 1


# -- coming back


def test_a_type_that_is_back_is_told_before_its_first_run(
    host: Host, clock: SettableClock, logs: list[MutableMapping[str, Any]]
) -> None:
    """How many wait, how many are overdue, since when, and how long it was away; once."""
    told: list[int] = []

    class Watching(Tides):
        @hookimpl
        def horae_run_started(self) -> None:
            told.append(len(back(logs)))

    host.start().load_plugin(tides := Watching())
    began = clock.now()
    host.schedule_many([{"event_type": "tide.mark", "schedule": MINUTE}] * 3)
    host.schedule("tide.mark", None, 2 * HOUR)
    leave_for(host, clock, tides, HOUR)
    (line,) = back(logs)
    assert {name: line[name] for name in ("event_type", "pending", "overdue", "rate")} == {
        "event_type": "tide.mark",
        "pending": 4,
        "overdue": 3,
        "rate": None,
    }
    assert line["oldest"] == began + MINUTE
    assert (line["absent_from"], line["absent_until"]) == (began, began + HOUR)
    assert told == [1, 1, 1]


def test_a_type_that_nothing_waits_for_comes_back_in_silence(
    host: Host, clock: SettableClock, logs: list[MutableMapping[str, Any]]
) -> None:
    """There is nothing to tell."""
    host.start().load_plugin(tides := Tides())
    leave_for(host, clock, tides, HOUR)
    assert back(logs) == []


@pytest.fixture
def paced(host_on: Callable[..., Host], store_url: str) -> Host:
    """A host that takes on two events a second of a type that is back."""
    return host_on(url=store_url, reentry_rate=2).start()


def test_a_backlog_from_an_absence_is_taken_on_at_a_pace(paced: Host, clock: SettableClock) -> None:
    """One at once, then as many as the rate allows; whatever time passes, a second's worth."""
    paced.load_plugin(tides := Tides())
    paced.schedule_many([{"event_type": "tide.mark", "schedule": MINUTE}] * 9)
    leave_for(paced, clock, tides, HOUR)
    ran = [len(tides.ran)]
    for seconds in (0.25, 0.25, 1, 60, 1):
        clock.advance(seconds)
        paced.run_until_idle(LONG)
        ran.append(len(tides.ran))
    assert ran == [1, 1, 2, 4, 6, 8]


def test_others_are_not_held_up_by_a_type_that_is_back(paced: Host, clock: SettableClock) -> None:
    """They are run as ever, and so is the type once its backlog is worked off."""
    paced.register("other")(lambda context: None)
    paced.load_plugin(tides := Tides())
    paced.schedule_many([{"event_type": "tide.mark", "schedule": MINUTE}] * 3)
    leave_for(paced, clock, tides, HOUR)
    other = paced.schedule_many([{"event_type": "other"}] * 20)
    paced.run_until_idle(LONG)
    assert paced.runs(event_type="other", outcome=Outcome.SUCCEEDED).total == len(other)
    assert len(tides.ran) == 1
    clock.advance(1)
    paced.run_until_idle(LONG)
    assert len(tides.ran) == 3
    paced.schedule_many([{"event_type": "tide.mark"}] * 20)
    paced.run_until_idle(LONG)
    assert len(tides.ran) == 23


def test_a_paced_host_wakes_for_the_next_one(host_on: Callable[..., Host], store_url: str) -> None:
    """By a clock that flows, the backlog is worked off without anybody's help."""
    host = host_on(url=store_url, clock=SystemClock(), reentry_rate=50).start()
    host.load_plugin(tides := Tides())
    host.unload_plugin("Tides", drain=0)
    soon = timedelta(milliseconds=20)
    ids = host.schedule_many([{"event_type": "tide.mark", "schedule": soon}] * 10)
    until(lambda: host.waiting() and host.waiting()[0].overdue == 10)
    host.load_plugin(tides)
    for event_id in ids:
        host.wait(event_id, LONG)
    started = sorted(to_micros(run.started) for run in host.runs(event_type="tide.mark"))
    assert started[-1] - started[0] >= 150_000
