"""Rows 37 to 43 and 47 to 56: how runs exclude one another, are lost, end, and are told."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, SettableClock, StoreFull
from horae_hookspecs import Cause, Outcome, Retry, RunContext, State, hookimpl
from kit.events import LONG, outcomes, runs_of, stored
from kit.hosts import until
from kit.processes import Processes
from kit.sites import Site, answering

HOUR = timedelta(hours=1)


class Gate:
    """A job that waits, and knows how many of it run at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.now = self.most = 0
        self._counting = threading.Lock()

    def job(self, context: RunContext) -> None:
        with self._counting:
            self.now += 1
            self.most = max(self.most, self.now)
        self.entered.release()
        self.open.wait(LONG)
        with self._counting:
            self.now -= 1


def test_row_37_one_run_at_a_time_across_hosts(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """A slow recurring job on two hosts: never two at once, and what came due meanwhile is told."""
    gate, hosts = Gate(), [host_on(name="one"), host_on(name="two")]
    for host in hosts:
        host.register("slow")(gate.job)
        host.start()
    event = hosts[0].schedule("slow", None, "every 1h")
    clock.advance(HOUR)
    assert gate.entered.acquire(timeout=LONG)
    clock.advance(3 * HOUR)
    gate.open.set()
    for host in hosts:
        host.run_until_idle(LONG)
    assert gate.most == 1
    assert [run.covers for run in runs_of(hosts[0], event)] == [1, 3]


def test_row_38_one_run_for_a_due_time(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """Two hosts that wake at the same instant run each due event once between them."""
    done: list[int] = []
    hosts = [host_on(name="one"), host_on(name="two")]
    for host in hosts:
        host.register("t")(lambda context: done.append(context.event_id))
        host.start()
    ids = hosts[0].schedule_many([{"event_type": "t", "schedule": HOUR}] * 200)
    clock.advance(HOUR)
    for host in hosts:
        host.run_until_idle(LONG)
    until(lambda: hosts[0].events(state="finished").total == 200)
    assert sorted(done) == ids


def test_row_39_lease_and_fence(host: Host) -> None:
    """A host that others took for dead goes on: its late answer changes nothing."""
    gate = Gate()
    host.register("slow")(gate.job)
    host.start()
    event = host.schedule("slow")
    assert gate.entered.acquire(timeout=LONG)
    host.store.rescue(str(host.id), "showed no sign of life", host.clock.micros())
    gate.open.set()
    until(lambda: stored(host, event).state is State.FINISHED)
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.INTERRUPTED, Outcome.SUCCEEDED]


def test_row_40_no_lock_out_after_a_crash(
    processes: Processes, host_on: Callable[..., Any]
) -> None:
    """What a killed host held, an exclusive resource too, is free once the next one starts."""
    program = (
        "import sys, time\nfrom horae import Host\nhost = Host(sys.argv[1])\n"
        "@host.register('t', exclusive=True)\ndef t(context):\n"
        "    print('in', flush=True)\n    time.sleep(60)\n"
        "host.start()\nhost.schedule('t', resource='i-1')\ntime.sleep(60)\n"
    )
    lost = processes.start(program, processes.url)
    lost.expect("in")
    lost.kill()
    host = host_on(url=processes.url, clock=None)
    host.register("t", exclusive=True)(lambda context: "free")
    second = host.schedule("t", resource="i-1")
    host.start()
    until(lambda: stored(host, second).state is State.FINISHED)
    until(lambda: host.events(state="finished").total == 2)


def test_row_41_clock_skew_rescues_nobody(host_on: Callable[..., Host]) -> None:
    """Hosts whose clocks differ by half a minute do not take each other for dead."""
    ahead = SettableClock()
    ahead.advance(30)
    gate, one, two = Gate(), host_on(name="one"), host_on(name="two", clock=ahead)
    one.register("slow")(gate.job)
    two.register("slow")(gate.job)
    one.start()
    event = one.schedule("slow")
    assert gate.entered.acquire(timeout=LONG)
    two.start()
    two.run_until_idle(LONG)
    gate.open.set()
    one.run_until_idle(LONG)
    assert outcomes(one, event) == [Outcome.SUCCEEDED]


def test_row_42_exclusion_is_not_tied_to_frequency(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """However short the period, a run excludes the next one for as long as it lasts."""
    gate, hosts = Gate(), [host_on(name="one"), host_on(name="two")]
    for host in hosts:
        host.register("slow", exclusive=True)(gate.job)
        host.start()
    hosts[0].schedule("slow", None, "every 1s", resource="i-1")
    hosts[0].schedule("slow", None, "every 1s", resource="i-1")
    for _ in range(5):
        clock.advance(1)
    assert gate.entered.acquire(timeout=LONG)
    gate.open.set()
    for host in hosts:
        host.run_until_idle(LONG)
    assert gate.most == 1


def test_row_43_changes_take_effect_at_once(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """Added, changed, removed, held back from another process: the running host follows."""
    host, client, ran = host_on().start(), host_on(), []
    host.register("t")(lambda context: ran.append(context.event_id))
    client.register("t")(lambda context: None)
    added, moved, removed, held = (client.schedule("t", None, HOUR) for _ in range(4))
    client.reschedule(moved.id, 3 * HOUR)
    client.cancel(removed.id)
    client.pause(held.id)
    clock.advance(HOUR)
    host.run_until_idle(LONG)
    assert ran == [added.id]
    clock.advance(2 * HOUR)
    host.run_until_idle(LONG)
    assert ran == [added.id, moved.id]


def test_row_47_drain_with_a_deadline(host: Host) -> None:
    """A stop lets a run end, or records it as interrupted at the deadline; nothing is orphaned."""
    gate = Gate()
    host.register("slow")(gate.job)
    host.start()
    event = host.schedule("slow")
    assert gate.entered.acquire(timeout=LONG)
    host.stop(drain=0)
    gate.open.set()
    (run,) = runs_of(host, event)
    assert (run.outcome, run.cause, run.attempt) == (Outcome.INTERRUPTED, Cause.SHUTDOWN, 1)
    host.run_until_idle(LONG)
    assert [one.attempt for one in runs_of(host, event)] == [1, 1]


def test_row_48_embedded_or_a_daemon(host: Host) -> None:
    """In the application's own process it runs as it does under ``horae serve``, which the tests
    of the command have.
    """
    host.register("t")(lambda context: threading.current_thread().name)
    event = host.schedule("t")
    with host:
        host.run_until_idle(LONG)
        assert runs_of(host, event)[0].result == "horae-worker"


def test_row_49_lifecycle_events(host: Host, site: Site) -> None:
    """Started, plugin loaded, plugin unloaded, stopped: told in order and by their names."""
    told: list[str] = []

    class Listener:
        @hookimpl
        def horae_host_started(self) -> None:
            told.append("started")

        @hookimpl
        def horae_host_stopped(self) -> None:
            told.append("stopped")

        @hookimpl
        def horae_plugin_changed(self, plugin: Any) -> None:
            if plugin.name == "acme":
                told.append(str(plugin.state))

    site.install(answering(1))
    host.load_plugin(Listener())
    host.start()
    host.load_plugin("acme")
    host.unload_plugin("acme")
    host.stop()
    assert told == ["started", "active", "draining", "unloaded", "collected", "stopped"]


def test_row_50_distinct_labels(host: Host, clock: SettableClock) -> None:
    """An error is no miss and a miss no skip: each has its own outcome."""
    host.register("fails")(lambda context: 1 / 0)
    host.register("misses", missed="skip")(lambda context: None)
    host.register("skips", absent="skip")(lambda context: None)
    failed = host.schedule("fails", None, HOUR)
    missed = host.schedule("misses", None, HOUR)
    clock.advance(2 * HOUR)
    host.run_until_idle(LONG)
    assert outcomes(host, failed) == [Outcome.FAILED]
    assert outcomes(host, missed) == [Outcome.MISSED]
    assert host.runs(outcome="skipped").total == 0


def test_row_51_listeners_come_and_go(host: Host) -> None:
    """One that raises harms no run and no other listener; unloaded, it hears nothing more."""
    heard: list[int] = []

    class Broken:
        @hookimpl
        def horae_run_finished(self, run: Any) -> None:
            raise ValueError("broken")

    class Listener:
        @hookimpl
        def horae_run_finished(self, run: Any) -> None:
            heard.append(run.event_id)

    host.register("t")(lambda context: None)
    host.start()
    host.load_plugin(Broken())
    host.load_plugin(Listener())
    first = host.schedule("t")
    host.run_until_idle(LONG)
    host.unload_plugin("Listener")
    second = host.schedule("t")
    host.run_until_idle(LONG)
    assert heard == [first.id]
    assert outcomes(host, first) == outcomes(host, second) == [Outcome.SUCCEEDED]


def test_row_52_history_of_every_attempt(host: Host, clock: SettableClock) -> None:
    """Start, finish, status and text, also for a job that raises before its own first line."""
    host.register("t", retry=Retry(attempts=2, jitter=0))(lambda context: [][0])
    event = host.schedule("t")
    host.run_until_idle(LONG)
    clock.advance(60)
    host.run_until_idle(LONG)
    first, second = runs_of(host, event)
    assert (first.attempt, second.attempt) == (1, 2)
    assert (first.will_retry, second.will_retry) == (True, False)
    for run in (first, second):
        assert run.outcome is Outcome.FAILED
        assert run.finished is not None
        assert "IndexError" in str(run.error)


def test_row_53_each_status(host: Host, clock: SettableClock) -> None:
    """Success, error, invalid permission, timeout and interruption can be told apart."""

    class Authority:
        @hookimpl
        def horae_authorize(self, run: Any) -> str | None:
            return "not allowed" if run.user == "mallory" else None

    gate = Gate()
    host.load_plugin(Authority())
    host.register("good")(lambda context: None)
    host.register("bad")(lambda context: 1 / 0)
    host.register("slow", timeout=60)(gate.job)
    host.start()
    good, bad = host.schedule("good"), host.schedule("bad")
    forbidden, slow = host.schedule("good", user="mallory"), host.schedule("slow")
    assert gate.entered.acquire(timeout=LONG)
    clock.advance(61)
    until(lambda: stored(host, slow).state is State.FAILED)
    gate.open.set()
    host.run_until_idle(LONG)
    ended = {event.id: runs_of(host, event)[0] for event in (good, bad, forbidden, slow)}
    assert {(run.outcome, run.cause) for run in ended.values()} == {
        (Outcome.SUCCEEDED, None),
        (Outcome.FAILED, Cause.ERROR),
        (Outcome.FAILED, Cause.PERMISSION),
        (Outcome.TIMEOUT, Cause.TIMEOUT),
    }


def test_row_54_time_limit(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """A job that overstays ends as timeout, and its worker's place is free at once."""
    host, gate = host_on(workers=1), Gate()
    host.register("slow", timeout=30)(gate.job)
    host.register("t")(lambda context: None)
    host.start()
    slow = host.schedule("slow")
    assert gate.entered.acquire(timeout=LONG)
    clock.advance(31)
    after = host.schedule("t")
    until(lambda: stored(host, after).state is State.FINISHED)
    assert outcomes(host, slow) == [Outcome.TIMEOUT]
    gate.open.set()


def test_row_55_acting_user(host: Host, clock: SettableClock) -> None:
    """The right is looked at when the event runs, not when it was scheduled."""
    allowed = {"alice"}

    class Authority:
        @hookimpl
        def horae_authorize(self, run: Any) -> str | None:
            return None if run.user in allowed else f"{run.user} has no right any more"

    host.load_plugin(Authority())
    host.register("t", retry=Retry(attempts=5))(lambda context: None)
    event = host.schedule("t", None, HOUR, user="alice")
    allowed.clear()
    clock.advance(HOUR)
    host.run_until_idle(LONG)
    (run,) = runs_of(host, event)
    assert (run.outcome, run.cause, run.will_retry) == (Outcome.FAILED, Cause.PERMISSION, False)
    assert "no right any more" in str(run.error)


def test_row_56_retry_with_backoff(host: Host, clock: SettableClock) -> None:
    """Fails twice, then passes: three attempts and one success, each later than the last."""
    tries: list[object] = []

    @host.register("t", retry=Retry(attempts=5, first=timedelta(seconds=10), jitter=0))
    def job(context: RunContext) -> None:
        tries.append(context.attempt)
        if context.attempt < 3:
            raise OSError("not yet")

    event = host.schedule("t")
    for seconds in (0, 10, 20):
        clock.advance(seconds)
        host.run_until_idle(LONG)
    assert tries == [1, 2, 3]
    assert outcomes(host, event) == [Outcome.FAILED, Outcome.FAILED, Outcome.SUCCEEDED]


def test_row_67_commit_failure_surfaces(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot commit fails the call, stores nothing, and says so once."""
    host.register("t")(lambda context: None)

    def full(*_: object) -> Any:
        raise StoreFull("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(host.store, "add", full)
        with pytest.raises(StoreFull, match="full"):
            host.schedule("t")
    assert host.events().total == 0
