"""How events get into a SQLite file, through the store's own connection or a caller's.

``add`` is told a connection or a cursor, and is part of the transaction that is open there.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from horae.clock import from_micros
from horae.errors import KeyTaken, StoreUnsupported
from horae.stores import _sqlite_open
from horae.stores import _statements as sql
from horae.stores._filters import EVENTS
from horae.stores._heads import Heads
from horae.stores._sqlite_connections import Db
from horae.stores._sqlite_gates import SqliteGates
from horae.stores._sqlite_listing import SqliteListing
from horae.stores._sqlite_values import write_all, write_one
from horae.stores.records import Added, Lane, NewEvent
from horae_hookspecs import Pause, State

Name: TypeAlias = tuple[str, int, str]
"""What a lane is known by: event type, schema version and schedule kind."""

RECENT: Final = 0.04
"""Seconds; to look at the file for each event that is added would be a tenth of adding it."""

SAVEPOINT: Final = "horae_request"


def lane_of(event: NewEvent) -> Name:
    """The lane that an event belongs to."""
    return event.event_type, event.schema_version, event.kind


def add(db: Db, events: Sequence[NewEvent], lanes: Sequence[int]) -> list[Added]:
    """Store events, or what their keys ask for. Raises KeyTaken; see ``Store.add``."""
    if any(event.key is not None for event in events):
        return [_add_once(db, *pair) for pair in zip(events, lanes, strict=True)]
    return _insert_many(db, events, lanes)


def insert(db: Db, event: NewEvent, lane: int) -> Added:
    """Store one event, whatever its key."""
    event_id = write_one(db, sql.INSERT_EVENT, event_row(event, lane))
    if event.offset is not None:
        db.execute(sql.SET_DUE, (event.due_for(event_id), event_id))
    return Added(event_id, created=True)


def _insert_many(db: Db, events: Sequence[NewEvent], lanes: Sequence[int]) -> list[Added]:
    if not events:
        return []
    write_all(db, sql.INSERT_EVENT, map(event_row, events, lanes))
    # Ids count up by one, and nobody else can write before this transaction ends.
    last = db.execute(sql.LAST_EVENT).fetchone()[0]
    ids = range(last - len(events) + 1, last + 1)
    spread = [pair for pair in zip(events, ids, strict=True) if pair[0].offset is not None]
    db.executemany(sql.SET_DUE, [(event.due_for(i), i) for event, i in spread])
    return [Added(event_id, created=True) for event_id in ids]


def _add_once(db: Db, event: NewEvent, lane: int) -> Added:
    # Without a key it finds nobody, as nothing equals NULL.
    names = (event.key, event.origin or "")
    holder = db.execute(sql.KEY_HOLDER, names).fetchone()
    if holder is not None and event.on_conflict == "replace":
        _replace(db, holder, event, lane)
        return Added(holder[0], created=False, replaced=True)
    if holder is None and event.unique_since is not None:
        holder = db.execute(sql.KEY_LAST_HOLDER, (*names, event.unique_since)).fetchone()
    if holder is None:
        return insert(db, event, lane)
    if event.on_conflict == "error":
        raise KeyTaken(str(event.key), event.origin, holder[0])
    return Added(holder[0], created=False)


def _replace(db: Db, holder: tuple[int, str], event: NewEvent, lane: int) -> None:
    event_id, state = holder
    values = (
        lane,
        event.priority,
        event.recurs,
        event.arguments,
        event.schedule,
        event.resource,
        event.description,
        event.user,
        event.resources,
        event.missed,
        event.absent,
        event.origin,
        event.resource,
    )
    db.execute(sql.REPLACE, (*values, event_id))
    statement = sql.SET_FOLLOWING if state == State.RUNNING else sql.SET_OCCURRENCE
    db.execute(statement, (event.due_for(event_id), event.due, event_id))


def event_row(event: NewEvent, lane: int) -> tuple[Any, ...]:
    """The parameters of INSERT_EVENT."""
    return (
        lane,
        event.priority,
        event.due,
        event.due,
        int(event.recurs),
        event.arguments,
        event.schedule,
        event.key,
        event.resource,
        event.origin,
        event.description,
        event.user,
        event.resources,
        event.missed,
        event.absent,
        event.created,
        event.origin,
        event.resource,
    )


def read_rules(db: Db) -> list[Pause]:
    """A small table: what is held back by type, origin or resource."""
    rows = db.execute(sql.PAUSES).fetchall()
    return [Pause(field, value, from_micros(since)) for field, value, since in rows]


def _with_pauses(
    events: Sequence[NewEvent], added: list[Added], rules: Sequence[Pause]
) -> list[Added]:
    if not rules:
        return added
    return [
        attrs.evolve(one, paused=one.created and event.held_by(rules))
        for event, one in zip(events, added, strict=True)
    ]


# -- in a caller's transaction


@contextmanager
def joined(connection: object, path: Path, url: str) -> Iterator[sqlite3.Cursor]:
    """A cursor in the transaction of a caller's ``connection``, for one request that happens as a
    whole or not at all; whether it lasts is for the caller's commit to say.

    Where the connection is in autocommit mode and no transaction is open, the request is one of
    its own, durable at the end. Raises StoreUnsupported for a connection to another database, and
    TypeError for what is none.
    """
    with _sqlite_open.translated(url):
        connection = _own(connection, path, url)
        cursor = connection.cursor()
        cursor.row_factory = None  # a caller's may give anything for a row
        alone = not connection.in_transaction
        # As the first statement: a read before it could make the write fail, when somebody else
        # has written in between.
        cursor.execute("BEGIN IMMEDIATE" if alone else f"SAVEPOINT {SAVEPOINT}")
        try:
            yield cursor
            if not alone:
                cursor.execute(f"RELEASE {SAVEPOINT}")
            elif _commits_by_itself(connection):
                cursor.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                cursor.execute("ROLLBACK" if alone else f"ROLLBACK TO {SAVEPOINT}")
                if not alone:
                    cursor.execute(f"RELEASE {SAVEPOINT}")
            raise


def intern(db: Db, names: Sequence[Name]) -> list[int]:
    """The ids of lanes in a caller's transaction, which may be rolled back: nobody keeps them."""
    db.executemany(sql.INSERT_LANE, sorted(set(names)))
    ids = {name: db.execute(sql.LANE_ID, name).fetchone()[0] for name in set(names)}
    return [ids[name] for name in names]


def _own(connection: object, path: Path, url: str) -> sqlite3.Connection:
    if not isinstance(connection, sqlite3.Connection):
        raise TypeError(f"connection={connection!r} is no sqlite3.Connection.")
    cursor = connection.cursor()
    cursor.row_factory = None
    databases = cursor.execute("PRAGMA database_list").fetchall()
    file = next(file for _, name, file in databases if name == "main")
    if not file or not os.path.samefile(file, path):
        raise StoreUnsupported(
            f"The connection is to {file or 'a database in memory'}, and the store is {url}: one "
            "transaction cannot hold both. Connect to the store's own file."
        )
    return connection


def _commits_by_itself(connection: sqlite3.Connection) -> bool:
    """Whether the connection is in autocommit mode. From Python 3.12 on that is an attribute,
    whose default leaves it to isolation_level as before.
    """
    return connection.isolation_level is None or getattr(connection, "autocommit", -1) is True


class SqliteAdding(SqliteListing):
    """The part of ``SqliteStore`` that adds events, and knows the lanes they are added to."""

    def _reset(self) -> None:
        super()._reset()
        self._lanes: tuple[Lane, ...] | None = None
        self._known_lanes: dict[Name, int] = {}
        self._heads = Heads()
        self._gates = SqliteGates(self._heads)
        self._seen_version = 0
        self._known_rules: list[Pause] | None = None
        self._rules_version = 0
        self._rules_read = 0.0

    def _forget(self) -> None:
        super()._forget()
        self._lanes = self._known_rules = None
        self._heads.forget()

    def add(self, events: Sequence[NewEvent], connection: object | None = None) -> list[Added]:
        """A single event without a key is one statement; its commit is the one fsync."""
        if connection is not None:
            return self._add_joined(events, connection)
        lanes = self._intern([lane_of(event) for event in events])
        if len(events) == 1 and events[0].key is None and events[0].offset is None:
            with self._write() as writer:
                added = [insert(writer, events[0], lanes[0])]
                self._heads.lower(lanes[0], events[0].priority, events[0].due)
                self._span(writer, EVENTS, added[0].id)
                return _with_pauses(events, added, self._recent_rules(writer))
        with self.transaction(), self._write() as writer:
            added = add(writer, events, lanes)
            for event, lane in zip(events, lanes, strict=True):
                self._heads.lower(lane, event.priority, event.due)
            self._gates.give_way(writer, [one.id for one in added if one.replaced])
            self._span(writer, EVENTS, max((one.id for one in added), default=0))
            return _with_pauses(events, added, self._recent_rules(writer))

    def _rules(self, writer: sqlite3.Connection) -> list[Pause]:
        """The rules, kept until this or another process changes any."""
        # Other connections' commits move the number, this one's own do not.
        version = writer.execute("PRAGMA data_version").fetchone()[0]
        if self._known_rules is None or version != self._rules_version:
            self._known_rules, self._rules_version = read_rules(writer), version
        self._rules_read = time.monotonic()
        return self._known_rules

    def _recent_rules(self, writer: sqlite3.Connection) -> list[Pause]:
        """For telling how a new event stands, which may change in the next moment anyway."""
        if self._known_rules is None or time.monotonic() - self._rules_read > RECENT:
            return self._rules(writer)
        return self._known_rules

    def _add_joined(self, events: Sequence[NewEvent], connection: object) -> list[Added]:
        # Nothing here waits for the store's own connections: one of them may itself wait for the
        # end of the caller's transaction.
        gates = SqliteGates(Heads())
        with self._joined(connection) as cursor:
            added = add(cursor, events, intern(cursor, [lane_of(event) for event in events]))
            gates.give_way(cursor, [one.id for one in added if one.replaced])
            return _with_pauses(events, added, read_rules(cursor))

    def _joined(self, connection: object) -> AbstractContextManager[sqlite3.Cursor]:
        return joined(connection, Path(self._options.path), self.url)

    def _intern(self, names: Sequence[Name]) -> list[int]:
        known = self._lane_ids()
        missing = {name for name in names if name not in known}
        if missing:
            with self._write() as writer:
                writer.executemany(sql.INSERT_LANE, sorted(missing))
            self._lanes = None
            known = self._lane_ids()
        return [known[name] for name in names]

    def _lane_ids(self) -> dict[Name, int]:
        self.lanes()
        return self._known_lanes

    def lanes(self) -> Sequence[Lane]:
        """A small table, kept in memory until this or another process adds to it."""
        # Read through the writer: inside a transaction its own new lanes must be seen.
        with self._write() as writer:
            if self._lanes is None:
                lanes = tuple(Lane(*row) for row in writer.execute(sql.SELECT_LANES))
                self._known_lanes = {(e.event_type, e.schema_version, e.kind): e.id for e in lanes}
                self._lanes = lanes
            return self._lanes
