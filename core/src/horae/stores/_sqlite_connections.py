"""The connections of a SQLite store, and who may use them when.

One connection writes and one reads, each behind a lock: SQLite has a single writer anyway, and
readers of a WAL file never wait for it.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from horae.errors import StoreUnsupported
from horae.settings import SqliteUrl
from horae.stores import _sqlite_open

Db: TypeAlias = sqlite3.Connection | sqlite3.Cursor
"""What statements are executed on."""


class SqliteConnections:
    """The part of ``SqliteStore`` that opens, closes, and makes transactions."""

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

    def _forget(self) -> None:
        """What is kept in memory of the file may not be true any more."""

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
