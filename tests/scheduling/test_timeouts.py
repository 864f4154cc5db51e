"""Runs past their time: given up, fenced, and the executor usable as before."""

import asyncio
import re
import threading
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from typing import Any

from horae import Host, SettableClock
from horae_hookspecs import Cause, Outcome, Retry, RunContext, State
from kit.events import LONG, outcomes, runs_of, stored
from kit.hosts import until

TWICE = Retry(attempts=2, first=timedelta(seconds=10), jitter=0)


def test_a_thread_past_its_timeout_is_given_up_and_its_late_answer_is_fenced(
    host_on: Callable[..., Host],
    store_url: str,
    clock: SettableClock,
    logs: list[MutableMapping[str, Any]],
) -> None:
    """The run ends as timeout though Python cannot end the thread; what it says then is lost."""
    host = host_on(url=store_url, workers=2).start()
    stuck, release = threading.Barrier(3), threading.Event()
    told = []

    @host.register("stuck", timeout=30)
    def wait(context: RunContext) -> str:
        stuck.wait(LONG)
        release.wait(LONG)
        told.append(context.cancelled)
        return "too late"

    host.register("quick")(lambda context: "done")
    events = [host.schedule("stuck"), host.schedule("stuck")]
    stuck.wait(LONG)
    clock.advance(31)
    for event in events:
        run = host.wait(event.id, LONG)
        assert run is not None
        assert run.outcome is Outcome.TIMEOUT
        assert "after its timeout of 0:00:30" in str(run.error)
    # Both workers are stuck, and yet there are two.
    quick = host.wait(host.schedule("quick").id, LONG)
    assert quick is not None
    assert quick.result == "done"
    release.set()
    until(lambda: [line["event"] for line in logs].count("run.fenced") == 2)
    host.run_until_idle(LONG)
    assert told == [True, True]
    assert [outcomes(host, event) for event in events] == [[Outcome.TIMEOUT]] * 2
    assert stored(host, events[0]).state is State.FAILED


def test_a_thread_that_is_given_up_is_told_with_where_it_stands(
    host: Host, clock: SettableClock, logs: list[MutableMapping[str, Any]]
) -> None:
    """File, line and function, in the run's error and in the log; and another takes its place."""
    host.start()
    begun, release = threading.Event(), threading.Event()

    @host.register("stuck", timeout=30)
    def loop_for_ever(context: RunContext) -> None:
        begun.set()
        while not release.is_set():
            pass

    event = host.schedule("stuck")
    assert begun.wait(LONG)
    clock.advance(31)
    until(lambda: outcomes(host, event) == [Outcome.TIMEOUT])
    (line,) = [line for line in logs if line["event"] == "run.thread_replaced"]
    release.set()
    (run,) = runs_of(host, event)
    assert run.cause is Cause.TIMEOUT
    place = rf"{re.escape(__file__)}:\d+ (loop_for_ever|is_set)|.*threading.py:\d+ is_set"
    assert re.fullmatch(place, line["place"])
    assert run.error == f"still running after its timeout of 0:00:30, at {line['place']}"
    assert (line["event_id"], line["claim"], line["event_type"]) == (event.id, 1, "stuck")


def test_a_timeout_burns_an_attempt_and_is_tried_again(host: Host, clock: SettableClock) -> None:
    """It counts like a failure."""
    host.start()
    begun, release = threading.Semaphore(0), threading.Event()

    @host.register("job", timeout=30, retry=TWICE)
    def job(context: RunContext) -> None:
        begun.release()
        if context.attempt == 1:
            release.wait(LONG)

    event = host.schedule("job")
    assert begun.acquire(timeout=LONG)
    clock.advance(31)
    until(lambda: outcomes(host, event) == [Outcome.TIMEOUT])
    clock.advance(10)
    host.wait(event.id, LONG)
    release.set()
    assert outcomes(host, event) == [Outcome.TIMEOUT, Outcome.SUCCEEDED]
    assert [run.attempt for run in runs_of(host, event)] == [1, 2]


def test_a_coroutine_past_its_timeout_is_cancelled(host: Host, clock: SettableClock) -> None:
    """It ends at once, its clean-up runs, and the loop goes on."""
    host.start()
    begun, cleaned_up = threading.Event(), threading.Event()

    @host.register("job", timeout=30)
    async def job(context: RunContext) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned_up.set()

    @host.register("quick")
    async def quick(context: RunContext) -> str:
        return "done"

    event = host.schedule("job")
    assert begun.wait(LONG)
    clock.advance(31)
    assert cleaned_up.wait(LONG)
    host.wait(event.id, LONG)
    run = host.wait(host.schedule("quick").id, LONG)
    assert run is not None
    assert run.result == "done"
    assert outcomes(host, event) == [Outcome.TIMEOUT]
