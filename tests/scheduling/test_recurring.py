"""Events that come due again and again: the next occurrence, misfires, and schedules that break."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

import attrs
import pytest

from horae import Host, SettableClock
from horae_builtin_plugins.schedule import Cron, Interval
from horae_hookspecs import Outcome, Retry, RunContext, Schedule, ScheduledEvent, State, hookimpl
from kit.events import LONG, outcomes, stored
from kit.hosts import until

FIVE = timedelta(minutes=5)


@pytest.fixture
def ran(host: Host) -> list[datetime]:
    """The occurrences that the type ``job`` has run for, in order."""
    ran: list[datetime] = []
    host.register("job")(lambda context: ran.append(context.occurrence))
    return ran


def due_of(host: Host, event: ScheduledEvent) -> datetime:
    """When it is due next."""
    due = stored(host, event).due
    assert due is not None
    return due


def test_an_interval_is_one_event_that_comes_due_again_and_again(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """Each run moves the same event on by one interval."""
    event = host.schedule("job", None, Interval(minutes=5))
    first = due_of(host, event)
    for _ in range(3):
        clock.set(due_of(host, event))
        host.run_until_idle(LONG)
    assert ran == [first, first + FIVE, first + 2 * FIVE]
    assert due_of(host, event) == first + 3 * FIVE
    assert host.events().total == 1


def test_a_cron_event_keeps_local_time_over_a_change_of_the_clocks(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """Half past two in Berlin is 1:30 UTC in winter and 0:30 in summer; once a day."""
    clock.set(datetime(2026, 10, 24, tzinfo=UTC))
    event = host.start().schedule("job", None, Cron("30 2 * * *", zone="Europe/Berlin"))
    while clock.now() < datetime(2026, 10, 27, tzinfo=UTC):
        clock.advance(timedelta(minutes=30))
        host.run_until_idle(LONG)
    assert [f"{at:%d %H:%M}" for at in ran] == ["24 00:30", "25 00:30", "26 01:30"]
    assert due_of(host, event) == datetime(2026, 10, 27, 1, 30, tzinfo=UTC)


def test_a_schedule_that_is_used_up_finishes_its_event(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """After ``count`` occurrences nothing is due."""
    event = host.schedule("job", None, Interval(minutes=5, count=2))
    for _ in range(2):
        clock.set(due_of(host, event))
        host.run_until_idle(LONG)
    assert (stored(host, event).state, stored(host, event).due) == (State.FINISHED, None)
    assert len(ran) == 2


def test_what_came_due_while_no_host_ran_is_run_once(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """A day of missed intervals is one late run; the phase stays what it was."""
    event = host.schedule("job", None, Interval(minutes=5))
    first = due_of(host, event)
    clock.set(first + timedelta(days=1, minutes=2))
    host.run_until_idle(LONG)
    assert ran == [first]
    assert due_of(host, event) == first + timedelta(days=1) + FIVE


def test_a_clock_that_jumps_back_runs_nothing_twice(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """An occurrence that was run is over, however often its time comes round."""
    host.schedule("job", None, Interval(minutes=5))
    once = host.schedule("job", None, FIVE)
    clock.advance(FIVE)
    host.run_until_idle(LONG)
    before = list(ran)
    clock.advance(-timedelta(hours=1))
    host.run_until_idle(LONG)
    assert ran == before
    clock.advance(timedelta(hours=1))
    host.run_until_idle(LONG)
    assert ran == before
    assert stored(host, once).state is State.FINISHED


def test_an_event_never_overlaps_itself(host: Host, clock: SettableClock) -> None:
    """What comes due during a run waits for its end, and is then run once."""
    begun, release = threading.Semaphore(0), threading.Semaphore(0)
    inside, most = 0, 0

    @host.register("slow")
    def slow(context: RunContext) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        begun.release()
        assert release.acquire(timeout=LONG)
        inside -= 1

    event = host.schedule("slow", None, Interval(minutes=5))
    clock.set(due_of(host, event))
    host.start()
    assert begun.acquire(timeout=LONG)
    clock.advance(3 * FIVE + timedelta(minutes=1))
    until(lambda: stored(host, event).state is State.RUNNING)
    release.release()
    assert begun.acquire(timeout=LONG)
    release.release()
    host.run_until_idle(LONG)
    assert most == 1
    first, second = host.runs(event_id=event.id)
    assert second.occurrence == first.occurrence + FIVE
    assert due_of(host, event) == first.occurrence + 4 * FIVE


def test_what_comes_due_while_an_occurrence_is_tried_again_waits(
    host: Host, clock: SettableClock
) -> None:
    """Attempts of one occurrence that last over others cover them, then the phase goes on."""
    fails = iter([True, False])

    @host.register("job", retry=Retry(attempts=2, first=timedelta(minutes=12), jitter=0))
    def job(context: RunContext) -> None:
        assert not next(fails)

    event = host.schedule("job", None, Interval(minutes=5))
    first = due_of(host, event)
    clock.set(first)
    host.run_until_idle(LONG)
    clock.advance(timedelta(minutes=12))
    host.run_until_idle(LONG)
    runs = list(host.runs(event_id=event.id))
    assert [run.occurrence for run in runs[:2]] == [first, first]
    assert [run.outcome for run in runs[:2]] == [Outcome.FAILED, Outcome.SUCCEEDED]
    assert len({run.occurrence for run in runs[1:]}) == len(runs) - 1


def test_a_failed_occurrence_does_not_end_a_recurring_event(
    host: Host, clock: SettableClock
) -> None:
    """The next one is another chance, with its whole budget of attempts."""

    @host.register("job")
    def job(context: RunContext) -> None:
        raise ValueError(context.attempt)

    event = host.schedule("job", None, Interval(minutes=5))
    for _ in range(2):
        clock.set(due_of(host, event))
        host.run_until_idle(LONG)
    assert stored(host, event).state is State.PENDING
    assert [run.attempt for run in host.runs(event_id=event.id)] == [1, 1]


def test_cancelling_a_running_recurring_event_leaves_no_further_occurrence(
    host: Host, clock: SettableClock
) -> None:
    """The job is told, and may still end well; nothing comes after it."""
    begun = threading.Event()

    @host.register("job")
    def job(context: RunContext) -> bool:
        begun.set()
        return bool(until(lambda: context.cancelled))

    event = host.schedule("job", None, Interval(minutes=5))
    clock.set(due_of(host, event))
    host.start()
    assert begun.wait(LONG)
    assert host.cancel(event.id, "not needed")
    host.run_until_idle(LONG)
    after = stored(host, event)
    assert (after.state, after.due, after.reason) == (State.CANCELLED, None, "not needed")
    assert outcomes(host, event) == [Outcome.SUCCEEDED]


# Schedules that break


@attrs.frozen
class Hourly(Schedule):
    """A kind of one's own; it breaks, or ends, once its class says so."""

    kind = "hourly"
    breaks: ClassVar[bool] = False
    ends: ClassVar[bool] = False

    def next_after(self, instant: datetime) -> datetime | None:
        if self.breaks:
            raise SystemExit("the sundial is broken")
        hour = instant.replace(minute=0, second=0, microsecond=0)
        return None if self.ends else hour + timedelta(hours=1)

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls()

    def __str__(self) -> str:
        return "every hour"


class Sundial:
    """The plugin that provides it."""

    def __init__(self) -> None:
        self.missed: list[int] = []

    @hookimpl
    def horae_schedule_kinds(self) -> list[type[Schedule]]:
        return [Hourly]

    @hookimpl
    def horae_event_missed(self, skipped: int) -> None:
        self.missed.append(skipped)


@pytest.mark.parametrize("executor", ["thread", "inline"])
def test_a_schedule_that_raises_sets_its_event_aside_and_harms_no_other(
    host: Host, clock: SettableClock, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    """The run that ended is kept; the event is quarantined with the reason; others go on."""
    host.load_plugin(Sundial())
    host.register("job", executor=executor)(lambda context: "done")
    broken = host.schedule("job", None, Hourly())
    monkeypatch.setattr(Hourly, "breaks", True)
    others = [host.schedule("job", None, timedelta(hours=1)) for _ in range(100)]
    clock.advance(timedelta(hours=1))
    host.run_until_idle(LONG)
    aside = stored(host, broken)
    assert aside.state is State.QUARANTINED
    assert "SystemExit: the sundial is broken" in str(aside.reason)
    assert outcomes(host, broken) == [Outcome.SUCCEEDED]
    assert [outcomes(host, other) for other in others] == [[Outcome.SUCCEEDED]] * 100


@pytest.mark.parametrize(("ends", "state"), [(False, State.PENDING), (True, State.FINISHED)])
def test_a_kind_that_vanishes_during_a_run_leaves_its_outcome_and_the_event_waiting(
    host: Host,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    ends: bool,
    state: State,
) -> None:
    """When the kind is back, the event moves on, and the occurrence is not run again."""
    ran, begun, release = [], threading.Event(), threading.Event()
    name = host.load_plugin(Sundial()).name

    @host.register("job")
    def job(context: RunContext) -> None:
        ran.append(context.occurrence)
        begun.set()
        release.wait(LONG)

    event = host.schedule("job", None, Hourly())
    first = due_of(host, event)
    clock.set(first)
    host.start()
    assert begun.wait(LONG)
    host.unload_plugin(name)
    release.set()
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.SUCCEEDED]
    assert stored(host, event).state is State.PENDING
    (waiting,) = host.waiting()
    assert "schedule kind 'hourly' is not loaded" in waiting.reason
    monkeypatch.setattr(Hourly, "ends", ends)
    host.load_plugin(Sundial())
    host.run_until_idle(LONG)
    assert ran == [first]
    assert stored(host, event).state is state
    assert stored(host, event).due == (None if ends else first + timedelta(hours=1))


def test_how_many_occurrences_were_missed_is_told(host: Host, clock: SettableClock) -> None:
    """``horae_event_missed`` counts those after the one that was run for them all."""
    sundial = Sundial()
    host.load_plugin(sundial)
    host.register("job")(lambda context: None)
    host.schedule("job", None, Hourly())
    clock.advance(timedelta(hours=5))
    host.run_until_idle(LONG)
    assert sundial.missed == [5]
    clock.advance(timedelta(hours=1))
    host.run_until_idle(LONG)
    assert sundial.missed == [5]
