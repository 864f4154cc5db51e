"""The SQLite store: one file, many processes on one kernel, WAL.

One connection writes and one reads, each behind a lock: SQLite has a single writer anyway, and
readers of a WAL file never wait for it. Every statement stands here under the name of its verb,
with the index it rides.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from horae.errors import KeyTaken, StoreUnsupported
from horae.settings import SqliteUrl
from horae.stores import _rows, _sqlite_open
from horae.stores import _statements as sql
from horae.stores._heads import Heads
from horae.stores._sqlite_gates import SqliteGates
from horae.stores.base import (
    PRIORITIES,
    Added,
    Backlog,
    CancelMissing,
    CatalogueEntry,
    Claim,
    Claimed,
    HostRecord,
    Lane,
    NewEvent,
    PluginRow,
    Provider,
    Settlement,
    carry_out,
    still_named,
)
from horae_hookspecs import Cause, Page, Run, ScheduledEvent, State


class SqliteStore:
    """See ``Store`` for what each verb does."""

    one_kernel = True

    def __init__(
        self, url: str, options: SqliteUrl, *, mounts: Path = Path("/proc/mounts")
    ) -> None:
        self.url = url
        self._options = options
        self._mounts = mounts
        self._reset()

    def _reset(self) -> None:
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._writing = threading.RLock()
        self._reading = threading.Lock()
        self._owner: int | None = None  # the thread whose transaction is open
        self._lanes: tuple[Lane, ...] | None = None
        self._known_lanes: dict[tuple[str, int, str], int] = {}
        self._heads = Heads()
        self._gates = SqliteGates(self._heads)
        self._seen_version = 0

    def open(self) -> None:
        """Connect, refuse what cannot keep the promises, and migrate."""
        if self._writer is not None:
            return
        path = Path(self._options.path)
        _sqlite_open.refuse_unsupported(path, self._mounts)
        with _sqlite_open.translated(self.url):
            try:
                self._writer = _sqlite_open.connect(self._options)
                _sqlite_open.migrate(self._writer, self.url)
                self._reader = _sqlite_open.connect(self._options)
                self._reader.execute("PRAGMA query_only = 1")
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close both connections; the last one out folds the WAL into the file."""
        with self._writing, self._reading:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None

    def before_fork(self) -> None:
        """SQLite's own locks in memory would be copied as they are, and never opened again."""
        self._writing.acquire()
        self._reading.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._reading.release()
        self._writing.release()

    def after_fork_in_child(self) -> None:
        """Keep the parent's connections unclosed for ever, since closing them would harm it."""
        _sqlite_open.ABANDONED.extend((self._writer, self._reader))
        was_open = self._writer is not None
        self._reset()
        if was_open:
            self.open()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE: the write lock is taken first, so no statement inside fails on it."""
        with self._writing, _sqlite_open.translated(self.url):
            if self._owner is not None:
                yield
                return
            writer = self._connection(self._writer)
            writer.execute("BEGIN IMMEDIATE")
            self._owner = threading.get_ident()
            try:
                yield
                writer.execute("COMMIT")
            except BaseException:
                self._forget()
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
            finally:
                self._owner = None

    # -- events

    def add(self, events: Sequence[NewEvent]) -> list[Added]:
        """A single event without a key is one statement; its commit is the one fsync."""
        lanes = self._intern(events)
        keyed = any(event.key is not None for event in events)
        if len(events) == 1 and not keyed and events[0].offset is None:
            with self._write() as writer:
                return [self._insert(writer, events[0], lanes[0])]
        with self.transaction(), self._write() as writer:
            if not keyed:
                return self._insert_many(writer, events, lanes)
            return [
                self._insert_once(writer, event, lane)
                for event, lane in zip(events, lanes, strict=True)
            ]

    def _insert(self, writer: sqlite3.Connection, event: NewEvent, lane: int) -> Added:
        event_id = writer.execute(sql.INSERT_EVENT, _event_row(event, lane)).lastrowid
        assert event_id is not None
        if event.offset is not None:
            writer.execute(sql.SET_DUE, (event.due_for(event_id), event_id))
        self._heads.lower(lane, event.priority, event.due)
        return Added(event_id, created=True)

    def _insert_many(
        self, writer: sqlite3.Connection, events: Sequence[NewEvent], lanes: Sequence[int]
    ) -> list[Added]:
        if not events:
            return []
        rows = [_event_row(event, lane) for event, lane in zip(events, lanes, strict=True)]
        writer.executemany(sql.INSERT_EVENT, rows)
        for event, lane in zip(events, lanes, strict=True):
            self._heads.lower(lane, event.priority, event.due)
        # AUTOINCREMENT counts up by one, and nobody else can write before this transaction ends.
        first = writer.execute(sql.LAST_EVENT).fetchone()[0] - len(rows) + 1
        ids = range(first, first + len(rows))
        spread = [pair for pair in zip(events, ids, strict=True) if pair[0].offset is not None]
        writer.executemany(sql.SET_DUE, [(event.due_for(i), i) for event, i in spread])
        return [Added(event_id, created=True) for event_id in ids]

    def _insert_once(self, writer: sqlite3.Connection, event: NewEvent, lane: int) -> Added:
        # Without a key it finds nobody, as nothing equals NULL.
        holder = writer.execute(sql.KEY_HOLDER, (event.key, event.origin or "")).fetchone()
        if holder is None:
            return self._insert(writer, event, lane)
        if event.on_conflict == "error":
            raise KeyTaken(str(event.key), event.origin, holder[0])
        return Added(holder[0], created=False)

    def _intern(self, events: Sequence[NewEvent]) -> list[int]:
        names = [(event.event_type, event.schema_version, event.kind) for event in events]
        known = self._lane_ids()
        missing = {name for name in names if name not in known}
        if missing:
            with self._write() as writer:
                writer.executemany(sql.INSERT_LANE, sorted(missing))
            self._lanes = None
            known = self._lane_ids()
        return [known[name] for name in names]

    def _lane_ids(self) -> dict[tuple[str, int, str], int]:
        self.lanes()
        return self._known_lanes

    def get(self, event_id: int) -> ScheduledEvent | None:
        """Rides the primary key."""
        return next(iter(self.events({"id": event_id}, 1, 0)), None)

    def events(self, filters: Mapping[str, Any], limit: int, after: int) -> Page[ScheduledEvent]:
        """Walks the primary key from ``after``."""
        where, parameters = _rows.conditions(filters, _rows.EVENT_FILTERS, "?")
        source = f"FROM horae_event e JOIN horae_lane l ON l.id = e.lane WHERE {where}"
        rows, total = self._page(
            f"SELECT {_rows.EVENT_COLUMNS} {source}", "e.id", source, parameters, limit, after
        )
        return _page([_rows.event(row) for row in rows], total, limit)

    def runs(self, filters: Mapping[str, Any], limit: int, after: int) -> Page[Run]:
        """Rides horae_run_claim where an event is named, else walks the primary key."""
        where, parameters = _rows.conditions(filters, _rows.RUN_FILTERS, "?")
        source = f"FROM horae_run r JOIN horae_lane l ON l.id = r.lane WHERE {where}"
        rows, total = self._page(
            f"SELECT {_rows.RUN_COLUMNS} {source}", "r.id", source, parameters, limit, after
        )
        return _page([_rows.run(row) for row in rows], total, limit)

    def _page(
        self, select: str, key: str, source: str, parameters: list[Any], limit: int, after: int
    ) -> tuple[list[Any], int]:
        with self._read() as reader:
            rows = reader.execute(
                f"{select} AND {key} > ? ORDER BY {key} LIMIT ?", [*parameters, after, limit + 1]
            ).fetchall()
            if not after and len(rows) <= limit:
                return rows, len(rows)
            total = reader.execute(f"SELECT count(*) {source}", parameters).fetchone()[0]
        return rows, total

    def last_run(self, event_id: int) -> Run | None:
        """Rides horae_run_claim backwards."""
        with self._read() as reader:
            row = reader.execute(sql.LAST_RUN, (event_id,)).fetchone()
        return None if row is None else _rows.run(row)

    def causes(self, filters: Mapping[str, Any]) -> dict[Cause, int]:
        """One walk over the runs that match."""
        where, parameters = _rows.conditions(filters, _rows.RUN_FILTERS, "?")
        with self._read() as reader:
            rows = reader.execute(sql.CAUSES.format(where=where), parameters).fetchall()
        return {Cause(row[0]): row[1] for row in rows}

    def cancel(self, event_id: int, reason: str, now: int) -> bool:
        """Two statements, of which at most one finds the event in its state."""
        with self.transaction(), self._write() as writer:
            cancelled = bool(
                writer.execute(sql.CANCEL_WAITING, (reason, event_id)).rowcount
                or writer.execute(sql.CANCEL_RUNNING, (reason, event_id)).rowcount
            )
            self._gates.give_way(writer, [event_id])
            return cancelled

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
            writer.executemany(sql.CANCEL_WAITING, [(missing.reason, one) for one in over])
            self._gates.give_way(writer, over)
            return sorted(over)

    def pause(self, event_id: int, paused: bool) -> bool:
        """Moves the event out of, or back into, the ready index."""
        with self.transaction(), self._write() as writer:
            self._heads.forget()
            changed = bool(writer.execute(sql.PAUSE, (paused, event_id)).rowcount)
            self._gates.give_way(writer, [event_id])
            return changed

    def run_now(self, event_id: int, now: int) -> bool:
        """min() in SQL takes two values: an occurrence that is overdue stays what it is."""
        with self._write() as writer:
            self._heads.forget()
            return bool(writer.execute(sql.RUN_NOW, {"now": now, "event": event_id}).rowcount)

    def overview(self) -> dict[tuple[str, State], int]:
        """A walk over all events."""
        with self._read() as reader:
            return {(row[0], State(row[1])): row[2] for row in reader.execute(sql.OVERVIEW)}

    def backlog(self, now: int) -> list[Backlog]:
        """Cost grows with the number of pending events, not of finished ones."""
        lanes = {lane.id: lane for lane in self.lanes()}
        with self._read() as reader:
            rows = reader.execute(sql.BACKLOG, {"now": now}).fetchall()
        return [Backlog(lanes[row[0]], *row[1:]) for row in rows]

    # -- claim and settle

    def lanes(self) -> Sequence[Lane]:
        """A small table, kept in memory until this or another process adds to it."""
        # Read through the writer: inside a transaction its own new lanes must be seen.
        with self._write() as writer:
            if self._lanes is None:
                lanes = tuple(Lane(*row) for row in writer.execute(sql.SELECT_LANES))
                self._known_lanes = {(e.event_type, e.schema_version, e.kind): e.id for e in lanes}
                self._lanes = lanes
            return self._lanes

    def claim(
        self, host_id: str, lanes: Mapping[int, Provider], now: int, limit: int
    ) -> Claimed | None:
        """Pick ids by range scans, then take them by primary key, all under the write lock."""
        with self.transaction(), self._write() as writer:
            host = writer.execute("SELECT name FROM horae_host WHERE id = ?", (host_id,)).fetchone()
            if host is None:
                return None
            self._heads.learn(lanes, PRIORITIES, lambda *pair: self._head(writer, *pair))
            gates = self._gates.of(writer, lanes)
            due = self._heads.due(gates.open_lanes(), now) if limit > 0 else []
            claims = self._take(writer, host_id, self._gates.pick(writer, gates, due, now, limit))
            # What was claimed from has a new head; without it next_due would miss the rest.
            self._heads.look_again(due, lambda *pair: self._head(writer, *pair))
            if gates:
                self._gates.enter(writer, gates, host_id, claims)
            self._record(writer, claims, lanes, (now, host[0]))
            return Claimed(claims, self._heads.earliest(gates.open_lanes()))

    def _record(
        self,
        writer: sqlite3.Connection,
        claims: Sequence[Claim],
        lanes: Mapping[int, Provider],
        where: tuple[int, str],
    ) -> None:
        ids: dict[tuple[str, str | None, int], list[int]] = {}
        for claim in claims:
            provider = lanes[claim.lane]
            code = (provider.plugin, provider.version, provider.generation)
            ids.setdefault(code, []).append(claim.event_id)
        for code, events in ids.items():
            writer.execute(sql.INSERT_RUNS, (*where, *code, json.dumps(events)))

    def _head(self, writer: sqlite3.Connection, lane: int, priority: int) -> int | None:
        row = writer.execute(sql.HEAD, (lane, priority)).fetchone()
        return row[0] if row else None

    def _take(self, writer: sqlite3.Connection, host_id: str, ids: list[int]) -> list[Claim]:
        if not ids:
            return []
        rows = writer.execute(sql.TAKE, (host_id, json.dumps(ids))).fetchall()
        claims = [Claim(*row) for row in rows]
        claims.sort(key=lambda claim: (claim.priority, claim.due, claim.event_id))
        return claims

    def settle(self, settlements: Sequence[Settlement]) -> set[tuple[int, int]]:
        """One look at who still holds its claim, then two updates by key for each of those."""
        with self.transaction(), self._write() as writer:
            ids = json.dumps([one.event_id for one in settlements])
            held = {row[:2]: row[2:] for row in writer.execute(sql.HELD, (ids,))}
            valid = [
                one._replace(will_retry=False) if held[one[:2]][0] else one
                for one in settlements
                if one[:2] in held
            ]
            writer.executemany(sql.SETTLE_EVENT, map(_event_end, valid))
            writer.executemany(sql.SETTLE_RUN, map(_run_end, valid))
            for one in valid:
                if one.due is not None:
                    self._heads.lower(one.lane, one.priority, one.due)
                if one.follow_ups:
                    carry_out(self, one.follow_ups, one.finished)
            self._gates.leave(writer, [one for one in valid if held[one[:2]][1]])
        return {one[:2] for one in settlements} - held.keys()

    def release(self, event_id: int, claim: int) -> None:
        """Rides horae_hold_event."""
        with self.transaction(), self._write() as writer:
            self._gates.release(writer, event_id, claim)

    def cancellations(self, host_id: str) -> set[int]:
        """Rides horae_event_running."""
        with self._read() as reader:
            rows = reader.execute(
                "SELECT id FROM horae_event "
                "WHERE state = 'running' AND host = ? AND cancel_requested = 1",
                (host_id,),
            ).fetchall()
        return {row[0] for row in rows}

    def poll(self) -> bool:
        """PRAGMA data_version moves when another connection commits: a look at shared memory."""
        with self._write() as writer:
            version = writer.execute("PRAGMA data_version").fetchone()[0]
            if version == self._seen_version:
                return False
            self._seen_version = version
            self._forget()
            return True

    def _forget(self) -> None:
        self._lanes = None
        self._heads.forget()

    # -- hosts

    def join(self, host: HostRecord) -> None:
        """An insert: ids are random for each start."""
        with self._write() as writer:
            writer.execute(
                "INSERT INTO horae_host VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _rows.host_row(host)
            )

    def beat(self, host: HostRecord, now: int) -> bool:
        """The counter is what others watch; the time is for people."""
        with self._write() as writer:
            changed = writer.execute(
                "UPDATE horae_host SET beat = beat + 1, beaten = ?, event_types = ?, kinds = ? "
                "WHERE id = ?",
                (now, json.dumps(dict(host.event_types)), json.dumps(list(host.kinds)), host.id),
            )
            return bool(changed.rowcount)

    def hosts(self) -> list[HostRecord]:
        """All rows of a table with one row for each living host."""
        with self._read() as reader:
            rows = reader.execute(
                "SELECT id, name, identity, pid, beat, beaten, event_types, kinds FROM horae_host"
            ).fetchall()
        return [_rows.host(row) for row in rows]

    def rescue(self, host_id: str, reason: str, now: int, cause: Cause = Cause.HOST_LOST) -> int:
        """Runs first: they are found by the claims that their events still hold."""
        with self.transaction(), self._write() as writer:
            writer.execute(sql.RESCUE_RUNS, (now, reason, cause, host_id))
            self._gates.leave_host(writer, host_id)
            rescued = writer.execute(
                sql.RESCUE_EVENTS, {"reason": reason, "host": host_id, "now": now}
            ).rowcount
            writer.execute("DELETE FROM horae_host WHERE id = ?", (host_id,))
            self._heads.forget()
            return rescued

    # -- catalogue and plugins

    def publish(self, entries: Sequence[CatalogueEntry]) -> None:
        """One upsert for each type."""
        with self.transaction(), self._write() as writer:
            writer.executemany(
                sql.PUBLISH,
                [
                    (
                        e.event_type,
                        e.schema_version,
                        e.plugin,
                        e.distribution,
                        e.version,
                        e.published,
                        e.schema,
                    )
                    for e in entries
                ],
            )

    def withdraw(self, event_types: Iterable[str], now: int) -> None:
        """One row for each type, whatever the number of its events: unload is O(1)."""
        with self.transaction(), self._write() as writer:
            writer.executemany(sql.WITHDRAW, [(now, event_type) for event_type in event_types])

    def catalogue(self) -> dict[str, CatalogueEntry]:
        """A small table: one row for each type."""
        with self._read() as reader:
            rows = reader.execute(
                "SELECT event_type, schema_version, plugin, distribution, version, published, "
                "withdrawn, schema, absent_from, absent_until FROM horae_event_type"
            ).fetchall()
        return {row[0]: CatalogueEntry(*row) for row in rows}

    def request_plugin(
        self,
        host: str,
        plugin: str,
        action: Literal["load", "unload", "upgrade"],
        drain: float | None = None,
    ) -> int:
        """An upsert that counts the request."""
        desired = "unloaded" if action == "unload" else "loaded"
        with self._write() as writer:
            rows = writer.execute(
                sql.REQUEST_PLUGIN, (host, plugin, desired, action, drain)
            ).fetchall()
            return int(rows[0][0])

    def report_plugin(self, row: PluginRow) -> None:
        """An upsert that leaves a newer request open."""
        with self._write() as writer:
            writer.execute(sql.REPORT_PLUGIN, _rows.plugin_report(row))

    def plugin_rows(self, host: str | None = None) -> list[PluginRow]:
        """A small table: plugins times hosts."""
        with self._read() as reader:
            rows = reader.execute(sql.PLUGIN_ROWS, {"host": host}).fetchall()
        return [_rows.plugin_row(row) for row in rows]

    def schema(self) -> int:
        """A table of one row for each migration."""
        with self._read() as reader:
            return int(reader.execute("SELECT max(version) FROM horae_schema").fetchone()[0])

    def check(self) -> list[str]:
        """SQLite's own look at every page."""
        with self._read() as reader:
            findings = [row[0] for row in reader.execute("PRAGMA integrity_check").fetchall()]
        return [] if findings == ["ok"] else findings

    # -- connections

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._writing, _sqlite_open.translated(self.url):
            yield self._connection(self._writer)

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        if self._owner == threading.get_ident():
            with self._write() as writer:
                yield writer  # only here does a transaction see what it wrote
            return
        with self._reading, _sqlite_open.translated(self.url):
            yield self._connection(self._reader)

    def _connection(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        if connection is None:
            raise StoreUnsupported(f"The store {self.url} is closed; open it, or start the host.")
        return connection


def _page(items: list[Any], total: int, limit: int) -> Page[Any]:
    kept = items[:limit]
    return Page(items=kept, total=total, next=kept[-1].id if len(items) > limit else None)


def _event_row(event: NewEvent, lane: int) -> tuple[Any, ...]:
    return (
        lane,
        event.priority,
        event.due,
        event.due,
        event.recurs,
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
    )


def _event_end(one: Settlement) -> tuple[Any, ...]:
    return (
        one.state,
        one.state,
        one.due,
        one.occurrence,
        one.attempt,
        one.interruptions,
        one.settled,
        one.covered,
        one.resource_outcomes,
        one.outcome,
        one.reason,
        one.event_id,
        one.claim,
    )


def _run_end(one: Settlement) -> tuple[Any, ...]:
    return (
        one.started,
        one.finished,
        one.outcome,
        one.will_retry,
        one.result,
        one.result_error,
        one.error,
        one.cause,
        one.covers,
        one.resources,
        one.event_id,
        one.claim,
    )
