"""What is to come, told before it happens: always what then happens."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from horae import EventNotFound, Host, SettableClock
from horae_builtin_plugins.schedule import Cron, Interval
from horae_hookspecs import Missed, Outcome, Schedule, State, Upcoming, hookimpl
from kit.events import LONG, stored
from scheduling.samples import Spread

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

Ran = list[tuple[datetime, int]]


@pytest.fixture
def ran(host: Host) -> Ran:
    """The occurrences that the type ``job`` has run for, and of which event."""
    ran: Ran = []
    host.register("job")(lambda context: ran.append((context.occurrence, context.event_id)))
    return ran


def occurrences(upcoming: list[Upcoming]) -> Ran:
    """When, and of which event."""
    return [(one.occurrence, one.event_id) for one in upcoming]


def live(host: Host, clock: SettableClock, count: int, ran: Ran) -> None:
    """Let so many occurrences come, each at its own time."""
    while len(ran) < count:
        host.run_until_idle(LONG)
        if len(ran) < count:
            pending = host.events(state="pending", paused=False)
            clock.set(min(event.due for event in pending if event.due is not None))


def test_what_is_told_of_all_events_is_what_then_happens(
    host: Host, clock: SettableClock, ran: Ran
) -> None:
    """Events of every kind, priority and end, merged in order of time."""
    now = clock.now()
    host.schedule("job", None, Interval(minutes=7, start=now + MINUTE))
    host.schedule("job", None, Cron("*/20 * * * *"), priority=3)
    host.schedule("job", None, Interval(minutes=11, start=now + 2 * MINUTE, count=2), priority=0)
    host.schedule("job", None, HOUR + timedelta(seconds=30))
    paused = host.schedule("job", None, MINUTE)
    host.pause(paused.id)
    host.schedule("job", None, MINUTE, origin="bot")
    host.pause(origin="bot")
    told = host.upcoming(15)
    assert len(told) == 15
    assert told[0].event_type == "job"
    live(host, clock, 15, ran)
    assert occurrences(told) == ran


@pytest.mark.parametrize("missed", ["run_once", "run_all", "skip", Missed("run_all", cap=2)])
def test_what_was_missed_is_told_as_it_will_be_made_up_for(
    host: Host, clock: SettableClock, ran: Ran, missed: Any
) -> None:
    """Each policy runs, covers or leaves out what is late, and the forecast knows."""
    event = host.schedule("job", None, Interval(minutes=5, start=clock.now()), missed=missed)
    host.schedule("job", None, 20 * MINUTE, missed="skip")
    clock.advance(22 * MINUTE)
    told = host.upcoming(5)
    assert occurrences(told) == occurrences(host.upcoming(5, event_id=event.id))
    live(host, clock, 5, ran)
    assert occurrences(told) == ran


def test_what_follows_a_run_is_told_while_it_runs(host: Host, clock: SettableClock) -> None:
    """The occurrence that runs is not to come any more; a change of what follows is heeded."""
    told: list[list[Upcoming]] = []

    def look(context: Any) -> None:
        told.append(host.upcoming(1, event_id=context.event_id))
        host.reschedule(context.event_id, HOUR)
        told.append(host.upcoming(2, event_id=context.event_id))

    host.register("job")(look)
    now = clock.now()
    event = host.schedule("job", None, Interval(minutes=5, start=now))
    host.run_until_idle(LONG)
    assert [occurrences(one) for one in told] == [
        [(now + 5 * MINUTE, event.id)],
        [(now + HOUR, event.id)],
    ]


def test_a_spread_event_is_due_after_its_occurrence(
    host: Host, clock: SettableClock, ran: Ran
) -> None:
    """``due`` is when it runs, ``occurrence`` the nominal time."""
    schedule = Interval(minutes=1, spread=timedelta(seconds=50))
    events = [host.schedule("job", None, schedule) for _ in range(3)]
    told = host.upcoming(7)
    by_event = {one.event_id: one.due - one.occurrence for one in told}
    assert len({*by_event.values()}) == 3
    assert all(one.due - one.occurrence == by_event[one.event_id] for one in told)
    assert {stored(host, event).due for event in events} == {one.due for one in told[:3]}
    live(host, clock, 7, ran)
    assert occurrences(told) == ran


class Spreading:
    """A plugin with a schedule kind."""

    @hookimpl
    def horae_schedule_kinds(self) -> list[type[Schedule]]:
        """The one."""
        return [Spread]

    @classmethod
    def load(cls, host: Host) -> str:
        """Load it; its name."""
        return host.load_plugin(cls()).name


def test_neither_the_type_nor_the_kind_need_be_there(host: Host, clock: SettableClock) -> None:
    """Without its kind an event is told once, as it is stored; without its type, in full."""
    name = Spreading.load(host)
    unread = host.schedule("gone", None, Spread(), allow_unknown=True)
    read = host.schedule("gone", None, "every 1m", allow_unknown=True)
    host.unload_plugin(name)
    told = host.upcoming(4)
    assert [one.event_id for one in told].count(unread.id) == 1
    assert [one.event_id for one in told].count(read.id) == 3
    assert [one.due for one in told] == sorted(one.due for one in told)


@pytest.mark.usefixtures("ran")
def test_what_will_not_run_has_nothing_to_come(host: Host) -> None:
    """Over, set aside, or none at all."""
    event = host.schedule("job", None, HOUR)
    assert host.upcoming(0) == host.upcoming(-1, event_id=event.id) == []
    host.pause(event.id)
    assert host.upcoming() == []
    assert len(host.upcoming(event_id=event.id)) == 1
    host.cancel(event.id)
    assert host.upcoming(event_id=event.id) == []
    with pytest.raises(EventNotFound):
        host.upcoming(event_id=77)


def test_the_next_of_very_many_are_found(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """The earliest come first, whatever their lanes and priorities are."""
    host = host_on()
    host.schedule_many(
        {
            "event_type": f"job.{n % 7}",
            "schedule": clock.now() + (1 + n * 7919 % 5000) * MINUTE,
            "priority": n % 4,
            "allow_unknown": True,
        }
        for n in range(5000)
    )
    told = host.upcoming(20)
    assert [one.due for one in told] == [clock.now() + n * MINUTE for n in range(1, 21)]


def test_an_event_that_waits_at_a_gate_is_to_come(host: Host, clock: SettableClock) -> None:
    """Blocked, it is late already, and will run."""
    told: list[list[Upcoming]] = []
    job = host.register("job", exclusive=True)
    job(lambda context: told.append(host.upcoming()))
    first, second = (host.schedule("job", None, resource="pier") for _ in range(2))
    host.run_until_idle(LONG)
    assert [one.event_id for one in told[0]] == [second.id]
    assert stored(host, first).last_outcome is Outcome.SUCCEEDED
    assert stored(host, second).state is State.FINISHED
