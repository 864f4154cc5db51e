"""What becomes of an event when a run of it ends: a pure function, in one place.

An event never overlaps itself. What came due before a run started is covered by that run, unless
each occurrence is to have its own; what comes due while it runs, or while its attempts last, waits.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from horae.clock import LATEST, from_micros, to_micros
from horae.errors import ChildError, summarise
from horae.payloads import encode
from horae.stores.records import Claim, Settlement, Step
from horae_hookspecs import (
    Absent,
    Cause,
    Missed,
    Outcome,
    Policy,
    Retry,
    Schedule,
    ScheduleError,
    State,
)

KIND: Final = "kind"
"""The tag in a stored schedule."""

MICROSECOND: Final = timedelta.resolution

COUNTED: Final = (Outcome.FAILED, Outcome.TIMEOUT)
"""The outcomes that burn an attempt."""

COUNT_MISSED: Final = 1000
"""Where the counting of missed occurrences stops: each costs a question to the schedule."""


@attrs.define
class Result:
    """How a run ended, as the runner saw it; instants in microseconds.

    ``after`` is the wait that the job asked for; ``quarantine`` sets the event aside; ``final``
    says that an interrupted occurrence is not to be repeated, and not ``retryable`` that a failed
    one is not tried again. ``left_out`` is there where nothing was run: what was due up to that
    instant is left out. ``resources`` has the outcomes of a multi-resource run, ``carried`` those
    that hold for what comes after it in the same occurrence; both JSON. ``keeps_hold`` says that
    the run was given up while its code goes on, ``crashed`` that its process ended before it did.
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
    left_out: int | None = None
    follow_ups: Sequence[Step] = ()
    resources: str | None = None
    carried: str | None = None
    keeps_hold: bool = False
    crashed: bool = False


def settlement(
    claim: Claim, result: Result, policy: Policy, kinds: Mapping[str, type[Schedule]]
) -> Settlement:
    """The event's next state after ``result``; whatever the schedule raises quarantines it."""
    # When the first attempt began: what came due until then is this occurrence's affair.
    began = result.started if claim.covered is None else claim.covered
    waiting = _waiting(claim, result)
    if _comes_again(waiting, claim, result, policy.retry, began):
        return waiting
    concluded = waiting
    concluded.settled = claim.occurrence
    concluded.attempt = 0
    concluded.covered = concluded.resource_outcomes = None
    if result.outcome is Outcome.CANCELLED:
        concluded.state, concluded.due = State.CANCELLED, None
    elif not claim.recurs:
        _end(concluded, result)
    elif result.left_out is not None:
        _move_on(concluded, claim, result, result.left_out, kinds)
    elif missed_of(claim, policy).policy == "run_all":
        _move_on(concluded, claim, result, None, kinds)
    else:
        _move_on(concluded, claim, result, began, kinds)
    return concluded


def _waiting(claim: Claim, result: Result) -> Settlement:
    """The same occurrence comes again, as it stood."""
    return Settlement(
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
        attempt=claim.attempt + (result.outcome in COUNTED),
        interruptions=0,
        settled=claim.settled,
        covered=claim.covered,
        result=result.result,
        result_error=result.result_error,
        error=result.error,
        reason=result.reason,
        follow_ups=result.follow_ups,
        cause=result.cause,
        resources=result.resources,
        resource_outcomes=claim.resource_outcomes if result.resources is None else result.carried,
        keeps_hold=result.keeps_hold,
    )


def _comes_again(
    waiting: Settlement, claim: Claim, result: Result, retry: Retry, began: int
) -> bool:
    """Whether the occurrence is not concluded with this run; ``waiting`` then says how it waits."""
    if result.quarantine:
        waiting.state = State.QUARANTINED
    elif result.outcome is Outcome.RETURNED:
        waiting.interruptions = claim.interruptions
    elif result.outcome is Outcome.INTERRUPTED and not result.final:
        waiting.interruptions = claim.interruptions
        waiting.covered, waiting.will_retry = began, True
    elif result.outcome is Outcome.SNOOZED:
        waiting.due = min(result.finished + result.after // MICROSECOND, to_micros(LATEST))
        waiting.covered = began
    elif result.outcome in COUNTED and result.retryable:
        next_try = _next_try(retry, waiting.attempt, began, result.finished)
        if next_try is None:
            return False
        waiting.due, waiting.covered, waiting.will_retry = next_try, began, True
    else:
        return False
    return True


def _end(concluded: Settlement, result: Result) -> None:
    """Nothing follows: the event ends with this run."""
    concluded.due = None
    if result.left_out is not None:
        concluded.state = State.EXPIRED
    else:
        concluded.state = State.FAILED if result.error else State.FINISHED


def missed_of(claim: Claim, policy: Policy) -> Missed:
    """What becomes of an event's missed occurrences: its own policy, or that of its type."""
    return policy.missed if claim.missed is None else load_missed(claim.missed)


def _next_try(retry: Retry, attempt: int, began: int, finished: int) -> int | None:
    """When an occurrence whose first try ``began`` then is tried again, if it is."""
    if attempt >= retry.attempts:
        return None
    due = finished + backoff(retry, attempt)
    too_late = retry.max_age is not None and due - began > retry.max_age // MICROSECOND
    return None if too_late else due


def worth_retrying(retry: Retry, error: BaseException) -> bool:
    """Whether what a job raised is of a kind that is tried again."""
    if isinstance(error, ChildError):
        return error.retryable  # it was judged where the classes are
    return isinstance(error, retry.on) and not isinstance(error, retry.never)


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


def read_schedule(text: str, kinds: Mapping[str, type[Schedule]]) -> Schedule | None:
    """The same, and None also for one that its kind cannot read."""
    try:
        return load_schedule(text, kinds)
    except Exception:
        return None


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


def dump_absent(absent: Absent) -> str | int:
    """A policy for absence as it is stored: its name, or microseconds."""
    return absent // MICROSECOND if isinstance(absent, timedelta) else absent


def offset_of(schedule: Schedule) -> Callable[[int], int] | None:
    """How much later than its occurrences an event is due, in microseconds, by the event's id;
    None for a schedule that spreads nothing.
    """
    if not schedule.spread:
        return None
    return lambda event_id: schedule.offset(event_id) // MICROSECOND


def _move_on(
    concluded: Settlement,
    claim: Claim,
    result: Result,
    until: int | None,
    kinds: Mapping[str, type[Schedule]],
) -> None:
    """On to the first occurrence that is due after ``until``, or over; None is the very next.

    Where the kind vanished during the run, or cannot say, the event stays where it is: the outcome
    is kept, and whoever claims it next finds its occurrence settled and moves on.
    """
    was_settled = claim.settled == claim.occurrence
    concluded.due = claim.occurrence
    try:
        schedule = load_schedule(claim.schedule, kinds)
        if schedule is None:
            return
        offset = schedule.offset(claim.event_id) // MICROSECOND
        last = claim.occurrence if until is None or was_settled else until - offset
        covers, following = _stride(schedule, claim.occurrence, last)
        nominal = None if following is None else to_micros(following)
    except BaseException as error:
        concluded.state = State.QUARANTINED
        concluded.reason = f"the schedule cannot say when it is due next: {summarise(error)}"
        return
    concluded.covers = covers - was_settled  # the run that settled it has stood for it
    if nominal is None:
        _end(concluded, result)
    else:
        concluded.due, concluded.occurrence = nominal + offset, nominal


def _stride(schedule: Schedule, occurrence: int, until: int) -> tuple[int, datetime | None]:
    """How many occurrences there are from ``occurrence`` up to ``until``, that one included, and
    the first one after them; beyond COUNT_MISSED they are not counted.
    """
    last = from_micros(max(occurrence, until))
    covers, following = 1, schedule.next_after(from_micros(occurrence))
    while following is not None and following <= last:
        if covers == COUNT_MISSED:
            following = schedule.next_after(last)
            break
        covers += 1
        following = schedule.next_after(following)
    if following is not None and following <= last:
        raise ScheduleError(f"{schedule} does not get past {last}.", value=schedule)
    return covers, following
