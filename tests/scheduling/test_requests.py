"""What can be asked of a host: scheduling in all its forms, keys, listing, commands, waiting."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from horae import (
    EventNotFound,
    Host,
    InvalidArguments,
    KeyTaken,
    SettableClock,
    UnknownEventType,
    UnknownSchedule,
    WaitTimeout,
)
from horae_builtin_plugins.schedule import Interval, Once
from horae_hookspecs import (
    NaiveDatetimeError,
    Outcome,
    Retry,
    RunContext,
    ScheduledEventJob,
    State,
)
from kit.events import LONG, outcomes, stored

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def greeted(host: Host) -> list[str]:
    """Whom the type ``greet`` has greeted, in order."""
    greeted: list[str] = []

    @host.register("greet", executor="inline")
    def greet(context: RunContext, name: str = "nobody", times: int = 1) -> None:
        greeted.extend([name] * times)

    return greeted


# When


@pytest.mark.parametrize(
    ("when", "due"),
    [
        (None, NOW),
        (NOW + MINUTE, NOW + MINUTE),
        (datetime(2026, 7, 1, 18, tzinfo=BERLIN), datetime(2026, 7, 1, 16, tzinfo=UTC)),
        (MINUTE, NOW + MINUTE),
        ("in 10m", NOW + 10 * MINUTE),
        ("at 2026-12-24T18:00+01:00", datetime(2026, 12, 24, 17, tzinfo=UTC)),
        ("cron 0 9 * * *", datetime(2026, 1, 1, 9, tzinfo=UTC)),
        (Once(NOW + MINUTE), NOW + MINUTE),
    ],
    ids=["now", "datetime", "zone", "timedelta", "in", "at", "cron", "schedule"],
)
@pytest.mark.usefixtures("greeted")
def test_when_can_be_said_in_many_ways(host: Host, when: Any, due: datetime) -> None:
    """Each form is stored as a schedule with its kind, and due in UTC."""
    event = host.schedule("greet", None, when)
    assert event.due == due
    assert event.due.tzinfo is UTC
    assert event.schedule["kind"] in ("once", "cron")
    assert event == host.get(event.id)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda host, naive: host.schedule("greet", None, naive),
        lambda host, naive: host.schedule("greet", None, Once(naive)),
        lambda host, naive: host.schedule("greet", None, Interval(minutes=5, start=naive)),
        lambda host, naive: host.clock.set(naive),
    ],
    ids=["datetime", "once", "interval", "clock"],
)
@pytest.mark.usefixtures("greeted")
def test_a_naive_datetime_is_refused_with_how_to_mend_it(
    host: Host, schedule: Callable[[Host, datetime], object]
) -> None:
    """It names no instant; nothing is guessed and nothing stored."""
    with pytest.raises(NaiveDatetimeError, match=r"no time zone.*datetime\.now\(UTC\)"):
        schedule(host, datetime(2026, 1, 1))
    assert host.events().total == 0


@pytest.mark.parametrize("when", ["when it rains", 5, object()])
@pytest.mark.usefixtures("greeted")
def test_what_no_kind_reads_is_refused_with_the_kinds_there_are(host: Host, when: Any) -> None:
    """The error shows forms that would do."""
    with pytest.raises(
        UnknownSchedule, match=r"once, interval, cron|cron, interval, once"
    ) as error:
        host.schedule("greet", None, when)
    assert "'every 5m'" in str(error.value)


# What


def test_a_job_instance_brings_its_type_and_arguments(host: Host) -> None:
    """Scheduling an instance is the same as naming both."""

    @host.register("sum")
    @attrs.frozen
    class Sum(ScheduledEventJob):
        numbers: tuple[int, ...]

        def run(self, context: RunContext) -> object:
            return sum(self.numbers)

    event = host.schedule(Sum((1, 2, 3)))
    host.run_until_idle(LONG)
    assert (event.event_type, event.arguments) == ("sum", {"numbers": [1, 2, 3]})
    assert [run.result for run in host.runs()] == [6]


@pytest.mark.usefixtures("greeted")
def test_an_unknown_type_is_refused_with_the_nearest_name(host: Host) -> None:
    """A typing error does not become an event that waits for ever."""
    with pytest.raises(UnknownEventType, match="Did you mean 'greet'") as error:
        host.schedule("great")
    assert error.value.nearest == "greet"
    assert host.events().total == 0


def test_an_unknown_type_may_be_scheduled_on_purpose(host: Host) -> None:
    """It waits, explained, and runs when somebody provides it."""
    event = host.schedule("later", {"x": 1}, allow_unknown=True)
    (waiting,) = host.waiting()
    assert (waiting.event_type, waiting.pending, waiting.plugin) == ("later", 1, None)
    host.register("later")(lambda context, x: x)
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.SUCCEEDED]


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ({"times": "5"}, ["expected int, got str '5' @ $.times"]),
        ({"times": True}, ["expected int, got bool True @ $.times"]),
        ({"name": 5, "times": None}, ["$.name", "$.times"]),
        ({"who": "x"}, ["who"]),
        ({"name": float("nan")}, ["Out of range float values"]),
        ({"name": object()}, ["not JSON serializable"]),
        ({"name": "x" * 300_000}, ["store a reference instead"]),
        (["x"], ["expected a mapping"]),
    ],
)
@pytest.mark.usefixtures("greeted")
def test_arguments_that_do_not_fit_are_refused_with_every_error(
    host: Host, arguments: Mapping[str, Any], problems: list[str]
) -> None:
    """All of them at once, each with its path; nothing is stored."""
    with pytest.raises(InvalidArguments) as error:
        host.schedule("greet", arguments)
    assert len(error.value.errors) == len(problems)
    for problem in problems:
        assert problem in str(error.value)
    assert host.events().total == 0


def test_schedule_many_stores_all_or_none(host: Host, greeted: list[str]) -> None:
    """One bad request among them, and there is nothing; the ids come in order."""
    good = [{"event_type": "greet", "arguments": {"name": name}} for name in ("ada", "bob")]
    with pytest.raises(UnknownEventType):
        host.schedule_many([*good, {"event_type": "great"}])
    assert host.events().total == 0
    assert host.schedule_many(good) == [event.id for event in host.events()]
    host.run_until_idle(LONG)
    assert greeted == ["ada", "bob"]


# Keys and priorities


@pytest.mark.usefixtures("greeted")
def test_a_key_is_held_once_per_origin_until_its_event_is_over(host: Host) -> None:
    """A second event with it is the first, or an error; over, the key is free again."""
    first = host.schedule("greet", None, MINUTE, key="hello")
    assert host.schedule("greet", key="hello") == first
    with pytest.raises(KeyTaken, match=f"event {first.id}") as taken:
        host.schedule("greet", key="hello", on_conflict="error")
    assert taken.value.event_id == first.id
    assert host.schedule("greet", None, MINUTE, key="hello", origin="bot").id != first.id
    host.cancel(first.id)
    assert host.schedule("greet", key="hello").id != first.id


def test_a_lower_priority_number_goes_first(host: Host, greeted: list[str]) -> None:
    """Among what is due; within a priority by due time."""
    for name, priority, due in [
        ("d", 3, 0),
        ("b", 1, 0),
        ("c", 1, 1),
        ("a", 0, 2),
    ]:
        when = host.clock.now() + due * MINUTE
        host.schedule("greet", {"name": name}, when, priority=priority)
    assert isinstance(host.clock, SettableClock)
    host.clock.advance(10 * MINUTE)
    host.run_until_idle(LONG)
    assert greeted == ["a", "b", "c", "d"]


# Commands


def test_a_paused_event_waits_until_it_is_resumed(
    host: Host, clock: SettableClock, greeted: list[str]
) -> None:
    """What came due meanwhile is late, not lost."""
    event = host.schedule("greet", None, MINUTE)
    assert host.pause(event.id)
    clock.advance(2 * MINUTE)
    host.run_until_idle(LONG)
    assert (greeted, stored(host, event).paused) == ([], True)
    assert host.resume(event.id)
    host.run_until_idle(LONG)
    assert greeted == ["nobody"]


def test_run_now_brings_an_event_forward(
    host: Host, clock: SettableClock, greeted: list[str]
) -> None:
    """A recurring one keeps its next occurrence after that."""
    event = host.schedule("greet", None, Interval(minutes=5, start=clock.now() + MINUTE))
    assert host.run_now(event.id)
    host.run_until_idle(LONG)
    assert greeted == ["nobody"]
    assert stored(host, event).due == NOW + MINUTE


def test_run_now_gives_a_quarantined_event_another_chance(host: Host) -> None:
    """Once what was wrong is mended, it runs."""
    types: dict[str, Any] = {"count": "two"}
    event = host.schedule("job", types, allow_unknown=True)

    @host.register("job", version=2)
    @attrs.frozen
    class Job:
        count: int

        def run(self, context: RunContext) -> object:
            return self.count

        @classmethod
        def upgrade(cls, arguments: dict[str, Any], version: int) -> dict[str, Any]:
            return arguments if broken else {"count": 2}

    broken = True
    host.run_until_idle(LONG)
    assert stored(host, event).state is State.QUARANTINED
    broken = False
    assert host.run_now(event.id)
    host.run_until_idle(LONG)
    assert stored(host, event).state is State.FINISHED
    assert stored(host, event).reason is None


@pytest.mark.usefixtures("greeted")
def test_commands_on_what_is_over_or_unknown_change_nothing(host: Host) -> None:
    """False for an event that is over, an error for one that never was."""
    event = host.schedule("greet")
    host.run_until_idle(LONG)
    before = stored(host, event)
    for command in (host.cancel, host.pause, host.resume, host.run_now):
        assert not command(event.id)
        with pytest.raises(EventNotFound, match="no event 99"):
            command(99)
    assert stored(host, event) == before
    assert host.get(99) is None


def test_a_cancelled_event_is_kept_and_does_not_run(host: Host, greeted: list[str]) -> None:
    """Its reason stands with it; it has no run."""
    event = host.schedule("greet")
    assert host.cancel(event.id, "no need")
    host.run_until_idle(LONG)
    assert (stored(host, event).state, stored(host, event).reason) == (State.CANCELLED, "no need")
    assert (greeted, host.wait(event.id)) == ([], None)


# Listing


def test_listings_come_in_pages_and_take_filters(host: Host) -> None:
    """A page iterates and knows the total and where the next one starts."""
    for name in ("a", "b"):
        host.register(name)(lambda context: None)
    ids = host.schedule_many([{"event_type": "ab"[i % 2], "origin": str(i)} for i in range(5)])
    first = host.events(limit=3)
    second = host.events(limit=3, after=first.next or 0)
    assert [event.id for event in [*first, *second]] == ids
    assert (len(first), first.total, first.next) == (3, 5, ids[2])
    assert (len(second), second.total, second.next) == (2, 5, None)
    assert [event.id for event in host.events(event_type="b")] == [ids[1], ids[3]]
    assert host.events(origin=["1", "2", "none"]).total == 2
    assert host.events(key=None, state=State.PENDING).total == 5
    host.run_until_idle(LONG)
    assert host.runs(limit=2).total == 5
    assert host.runs(event_type="a", outcome="succeeded").total == 3
    assert host.overview() == {"a": {State.FINISHED: 3}, "b": {State.FINISHED: 2}}
    for listing in (host.events, host.runs):
        with pytest.raises(TypeError, match="no filter 'colour'"):
            listing(colour="red")


# Waiting


def test_wait_lasts_until_the_last_attempt(host: Host) -> None:
    """A failure that will be tried again is no end."""

    @host.register("job", retry=Retry(attempts=3, first=timedelta(0)))
    def job(context: RunContext) -> int:
        assert context.attempt == 3
        return context.attempt

    host.start()
    run = host.wait(host.schedule("job").id, LONG)
    assert run is not None
    assert (run.attempt, run.outcome, run.result) == (3, Outcome.SUCCEEDED, 3)


@pytest.mark.usefixtures("greeted")
def test_wait_for_a_recurring_event_lasts_until_an_occurrence_has_ended(
    host: Host, clock: SettableClock
) -> None:
    """The next one that ends, not one that ended before."""
    event = host.start().schedule("greet", None, Interval(minutes=5, start=clock.now()))
    host.run_until_idle(LONG)
    with pytest.raises(WaitTimeout):
        host.wait(event.id, 0.05)
    waited = threading.Event()

    def let_time_pass() -> None:
        while not waited.wait(0.05):
            clock.advance(5 * MINUTE)

    passing = threading.Thread(target=let_time_pass)
    passing.start()
    run = host.wait(event.id, LONG)
    waited.set()
    passing.join()
    assert run is not None
    assert run.outcome is Outcome.SUCCEEDED
    assert run.occurrence > NOW


@pytest.mark.usefixtures("greeted")
def test_waiting_has_an_end(host: Host) -> None:
    """The error says for what and how long; an event that never was is another one."""
    event = host.schedule("greet", None, MINUTE)
    for waiting in (host, host.start()):
        with pytest.raises(WaitTimeout, match=rf"Event {event.id} was not over after 0\.05 s"):
            waiting.wait(event.id, 0.05)
        with pytest.raises(EventNotFound):
            waiting.wait(99, 0.05)


# Follow-ups


def test_a_follow_up_is_stored_with_the_outcome_of_its_run(host: Host) -> None:
    """While the job runs there is none; afterwards there are both."""
    seen = []

    @host.register("first")
    def first(context: RunContext) -> None:
        context.schedule("second", {"of": context.event_id}, MINUTE, origin="first", priority=2)
        seen.append(host.events().total)

    host.register("second")(lambda context, of: of)
    event = host.schedule("first")
    host.run_until_idle(LONG)
    assert seen == [1]
    (follow_up,) = host.events(event_type="second")
    assert follow_up.arguments == {"of": event.id}
    assert (follow_up.due, follow_up.origin, follow_up.priority) == (NOW + MINUTE, "first", 2)


def test_an_async_job_plans_follow_ups_too(host: Host) -> None:
    """And what is due at once runs at once."""

    @host.register("first")
    async def first(context: RunContext) -> None:
        context.schedule("second")

    host.register("second")(lambda context: None)
    host.schedule("first")
    host.run_until_idle(LONG)
    assert host.overview()["second"] == {State.FINISHED: 1}


def test_a_run_that_fails_leaves_no_follow_up(host: Host) -> None:
    """What it planned is dropped, and planned again by the attempt that succeeds."""

    @host.register("first", retry=Retry(attempts=2, first=timedelta(0)))
    def first(context: RunContext) -> None:
        context.schedule("second")
        assert context.attempt == 2

    host.register("second")(lambda context: None)
    event = host.start().schedule("first")
    host.wait(event.id, LONG)
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.FAILED, Outcome.SUCCEEDED]
    assert host.overview()["second"] == {State.FINISHED: 1}


def test_a_follow_up_is_checked_like_any_event(host: Host) -> None:
    """What is wrong with it is raised inside the job."""

    @host.register("first")
    def first(context: RunContext) -> None:
        with pytest.raises(UnknownEventType):
            context.schedule("secnd")
        with pytest.raises(InvalidArguments):
            context.schedule("first", {"x": 1})
        with pytest.raises(NaiveDatetimeError):
            context.schedule("first", None, datetime(2026, 1, 1))

    event = host.schedule("first")
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.SUCCEEDED]
    assert host.events().total == 1
