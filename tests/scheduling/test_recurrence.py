"""``settlement``: what becomes of an event when a run of it ends, whatever the outcome."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horae import Host, SettableClock
from horae.clock import from_micros, to_micros
from horae.scheduling.recurrence import (
    COUNTED,
    Result,
    backoff,
    dump_missed,
    dump_schedule,
    load_schedule,
    settlement,
)
from horae.stores.records import Claim, Settlement
from horae_builtin_plugins.schedule import Cron, Interval, Once
from horae_hookspecs import (
    Cause,
    Missed,
    Outcome,
    Policy,
    Retry,
    RunContext,
    Schedule,
    ScheduleError,
    State,
)
from scheduling.samples import (
    EVERY_MINUTE,
    KINDS,
    MINUTE,
    NOW,
    SECOND,
    START,
    Spread,
    a_claim,
)

UNCOUNTED = (Outcome.SNOOZED, Outcome.RETURNED, Outcome.INTERRUPTED)
ENDING = (Outcome.SUCCEEDED, Outcome.SKIPPED, Outcome.FAILED, Outcome.TIMEOUT)

outcomes = st.sampled_from(list(Outcome))
retries = st.builds(Retry, attempts=st.integers(1, 5), jitter=st.floats(0, 1))
occurrences = st.integers(0, 500).map(lambda n: NOW + n * MINUTE)


def ended(
    outcome: Outcome, claim: Claim | None = None, policy: Policy | None = None, **details: Any
) -> Settlement:
    """How an event stands after a run of one second that began when it was due."""
    claim = claim or a_claim()
    times = {"started": claim.due, "finished": claim.due + SECOND}
    return settlement(claim, Result(outcome, **(times | details)), policy or Policy(), KINDS)


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    """Claims of recurring events, on time or late, in their first or a later attempt."""
    occurrence = draw(occurrences)
    due = occurrence + draw(st.integers(0, 3 * MINUTE))
    return a_claim(
        occurrence=occurrence,
        due=due,
        attempt=draw(st.integers(0, 4)),
        interruptions=draw(st.integers(0, 2)),
        settled=draw(st.none() | st.just(occurrence - MINUTE)),
        covered=draw(st.none() | st.just(due)),
    )


@st.composite
def results(
    draw: st.DrawFn, outcome: st.SearchStrategy[Outcome] = outcomes
) -> tuple[Claim, Result]:
    """A claim, and any end of a run of it that began when it was due, or later."""
    claim = draw(claims())
    started = claim.due + draw(st.integers(0, 10 * MINUTE))
    return claim, Result(
        draw(outcome),
        started=started,
        finished=started + draw(st.integers(0, 10 * MINUTE)),
        after=draw(st.timedeltas(timedelta(0), timedelta(minutes=5))),
        quarantine=draw(st.booleans()) and draw(st.booleans()),
    )


# -- what always holds


@given(results(), retries)
def test_an_event_never_loses_its_place(ended: tuple[Claim, Result], retry: Retry) -> None:
    """After any outcome of a run, an endless event waits, is set aside, or was cancelled."""
    claim, result = ended
    after = settlement(claim, result, Policy(retry=retry), KINDS)
    if after.state is State.CANCELLED:
        assert result.outcome is Outcome.CANCELLED
        assert after.due is None
    else:
        assert after.state is (State.QUARANTINED if result.quarantine else State.PENDING)
        assert after.due is not None
        assert after.occurrence is not None
    assert (after.event_id, after.claim, after.outcome) == (1, 1, result.outcome)


@given(results(), retries)
def test_an_occurrence_waits_or_is_concluded(ended: tuple[Claim, Result], retry: Retry) -> None:
    """Either the same occurrence comes again, or it is settled and the budget is new."""
    claim, result = ended
    after = settlement(claim, result, Policy(retry=retry), KINDS)
    if after.settled == claim.occurrence:
        assert after.attempt == 0
        assert after.occurrence == claim.occurrence or after.due == after.occurrence
    else:
        assert after.settled == claim.settled
        assert after.occurrence == claim.occurrence


@given(results(st.sampled_from(COUNTED)), retries)
def test_a_retry_keeps_its_occurrence(ended: tuple[Claim, Result], retry: Retry) -> None:
    """While budget is left the occurrence comes again, later, one attempt older."""
    claim, result = ended
    after = settlement(claim, attrs.evolve(result, quarantine=False), Policy(retry=retry), KINDS)
    assert after.will_retry == (claim.attempt + 1 < retry.attempts)
    if after.will_retry:
        assert (after.occurrence, after.attempt) == (claim.occurrence, claim.attempt + 1)
        assert after.due is not None
        assert after.due >= result.finished


@given(results(st.sampled_from([o for o in Outcome if o not in COUNTED])), retries)
def test_only_counted_outcomes_burn_an_attempt(ended: tuple[Claim, Result], retry: Retry) -> None:
    """An occurrence that comes again after any other outcome has the budget it had."""
    claim, result = ended
    after = settlement(claim, result, Policy(retry=retry), KINDS)
    if after.settled != claim.occurrence:
        assert after.attempt == claim.attempt


@given(results(st.sampled_from(ENDING)))
def test_the_next_occurrence_is_the_first_after_what_is_covered(
    ended: tuple[Claim, Result],
) -> None:
    """What came due up to the start of the first attempt is covered; what came due since waits."""
    claim, result = ended
    after = settlement(claim, attrs.evolve(result, quarantine=False), Policy(), KINDS)
    covered = result.started if claim.covered is None else claim.covered
    assert after.due is not None
    assert after.due > max(covered, claim.occurrence)
    assert after.due - MINUTE <= max(covered, claim.occurrence)
    assert (after.due - NOW) % MINUTE == 0
    assert (after.settled, after.attempt, after.covered) == (claim.occurrence, 0, None)


@given(retries, st.integers(1, 5000))
def test_backoff_stays_within_its_bounds(retry: Retry, attempt: int) -> None:
    """The wait is first * factor ** (n - 1), at most longest, moved by up to jitter of itself."""
    seconds = min(
        retry.first.total_seconds() * retry.factor ** min(attempt - 1, 100),
        retry.longest.total_seconds(),
    )
    wait = backoff(retry, attempt) / SECOND
    assert seconds * (1 - retry.jitter) - 1e-3 <= wait <= seconds * (1 + retry.jitter) + 1e-3


def test_backoff_survives_what_no_float_holds() -> None:
    """A factor to a power beyond all numbers is the longest wait."""
    retry = Retry(attempts=10**9, factor=10.0, jitter=0.0)
    assert backoff(retry, 10**6) == 3600 * SECOND


# -- outcome by outcome


@pytest.mark.parametrize(
    ("outcome", "error", "state"),
    [
        (Outcome.SUCCEEDED, None, State.FINISHED),
        (Outcome.FAILED, "no water", State.FAILED),
        (Outcome.TIMEOUT, "too slow", State.FAILED),
        (Outcome.SKIPPED, "its host was lost", State.FAILED),
        (Outcome.SKIPPED, None, State.FINISHED),
        (Outcome.CANCELLED, None, State.CANCELLED),
    ],
)
def test_a_last_occurrence_ends_the_event(
    outcome: Outcome, error: str | None, state: State
) -> None:
    """When nothing follows, the outcome decides the final state."""
    after = ended(outcome, a_claim(Once(START)), error=error)
    assert (after.state, after.due, after.settled) == (state, None, NOW)


@pytest.mark.parametrize(
    ("outcome", "covered"), [(Outcome.RETURNED, None), (Outcome.INTERRUPTED, NOW + 5 * MINUTE)]
)
def test_what_was_given_back_waits_as_before(outcome: Outcome, covered: int | None) -> None:
    """No attempt is burned, no time lost; what had begun is not missed when it begins again."""
    claim = a_claim(attempt=2, interruptions=1, settled=NOW - MINUTE)
    after = ended(outcome, claim, started=NOW + 5 * MINUTE)
    assert (after.state, after.due, after.occurrence) == (State.PENDING, NOW, NOW)
    assert (after.attempt, after.interruptions, after.covered) == (2, 1, covered)
    assert after.will_retry == (outcome is Outcome.INTERRUPTED)


def test_a_snooze_waits_as_long_as_the_job_says() -> None:
    """It burns no attempt, and covers what came due before the run."""
    after = ended(Outcome.SNOOZED, a_claim(attempt=1), after=timedelta(minutes=7))
    assert after.due == NOW + SECOND + 7 * MINUTE
    assert (after.occurrence, after.attempt, after.covered) == (NOW, 1, NOW)


def test_a_cancelled_run_ends_a_recurring_event() -> None:
    """A job that cancels its event has no next occurrence."""
    after = ended(Outcome.CANCELLED, reason="enough")
    assert (after.state, after.due, after.reason) == (State.CANCELLED, None, "enough")


def test_a_quarantined_result_keeps_the_occurrence() -> None:
    """What cannot be run is set aside as it stands, so that it can be repaired and run."""
    after = ended(Outcome.FAILED, quarantine=True, reason="does not fit")
    assert (after.state, after.due, after.occurrence) == (State.QUARANTINED, NOW, NOW)
    assert (after.settled, after.reason) == (None, "does not fit")


def test_an_outcome_in_between_ends_the_row_of_interruptions() -> None:
    """Any answer of the job shows that it does not kill its host."""
    assert ended(Outcome.FAILED, a_claim(interruptions=2)).interruptions == 0


def test_a_late_occurrence_stands_for_all_that_were_missed() -> None:
    """Ten minutes late, a minutely event runs once, and next at the following minute."""
    after = ended(Outcome.SUCCEEDED, started=NOW + 10 * MINUTE + 1, finished=NOW + 10 * MINUTE + 2)
    assert (after.due, after.settled) == (NOW + 11 * MINUTE, NOW)


def test_what_comes_due_during_a_run_is_run_once() -> None:
    """A run that lasts five minutes leaves one occurrence waiting, the first it overran."""
    after = ended(Outcome.SUCCEEDED, finished=NOW + 5 * MINUTE)
    assert after.due == NOW + MINUTE
    late = a_claim(occurrence=NOW + MINUTE, due=NOW + MINUTE, settled=NOW)
    second = ended(Outcome.SUCCEEDED, late, started=NOW + 5 * MINUTE, finished=NOW + 5 * MINUTE)
    assert second.due == NOW + 6 * MINUTE


def test_retries_cover_what_came_due_before_the_first_attempt_only() -> None:
    """What comes due while the attempts last waits, and is not swallowed by the last one."""
    policy = Policy(retry=Retry(attempts=2, first=timedelta(minutes=3), jitter=0.0))
    first = ended(Outcome.FAILED, policy=policy)
    assert (first.covered, first.due) == (NOW, NOW + SECOND + 3 * MINUTE)
    again = a_claim(due=first.due, attempt=first.attempt, covered=first.covered)
    assert ended(Outcome.SUCCEEDED, again, policy).due == NOW + MINUTE


def test_a_run_counts_what_it_stands_for() -> None:
    """The occurrence itself, and every other one that was due when it began."""
    late = NOW + 10 * MINUTE
    assert ended(Outcome.SUCCEEDED).covers == 1
    assert ended(Outcome.SUCCEEDED, started=late - 1, finished=late).covers == 10
    assert ended(Outcome.SUCCEEDED, started=late, finished=late).covers == 11
    assert ended(Outcome.SUCCEEDED, a_claim(recurs=False), started=late, finished=late).covers == 1


def test_counting_stops_at_a_thousand() -> None:
    """However long the host was away, the event goes on at the first occurrence to come."""
    late = NOW + 5000 * MINUTE
    after = ended(Outcome.SUCCEEDED, started=late, finished=late)
    assert (after.covers, after.due) == (1000, late + MINUTE)


def test_with_run_all_a_run_stands_for_its_own_occurrence() -> None:
    """Ten minutes late, the next one is the very next."""
    policy = Policy(missed="run_all")
    late = {"started": NOW + 10 * MINUTE, "finished": NOW + 10 * MINUTE}
    after = ended(Outcome.SUCCEEDED, policy=policy, **late)
    assert (after.covers, after.due) == (1, NOW + MINUTE)
    retry = ended(Outcome.SUCCEEDED, a_claim(covered=NOW + 9 * MINUTE), policy, **late)
    assert (retry.covers, retry.due) == (1, NOW + MINUTE)


def test_the_events_own_policy_overrules_the_types() -> None:
    """It is stored with the event."""
    claim = a_claim(missed=dump_missed(Missed("run_all")))
    assert ended(Outcome.SUCCEEDED, claim, started=NOW + MINUTE, finished=NOW + MINUTE).covers == 1
    claim = a_claim(missed=dump_missed(Missed()))
    policy = Policy(missed="run_all")
    after = ended(Outcome.SUCCEEDED, claim, policy, started=NOW + MINUTE, finished=NOW + MINUTE)
    assert after.covers == 2


@pytest.mark.parametrize("outcome", [Outcome.MISSED, Outcome.SKIPPED])
def test_what_is_left_out_ends_an_event_that_has_no_more_as_expired(outcome: Outcome) -> None:
    """Be it a single occurrence, or the last of a row."""
    details: dict[str, Any] = {"error": "too late", "left_out": NOW + 10 * MINUTE}
    once = ended(outcome, a_claim(recurs=False), **details)
    assert (once.state, once.due, once.covers) == (State.EXPIRED, None, 1)
    few = Interval(minutes=1, start=START, count=3)
    last = ended(outcome, a_claim(few), **details)
    assert (last.state, last.due, last.covers) == (State.EXPIRED, None, 3)


def test_what_is_left_out_is_counted_and_passed() -> None:
    """The event goes on at the first occurrence that is not left out, be that due or not."""
    after = ended(Outcome.MISSED, left_out=NOW + 4 * MINUTE, started=NOW + 9 * MINUTE, finished=NOW)
    assert (after.covers, after.due, after.settled) == (5, NOW + 5 * MINUTE, NOW)


def test_a_spread_event_is_due_later_than_its_occurrences() -> None:
    """The offset is added to the next due time and to nothing else."""
    claim = a_claim(Spread(), due=NOW + 20 * SECOND)
    after = ended(Outcome.SUCCEEDED, claim)
    assert (after.occurrence, after.due) == (NOW + MINUTE, NOW + MINUTE + 20 * SECOND)
    late = NOW + 3 * MINUTE + 19 * SECOND  # the fourth one is not due yet
    after = ended(Outcome.SUCCEEDED, claim, started=late, finished=late)
    assert (after.covers, after.occurrence) == (3, NOW + 3 * MINUTE)


def test_an_occurrence_that_was_settled_is_not_counted_again() -> None:
    """Only the next one was missing, because the kind was away; that is the very next."""
    claim = a_claim(settled=NOW)
    after = ended(Outcome.SKIPPED, claim, started=NOW + 9 * MINUTE, finished=NOW + 9 * MINUTE)
    assert (after.covers, after.due) == (0, NOW + MINUTE)


# -- retries


def test_an_occurrence_is_not_tried_again_beyond_its_age() -> None:
    """``max_age`` counts from the begin of the first try to that of the next."""
    policy = Policy(
        retry=Retry(attempts=9, first=timedelta(minutes=1), factor=1, jitter=0,
                    max_age=timedelta(minutes=3))
    )  # fmt: skip
    tried = a_claim(attempt=1, covered=NOW, due=NOW + MINUTE)
    in_time = ended(Outcome.FAILED, tried, policy, finished=NOW + 2 * MINUTE, error="no")
    assert (in_time.will_retry, in_time.due) == (True, NOW + 3 * MINUTE)
    too_old = ended(Outcome.FAILED, tried, policy, finished=NOW + 2 * MINUTE + 1, error="no")
    assert (too_old.will_retry, too_old.settled) == (False, NOW)


def test_what_is_not_retryable_concludes_its_occurrence() -> None:
    """Whatever budget is left."""
    policy = Policy(retry=Retry(attempts=9))
    after = ended(Outcome.FAILED, a_claim(recurs=False), policy, retryable=False, error="no")
    assert (after.state, after.will_retry) == (State.FAILED, False)


def test_the_cause_is_kept() -> None:
    """It goes from the result to the run."""
    assert ended(Outcome.TIMEOUT, cause=Cause.TIMEOUT).cause is Cause.TIMEOUT


# -- schedules that are away or broken


def test_the_outcome_is_kept_when_the_kind_is_away() -> None:
    """The event waits under the missing kind, with the occurrence noted as settled."""
    result = Result(Outcome.SUCCEEDED, started=NOW, finished=NOW + 1, result='"done"')
    after = settlement(a_claim(), result, Policy(), {})
    assert (after.state, after.due, after.occurrence) == (State.PENDING, NOW, NOW)
    assert (after.settled, after.outcome, after.result) == (NOW, Outcome.SUCCEEDED, '"done"')


@attrs.frozen
class Broken(Schedule):
    """A schedule whose code has a fault."""

    kind = "broken"

    def next_after(self, instant: datetime) -> datetime | None:
        """Not known."""
        raise SystemExit("no such moon")

    def to_json(self) -> dict[str, Any]:
        """Nothing to store."""
        return {}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Broken":
        """Nothing to read."""
        return cls()

    def __str__(self) -> str:
        return "when the moon says so"


@pytest.mark.parametrize("outcome", ENDING)
def test_a_schedule_that_raises_quarantines_its_event(outcome: Outcome) -> None:
    """The run's outcome stands; the event is set aside with what was raised."""
    result = Result(outcome, started=NOW, finished=NOW)
    after = settlement(a_claim(Broken()), result, Policy(), {"broken": Broken})
    assert (after.state, after.outcome, after.settled) == (State.QUARANTINED, outcome, NOW)
    assert after.reason == ("the schedule cannot say when it is due next: SystemExit: no such moon")


def test_a_schedule_that_does_not_move_on_quarantines_its_event() -> None:
    """It would come due for ever."""

    class Stuck(Broken):
        def next_after(self, instant: datetime) -> datetime | None:
            return START

    result = Result(Outcome.SUCCEEDED, started=NOW, finished=NOW)
    after = settlement(a_claim(Stuck()), result, Policy(), {"broken": Stuck})
    assert after.state is State.QUARANTINED
    assert "does not get past 2026-01-01 00:00:00+00:00" in str(after.reason)


def test_an_event_that_does_not_recur_needs_no_schedule() -> None:
    """It is concluded without a look at its schedule, whatever has become of the kind."""
    result = Result(Outcome.SUCCEEDED, started=NOW, finished=NOW)
    for kinds in (KINDS, {"broken": Broken}):
        after = settlement(a_claim(Broken(), recurs=False), result, Policy(), kinds)
        assert (after.state, after.due, after.settled) == (State.FINISHED, None, NOW)


@pytest.mark.parametrize("stored", ['{"kind":"interval"}', '{"kind":"cron","expression":7}'])
def test_a_schedule_that_cannot_be_read_quarantines_its_event(stored: str) -> None:
    """Damage in one row harms that event alone."""
    after = ended(Outcome.SUCCEEDED, a_claim()._replace(schedule=stored))
    assert after.state is State.QUARANTINED
    assert after.due == NOW


@pytest.mark.parametrize("schedule", [Once(START), EVERY_MINUTE, Cron("30 2 * * *", "UTC")])
def test_schedules_are_stored_as_tagged_json(schedule: Schedule) -> None:
    """What is dumped loads as an equal value, or as None while the kind is away."""
    text = dump_schedule(schedule)
    assert load_schedule(text, KINDS) == schedule
    assert load_schedule(text, {}) is None


def test_a_schedule_that_stores_no_json_is_refused() -> None:
    """The error names the kind and what was wrong."""

    class Unstorable(Broken):
        def to_json(self) -> dict[str, Any]:
            return {"at": START}

    with pytest.raises(ScheduleError, match=r"'broken' stores itself as something that is no JSON"):
        dump_schedule(Unstorable())


# -- the same through a running host


def test_a_host_skips_missed_occurrences_and_keeps_the_phase(
    host: Host, clock: SettableClock
) -> None:
    """An hour late, a five-minute event runs once and goes on in its old rhythm."""
    runs: list[datetime] = []

    @host.register("tide.mark")
    def mark(context: RunContext) -> None:
        runs.append(context.occurrence)

    with host:
        event = host.schedule("tide.mark", schedule=Interval(minutes=5))
        first = event.due
        assert first is not None
        clock.set(first + timedelta(minutes=62))
        host.run_until_idle(timeout=20)
        clock.advance(timedelta(minutes=3))
        host.run_until_idle(timeout=20)
    assert runs == [first, first + timedelta(minutes=65)]


def test_a_failing_run_is_repeated_and_then_moves_on(host: Host, clock: SettableClock) -> None:
    """Each attempt is a run of the same occurrence; the last failure settles it."""
    retry = Retry(attempts=3, first=timedelta(seconds=10), jitter=0.0)

    @host.register("tide.mark", retry=retry)
    def mark(context: RunContext) -> None:
        raise ValueError(context.idempotency_key)

    with host:
        event = host.schedule("tide.mark", schedule=Interval(hours=1))
        assert event.due is not None
        clock.set(event.due)
        for wait in (0, 10, 20):
            clock.advance(wait)
            host.run_until_idle(timeout=20)
        runs = list(host.runs(event_id=event.id))
        after = host.get(event.id)
    assert [(run.attempt, run.occurrence, run.will_retry) for run in runs] == [
        (1, event.due, True),
        (2, event.due, True),
        (3, event.due, False),
    ]
    assert len({run.error and run.error.splitlines()[-1] for run in runs}) == 1
    assert after is not None
    assert (after.state, after.attempt, after.due) == (
        State.PENDING,
        0,
        event.due + timedelta(hours=1),
    )
    assert from_micros(to_micros(event.due)) == event.due
