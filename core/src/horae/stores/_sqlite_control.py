"""What a command changes of the events in a SQLite file: the verbs under "control" of ``Store``."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from horae.stores import _filters
from horae.stores import _statements as sql
from horae.stores._filters import EVENTS
from horae.stores._sqlite_adding import SqliteAdding, read_rules
from horae.stores.records import (
    FURTHEST,
    PAUSE_BITS,
    PRIORITIES,
    CancelMissing,
    Change,
    Claim,
    Planned,
    Provider,
    still_named,
)
from horae_hookspecs import Pause, PauseField, State


class SqliteControl(SqliteAdding):
    """The part of ``SqliteStore`` that cancels, pauses, and changes events."""

    def cancel(self, event_id: int, reason: str, now: int) -> bool:
        """Two statements, of which at most one finds the event in its state."""
        with self.transaction(), self._write() as writer:
            cancelled = self._cancel(writer, event_id, reason, now)
            self._gates.give_way(writer, [event_id])
            return cancelled

    def _cancel(self, writer: sqlite3.Connection, event_id: int, reason: str, now: int) -> bool:
        return bool(
            writer.execute(sql.CANCEL_WAITING, (reason, now, event_id)).rowcount
            or writer.execute(sql.CANCEL_RUNNING, (reason, event_id)).rowcount
        )

    def cancel_missing(self, missing: CancelMissing, now: int) -> list[int]:
        """One statement for events with one resource; those with several are looked at singly."""
        with self.transaction(), self._write() as writer:
            named = json.dumps(sorted(missing.resources))
            one_each = writer.execute(sql.MISSING, (missing.origin, named)).fetchall()
            over = [event_id for (event_id,) in one_each]
            for event_id, resources in writer.execute(sql.WITH_SEVERAL, (missing.origin,)):
                left = still_named(missing, resources)
                if left is None:
                    over.append(event_id)
                elif left != resources:
                    writer.execute(sql.NARROW, (left, event_id))
            writer.executemany(sql.CANCEL_WAITING, [(missing.reason, now, one) for one in over])
            self._gates.give_way(writer, over)
            return sorted(over)

    def cancel_all(self, filters: Mapping[str, Any], reason: str, now: int) -> int:
        """What the listing would find, one by one in one transaction."""
        where, parameters = _filters.conditions(EVENTS, filters, self._lanes_by_type())
        with self.transaction(), self._write() as writer:
            rows = writer.execute(sql.LIVE_WHERE.format(where=where), parameters)
            found = [row[0] for row in rows]
            cancelled = sum(self._cancel(writer, event_id, reason, now) for event_id in found)
            self._gates.give_way(writer, found)
            return cancelled

    def pause(self, event_id: int, paused: bool) -> bool:
        """Moves the event out of, or back into, the ready index."""
        values = {"bit": PAUSE_BITS[None], "paused": paused, "event": event_id}
        with self.transaction(), self._write() as writer:
            self._heads.forget()
            changed = bool(writer.execute(sql.PAUSE, values).rowcount)
            self._gates.give_way(writer, [event_id])
            return changed

    def add_pause(self, field: PauseField, value: str, now: int) -> bool:
        """A row; for an origin or a resource also a bit in each of its events."""
        with self.transaction(), self._write() as writer:
            added = writer.execute(sql.ADD_PAUSE, (field, value, now)).rowcount
            self._known_rules = None
            self._mark(writer, field, value, paused=True)
            return bool(added)

    def remove_pause(self, field: PauseField, value: str) -> bool:
        """The same backwards."""
        with self.transaction(), self._write() as writer:
            removed = writer.execute(sql.REMOVE_PAUSE, (field, value)).rowcount
            self._known_rules = None
            self._mark(writer, field, value, paused=False)
            return bool(removed)

    def _mark(
        self, writer: sqlite3.Connection, field: PauseField, value: str, *, paused: bool
    ) -> None:
        if field not in PAUSE_BITS:
            return  # the rule itself is all that the claim looks at
        found = [row[0] for row in writer.execute(sql.LIVE_OF[field], (value,))]
        bit = {"bit": PAUSE_BITS[field], "paused": paused}
        writer.executemany(sql.PAUSE, [{**bit, "event": event_id} for event_id in found])
        self._heads.forget()
        self._gates.give_way(writer, found)

    def pauses(self) -> list[Pause]:
        """A small table."""
        with self._read() as reader:
            return read_rules(reader)

    def _unpaused(
        self, writer: sqlite3.Connection, lanes: Mapping[int, Provider]
    ) -> Mapping[int, Provider]:
        """The lanes without those of paused types; a rule holds at once, whoever made it."""
        paused = {rule.value for rule in self._rules(writer) if rule.field == "event_type"}
        if not paused:
            return lanes
        names = {lane.id: lane.event_type for lane in self.lanes()}
        return {
            lane: one
            for lane, one in lanes.items()
            if names[lane] not in paused and one.event_type not in paused
        }

    def run_now(self, event_id: int, now: int) -> bool:
        """min() in SQL takes two values: an occurrence that is overdue stays what it is."""
        with self._write() as writer:
            self._heads.forget()
            return bool(writer.execute(sql.RUN_NOW, {"now": now, "event": event_id}).rowcount)

    def change(self, event_id: int, change: Change) -> bool:
        """By key: the event's row, and where its lane is another, that one's."""
        with self.transaction(), self._write() as writer:
            found = writer.execute(sql.CHANGEABLE, (event_id,)).fetchone()
            if found is None:
                return False
            state, ends, event_type, version, kind = found
            if ends and change.schedule is not None:
                return False
            name = (
                change.event_type or event_type,
                change.schema_version or version,
                change.kind or kind,
            )
            values = {"event": event_id, "lane": self._intern([name])[0]}
            writer.execute(sql.CHANGE, values | change.columns())
            if change.schedule is not None:
                statement = sql.SET_FOLLOWING if state == State.RUNNING else sql.SET_OCCURRENCE
                writer.execute(statement, (change.due, change.occurrence, event_id))
            elif change.arguments is not None:
                writer.execute(sql.REPAIR, (event_id,))
            if change.schedule is not None or name != (event_type, version, kind):
                self._gates.give_way(writer, [event_id])
            self._heads.forget()
            return True

    def _follow(self, writer: sqlite3.Connection, event_id: int) -> None:
        """What the event was changed to while it ran comes into force."""
        for row in writer.execute(sql.FOLLOW, (event_id,)).fetchall():
            self._heads.lower(*row)

    def planned(self, event_id: int) -> Planned | None:
        """By key."""
        return next(iter(self._planned([event_id])), None)

    def earliest(self, limit: int) -> list[Planned]:
        """A seek for each lane and priority, and rows only while they come before others'."""
        with self._read() as reader:
            lanes = [row[0] for row in reader.execute(sql.UNPAUSED_LANES)]
            first = _first(reader, lanes, limit)
        return self._planned(first)

    def _planned(self, events: Sequence[int]) -> list[Planned]:
        with self._read() as reader:
            rows = reader.execute(sql.PLANNED, (json.dumps(events),)).fetchall()
        return [Planned(Claim(*row[:-2]), *row[-2:]) for row in rows]


def _first(reader: sqlite3.Connection, lanes: Sequence[int], limit: int) -> list[int]:
    """The ids of the pending events of these lanes that are due first."""
    first = reader.execute(sql.FIRST_BLOCKED, (json.dumps(lanes), limit)).fetchall()
    for lane in lanes:
        for priority in PRIORITIES:
            last = first[-1][0] if len(first) == limit else FURTHEST
            found = reader.execute(sql.PICK, (lane, priority, last, limit)).fetchall()
            if found:
                first = sorted(first + [(row[1], row[2]) for row in found])[:limit]
    return [event_id for _, event_id in first]
