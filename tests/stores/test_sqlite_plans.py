"""What the SQLite store's statements cost: by the plan, and in steps of SQLite's virtual machine.

Both are the same on every machine and under every load, which no clock is.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from horae.settings import parse_sqlite_url
from horae.stores import _rows, _statements
from horae.stores.base import Claim
from horae.stores.sqlite import SqliteStore
from stores.samples import HOST, NOW, SECOND, a_host, an_event, providers, settled

OTHERS = 20_000


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[SqliteStore]:
    """An empty store with a host on record."""
    url = f"sqlite:///{tmp_path}/events.db?synchronous=NORMAL"
    store = SqliteStore(url, parse_sqlite_url(url))
    store.open()
    store.join(a_host())
    yield store
    store.close()


@contextmanager
def steps(store: SqliteStore) -> Iterator[list[int]]:
    """Counts the hundreds of virtual machine steps that the writing connection takes."""
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    assert store._writer is not None
    store._writer.set_progress_handler(count, 100)
    yield counted
    store._writer.set_progress_handler(None, 0)


# -- plans


@pytest.mark.parametrize(
    ("statement", "plan"),
    [
        ("HEAD", ["INDEX horae_event_ready (lane=? AND priority=?)"]),
        ("PICK", ["INDEX horae_event_ready (lane=? AND priority=? AND due<?)"]),
        ("TAKE", ["SEARCH horae_event USING INTEGER PRIMARY KEY"]),
        ("SETTLE_EVENT", ["SEARCH horae_event USING INTEGER PRIMARY KEY"]),
        ("SETTLE_RUN", ["SEARCH horae_run USING INDEX horae_run_claim"]),
        ("RESCUE_EVENTS", ["SEARCH horae_event USING INDEX horae_event_running"]),
        ("RESCUE_RUNS", ["horae_event USING INDEX horae_event_running", "INDEX horae_run_claim"]),
        ("LAST_RUN", ["SEARCH r USING INDEX horae_run_claim"]),
        ("KEY_HOLDER", ["SEARCH horae_event USING INDEX horae_event_key"]),
        ("MISSING", ["SEARCH horae_event USING INDEX horae_event_wanted (origin=?)"]),
        ("WITH_SEVERAL", ["SEARCH horae_event USING INDEX horae_event_wanted (origin=?)"]),
        ("NARROW", ["SEARCH horae_event USING INTEGER PRIMARY KEY"]),
        ("CANCEL_WAITING", ["SEARCH horae_event USING INTEGER PRIMARY KEY"]),
        (
            "BACKLOG",
            ["INDEX horae_event_ready", "INDEX horae_event_paused"],
        ),
    ],
)
def test_a_statement_rides_its_index(
    sqlite_store: SqliteStore, tmp_path: Path, statement: str, plan: list[str]
) -> None:
    """The plan names the index that the statement's comment promises, and sorts nothing."""
    sql = getattr(_statements, statement)
    values = dict.fromkeys(re.findall(r":(\w+)", sql)) or [None] * sql.count("?")
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        found = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    lines = [row[3] for row in found]
    assert lines
    for expected in plan:
        assert any(expected in line for line in lines), lines
    assert not any("USE TEMP B-TREE FOR ORDER BY" in line for line in lines), lines
    if statement != "BACKLOG":
        assert not any(line.startswith("SCAN horae_") for line in lines), lines


@pytest.mark.parametrize(
    ("source", "columns", "filters", "plan"),
    [
        ("horae_event e", _rows.EVENT_FILTERS, {"id": 1}, "SEARCH e USING INTEGER PRIMARY KEY"),
        ("horae_run r", _rows.RUN_FILTERS, {"event_id": 1}, "SEARCH r USING INDEX horae_run_claim"),
    ],
)
def test_a_look_at_one_event_rides_an_index(
    sqlite_store: SqliteStore,
    tmp_path: Path,
    source: str,
    columns: dict[str, str],
    filters: dict[str, int],
    plan: str,
) -> None:
    """One event, and the runs of one event, are found without a walk."""
    where, values = _rows.conditions(filters, columns, "?")
    sql = f"SELECT * FROM {source} JOIN horae_lane l ON l.id = {source[-1]}.lane WHERE {where}"
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        found = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    assert any(plan in row[3] for row in found), found


# -- steps


def claimed(store: SqliteStore, types: list[str]) -> tuple[int, list[Claim]]:
    """Claim as an engine does, a few times over, and settle; the cost of the claims."""
    lanes = providers(store, types)
    store._forget()  # as after a write of another process: the worst case
    claims: list[Claim] = []
    with steps(store) as counted:
        for _ in range(5):
            found = store.claim(HOST, lanes, NOW, 20)
            assert found is not None
            claims += found.claims
    store.settle([settled(one) for one in claims])
    return counted[0], claims


def test_a_claim_costs_the_same_beside_what_cannot_run(sqlite_store: SqliteStore) -> None:
    """Overdue events of absent types and future ones, 20,000 of each, cost a claim nothing."""
    types = ["tide.mark", "moon.rise"]
    due = [an_event(event_type, priority=p) for event_type in types for p in range(4)] * 12
    sqlite_store.add(due)
    alone, claims = claimed(sqlite_store, types)
    assert len(claims) == len(due)
    sqlite_store.add(
        [an_event("away.type", due=NOW - SECOND, priority=n % 4) for n in range(OTHERS)]
    )
    sqlite_store.add(
        [an_event(types[n % 2], due=NOW + SECOND + n, priority=n % 4) for n in range(OTHERS)]
    )
    sqlite_store.add(due)
    beside, claims = claimed(sqlite_store, types)
    assert len(claims) == len(due)
    assert beside <= 1.2 * alone


def test_an_idle_claim_costs_next_to_nothing(sqlite_store: SqliteStore) -> None:
    """With nothing due a claim looks at no event: known heads answer."""
    sqlite_store.add([an_event(due=NOW + SECOND, priority=n % 4) for n in range(OTHERS)])
    lanes = providers(sqlite_store)
    sqlite_store.claim(HOST, lanes, NOW, 20)
    with steps(sqlite_store) as counted:
        for _ in range(100):
            found = sqlite_store.claim(HOST, lanes, NOW, 20)
            assert found is not None
            assert found.next_due == NOW + SECOND
    assert counted[0] <= 50  # a hundred claims, fifty steps each at the most


def test_unload_touches_no_event(sqlite_store: SqliteStore) -> None:
    """Withdrawing a type costs the same with 20,000 pending events as with none."""
    with steps(sqlite_store) as counted:
        sqlite_store.withdraw(["tide.mark"], NOW)
    before = counted[0]
    sqlite_store.add([an_event() for _ in range(OTHERS)])
    with steps(sqlite_store) as counted:
        sqlite_store.withdraw(["tide.mark"], NOW)
    assert counted[0] <= before + 1
