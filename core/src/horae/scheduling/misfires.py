"""Whether an occurrence is still run when its turn has come, late: pure functions.

What fell due while its type was absent is judged by ``absent``, all else by ``missed``. Lateness
is measured against the due time, spread included, and only where no attempt has begun: retries,
snoozes and what was interrupted have started in time, whenever they go on.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import attrs

from horae.clock import from_micros, to_micros
from horae.registry import Absence
from horae.scheduling.recurrence import COUNT_MISSED, MICROSECOND, dump_absent, missed_of
from horae.stores.records import Claim
from horae_hookspecs import Missed, Outcome, Policy, Schedule

SKIP_GRACE: Final = timedelta(minutes=1)
"""How late an occurrence may be that is skipped when it is missed, if nothing else is said."""

ReadSchedule = Callable[[], Schedule | None]
"""Loads the event's schedule; None while its kind is away. Only asked where it must be known."""


@attrs.frozen
class LeftOut:
    """What is not run, and why: everything that was due up to ``until``, in microseconds."""

    outcome: Outcome
    until: int
    reason: str


def left_out(
    claim: Claim, now: int, policy: Policy, absence: Absence | None, schedule: ReadSchedule
) -> LeftOut | None:
    """What has been missed for good when the claimed run would begin ``now``; None to run it."""
    if claim.covered is not None or claim.interruptions:
        return None
    missed = missed_of(claim, policy)
    if absence is not None and absence.began <= claim.due < absence.ended:
        found = _absent(claim, now, policy, absence)
    else:
        # What is due in a later absence is not for this rule, however late it is.
        end = absence.began if absence is not None and claim.due < absence.began else now
        found = _too_late(claim.due, now, missed, end)
    if found is None and missed.policy == "run_all" and claim.recurs:
        return _beyond_cap(claim, now, missed.cap, schedule())
    return found


def _absent(claim: Claim, now: int, policy: Policy, absence: Absence) -> LeftOut | None:
    absent = dump_absent(policy.absent) if claim.absent is None else claim.absent
    if absent == "hold":
        return None
    longest = 0 if absent == "skip" else int(absent)
    last = min(absence.ended, now - longest) - 1
    if claim.due > last:
        return None
    rule = "absent='skip'" if absent == "skip" else f"absent={_span(longest)}"
    return LeftOut(
        Outcome.SKIPPED,
        last,
        f"fell due while its type was absent, from {from_micros(absence.began)} to "
        f"{from_micros(absence.ended)}, and is late by {_span(now - claim.due)} ({rule})",
    )


def _too_late(due: int, now: int, missed: Missed, end: int) -> LeftOut | None:
    grace = missed.grace or (SKIP_GRACE if missed.policy == "skip" else None)
    if grace is None or now - due <= grace // MICROSECOND:
        return None
    return LeftOut(
        Outcome.MISSED,
        min(now - grace // MICROSECOND, end) - 1,
        f"late by {_span(now - due)}, more than the grace of {grace} (missed={missed.policy!r})",
    )


def _beyond_cap(claim: Claim, now: int, cap: int, schedule: Schedule | None) -> LeftOut | None:
    """With more due than the last ``cap`` occurrences, those before them.

    Where there are very many, those that are surely among them; the next claim finds the rest.
    """
    if schedule is None:
        return None
    offset = schedule.offset(claim.event_id) // MICROSECOND
    last = from_micros(now - offset)
    at = schedule.next_after(from_micros(claim.occurrence))
    nominal = [claim.occurrence]
    while at is not None and at <= last and len(nominal) < COUNT_MISSED + cap:
        nominal.append(to_micros(at))
        at = schedule.next_after(at)
    extra = len(nominal) - cap
    if extra <= 0:
        return None
    return LeftOut(
        Outcome.MISSED,
        nominal[extra - 1] + offset,
        f"late by {_span(now - claim.due)}, and not among the last {cap} that were missed "
        "(missed='run_all')",
    )


def _span(micros: int) -> timedelta:
    return timedelta(microseconds=micros)
