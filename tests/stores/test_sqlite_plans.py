"""What the SQLite store's statements cost: by the plan, and in steps of SQLite's virtual machine.

Both are the same on every machine and under every load, which no clock is.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from horae.settings import parse_sqlite_url
from horae.stores import _statements
from horae.stores._gates import MOST_LOOKED_AT
from horae.stores._sqlite_listing import BLOCK
from horae.stores.records import Claim, Provider, Stale
from horae.stores.sqlite import SqliteStore
from stores.counting import steps
from stores.samples import HOST, NOW, SECOND, a_host, an_event, claim, providers, settled

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
        ("KEY_HOLDER", ["SEARCH horae_event USING INDEX horae_event_key"]),
        ("MISSING", ["SEARCH horae_event USING INDEX horae_event_wanted (origin=?)"]),
        ("WITH_SEVERAL", ["SEARCH horae_event USING INDEX horae_event_wanted (origin=?)"]),
        ("NARROW", ["SEARCH horae_event USING INTEGER PRIMARY KEY"]),
        ("KEY_LAST_HOLDER", ["SEARCH horae_event USING INDEX horae_event_keyed"]),
        ("CANCEL_WAITING", ["SEARCH horae_event USING INTEGER PRIMARY KEY"]),
        ("FOLLOW", ["SEARCH horae_event USING INTEGER PRIMARY KEY"]),
        ("RUNNING_CHANGED", ["SEARCH horae_event USING INDEX horae_event_running"]),
        ("PICK_GATED", ["INDEX horae_event_ready (lane=? AND priority=? AND due<?)"]),
        ("INSIDE", ["SEARCH horae_hold USING PRIMARY KEY (gate=?"]),
        ("LEAVE", ["SEARCH horae_hold USING COVERING INDEX horae_hold_event (event=?"]),
        ("GIVE_WAY", ["SEARCH horae_hold USING COVERING INDEX horae_hold_event (event=?"]),
        ("BLOCK", ["SEARCH horae_event USING INTEGER PRIMARY KEY"]),
        (
            "NEXT_AT_GATES",
            [
                "INDEX horae_event_blocked (blocked=? AND lane>?)",
                "INDEX horae_event_blocked (blocked=? AND lane=?)",
            ],
        ),
        (
            "BACKLOG",
            [
                "INDEX horae_event_ready",
                "INDEX horae_event_paused",
                "INDEX horae_event_blocked",
            ],
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


# -- steps


def claimed(store: SqliteStore, types: list[str]) -> tuple[int, list[Claim]]:
    """Claim as an engine does, a few times over, and settle; the cost of the claims."""
    lanes = providers(store, types)
    store._forget()  # as after a write of another process: the worst case
    claims: list[Claim] = []
    with steps(store._writer) as counted:
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
    with steps(sqlite_store._writer) as counted:
        for _ in range(100):
            found = sqlite_store.claim(HOST, lanes, NOW, 20)
            assert found is not None
            assert found.next_due == NOW + SECOND
    assert counted[0] <= 50  # a hundred claims, fifty steps each at the most


def gated(store: SqliteStore) -> dict[int, Provider]:
    """All lanes, each of an exclusive type."""
    return {
        lane.id: Provider("tides", "1.0", 1, exclusive=True, event_type=lane.event_type)
        for lane in store.lanes()
    }


def crowd(store: SqliteStore, size: int) -> None:
    """Add 50 free events that are due after ``size`` whose resource is in use, some of them of
    the same type, some of a higher priority.
    """
    store.add([an_event(resource="pier", due=NOW - 2 * SECOND)])
    store.claim(HOST, gated(store), NOW, 1)
    types = ["tide.mark", "moon.rise", "tide.mark", "sun.set"]
    store.add(
        [
            an_event(types[n % 4], resource="pier", due=NOW - SECOND, priority=n // 4 % 2)
            for n in range(size)
        ]
    )
    store.add([an_event(resource=f"berth-{n}") for n in range(50)])


def turns_to_claim(store: SqliteStore, events: int) -> tuple[list[int], int]:
    """Claim four at a time, as a host with four threads, until so many were claimed; the steps
    of each claim, and how many claims it took to the first.
    """
    costs, found, first = [], 0, 0
    while found < events:
        with steps(store._writer) as counted:
            claimed = store.claim(HOST, gated(store), NOW, 4)
        assert claimed is not None
        assert claimed.next_due is not None
        assert claimed.next_due <= NOW
        costs.append(counted[0])
        found += len(claimed.claims)
        first += not found
    return costs, first


def test_a_hundred_thousand_blocked_events_delay_no_free_one(sqlite_store: SqliteStore) -> None:
    """The first claims look past them. They step aside once, in short turns, and after that free
    ones are claimed as if they were alone.
    """
    store = sqlite_store
    crowd(store, 100_000)
    costs, first = turns_to_claim(store, 48)
    assert first == 0
    assert len(costs) == 12
    assert max(costs) <= costs[0]
    turns = 12
    while (claimed := store.claim(HOST, gated(store), NOW, 4)) and claimed.next_due:
        turns += 1
    assert turns <= 2 * 100_000 / MOST_LOOKED_AT
    assert sum(one.blocked for one in store.backlog(NOW)) == 100_000
    store.add([an_event(resource=f"float-{n}") for n in range(50)])
    alone, _ = turns_to_claim(store, 48)
    assert max(alone) <= costs[0] / 100


def test_a_gate_with_a_long_line_is_left_and_passed_at_the_cost_of_a_few_rows(
    sqlite_store: SqliteStore,
) -> None:
    """One of each type goes on; what waits behind them costs nothing."""
    store = sqlite_store
    crowd(store, OTHERS)
    turns_to_claim(store, 48)
    with steps(store._writer) as counted:
        store.rescue(HOST, "gone", NOW)
    assert counted[0] <= 300  # for the 49 runs that it had
    store.join(a_host())
    lanes = gated(store)
    for n in range(6):
        with steps(store._writer) as counted:
            claimed = store.claim(HOST, lanes, NOW, 1)
        assert claimed is not None
        assert counted[0] <= 20
        (one,) = claimed.claims
        assert one.resource == "pier"
        with steps(store._writer) as counted:
            store.settle([settled(one)])
        assert counted[0] <= 20
        lanes.pop(one.lane if n % 3 == 2 else 0, None)  # a type is unloaded now and then


def run_all(store: SqliteStore) -> None:
    """Bring all that is due to its end."""
    while found := claim(store):
        store.settle([settled(one) for one in found])


def steps_to_prune(store: SqliteStore, stale: Stale) -> int:
    """The steps until all was looked at, with nothing to delete."""
    after: int | None = 0
    with steps(store._writer) as counted, store.transaction():  # else another connection would read
        while after is not None:
            pruned = store.prune(stale, after, 1000)
            assert (pruned.events, pruned.runs) == (0, 0)
            after = pruned.next
    return counted[0]


def test_young_history_costs_retention_next_to_nothing(sqlite_store: SqliteStore) -> None:
    """With 20,000 young events no more than the last block of ids is looked at."""
    store = sqlite_store
    store.add([an_event() for _ in range(3)])
    run_all(store)
    before = steps_to_prune(store, Stale("tide.mark", NOW))
    store.add([an_event() for _ in range(5 * BLOCK)])
    store.add([an_event("moon.rise") for _ in range(OTHERS)])
    run_all(store)
    assert steps_to_prune(store, Stale("tide.mark", NOW)) <= before + 20
    assert steps_to_prune(store, Stale("no.type", NOW)) == 0


def test_unload_touches_no_event(sqlite_store: SqliteStore) -> None:
    """Withdrawing a type costs the same with 20,000 pending events as with none."""
    with steps(sqlite_store._writer) as counted:
        sqlite_store.withdraw(["tide.mark"], NOW)
    before = counted[0]
    sqlite_store.add([an_event() for _ in range(OTHERS)])
    with steps(sqlite_store._writer) as counted:
        sqlite_store.withdraw(["tide.mark"], NOW)
    assert counted[0] <= before + 1
