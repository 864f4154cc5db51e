"""How history leaves a SQLite file: found by reading, then deleted by key.

What is stale stays stale, so it can be looked for without the write lock, and the transaction is
as long as the deletes alone. Events are walked in order of ids, and what was created too late to
be stale by age is not looked at, thanks to the spans.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from horae.stores._filters import EVENTS
from horae.stores._sqlite_listing import BLOCK, END, SqliteListing, beyond, segments_of
from horae.stores.records import OVER, Pruned, Stale

_OVER: Final = f"state IN ({', '.join(repr(state.value) for state in OVER)})"

# Rides horae_event_lane, in order of ids within each lane.
OF_LANE: Final = f"""
SELECT id, claim, {_OVER} AS over,
       {_OVER} AND (ended < :before OR id <= :upto)
       AND NOT EXISTS (SELECT 1 FROM horae_hold WHERE event = horae_event.id)
       AND id <> (SELECT max(id) FROM horae_event)
       AND id <> ifnull((SELECT event FROM horae_run ORDER BY id DESC LIMIT 1), 0) AS stale
FROM horae_event INDEXED BY horae_event_lane WHERE lane = {{lane}} AND id >= :first AND id < :end
"""

OVER_OF_LANE: Final = f"""
SELECT id FROM horae_event INDEXED BY horae_event_lane WHERE lane = {{lane}} AND {_OVER}
"""

# Rides horae_run_claim.
RUNS_OF: Final = "SELECT id FROM horae_run WHERE event = ? ORDER BY claim LIMIT ?"

# Rides horae_run_claim, up to the first run that is to stay: runs of an event end in their order.
OLD_RUNS_OF: Final = """
SELECT id FROM horae_run
WHERE event = :event AND claim < max(
    :claim - ifnull(:runs, :claim) + 1,
    ifnull((SELECT claim FROM horae_run
            WHERE event = :event
                  AND (finished IS NULL OR :before IS NULL OR finished >= :before)
            ORDER BY claim LIMIT 1), :claim))
    AND claim < :claim
ORDER BY claim LIMIT :limit
"""

DELETE_RUN: Final = "DELETE FROM horae_run WHERE id = ?"

DELETE_EVENT: Final = "DELETE FROM horae_event WHERE id = ?"

# The blocks before the first row that is left; the last span stays, for the next one to follow it.
DELETE_SPANS: Final = """
DELETE FROM horae_span
WHERE source = '{source}' AND block < (SELECT min(id) FROM horae_{source}) / {size}
      AND block < (SELECT max(block) FROM horae_span WHERE source = '{source}')
"""


class Found(NamedTuple):
    """The ids of what is to be deleted, and where to go on."""

    events: list[int]
    runs: list[int]
    next: int | None


class SqliteRetention(SqliteListing):
    """The part of ``SqliteStore`` that deletes history."""

    def surplus(self, event_type: str, keep: int) -> int | None:
        """Walks the newest ``keep`` of each lane backwards, and what is not over among them."""
        lanes = self._lanes_by_type().get(event_type)
        if not lanes:
            return None
        found = _union(OVER_OF_LANE, lanes)
        with self._read() as reader:
            statement = f"{found} ORDER BY id DESC LIMIT 1 OFFSET ?"
            row = reader.execute(statement, (keep,)).fetchone()
        return None if row is None else int(row[0])

    def prunable(self, stale: Stale, after: int, limit: int) -> Pruned:
        """Reads only."""
        found = self._stale(stale, after, limit)
        return Pruned(len(found.events), len(found.runs), found.next)

    def prune(self, stale: Stale, after: int, limit: int) -> Pruned:
        """See the module docstring."""
        found = self._stale(stale, after, limit)
        if not (found.events or found.runs):
            return Pruned(0, 0, found.next)
        with self.transaction(), self._write() as writer:
            runs = writer.executemany(DELETE_RUN, [(one,) for one in found.runs]).rowcount
            events = writer.executemany(DELETE_EVENT, [(one,) for one in found.events]).rowcount
            for source in ("event", "run"):
                writer.execute(DELETE_SPANS.format(source=source, size=BLOCK))
        return Pruned(events, runs, found.next)

    def _stale(self, stale: Stale, after: int, limit: int) -> Found:
        lanes = self._lanes_by_type().get(stale.event_type)
        if not lanes:
            return Found([], [], None)
        with self._read() as reader:
            rows = list(_walk(reader, stale, lanes, after, limit))
            found = _choose(reader, stale, rows, limit)
        if found.next is None and len(rows) == limit:
            return found._replace(next=rows[-1][0])
        return found


def _walk(
    reader: sqlite3.Connection, stale: Stale, lanes: Sequence[int], after: int, limit: int
) -> Iterator[Any]:
    """The type's events after id ``after`` that may be stale or have stale runs."""
    statement = f"{_union(OF_LANE, lanes)} ORDER BY id LIMIT :limit"
    for first, end in beyond(_segments(reader, stale), after, False):
        bounds = {"first": first, "end": end, "before": stale.before, "upto": stale.upto or 0}
        for row in reader.execute(statement, {**bounds, "limit": limit}):
            yield row
            limit -= 1


def _segments(reader: sqlite3.Connection, stale: Stale) -> list[tuple[int, int]]:
    if stale.upto is not None or stale.runs is not None:
        return [(0, END)]
    return segments_of(reader, EVENTS, {"until": stale.before}) if stale.before else []


def _choose(
    reader: sqlite3.Connection, stale: Stale, rows: Sequence[tuple[int, int, int, int]], limit: int
) -> Found:
    """What of these events is stale, up to ``limit`` rows."""
    events: list[int] = []
    runs: list[int] = []
    for event_id, claim, over, goes in rows:
        room = limit - len(events) - len(runs)
        old = _runs(reader, stale, (event_id, claim, over, goes), room + 1)
        runs += old[:room]
        if len(old) + bool(goes) > room:
            return Found(events, runs, event_id - 1)
        if goes:
            events.append(event_id)
    return Found(events, runs, None)


def _runs(
    reader: sqlite3.Connection, stale: Stale, row: tuple[int, int, int, int], limit: int
) -> list[int]:
    event_id, claim, over, goes = row
    if goes:
        found = reader.execute(RUNS_OF, (event_id, limit))
    elif not over and claim > 1:
        bounds = {"before": stale.before, "runs": stale.runs, "limit": limit}
        found = reader.execute(OLD_RUNS_OF, {"event": event_id, "claim": claim, **bounds})
    else:
        return []
    return [run_id for (run_id,) in found]


def _union(statement: str, lanes: Sequence[int]) -> str:
    return " UNION ALL ".join(statement.format(lane=int(lane)) for lane in lanes)
