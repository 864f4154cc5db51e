"""The gates in the SQLite store: who is inside, who is set aside, and who goes next.

What keeps every event from being forgotten at a gate: whoever is inside lets the next one of each
lane go when it leaves. One that was let go has a row with claim 0 until it is settled, so it does
the same, whatever it was claimed under; and when it does not come to be claimed, since it was
cancelled, paused, or moved to another time or lane, ``give_way`` does it in its place. So in front
of every blocked event there is somebody inside the gate, or one of its own lane that was let go.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from horae.stores import _statements as sql
from horae.stores._gates import Closed, Gates, Picker, Row
from horae.stores._heads import Heads, Pair
from horae.stores._sqlite_connections import Db
from horae.stores.records import Claim, Provider, Settlement


class SqliteGates:
    """Guarded by the store's write lock; every verb is part of a transaction of its caller."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._picker = Picker()

    def of(self, writer: sqlite3.Connection, lanes: Mapping[int, Provider]) -> Gates:
        """The gates of these lanes, as one claim sees them."""
        return Gates(lanes, lambda gate: int(writer.execute(sql.INSIDE, (gate,)).fetchone()[0]))

    def pick(
        self,
        writer: sqlite3.Connection,
        gates: Gates,
        due: Sequence[Pair],
        now: int,
        limit: int,
    ) -> list[int]:
        """The ids to claim; those at full gates are set aside."""

        def fetch(pair: Pair, most: int, closed: Closed) -> Iterable[Row]:
            if pair[0] not in gates:
                return writer.execute(sql.PICK, (*pair, now, most))
            if not any(closed):
                return writer.execute(sql.PICK_GATED, (*pair, now, most))
            values = [json.dumps(list(one)) for one in closed]
            return writer.execute(sql.PICK_PAST, (*pair, now, *values, most))

        def block(full: Sequence[tuple[str, int]]) -> None:
            writer.executemany(sql.BLOCK, full)

        return self._picker.pick(gates, due, limit, fetch, block)

    def enter(
        self, writer: sqlite3.Connection, gates: Gates, host_id: str, claims: Iterable[Claim]
    ) -> None:
        """Record who is inside now, and let others go where there is room left."""
        writer.executemany(
            sql.ENTER,
            [
                (gate, claim.event_id, claim.claim, host_id)
                for claim in claims
                for gate in gates.of_event(claim.lane, claim.resource, claim.origin)
            ],
        )
        self._free(writer, gates.with_room())

    def leave(self, writer: sqlite3.Connection, settlements: Iterable[Settlement]) -> None:
        """These runs are over, but for those that keep what they hold."""
        left: set[str] = set()
        for one in settlements:
            claim = 0 if one.keeps_hold else one.claim
            left.update(row[0] for row in writer.execute(sql.LEAVE, (one.event_id, claim)))
        self._free(writer, left)

    def release(self, writer: sqlite3.Connection, event_id: int, claim: int) -> None:
        """A run that had kept its hold is over."""
        rows = writer.execute(sql.LEAVE, (event_id, claim)).fetchall()
        self._free(writer, [row[0] for row in rows])

    def leave_host(self, writer: sqlite3.Connection, host_id: str) -> None:
        """Nothing of this host is inside any more; called while its events still name it."""
        rows = writer.execute(sql.LEAVE_HOST, {"host": host_id}).fetchall()
        self._free(writer, {row[0] for row in rows})

    def give_way(self, writer: Db, events: Sequence[int]) -> None:
        """These events, but for those that run, do not try a gate soon, if ever: those behind them
        shall.
        """
        rows = writer.execute(sql.GIVE_WAY, (json.dumps(events),)).fetchall()
        self._free(writer, {row[0] for row in rows})

    def _free(self, writer: Db, gates: Iterable[str]) -> None:
        """Let the next event of each lane try these gates; harmless where one is full."""
        names = json.dumps(list(gates))
        if names == "[]":
            return
        rows = writer.execute(sql.NEXT_AT_GATES, (names,)).fetchall()
        writer.executemany(sql.BLOCK, [(None, event_id) for _, event_id, *_ in rows])
        writer.executemany(sql.ENTER, [(gate, event_id, 0, None) for gate, event_id, *_ in rows])
        for _, _, lane, priority, due in rows:
            self._heads.lower(lane, priority, due)
