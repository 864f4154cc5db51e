"""The promises of horae, one after the other, each in its plainest form.

Other files have the depth. What stands here is what a user was told, through the public face.
"""

import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest

from horae import Host, InvalidArguments, PluginLoadFailed, SettableClock
from horae.settings import parse_sqlite_url
from horae_builtin_plugins.schedule import Interval, Once
from horae_hookspecs import (
    NaiveDatetimeError,
    Outcome,
    Retry,
    RunContext,
    State,
    hookimpl,
)
from kit.events import LONG, outcomes, stored
from kit.hosts import types_of, until
from kit.processes import JOURNAL_HOST, Processes
from kit.sites import Site, answering, plugin

MINUTE = timedelta(minutes=1)
INTERRUPTED, SUCCEEDED = Outcome.INTERRUPTED, Outcome.SUCCEEDED


def rows(host: Host) -> list[tuple[Any, ...]]:
    """Every column of every event, as any program reads them."""
    connection = sqlite3.connect(host.store.url.removeprefix("sqlite:///"))
    found = connection.execute("SELECT * FROM horae_event ORDER BY id").fetchall()
    connection.close()
    return found


def test_promise_01_only_what_can_run_is_claimed(host_on: Callable[..., Host]) -> None:
    """Type missing, schema too new, kind missing, paused: left alone, while the rest runs."""
    host, newer, lunar = host_on(), host_on(), host_on()
    for client, version in ((host, 2), (newer, 3), (lunar, 2)):
        client.register("here", version=version)(lambda context: None)
    lunar.load_plugin(Lunar())
    left = [
        host.schedule("missing", allow_unknown=True),
        newer.schedule("here"),
        lunar.schedule("here", None, FullMoon(host.clock.now())),
        host.schedule("here"),
    ]
    host.pause(left[-1].id)
    before = [stored(host, event) for event in left]
    assert [(event.schema_version, event.schedule["kind"]) for event in before[1:]] == [
        (3, "once"),
        (2, "full_moon"),
        (2, "once"),
    ]
    able = host.schedule("here")
    host.run_until_idle(LONG)
    assert [stored(host, event) for event in left] == before
    assert [run.event_id for run in host.runs()] == [able.id]


class FullMoon(Once):
    """A schedule kind that only one of two hosts has."""

    kind = "full_moon"


class Lunar:
    """The plugin that provides it."""

    @hookimpl
    def horae_schedule_kinds(self) -> list[type[FullMoon]]:
        return [FullMoon]


def test_promise_02_absence_is_harmless(host: Host, clock: SettableClock, site: Site) -> None:
    """While the type is away nothing of its events changes; when it is back, each runs once."""
    site.install(answering("tide"))
    host.start().load_plugin("acme")
    ids = host.schedule_many([{"event_type": "acme.ask", "schedule": MINUTE}] * 50)
    before = rows(host)
    refuse_updates(host, True)
    host.unload_plugin("acme")
    clock.advance(timedelta(days=400))
    host.run_until_idle(LONG)
    host.stop()
    host.start()
    host.run_until_idle(LONG)
    refuse_updates(host, False)
    assert rows(host) == before
    assert host.runs().total == 0
    host.load_plugin("acme")
    host.run_until_idle(LONG)
    assert [(run.event_id, run.attempt, run.outcome) for run in host.runs()] == [
        (event_id, 1, SUCCEEDED) for event_id in ids
    ]


def refuse_updates(host: Host, refused: bool) -> None:
    """Let the database itself refuse, or allow again, to rewrite or delete a pending event."""
    connection = sqlite3.connect(host.store.url.removeprefix("sqlite:///"), timeout=LONG)
    for verb in ("UPDATE", "DELETE"):
        connection.execute(
            f"CREATE TRIGGER refuse_{verb} BEFORE {verb} ON horae_event "
            "BEGIN SELECT RAISE(ABORT, 'a pending event was touched'); END"
            if refused
            else f"DROP TRIGGER refuse_{verb}"
        )
    connection.close()


def test_promise_03_no_host_judges_for_the_fleet(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """A host without the type, or that unloads it, takes nothing from one that has it."""
    without, having = host_on(name="without").start(), host_on(name="having")
    having.register("acme.ask")(lambda context: "here")
    event = without.schedule("acme.ask", None, MINUTE)
    having.start()
    clock.advance(MINUTE)
    without.run_until_idle(LONG)
    having.run_until_idle(LONG)
    assert outcomes(having, event) == [SUCCEEDED]
    assert {run.host for run in having.runs()} == {"having"}
    assert without.waiting() == []


def test_promise_03_an_unload_on_one_host_withdraws_nothing_that_another_has(
    host_on: Callable[..., Host], site: Site
) -> None:
    """The catalogue still says that the type is provided, and nothing waits."""
    site.install(answering("tide"))
    one, other = host_on(name="one").start(), host_on(name="other").start()
    one.load_plugin("acme")
    # A second loader in this very process would share its modules, so this host has the types
    # as an application of its own has them.
    other.register("acme.ask")(lambda context: "here")
    until(lambda: all("acme.ask" in host.event_types for host in one.hosts()))
    event = one.schedule("acme.ask", None, MINUTE)
    one.unload_plugin("acme")
    (known,) = types_of(one)
    assert (known.withdrawn, known.loaded) == (None, True)
    assert one.waiting() == []
    assert stored(one, event).state is State.PENDING


def test_promise_04_reading_needs_no_plugin(host: Host, site: Site) -> None:
    """With the plugin uninstalled, its events are listed, shown, counted, paused, cancelled."""
    site.install(answering("tide"))
    host.start().load_plugin("acme")
    kept = host.schedule("acme.ask", None, Interval(minutes=5), key="k", description="Ask.")
    other = host.schedule("acme.ask", None, MINUTE)
    host.unload_plugin("acme")
    site.uninstall()
    reader = Host(host.settings, clock=host.clock)
    assert list(reader.events()) == [kept, other]
    assert reader.get(kept.id) == kept
    assert reader.overview() == {"acme.ask": {State.PENDING: 2}}
    (waiting,) = reader.waiting()
    assert (waiting.pending, waiting.plugin, waiting.version) == (2, "acme", "1.0")
    assert "pip install acme-plugin==1.0" in waiting.remedy
    assert reader.pause(kept.id)
    assert reader.resume(kept.id)
    assert reader.cancel(other.id)
    assert reader.schedule("acme.ask").state is State.PENDING
    reader.close()
    assert site.modules() == set()


def test_promise_05_a_late_answer_changes_nothing(
    host: Host, clock: SettableClock, logs: list[MutableMapping[str, Any]]
) -> None:
    """Every claim has a higher number; the answer of one that was given up is fenced."""
    entered, late = threading.Semaphore(0), threading.Event()

    @host.register("slow", timeout=60, retry=Retry(attempts=2, first=timedelta(0)))
    def slow(context: RunContext) -> str:
        entered.release()
        if context.attempt == 1:
            assert late.wait(LONG)
        return f"answer {context.attempt}"

    event = host.start().schedule("slow")
    assert entered.acquire(timeout=LONG)
    clock.advance(61)
    host.wait(event.id, LONG)
    before = stored(host, event), list(host.runs())
    late.set()
    until(lambda: "run.fenced" in [line["event"] for line in logs])
    host.run_until_idle(LONG)
    assert (stored(host, event), list(host.runs())) == before
    assert [(run.claim, run.outcome, run.result) for run in before[1]] == [
        (1, Outcome.TIMEOUT, None),
        (2, SUCCEEDED, "answer 2"),
    ]


@pytest.mark.parametrize("change", ["load", "upgrade"])
def test_promise_06_a_load_or_upgrade_is_all_or_nothing(
    host: Host, site: Site, change: str
) -> None:
    """One that fails, be it at the last step, leaves types, modules and runs as they were."""
    before: list[str] = []
    if change == "upgrade":
        site.install(answering("old"), version="1.0")
        host.load_plugin("acme")
        before = ["acme.ask"]
    host.start()
    modules = site.modules()
    site.install(answering("new") + BREAKS_AT_THE_END, version="2.0")
    with pytest.raises(PluginLoadFailed, match="the harbour is closed"):
        getattr(host, f"{change}_plugin")("acme")
    assert [known.event_type for known in types_of(host) if known.loaded] == before
    assert site.modules() == modules
    if change == "upgrade":
        host.wait(host.schedule("acme.ask").id, LONG)
        assert [(run.result, run.version) for run in host.runs()] == [("old", "1.0")]


BREAKS_AT_THE_END = """
@hookimpl
def horae_activate(context):
    raise RuntimeError("the harbour is closed")
"""


def test_promise_06_an_unload_leaves_no_trace_or_says_what_holds_it(
    host: Host, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes and modules are gone; one that an application keeps is named with its holder."""
    site.install(plugin("class Tide: pass\n"))
    host.start().load_plugin("acme")
    report = host.unload_plugin("acme")
    assert (report.collected, report.holders, report.errors) == (True, (), ())
    assert site.modules() == set()
    host.load_plugin("acme")
    keeper = ModuleType("keeper")
    keeper.kept = sys.modules["acme_plugin"].Tide  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keeper", keeper)
    report = host.unload_plugin("acme")
    assert not report.collected
    assert report.holders == ("class acme_plugin.Tide <- kept in module keeper",)


def test_promise_07_a_stored_event_is_plain_data(host: Host) -> None:
    """Text and numbers in the file, JSON in the text; what is no JSON is refused."""
    host.register("job")(lambda context, value=None: None)
    host.schedule("job", {"value": {"nested": [1, "two", None]}}, Interval(minutes=5))
    with pytest.raises(InvalidArguments, match="not JSON serializable"):
        host.schedule("job", {"value": object()})
    (row,) = rows(host)
    assert {type(value) for value in row} <= {str, int, type(None)}
    assert '{"value":{"nested":[1,"two",null]}}' in row
    (event,) = host.events()
    assert event.arguments == {"value": {"nested": [1, "two", None]}}
    assert event.schedule["kind"] == "interval"


def test_promise_08_scheduled_means_durable(processes: Processes) -> None:
    """A process that is killed right after ``schedule`` returned leaves the event behind."""
    program = processes.start(SCHEDULES_AND_DIES, processes.url)
    assert program.wait() == -signal.SIGKILL
    client = Host(processes.url)
    assert [event.key for event in client.events()] == ["kept"]
    client.close()


SCHEDULES_AND_DIES = """
import os, signal, sys
from horae import Host
host = Host(sys.argv[1])
host.schedule("job", key="kept", allow_unknown=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_promise_08_every_commit_is_flushed_unless_a_setting_says_otherwise() -> None:
    """FULL survives a power cut; NORMAL has to be asked for."""
    assert parse_sqlite_url("sqlite:///events.db").synchronous == "FULL"
    assert parse_sqlite_url("sqlite:///events.db?synchronous=normal").synchronous == "NORMAL"


def test_promise_09_one_bad_thing_harms_no_other(
    host: Host,
    clock: SettableClock,
    logs: list[MutableMapping[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bad row, bad job, bad schedule, bad listener: each is shown, and the good event runs."""
    row = host.schedule("good", {"value": "no number"}, MINUTE, allow_unknown=True)
    host.load_plugin(Vandal())

    @host.register("bad")
    def bad(context: RunContext) -> None:
        raise SystemExit("out of paper")

    host.register("good")(_give)
    job = host.schedule("bad", None, MINUTE)
    schedule = host.schedule("good", None, Sundial(minutes=1))
    good = host.schedule("good", {"value": 5}, MINUTE)
    monkeypatch.setattr(Sundial, "broken", True)
    clock.advance(MINUTE)
    host.run_until_idle(LONG)
    assert [run.result for run in host.runs(event_id=good.id)] == [5]
    assert outcomes(host, job) == [Outcome.FAILED]
    assert [stored(host, event).state for event in (row, schedule)] == [State.QUARANTINED] * 2
    assert "expected int" in str(stored(host, row).reason)
    assert "the sundial is broken" in str(stored(host, schedule).reason)
    assert "SystemExit: out of paper" in str(next(iter(host.runs(event_id=job.id))).error)
    assert {line["plugin"] for line in logs if line["event"] == "plugin.hook_failed"} == {"Vandal"}


def _give(context: RunContext, value: int = 0) -> int:
    return value


class Sundial(Interval):
    """A schedule that breaks after its event was stored."""

    kind = "sundial"
    broken = False

    def next_after(self, instant: datetime) -> datetime | None:
        if self.broken:
            raise SystemExit("the sundial is broken")
        return super().next_after(instant)


class Vandal:
    """A plugin that brings it, and listeners that raise."""

    @hookimpl
    def horae_schedule_kinds(self) -> list[type[Sundial]]:
        return [Sundial]

    @hookimpl
    def horae_run_started(self) -> None:
        raise SystemExit("started")

    @hookimpl
    def horae_run_finished(self) -> None:
        raise SystemExit("finished")

    @hookimpl
    def horae_event_missed(self) -> None:
        raise SystemExit("missed")


def test_promise_10_time_is_explicit(host: Host) -> None:
    """A naive datetime is refused with how to mend it; every instant that comes out is UTC."""
    naive = datetime(2026, 7, 1, 18)
    host.register("job")(lambda context: None)
    for wrong in (lambda: host.schedule("job", None, naive), lambda: Once(naive)):
        with pytest.raises(NaiveDatetimeError, match=r"no time zone.*datetime\.now\(UTC\)"):
            wrong()
    event = host.schedule("job", None, "at 2026-07-01T18:00+02:00")
    assert event.due == datetime(2026, 7, 1, 16, tzinfo=UTC)
    host.run_now(event.id)
    host.run_until_idle(LONG)
    (run,) = host.runs()
    instants = [event.due, event.created, run.occurrence, run.started, run.finished]
    assert {instant.tzinfo for instant in instants if instant} == {UTC}


def test_promise_11_every_attempt_leaves_a_record(processes: Processes) -> None:
    """Also one whose host is killed in the middle of it: first open, then interrupted."""
    hold = processes.journal.with_suffix(".hold")
    hold.touch()
    host = processes.start_host()
    client = Host(processes.url)
    event = client.schedule("journal.hold")
    until(processes.notes)
    (run,) = client.runs(event_id=event.id)
    assert (run.outcome, run.finished) == (None, None)
    host.kill()
    hold.unlink()
    processes.start_host()
    client.wait(event.id, LONG)
    assert outcomes(client, event) == [INTERRUPTED, SUCCEEDED]
    assert f"process {host.pid}" in str(next(iter(client.runs())).error)
    client.close()


def test_promise_12_the_key_is_the_same_over_all_attempts_of_an_occurrence(
    host: Host, clock: SettableClock
) -> None:
    """Whatever ends them; the next occurrence has another. Success is recorded once for each."""
    keys: dict[datetime, list[str]] = {}

    @host.register("job", retry=Retry(attempts=3, first=timedelta(0)))
    def job(context: RunContext) -> None:
        keys.setdefault(context.occurrence, []).append(context.idempotency_key)
        assert len(keys[context.occurrence]) == 3

    event = host.start().schedule("job", None, Interval(minutes=5, start=clock.now()))
    host.wait(event.id, LONG)
    clock.advance(5 * MINUTE)
    host.wait(event.id, LONG)
    assert [len(of_one) for of_one in keys.values()] == [3, 3]
    assert [len(set(of_one)) for of_one in keys.values()] == [1, 1]
    assert len({key for of_one in keys.values() for key in of_one}) == 2
    assert outcomes(host, event).count(SUCCEEDED) == 2


def test_promise_12_three_interruptions_quarantine_an_event(processes: Processes) -> None:
    """A job that kills its host cannot loop."""
    client = Host(processes.url)
    event = client.schedule("journal.crash", allow_unknown=True)
    for _ in range(3):
        assert processes.start(JOURNAL_HOST, processes.url, processes.journal).wait() == 3
    processes.start_host()
    client.wait(event.id, LONG)
    assert stored(client, event).state is State.QUARANTINED
    assert outcomes(client, event) == [INTERRUPTED] * 3
    assert len({note.key for note in processes.notes()}) == 1
    client.close()


def test_promise_12_a_type_may_refuse_to_be_repeated(processes: Processes) -> None:
    """With interrupted="fail", what a killed host had begun is not begun again."""
    processes.journal.with_suffix(".hold").touch()
    host = processes.start_host()
    client = Host(processes.url)
    event = client.schedule("journal.hold_once")
    until(processes.notes)
    host.kill()
    processes.start_host()
    client.wait(event.id, LONG)
    assert stored(client, event).state is State.FAILED
    assert len(processes.notes()) == 1
    client.close()
