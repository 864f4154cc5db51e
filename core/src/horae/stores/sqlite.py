"""The SQLite store: one file, many processes on one kernel, WAL.

Every statement stands here under the name of its verb, with the index it rides. How events are
added and changed by command stands in ``_sqlite_adding`` and ``_sqlite_control``, how they go in
``_sqlite_retention``.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import starmap
from operator import attrgetter
from typing import Any, Final

from horae.stores import _rows
from horae.stores import _statements as sql
from horae.stores._filters import RUNS
from horae.stores._sqlite_installations import SqliteInstallations
from horae.stores._sqlite_retention import SqliteRetention
from horae.stores._sqlite_transfer import SqliteTransfer
from horae.stores._sqlite_values import write_all
from horae.stores.base import carry_out
from horae.stores.records import (
    PRIORITIES,
    Backlog,
    CatalogueEntry,
    Claim,
    Claimed,
    HostRecord,
    PluginAction,
    PluginRow,
    Progress,
    Provider,
    Settlement,
)
from horae_hookspecs import Cause, ScheduledEvent

_TURN: Final = attrgetter("priority", "due", "event_id")
"""In what order claims are handed over."""


class SqliteStore(SqliteTransfer, SqliteRetention, SqliteInstallations):
    """See ``Store`` for what each verb does."""

    one_kernel = True

    # -- events

    def get(self, event_id: int, connection: object | None = None) -> ScheduledEvent | None:
        """Rides the primary key."""
        with self._read() if connection is None else self._joined(connection) as reader:
            row = reader.execute(sql.EVENT, (event_id,)).fetchone()
        return None if row is None else _rows.event(row)

    def backlog(self, now: int) -> list[Backlog]:
        """Cost grows with the number of pending events, not of finished ones."""
        lanes = {lane.id: lane for lane in self.lanes()}
        with self._read() as reader:
            rows = reader.execute(sql.BACKLOG, {"now": now}).fetchall()
        return [Backlog(lanes[row[0]], *row[1:]) for row in rows]

    # -- claim and settle

    def claim(
        self, host_id: str, lanes: Mapping[int, Provider], now: int, limit: int
    ) -> Claimed | None:
        """Pick ids by range scans, then take them by primary key, all under the write lock."""
        with self.transaction(), self._write() as writer:
            host = writer.execute(sql.CLAIMANT, (host_id,)).fetchone()
            if host is None:
                return None
            if host[1]:
                lanes = self._unpaused(writer, lanes)
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
            run_id = writer.execute(sql.INSERT_RUNS, (*where, *code, json.dumps(events))).lastrowid
            self._span(writer, RUNS, run_id or 0)

    def _head(self, writer: sqlite3.Connection, lane: int, priority: int) -> int | None:
        row = writer.execute(sql.HEAD, (lane, priority)).fetchone()
        return row[0] if row else None

    def _take(self, writer: sqlite3.Connection, host_id: str, ids: list[int]) -> list[Claim]:
        if not ids:
            return []
        rows = writer.execute(sql.TAKE, (host_id, json.dumps(ids)))
        return sorted(map(Claim._make, rows), key=_TURN)

    def settle(self, settlements: Sequence[Settlement]) -> set[tuple[int, int]]:
        """One look at who still holds its claim, then two updates by key for each of those."""
        with self.transaction(), self._write() as writer:
            ids = json.dumps([one.event_id for one in settlements])
            held = {row[0]: row[1:] for row in writer.execute(sql.HELD, (ids,))}
            valid = [
                (one, held[one.event_id][1:])
                for one in settlements
                if one.event_id in held and held[one.event_id][0] == one.claim
            ]
            write_all(writer, sql.SETTLE_EVENT, [_event_end(one) for one, _ in valid])
            write_all(writer, sql.SETTLE_RUN, starmap(_run_end, valid))
            leaving = []
            for one, (lane, priority, next_due, _, is_inside) in valid:
                if next_due is not None:
                    self._follow(writer, one.event_id)
                elif one.due is not None:
                    self._heads.lower(lane, priority, one.due)
                if one.follow_ups:
                    carry_out(self, one.follow_ups, one.finished)
                if is_inside:
                    leaving.append(one)
            self._gates.leave(writer, leaving)
        return {one.key for one in settlements} - {one.key for one, _ in valid}

    def release(self, event_id: int, claim: int) -> None:
        """Rides horae_hold_event."""
        with self.transaction(), self._write() as writer:
            self._gates.release(writer, event_id, claim)

    def progress(self, told: Sequence[Progress]) -> None:
        """One update by key for each run."""
        with self.transaction(), self._write() as writer:
            rows = [(one.fraction, one.text or None, one.resources, *one[:2]) for one in told]
            writer.executemany(sql.PROGRESS, rows)

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
            changed = writer.execute(sql.RUNNING_CHANGED, (host_id,)).fetchall()
            writer.execute(sql.RESCUE_RUNS, (now, reason, cause, host_id))
            self._gates.leave_host(writer, host_id)
            rescued = writer.execute(
                sql.RESCUE_EVENTS, {"reason": reason, "host": host_id, "now": now}
            ).rowcount
            for (event_id,) in changed:
                self._follow(writer, event_id)
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
        action: PluginAction,
        drain: float | None = None,
        *,
        include_dependents: bool = False,
    ) -> int:
        """An upsert that counts the request."""
        desired = "unloaded" if action == "unload" else "loaded"
        with self._write() as writer:
            rows = writer.execute(
                sql.REQUEST_PLUGIN, (host, plugin, desired, action, drain, include_dependents)
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


def _event_end(one: Settlement) -> tuple[Any, ...]:
    return (
        str(one.state),
        str(one.state),
        one.due,
        one.due,
        one.finished,
        one.occurrence,
        one.attempt,
        one.interruptions,
        one.settled,
        one.covered,
        one.resource_outcomes,
        str(one.outcome),
        one.reason,
        one.event_id,
        one.claim,
    )


def _run_end(one: Settlement, held: tuple[Any, ...]) -> tuple[Any, ...]:
    _, _, next_due, cancel_requested, _ = held
    return (
        one.started,
        one.finished,
        str(one.outcome),
        int(one.will_retry and next_due is None and not cancel_requested),
        one.result,
        one.result_error,
        one.error,
        None if one.cause is None else str(one.cause),
        one.covers,
        one.resources,
        one.event_id,
        one.claim,
    )
