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


class Access:
    """A connection behind its lock: enter it to use it, within a transaction also once more.

    Raises StoreUnsupported when it is closed; what sqlite3 raises inside becomes a StoreError. Not
    made of generators, which would be a tenth of the price of storing an event.
    """

    def __init__(self, url: str) -> None:
        self.connection: sqlite3.Connection | None = None
        self.lock = threading.RLock()
        self._url = url

    def __enter__(self) -> sqlite3.Connection:
        self.lock.acquire()
        if self.connection is None:
            self.lock.release()
            raise StoreUnsupported(f"The store {self._url} is closed; open it, or start the host.")
        return self.connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self.lock.release()
        if isinstance(error, sqlite3.Error):
            raise _sqlite_open.in_words(error, self._url) from error


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
        self._writer = Access(self.url)
        self._reader = Access(self.url)
        self._owner: int | None = None  # the thread whose transaction is open

    def _forget(self) -> None:
        """What is kept in memory of the file may not be true any more."""

    def open(self) -> None:
        """Connect, refuse what cannot keep the promises, and migrate."""
        if self._writer.connection is not None:
            return
        path = Path(self._options.path)
        _sqlite_open.refuse_unsupported(path, self._mounts)
        with _sqlite_open.translated(self.url):
            try:
                self._writer.connection = _sqlite_open.connect(self._options)
                _sqlite_open.migrate(self._writer.connection, self.url)
                self._reader.connection = _sqlite_open.connect(self._options)
                self._reader.connection.execute("PRAGMA query_only = 1")
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close both connections; the last one out folds the WAL into the file."""
        with self._writer.lock, self._reader.lock:
            for access in (self._reader, self._writer):
                if access.connection is not None:
                    access.connection.close()
                access.connection = None

    def before_fork(self) -> None:
        """SQLite's own locks in memory would be copied as they are, and never opened again."""
        self._writer.lock.acquire()
        self._reader.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._reader.lock.release()
        self._writer.lock.release()

    def after_fork_in_child(self) -> None:
        """Keep the parent's connections unclosed for ever, since closing them would harm it."""
        _sqlite_open.ABANDONED.extend((self._writer, self._reader))
        was_open = self._writer.connection is not None
        self._reset()
        if was_open:
            self.open()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE: the write lock is taken first, so no statement inside fails on it."""
        with self._writer as writer:
            if self._owner is not None:
                yield
                return
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

    def _write(self) -> Access:
        return self._writer

    def _read(self) -> Access:
        # Only the writer sees what its transaction wrote.
        return self._writer if self._owner == threading.get_ident() else self._reader
