"""The same work on sqlite3 alone: no checks, no history, no index but the one a claim needs."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.harness import new_event, seconds

TABLE = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY, lane INTEGER, state TEXT DEFAULT 'pending', priority INTEGER,
    due INTEGER, occurrence INTEGER, arguments TEXT, schedule TEXT, key TEXT, resource TEXT,
    origin TEXT, description TEXT, created INTEGER
)
"""
READY = "CREATE INDEX ready ON event (due) WHERE state = 'pending'"
INSERT = """
INSERT INTO event (lane, priority, due, occurrence, arguments, schedule, created)
VALUES (1, 1, ?, ?, ?, ?, ?)
"""
CLAIM = """
UPDATE event SET state = 'running'
WHERE id IN (SELECT id FROM event WHERE state = 'pending' AND due <= ? ORDER BY due LIMIT 100)
RETURNING id, arguments
"""
COMPLETE = "UPDATE event SET state = 'finished' WHERE id IN (SELECT value FROM json_each(?))"


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """A database in WAL mode with the table, each statement its own transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(TABLE)
    return connection


def insert_each(path: Path, synchronous: str, count: int) -> float:
    """Rows per second, each in a commit of its own."""
    with closing(connect(path, synchronous)) as connection:

        def insert() -> None:
            for _ in range(count):
                connection.execute(INSERT, _row())

        return count / seconds(insert)


def insert_many(path: Path, synchronous: str, count: int) -> float:
    """Rows per second, all in one commit."""
    with closing(connect(path, synchronous)) as connection:
        return count / seconds(lambda: _fill(connection, count))


def drain(path: Path, synchronous: str, count: int) -> float:
    """Rows per second, claimed and completed in groups of 100, two commits for each group."""
    with closing(connect(path, synchronous)) as connection:
        connection.execute(READY)
        _fill(connection, count)
        return count / seconds(lambda: _claim_and_complete(connection))


def _claim_and_complete(connection: sqlite3.Connection) -> None:
    while rows := connection.execute(CLAIM, (new_event().due,)).fetchall():
        connection.execute(COMPLETE, (json.dumps([row[0] for row in rows]),))


def _fill(connection: sqlite3.Connection, count: int) -> None:
    connection.execute("BEGIN")
    connection.executemany(INSERT, (_row() for _ in range(count)))
    connection.execute("COMMIT")


def _row() -> tuple[int, int, str, str, int]:
    return _EVENT.due, _EVENT.due, _EVENT.arguments, _EVENT.schedule, _EVENT.created


_EVENT = new_event()
