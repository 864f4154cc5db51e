"""The gates in the dictionary store: the same rules as in the SQLite store, and told there."""

from collections.abc import Iterable, Mapping, Sequence

from horae.stores._gates import Closed, Gates, Picker, Row
from horae.stores._heads import Pair
from horae.stores._memory_rows import Data, Event
from horae.stores.records import Claim, Provider, Settlement
from horae_hookspecs import State


class MemoryGates:
    """Guarded by the store's lock."""

    def __init__(self) -> None:
        self._picker = Picker()

    def of(self, data: Data, lanes: Mapping[int, Provider]) -> Gates:
        """The gates of these lanes, as one claim sees them."""
        return Gates(lanes, lambda gate: sum(g == gate and c > 0 for g, _, c in data.holds))

    def pick(
        self, data: Data, gates: Gates, ready: Iterable[Event], now: int, limit: int
    ) -> list[int]:
        """The ids to claim; those at full gates are set aside."""
        pairs: dict[Pair, list[Row]] = {}
        for event in ready:
            if event.due is not None and event.due <= now:
                new = event.new
                row = (new.priority, event.due, event.id, event.lane.id, new.resource, new.origin)
                pairs.setdefault((event.lane.id, new.priority), []).append(row)

        def block(full: Sequence[tuple[str, int]]) -> None:
            for gate, event_id in full:
                event = data.events[event_id]
                event.blocked = gate
                pairs[event.lane.id, event.new.priority].remove(
                    next(r for r in pairs[event.lane.id, event.new.priority] if r[2] == event_id)
                )

        for rows in pairs.values():
            rows.sort()

        def fetch(pair: Pair, most: int, closed: Closed) -> Sequence[Row]:
            rows = [r for r in pairs[pair] if r[4] not in closed[0] and r[5] not in closed[1]]
            return rows[:most]

        return self._picker.pick(gates, list(pairs), limit, fetch, block)

    def enter(self, data: Data, gates: Gates, host_id: str, claims: Iterable[Claim]) -> None:
        """Record who is inside now, and let others go where there is room left."""
        for claim in claims:
            for gate in gates.of_event(claim.lane, claim.resource, claim.origin):
                data.holds[gate, claim.event_id, claim.claim] = host_id
        self._free(data, gates.with_room())

    def leave(self, data: Data, settlements: Iterable[Settlement]) -> None:
        """These runs are over, but for those that keep what they hold."""
        over = {(one.event_id, claim) for one in settlements for claim in _claims_of(one)}
        self._drop(data, [key for key in data.holds if key[1:] in over])

    def release(self, data: Data, event_id: int, claim: int) -> None:
        """A run that had kept its hold is over."""
        self._drop(data, [key for key in data.holds if key[1] == event_id and key[2] in (claim, 0)])

    def leave_host(self, data: Data, host_id: str, lost: Iterable[Event]) -> None:
        """Nothing of this host is inside any more; ``lost`` is what it ran."""
        ids = {event.id for event in lost}
        self._drop(
            data,
            [k for k, host in data.holds.items() if host == host_id or (k[2] == 0 and k[1] in ids)],
        )

    def give_way(self, data: Data, events: Sequence[int]) -> None:
        """These events, but for those that run, do not try a gate soon, if ever: those behind them
        shall.
        """
        idle = {one for one in events if data.events[one].state is not State.RUNNING}
        self._drop(data, [key for key in data.holds if key[1] in idle and key[2] == 0])

    def _drop(self, data: Data, keys: Sequence[tuple[str, int, int]]) -> None:
        for key in keys:
            del data.holds[key]
        self._free(data, {gate for gate, _, _ in keys})

    def _free(self, data: Data, gates: Iterable[str]) -> None:
        """Let the next event of each lane try these gates; harmless where one is full."""
        wanted = set(gates)
        if not wanted:
            return
        queue: dict[tuple[str, int], list[Event]] = {}
        for event in data.events.values():
            if event.blocked in wanted and not event.paused:
                queue.setdefault((str(event.blocked), event.lane.id), []).append(event)
        for (gate, _), events in queue.items():
            first = min(events, key=lambda event: (event.new.priority, event.due or 0, event.id))
            first.blocked = None
            data.holds[gate, first.id, 0] = None


def _claims_of(one: Settlement) -> tuple[int, ...]:
    return (0,) if one.keeps_hold else (0, one.claim)
