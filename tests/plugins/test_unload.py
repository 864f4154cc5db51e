"""A plugin goes: its runs come to their end, its events wait, and the report says it all."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, PluginError
from horae.registry import Generation
from horae.scheduling.executors import ThreadExecutor
from horae_hookspecs import Outcome, PluginState, State, UnloadReport, hookimpl
from kit.hosts import answer_of, plugin_of, until
from kit.sites import Site, answering, plugin

HOLDING = plugin(
    """
    import journal

    @events.register("acme.hold", executor="one")
    def hold(context):
        journal.hold()
        return "late" if context.cancelled else "in time"
    """
)


class OneAtATime(ThreadExecutor):
    """Takes three runs and begins one at a time."""

    def capacity(self) -> int:
        return 3


class OneThread:
    """An application's plugin, which brings the executor."""

    @hookimpl
    def horae_executors(self) -> dict[str, ThreadExecutor]:
        return {"one": OneAtATime(1)}


@contextmanager
def unloading(host: Host, drain: float) -> Iterator[list[UnloadReport]]:
    """Unload acme in a thread; the block begins once it drains, the report is there after it."""
    reports: list[UnloadReport] = []
    thread = threading.Thread(target=lambda: reports.append(host.unload_plugin("acme", drain)))
    thread.start()
    until(lambda: plugin_of(host).state is not PluginState.ACTIVE)
    yield reports
    thread.join(30)


def hold_three(host: Host, site: Site, journal: Any) -> list[int]:
    """Three due events: one run has begun, two are in the executor's queue."""
    site.install(HOLDING)
    host.load_plugin(OneThread())
    host.load_plugin("acme")
    ids = host.schedule_many([{"event_type": "acme.hold"}] * 3)
    journal.entered.acquire()
    until(lambda: host.events(state="running").total == 3)
    return ids


def test_the_drain_finishes_what_runs_and_returns_what_is_queued(
    host: Host, site: Site, journal: Any
) -> None:
    """The run under way ends in time; the queued ones are given back and burn no attempt."""
    first, *queued = hold_three(host, site, journal)
    with unloading(host, drain=20) as reports:
        until(lambda: host.runs(outcome="returned").total == 2)
        journal.go.set()
    (report,) = reports
    assert (report.finished, report.returned, report.abandoned) == (1, 2, 0)
    assert (report.collected, report.holders, report.errors) == (True, (), ())
    run = host.store.last_run(first)
    assert run is not None
    assert (run.outcome, run.result) == (Outcome.SUCCEEDED, "in time")
    for event_id in queued:
        event, last = host.get(event_id), host.store.last_run(event_id)
        assert event is not None
        assert last is not None
        assert (event.state, event.attempt, last.outcome) == ("pending", 0, Outcome.RETURNED)
    host.load_plugin("acme")
    assert [host.wait(event_id, 20).result for event_id in queued] == ["in time"] * 2  # type: ignore[union-attr]


def test_what_does_not_end_is_abandoned_and_its_late_answer_fenced(
    host: Host, site: Site, journal: Any, logs: list[MutableMapping[str, Any]]
) -> None:
    """At the deadline the run is recorded as interrupted, and what it says later changes nothing;
    the report names what still holds the code.
    """
    first, *_ = hold_three(host, site, journal)
    report = host.unload_plugin("acme", drain=0.1)
    assert (report.finished, report.returned, report.abandoned) == (0, 2, 1)
    assert not report.collected
    assert any("acme_plugin.hold" in holder for holder in report.holders)
    journal.go.set()
    until(lambda: any(entry["event"] == "run.fenced" for entry in logs))
    event, run = host.get(first), host.store.last_run(first)
    assert event is not None
    assert run is not None
    assert (run.outcome, run.result) == (Outcome.INTERRUPTED, None)
    assert "acme was unloaded" in str(run.error)
    assert (event.state, event.attempt) == (State.PENDING, 0)
    host.load_plugin("acme")
    again = host.wait(first, timeout=20)
    assert again is not None
    assert (again.outcome, again.attempt, again.claim) == (Outcome.SUCCEEDED, 1, 2)


def test_events_of_an_absent_type_are_listed_shown_and_cancellable(host: Host, site: Site) -> None:
    """They stay pending, whatever comes due; reading and cancelling imports nothing."""
    site.install(answering(1))
    host.load_plugin("acme")
    in_an_hour = timedelta(hours=1)
    ids = [host.schedule("acme.ask", schedule=in_an_hour, resource=f"r{n}").id for n in range(3)]
    host.unload_plugin("acme")
    site.uninstall()
    host.clock.advance(in_an_hour * 2)  # type: ignore[attr-defined]
    host.run_until_idle(20)
    assert [event.id for event in host.events(event_type="acme.ask", state="pending")] == ids
    assert host.overview()["acme.ask"] == {State.PENDING: 3}
    shown = host.get(ids[0])
    assert shown is not None
    assert (shown.resource, shown.attempt, shown.last_outcome) == ("r0", 0, None)
    assert host.runs(event_type="acme.ask").total == 0
    assert host.cancel(ids[0], "not needed")
    assert host.pause(ids[1])
    (waiting,) = host.waiting()
    assert (waiting.event_type, waiting.pending, waiting.plugin) == ("acme.ask", 2, "acme")
    assert waiting.reason == "acme-plugin is not installed here"
    assert "pip install acme-plugin==1.0 && horae plugin load acme" in waiting.remedy
    assert site.modules() == set()


def test_events_wait_for_their_type_and_run_when_it_is_back(host: Host, site: Site) -> None:
    """What is scheduled and comes due while the type is away runs once, after the load."""
    site.install(answering(1))
    host.load_plugin("acme")
    host.unload_plugin("acme")
    ids = [host.schedule("acme.ask").id for _ in range(20)]
    assert host.waiting()[0].overdue == 20
    assert host.waiting()[0].remedy == "horae plugin load acme"
    host.load_plugin("acme")
    host.run_until_idle(20)
    assert host.waiting() == []
    assert [run.event_id for run in host.runs(outcome="succeeded", limit=50)] == ids


OBSERVING = plugin(
    """
    import journal

    @hookimpl
    def horae_type_waiting(waiting):
        journal.lines.append(f"{waiting.event_type} {waiting.pending} {waiting.remedy}")
    """
)


@pytest.mark.parametrize("commanded", [False, True], ids=["by the application", "by a command"])
def test_observers_are_told_which_types_wait_now(
    host: Host, site: Site, journal: Any, host_on: Callable[..., Host], commanded: bool
) -> None:
    """``horae_type_waiting`` tells each type with pending events, whoever asked for the unload."""
    site.install(OBSERVING, plugin="watch")
    site.install(answering(1) + "events.register('acme.idle')(lambda context: 1)\n")
    host.load_plugin("watch")
    host.load_plugin("acme")
    host.schedule("acme.ask", schedule=timedelta(days=1))
    if commanded:
        (row,) = host_on().command_plugin("unload", "acme", drain=5)
        assert row.ok
    else:
        host.unload_plugin("acme")
    until(lambda: journal.lines)
    assert journal.lines == ["acme.ask 1 horae plugin load acme"]


def test_nothing_to_unload_is_said_with_what_there_is(host: Host, site: Site) -> None:
    """A name that is not loaded raises PluginError, which lists the loaded ones."""
    with pytest.raises(PluginError, match=r"not loaded here.*Loaded: .*schedules"):
        host.unload_plugin("acme")


def test_what_came_with_horae_is_not_unloaded(host: Host) -> None:
    """Without the schedule kinds nothing could be scheduled, so they stay."""
    with pytest.raises(PluginError, match="came with horae"):
        host.unload_plugin("schedules")
    assert plugin_of(host, "schedules").state is PluginState.ACTIVE


def test_a_plugin_uninstalled_while_loaded_runs_on_and_unloads_clean(
    host: Host, site: Site
) -> None:
    """The disk can lose the files: what is in memory works, and goes without a trace."""
    site.install({"acme_plugin/__init__.py": answering(1), "acme_plugin/part.py": "value = 1\n"})
    host.load_plugin("acme")
    site.uninstall()
    assert answer_of(host) == 1
    assert host.unload_plugin("acme").collected
    assert site.modules() == set()


# Promise 2: absence is harmless


def pending_rows(host: Host) -> list[Any]:
    """Every column of every event, as the file has it."""
    with closing(sqlite3.connect(host.settings.url.removeprefix("sqlite:///"))) as file:
        return file.execute("SELECT * FROM horae_event ORDER BY id").fetchall()


def unload_counting(host: Host) -> list[str]:
    """The statements that an unload of acme makes in its own thread."""
    made: list[str] = []
    me = threading.get_ident()
    connections = (host.store._writer.connection, host.store._reader.connection)  # type: ignore[attr-defined]
    for connection in connections:
        connection.set_trace_callback(
            lambda statement: made.append(statement) if threading.get_ident() == me else None
        )
    host.unload_plugin("acme")
    for connection in connections:
        connection.set_trace_callback(None)
    return made


def test_unload_touches_no_pending_event_however_many_there_are(host: Host, site: Site) -> None:
    """20,000 pending rows are the same before and after, and cost no statement more than none."""
    site.install(answering(1))
    host.load_plugin("acme")
    host.schedule("acme.ask", schedule=timedelta(days=1))
    few = unload_counting(host)
    host.load_plugin("acme")
    request = {"event_type": "acme.ask", "schedule": timedelta(days=1)}
    host.schedule_many([request] * 20_000)
    before = pending_rows(host)
    many = unload_counting(host)
    assert pending_rows(host) == before
    assert len(before) == 20_001
    assert len(many) == len(few)
    assert not any("UPDATE horae_event " in statement for statement in many)


def test_p21_a_run_looks_again_after_it_was_counted_in(
    host: Host, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is withdrawn between the claim and the call is given back, uncounted, and not called."""
    site.install(answering("late"))
    host.load_plugin("acme")
    enter = Generation.enter

    def withdrawn_meanwhile(generation: Generation) -> None:
        host.registry.withdraw(generation)
        enter(generation)

    monkeypatch.setattr(Generation, "enter", withdrawn_meanwhile)
    event = host.schedule("acme.ask")
    until(lambda: host.runs(event_id=event.id, outcome="returned"))
    waits = host.get(event.id)
    assert waits is not None
    assert (waits.state, waits.attempt) == (State.PENDING, 0)
    assert host.runs(event_id=event.id, outcome="succeeded").total == 0
