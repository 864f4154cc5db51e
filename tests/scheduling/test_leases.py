"""Who is alive: processes told apart, lost hosts rescued, late answers fenced, names kept apart."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from horae import Host, HostNameTaken, SettableClock, Settings, SettingsError, SystemClock
from horae.processes import process_gone, process_identity
from horae_hookspecs import Cause, Outcome, RunContext, State
from stores import scripts
from stores.samples import a_host, an_event, claim
from stores.scripts import eventually

QUICK = {"beat": 0.2, "lease": 0.5}
STEADY = {"beat": 0.1, "lease": 5.0}
Logs = list[MutableMapping[str, Any]]

linux_only = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="only /proc tells processes apart for certain"
)


# -- processes

TELLING = """
import sys
from horae.processes import process_identity
print(process_identity(), flush=True)
sys.stdin.readline()
"""


@linux_only
def test_a_process_is_gone_when_it_has_ended() -> None:
    """Alive, it is not gone; ended and not yet waited for, a zombie, it is; and so afterwards."""
    with scripts.started(TELLING) as process:
        identity = scripts.line(process)
        assert not process_gone(identity, one_kernel=True)
        process.kill()
        eventually(lambda: process_gone(identity, one_kernel=True))
        process.wait()
        assert process_gone(identity, one_kernel=True)


@linux_only
def test_another_process_with_the_same_id_is_told_apart() -> None:
    """The pid of a living process under another start time means that the first one is gone."""
    assert not process_gone(process_identity(), one_kernel=True)
    before, _, started = process_identity().rpartition("/")
    assert process_gone(f"{before}/{int(started) - 1}", one_kernel=True)


@linux_only
def test_another_boot_means_gone_on_one_kernel_only() -> None:
    """A store on this machine outlives a reboot; one on the network has hosts elsewhere."""
    _, rest = process_identity().split("/", 1)
    assert process_gone(f"another-boot/{rest}", one_kernel=True)
    assert not process_gone(f"another-boot/{rest}", one_kernel=False)


@linux_only
def test_another_namespace_cannot_be_judged() -> None:
    """In another container the same pid is somebody else, so nothing is concluded."""
    boot, _, _, started = process_identity().split("/")
    assert not process_gone(f"{boot}/pid:[1]/999999999/{started}", one_kernel=True)


def test_an_identity_without_proc_cannot_be_judged() -> None:
    """Where there is no /proc only the lease decides."""
    assert not process_gone("//1/", one_kernel=True)


CONFUSING = """
import sys
from pathlib import Path
from horae.processes import process_identity
Path("/proc/self/comm").write_text("a) Z 1 (")
print(process_identity(), flush=True)
sys.stdin.readline()
"""


@linux_only
def test_a_program_name_cannot_confuse() -> None:
    """Blanks and parentheses in a program's name shift no field of what the system tells."""
    with scripts.started(CONFUSING) as process:
        identity = scripts.line(process)
        assert Path(f"/proc/{process.pid}/comm").read_text() == "a) Z 1 (\n"
        assert not process_gone(identity, one_kernel=True)


# -- hosts that are gone

HOLDING = """
import sys, time
from horae import Host, Settings

host = Host(Settings(url=sys.argv[1], name="doomed"))
def mark(context):
    print(host.id, flush=True)
    time.sleep(600)
host.register("tide.mark")(mark)
host.start()
host.schedule("tide.mark")
time.sleep(600)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A SQLite store that several processes use."""
    return f"sqlite:///{tmp_path}/events.db"


@pytest.fixture
def doomed(url: str) -> Iterator[subprocess.Popen[str]]:
    """A host in another process, in the middle of a run."""
    with scripts.started(HOLDING, url) as process:
        scripts.line(process)
        yield process


def resumes(host: Host) -> None:
    """The lost run is on record as interrupted, and the event succeeds without a lost attempt."""
    assert eventually(lambda: host.get(1) and host.get(1).state is State.FINISHED)  # type: ignore[union-attr]
    lost, done = host.runs(event_id=1)
    assert (lost.outcome, lost.host) == (Outcome.INTERRUPTED, "doomed")
    assert lost.error is not None
    assert "is gone" in lost.error
    assert lost.cause is Cause.HOST_LOST
    assert (done.outcome, done.attempt, done.claim) == (Outcome.SUCCEEDED, 1, 2)


@linux_only
def test_a_killed_host_is_rescued_by_a_living_one(
    url: str, doomed: subprocess.Popen[str], host_on: Callable[..., Host], logs: Logs
) -> None:
    """Within three seconds, long before its lease is over; the pid tells that it is gone."""
    with host_on(url=url, clock=SystemClock()) as host:
        host.register("tide.mark")(lambda context: None)
        assert host.get(1).state is State.RUNNING  # type: ignore[union-attr]
        doomed.kill()
        killed = time.monotonic()
        eventually(lambda: host.get(1).state is not State.RUNNING, 3)  # type: ignore[union-attr]
        assert time.monotonic() - killed < 3
        resumes(host)
    assert [log["host"] for log in logs if log["event"] == "host.lost"] == ["doomed"]


@linux_only
def test_a_killed_host_is_rescued_at_the_next_start(
    url: str, doomed: subprocess.Popen[str], host_on: Callable[..., Host]
) -> None:
    """The first thing a starting host does is to free what dead ones left."""
    doomed.kill()
    doomed.wait()
    host = host_on(url=url, clock=SystemClock(), name="doomed")
    host.register("tide.mark")(lambda context: None)
    with host:
        assert [found.id for found in host.store.hosts()] == [host.id]
        resumes(host)


def test_a_stopped_host_leaves_nothing_behind(host: Host) -> None:
    """It is off the record, and what it never settled is free."""
    with host:
        assert [found.id for found in host.store.hosts()] == [host.id]
        assert host.id is not None
        host.schedule("tide.mark", allow_unknown=True)
        host.stop()
        assert host.store.hosts() == []
    assert host.id is None


# -- hosts that are only believed to be gone


def test_a_host_declared_dead_rejoins_and_its_late_answer_is_fenced(
    host_on: Callable[..., Host], logs: Logs
) -> None:
    """It takes a new id and goes on; what it answers for its lost run changes nothing."""
    begun, ended, calls = threading.Semaphore(0), threading.Event(), []
    with host_on(name="tide", **QUICK) as host:

        @host.register("tide.mark")
        def mark(context: RunContext) -> str:
            calls.append(context.attempt)
            begun.release()
            if len(calls) == 1:
                ended.wait(20)
                return "late"
            return "in time"

        event = host.schedule("tide.mark")
        assert begun.acquire(timeout=10)
        lost_id = host.id
        assert lost_id is not None
        host.store.rescue(lost_id, "no sign of life", host.clock.micros())
        eventually(lambda: host.id != lost_id)
        run = host.wait(event.id, timeout=10)
        assert run is not None
        assert (run.claim, run.result) == (2, "in time")
        before = host.get(event.id), list(host.runs())
        ended.set()
        eventually(lambda: [log for log in logs if log["event"] == "run.fenced"])
        assert (host.get(event.id), list(host.runs())) == before
        assert [found.id for found in host.store.hosts()] == [host.id]
    assert [run.outcome for run in before[1]] == [Outcome.INTERRUPTED, Outcome.SUCCEEDED]
    (rejoined,) = [log for log in logs if log["event"] == "host.rejoined"]
    assert rejoined["lost_id"] == lost_id
    assert calls == [1, 1]


def test_an_idle_host_declared_dead_rejoins(host_on: Callable[..., Host], logs: Logs) -> None:
    """Its next beat finds it off the record, without anything to claim or to settle."""
    with host_on(name="tide", **QUICK) as host:
        lost_id = host.id
        assert lost_id is not None
        host.store.rescue(lost_id, "no sign of life", host.clock.micros())
        eventually(lambda: host.id != lost_id)
        assert [found.id for found in host.store.hosts()] == [host.id]


def test_a_host_whose_beat_stands_still_is_rescued(host_on: Callable[..., Host]) -> None:
    """After a whole lease without a beat, by the watcher's own clock, its runs are freed."""
    with host_on(**QUICK) as host:
        host.store.join(a_host("frozen-1", name="frozen", identity="//1/"))
        host.store.add([an_event()])
        (held,) = claim(host.store, host="frozen-1")
        seen = time.monotonic()
        eventually(lambda: [found.name for found in host.store.hosts()] == [host.name])
        assert time.monotonic() - seen >= QUICK["lease"]
        event, run = host.get(held.event_id), host.store.last_run(held.event_id)
        assert event is not None
        assert run is not None
        assert (event.state, run.outcome) == (State.PENDING, Outcome.INTERRUPTED)
        assert "no sign of life" in str(run.error)
        assert run.cause is Cause.LEASE_LOST


def test_hosts_that_beat_leave_each_other_alone(host_on: Callable[..., Host], logs: Logs) -> None:
    """Each shows itself as often as its settings say, and that is enough for the other."""
    with host_on(name="one", **STEADY) as one, host_on(name="two", **STEADY) as two:
        ids = {one.id, two.id}
        eventually(lambda: all(found.beat > 10 for found in one.store.hosts()), seconds=8)
        assert {found.id for found in one.store.hosts()} == ids == {one.id, two.id}
    assert [log for log in logs if log["event"] == "host.lost"] == []


@pytest.mark.parametrize("step", [timedelta(days=3), timedelta(days=-3)])
def test_a_step_of_the_clock_rescues_nobody(
    host_on: Callable[..., Host], clock: SettableClock, step: timedelta, logs: Logs
) -> None:
    """Three days forward or back between two beats: every host keeps its id and its runs."""
    with host_on(name="one", **STEADY) as one, host_on(name="two", **STEADY) as two:
        ids = {one.id, two.id}
        beats = sum(found.beat for found in one.store.hosts())
        clock.advance(step)
        eventually(lambda: sum(found.beat for found in one.store.hosts()) > beats + 8)
        assert {found.beaten for found in two.store.hosts()} == {clock.micros()}
        assert {found.id for found in one.store.hosts()} == ids == {one.id, two.id}
    assert [log for log in logs if log["event"] in ("host.lost", "host.rejoined")] == []


PAUSED = """
import sys, time
from horae import Host, Settings

host = Host(Settings(url=sys.argv[1], name="frozen", beat=0.2, lease=0.5))
def mark(context):
    first = host.id
    print(first, flush=True)
    while host.id == first:
        time.sleep(0.01)
    return "late"
host.register("tide.mark")(mark)
host.start()
event = host.schedule("tide.mark")
while host._engine._under_way.running or not host.runs():
    time.sleep(0.01)
host._engine.wait_idle(5)
print(host.id, flush=True)
sys.stdin.readline()
"""


def test_a_stopped_process_loses_its_runs_and_comes_back_fenced(
    url: str, host_on: Callable[..., Host]
) -> None:
    """SIGSTOP for longer than the lease: another host takes over, and the late answer is fenced."""
    with scripts.started(PAUSED, url) as process:
        frozen_id = scripts.line(process)
        process.send_signal(signal.SIGSTOP)
        try:
            with host_on(url=url, clock=SystemClock(), name="taker", **QUICK) as host:
                host.register("tide.mark")(lambda context: "taken over")
                eventually(lambda: host.get(1).state is State.FINISHED)  # type: ignore[union-attr]
                process.send_signal(signal.SIGCONT)
                thawed_id = scripts.line(process)
                assert thawed_id != frozen_id
                lost, done = host.runs(event_id=1)
                assert (lost.outcome, lost.result) == (Outcome.INTERRUPTED, None)
                assert (done.result, done.host) == ("taken over", "taker")
        finally:
            process.send_signal(signal.SIGCONT)


# -- names


def test_names_left_out_are_told_apart_by_a_number(host_on: Callable[..., Host]) -> None:
    """The machine's name, then the same with -2, -3; free again when its host is gone."""
    with host_on() as first, host_on() as second:
        with host_on() as third:
            assert [second.name, third.name] == [f"{first.name}-2", f"{first.name}-3"]
            second.stop()
        with host_on() as fourth:
            assert fourth.name == f"{first.name}-2"
        assert len({first.id, second.id}) == 2


def test_a_name_that_was_given_is_not_changed(host_on: Callable[..., Host]) -> None:
    """A living host with the same name is an error that says which process it is."""
    rival = host_on(name="tide")
    with host_on(name="tide") as host:
        with pytest.raises(HostNameTaken, match="another name") as caught:
            rival.start()
        assert (caught.value.name, caught.value.pid) == ("tide", os.getpid())
        assert not rival.running
        assert [found.id for found in host.store.hosts()] == [host.id]
    with rival:
        assert rival.name == "tide"


def test_every_start_has_an_id_of_its_own(host: Host) -> None:
    """The name stays, the id does not."""
    with host:
        first = host.id
    with host:
        assert host.id not in (None, first)


def test_a_lease_needs_room_for_two_beats() -> None:
    """Else one late beat would look like a dead host."""
    with pytest.raises(SettingsError, match="at least twice the beat"):
        Settings(beat=5, lease=9)
