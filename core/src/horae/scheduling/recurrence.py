"""What becomes of an event when a run of it ends: a pure function, in one place.

An event never overlaps itself. What came due before a run started is covered by that run; what
comes due while it runs, or while its attempts last, waits and is then run once.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import attrs

from horae.clock import LATEST, from_micros, to_micros
from horae.errors import summarise
from horae.payloads import encode
from horae.stores.base import Claim, NewEvent, Settlement
from horae_hookspecs import Absent, Cause, Missed, Outcome, Retry, Schedule, ScheduleError, State

KIND: Final = "kind"
"""The tag in a stored schedule."""

MICROSECOND: Final = timedelta.resolution

COUNTED: Final = (Outcome.FAILED, Outcome.TIMEOUT)
"""The outcomes that burn an attempt."""


@attrs.define
class Result:
    """How a run ended, as the runner saw it; instants in microseconds.

    ``after`` is the wait that the job asked for; ``quarantine`` sets the event aside; ``final``
    says that an interrupted occurrence is not to be repeated, and not ``retryable`` that a failed
    one is not tried again.
    """

    outcome: Outcome
    started: int
    finished: int
    result: str | None = None
    result_error: str | None = None
    error: str | None = None
    reason: str | None = None
    after: timedelta = timedelta(0)
    quarantine: bool = False
    final: bool = False
    cause: Cause | None = None
    retryable: bool = True
    follow_ups: Sequence[NewEvent] = ()


def settlement(
    claim: Claim, result: Result, retry: Retry, kinds: Mapping[str, type[Schedule]]
) -> Settlement:
    """The event's next state after ``result``; whatever the schedule raises quarantines it."""
    attempt = claim.attempt + (result.outcome in COUNTED)
    waiting = Settlement(
        event_id=claim.event_id,
        claim=claim.claim,
        lane=claim.lane,
        priority=claim.priority,
        outcome=result.outcome,
        started=result.started,
        finished=result.finished,
        state=State.PENDING,
        due=claim.due,
        occurrence=claim.occurrence,
        attempt=attempt,
        interruptions=0,
        settled=claim.settled,
        covered=claim.covered,
        result=result.result,
        result_error=result.result_error,
        error=result.error,
        reason=result.reason,
        follow_ups=result.follow_ups,
        cause=result.cause,
    )
    covered = result.started if claim.covered is None else claim.covered
    if result.quarantine:
        return waiting._replace(state=State.QUARANTINED)
    if result.outcome in (Outcome.RETURNED, Outcome.INTERRUPTED) and not result.final:
        return waiting._replace(interruptions=claim.interruptions)
    if result.outcome is Outcome.SNOOZED:
        due = min(result.finished + result.after // timedelta(microseconds=1), to_micros(LATEST))
        return waiting._replace(due=due, covered=covered)
    if result.outcome in COUNTED and result.retryable and attempt < retry.attempts:
        due = result.finished + backoff(retry, attempt)
        return waiting._replace(due=due, covered=covered, will_retry=True)
    concluded = waiting._replace(settled=claim.occurrence, attempt=0, covered=None)
    return _move_on(concluded, claim, covered, kinds)


def backoff(retry: Retry, attempt: int) -> int:
    """Microseconds to wait after the ``attempt``-th failure."""
    try:
        wait = min(retry.first * retry.factor ** (attempt - 1), retry.longest)
    except OverflowError:
        wait = retry.longest
    spread = 1 + retry.jitter * random.uniform(-1, 1)  # noqa: S311 (no secret hangs on it)
    return int(wait.total_seconds() * 1e6 * spread)


def load_schedule(text: str, kinds: Mapping[str, type[Schedule]]) -> Schedule | None:
    """The schedule stored as ``text``, or None while its kind is not loaded."""
    data = json.loads(text)
    kind = kinds.get(data.pop(KIND))
    return None if kind is None else kind.from_json(data)


def dump_schedule(schedule: Schedule) -> str:
    """A schedule as tagged JSON text. Raises ScheduleError when it gives none."""
    try:
        return encode({KIND: schedule.kind, **schedule.to_json()})
    except (TypeError, ValueError) as error:
        raise ScheduleError(
            f"Schedule kind {schedule.kind!r} stores itself as something that is no JSON: {error}.",
            value=schedule,
        ) from error


def dump_missed(missed: Missed) -> str:
    """A policy for missed occurrences as JSON text."""
    grace = None if missed.grace is None else missed.grace // MICROSECOND
    return encode({"policy": missed.policy, "grace": grace, "cap": missed.cap})


def load_missed(text: str) -> Missed:
    """The policy stored as ``text``."""
    data = json.loads(text)
    grace = data.pop("grace")
    return Missed(**data, grace=None if grace is None else timedelta(microseconds=grace))


def dump_absent(absent: Absent) -> str | int | None:
    """A policy for absence as it is stored: None to hold, "skip", or microseconds."""
    if isinstance(absent, timedelta):
        return absent // MICROSECOND
    return None if absent == "hold" else absent


def offset_of(schedule: Schedule) -> Callable[[int], int] | None:
    """How much later than its occurrences an event is due, in microseconds, by the event's id;
    None for a schedule that spreads nothing.
    """
    if type(schedule).offset is Schedule.offset:
        return None
    return lambda event_id: schedule.offset(event_id) // MICROSECOND


def _move_on(
    concluded: Settlement, claim: Claim, covered: int, kinds: Mapping[str, type[Schedule]]
) -> Settlement:
    """On to the occurrence that follows, or over."""
    if concluded.outcome is Outcome.CANCELLED:
        return concluded._replace(state=State.CANCELLED, due=None)
    over = concluded._replace(state=State.FAILED if concluded.error else State.FINISHED, due=None)
    if not claim.recurs:
        return over
    # Where the kind vanished during the run, or cannot say, the event stays where it is: the
    # outcome is kept, and whoever claims it next finds its occurrence settled and moves on.
    stuck = concluded._replace(due=claim.occurrence)
    try:
        schedule = load_schedule(claim.schedule, kinds)
        if schedule is None:
            return stuck
        following = schedule.next_after(from_micros(max(claim.occurrence, covered)))
        due = None if following is None else to_micros(following)
    except BaseException as error:
        reason = f"the schedule cannot say when it is due next: {summarise(error)}"
        return stuck._replace(state=State.QUARANTINED, reason=reason)
    return over if due is None else concluded._replace(due=due, occurrence=due)
