"""What becomes of an event when a run of it ends: a pure function, in one place.

An event never overlaps itself. What came due before a run started is covered by that run; what
comes due while it runs, or while its attempts last, waits and is then run once.
"""

import json
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from horae.clock import from_micros, to_micros
from horae.stores.base import Claim, NewEvent, Settlement
from horae_hookspecs import Outcome, Retry, Schedule, ScheduleError, State

KIND: Final = "kind"
"""The tag in a stored schedule."""

COUNTED: Final = (Outcome.FAILED, Outcome.TIMEOUT)
"""The outcomes that burn an attempt."""


@attrs.define
class Result:
    """How a run ended, as the runner saw it; instants in microseconds.

    ``after`` is the wait that the job asked for; ``quarantine`` sets the event aside.
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
    follow_ups: Sequence[NewEvent] = ()


def settlement(
    claim: Claim, result: Result, retry: Retry, kinds: Mapping[str, type[Schedule]]
) -> Settlement:
    """The event's next state after ``result``; whatever the schedule raises quarantines it."""
    covered = claim.covered if claim.covered is not None else result.started
    attempt = claim.attempt + (result.outcome in COUNTED)
    waits = dict(state=State.PENDING, occurrence=claim.occurrence, settled=claim.settled)
    if result.quarantine:
        step: dict[str, Any] = waits | dict(state=State.QUARANTINED, due=claim.due, attempt=attempt)
    elif result.outcome in (Outcome.RETURNED, Outcome.INTERRUPTED):
        step = waits | dict(due=claim.due, attempt=attempt, interruptions=claim.interruptions)
    elif result.outcome is Outcome.SNOOZED:
        due = result.finished + result.after // timedelta(microseconds=1)
        step = waits | dict(due=due, attempt=attempt, covered=covered)
    elif result.outcome in COUNTED and attempt < retry.attempts:
        due = result.finished + backoff(retry, attempt)
        step = waits | dict(due=due, attempt=attempt, covered=covered, will_retry=True)
    else:
        step = _conclude(claim, result, covered, kinds)
    return Settlement(
        **{
            "event_id": claim.event_id,
            "claim": claim.claim,
            "lane": claim.lane,
            "priority": claim.priority,
            "outcome": result.outcome,
            "started": result.started,
            "finished": result.finished,
            "interruptions": 0,
            "result": result.result,
            "result_error": result.result_error,
            "error": result.error,
            "reason": result.reason,
            "follow_ups": result.follow_ups,
            **step,
        }
    )


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
        return json.dumps(
            {KIND: schedule.kind, **schedule.to_json()}, allow_nan=False, separators=(",", ":")
        )
    except (TypeError, ValueError) as error:
        raise ScheduleError(
            f"Schedule kind {schedule.kind!r} stores itself as something that is no JSON: {error}.",
            value=schedule,
        ) from error


def _conclude(
    claim: Claim, result: Result, covered: int, kinds: Mapping[str, type[Schedule]]
) -> dict[str, Any]:
    concluded: dict[str, Any] = dict(
        occurrence=claim.occurrence, settled=claim.occurrence, attempt=0
    )
    if result.outcome is Outcome.CANCELLED:
        return concluded | dict(state=State.CANCELLED, due=None)
    try:
        schedule = load_schedule(claim.schedule, kinds)
        if schedule is None:
            # The kind vanished during the run: the outcome is kept, and whoever has the kind
            # again finds the occurrence settled and moves on to the next.
            return concluded | dict(state=State.PENDING, due=claim.occurrence)
        following = schedule.next_after(from_micros(max(claim.occurrence, covered)))
        due = None if following is None else to_micros(following)
    except BaseException as error:
        reason = f"the schedule cannot say when it is due next: {type(error).__name__}: {error}"
        return concluded | dict(state=State.QUARANTINED, due=claim.occurrence, reason=reason)
    if due is not None:
        return concluded | dict(state=State.PENDING, due=due, occurrence=due)
    failed = result.outcome in COUNTED or result.outcome is Outcome.SKIPPED
    return concluded | dict(state=State.FAILED if failed else State.FINISHED, due=None)
