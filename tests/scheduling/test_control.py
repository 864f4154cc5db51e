"""Changing events that are stored: cancel, pause, run now, reschedule, update; and keys."""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

import attrs
import pytest

from horae import (
    EventNotFound,
    Host,
    InvalidArguments,
    KeyTaken,
    SettableClock,
    SettingsError,
    UnknownSchedule,
)
from horae_builtin_plugins.schedule import Interval
from horae_hookspecs import (
    CancelEvent,
    Outcome,
    Pause,
    Retry,
    RunContext,
    Schedule,
    ScheduledEvent,
    ScheduleError,
    State,
    hookimpl,
)
from kit.events import LONG, outcomes, runs_of, stored
from kit.hosts import until

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Work:
    """The type ``work``, whose runs are noted, and stand still while ``open`` is not set."""

    def __init__(self, host: Host, **policy: Any) -> None:
        self.done: list[tuple[int, Any]] = []
        self.seen_cancelled: list[bool] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.error: BaseException | None = None
        host.register("work", **policy)(self.run)

    def run(self, context: RunContext, text: str = "") -> None:
        """Note what is worked on."""
        self.entered.release()
        assert self.open.wait(LONG)
        self.seen_cancelled.append(context.cancelled)
        self.done.append((context.event_id, text or context.occurrence))
        if self.error is not None:
            raise self.error

    def begin(self, host: Host, *args: Any, **options: Any) -> ScheduledEvent:
        """An event whose run is under way."""
        self.open.clear()
        event = host.start().schedule("work", *args, **options)
        assert self.entered.acquire(timeout=LONG)
        return event

    def end(self, host: Host) -> None:
        """Let the run end, and all that is due."""
        self.open.set()
        host.run_until_idle(LONG)


@pytest.fixture
def work(host: Host) -> Work:
    """The type, on a host that is not started."""
    return Work(host)


# Cancelling


def test_a_cancelled_event_keeps_its_reason_and_does_not_run(host: Host, work: Work) -> None:
    """It is over at once; a second time there is nothing to do."""
    event = host.schedule("work")
    assert host.cancel(event.id, "ebb")
    host.run_until_idle(LONG)
    after = stored(host, event)
    assert (after.state, after.reason, after.due) == (State.CANCELLED, "ebb", None)
    assert not host.cancel(event.id)
    assert work.done == []


def test_a_job_that_ends_well_after_its_cancellation_has_succeeded(host: Host, work: Work) -> None:
    """It is told, its run counts, and no other occurrence follows."""
    event = work.begin(host, None, Interval(minutes=1, start=host.clock.now()))
    assert host.cancel(event.id, "enough")
    work.end(host)
    assert work.seen_cancelled == [True]
    assert outcomes(host, event) == [Outcome.SUCCEEDED]
    after = stored(host, event)
    assert (after.state, after.due) == (State.CANCELLED, None)


def test_cancel_all_takes_the_filters_of_the_listing(host: Host, work: Work) -> None:
    """What matches and is not over is cancelled, pending or running; the number is told."""
    running = work.begin(host, origin="bot")
    pending = host.schedule("work", None, HOUR, origin="bot", resource="pier")
    other = host.schedule("work", None, HOUR, origin="person")
    assert host.cancel_all("archived", origin="bot") == 2
    work.end(host)
    assert work.seen_cancelled == [True]
    assert stored(host, running).state is State.FINISHED
    assert stored(host, pending).reason == "archived"
    assert stored(host, other).state is State.PENDING
    assert host.cancel_all(origin="bot") == 0
    assert host.cancel_all(event_type=["work"], state="pending") == 1


def test_cancelled_events_keep_their_history(host: Host, clock: SettableClock, work: Work) -> None:
    """The runs that an event had stay on record."""
    event = host.schedule("work", None, Interval(minutes=1, start=clock.now()))
    host.run_until_idle(LONG)
    host.cancel_all(event_type="work")
    assert outcomes(host, event) == [Outcome.SUCCEEDED]
    assert stored(host, event).last_outcome is Outcome.SUCCEEDED


def test_cancel_all_refuses_a_filter_that_there_is_not(host: Host) -> None:
    """A mistyped filter cancels nothing, and above all not everything."""
    with pytest.raises(TypeError, match="no filter 'colour'"):
        host.cancel_all(colour="red")


# Pausing

RULES = [{"event_type": "work"}, {"origin": "bot"}, {"resource": "pier"}]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: next(iter(rule)))
def test_a_rule_holds_back_what_is_stored_and_what_comes(
    host: Host, work: Work, rule: dict[str, str]
) -> None:
    """Events stored before and after are paused and do not run, until the rule is lifted."""
    before = host.schedule("work", origin="bot", resource="pier")
    assert host.pause(**rule)
    assert not host.pause(**rule)
    after = host.schedule("work", origin="bot", resource="pier")
    assert after.paused
    assert after == host.get(after.id)
    host.run_until_idle(LONG)
    assert [event.paused for event in host.events()] == [True, True]
    assert host.events(paused=True, state="pending").total == 2
    ((field, value),) = rule.items()
    assert host.pauses() == [Pause(field, value, host.clock.now())]  # type: ignore[arg-type]
    assert host.resume(**rule)
    assert not host.resume(**rule)
    host.run_until_idle(LONG)
    assert {event_id for event_id, _ in work.done} == {before.id, after.id}


@pytest.mark.usefixtures("work")
def test_a_rule_leaves_others_alone(host: Host) -> None:
    """Other types, origins and resources run."""
    host.register("other")(lambda context: None)
    host.pause(event_type="work")
    host.pause(origin="bot")
    host.pause(resource="pier")
    event = host.schedule("other", origin="person", resource="dock")
    host.run_until_idle(LONG)
    assert stored(host, event).state is State.FINISHED


def test_under_two_pauses_an_event_waits_for_the_end_of_both(host: Host, work: Work) -> None:
    """Each is lifted by its own resume alone, in whatever order."""
    event = host.schedule("work", origin="bot", resource="pier")
    host.pause(event.id)
    for rule in RULES:
        host.pause(**rule)
    host.resume(event.id)
    for rule in RULES:
        host.run_until_idle(LONG)
        assert stored(host, event).paused
        host.resume(**rule)
    host.run_until_idle(LONG)
    assert [event_id for event_id, _ in work.done] == [event.id]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: next(iter(rule)))
def test_a_run_under_way_goes_on_and_its_next_occurrence_is_not_claimed(
    host: Host, clock: SettableClock, work: Work, rule: dict[str, str]
) -> None:
    """What runs comes to its end; what follows waits."""
    schedule = Interval(minutes=1, start=clock.now())
    event = work.begin(host, None, schedule, origin="bot", resource="pier")
    host.pause(**rule)
    work.end(host)
    clock.advance(HOUR)
    host.run_until_idle(LONG)
    assert len(work.done) == 1
    assert stored(host, event).state is State.PENDING
    host.resume(**rule)
    host.run_until_idle(LONG)
    assert len(work.done) == 2


def test_pauses_outlast_the_host(host_on: Callable[..., Host]) -> None:
    """Rules are stored: a host that starts later heeds them."""
    host_on().pause(event_type="work")
    host_on().pause(origin="bot")
    host = host_on()
    work = Work(host)
    host.schedule("work")
    host.run_until_idle(LONG)
    assert work.done == []
    assert [rule.field for rule in host.pauses()] == ["event_type", "origin"]


def test_a_resume_elsewhere_wakes_this_host(host_on: Callable[..., Host]) -> None:
    """What another process pauses and resumes is seen without being told."""
    host, other = host_on(), host_on()
    work = Work(host)
    other.pause(event_type="work")
    host.start().schedule("work")
    host.run_until_idle(LONG)
    assert work.done == []
    other.resume(event_type="work")
    until(lambda: work.done)


def test_an_engine_with_nothing_but_paused_types_takes_no_turns(
    host_on: Callable[..., Host],
) -> None:
    """What is due and paused is no reason to look again and again."""
    host = host_on()
    Work(host)
    host.pause(event_type="work")
    host.pause(origin="bot")
    host.schedule("work")
    host.start().schedule("work", origin="bot", allow_unknown=True)
    host.run_until_idle(LONG)
    assert host._engine is not None
    assert host._engine._next_due > 2**62
    turns = host._engine._turns
    looks = threading.Event()
    assert not looks.wait(0.2)
    assert host._engine._turns - turns <= 2


@pytest.mark.parametrize("given", [{}, {"event_type": "work", "origin": "bot"}])
def test_exactly_one_thing_is_paused(host: Host, given: dict[str, str]) -> None:
    """None, or several, would leave open what is meant."""
    with pytest.raises(TypeError, match="exactly one"):
        host.pause(**given)
    with pytest.raises(TypeError, match="exactly one"):
        host.resume(7, resource="pier")


# Running now


def test_run_now_lifts_the_own_pause_and_is_recorded_like_any_run(host: Host, work: Work) -> None:
    """The run has its claim and its record; a rule is not lifted for one event."""
    event = host.schedule("work", None, HOUR)
    host.pause(event.id)
    assert host.run_now(event.id)
    host.run_until_idle(LONG)
    (run,) = runs_of(host, event)
    assert (run.claim, run.outcome, run.host) == (1, Outcome.SUCCEEDED, host.name)
    later = host.schedule("work", None, HOUR)
    host.pause(event_type="work")
    assert host.run_now(later.id)
    host.run_until_idle(LONG)
    assert len(work.done) == 1
    host.resume(event_type="work")
    host.run_until_idle(LONG)
    assert len(work.done) == 2


# Rescheduling


@attrs.frozen
class Beat(Schedule):
    """Every ``minutes`` from a phase that a schedule in its place goes on with."""

    kind: ClassVar[str] = "beat"
    minutes: int
    phase: int = 0

    def next_after(self, instant: datetime) -> datetime:
        """The next multiple of so many minutes past the phase."""
        step = self.minutes * 60
        passed = (int(instant.timestamp()) - self.phase) // step + 1
        return datetime.fromtimestamp(passed * step + self.phase, instant.tzinfo)

    def anchored(self, now: datetime) -> Self:
        """The phase begins now."""
        return attrs.evolve(self, phase=int(now.timestamp()))

    def continuing(self, previous: Schedule, now: datetime) -> Self:
        """Or stays what it was."""
        if isinstance(previous, Beat):
            return attrs.evolve(self, phase=previous.phase)
        return self.anchored(now)

    def to_json(self) -> dict[str, Any]:
        """Both numbers."""
        return {"minutes": self.minutes, "phase": self.phase}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From them."""
        return cls(**data)

    def __str__(self) -> str:
        return f"every {self.minutes} minutes"


class Beats:
    """A plugin that has the kind."""

    @hookimpl
    def horae_schedule_kinds(self) -> list[type[Schedule]]:
        """The one."""
        return [Beat]


@pytest.fixture
def beats(host: Host) -> Host:
    """A host with the schedule kind ``beat``."""
    host.load_plugin(Beats())
    return host


@pytest.mark.parametrize(("keep_phase", "due_in"), [(True, 30), (False, 7)])
def test_another_schedule_goes_on_in_the_phase_unless_asked(
    beats: Host, clock: SettableClock, work: Work, keep_phase: bool, due_in: int
) -> None:
    """The phase is that of the schedule before, or begins anew."""
    begun = clock.now()
    event = beats.schedule("work", None, Beat(15))
    clock.advance(7 * MINUTE)
    assert beats.reschedule(event.id, Beat(30), keep_phase=keep_phase)
    assert stored(beats, event).due == begun + due_in * MINUTE


def test_an_interval_keeps_its_phase(host: Host, clock: SettableClock, work: Work) -> None:
    """Every quarter of an hour becomes every half: on one of the quarters."""
    event = host.schedule("work", None, Interval(minutes=15))
    clock.advance(7 * MINUTE)
    assert host.reschedule(event.id, "every 30m")
    assert stored(host, event).due == clock.now() + 8 * MINUTE
    assert host.reschedule(event.id, "every 30m", keep_phase=False)
    assert stored(host, event).due == clock.now() + 30 * MINUTE


def test_a_pending_event_is_due_as_its_new_schedule_says(
    host: Host, clock: SettableClock, work: Work
) -> None:
    """From once to every minute: the first occurrence, and what follows."""
    event = host.schedule("work", None, HOUR)
    assert host.reschedule(event.id, "every 1m")
    assert stored(host, event).schedule["kind"] == "interval"
    for _ in range(2):
        clock.advance(MINUTE)
        host.run_until_idle(LONG)
    assert len(work.done) == 2
    assert host.reschedule(event.id, "in 5m")
    clock.advance(5 * MINUTE)
    host.run_until_idle(LONG)
    assert (len(work.done), stored(host, event).state) == (3, State.FINISHED)


def test_a_retry_that_waits_is_replaced_by_the_new_schedule(
    host: Host, clock: SettableClock
) -> None:
    """With all its tries: the new occurrence begins with its first."""
    work = Work(host, retry=Retry(attempts=2, first=MINUTE, jitter=0))
    work.error = ValueError("no")
    event = host.schedule("work")
    host.run_until_idle(LONG)
    assert stored(host, event).attempt == 1
    assert host.reschedule(event.id, HOUR)
    assert (stored(host, event).attempt, stored(host, event).due) == (0, clock.now() + HOUR)
    clock.advance(30 * MINUTE)
    host.run_until_idle(LONG)
    assert len(work.done) == 1


@pytest.mark.parametrize("error", [None, ValueError("no"), CancelEvent("never again")])
def test_what_follows_a_run_changes_while_it_runs(
    host: Host, clock: SettableClock, error: BaseException | None
) -> None:
    """However the run ends, what was asked for last is what follows it."""
    work = Work(host, retry=Retry(attempts=2, first=timedelta(0), jitter=0))
    event = work.begin(host, None, Interval(minutes=1, start=clock.now()))
    work.error = error
    due = clock.now() + HOUR
    assert host.reschedule(event.id, due)
    work.end(host)
    after = stored(host, event)
    assert (after.state, after.due, after.attempt) == (State.PENDING, due, 0)
    assert [run.will_retry for run in runs_of(host, event)] == [False]
    work.error = None
    clock.set(due)
    host.run_until_idle(LONG)
    assert stored(host, event).state is State.FINISHED
    assert work.done[-1] == (event.id, due)


def test_what_follows_a_run_that_lost_its_host_changes_too(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """The rescue puts the event where it was rescheduled to."""
    host, other = host_on(), host_on()
    work = Work(host)
    event = work.begin(host)
    other.reschedule(event.id, HOUR)
    lost = host.id
    assert lost is not None
    other.store.rescue(lost, "gone", clock.micros())
    after = stored(other, event)
    assert (after.state, after.due) == (State.PENDING, clock.now() + HOUR)
    work.open.set()


def test_a_run_that_is_to_end_is_not_rescheduled(host: Host, work: Work) -> None:
    """Nothing follows a cancelled one, whatever comes in which order."""
    event = work.begin(host)
    host.reschedule(event.id, HOUR)
    host.cancel(event.id)
    assert not host.reschedule(event.id, HOUR)
    work.end(host)
    assert stored(host, event).state is State.FINISHED


@pytest.mark.usefixtures("work")
def test_what_is_over_is_not_rescheduled_and_what_is_wrong_is_refused(host: Host) -> None:
    """False for the one, an error for the other, and nothing is changed."""
    event = host.schedule("work", None, HOUR)
    with pytest.raises(ScheduleError):
        host.reschedule(event.id, Interval(minutes=1, until=host.clock.now() - HOUR))
    with pytest.raises(UnknownSchedule):
        host.reschedule(event.id, "soon")
    assert host.get(event.id) == event
    host.cancel(event.id)
    assert not host.reschedule(event.id, HOUR)
    with pytest.raises(EventNotFound):
        host.reschedule(77, HOUR)


# Updating


def test_another_description_leaves_the_due_time(
    host: Host, clock: SettableClock, work: Work
) -> None:
    """Only what is given is changed."""
    event = host.schedule("work", {"text": "a"}, Interval(minutes=5), description="old")
    clock.advance(MINUTE)
    assert host.update(event.id, description="new")
    assert host.get(event.id) == attrs.evolve(event, description="new")


def test_other_arguments_and_priority_are_those_of_the_next_run(
    host: Host, clock: SettableClock, work: Work
) -> None:
    """A run under way goes on with what it had."""
    schedule = Interval(minutes=1, start=clock.now())
    event = work.begin(host, {"text": "before"}, schedule)
    assert host.update(event.id, arguments={"text": "after"}, priority=0)
    work.end(host)
    clock.advance(MINUTE)
    host.run_until_idle(LONG)
    assert [text for _, text in work.done] == ["before", "after"]
    assert stored(host, event).priority == 0


@pytest.mark.usefixtures("work")
def test_arguments_are_checked_as_when_they_are_scheduled(host: Host) -> None:
    """What does not fit is refused, and nothing is changed."""
    event = host.schedule("work", {"text": "a"}, HOUR)
    with pytest.raises(InvalidArguments, match="expected str"):
        host.update(event.id, arguments={"text": 5})
    with pytest.raises(SettingsError, match="priority=7"):
        host.update(event.id, priority=7)
    assert host.get(event.id) == event
    with pytest.raises(EventNotFound):
        host.update(77, description="x")


@pytest.mark.parametrize("repair", ["update", "reschedule", "replace"])
def test_a_quarantined_event_is_repaired(host: Host, repair: str) -> None:
    """Other arguments bring it back, and so do another schedule and a replacement."""
    event = host.schedule("work", {"text": 7}, key="k", allow_unknown=True)
    work = Work(host)
    host.run_until_idle(LONG)
    assert stored(host, event).state is State.QUARANTINED
    assert host.update(event.id, description="broken")
    assert stored(host, event).state is State.QUARANTINED
    if repair == "update":
        host.update(event.id, arguments={"text": "seven"})
    elif repair == "replace":
        host.schedule("work", {"text": "seven"}, key="k", on_conflict="replace")
    else:
        host.reschedule(event.id, None)
        assert stored(host, event).state is State.PENDING
        host.update(event.id, arguments={"text": "seven"})
    assert (stored(host, event).reason, stored(host, event).attempt) == (None, 0)
    host.run_until_idle(LONG)
    assert work.done == [(event.id, "seven")]


# Keys


@pytest.mark.usefixtures("work")
def test_replacing_changes_a_pending_event_in_place(host: Host, clock: SettableClock) -> None:
    """It is the same event, with everything that the second request says."""
    first = host.schedule("work", {"text": "a"}, HOUR, key="k", description="old", priority=3)
    clock.advance(MINUTE)
    second = host.schedule("work", {"text": "b"}, "every 1m", key="k", on_conflict="replace")
    assert (second.id, second.created) == (first.id, first.created)
    assert (second.arguments, second.due) == ({"text": "b"}, clock.now() + MINUTE)
    assert (second.description, second.priority, second.attempt) == (None, 1, 0)
    assert second == host.get(first.id)
    assert host.events().total == 1


def test_replacing_a_running_event_changes_what_follows(host: Host, clock: SettableClock) -> None:
    """The run goes on as it began; the event comes again with what is new."""
    work = Work(host)
    event = work.begin(host, {"text": "a"}, key="k")
    again = host.schedule("work", {"text": "b"}, MINUTE, key="k", on_conflict="replace")
    assert again.id == event.id
    work.end(host)
    assert work.done == [(event.id, "a")]
    clock.advance(MINUTE)
    host.run_until_idle(LONG)
    assert work.done == [(event.id, "a"), (event.id, "b")]
    assert stored(host, event).state is State.FINISHED


def test_a_replacement_follows_a_run_that_was_cancelled(host: Host, work: Work) -> None:
    """What was scheduled last is not lost to what was cancelled before."""
    event = work.begin(host, key="k")
    host.cancel(event.id)
    host.schedule("work", {"text": "b"}, HOUR, key="k", on_conflict="replace")
    work.end(host)
    assert stored(host, event).state is State.PENDING
    assert stored(host, event).reason is None


def test_a_taken_key_takes_all_of_a_request_back(host: Host) -> None:
    """Of many events none is stored when one may not be."""
    host.schedule("work", None, HOUR, key="k", allow_unknown=True)
    request = {"event_type": "work", "schedule": HOUR, "allow_unknown": True}
    with pytest.raises(KeyTaken) as caught:
        host.schedule_many([request, {**request, "key": "k", "on_conflict": "error"}])
    assert (caught.value.key, caught.value.event_id) == ("k", 1)
    assert host.events().total == 1


@pytest.mark.parametrize("on_conflict", ["keep", "replace"])
def test_a_request_that_is_repeated_within_its_time_is_done_once(
    host: Host, clock: SettableClock, work: Work, on_conflict: Any
) -> None:
    """``unique_for`` counts events that are over, since they were stored; then the key is free."""
    request: dict[str, Any] = {"key": "k", "unique_for": HOUR, "on_conflict": on_conflict}
    first = host.schedule("work", **request)
    host.run_until_idle(LONG)
    clock.advance(HOUR)
    assert host.schedule("work", **request).id == first.id
    with pytest.raises(KeyTaken):
        host.schedule("work", **(request | {"on_conflict": "error"}))
    assert host.schedule("work", origin="bot", **request).id != first.id
    clock.advance(timedelta(microseconds=1))
    assert host.schedule("work", **request).id != first.id
    host.run_until_idle(LONG)
    assert len(work.done) == 3


def test_a_key_without_a_time_is_free_once_its_event_is_over(host: Host, work: Work) -> None:
    """Only ``unique_for`` counts what is over."""
    first = host.schedule("work", key="k")
    host.run_until_idle(LONG)
    assert host.schedule("work", key="k").id != first.id
