"""Occurrences whose time passed before they could start: run once, run all, or skipped."""

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horae import Host, SettableClock
from horae.clock import from_micros
from horae.registry import Absence
from horae.scheduling.misfires import LeftOut, left_out
from horae.scheduling.recurrence import Result, dump_missed, load_schedule, settlement
from horae.stores.records import Claim
from horae_builtin_plugins.schedule import Interval
from horae_hookspecs import (
    Missed,
    Outcome,
    Policy,
    Retry,
    RetryLater,
    Run,
    RunContext,
    Schedule,
    ScheduledEvent,
    State,
    hookimpl,
)
from kit.events import LONG, outcomes, runs_of, stored
from kit.hosts import until
from scheduling.samples import EVERY_MINUTE, KINDS, MINUTE, NOW, SECOND, START, Spread, a_claim

FIVE = timedelta(minutes=5)
MINUTES = timedelta(minutes=1)


def judged(
    late: int, missed: Missed | str, claim: Claim | None = None, absence: Absence | None = None
) -> LeftOut | None:
    """What is left out of an event that begins ``late`` microseconds after it was due."""
    claim = claim or a_claim()
    policy = Policy(missed=missed)
    schedule = load_schedule(claim.schedule, KINDS)
    return left_out(claim, claim.due + late, policy, absence, lambda: schedule)


# -- the decision


@pytest.mark.parametrize("policy", ["run_once", "run_all", "skip"])
def test_within_its_grace_an_occurrence_is_run(policy: Any) -> None:
    """To the microsecond, by every policy."""
    missed = Missed(policy, grace=timedelta(minutes=3))
    assert judged(3 * MINUTE, missed) is None
    found = judged(3 * MINUTE + 1, missed)
    assert found is not None
    assert (found.outcome, found.until) == (Outcome.MISSED, NOW)
    assert f"late by 0:03:00.000001, more than the grace of 0:03:00 (missed={policy!r})" == (
        found.reason
    )


def test_by_default_late_work_is_run() -> None:
    """However late, and a minute late where it is to be skipped."""
    assert judged(10**6 * MINUTE, "run_once") is None
    assert judged(99 * MINUTE, "run_all") is None
    assert judged(MINUTE, "skip") is None
    assert judged(MINUTE + 1, "skip") is not None


@pytest.mark.parametrize(
    "begun", [{"covered": NOW}, {"interruptions": 1}, {"covered": NOW, "attempt": 2}]
)
def test_what_had_begun_is_not_missed(begun: dict[str, Any]) -> None:
    """A retry, a snooze or a rescue goes on late, and that is no misfire."""
    assert judged(10 * MINUTE, "skip", a_claim(**begun)) is None


def test_the_events_own_policy_counts() -> None:
    """Before the type's."""
    claim = a_claim(missed=dump_missed(Missed("skip", grace=timedelta(hours=1))))
    assert judged(60 * MINUTE, Missed(grace=timedelta(seconds=1)), claim) is None
    assert judged(60 * MINUTE + 1, "run_once", claim) is not None


@pytest.mark.parametrize(("late", "extra"), [(99, 0), (100, 1), (250, 151)])
def test_run_all_makes_up_for_the_last_ones_only(late: int, extra: int) -> None:
    """A hundred, the latest among them."""
    found = judged(late * MINUTE, "run_all")
    if not extra:
        assert found is None
    else:
        assert found is not None
        assert found.until == NOW + (extra - 1) * MINUTE
        assert "not among the last 100 that were missed (missed='run_all')" in found.reason


def test_a_spread_event_is_late_after_its_own_due_time() -> None:
    """The offset is no lateness; and where others are counted, theirs is none either."""
    claim = a_claim(Spread(), due=NOW + 20 * SECOND)
    assert judged(MINUTE, "skip", claim) is None
    assert judged(10 * MINUTE - 1, Missed("run_all", cap=10), claim) is None
    found = judged(10 * MINUTE, Missed("run_all", cap=10), claim)
    assert found is not None
    assert found.until == claim.due


def test_what_fell_due_in_an_absence_is_not_missed() -> None:
    """That is judged by ``absent``; an older occurrence is missed up to the absence only."""
    absence = Absence(NOW + 3 * MINUTE, NOW + 9 * MINUTE, returning=False)
    inside = a_claim(due=NOW + 4 * MINUTE, absent="hold")
    assert judged(60 * MINUTE, "skip", inside, absence) is None
    older = judged(60 * MINUTE, "skip", a_claim(), absence)
    assert older is not None
    assert older.until == NOW + 3 * MINUTE - 1


def test_what_fell_due_after_an_absence_is_not_skipped_with_it() -> None:
    """Were the type's first run much later than its return."""
    absence = Absence(NOW, NOW + 3 * MINUTE, returning=False)
    found = judged(60 * MINUTE, "run_once", a_claim(absent="skip"), absence)
    assert found is not None
    assert (found.outcome, found.until) == (Outcome.SKIPPED, NOW + 3 * MINUTE - 1)
    found = judged(60 * MINUTE, "run_once", a_claim(absent=59 * MINUTE), absence)
    assert found is not None
    assert found.until == NOW + MINUTE - 1
    outside = a_claim(due=NOW + 3 * MINUTE, absent="skip")
    assert judged(60 * MINUTE, "run_once", outside, absence) is None


# -- the whole life of an event: every occurrence once


@attrs.define
class Life:
    """An event with one host that looks now and then; runs take no time."""

    claim: Claim
    policy: Policy
    absence: Absence | None
    due: int | None = NOW
    account: list[tuple[int, int, Outcome, int]] = attrs.field(factory=list)

    def schedule(self) -> Schedule | None:
        """As the host loads it."""
        return load_schedule(self.claim.schedule, KINDS)

    def look(self, now: int, outcome: Outcome) -> None:
        """Run whatever is due, as often as it is."""
        while self.due is not None and self.due <= now:
            left = left_out(self.claim, now, self.policy, self.absence, self.schedule)
            result = Result(outcome, now, now, error="no" if outcome is Outcome.FAILED else None)
            if left is not None:
                result = Result(left.outcome, now, now, error=left.reason, left_out=left.until)
            after = settlement(self.claim, result, self.policy, KINDS)
            if after.settled == self.claim.occurrence:
                entry = (self.claim.occurrence, after.covers, after.outcome, now)
                self.account.append(entry)
            self.due = after.due
            if self.due is not None:
                assert after.occurrence is not None
                self.claim = self.claim._replace(
                    due=self.due,
                    occurrence=after.occurrence,
                    attempt=after.attempt,
                    covered=after.covered,
                    settled=after.settled,
                )


missed_policies = st.builds(
    Missed,
    st.sampled_from(["run_once", "run_all", "skip"]),
    st.none() | st.integers(1, 30).map(lambda n: n * MINUTES),
    st.integers(1, 20),
)
looks = st.lists(
    st.tuples(st.integers(0, 40 * MINUTE), st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED])),
    min_size=1,
    max_size=12,
)
absences = st.none() | st.builds(
    lambda begin, length: Absence(NOW + begin, NOW + begin + length, returning=False),
    st.integers(0, 60 * MINUTE),
    st.integers(1, 90 * MINUTE),
)
absent_policies = st.sampled_from(["hold", "skip", 7 * MINUTE])
schedules: st.SearchStrategy[Schedule] = st.sampled_from(
    [
        EVERY_MINUTE,
        Spread(),
        Interval(minutes=7, start=START),
        Interval(minutes=3, start=START, count=25),
    ]
)


@given(schedules, missed_policies, looks, absences, absent_policies, st.integers(1, 3))
def test_each_occurrence_is_run_covered_or_left_out_once(
    schedule: Schedule,
    missed: Missed,
    looks: list[tuple[int, Outcome]],
    absence: Absence | None,
    absent: str | int,
    attempts: int,
) -> None:
    """Whatever the downtimes, the account has every occurrence that came due, and each once."""
    offset = int(schedule.offset(1).total_seconds() * SECOND)
    retry = Retry(attempts=attempts, first=2 * MINUTES, jitter=0)
    claim = a_claim(schedule, due=NOW + offset, absent=absent)
    life = Life(claim, Policy(missed=missed, retry=retry), absence, NOW + offset)
    now = NOW
    for wait, outcome in looks:
        now += wait
        life.look(now, outcome)
    at: datetime | None = START
    for occurrence, covers, outcome, begun in life.account:
        assert at is not None
        assert from_micros(occurrence) == at, "a gap, or something twice"
        for _ in range(covers):
            assert at is not None
            due = at + timedelta(microseconds=offset)
            assert due <= from_micros(begun)
            at = schedule.next_after(at)
            if outcome is Outcome.MISSED and missed.grace and missed.policy != "run_all":
                assert from_micros(begun) - due > missed.grace
        if missed.policy == "run_all" and outcome not in (Outcome.MISSED, Outcome.SKIPPED):
            assert covers == 1
    if life.due is None:
        assert at is None
    elif life.claim.covered is None:  # else its attempts are not over, and those after it wait
        assert at is not None
        assert at + timedelta(microseconds=offset) > from_micros(now)


# -- through a host


@pytest.fixture
def ran(host: Host) -> list[datetime]:
    """The occurrences that the type ``job`` has run for, in order."""
    ran: list[datetime] = []
    host.register("job")(lambda context: ran.append(context.occurrence))
    return ran


def away(host: Host, clock: SettableClock, event: ScheduledEvent, by: timedelta) -> list[Run]:
    """No host runs from now until ``by`` after the event is due; what it is then recorded with."""
    due = stored(host, event).due
    assert due is not None
    clock.set(due + by)
    host.run_until_idle(LONG)
    return runs_of(host, event)


def test_by_default_one_run_covers_all(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """After five periods without a host there is one run, which says that it stands for five."""
    event = host.schedule("job", None, Interval(minutes=5))
    assert event.due is not None
    (run,) = away(host, clock, event, timedelta(minutes=22))
    assert ran == [event.due]
    assert (run.outcome, run.covers, run.occurrence) == (Outcome.SUCCEEDED, 5, event.due)
    assert stored(host, event).due == event.due + 5 * FIVE


def test_run_all_makes_up_for_each(host: Host, clock: SettableClock, ran: list[datetime]) -> None:
    """In order, each with the time that it was meant for."""
    event = host.schedule("job", None, Interval(minutes=5), missed="run_all")
    assert event.due is not None
    runs = away(host, clock, event, timedelta(minutes=22))
    assert ran == [event.due + n * FIVE for n in range(5)]
    assert [(run.occurrence, run.covers) for run in runs] == [(at, 1) for at in ran]
    assert stored(host, event).due == event.due + 5 * FIVE


def test_run_all_has_a_cap(host: Host, clock: SettableClock, ran: list[datetime]) -> None:
    """What lies beyond it is one row that says how many are missed."""
    event = host.schedule("job", None, Interval(minutes=5), missed=Missed("run_all", cap=2))
    assert event.due is not None
    missed, *runs = away(host, clock, event, timedelta(minutes=22))
    assert (missed.outcome, missed.covers, missed.occurrence) == (Outcome.MISSED, 3, event.due)
    assert "not among the last 2 that were missed" in str(missed.error)
    assert ran == [event.due + 3 * FIVE, event.due + 4 * FIVE]
    assert [run.outcome for run in runs] == [Outcome.SUCCEEDED] * 2


def test_skip_moves_on_to_the_next_to_come(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """Nothing is run; one row says how many were missed, how late the first was, and by what."""
    event = host.schedule("job", None, Interval(minutes=5), missed="skip")
    assert event.due is not None
    (run,) = away(host, clock, event, timedelta(minutes=22))
    assert (run.outcome, run.covers, ran) == (Outcome.MISSED, 5, [])
    assert run.error == "late by 0:22:00, more than the grace of 0:01:00 (missed='skip')"
    after = stored(host, event)
    assert (after.state, after.due) == (State.PENDING, event.due + 5 * FIVE)
    assert (after.last_outcome, after.reason) == (Outcome.MISSED, run.error)
    clock.set(event.due + 5 * FIVE)
    host.run_until_idle(LONG)
    assert ran == [event.due + 5 * FIVE]


def test_a_single_occurrence_that_is_skipped_expires(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """It is over, and says why."""
    event = host.schedule("job", None, FIVE, missed="skip")
    (run,) = away(host, clock, event, timedelta(minutes=1, microseconds=1))
    assert (run.outcome, run.covers, ran) == (Outcome.MISSED, 1, [])
    after = stored(host, event)
    assert (after.state, after.due) == (State.EXPIRED, None)
    assert "late by 0:01:00.000001" in str(after.reason)
    on_time = host.schedule("job", None, FIVE, missed="skip")
    (run,) = away(host, clock, on_time, timedelta(minutes=1))
    assert (run.outcome, len(ran)) == (Outcome.SUCCEEDED, 1)


@pytest.mark.parametrize("policy", ["run_once", "run_all", "skip"])
def test_what_is_later_than_its_grace_is_not_run(
    host: Host, clock: SettableClock, ran: list[datetime], policy: Any
) -> None:
    """The rest is: three of five are later than eleven minutes."""
    missed = Missed(policy, grace=timedelta(minutes=11))
    event = host.schedule("job", None, Interval(minutes=5), missed=missed)
    assert event.due is not None
    first, *runs = away(host, clock, event, timedelta(minutes=22))
    assert (first.outcome, first.covers) == (Outcome.MISSED, 3)
    assert [run.outcome for run in runs] == [Outcome.SUCCEEDED] * len(runs)
    assert sum(run.covers for run in runs) == 2
    assert len(ran) == (2 if policy == "run_all" else 1)


def test_the_types_policy_holds_where_the_event_has_none(host: Host, clock: SettableClock) -> None:
    """Given at ``register``, overruled in ``schedule``."""
    host.register("job", missed="skip")(lambda context: None)
    skipped = host.schedule("job", None, FIVE)
    run = host.schedule("job", None, FIVE, missed="run_once")
    away(host, clock, skipped, timedelta(hours=1))
    assert outcomes(host, skipped) == [Outcome.MISSED]
    assert outcomes(host, run) == [Outcome.SUCCEEDED]


def test_retries_and_snoozes_are_not_late(host: Host, clock: SettableClock) -> None:
    """An occurrence that has begun in time goes on, however long its host was away."""

    @host.register("job", missed="skip", retry=Retry(attempts=2))
    def job(context: RunContext) -> None:
        if context.attempt == 1:
            raise ValueError

    @host.register("later", missed="skip")
    def later(context: RunContext) -> None:
        if not runs_of(host, waits)[1:]:
            raise RetryLater(1)

    event, waits = host.schedule("job"), host.schedule("later")
    host.run_until_idle(LONG)
    clock.advance(timedelta(days=1))
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.FAILED, Outcome.SUCCEEDED]
    assert outcomes(host, waits) == [Outcome.SNOOZED, Outcome.SUCCEEDED]


def test_what_was_interrupted_is_not_late(
    host_on: Callable[..., Host], store_url: str, clock: SettableClock
) -> None:
    """Neither by the end of its host nor by the loss of it."""
    host = host_on(url=store_url, beat=0.1, lease=60)
    begun, release = threading.Semaphore(0), threading.Event()

    @host.register("job", missed="skip")
    def job(context: RunContext) -> None:
        begun.release()
        release.wait(LONG)

    event = host.schedule("job")
    host.start()
    assert begun.acquire(timeout=LONG)
    host.stop(drain=0)
    clock.advance(timedelta(hours=1))
    host.start()
    assert begun.acquire(timeout=LONG)
    lost = host.id
    assert lost is not None
    host.store.rescue(lost, "showed no sign of life", clock.micros())
    until(lambda: host.id != lost)
    clock.advance(timedelta(hours=1))
    release.set()
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [
        Outcome.INTERRUPTED,
        Outcome.INTERRUPTED,
        Outcome.SUCCEEDED,
    ]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), st.data())
def test_the_record_has_each_occurrence_once(jumps: list[int], data: st.DataObject) -> None:
    """Through a host: whatever the downtimes, the runs of an event leave no gap and no overlap."""
    clock = SettableClock(START - MINUTES)
    with Host("memory://", clock=clock) as host:
        host.load_plugin(SpreadKind())
        host.register("job")(lambda context: None)
        events = [
            host.schedule("job", None, data.draw(schedules), missed=data.draw(missed_policies))
            for _ in range(5)
        ]
        for minutes in jumps:
            clock.advance(timedelta(minutes=minutes))
            host.run_until_idle(LONG)
        for event in events:
            schedule = load_schedule(json.dumps(dict(event.schedule)), KINDS)
            assert schedule is not None
            at: datetime | None = START
            for run in host.runs(event_id=event.id, limit=1000):
                assert run.occurrence == at
                for _ in range(run.covers):
                    assert at is not None
                    at = schedule.next_after(at)
            due = stored(host, event).due
            assert due == (at and at + schedule.offset(event.id))
            assert due is None or due > clock.now()


class SpreadKind:
    """The plugin that brings the kind, and hears of what was missed."""

    def __init__(self) -> None:
        self.missed: list[Mapping[str, Any]] = []

    @hookimpl
    def horae_schedule_kinds(self) -> list[type[Schedule]]:
        return [Spread]

    @hookimpl
    def horae_event_missed(self, event_id: int, occurrence: datetime, skipped: int) -> None:
        self.missed.append({"event": event_id, "from": occurrence, "skipped": skipped})


def test_a_spread_event_is_on_time_at_its_own_due_time(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """The occurrence stays nominal; due it is twenty seconds later, over and over."""
    host.load_plugin(SpreadKind())
    missed = Missed("skip", grace=timedelta(seconds=1))
    event = host.schedule("job", None, Spread(), missed=missed)
    for n in range(3):
        due = stored(host, event).due
        assert due == START + n * MINUTES + timedelta(seconds=20)
        clock.set(due)
        host.run_until_idle(LONG)
    assert ran == [START + n * MINUTES for n in range(3)]
    assert outcomes(host, event) == [Outcome.SUCCEEDED] * 3


def test_observers_hear_of_what_was_missed(
    host: Host, clock: SettableClock, ran: list[datetime]
) -> None:
    """From which occurrence on, and how many; of what a run stood for, and of what was left out."""
    kind = SpreadKind()
    host.load_plugin(kind)
    covered = host.schedule("job", None, Interval(minutes=5))
    skipped = host.schedule("job", None, Interval(minutes=5), missed="skip")
    assert covered.due is not None
    away(host, clock, covered, timedelta(minutes=22))
    assert sorted(kind.missed, key=lambda one: one["event"]) == [
        {"event": covered.id, "from": covered.due + FIVE, "skipped": 4},
        {"event": skipped.id, "from": covered.due, "skipped": 5},
    ]


@pytest.mark.parametrize("policy", ["run_once", "run_all", "skip"])
def test_an_event_on_time_is_run_by_every_policy(
    host_on: Callable[..., Host], store_url: str, clock: SettableClock, policy: Any
) -> None:
    """Each of its occurrences."""
    host = host_on(url=store_url).start()
    host.register("job", missed=policy)(lambda context: None)
    event = host.schedule("job", None, Interval(minutes=5))
    for _ in range(4):
        clock.advance(FIVE)
        host.run_until_idle(LONG)
    assert [(run.outcome, run.covers) for run in runs_of(host, event)] == [
        (Outcome.SUCCEEDED, 1)
    ] * 4
