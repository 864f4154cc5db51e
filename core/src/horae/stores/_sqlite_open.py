"""Opening a SQLite file with care: refusals, pragmas, migrations, and errors in words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final

from horae.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreTooNew,
    StoreUnsupported,
)
from horae.settings import SqliteUrl

OLDEST: Final = (3, 35, 0)
"""The first SQLite with RETURNING."""

BUSY_TIMEOUT: Final = 30.0
"""Seconds to wait for another process's transaction."""

_NFS: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "beegfs"}
NETWORK_FILE_SYSTEMS: Final = _NFS | {f"fuse.{kind}" for kind in ("sshfs", "s3fs", "glusterfs")}

ABANDONED: Final[list[Any]] = []
"""Connections inherited over a fork. SQLite forbids to use or close them in the child, and the
garbage collector would close them, so they are kept here until the child ends."""


def connect(options: SqliteUrl) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from every thread, with the pragmas set."""
    connection = sqlite3.connect(
        options.path,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute(f"PRAGMA synchronous = {options.synchronous}")
        if options.max_page_count:
            connection.execute(f"PRAGMA max_page_count = {options.max_page_count}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_unsupported(path: Path, mounts: Path) -> None:
    """Raise StoreUnsupported for an old library, a missing folder or a network file system."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise StoreUnsupported(
            f"This Python has SQLite {sqlite3.sqlite_version}; horae needs "
            f"{'.'.join(map(str, OLDEST))} or newer. Use a newer Python, or PostgreSQL."
        )
    folder = path.absolute().parent
    if not folder.is_dir():
        raise StoreUnsupported(
            f"There is no folder {folder} to keep {path.name} in. Create it: mkdir -p {folder}"
        )
    kind = file_system(folder, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StoreUnsupported(
            f"{path} lies on a network file system ({kind}), where SQLite's locks and shared "
            "memory do not work and data gets lost. Put it on a local disk, or use PostgreSQL."
        )


def file_system(folder: Path, mounts: Path) -> str | None:
    """The type of the file system under ``folder``, from a table like /proc/mounts."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None  # no such table on this system; there is nothing to judge by
    resolved = folder.resolve()
    best: tuple[int, str | None] = (-1, None)
    for line in lines:
        _, place, kind, *_ = [*line.split(" "), "", "", ""]
        mounted = Path(place.replace("\\040", " "))
        if mounted == resolved or mounted in resolved.parents:
            best = max(best, (len(mounted.parts), kind))
    return best[1]


def migrate(connection: sqlite3.Connection, url: str) -> None:
    """Apply the migrations that are missing, in order, each with its number, in one transaction."""
    files = sorted(
        (entry for entry in resources.files("horae.stores").joinpath("migrations").iterdir()),
        key=lambda entry: entry.name,
    )
    scripts = {int(file.name[:4]): file.read_text(encoding="utf-8") for file in files}
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS horae_schema (version INTEGER PRIMARY KEY)")
        found = connection.execute("SELECT ifnull(max(version), 0) FROM horae_schema").fetchone()[0]
        if found > max(scripts):
            raise StoreTooNew(url, found, max(scripts))
        for version, script in scripts.items():
            if version > found:
                for statement in _statements(script):
                    connection.execute(statement)
                connection.execute("INSERT INTO horae_schema VALUES (?)", (version,))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    # sqlite3's executescript would commit the open transaction, so the file is cut here.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn what sqlite3 raises into the store's own errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise in_words(error, url) from error


def in_words(error: sqlite3.Error, url: str) -> StoreError:
    """The store's own error for what sqlite3 raised, with the remedy."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(
            f"The disk or quota under {url} is full ({error}). Nothing was stored by this call and "
            "nothing that was stored is lost; free space and try again."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(
            f"Another process held {url} for more than {BUSY_TIMEOUT:g} s ({error}). Try again; if "
            "it stays so, look for a process with an open transaction: horae doctor."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(
            f"{url} is damaged or no SQLite database ({error}). horae leaves it as it is: restore "
            "it from a backup, or save what is readable with sqlite3's .recover command."
        )
    return StoreError(f"The store {url} could not do it: {error}")
