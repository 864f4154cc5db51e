"""Every state that an event can be in, and every outcome that a run can have: one test each."""

import threading
from datetime import timedelta

import pytest

from horae import Host, SettableClock
from horae.scheduling.executors import ThreadExecutor
from horae_builtin_plugins.schedule import Interval
from horae_hookspecs import (
    CancelEvent,
    Cause,
    Executor,
    Outcome,
    Retry,
    RetryLater,
    Run,
    RunContext,
    ScheduledEvent,
    ScheduledEventRegistryWrapper,
    State,
    hookimpl,
)
from kit.events import LONG, runs_of, stored
from kit.hosts import until

MINUTE = timedelta(minutes=1)


def state_of(host: Host, event: ScheduledEvent) -> State:
    """Where the event stands."""
    return stored(host, event).state


def the_run(host: Host, event: ScheduledEvent) -> Run:
    """The event's only run."""
    (run,) = runs_of(host, event)
    return run


class Held:
    """A type whose runs go on until they are let go."""

    def __init__(self, host: Host, **policy: object) -> None:
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()
        host.register("held", **policy)(self.hold)
        self.event = host.start().schedule("held")
        assert self.begun.acquire(timeout=LONG)

    def hold(self, context: RunContext) -> None:
        """Run."""
        self.begun.release()
        self.release.wait(LONG)


@pytest.fixture(autouse=True)
def _types(host: Host) -> None:
    """``well`` ends well, ``badly`` does not."""
    host.register("well")(lambda context: "done")

    @host.register("badly")
    def badly(context: RunContext) -> None:
        raise ValueError("no water")


# -- states


def test_pending(host: Host) -> None:
    """An event that is still to be run."""
    event = host.schedule("well", None, MINUTE)
    host.run_until_idle(LONG)
    assert state_of(host, event) is State.PENDING


def test_running(host: Host) -> None:
    """An event that is run right now; its run has no outcome yet."""
    held = Held(host)
    assert state_of(host, held.event) is State.RUNNING
    assert the_run(host, held.event).outcome is None
    held.release.set()


def test_quarantined(host: Host) -> None:
    """An event that cannot be run as it stands: it is kept, with the reason."""
    event = host.schedule("strict", {"level": "high"}, allow_unknown=True)

    @host.register("strict")
    def strict(context: RunContext, level: int) -> None:
        raise AssertionError

    host.run_until_idle(LONG)
    assert state_of(host, event) is State.QUARANTINED
    assert "expected int, got str 'high'" in str(stored(host, event).reason)


def test_finished(host: Host) -> None:
    """An event whose last run ended well."""
    event = host.schedule("well")
    host.run_until_idle(LONG)
    assert state_of(host, event) is State.FINISHED


def test_failed(host: Host) -> None:
    """An event whose last run failed."""
    event = host.schedule("badly")
    host.run_until_idle(LONG)
    assert state_of(host, event) is State.FAILED


def test_cancelled(host: Host) -> None:
    """An event that somebody has ended."""
    event = host.schedule("well", None, MINUTE)
    assert host.cancel(event.id)
    assert state_of(host, event) is State.CANCELLED


def test_expired(host: Host, clock: SettableClock) -> None:
    """An event whose only time has passed, and which is not to be run late."""
    event = host.schedule("well", None, MINUTE, missed="skip")
    clock.advance(timedelta(hours=1))
    host.run_until_idle(LONG)
    assert state_of(host, event) is State.EXPIRED


# -- outcomes


def test_succeeded(host: Host) -> None:
    """The job returned, and what it returned is kept."""
    event = host.schedule("well")
    host.run_until_idle(LONG)
    run = the_run(host, event)
    assert (run.outcome, run.result, run.cause, run.error) == (
        Outcome.SUCCEEDED,
        "done",
        None,
        None,
    )


def test_failed_run(host: Host) -> None:
    """The job raised, and what it raised is kept."""
    event = host.schedule("badly")
    host.run_until_idle(LONG)
    run = the_run(host, event)
    assert (run.outcome, run.cause, run.will_retry) == (Outcome.FAILED, Cause.ERROR, False)
    assert str(run.error).endswith("ValueError: no water")


def test_timeout(host: Host, clock: SettableClock) -> None:
    """The run took longer than its type allows."""
    held = Held(host, timeout=30, retry=Retry(attempts=2, first=MINUTE))
    clock.advance(31)
    until(lambda: the_run(host, held.event).outcome)
    run = the_run(host, held.event)
    assert (run.outcome, run.cause, run.will_retry) == (Outcome.TIMEOUT, Cause.TIMEOUT, True)
    held.release.set()


def test_cancelled_run(host: Host) -> None:
    """The job has ended its event for good."""

    @host.register("over")
    def over(context: RunContext) -> None:
        raise CancelEvent("the pier is gone")

    event = host.schedule("over", None, Interval(minutes=1, start=host.clock.now()))
    host.run_until_idle(LONG)
    assert the_run(host, event).outcome is Outcome.CANCELLED
    assert stored(host, event).reason == "the pier is gone"


def test_interrupted(host: Host) -> None:
    """The host stopped before the run came to its end."""
    held = Held(host)
    host.stop(drain=0)
    held.release.set()
    run = the_run(host, held.event)
    assert (run.outcome, run.cause, run.will_retry) == (
        Outcome.INTERRUPTED,
        Cause.SHUTDOWN,
        True,
    )
    assert state_of(host, held.event) is State.PENDING


def test_snoozed(host: Host) -> None:
    """The job asked for another time, which burns no attempt."""

    @host.register("later")
    def later(context: RunContext) -> None:
        raise RetryLater(60)

    event = host.schedule("later")
    host.run_until_idle(LONG)
    assert the_run(host, event).outcome is Outcome.SNOOZED
    assert stored(host, event).attempt == 0


class TakesTwo(ThreadExecutor):
    """And begins one at a time."""

    def capacity(self) -> int:
        return 2


class Queue:
    """The plugin that brings it."""

    @hookimpl
    def horae_executors(self) -> dict[str, Executor]:
        return {"queue": TakesTwo(1)}


def test_returned(host: Host) -> None:
    """The run had not begun when its host stopped: it is given back, and counts for nothing."""
    host.load_plugin(Queue())
    held = Held(host, executor="queue")
    event = host.schedule("held")
    until(lambda: state_of(host, event) is State.RUNNING)
    host.stop(drain=0)
    held.release.set()
    run = the_run(host, event)
    assert (run.outcome, run.cause, run.will_retry) == (Outcome.RETURNED, None, False)
    assert state_of(host, event) is State.PENDING


def test_missed(host: Host, clock: SettableClock) -> None:
    """The occurrence's time passed, and it is not made up for."""
    event = host.schedule("well", None, MINUTE, missed="skip")
    clock.advance(timedelta(hours=1))
    host.run_until_idle(LONG)
    run = the_run(host, event)
    assert (run.outcome, run.covers, run.cause) == (Outcome.MISSED, 1, None)


class Tides:
    """A plugin with one type."""

    @hookimpl
    def horae_event_types(self) -> ScheduledEventRegistryWrapper:
        events = ScheduledEventRegistryWrapper()
        events.register("tide.mark", absent="skip")(lambda context: None)
        return events


def test_skipped(host: Host, clock: SettableClock) -> None:
    """It fell due while its type was absent, and is not wanted any more."""
    host.start().load_plugin(Tides())
    event = host.schedule("tide.mark", None, MINUTE)
    host.unload_plugin("Tides")
    clock.advance(timedelta(hours=1))
    host.load_plugin(Tides())
    host.run_until_idle(LONG)
    run = the_run(host, event)
    assert (run.outcome, run.covers, run.cause) == (Outcome.SKIPPED, 1, None)
