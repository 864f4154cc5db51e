"""Scheduling in a transaction of the caller's own, on the store's file."""

import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from horae import Host, KeyTaken, StoreBusy, StoreUnsupported
from horae_hookspecs import State
from kit.events import LONG
from kit.hosts import until

HOUR = timedelta(hours=1)


@pytest.fixture
def host(host_on: Any) -> Host:
    """A host on a file, whose type ``job`` does nothing."""
    host: Host = host_on()
    host.register("job")(lambda context: None)
    return host


@pytest.fixture
def connection(host: Host, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """An application's connection, as sqlite3 opens it, with a table of its own."""
    with closing(sqlite3.connect(tmp_path / "events.db", timeout=0.1)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        yield connection


def orders(connection: sqlite3.Connection) -> int:
    """How many orders there are."""
    return int(connection.execute("SELECT count(*) FROM orders").fetchone()[0])


def test_an_event_and_an_order_are_stored_together(
    host: Host, connection: sqlite3.Connection
) -> None:
    """With the caller's commit, not before."""
    connection.execute("INSERT INTO orders DEFAULT VALUES")
    event = host.schedule("job", None, HOUR, key="k", resource="pier", connection=connection)
    assert host.get(event.id) is None
    connection.commit()
    assert host.get(event.id) == event
    assert orders(connection) == 1


def test_an_event_and_an_order_are_taken_back_together(
    host: Host, connection: sqlite3.Connection
) -> None:
    """Nothing is left of it: no event, no lane, and the key is free."""
    lanes = host.store.lanes()
    connection.execute("INSERT INTO orders DEFAULT VALUES")
    host.schedule("new", None, HOUR, key="k", connection=connection, allow_unknown=True)
    host.schedule_many([{"event_type": "job"}] * 3, connection=connection)
    connection.rollback()
    assert host.events().total == orders(connection) == 0
    assert host.store.poll()
    assert host.store.lanes() == lanes
    assert host.schedule("new", None, HOUR, key="k", allow_unknown=True).id == 1


def test_scheduling_begins_the_transaction_where_none_is_open(
    host: Host, connection: sqlite3.Connection
) -> None:
    """As any statement that changes something does on such a connection."""
    host.schedule("job", connection=connection)
    assert connection.in_transaction
    assert host.events().total == 0
    connection.commit()
    assert host.events().total == 1


def test_without_a_transaction_in_autocommit_mode_it_is_stored_at_once(
    host: Host, tmp_path: Path
) -> None:
    """And many events are, or none."""
    options: dict[str, Any] = {"isolation_level": None}
    if sys.version_info >= (3, 12):
        options = {"autocommit": True}
    with closing(sqlite3.connect(tmp_path / "events.db", **options)) as connection:
        host.schedule("job", None, HOUR, key="k", connection=connection)
        assert host.events().total == 1
        request = {"event_type": "job", "schedule": HOUR}
        taken = {**request, "key": "k", "on_conflict": "error"}
        with pytest.raises(KeyTaken):
            host.schedule_many([request, taken], connection=connection)
        assert not connection.in_transaction
        host.schedule_many([request] * 2, connection=connection)
        assert host.events().total == 3


def test_a_refused_request_leaves_the_transaction_as_it_was(
    host: Host, connection: sqlite3.Connection
) -> None:
    """The caller may go on, and commit what came before."""
    host.schedule("job", None, HOUR, key="k")
    connection.execute("INSERT INTO orders DEFAULT VALUES")
    request = {"event_type": "job", "schedule": HOUR}
    with pytest.raises(KeyTaken):
        host.schedule_many(
            [request, {**request, "key": "k", "on_conflict": "error"}], connection=connection
        )
    connection.commit()
    assert (host.events().total, orders(connection)) == (1, 1)


def test_keys_are_looked_up_in_the_transaction(host: Host, connection: sqlite3.Connection) -> None:
    """What the same transaction stored holds its key, and can be replaced."""
    first = host.schedule("job", None, HOUR, key="k", connection=connection)
    kept = host.schedule("job", None, None, key="k", connection=connection)
    assert kept == first
    replaced = host.schedule(
        "job", None, 2 * HOUR, key="k", on_conflict="replace", connection=connection
    )
    assert (replaced.id, replaced.due) == (first.id, host.clock.now() + 2 * HOUR)
    connection.commit()
    assert host.get(first.id) == replaced


def test_a_running_host_sees_the_event_after_the_commit(
    host: Host, connection: sqlite3.Connection
) -> None:
    """It is run soon, without being told; until then the host goes on undisturbed."""
    host.start()
    event = host.schedule("job", connection=connection)
    assert host.get(event.id) is None
    connection.commit()
    until(lambda: host.events(id=event.id, state=State.FINISHED).total)


def test_a_host_that_waits_for_the_commit_is_not_waited_for(
    host: Host, connection: sqlite3.Connection
) -> None:
    """The caller goes on scheduling while the host wants to write and cannot yet."""
    connection.execute("INSERT INTO orders DEFAULT VALUES")
    writing = threading.Thread(target=lambda: host.schedule("job"))
    writing.start()
    for number in range(20):
        host.schedule("job", None, HOUR, key=str(number), connection=connection)
    assert writing.is_alive()
    connection.commit()
    writing.join(LONG)
    assert host.events().total == 21


def test_a_pause_holds_for_what_is_stored_in_a_transaction(
    host: Host, connection: sqlite3.Connection
) -> None:
    """Rules are heeded on every way in."""
    host.pause(origin="bot")
    event = host.schedule("job", None, HOUR, origin="bot", connection=connection)
    connection.commit()
    assert event.paused
    assert host.get(event.id) == event


def test_another_database_is_refused(host: Host, tmp_path: Path) -> None:
    """One transaction cannot hold two files."""
    for other in (":memory:", str(tmp_path / "other.db")):
        with (
            closing(sqlite3.connect(other)) as connection,
            pytest.raises(StoreUnsupported, match="Connect to the store's own file"),
        ):
            host.schedule("job", connection=connection)
    with pytest.raises(TypeError, match="no sqlite3"):
        host.schedule("job", connection="events.db")
    assert host.events().total == 0


def test_a_database_that_another_writes_to_is_busy(
    host: Host, connection: sqlite3.Connection
) -> None:
    """The error is horae's own, and the connection is free again."""
    with host.store.transaction(), pytest.raises(StoreBusy):
        host.schedule("job", connection=connection)
    assert not connection.in_transaction


def test_the_memory_store_has_no_transactions_to_join(host_on: Any) -> None:
    """It says so, and what to do."""
    host: Host = host_on(url="memory://")
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(StoreUnsupported, match="memory store"),
    ):
        host.schedule("job", connection=connection, allow_unknown=True)
