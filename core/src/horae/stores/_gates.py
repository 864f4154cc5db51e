"""Which of the due events a claim takes: the choice that all stores have in common.

A gate is a name with room for so many runs at once: that of an exclusive resource, of a type with
a limit, of a type and resource or origin. An event that meets a full gate is set aside, so that
no later claim looks at it again, and somebody who leaves the gate lets the next one go.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from horae.stores._heads import Pair
from horae.stores.records import Provider

TENTH: Final = 10
"""Of so many picks, one goes to the longest overdue."""

MOST_LOOKED_AT: Final = 4096
"""How many events one claim sets aside, at the most: a turn stays short."""

Row = tuple[Any, ...]
"""A due event: priority, due, id and lane; in a lane with gates also resource and origin."""

Closed: TypeAlias = tuple[Collection[str | None], Collection[str | None]]
"""Resources and origins whose events need not be looked at."""

NONE: Final[Closed] = ((), ())


def choose(found: Sequence[Row], limit: int, turn: int, passes: Callable[[Row], bool]) -> list[Row]:
    """Up to ``limit`` of what was ``found``, sorted already, as far as it ``passes``.

    By priority, then by due time; but every tenth pick, counted from ``turn`` on, is the longest
    overdue of all.
    """
    by_priority, by_due = iter(found), iter(sorted(found, key=lambda row: row[1:3]))
    chosen: list[Row] = []
    seen: set[int] = set()
    while len(chosen) < limit and len(seen) < len(found):
        last = (turn + len(chosen)) % TENTH == TENTH - 1
        row = next(row for row in (by_due if last else by_priority) if row[2] not in seen)
        seen.add(row[2])
        if passes(row):
            chosen.append(row)
    return chosen


class Gates:
    """What one claim knows of the gates: who passes, who is set aside, where there is room."""

    def __init__(self, lanes: Mapping[int, Provider], count: Callable[[str], int]) -> None:
        self._lanes = lanes
        self._count = count
        self._gated = {lane: provider for lane, provider in lanes.items() if provider.gated}
        self._held: dict[str, int] = {}
        self._entering: Counter[str] = Counter()
        self._rooms: dict[str, int] = {}
        self._closed: dict[int, dict[str, set[str | None]]] = defaultdict(lambda: defaultdict(set))
        self.full: list[tuple[str, int]] = []

    def __contains__(self, lane: int) -> bool:
        """Whether the events of ``lane`` have gates to pass."""
        return lane in self._gated

    def __bool__(self) -> bool:
        """Whether any of the lanes has gates."""
        return bool(self._gated)

    def open_lanes(self) -> Mapping[int, Provider]:
        """The lanes but for those whose type has as many runs as it may have."""
        closed = {
            lane
            for lane, provider in self._gated.items()
            if provider.concurrency.limit is not None
            and self._inside(provider.own_gate) >= provider.concurrency.limit
        }
        if not closed:
            return self._lanes
        return {lane: one for lane, one in self._lanes.items() if lane not in closed}

    def begin(self) -> None:
        """Forget who passed; the claim chooses anew among more."""
        self._entering.clear()
        self.full = []

    def passes(self, row: Row) -> bool:
        """Let an event through all of its gates; else note which one was ``full``."""
        provider = self._gated.get(row[3])
        if provider is None:
            return True
        gates = provider.gates(row[4], row[5])
        for gate in gates:
            if gate.field is not None:
                self._rooms[gate.name] = gate.room
            if self._inside(gate.name) >= gate.room:
                if gate.field is not None:
                    self.full.append((gate.name, row[2]))
                    self._closed[row[3]][gate.field].add(gate.value)
                return False
        self._entering.update(gate.name for gate in gates)
        return True

    def closed(self, lane: int) -> Closed:
        """The resources, and the origins, whose gates were full for events of ``lane``."""
        closed = self._closed[lane]
        return closed["resource"], closed["origin"]

    def of_event(self, lane: int, resource: str | None, origin: str | None) -> list[str]:
        """The gates that an event has to pass."""
        provider = self._gated.get(lane)
        return [] if provider is None else [gate.name for gate in provider.gates(resource, origin)]

    def with_room(self) -> list[str]:
        """The gates that were met and have room left: more may pass than have tried."""
        return [gate for gate, room in self._rooms.items() if self._inside(gate) < room]

    def _inside(self, gate: str) -> int:
        if gate not in self._held:
            self._held[gate] = self._count(gate)
        return self._held[gate] + self._entering[gate]


class Picker:
    """Chooses for the claims of one store; counts the picks between which it had a choice."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(
        self,
        gates: Gates,
        due: Sequence[Pair],
        limit: int,
        fetch: Callable[[Pair, int, Closed], Iterable[Row]],
        block: Callable[[Sequence[tuple[str, int]]], object],
    ) -> list[int]:
        """The ids to claim, from the pairs that have something ``due``.

        ``fetch`` gives the first rows of a pair in their order, but for those of some resources
        and origins; ``block`` sets events aside at their gates.
        """
        if not due:
            return []
        # Twice the fair share of each pair: enough that one busy type fills the batch when the
        # others have little, and bounded so that five hundred types stay cheap.
        share = limit if len(due) == 1 else max(1, 2 * limit // len(due))
        looked_at, past_closed = 0, False
        while True:
            found = [
                row
                for pair in due
                for row in fetch(pair, share, gates.closed(pair[0]) if past_closed else NONE)
            ]
            if len(due) > 1:
                found.sort()
            contended = len(found) > limit and found[0][0] != found[-1][0]
            gates.begin()
            if gates or contended:
                chosen = choose(found, limit, self._turn, gates.passes)
                block(gates.full)
            else:
                chosen = found[:limit]
            looked_at += len(found)
            if not gates.full or len(chosen) == limit or looked_at >= 2 * MOST_LOOKED_AT:
                break
            # Those in front have stepped aside: there may be more behind them. Of a great crowd
            # the next claims take care, and this one looks past it: to skip an event takes a
            # twentieth of what it takes to set it aside.
            past_closed = looked_at >= MOST_LOOKED_AT
            share = max(share, min(4 * share, MOST_LOOKED_AT // len(due)))
        self._turn += contended * len(chosen)
        return [row[2] for row in chosen]
