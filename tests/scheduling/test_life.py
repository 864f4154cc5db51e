"""A host from start to stop: draining, giving back, signals, forks, and who watches its runs."""

import signal
import threading
from collections.abc import Callable, Generator, MutableMapping
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, SettableClock, SystemClock
from horae_hookspecs import (
    Executor,
    Outcome,
    Run,
    RunContext,
    ScheduledEvent,
    State,
    Work,
    hookimpl,
)
from kit.events import LONG, outcomes, stored
from kit.hosts import until
from kit.processes import Processes


class Gate:
    """A job that stands still between ``entered`` and ``open``."""

    def __init__(self, host: Host, **policy: Any) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        host.register("gate", **policy)(self.run)

    def run(self, context: RunContext) -> int:
        """Wait for the gate to open."""
        self.entered.release()
        assert self.open.wait(LONG)
        return context.attempt

    def enter(self, host: Host) -> ScheduledEvent:
        """An event whose job stands at the gate."""
        event = host.schedule("gate")
        assert self.entered.acquire(timeout=LONG)
        return event


def in_background(action: Callable[[], object]) -> threading.Thread:
    """A started thread that does ``action``."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread


# Stopping


def test_a_stop_waits_for_what_runs(host: Host) -> None:
    """Within the drain, a run comes to its end and is settled."""
    gate = Gate(host.start())
    event = gate.enter(host)
    stopping = in_background(lambda: host.stop(drain=LONG))
    until(lambda: not claims(host))
    gate.open.set()
    stopping.join(LONG)
    assert not host.running
    assert outcomes(host, event) == [Outcome.SUCCEEDED]


def claims(host: Host) -> bool:
    """Whether the host runs what is due now."""
    event = host.schedule("probe", key="probe", allow_unknown=True)
    return stored(host, event).state is not State.PENDING


def test_a_run_that_outlasts_the_drain_is_interrupted_and_run_again(
    host: Host, logs: list[MutableMapping[str, Any]]
) -> None:
    """No attempt is burned; what it says afterwards is fenced; the next start repeats it."""
    gate = Gate(host.start())
    event = gate.enter(host)
    host.stop(drain=0.01)
    assert stored(host, event).state is State.PENDING
    gate.open.set()
    until(lambda: "run.fenced" in [line["event"] for line in logs])
    host.run_until_idle(LONG)
    first, second = host.runs(event_id=event.id)
    assert (first.outcome, first.result) == (Outcome.INTERRUPTED, None)
    assert "the host stopped before the run came to its end" in str(first.error)
    assert (second.outcome, second.result) == (Outcome.SUCCEEDED, 1)


def claimed_ahead(host: Host, gate: Gate, number: int) -> list[int]:
    """So many events of the gate, all claimed, the first at the gate and the others not begun."""
    # A host claims as far ahead as it has just settled: let it settle some first.
    quick = [{"event_type": "quick", "priority": 0}] * 100
    gates = [{"event_type": "gate", "priority": 3}] * number
    host.register("quick")(lambda context: None)
    ids = host.start().schedule_many([*quick, *gates])[-number:]
    assert gate.entered.acquire(timeout=LONG)
    until(lambda: host.events(event_type="gate", state="running").total == number)
    return ids


def test_what_was_claimed_and_not_begun_is_given_back_at_a_stop(
    host_on: Callable[..., Host],
) -> None:
    """It counts as returned, not as an attempt, and waits as before."""
    host = host_on(workers=1)
    gate = Gate(host)
    claimed_ahead(host, gate, 3)
    stopping = in_background(lambda: host.stop(drain=LONG))
    until(lambda: host.runs(outcome="returned").total == 2)
    gate.open.set()
    stopping.join(LONG)
    states = [event.state for event in host.events(event_type="gate")]
    assert states == [State.FINISHED, State.PENDING, State.PENDING]
    host.run_until_idle(LONG)
    succeeded = host.runs(event_type="gate", outcome="succeeded")
    assert [run.attempt for run in succeeded] == [1, 1, 1]


def test_a_cancelled_event_that_was_claimed_and_not_begun_does_not_run(
    host_on: Callable[..., Host],
) -> None:
    """It is given back instead, and ends as cancelled."""
    host = host_on(workers=1)
    gate = Gate(host)
    _, second = claimed_ahead(host, gate, 2)
    assert host.cancel(second, "too late")
    gate.open.set()
    host.run_until_idle(LONG)
    (event,) = host.events(id=second)
    assert (event.state, event.reason) == (State.CANCELLED, "too late")
    assert outcomes(host, event) == [Outcome.RETURNED]


def test_an_occurrence_that_must_not_be_repeated_is_not_after_a_drain_either(host: Host) -> None:
    """Whether its host was killed or ran out of patience, the job was in the middle of it."""
    gate = Gate(host.start(), interrupted="fail")
    event = gate.enter(host)
    host.stop(drain=0.01)
    gate.open.set()
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.INTERRUPTED]
    assert stored(host, event).state is State.FAILED


def test_a_stopped_host_starts_again(host: Host) -> None:
    """Under a new id, with its types and plugins still there."""
    host.register("job")(lambda context: "done")
    first = host.start().id
    host.stop()
    assert (host.running, host.id) == (False, None)
    event = host.schedule("job")
    assert host.start().id not in (None, first)
    host.wait(event.id, LONG)
    assert outcomes(host, event) == [Outcome.SUCCEEDED]


def test_only_run_forever_touches_signal_handlers(processes: Processes) -> None:
    """While it lasts there are some of its own; afterwards those that were there before."""
    program = processes.start(SIGNALS, processes.url)
    program.expect("started leaves them alone")
    program.expect("running")
    program.signal(signal.SIGTERM)
    program.expect("put back")
    assert program.wait() == 0


SIGNALS = """
import signal, sys, threading, time
from horae import Host

def mine(*_): raise AssertionError("the application's handler was called")

signal.signal(signal.SIGTERM, mine)
host = Host(sys.argv[1]).start()
if signal.getsignal(signal.SIGTERM) is mine:
    print("started leaves them alone")
host.stop()

def wait_for_handlers():
    while signal.getsignal(signal.SIGTERM) is mine or not host.running:
        time.sleep(0.005)
    print("running")

threading.Thread(target=wait_for_handlers).start()
host.run_forever()
if signal.getsignal(signal.SIGTERM) is mine and not host.running:
    print("put back")
"""


def test_a_forked_child_is_a_client(processes: Processes) -> None:
    """It schedules and reads over connections of its own; the parent runs, and goes on."""
    program = processes.start(FORKS, processes.url)
    program.expect("child: running=False id=None events=1")
    program.expect("parent: running=True runs=2 check=[]")
    assert program.wait() == 0


FORKS = """
import os, sys
from horae import Host

host = Host(sys.argv[1]).start()
host.register("job")(lambda context: os.getpid())
host.wait(host.schedule("job").id, 20)
child = os.fork()
if not child:
    print(f"child: running={host.running} id={host.id} events={host.events().total}")
    host.schedule("job", key="of the child")
    host.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
(event,) = host.events(key="of the child")
run = host.wait(event.id, 20)
assert run.result == os.getpid()
print(f"parent: running={host.running} runs={host.runs().total} check={host.store.check()}")
host.close()
"""


def test_a_fork_waits_for_a_transaction(processes: Processes) -> None:
    """A child forked while another thread is in the middle of a write can write all the same."""
    program = processes.start(FORKS_IN_A_WRITE, processes.url)
    program.expect("child: 2 events")
    assert program.wait() == 0


FORKS_IN_A_WRITE = """
import os, sys, threading
from horae import Host

host = Host(sys.argv[1])
host.register("job")(lambda context: None)
inside, forking = threading.Event(), threading.Event()

def write():
    with host.store.transaction():
        host.schedule("job")
        inside.set()
        forking.wait(0.3)  # the fork cannot say that it waits, so it gets its time

writer = threading.Thread(target=write)
writer.start()
inside.wait()
child = os.fork()
if not child:
    host.schedule("job")
    print(f"child: {host.events().total} events")
    os._exit(0)
forking.set()
writer.join()
assert os.waitpid(child, 0)[1] == 0
host.close()
"""


def test_a_busy_host_sees_what_others_schedule(host_on: Callable[..., Host]) -> None:
    """Being woken all the time does not keep a host from running another process's event."""
    busy, other = host_on(clock=SystemClock()).start(), host_on(clock=SystemClock())
    busy.register("often")(lambda context: None)
    busy.register("rare")(lambda context: None)
    stop = threading.Event()

    def keep_awake() -> None:
        while not stop.is_set():
            busy.wait(busy.schedule("often").id, LONG)

    waker = threading.Thread(target=keep_awake)
    waker.start()
    try:
        event = other.schedule("rare")
        run = other.wait(event.id, LONG)
    finally:
        stop.set()
        waker.join()
    assert run is not None
    assert run.id < event.id + 50  # each event has one run, so it was among the next to run


# Watching


class Watcher:
    """A plugin that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    @hookimpl
    def horae_event_scheduled(self, event: ScheduledEvent) -> None:
        self.told.append(("scheduled", event.id))

    @hookimpl
    def horae_run_started(self, run: Work) -> None:
        self.told.append(("started", run.event_id))

    @hookimpl
    def horae_run_finished(self, run: Run) -> None:
        assert run.outcome is Outcome.SUCCEEDED
        self.told.append(("finished", run.event_id))


class Vandal:
    """A plugin whose every hook raises."""

    @hookimpl
    def horae_event_scheduled(self) -> None:
        raise SystemExit("scheduled")

    @hookimpl
    def horae_run_started(self) -> None:
        raise SystemExit("started")

    @hookimpl
    def horae_run_finished(self) -> None:
        raise SystemExit("finished")

    @hookimpl(wrapper=True)
    def horae_run(self) -> Generator[None, object, object]:
        yield
        raise SystemExit("wrapped")


def test_observers_see_an_event_from_its_beginning_to_its_end(host: Host) -> None:
    """Scheduled, started, finished, in this order; nothing once the plugin is gone."""
    watcher = Watcher()
    name = host.load_plugin(watcher).name
    host.register("job")(lambda context: None)
    event = host.schedule("job")
    host.run_until_idle(LONG)
    assert watcher.told == [(what, event.id) for what in ("scheduled", "started", "finished")]
    host.unload_plugin(name)
    host.schedule("job")
    host.run_until_idle(LONG)
    assert len(watcher.told) == 3


def test_hooks_that_raise_stop_nobody(host: Host, logs: list[MutableMapping[str, Any]]) -> None:
    """The run and the other observers are untouched; each failure is logged under its plugin."""
    watcher = Watcher()
    host.load_plugin(Vandal())
    host.load_plugin(watcher)
    host.register("job")(lambda context: "done")
    event = host.schedule("job")
    host.run_until_idle(LONG)
    assert [run.result for run in host.runs(event_id=event.id)] == ["done"]
    assert [what for what, _ in watcher.told] == ["scheduled", "started", "finished"]
    failed = [line for line in logs if line["event"] == "plugin.hook_failed"]
    assert {line["plugin"] for line in failed} == {"Vandal"}
    assert {line["hook"] for line in failed} == {
        "horae_event_scheduled",
        "horae_run_started",
        "horae_run_finished",
        "horae_run",
    }


class Wrapper:
    """A plugin that stands around every run."""

    def __init__(self, name: str, around: list[str]) -> None:
        self.__name__ = name
        self._around = around

    @hookimpl(wrapper=True)
    def horae_run(self, run: Work) -> Generator[None, object, object]:
        self._around.append(f"{self.__name__} before {run.event_type}")
        try:
            return f"{self.__name__}({(yield)})"
        except ValueError as error:
            self._around.append(f"{self.__name__} saw {error}")
            raise
        finally:
            self._around.append(f"{self.__name__} after")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_wrappers_stand_around_a_run(host: Host, asynchronous: bool) -> None:
    """They may replace the result of a run, and see the error of one that fails."""
    around: list[str] = []
    host.load_plugin(Wrapper("a", around))

    def job(context: RunContext, fail: bool = False) -> str:
        around.append("job")
        if fail:
            raise ValueError("no paper")
        return "done"

    async def async_job(context: RunContext, fail: bool = False) -> str:
        return job(context, fail)

    host.register("job")(async_job if asynchronous else job)
    good, bad = host.schedule("job"), host.schedule("job", {"fail": True}, timedelta(seconds=1))
    host.run_until_idle(LONG)
    assert [run.result for run in host.runs(event_id=good.id)] == ["a(done)"]
    assert around == ["a before job", "job", "a after"]
    around.clear()
    assert isinstance(host.clock, SettableClock)
    host.clock.advance(1)
    host.run_until_idle(LONG)
    assert outcomes(host, bad) == [Outcome.FAILED]
    assert around == ["a before job", "job", "a saw no paper", "a after"]


class Broken(Executor):
    """An executor that breaks at what ``breaks`` names."""

    def __init__(self, breaks: str) -> None:
        self._breaks = breaks

    def start(self) -> None: ...

    def capacity(self) -> int:
        if self._breaks == "capacity":
            raise SystemExit("no idea")
        return 1

    def submit(self, work: Work) -> None:
        if self._breaks == "submit":
            raise SystemExit("no room")
        work.run()

    def stop(self) -> None: ...


class Office:
    """The plugin that provides it."""

    def __init__(self, breaks: str) -> None:
        self._breaks = breaks

    @hookimpl
    def horae_executors(self) -> dict[str, Executor]:
        return {"office": Broken(self._breaks)}


@pytest.mark.parametrize(
    ("breaks", "outcome"),
    [
        ("nothing", Outcome.SUCCEEDED),
        ("submit", Outcome.FAILED),  # given back, it would be claimed again at once, for ever
        ("capacity", None),
    ],
)
def test_an_executor_that_breaks_harms_only_its_own_runs(
    host: Host, breaks: str, outcome: Outcome | None
) -> None:
    """Events of other types go on beside those that it should have run."""
    host.load_plugin(Office(breaks))
    host.register("office", executor="office")(lambda context: None)
    host.register("home")(lambda context: None)
    host.start()
    office, home = host.schedule("office"), host.schedule("home")
    run = host.wait(home.id, LONG)
    assert run is not None
    assert run.outcome is Outcome.SUCCEEDED
    if outcome is not None:
        host.wait(office.id, LONG)
    assert outcomes(host, office) == ([outcome] if outcome else [])
