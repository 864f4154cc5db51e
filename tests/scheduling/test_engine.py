"""One run after another: where it runs, how it ends, what is kept of it, and what comes next."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from typing import Any

import attrs
import pytest

from horae import Host, SettableClock
from horae_hookspecs import (
    CancelEvent,
    Outcome,
    Retry,
    RetryLater,
    Run,
    RunContext,
    State,
)
from kit.events import LONG, outcomes, runs_of, stored

OF_RETRIES = Retry(attempts=3, first=timedelta(seconds=10), factor=2, jitter=0)
SECOND = timedelta(seconds=1)


def run_once(host: Host, job: Callable[[RunContext], object], **policy: Any) -> Run:
    """Run a job as the type ``job``; its one run."""
    host.register("job", **policy)(job)
    event = host.schedule("job")
    host.run_until_idle(LONG)
    (run,) = runs_of(host, event)
    return run


# Where it runs


@pytest.mark.parametrize(
    ("executor", "thread"), [("thread", "horae-worker"), ("inline", "horae-engine")]
)
def test_a_job_runs_on_the_executor_that_its_type_names(
    host: Host, executor: str, thread: str
) -> None:
    """A worker thread for one, the engine's own for the other."""
    run = run_once(host, lambda context: threading.current_thread().name, executor=executor)
    assert run.result == thread


def test_an_async_job_is_awaited_on_the_event_loop(host: Host) -> None:
    """``async def`` needs no executor named."""

    async def job(context: RunContext) -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    assert run_once(host, job).result == "horae-async"


def test_threads_run_several_jobs_at_once(host: Host) -> None:
    """Eight jobs that wait for each other all succeed."""
    barrier = threading.Barrier(8)

    @host.register("meet")
    def meet(context: RunContext) -> None:
        barrier.wait(LONG)

    host.schedule_many([{"event_type": "meet"}] * 8)
    host.run_until_idle(LONG)
    assert host.events(state="finished").total == 8


def test_the_event_loop_runs_many_jobs_at_once(host: Host) -> None:
    """A hundred coroutines that wait for each other all succeed."""
    barrier = asyncio.Barrier(100)

    @host.register("meet")
    async def meet(context: RunContext) -> None:
        await barrier.wait()

    host.schedule_many([{"event_type": "meet"}] * 100)
    host.run_until_idle(LONG)
    assert host.events(state="finished").total == 100


@pytest.mark.parametrize("executor", ["thread", "inline"])
def test_what_a_job_sets_in_its_context_does_not_leak(
    host_on: Callable[..., Host], executor: str
) -> None:
    """A context variable that one run sets is unset for the next on the same thread."""
    host, variable = host_on(workers=1), contextvars.ContextVar("variable", default="unset")

    @host.register("job", executor=executor)
    def job(context: RunContext) -> str:
        before = variable.get()
        variable.set("set")
        return before

    host.schedule_many([{"event_type": "job"}] * 2)
    host.run_until_idle(LONG)
    assert [run.result for run in host.runs()] == ["unset", "unset"]


# What it knows


def test_the_context_tells_a_job_what_run_it_is_in(host: Host, clock: SettableClock) -> None:
    """Event, attempt, nominal time, deadline and what the event was scheduled with."""
    seen: dict[str, Any] = {}

    @host.register("job", timeout=30)
    def job(context: RunContext) -> None:
        seen.update((name, getattr(context, name)) for name in NAMES)
        context.progress(0.5, "half way")

    due = clock.now() + SECOND
    event = host.schedule(
        "job", None, due, resource="i-1", origin="bot:night", description="A job."
    )
    clock.advance(5)
    host.run_until_idle(LONG)
    assert seen == {
        "event_id": event.id,
        "event_type": "job",
        "attempt": 1,
        "occurrence": due,
        "resource": "i-1",
        "origin": "bot:night",
        "description": "A job.",
        "deadline": clock.now() + timedelta(seconds=30),
        "cancelled": False,
    }


NAMES = (
    "event_id",
    "event_type",
    "attempt",
    "occurrence",
    "resource",
    "origin",
    "description",
    "deadline",
    "cancelled",
)


def test_a_jobs_log_lines_name_their_run(host: Host, logs: list[MutableMapping[str, Any]]) -> None:
    """Event, type, plugin, version and generation are bound to ``context.log``."""
    run = run_once(host, lambda context: context.log.info("said"))
    (line,) = [line for line in logs if line["event"] == "said"]
    assert line["event_id"] == run.event_id
    assert line["event_type"] == "job"
    assert (line["plugin"], line["version"], line["generation"]) == ("application", None, 1)


# How it ends


@pytest.mark.parametrize("value", [None, 5, "text", [1, {"deep": [None, 1.5]}]])
def test_the_result_of_a_job_is_kept_as_json(host: Host, value: object) -> None:
    """What it returned stands in its run."""
    run = run_once(host, lambda context: value)
    assert (run.outcome, run.result, run.result_error) == (Outcome.SUCCEEDED, value, None)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (object(), "the result is no JSON"),
        (float("nan"), "the result is no JSON"),
        ("x" * 70_000, "the result has 70,002 bytes, more than 65,536"),
    ],
    ids=["object", "nan", "too large"],
)
def test_a_result_that_cannot_be_kept_fails_no_run(host: Host, value: object, problem: str) -> None:
    """Work is not repeated for its return value: the run says why there is none."""
    run = run_once(host, lambda context: value, retry=OF_RETRIES)
    assert (run.outcome, run.result) == (Outcome.SUCCEEDED, None)
    assert problem in str(run.result_error)


@pytest.mark.parametrize("executor", ["thread", "inline", "async"])
@pytest.mark.parametrize(
    "error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, BaseException]
)
def test_whatever_a_job_raises_fails_its_run_alone(
    host: Host, error: type[BaseException], executor: str
) -> None:
    """The error is kept as text with its traceback, and the host goes on."""

    def job(context: RunContext) -> None:
        raise error("out of paper")

    async def async_job(context: RunContext) -> None:
        raise error("out of paper")

    host.register("bad", executor=executor)(async_job if executor == "async" else job)
    host.register("good")(lambda context: "printed")
    bad, good = host.schedule("bad"), host.schedule("good")
    host.run_until_idle(LONG)
    (failed,) = runs_of(host, bad)
    assert failed.outcome is Outcome.FAILED
    assert str(failed.error).startswith("Traceback")
    assert str(failed.error).endswith(f"{error.__name__}: out of paper")
    assert stored(host, bad).state is State.FAILED
    assert outcomes(host, good) == [Outcome.SUCCEEDED]


def test_a_very_long_error_is_kept_from_its_end(host: Host) -> None:
    """The last 16 KiB hold the message."""

    def job(context: RunContext) -> None:
        raise ValueError("x" * 100_000 + " the end")

    error = str(run_once(host, job).error)
    assert len(error) < 17_000
    assert error.startswith("[...]")
    assert error.endswith("the end")


class Unspeakable(Exception):
    """An exception that cannot be made a text."""

    def __str__(self) -> str:
        raise self


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (ValueError("an undecodable name: \udc80, and a \0"), Outcome.FAILED),
        (Unspeakable(), Outcome.FAILED),
        (CancelEvent("\ud800"), Outcome.CANCELLED),
        (CancelEvent(Unspeakable()), Outcome.FAILED),  # type: ignore[arg-type]
        (RetryLater(1, reason=7), Outcome.SNOOZED),  # type: ignore[arg-type]
        (RetryLater(timedelta.max), Outcome.SNOOZED),
    ],
)
def test_what_no_store_could_keep_is_made_storable(
    host: Host, raised: Exception, outcome: Outcome
) -> None:
    """No odd text, nor the end of time, keeps a run or its neighbours from their end."""

    def job(context: RunContext) -> None:
        raise raised

    host.register("neighbour")(lambda context: "well")
    neighbour = host.schedule("neighbour")
    assert run_once(host, job).outcome is outcome
    assert outcomes(host, neighbour) == [Outcome.SUCCEEDED]


def test_a_function_that_gives_a_coroutine_is_told_to_be_async(host: Host) -> None:
    """Nothing would ever await it."""

    async def work() -> None: ...

    run = run_once(host, lambda context: work())
    assert (run.outcome, run.error) == (
        Outcome.FAILED,
        "run() gave a coroutine: write async def run",
    )


def test_cancel_event_ends_the_event_for_good(host: Host) -> None:
    """The run is recorded as cancelled, the reason is kept, a recurring event ends too."""

    @host.register("job", retry=OF_RETRIES)
    def job(context: RunContext) -> None:
        raise CancelEvent("the resource is gone")

    event = host.schedule("job", None, "every 5m")
    run_due(host)
    assert outcomes(host, event) == [Outcome.CANCELLED]
    after = stored(host, event)
    assert (after.state, after.due, after.reason) == (
        State.CANCELLED,
        None,
        "the resource is gone",
    )


def run_due(host: Host) -> None:
    """Move the clock to when the next event is due, and run it."""
    clock = host.clock
    assert isinstance(clock, SettableClock)
    dues = [event.due for event in host.events(state="pending") if event.due]
    clock.set(max(clock.now(), min(dues, default=clock.now())))
    host.run_until_idle(LONG)


# Trying again


def test_a_failed_run_is_tried_again_after_a_growing_while(
    host: Host, clock: SettableClock
) -> None:
    """Ten seconds, then twenty; after the third failure the event has failed."""
    attempts, keys = [], set()

    @host.register("job", retry=OF_RETRIES)
    def job(context: RunContext) -> None:
        attempts.append(context.attempt)
        keys.add(context.idempotency_key)
        raise ValueError(context.attempt)

    event = host.schedule("job")
    host.run_until_idle(LONG)
    for wait in (10, 20):
        assert stored(host, event).due == clock.now() + timedelta(seconds=wait)
        clock.advance(wait - 0.001)
        host.run_until_idle(LONG)
        clock.advance(0.001)
        host.run_until_idle(LONG)
    assert attempts == [1, 2, 3]
    assert len(keys) == 1
    assert [run.will_retry for run in runs_of(host, event)] == [True, True, False]
    assert [run.attempt for run in runs_of(host, event)] == [1, 2, 3]
    assert stored(host, event).state is State.FAILED
    assert stored(host, event).due is None


def test_an_attempt_that_succeeds_ends_the_trying(host: Host, clock: SettableClock) -> None:
    """The event has finished, whatever failed before."""

    @host.register("job", retry=OF_RETRIES)
    def job(context: RunContext) -> None:
        assert context.attempt == 2

    event = host.schedule("job")
    host.run_until_idle(LONG)
    run_due(host)
    assert outcomes(host, event) == [Outcome.FAILED, Outcome.SUCCEEDED]
    assert stored(host, event).state is State.FINISHED


def test_retry_later_burns_no_attempt(host: Host, clock: SettableClock) -> None:
    """However often it is said, the attempt stays the first, and the key the same."""
    seen = set()

    @host.register("job")
    def job(context: RunContext) -> None:
        seen.add((context.attempt, context.idempotency_key))
        if clock.now() < start + timedelta(minutes=5):
            raise RetryLater(timedelta(minutes=1), "busy")

    start = clock.now()
    event = host.schedule("job")
    host.run_until_idle(LONG)
    waiting = stored(host, event)
    assert (waiting.state, waiting.attempt, waiting.reason) == (State.PENDING, 0, "busy")
    assert waiting.due == start + timedelta(minutes=1)
    for _ in range(5):
        run_due(host)
    assert outcomes(host, event) == [Outcome.SNOOZED] * 5 + [Outcome.SUCCEEDED]
    assert len(seen) == 1


def test_arguments_that_do_not_fit_any_more_quarantine_the_event(host: Host) -> None:
    """It is set aside with the reason, and the event beside it runs."""
    event = host.schedule("job", {"count": "many"}, allow_unknown=True)
    other = host.schedule("job", {"count": 1}, allow_unknown=True)

    @host.register("job")
    def job(context: RunContext, count: int) -> int:
        return count

    host.run_until_idle(LONG)
    aside = stored(host, event)
    assert aside.state is State.QUARANTINED
    assert "expected int, got str 'many' @ $.count" in str(aside.reason)
    assert outcomes(host, event) == [Outcome.FAILED]
    assert outcomes(host, other) == [Outcome.SUCCEEDED]


def test_a_newer_type_upgrades_stored_arguments(host: Host) -> None:
    """What was stored under version 1 reaches ``upgrade``, and the job in its new shape."""
    event = host.schedule("job", {"name": "ada"}, allow_unknown=True)

    @host.register("job", version=3)
    @attrs.frozen
    class Job:
        names: list[str]

        def run(self, context: RunContext) -> object:
            return self.names

        @classmethod
        def upgrade(cls, arguments: dict[str, Any], version: int) -> dict[str, Any]:
            return {"names": [arguments["name"], str(version)]}

    host.run_until_idle(LONG)
    assert [run.result for run in runs_of(host, event)] == [["ada", "1"]]
