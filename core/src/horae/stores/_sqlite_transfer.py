"""How a SQLite store is exported and imported: see ``transfer`` for the lines."""

import sqlite3
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from horae.stores import _sqlite_open, transfer
from horae.stores import _statements as sql
from horae.stores._filters import EVENTS, RUNS
from horae.stores._sqlite_adding import intern
from horae.stores._sqlite_control import SqliteControl
from horae.stores.transfer import Reader, Row, Table
from horae_hookspecs import Cause


class SqliteTransfer(SqliteControl):
    """The part of ``SqliteStore`` that is exported and imported."""

    @abstractmethod
    def rescue(self, host_id: str, reason: str, now: int, cause: Cause = Cause.HOST_LOST) -> int:
        """Free what a host had claimed."""

    def export_lines(self, now: int) -> Iterator[str]:
        """One read transaction on a connection of its own, so that nobody waits for the end."""
        with self._read():
            pass  # a closed store says so
        with _sqlite_open.translated(self.url):
            reader = _sqlite_open.connect(self._options)
            try:
                reader.execute("BEGIN")
                reader.execute(sql.FILLED).fetchone()  # the first read is the instant of it all
                yield from transfer.export(now, lambda table: _rows(reader, table))
            finally:
                reader.close()

    def import_lines(self, lines: Iterable[str | bytes]) -> dict[str, int]:
        """Row by row, as a line with a key that is taken is to be named."""
        reader, lanes = Reader(), dict[tuple[Any, ...], int]()
        with self.transaction(), self._write() as writer:
            if writer.execute(sql.FILLED).fetchone()[0]:
                raise transfer.refuse_filled(self.url)

            def keep(table: Table, row: Row) -> None:
                if table.has_lane:
                    row["lane"] = _lane(writer, row, lanes)
                if table.tag == "run":
                    found = writer.execute(sql.CLAIM_OF, (row["event"],)).fetchone()
                    transfer.refuse_claim(row, found and found[0])
                _insert(writer, table, row)

            reader.read(lines, keep)
            writer.execute("DELETE FROM horae_span")
            self._forget()
            transfer.land(self, reader.exported)
            for source in (EVENTS, RUNS):
                self._span(writer, source, reader.last[source.name])
        return dict(reader.counts)


def _rows(reader: sqlite3.Connection, table: Table) -> Iterator[Mapping[str, Any]]:
    """A walk over the table, in order of ids where it has them."""
    columns = ", ".join(table.columns)
    lane = "CROSS JOIN (SELECT id AS lane, event_type, schema_version, kind FROM horae_lane) USING "
    lanes = f"{lane}(lane)" if table.has_lane else ""
    order = "ORDER BY id" if "id" in table.columns else ""
    for row in reader.execute(f"SELECT {columns} FROM {table.name} {lanes} {order}"):
        yield dict(zip(table.columns, row, strict=True))


def _lane(writer: sqlite3.Connection, row: Row, lanes: dict[tuple[Any, ...], int]) -> int:
    name = (row.pop("event_type"), row.pop("schema_version"), row.pop("kind"))
    if name not in lanes:
        (lanes[name],) = intern(writer, [name])
    return lanes[name]


def _insert(writer: sqlite3.Connection, table: Table, row: Row) -> None:
    # What this store knows of a type, or holds back, is true here: it stays.
    verb = "INSERT" if table.has_lane else "INSERT OR IGNORE"
    places = ", ".join(f":{name}" for name in row)
    try:
        writer.execute(f"{verb} INTO {table.name} ({', '.join(row)}) VALUES ({places})", row)
    except sqlite3.IntegrityError as error:
        raise ValueError(f"it cannot stand beside those before it ({error})") from None
