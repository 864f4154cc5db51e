"""A store as lines of JSON: how each record looks there, and what is refused when it is read.

The first line says which format this is, and when it was exported. Then comes a line for each
record, tagged with its table: what was known of types, rules that hold back, events, runs. The last
line counts them, so that a file that was cut short is known as such. Columns are those of the
schema, without those that mean nothing elsewhere; a lane is written out, NULL is left out, JSON is
a value and no text, and instants are microseconds since the epoch, as everywhere in a store.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Protocol, TypeAlias, get_args

import attrs

from horae.clock import to_micros
from horae.errors import ImportRefused
from horae.stores import _sqlite_open
from horae.stores.records import OVER, PRIORITIES
from horae_hookspecs import Cause, Outcome, Pause, PauseField, State

FORMAT: Final = 1

EXPORTED: Final = "exported"
"""The host that an event belongs to which was running: not among the living, where it is now."""

EXPORTED_RUNNING: Final = "It was exported while it ran; how that run ended is not known here."

Row: TypeAlias = dict[str, Any]
"""A record by columns, each as the schema has it; a lane by its three parts."""

_LANE: Final = ("event_type", "schema_version", "kind")
_ELSEWHERE: Final = {"event": ("host", "blocked")}
"""What says nothing about the record where it is imported."""

_JSON: Final[Mapping[str, Mapping[str, type]]] = {
    "event_type": {"schema": dict},
    "event": {
        "arguments": dict,
        "schedule": dict,
        "resources": list,
        "resource_outcomes": dict,
        "missed": object,
    },
    "run": {"result": object, "resources": dict},
}
_CHOICES: Final[Mapping[str, tuple[Any, ...]]] = {
    "state": tuple(State),
    "outcome": tuple(Outcome),
    "last_outcome": tuple(Outcome),
    "cause": tuple(Cause),
    "priority": PRIORITIES,
    "field": get_args(PauseField),
}
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "TEXT": (str,),
    "INTEGER": (int,),
    "REAL": (float, int),
    "": (str, int),
}
_LEAST: Final = to_micros(datetime.min.replace(tzinfo=UTC))
_MOST: Final = to_micros(datetime.max.replace(tzinfo=UTC))
"""What is an instant at all; no other number is larger."""


@attrs.frozen
class Column:
    """What a column holds; ``json`` is what its text is as a value."""

    types: tuple[type, ...]
    required: bool
    json: type | None = None


@attrs.frozen
class Table:
    """One kind of record: its tag, and its columns by name."""

    tag: str
    columns: Mapping[str, Column]
    has_lane: bool

    @property
    def name(self) -> str:
        """The table in the schema."""
        return f"horae_{self.tag}"

    def line(self, row: Mapping[str, Any]) -> str:
        """The line for a row."""
        record = {
            name: json.loads(row[name]) if column.json else row[name]
            for name, column in self.columns.items()
            if row[name] is not None
        }
        return _line({self.tag: record})

    def row(self, record: object) -> Row:
        """The row in a line. Raises ValueError for what this table cannot hold."""
        if not isinstance(record, dict):
            raise ValueError(f"{self.tag} must be a JSON object, not {record!r}")
        for name in record:
            if name not in self.columns:
                raise ValueError(f"{self.tag} has no column {name!r}")
        return {name: self._value(name, record.get(name)) for name in self.columns}

    def _value(self, name: str, value: Any) -> Any:
        column = self.columns[name]
        if value is None:
            if column.required:
                raise ValueError(f"{self.tag} lacks its {name}")
            return None
        if not (isinstance(value, column.json) if column.json else type(value) in column.types):
            raise ValueError(f"{name} of {self.tag} cannot be {value!r}")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(
                f"{name} of {self.tag} is none of {', '.join(map(str, _CHOICES[name]))}"
            )
        if not (column.json or isinstance(value, str) or _LEAST <= value <= _MOST):
            raise ValueError(f"{name} of {self.tag} is out of range: {value}")
        return _line(value) if column.json else value


@cache
def tables() -> Mapping[str, Table]:
    """The tables that are exported, by their tags, in the order of the lines."""
    schema = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _sqlite_open.migrate(schema, "memory")
        return {tag: _table(schema, tag) for tag in ("event_type", "pause", "event", "run")}
    finally:
        schema.close()


def _table(schema: sqlite3.Connection, tag: str) -> Table:
    columns: dict[str, Column] = {}
    found = schema.execute(f"PRAGMA table_info(horae_{tag})").fetchall()
    has_lane = any(name == "lane" for _, name, *_ in found)
    if has_lane:
        lane = schema.execute("PRAGMA table_info(horae_lane)").fetchall()
        columns = {name: Column(_TYPES[kind], True) for _, name, kind, *_ in lane if name in _LANE}
    for _, name, kind, required, _, key in found:
        if name != "lane" and name not in _ELSEWHERE.get(tag, ()):
            json_type = _JSON.get(tag, {}).get(name)
            columns[name] = Column(_TYPES[kind], bool(required or key), json_type)
    return Table(tag, columns, has_lane)


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=_plain, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is no plain value")


def export(now: int, rows: Callable[[Table], Iterable[Mapping[str, Any]]]) -> Iterator[str]:
    """The lines of an export."""
    yield _line({"horae": FORMAT, "exported": now})
    counts: Counter[str] = Counter()
    for tag, table in tables().items():
        for row in rows(table):
            counts[tag] += 1
            yield table.line(row)
    yield _line({"end": counts})


class Reader:
    """Reads the lines of an export, and knows at which it is.

    ``exported`` is when they were written, and ``last`` has the last ids that were read, by tag.
    """

    def __init__(self) -> None:
        self.exported = 0
        self._begun = False
        self.last: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._running: dict[int, int] = {}
        self._ended = False

    def read(self, lines: Iterable[str | bytes], keep: Callable[[Table, Row], None]) -> None:
        """Give each row to ``keep``. Raises ImportRefused, which a ValueError of keep becomes."""
        number = 0
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    self._take(_parsed(line), keep)
                except (ValueError, RecursionError) as error:
                    raise _refused(str(error), number) from None
        if not self._ended:
            why = "the line that counts the others does not follow: it was cut short"
            raise _refused(why, max(number, 1))

    def _take(self, line: Mapping[str, Any], keep: Callable[[Table, Row], None]) -> None:
        if not self._begun:
            self._begin(line)
            return
        if self._ended or len(line) != 1:
            raise ValueError("a line of its own is needed for each record, none after the end")
        ((tag, record),) = line.items()
        if tag == "end":
            self._end(record)
            return
        table = tables().get(tag)
        if table is None:
            raise ValueError(f"there is no record {tag!r}; known are {', '.join(tables())}")
        row = table.row(record)
        self._check(tag, row)
        keep(table, row)
        self.counts[tag] += 1

    def _begin(self, line: Mapping[str, Any]) -> None:
        found = line.get("horae")
        if type(found) is not int:
            raise ValueError('it is no export of a horae store, which begins with {"horae": ...}')
        if found != FORMAT:
            raise ValueError(
                f"this is format {found}, and this horae knows format {FORMAT}. Upgrade it: "
                "python -m pip install --upgrade horae"
            )
        exported = line.get("exported")
        if type(exported) is not int or not 0 <= exported <= _MOST:
            raise ValueError(f"exported cannot be {exported!r}")
        self.exported = exported
        self._begun = True

    def _end(self, counts: object) -> None:
        if counts != dict(self.counts):
            raise ValueError(f"it was {counts} when exported, and {dict(self.counts)} are here")
        if self._running:
            raise ValueError(f"event {min(self._running)} runs, and its run is not here")
        self._ended = True

    def _check(self, tag: str, row: Row) -> None:
        """What a column alone cannot tell; and what was running gets the host EXPORTED."""
        if "id" in row:
            if row["id"] <= self.last[tag]:
                raise ValueError(f"{tag} {row['id']} comes after {tag} {self.last[tag]}")
            self.last[tag] = row["id"]
        if tag == "event":
            self._check_event(row)
        elif tag == "run":
            self._check_run(row)

    def _check_event(self, row: Row) -> None:
        over = row["state"] in OVER
        if over != (row["due"] is None) or not (over or row["occurrence"] is not None):
            raise ValueError(f"event {row['id']} is {row['state']}, which its due does not fit")
        if (row["next_due"] is None) != (row["next_occurrence"] is None):
            raise ValueError(f"event {row['id']} has only one of next_due and next_occurrence")
        if isinstance(row["absent"], str) and row["absent"] not in ("hold", "skip"):
            raise ValueError(f"absent of event {row['id']} cannot be {row['absent']!r}")
        row["paused"] &= 1  # whatever else holds it back are rules, and these are here too
        row["host"] = None
        if row["state"] == State.RUNNING:
            self._running[row["id"]] = row["claim"]
            row["host"] = EXPORTED
            row["interruptions"] -= 1  # rescue adds one, and no host was lost

    def _check_run(self, row: Row) -> None:
        if row["event"] > self.last["event"]:
            raise ValueError(f"run {row['id']} is of event {row['event']}, which is not here")
        if row["outcome"] is None and self._running.pop(row["event"], None) != row["claim"]:
            raise ValueError(f"run {row['id']} has no outcome, and its event does not run under it")


def _parsed(line: str | bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _refused(why: str, number: int) -> ImportRefused:
    return ImportRefused(f"Line {number}: {why}.\nNothing was imported.", line=number)


def refuse_filled(url: str) -> ImportRefused:
    """The error for a store that has events or runs."""
    return ImportRefused(
        f"The store {url} has events or runs, whose ids those of the export could be. Nothing was "
        "imported. Import into a new store: horae store import FILE --store sqlite:///new.db",
        line=None,
    )


def refuse_claim(row: Row, claim: int | None) -> None:
    """Raise ValueError for a run whose event, which has this ``claim``, would use its number again.

    The event may be gone: it is not kept for ever.
    """
    if claim is not None and row["claim"] > claim:
        raise ValueError(f"run {row['id']} has a claim that its event {row['event']} never had")


class Landing(Protocol):
    """What a store offers to finish an import with."""

    def rescue(self, host_id: str, reason: str, now: int) -> int:
        """See ``Store``."""

    def pauses(self) -> list[Pause]:
        """See ``Store``."""

    def add_pause(self, field: PauseField, value: str, now: int) -> bool:
        """See ``Store``."""


def land(store: Landing, exported: int) -> None:
    """Free what was running, and let every rule hold, also those that were here before."""
    store.rescue(EXPORTED, EXPORTED_RUNNING, exported)
    for rule in store.pauses():
        store.add_pause(rule.field, rule.value, exported)
