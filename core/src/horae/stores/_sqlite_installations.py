"""What hosts are asked to install: a small table, whose rows nobody asks for by their content."""

import json
from typing import Any, Final

import attrs

from horae.stores._sqlite_connections import SqliteConnections
from horae.stores.records import FORGOTTEN, Installation

REQUEST: Final = "INSERT INTO horae_installation (host, asked, content) VALUES (?, ?, ?)"
REPORT: Final = "UPDATE horae_installation SET done = ?, content = ? WHERE id = ?"
FORGET: Final = "DELETE FROM horae_installation WHERE done AND asked < ?"
ALL: Final = """
SELECT id, host, content FROM horae_installation WHERE :host IS NULL OR host = :host ORDER BY id
"""


class SqliteInstallations(SqliteConnections):
    """The part of ``SqliteStore`` that passes on what is to be installed."""

    def request_installation(self, wanted: Installation) -> int:
        """A row of its own for each."""
        with self.transaction(), self._write() as writer:
            writer.execute(FORGET, (wanted.asked - FORGOTTEN,))
            row = (wanted.host, wanted.asked, _content(wanted))
            return int(writer.execute(REQUEST, row).lastrowid or 0)

    def report_installation(self, installation: Installation) -> None:
        """In place."""
        with self._write() as writer:
            row = (installation.done, _content(installation), installation.id)
            writer.execute(REPORT, row)

    def installations(self, host: str | None = None) -> list[Installation]:
        """All of a small table."""
        with self._read() as reader:
            rows = reader.execute(ALL, {"host": host}).fetchall()
        return [Installation(id=row[0], host=row[1], **json.loads(row[2])) for row in rows]


def _content(installation: Installation) -> str:
    content: dict[str, Any] = attrs.asdict(installation)
    return json.dumps({name: content[name] for name in content if name not in ("id", "host")})
