"""What the first page of a listing costs beside 100,000 rows, in steps of SQLite's machine.

The campaign does the same beside a million, and by the clock.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from horae.settings import parse_sqlite_url
from horae.stores._filters import EVENTS, RUNS, Source, conditions
from horae.stores.sqlite import SqliteStore
from horae_hookspecs import Page
from stores.counting import steps
from stores.samples import HOST, NOW, SECOND, a_host, an_event, claim

ROWS: Final = 100_000
MANY: Final = 1_000_000
LIMIT: Final = 100
FEW: Final = 200
"""Hundreds of steps; a page of a hundred rows takes about half of that."""

PENDING: Final = 20
"""One event of so many at the end of the ids is still to come; the others are over."""

Filters = Mapping[str, Any]


def campaign(test: Callable[..., None]) -> Callable[..., None]:
    """A long form."""
    reason = "takes a minute: set HORAE_CAMPAIGN=1"
    skipped = pytest.mark.skipif("HORAE_CAMPAIGN" not in os.environ, reason=reason)
    return pytest.mark.campaign(pytest.mark.timeout(1800)(skipped(test)))


NUMBERS: Final = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)"

# One for long, the others among the last that were due.
RUNS_STILL: Final = "i = 9970 OR (i > :pending - 100 AND i % 10 = 0)"

FILL_EVENTS: Final = f"""
{NUMBERS}
INSERT INTO horae_event (id, lane, state, priority, due, occurrence, recurs, arguments, schedule,
                         key, resource, origin, user, created, ended, last_outcome, paused, blocked,
                         host, claim)
SELECT i, CASE WHEN i % 30000 = 17 THEN 3 ELSE 1 + i % 2 END,
       CASE WHEN i > :pending THEN 'pending' WHEN {RUNS_STILL} THEN 'running'
            WHEN i % 29989 = 1 THEN 'quarantined' WHEN i % 1000 = 1 THEN 'failed'
            WHEN i % 29989 = 0 THEN 'expired' ELSE 'finished' END,
       CASE WHEN i % 30000 = 18 THEN 0 ELSE 1 END,
       CASE WHEN i > :pending THEN :now + i WHEN {RUNS_STILL} OR i % 29989 = 1 THEN :now END,
       :now, 0, '{{}}', '{{"kind":"once"}}',
       CASE WHEN i % 5 = 0 THEN 'k' || i END,
       CASE WHEN i % 30000 = 19 THEN 'buoy' WHEN i % 4 < 2 THEN 'pier' END,
       CASE WHEN i % 30000 = 20 THEN 'crab' WHEN i % 3 > 0 THEN 'bot' END,
       CASE WHEN i % 30000 = 21 THEN 'eve' WHEN i % 7 > 2 THEN 'ann' END,
       :now + i * {SECOND}, CASE WHEN i <= :pending THEN :now + i * {SECOND} END,
       CASE WHEN i > :pending THEN NULL WHEN i % 1000 = 1 THEN 'failed'
            WHEN i % 29989 = 0 THEN 'timeout' ELSE 'succeeded' END,
       i > :pending AND i % 3001 = 0,
       CASE WHEN i > :pending AND i % 3001 = 1 THEN 'resource:pier' END,
       CASE WHEN i <= :pending AND ({RUNS_STILL}) THEN '{HOST}' END, 1
FROM n
"""

FILL_RUNS: Final = f"""
INSERT INTO horae_run (id, event, claim, lane, occurrence, attempt, started, finished, outcome,
                       cause, resource, origin, user, host, plugin, generation, result)
SELECT id, id, 1, lane, :now, 1, created, created + 5,
       CASE WHEN state = 'running' THEN NULL WHEN state = 'failed' THEN 'failed'
            WHEN id % 29989 = 0 THEN 'timeout' ELSE 'succeeded' END,
       CASE WHEN state = 'failed' THEN 'error' WHEN id % 29989 = 0 THEN 'timeout' END,
       resource, origin, user, '{HOST}', 'tides', 1, 'null'
FROM horae_event
"""

# Ids are in order of time, a second apart.
EARLY, LATE = NOW + ROWS // 10 * SECOND, NOW + ROWS * 9 // 10 * SECOND

RUN_FILTERS: Final[list[Filters]] = [
    {},
    {"id": 77},
    {"event_id": 77},
    {"event_type": "tide.mark"},
    {"event_type": "sun.set"},
    {"event_type": ["tide.mark", "moon.rise"]},
    {"outcome": "succeeded"},
    {"outcome": "failed"},
    {"outcome": "timeout"},
    {"outcome": None},
    {"outcome": "missed"},
    {"outcome": ["failed", None]},
    {"cause": "error"},
    {"cause": "timeout"},
    {"cause": "host_lost"},
    {"resource": "pier"},
    {"resource": "buoy"},
    {"resource": "none"},
    {"origin": "bot"},
    {"origin": "crab"},
    {"origin": None},
    {"user": "ann"},
    {"user": "eve"},
    {"host": HOST},
    {"plugin": "tides"},
    {"since": EARLY},
    {"since": LATE},
    {"until": EARLY},
    {"until": LATE},
    {"since": EARLY, "until": EARLY + 60 * SECOND},
    {"since": 2 * LATE},
    {"event_type": "tide.mark", "outcome": "failed"},
    {"event_type": "sun.set", "outcome": "failed"},
    {"event_type": "tide.mark", "outcome": None},
    {"event_type": "tide.mark", "since": LATE},
    {"event_type": "sun.set", "until": EARLY},
    {"outcome": "failed", "since": LATE},
    {"outcome": "failed", "origin": "bot"},
    {"outcome": "timeout", "resource": "pier"},
    {"outcome": "timeout", "user": "ann"},
    {"origin": "bot", "since": LATE},
    {"origin": "bot", "resource": "buoy"},
    {"event_type": "tide.mark", "origin": "crab"},
    {"event_type": "sun.set", "resource": "pier", "user": "eve"},
    {"origin": "bot", "resource": "pier", "event_type": "tide.mark"},
]

EVENT_FILTERS: Final[list[Filters]] = [
    {},
    {"id": [77, ROWS]},
    {"event_type": "tide.mark"},
    {"event_type": "sun.set"},
    {"state": "pending"},
    {"state": "running"},
    {"state": "quarantined"},
    {"state": "finished"},
    {"state": "failed"},
    {"state": "expired"},
    {"state": "cancelled"},
    {"state": ["failed", "expired", "cancelled"]},
    {"paused": True},
    {"blocked": "resource:pier"},
    {"key": "k500"},
    {"key": "none"},
    {"resource": "pier"},
    {"resource": "buoy"},
    {"origin": "bot"},
    {"origin": "crab"},
    {"origin": None},
    {"user": "ann"},
    {"user": "eve"},
    {"priority": 0},
    {"priority": 1},
    {"last_outcome": "succeeded"},
    {"last_outcome": "failed"},
    {"last_outcome": "timeout"},
    {"since": EARLY},
    {"since": LATE},
    {"until": EARLY},
    {"until": LATE},
    {"since": EARLY, "until": EARLY + 60 * SECOND},
    {"due_since": NOW},
    {"due_until": NOW + SECOND},
    {"due_since": NOW + ROWS - 10},
    {"event_type": "tide.mark", "state": "pending"},
    {"event_type": "sun.set", "state": "pending"},
    {"event_type": "tide.mark", "state": "failed"},
    {"event_type": "tide.mark", "since": LATE},
    {"origin": "bot", "state": "pending"},
    {"origin": "bot", "since": LATE},
    {"resource": "pier", "state": "running"},
    {"state": "failed", "since": LATE},
    {"origin": "bot", "state": ["running", "quarantined"]},
    {"user": "ann", "resource": "buoy"},
    {"user": "eve", "resource": "pier"},
    {"resource": "pier", "origin": "bot", "event_type": "sun.set", "state": "pending"},
]


def fill(store: SqliteStore, path: Path, rows: int) -> None:
    """So many events and as many runs, written at once, and then one in the ordinary way."""
    names = ("tide.mark", "moon.rise", "sun.set")
    store.add([an_event(name) for name in names])
    store.join(a_host())
    values = {"rows": rows, "now": NOW, "pending": rows - rows // PENDING}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM horae_event")
        connection.execute(FILL_EVENTS, values)
        connection.execute(FILL_RUNS, values)
        connection.commit()
    store.add([an_event("tide.mark", due=NOW - SECOND, created=NOW + (rows + 1) * SECOND)])
    assert len(claim(store, limit=1)) == 1


@contextmanager
def opened(folder: Path) -> Iterator[SqliteStore]:
    """An empty store, open."""
    url = f"sqlite:///{folder}/events.db?synchronous=NORMAL"
    with closing(SqliteStore(url, parse_sqlite_url(url))) as store:
        store.open()
        yield store


@contextmanager
def filled(folder: Path, rows: int) -> Iterator[SqliteStore]:
    """A store with so many rows, open."""
    with opened(folder) as store:
        fill(store, folder / "events.db", rows)
        yield store


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """100,000 events and runs, for all tests that only look."""
    with filled(tmp_path_factory.mktemp("full"), ROWS) as store:
        yield store


def first_page(
    store: SqliteStore, listing: str, filters: Filters, *, newest_first: bool
) -> Page[Any]:
    """What an operator sees first."""
    page: Page[Any] = getattr(store, listing)(filters, LIMIT, newest_first=newest_first)
    return page


def walk(store: SqliteStore, source: Source, filters: Filters) -> int:
    """What it would cost to look at every row, in hundreds of steps."""
    lanes: dict[str, list[int]] = {}
    for lane in store.lanes():
        lanes.setdefault(lane.event_type, []).append(lane.id)
    condition, values = conditions(source, filters, lanes)
    assert store._reader.connection is not None
    with steps(store._reader) as counted:
        statement = f"SELECT count(*) FROM {source.table} NOT INDEXED WHERE {condition}"
        store._reader.connection.execute(statement, values).fetchone()
    return counted[0]


def costs(store: SqliteStore, listing: str, filters: Filters) -> int:
    """What the first page costs in the worse direction, in hundreds of steps."""
    found = []
    for newest_first in (False, True):
        with steps(store._reader) as counted:
            first_page(store, listing, filters, newest_first=newest_first)
        found.append(counted[0])
    return max(found)


@pytest.mark.parametrize("filters", RUN_FILTERS, ids=str)
def test_the_first_page_of_runs_costs_little(full: SqliteStore, filters: Filters) -> None:
    """Some thousand steps for the rows on it, whatever the filter; a time costs a block or two."""
    assert costs(full, "runs", filters) <= max(FEW, walk(full, RUNS, filters) / 5)


@pytest.mark.parametrize("filters", EVENT_FILTERS, ids=str)
def test_the_first_page_of_events_costs_little(full: SqliteStore, filters: Filters) -> None:
    """As for runs; what is found by its state costs a short walk and a look at all of the state,
    a fifth of the rows here and a fiftieth of a million.
    """
    by_state = {"state", "paused", "blocked", "due_since", "due_until"} & filters.keys()
    part = 0.6 if by_state else 0.2
    assert costs(full, "events", filters) <= max(FEW, part * walk(full, EVENTS, filters))


@pytest.mark.parametrize(
    ("listing", "filters"),
    [
        ("events", {"origin": "bot", "user": "eve"}),
        ("events", {"resource": "pier", "event_type": "tide.mark"}),
        ("events", {"origin": "bot", "last_outcome": "timeout"}),
        ("runs", {"resource": "pier", "user": "eve"}),
        ("runs", {"origin": "bot", "cause": "timeout"}),
        ("runs", {"user": "ann", "event_type": "tide.mark"}),
    ],
    ids=str,
)
def test_the_rarer_of_two_values_leads(full: SqliteStore, listing: str, filters: Filters) -> None:
    """A value that half of the rows have does not make the page of a rare one any dearer."""
    assert costs(full, listing, filters) <= 2 * FEW
    assert len(first_page(full, listing, filters, newest_first=False)) < 10


def test_a_page_behind_others_costs_what_the_first_does(full: SqliteStore) -> None:
    """The cursor is where the search begins."""
    for listing, filters in [("runs", {"origin": "bot"}), ("events", {"state": "pending"})]:
        with steps(full._reader) as counted:
            page = getattr(full, listing)(filters, LIMIT, ROWS - 1000)
        assert len(page) == LIMIT
        assert counted[0] <= FEW


# -- a million, by the clock


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """A million events and runs."""
    with filled(tmp_path_factory.mktemp("million"), MANY) as store:
        yield store


def milliseconds(store: SqliteStore, listing: str, filters: Filters) -> float:
    """The best of three, in the worse direction."""
    worst = 0.0
    for newest_first in (False, True):
        taken = []
        for _ in range(3):
            begun = time.perf_counter()
            first_page(store, listing, filters, newest_first=newest_first)
            taken.append((time.perf_counter() - begun) * 1000)
        worst = max(worst, min(taken))
    return worst


@campaign
@pytest.mark.parametrize(("listing", "all_of"), [("runs", RUN_FILTERS), ("events", EVENT_FILTERS)])
def test_a_first_page_of_a_million_takes_less_than_100_ms(
    million: SqliteStore, listing: str, all_of: Sequence[Filters]
) -> None:
    """Whatever the filter, in both directions; times bound the same parts as in the short form."""
    taken = {str(one): milliseconds(million, listing, scaled(one)) for one in all_of}
    for filters, ms in taken.items():
        print(f"{ms:8.2f} ms  {listing} {filters}")  # noqa: T201 (a figure)
    assert {name: ms for name, ms in taken.items() if ms >= 100} == {}


def scaled(filters: Filters) -> Filters:
    """The same for ten times as many rows: a time by its part of the whole."""
    bounds = {
        name: NOW + (value - NOW) * (MANY // ROWS)
        for name, value in filters.items()
        if name in ("since", "until")
    }
    return {**filters, **bounds}


@campaign
@pytest.mark.parametrize("filters", [{}, {"state": "pending"}, {"origin": "bot"}], ids=str)
def test_a_hundred_thousand_pending_events_are_paged_to_the_end(
    tmp_path: Path, filters: Filters
) -> None:
    """Each is listed once, in order, and the last page is as near as the first."""
    with opened(tmp_path) as store:
        for first in range(0, ROWS, 10_000):
            store.add([an_event(due=NOW + first, origin="bot") for _ in range(10_000)])
        seen: list[int] = []
        taken: list[float] = []
        after: int | None = 0
        while after is not None:
            begun = time.perf_counter()
            page = store.events(filters, LIMIT, after)
            taken.append((time.perf_counter() - begun) * 1000)
            seen += [event.id for event in page]
            after = page.next
        assert page.total == ROWS
    assert seen == list(range(1, ROWS + 1))
    print(f"{sum(taken):.0f} ms for {len(taken)} pages, {max(taken):.1f} at most")  # noqa: T201
    assert sorted(taken)[len(taken) // 2] < 100
    assert sorted(taken[-20:])[10] < 5 * sorted(taken[:20])[10]
