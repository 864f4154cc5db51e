"""Types that come back after an absence: told before their first run, and taken on at a pace.

Thousands of their events may be overdue. With a rate, the host takes on no more of them per second
until what fell due in the absence is worked off; events of other types are not held up.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from horae import logs
from horae.clock import from_micros
from horae.registry import Absence, Snapshot
from horae.stores.records import Backlog, Claim, Claimed, Lane, Provider

SECOND: Final = 1_000_000

ClaimSome = Callable[[Mapping[int, Provider], int], Claimed | None]
"""Claims from these lanes, at most so many; None off the record, like ``Store.claim``."""


@attrs.define
class _Pace:
    """How much of a type's backlog may be taken on by now; at most a second's worth at once.

    ``credit`` is in millionths of an event.
    """

    absence: Absence
    rate: float
    seen: int
    credit: float = SECOND

    def allowance(self, now: int) -> int:
        """How many events may be claimed ``now``."""
        credit = self.credit + max(0, now - self.seen) * self.rate
        self.credit = min(credit, max(1.0, self.rate) * SECOND)
        self.seen = now
        return int(self.credit // SECOND)

    def take(self, count: int) -> int:
        """Note ``count`` claims; when the next is allowed."""
        self.credit -= count * SECOND
        return self.seen + max(0, -int((self.credit - SECOND) // self.rate))


class Reentries:
    """The types that are coming back to this host; for the engine's thread alone."""

    def __init__(self, rate: float | None, backlog: Callable[[int], Sequence[Backlog]]) -> None:
        self._rate = rate
        self._backlog = backlog
        self._known: dict[str, Absence] = {}
        self._paces: dict[str, _Pace] = {}
        self._lanes: dict[str, list[int]] = {}

    def look(self, snapshot: Snapshot, lanes: Sequence[Lane], now: int) -> None:
        """See which types are back; to be called before claims from what has changed."""
        back = {
            name: entry.absence
            for name, entry in snapshot.types.items()
            if entry.absence is not None and entry.absence != self._known.get(name)
        }
        self._known.update(back)
        self._tell([name for name, absence in back.items() if absence.returning], now)
        if self._rate is not None:
            for name, absence in back.items():
                self._paces[name] = _Pace(absence, self._rate, now)
        self._lanes = {
            name: [lane.id for lane in lanes if lane.event_type == name] for name in self._paces
        }

    def claim(
        self, providers: Mapping[int, Provider], now: int, limit: int, claim: ClaimSome
    ) -> Claimed | None:
        """Claim as ``claim`` does, and of each type that is coming back at its pace."""
        if not self._paces:
            return claim(providers, limit)
        claims: list[Claim] = []
        due: list[int] = []
        others = dict(providers)
        for name, pace in list(self._paces.items()):
            lanes = {lane: others.pop(lane) for lane in self._lanes[name] if lane in others}
            some = claim(lanes, min(limit - len(claims), pace.allowance(now))) if lanes else None
            if some is None:
                continue
            claims += some.claims
            next_allowed = pace.take(len(some.claims))
            if some.next_due is None:
                continue  # nothing is left, or it is held back: by a pause, or by a limit
            if some.next_due >= pace.absence.ended:
                del self._paces[name]
            due.append(max(some.next_due, next_allowed))
        rest = claim(others, limit - len(claims))
        if rest is None:
            return None
        if rest.next_due is not None:
            due.append(rest.next_due)
        return Claimed([*claims, *rest.claims], min(due, default=None))

    def _tell(self, names: Sequence[str], now: int) -> None:
        found: dict[str, list[Backlog]] = {name: [] for name in names}
        for one in self._backlog(now) if names else ():
            if one.lane.event_type in found:
                found[one.lane.event_type].append(one)
        for name, lanes in found.items():
            if lanes:
                absence = self._known[name]
                logs.get().info(
                    "type.back",
                    event_type=name,
                    pending=sum(lane.pending for lane in lanes),
                    overdue=sum(lane.overdue for lane in lanes),
                    oldest=from_micros(min(lane.oldest_due for lane in lanes)),
                    absent_from=from_micros(absence.began),
                    absent_until=from_micros(absence.ended),
                    rate=self._rate,
                )
