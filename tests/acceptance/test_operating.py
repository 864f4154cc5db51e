"""Rows 45, 57 to 63, 65, 66 and 69 to 74: what operators see and do."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, MutableMapping
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, KeyTaken, SettableClock
from horae.settings import Retention
from horae_hookspecs import Outcome, RunContext, State, hookimpl
from kit.events import LONG, outcomes, stored

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def known(host: Host) -> Host:
    """A host that knows the type ``t``."""
    host.register("t")(lambda context: None)
    return host


def test_row_45_by_key(known: Host) -> None:
    """Add, find, replace and stop an event by the key that it was given."""
    first = known.schedule("t", None, "every 1h", key="k")
    with pytest.raises(KeyTaken):
        known.schedule("t", None, "every 2h", key="k", on_conflict="error")
    second = known.schedule("t", None, "every 2h", key="k", on_conflict="replace")
    assert (second.id, second.schedule["seconds"]) == (first.id, 7200)
    (found,) = known.events(key="k")
    assert known.cancel(found.id)
    assert known.schedule("t", None, "every 1h", key="k").id != first.id


def test_row_57_list_filter_page_total(known: Host) -> None:
    """Filtered, in order, a page at a time, with the right total; here 10,000 of them."""
    known.schedule_many(
        [{"event_type": "t", "schedule": HOUR, "resource": f"i-{n % 10}"} for n in range(10_000)]
    )
    seen, after = 0, 0
    while True:
        page = known.events(resource="i-3", limit=300, after=after)
        assert page.total == 1000
        assert all(event.resource == "i-3" for event in page)
        seen += len(page)
        if page.next is None:
            break
        after = page.next
    assert seen == 1000
    newest = known.events(limit=1, newest_first=True).items[0]
    assert newest.id == max(event.id for event in known.events(limit=10_000))


def test_row_58_bulk_cancel_pause_run_now(known: Host, clock: SettableClock) -> None:
    """By filter and by id; run now goes through the same claim, and is in the history."""
    ids = known.schedule_many([{"event_type": "t", "schedule": DAY, "origin": "bot"}] * 5)
    assert known.cancel_all("not needed", id=ids[:2]) == 2
    known.pause(origin="bot")
    assert known.events(paused=True, state="pending").total == 3
    known.resume(origin="bot")
    assert known.run_now(ids[2])
    known.run_until_idle(LONG)
    (run,) = known.runs()
    assert (run.event_id, run.claim, run.outcome) == (ids[2], 1, Outcome.SUCCEEDED)


def test_row_61_target_deleted(host: Host) -> None:
    """The events of a target end with it, the running one too."""
    entered, cancelled = threading.Event(), []

    @host.register("slow")
    def slow(context: RunContext) -> None:
        entered.set()
        while not context.cancelled:
            pass
        cancelled.append(context.event_id)

    host.start()
    running = host.schedule("slow", None, "every 1h", resource="i-1")
    host.run_now(running.id)
    assert entered.wait(LONG)
    pending = host.schedule("slow", None, DAY, resource="i-1")
    other = host.schedule("slow", None, DAY, resource="i-2")
    assert host.cancel_all("target deleted", resource="i-1") == 2
    host.run_until_idle(LONG)
    assert cancelled == [running.id]
    assert stored(host, pending).state is State.CANCELLED
    assert stored(host, running).due is None
    assert stored(host, other).state is State.PENDING


def test_row_62_overview(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """Counts by type, state and outcome are those of raw SQL; history is found by its owner,
    target, type and time.
    """
    known = host_on()
    known.register("t")(lambda context: None)
    known.register("bad")(lambda context: 1 / 0)
    known.schedule_many([{"event_type": "t", "origin": "bot", "resource": "i-1"}] * 3)
    known.schedule("bad")
    known.schedule("t", None, DAY)
    known.run_until_idle(LONG)
    overview = known.overview()
    with closing(sqlite3.connect(known.store.url.removeprefix("sqlite:///"))) as connection:
        rows = connection.execute(
            "SELECT l.event_type, e.state FROM horae_event e JOIN horae_lane l ON l.id = e.lane"
        )
        counted = Counter(rows.fetchall())
    assert {
        (name, state): n for name, states in overview.items() for state, n in states.items()
    } == counted
    assert overview["t"].outcomes == {Outcome.SUCCEEDED: 3}
    assert overview["bad"].outcomes == {Outcome.FAILED: 1}
    assert known.runs(origin="bot", resource="i-1", event_type="t").total == 3
    assert known.runs(since=clock.now() + HOUR).total == 0
    assert known.runs(until=clock.now() + HOUR).total == 4


def test_row_63_upcoming(known: Host, clock: SettableClock) -> None:
    """What is foretold is what then happens."""
    known.schedule("t", None, "every 20m")
    known.schedule("t", None, "every 30m")
    known.schedule("t", None, timedelta(minutes=45))
    foretold = [(one.due, one.event_id) for one in known.upcoming(6)]
    for due, _ in foretold:
        clock.set(due)
        known.run_until_idle(LONG)
    happened = [(run.occurrence, run.event_id) for run in known.runs()]
    assert sorted(happened[: len(foretold)]) == sorted(foretold)


def test_row_65_retention(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """History past its time goes, in batches; what is younger, and what still waits, stays."""
    host = host_on(retention={"*": Retention(age=30 * DAY)})
    host.register("t")(lambda context: None)
    host.schedule_many([{"event_type": "t"}] * 500)
    waits = host.schedule("t", None, 365 * DAY)
    host.run_until_idle(LONG)
    clock.advance(31 * DAY)
    young = host.schedule("t")
    host.run_until_idle(LONG)
    host.stop()
    host.start()
    host.run_until_idle(LONG)
    left = {event.id for event in host.events(event_type="t")}
    assert left == {waits.id, young.id}
    assert {run.event_id for run in host.runs(event_type="t")} == {young.id}


def test_row_66_maintenance_is_ordinary(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """The pruning is an event like any other: in the list, and in the history."""
    host = host_on()
    host.register("t")(lambda context: None)
    host.schedule_many([{"event_type": "t"}] * 2)
    host.run_until_idle(LONG)
    clock.advance(60 * DAY)
    host.start()
    host.run_until_idle(LONG)
    (event,) = host.events(event_type="horae.retention")
    assert event.origin == "horae"
    assert Outcome.SUCCEEDED in outcomes(host, event)


def test_row_69_fairness(host_on: Callable[..., Host]) -> None:
    """A thousand slow events of one type do not keep another type's waiting."""
    host, gate, ran = host_on(workers=4), threading.Event(), threading.Event()
    host.register("slow")(lambda context: gate.wait(LONG))
    host.register("quick")(lambda context: ran.set())
    host.schedule_many([{"event_type": "slow"}] * 1000)
    host.start()
    host.schedule("quick")
    assert ran.wait(LONG)
    gate.set()


def test_row_71_no_target(known: Host) -> None:
    """An event may be about nothing in particular, and have an owner only."""
    event = known.schedule("t", origin="reports")
    known.run_until_idle(LONG)
    assert outcomes(known, event) == [Outcome.SUCCEEDED]
    assert event.resource is None


def test_row_72_log_lines(host: Host, logs: list[MutableMapping[str, Any]]) -> None:
    """A job's log lines carry event, type, plugin and version."""

    @host.register("t")
    def job(context: RunContext) -> None:
        context.log.info("at work")

    event = host.schedule("t")
    host.run_until_idle(LONG)
    (line,) = [entry for entry in logs if entry["event"] == "at work"]
    assert (line["event_id"], line["event_type"]) == (event.id, "t")
    assert {"plugin", "version", "generation"} <= line.keys()


def test_row_74_outside_triggers(known: Host) -> None:
    """What happens elsewhere, a resource that was created, schedules through the host's view."""
    views: list[Any] = []

    class Trigger:
        @hookimpl
        def horae_activate(self, context: Any) -> None:
            views.append(context.host)

    known.start().load_plugin(Trigger())
    event = views[0].schedule("t", None, DAY, resource="created", origin="hook:created")
    assert stored(known, event).origin == "hook:created"
