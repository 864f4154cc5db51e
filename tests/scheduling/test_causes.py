"""What is tried again and what is not, and why runs did not succeed."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, SettableClock
from horae_hookspecs import Cause, Outcome, Retry, RetryLater, RunContext, State, hookimpl
from kit.events import LONG, outcomes, runs_of, stored
from kit.hosts import until

MINUTE = timedelta(minutes=1)


def fails_with(host: Host, clock: SettableClock, error: Exception, **retry: Any) -> list[bool]:
    """Whether each run of a job that raises ``error`` was to be tried again."""
    retry = {"attempts": 3, "first": MINUTE, "factor": 1, "jitter": 0} | retry

    @host.register("job", retry=Retry(**retry))
    def job(context: RunContext) -> None:
        raise error

    event = host.schedule("job")
    for _ in range(4):
        host.run_until_idle(LONG)
        clock.advance(MINUTE)
    assert stored(host, event).state is State.FAILED
    return [run.will_retry for run in runs_of(host, event)]


@pytest.mark.parametrize(
    ("error", "runs"),
    [
        (OSError("busy"), 3),
        (ConnectionError("away"), 3),
        (FileNotFoundError("none"), 1),
        (ValueError("bad"), 1),
    ],
)
def test_only_the_errors_that_may_pass_are_tried_again(
    host: Host, clock: SettableClock, error: Exception, runs: int
) -> None:
    """Of a kind in ``on``, and of none in ``never``, subclasses with them."""
    told = fails_with(host, clock, error, on=(OSError,), never=FileNotFoundError)
    assert told == [True] * (runs - 1) + [False]


@pytest.mark.parametrize(("minutes", "runs"), [(2, 3), (1.5, 2), (0.5, 1)])
def test_an_occurrence_is_given_up_when_it_is_too_old(
    host: Host, clock: SettableClock, minutes: float, runs: int
) -> None:
    """No try begins later than ``max_age`` after the first one."""
    told = fails_with(host, clock, OSError(), max_age=timedelta(minutes=minutes))
    assert told == [True] * (runs - 1) + [False]


@pytest.mark.parametrize("wrong", ["OSError", OSError("busy"), (int,)])
def test_what_is_no_kind_of_error_is_refused(wrong: Any) -> None:
    """When the type is registered, not when its first run fails."""
    with pytest.raises(TypeError, match="is no class of exceptions"):
        Retry(on=wrong)


def test_neither_a_snooze_nor_a_shutdown_burns_an_attempt(host: Host, clock: SettableClock) -> None:
    """The only attempt is still there after both."""
    begun, release, asked = threading.Event(), threading.Event(), iter([1, 2])

    @host.register("job")
    def job(context: RunContext) -> int:
        match next(asked, 3):
            case 1:
                raise RetryLater(60)
            case 2:
                begun.set()
                release.wait(LONG)
        return context.attempt

    event = host.schedule("job")
    host.run_until_idle(LONG)
    clock.advance(60)
    host.start()
    assert begun.wait(LONG)
    host.stop(drain=0)
    release.set()
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [
        Outcome.SNOOZED,
        Outcome.INTERRUPTED,
        Outcome.SUCCEEDED,
    ]
    assert [run.attempt for run in runs_of(host, event)] == [1, 1, 1]
    assert host.causes(event_id=event.id) == {Cause.SHUTDOWN: 1}


def test_causes_are_counted_apart(
    host_on: Callable[..., Host], store_url: str, clock: SettableClock
) -> None:
    """Two errors, a timeout, an unload, a lost host and a lost lease of one event."""
    host = host_on(url=store_url, beat=0.1, lease=60)
    begun, release = threading.Semaphore(0), threading.Event()
    ways = iter(["error", "error", "timeout", "shutdown", "host", "lease", "well"])

    @host.register("job", timeout=30, retry=Retry(attempts=9, first=MINUTE, factor=1, jitter=0))
    def job(context: RunContext) -> None:
        match next(ways):
            case "error":
                raise OSError
            case "timeout" | "shutdown" | "host" | "lease":
                begun.release()
                release.wait(LONG)

    event = host.schedule("job")
    for _ in range(2):
        host.run_until_idle(LONG)
        clock.advance(MINUTE)
    host.start()
    assert begun.acquire(timeout=LONG)
    clock.advance(31)
    until(lambda: host.causes(event_id=event.id).get(Cause.TIMEOUT))
    clock.advance(MINUTE)
    assert begun.acquire(timeout=LONG)
    host.stop(drain=0)
    host.start()
    for cause in (Cause.HOST_LOST, Cause.LEASE_LOST):
        assert begun.acquire(timeout=LONG)
        lost = host.id
        assert lost is not None
        host.store.rescue(lost, "lost", clock.micros(), cause)
        until(lambda lost=lost: host.id != lost)
        clock.advance(MINUTE)
    release.set()
    host.run_until_idle(LONG)
    assert stored(host, event).state is State.FINISHED
    counts = {
        Cause.ERROR: 2,
        Cause.TIMEOUT: 1,
        Cause.SHUTDOWN: 1,
        Cause.HOST_LOST: 1,
        Cause.LEASE_LOST: 1,
    }
    assert host.causes(event_id=event.id) == host.causes(event_type="job") == counts
    assert [run.will_retry for run in runs_of(host, event)] == [True] * 6 + [False]


class Closed:
    """A plugin that lets nobody run anything."""

    @hookimpl
    def horae_authorize(self) -> str:
        return "closed"


def test_what_is_not_permitted_has_a_cause_of_its_own(host: Host) -> None:
    """And is not tried again by itself."""
    host.load_plugin(Closed())
    host.register("job", retry=Retry(attempts=3))(lambda context: None)
    event = host.schedule("job")
    host.run_until_idle(LONG)
    assert host.causes(event_id=event.id) == {Cause.PERMISSION: 1}
    assert stored(host, event).state is State.FAILED
