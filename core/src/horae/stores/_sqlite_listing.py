"""How the SQLite store lists events and runs: pages whose price does not grow with the store.

Every listing is in order of ids. Its candidates come from ranges of ids, each within one value of
an index whose entries are in order of ids too, so that from each range only the first few are
read; what they bring is put in order and cut. A filter on time becomes ranges of ids by the spans.
"""

import itertools
import json
import sqlite3
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from horae.stores import _filters, _rows
from horae.stores import _listing_statements as sql
from horae.stores._filters import EVENTS, OUTCOMES, RUNS, Index, Source
from horae.stores._sqlite_connections import SqliteConnections
from horae.stores.records import Lane
from horae_hookspecs import Cause, Outcome, Page, Run, ScheduledEvent, State

BLOCK: Final = 4096
"""How many ids have one span."""

REFRESHED: Final = 8
"""How many blocks with runs under way are looked at again for each block that is new."""

WALKED: Final = 4 * BLOCK
"""How many ids a listing walks before it looks at all events of a state."""

FEW: Final = 1000
"""Up to how many entries of an index are looked at without a look for a better one."""

LIVING: Final = (State.PENDING, State.RUNNING, State.QUARANTINED)
"""The states of events that are not over."""

END: Final = 2**62
"""Behind every id."""

Range = tuple[int, int]
"""Ids from the first to before the last."""


class SqliteListing(SqliteConnections):
    """The part of ``SqliteStore`` that lists and counts."""

    def _reset(self) -> None:
        super()._reset()
        self._spanned: dict[Source, int] = {}

    def _forget(self) -> None:
        self._spanned.clear()

    @abstractmethod
    def lanes(self) -> Sequence[Lane]:
        """Every lane that was ever used."""

    def events(
        self,
        filters: Mapping[str, Any],
        limit: int,
        after: int = 0,
        *,
        newest_first: bool = False,
    ) -> Page[ScheduledEvent]:
        """See the module docstring."""
        page = self._page(EVENTS, sql.EVENTS, filters, limit, (after, newest_first))
        return _rows.page([_rows.event(row) for row in page[0]], page[1], limit)

    def runs(
        self,
        filters: Mapping[str, Any],
        limit: int,
        after: int = 0,
        *,
        newest_first: bool = False,
    ) -> Page[Run]:
        """See the module docstring."""
        page = self._page(RUNS, sql.RUNS, filters, limit, (after, newest_first))
        return _rows.page([_rows.run(row) for row in page[0]], page[1], limit)

    def last_run(self, event_id: int) -> Run | None:
        """Rides horae_run_claim backwards."""
        with self._read() as reader:
            row = reader.execute(sql.LAST_RUN, (event_id,)).fetchone()
        return None if row is None else _rows.run(row)

    def overview(self) -> dict[tuple[str, State], int]:
        """A walk over all events."""
        with self._read() as reader:
            return {(row[0], State(row[1])): row[2] for row in reader.execute(sql.OVERVIEW)}

    def outcomes(self) -> dict[tuple[str, Outcome], int]:
        """A walk over horae_run_lane."""
        with self._read() as reader:
            return {(row[0], Outcome(row[1])): row[2] for row in reader.execute(sql.OUTCOMES)}

    def causes(self, filters: Mapping[str, Any]) -> dict[Cause, int]:
        """A walk over horae_run_cause."""
        condition, parameters = _filters.conditions(RUNS, filters, self._lanes_by_type())
        with self._read() as reader:
            rows = reader.execute(sql.CAUSES.format(condition=condition), parameters).fetchall()
        return {Cause(row[0]): row[1] for row in rows}

    # -- pages

    def _page(
        self,
        source: Source,
        select: str,
        filters: Mapping[str, Any],
        limit: int,
        where: tuple[int, bool],
    ) -> tuple[list[Any], int | Callable[[], int]]:
        lanes = self._lanes_by_type()
        _filters.refuse_unknown(filters, source.filters)
        if _filters.nothing(filters, lanes):
            return [], 0
        with self._read() as reader:
            segments = beyond(segments_of(reader, source, filters), *where)
            for parts, left in _plans(reader, source, filters, lanes, (segments, where[1])):
                condition = _filters.conditions(source, left, lanes)
                rows = _first(reader, select, parts, condition, limit, where[1])
                if len(rows) > limit:
                    break
        if not where[0] and len(rows) <= limit:
            return rows, len(rows)

        def total() -> int:
            condition, parameters = _filters.conditions(source, filters, lanes)
            with self._read() as reader:
                count = f"SELECT count(*) FROM {source.table} WHERE {condition}"
                return int(reader.execute(count, parameters).fetchone()[0])

        return rows, total

    def _lanes_by_type(self) -> dict[str, list[int]]:
        lanes: dict[str, list[int]] = {}
        for lane in self.lanes():
            lanes.setdefault(lane.event_type, []).append(lane.id)
        return lanes

    # -- spans

    def _span(self, writer: sqlite3.Connection, source: Source, last_id: int) -> None:
        """Note between which instants the blocks before that of ``last_id`` lie, if it is new."""
        # A block behind, when most of its runs are over: it is then looked at once.
        block = last_id // BLOCK - (source is RUNS)
        if block <= self._spanned.get(source, 0):
            return
        names = {"table": source.table, "instant": source.instant, "size": BLOCK}
        known = writer.execute(sql.LAST_SPAN, (source.name,)).fetchone()[0]
        first = 0 if known is None else known + 1
        bounds = {"source": source.name, "first": first * BLOCK, "end": block * BLOCK}
        writer.execute(sql.ADD_SPANS[source.name].format(**names), bounds)
        if source is RUNS:
            writer.execute(sql.CLOSE_SPANS.format(**names), {"limit": REFRESHED})
        self._spanned[source] = block


def segments_of(
    reader: sqlite3.Connection, source: Source, filters: Mapping[str, Any]
) -> list[Range]:
    """Where rows of the asked time can be: the blocks that reach into it, and the last one."""
    if _filters.values_of(filters.get("id")) != [None]:
        ids = {one for one in _filters.values_of(filters["id"]) if one is not None}
        return [(one, one + 1) for one in sorted(ids)]
    if "since" not in filters and "until" not in filters:
        return [(0, END)]
    times = {"since": filters.get("since", -END), "until": filters.get("until", END)}
    found = reader.execute(sql.SPANS_BETWEEN, {"source": source.name, **times}).fetchall()
    last = reader.execute(sql.LAST_SPAN, (source.name,)).fetchone()[0]
    segments: list[Range] = []
    for (block,) in found:
        if segments and segments[-1][1] == block * BLOCK:
            segments[-1] = (segments[-1][0], (block + 1) * BLOCK)
        else:
            segments.append((block * BLOCK, (block + 1) * BLOCK))
    return [*segments, (0 if last is None else (last + 1) * BLOCK, END)]


def beyond(segments: Sequence[Range], after: int, newest_first: bool) -> list[Range]:
    """What of the segments lies behind the cursor."""
    if newest_first:
        cut = [(first, min(end, after or END)) for first, end in segments]
    else:
        cut = [(max(first, after + 1), end) for first, end in segments]
    return [(first, end) for first, end in cut if first < end]


def _first(
    reader: sqlite3.Connection,
    select: str,
    parts: Sequence["Part"],
    where: tuple[str, Sequence[Any]],
    limit: int,
    newest_first: bool,
) -> list[Any]:
    """The first rows of what the parts bring together: one more than the limit, if there are."""
    condition, parameters = where
    order = "DESC" if newest_first else "ASC"
    found = " UNION ALL ".join(part.text.format(condition=condition, order=order) for part in parts)
    values = [
        value
        for part in parts
        for value in (*part.values, *parameters, *([limit + 1] if part.limited else []))
    ]
    statement = select.format(candidates=found, order=order)
    return reader.execute(statement, [*values, limit + 1]).fetchall()


@attrs.frozen
class Part:
    """A select that brings candidates, with its own parameters; some take a limit as well."""

    text: str
    values: Sequence[Any]
    limited: bool = False


def _plans(
    reader: sqlite3.Connection,
    source: Source,
    filters: Mapping[str, Any],
    lanes: Mapping[str, Sequence[int]],
    where: tuple[Sequence[Range], bool],
) -> Iterator[tuple[list[Part], Mapping[str, Any]]]:
    """How to find the page, and what is left to filter then: one way for sure, and where that
    looks at all events of a state, a short walk before it, which mostly is enough where these are
    many.
    """
    segments, newest_first = where
    states = _states(filters) if source is EVENTS else None
    index = _index(reader, source, filters, lanes, by_state=states is not None)
    if states is not None and index is None:
        last = reader.execute("SELECT ifnull(max(id), 0) FROM horae_event").fetchone()[0]
        near = _near(segments, last, newest_first)
        yield _parts(source, Index("", ()), filters, lanes, near), filters
        around = _around(segments)
        found = dict.fromkeys(text for state in states for text in sql.BY_STATE[state])
        # The state is that of the index: to look at it would mean to read each event.
        left = {name: value for name, value in filters.items() if name != "state"}
        yield [Part(text, around) for text in found], left
    else:
        yield _parts(source, index or Index("", ()), filters, lanes, segments), filters


def _index(
    reader: sqlite3.Connection,
    source: Source,
    filters: Mapping[str, Any],
    lanes: Mapping[str, Sequence[int]],
    *,
    by_state: bool,
) -> Index | None:
    """The index to ride; None where nothing is left but to walk the ids, and for a frequent value
    of what can be found ``by_state`` as well.
    """
    serving = source.indexes_for(filters)
    if not serving and source is RUNS and _outcomes(filters) != [None] and "outcome" in filters:
        return Index("horae_run_lane", ("event_type", "outcome"))
    if len(serving) + by_state > 1:
        for index in serving:
            values = json.dumps(list(_values(index, filters, lanes)))
            count = reader.execute(_count(source, index), (values, FEW + 1)).fetchone()[0]
            if count <= FEW:
                return index
    return serving[0] if serving and not by_state else None


def _parts(
    source: Source,
    index: Index,
    filters: Mapping[str, Any],
    lanes: Mapping[str, Sequence[int]],
    segments: Sequence[Range],
) -> list[Part]:
    """Ranges of one index, and beside an index of outcomes the runs that have none yet."""
    if source is RUNS and not index.name and _outcomes(filters) == [None]:
        return [Part(sql.UNDER_WAY, _around(segments))]
    ranges = json.dumps(
        [(*values, *segment) for values in _values(index, filters, lanes) for segment in segments]
    )
    parts = [Part(_ranges(source, index), [ranges], limited=True)]
    if "outcome" in index.filters and None in _outcomes(filters):
        parts.append(Part(sql.UNDER_WAY, _around(segments)))
    return parts


def _states(filters: Mapping[str, Any]) -> list[str] | None:
    """The states that the events can be in, unless all of them have to be looked at."""
    possible: list[Any] = [None]
    if "due_since" in filters or "due_until" in filters:
        possible = list(LIVING)
    elif filters.get("blocked") is not None:
        possible = [State.PENDING]
    elif filters.get("paused") is True:
        possible = list(LIVING)
    states = _filters.values_of(filters.get("state", possible))
    return states if all(state in sql.BY_STATE for state in states) else None


def _around(segments: Sequence[Range]) -> Range:
    """One range that all segments lie in; empty where there are none."""
    return min((s[0] for s in segments), default=0), max((s[1] for s in segments), default=0)


def _near(segments: Sequence[Range], last: int, newest_first: bool) -> list[Range]:
    """The part of the segments where a walk begins."""
    if not newest_first:
        first = _around(segments)[0]
        return [(a, min(b, first + WALKED)) for a, b in segments if a < first + WALKED]
    end = min(_around(segments)[1], last + 1)
    return [(max(a, end - WALKED), min(b, end)) for a, b in segments if b > end - WALKED]


def _outcomes(filters: Mapping[str, Any]) -> list[Any]:
    return _filters.values_of(filters.get("outcome", [*OUTCOMES, None]))


def _values(
    index: Index, filters: Mapping[str, Any], lanes: Mapping[str, Sequence[int]]
) -> Iterator[tuple[Any, ...]]:
    """The values of the index's columns that the filters leave."""
    choices: list[list[Any]] = []
    for name in index.filters:
        if name == "event_type":
            types = filters.get(name, list(lanes))
            choices.append(_filters.lanes_of(types, lanes))
        elif name == "outcome":
            choices.append([one for one in _outcomes(filters) if one is not None])
        else:
            choices.append(_filters.values_of(filters[name]))
    return itertools.product(*choices)


def _equal(source: Source, index: Index) -> str:
    """The condition that an entry of the index has the values of a part."""
    return "".join(
        f"{source.columns[name]} = json_extract(part.value, '$[{number}]') AND "
        for number, name in enumerate(index.filters)
    )


def _count(source: Source, index: Index) -> str:
    """How many entries of the index have certain values, up to a limit."""
    return (
        "SELECT count(*) FROM (SELECT 1 FROM (SELECT value FROM json_each(?)) AS part "
        f"CROSS JOIN {source.table} INDEXED BY {index.name} "
        f"WHERE {_equal(source, index)}{index.within} LIMIT ?)"
    )


def _ranges(source: Source, index: Index) -> str:
    """The first ids of each range; its parameters are the ranges, and how many of each."""
    first, end = (f"json_extract(part.value, '$[{len(index.filters) + n}]')" for n in (0, 1))
    by = f"INDEXED BY {index.name}" if index.name else "NOT INDEXED"
    return (
        f"SELECT listed.id FROM json_each(?) AS part CROSS JOIN {source.table} AS listed "
        f"ON listed.id IN (SELECT id FROM {source.table} {by} WHERE {_equal(source, index)}"
        f"{index.within} "
        f"AND id >= {first} AND id < {end} AND {{condition}} "
        f"ORDER BY {index.order} {{order}} LIMIT ?)"
    )
