"""What is still to come: the rules by which events move on, applied before it happens.

A forecast asks ``left_out`` and ``settlement``, as the runs themselves do, as if every run ended
well at the instant at which it begins. So it says what then happens, unless somebody interferes.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final

from horae.clock import Clock, from_micros
from horae.registry import Registry
from horae.scheduling.misfires import LeftOut, left_out
from horae.scheduling.recurrence import Result, load_schedule, settlement
from horae.stores.records import Claim, Planned
from horae_hookspecs import Outcome, Policy, Schedule, State, Upcoming

_ORDER: Final = attrgetter("due", "event_id")


class Forecast:
    """What is to come from now on, as things are loaded now."""

    def __init__(
        self, registry: Registry, kinds: Mapping[str, type[Schedule]], clock: Clock
    ) -> None:
        self._types = registry.snapshot.types
        self._kinds = kinds
        self._now = clock.micros()

    def of_event(self, planned: Planned | None, count: int) -> list[Upcoming]:
        """The next occurrences of one event."""
        return [] if planned is None else list(islice(self._coming(planned), count))

    def of_all(self, earliest: Callable[[int], Sequence[Planned]], count: int) -> list[Upcoming]:
        """The next occurrences of all events; ``earliest`` gives those that are due first."""
        asked = count
        while True:
            planned = earliest(asked)
            merged = heapq.merge(*map(self._coming, planned), key=_ORDER)
            found = list(islice(merged, count))
            # What is missed for good makes room for events that are due behind those asked for.
            if len(planned) < asked or (
                len(found) == count and found[-1].due <= from_micros(planned[-1].claim.due)
            ):
                return found
            asked *= 4

    def _coming(self, planned: Planned) -> Iterator[Upcoming]:
        entry = self._types.get(planned.event_type)
        policy = Policy() if entry is None else entry.policy
        now = self._now
        claim = self._after_run(planned, policy)
        while claim is not None:
            now = max(now, claim.due)
            missed = self._left_out(planned.event_type, claim, policy, now)
            if missed is None and claim.settled != claim.occurrence:
                yield Upcoming(
                    due=from_micros(claim.due),
                    event_id=claim.event_id,
                    event_type=planned.event_type,
                    occurrence=from_micros(claim.occurrence),
                )
            result = Result(Outcome.SUCCEEDED, started=now, finished=now)
            if missed is not None:
                result.left_out = missed.until
            claim = self._following(claim, result, policy)

    def _after_run(self, planned: Planned, policy: Policy) -> Claim | None:
        """The event as it stands once the run that is under way has ended."""
        if planned.started is None:
            return planned.claim
        result = Result(Outcome.SUCCEEDED, started=planned.started, finished=self._now)
        return self._following(planned.claim, result, policy)

    def _left_out(self, event_type: str, claim: Claim, policy: Policy, now: int) -> LeftOut | None:
        entry = self._types.get(event_type)
        absence = None if entry is None else entry.absence
        try:
            return left_out(
                claim, now, policy, absence, lambda: load_schedule(claim.schedule, self._kinds)
            )
        except BaseException:
            return None  # the settlement asks the same schedule, and finds that nothing follows

    def _following(self, claim: Claim, result: Result, policy: Policy) -> Claim | None:
        """The event with its next occurrence; None where there is none, or nobody can say."""
        after = settlement(claim, result, policy, self._kinds)
        due, occurrence = after.due, after.occurrence
        if after.state is not State.PENDING or due is None or occurrence is None:
            return None
        if occurrence == claim.occurrence:  # its schedule kind is away
            return None
        return claim._replace(
            due=due,
            occurrence=occurrence,
            settled=after.settled,
            covered=None,
            attempt=0,
            interruptions=0,
        )
