"""Jobs for many resources: an outcome for each, and only what is not done is done again."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import attrs
import pytest

from horae import Host, SettableClock, SettingsError
from horae_hookspecs import (
    CancelEvent,
    MultiResourceScheduledEventJob,
    Outcome,
    ResourcesFailed,
    Retry,
    RetryLater,
    Run,
    RunContext,
    ScheduledEvent,
    State,
)
from kit.events import LONG, outcomes, runs_of, stored
from kit.hosts import until

NOW = timedelta(0)
TWICE = Retry(attempts=2, first=NOW, jitter=0)

Answer = Callable[[RunContext, str], object]


@pytest.fixture
def host(host_on: Callable[..., Host], store_url: str) -> Host:
    """A host that is not started, on a store of each kind; it soon finds that it was given up."""
    return host_on(url=store_url, beat=0.05)


class Calls(list[str]):
    """For which resources the job was called, in order."""


def job_of(host: Host, answer: Answer, **policy: Any) -> Calls:
    """Register the type ``start``, whose job does ``answer`` for each resource."""
    calls = Calls()

    @host.register("start", **policy)
    class Start(MultiResourceScheduledEventJob):
        def run_resource(self, context: RunContext, resource: str) -> object:
            calls.append(resource)
            return answer(context, resource)

    return calls


def over(host: Host, resources: str = "abc", **options: Any) -> ScheduledEvent:
    """The event for these resources, once all that is due has run."""
    event = host.schedule("start", resources=list(resources), **options)
    host.run_until_idle(LONG)
    return stored(host, event)


def told(run: Run) -> dict[str, str]:
    """The outcome of each resource of a run."""
    assert run.resources is not None
    return {name: one["outcome"] for name, one in run.resources.items()}


def failing(*names: str) -> Answer:
    """Fails for ``names``, gives the others back."""

    def answer(context: RunContext, resource: str) -> object:
        if resource in names:
            raise OSError(f"no {resource}")
        return resource

    return answer


def failing_first(*names: str) -> Answer:
    """Fails for ``names`` the first time."""
    seen: Counter[str] = Counter()

    def answer(context: RunContext, resource: str) -> object:
        seen[resource] += 1
        return failing(*(names if seen[resource] == 1 else ()))(context, resource)

    return answer


# Outcomes


def test_each_resource_has_an_outcome_and_a_failing_one_hides_no_other(host: Host) -> None:
    """Results and errors stand beside each other in the run, which has failed."""
    calls = job_of(host, failing("b"))
    event = over(host)
    (run,) = runs_of(host, event)
    assert calls == ["a", "b", "c"]
    assert (run.outcome, event.state) == (Outcome.FAILED, State.FAILED)
    assert run.resources is not None
    assert run.resources["a"] == {"outcome": "succeeded", "result": "a"}
    assert run.resources["c"] == {"outcome": "succeeded", "result": "c"}
    assert run.resources["b"]["outcome"] == "failed"
    assert run.resources["b"]["error"].startswith("Traceback")
    assert run.resources["b"]["error"].endswith("OSError: no b")


def test_a_run_without_a_failure_has_succeeded(host: Host) -> None:
    """What returns nothing has no result."""
    job_of(host, lambda context, resource: None)
    (run,) = runs_of(host, over(host))
    assert (run.outcome, run.result, run.error) == (Outcome.SUCCEEDED, None, None)
    assert run.resources == {name: {"outcome": "succeeded"} for name in "abc"}


def test_an_async_job_has_outcomes_too(host: Host) -> None:
    """One after the other, on the host's loop; what it cancels itself is a failure like any."""
    calls = Calls()

    @host.register("start")
    class Start(MultiResourceScheduledEventJob):
        async def run_resource(self, context: RunContext, resource: str) -> object:
            await asyncio.sleep(0)
            calls.append(resource)
            if resource == "b":
                raise asyncio.CancelledError
            return resource

    (run,) = runs_of(host, over(host))
    assert calls == ["a", "b", "c"]
    assert (run.outcome, told(run)) == (
        Outcome.FAILED,
        {"a": "succeeded", "b": "failed", "c": "succeeded"},
    )


def test_the_error_of_the_run_sums_up(host: Host) -> None:
    """How many of how many, and what the first ones said."""
    job_of(host, failing(*"abcd"))
    (run,) = runs_of(host, over(host, "abcde"))
    assert run.error == (
        "4 of 5 resources failed: a: OSError: no a; b: OSError: no b; c: OSError: no c; ..."
    )


def test_a_job_has_arguments_and_resources(host: Host) -> None:
    """And in each turn the context is about that resource, with a key of its own."""
    seen: dict[str, tuple[object, ...]] = {}

    @host.register("start")
    @attrs.frozen
    class Start(MultiResourceScheduledEventJob):
        force: bool = False

        def run_resource(self, context: RunContext, resource: str) -> None:
            seen[resource] = (self.force, context.resource, context.idempotency_key)

    host.schedule("start", {"force": True}, resources=["a", "b"])
    host.run_until_idle(LONG)
    assert seen["a"][:2] == (True, "a")
    assert seen["b"][:2] == (True, "b")
    assert seen["a"][2] != seen["b"][2]


def test_results_that_cannot_be_kept_say_why(host: Host) -> None:
    """The resource has succeeded all the same; the results of all have one room."""
    answers = {"a": "x" * 40_000, "b": object(), "c": "x" * 40_000, "d": 4}
    job_of(host, lambda context, resource: answers[resource])
    (run,) = runs_of(host, over(host, "abcd"))
    assert run.resources is not None
    assert set(told(run).values()) == {"succeeded"}
    assert run.resources["a"]["result"] == "x" * 40_000
    assert "is no JSON" in run.resources["b"]["result_error"]
    assert "more than 65,536 bytes together" in run.resources["c"]["result_error"]
    assert run.resources["d"] == {"outcome": "succeeded", "result": 4}


def test_a_thousand_long_errors_do_not_fill_the_store(host: Host) -> None:
    """The first are kept in full, of the others a line."""

    def fail(context: RunContext, resource: str) -> None:
        raise OSError(resource * 2000)

    job_of(host, fail)
    names = [f"{number:04}" for number in range(1000)]
    event = host.schedule("start", resources=names)
    host.run_until_idle(LONG)
    (run,) = runs_of(host, event)
    assert run.resources is not None
    errors = [one["error"] for one in run.resources.values()]
    assert errors[0].startswith("Traceback")
    assert errors[-1].startswith("OSError: 0999")
    assert sum(map(len, errors)) < 300_000


def test_a_coroutine_where_none_was_promised_is_a_failure(host: Host) -> None:
    """It says how to write it."""

    async def coroutine() -> None: ...

    job_of(host, lambda context, resource: coroutine())
    (run,) = runs_of(host, over(host, "a"))
    assert "write async def run_resource" in str(run.error)


# One resource, and none


def test_a_single_resource_is_a_list_of_one(host: Host) -> None:
    """An event about one resource has its outcome like one of several."""
    seen = []
    job_of(host, lambda context, resource: seen.append(tuple(context.resources)))
    event = host.schedule("start", resource="a")
    host.run_until_idle(LONG)
    (run,) = runs_of(host, event)
    assert (told(run), seen) == ({"a": "succeeded"}, [("a",)])


def test_what_names_no_resource_is_refused(host: Host) -> None:
    """At the call, where the caller can mend it."""
    job_of(host, failing())
    with pytest.raises(SettingsError, match=r"works on resources; name them: resources=\["):
        host.schedule("start")
    assert host.events().total == 0


def test_resources_for_a_job_that_takes_none_are_refused(host: Host) -> None:
    """They would reach nobody."""
    host.register("plain")(lambda context: None)
    with pytest.raises(SettingsError, match="is no MultiResourceScheduledEventJob"):
        host.schedule("plain", resources=["a", "b"])
    assert host.schedule("plain", resource="a").resource == "a"


def test_what_was_stored_unchecked_is_set_aside(host: Host) -> None:
    """Who stored it did not know the type; nothing runs, and the reason says what is wrong."""
    ids = [
        host.schedule("start", allow_unknown=True).id,
        host.schedule("plain", allow_unknown=True, resources=["a"]).id,
    ]
    calls = job_of(host, failing())
    host.register("plain")(lambda context: calls.append("plain"))
    host.run_until_idle(LONG)
    multi, plain = host.events(id=ids)
    assert (multi.state, plain.state, calls) == (State.QUARANTINED, State.QUARANTINED, [])
    assert "name them" in str(multi.reason)
    assert "is no MultiResourceScheduledEventJob" in str(plain.reason)


def test_each_is_for_multi_resource_jobs(host: Host) -> None:
    """Another job is told so."""
    host.register("plain")(lambda context: context.each(lambda *_: None))
    event = host.schedule("plain", resource="a")
    host.run_until_idle(LONG)
    (run,) = runs_of(host, event)
    assert "is for the job of a MultiResourceScheduledEventJob" in str(run.error)


# Trying again


def test_a_retry_takes_only_those_that_did_not_succeed(host: Host) -> None:
    """Its run tells of all of them, as they stand then."""
    seen = []
    answer = failing_first("b", "c")

    def noting(context: RunContext, resource: str) -> object:
        seen.append(tuple(context.resources))
        return answer(context, resource)

    calls = job_of(host, noting, retry=TWICE)
    event = over(host)
    first, second = runs_of(host, event)
    assert calls == ["a", "b", "c", "b", "c"]
    assert (seen[0], seen[-1]) == (("a", "b", "c"), ("b", "c"))
    assert (first.outcome, first.will_retry) == (Outcome.FAILED, True)
    assert told(first) == {"a": "succeeded", "b": "failed", "c": "failed"}
    assert (second.outcome, told(second)) == (Outcome.SUCCEEDED, dict.fromkeys("abc", "succeeded"))
    assert second.resources is not None
    assert second.resources["a"]["result"] == "a"
    assert event.state is State.FINISHED


def test_attempts_have_an_end(host: Host) -> None:
    """The last run tells of what succeeded in any of them."""
    calls = job_of(host, failing("b"), retry=TWICE)
    event = over(host)
    assert calls == ["a", "b", "c", "b"]
    assert told(runs_of(host, event)[-1]) == {"a": "succeeded", "c": "succeeded", "b": "failed"}
    assert event.state is State.FAILED


def test_what_is_not_worth_it_is_not_tried_again(host: Host) -> None:
    """By what each resource raised: the others are, and the run fails for it in the end."""

    def answer(context: RunContext, resource: str) -> object:
        if resource == "c":
            raise PermissionError("never")
        return once(context, resource)

    once = failing_first("b")
    calls = job_of(host, answer, retry=attrs.evolve(TWICE, never=(PermissionError,)))
    event = over(host)
    first, second = runs_of(host, event)
    assert calls == ["a", "b", "c", "b"]
    assert (first.will_retry, second.will_retry) == (True, False)
    assert told(second) == {"a": "succeeded", "b": "succeeded", "c": "failed"}
    assert str(second.error) == "1 of 3 resources failed: c: PermissionError: never"
    assert outcomes(host, over(host, "c")) == [Outcome.FAILED]


def test_the_next_occurrence_takes_all_of_them_again(host: Host, clock: SettableClock) -> None:
    """What one occurrence has done is not done for another."""
    calls = job_of(host, failing("b"))
    event = over(host, schedule="every 10s")
    clock.advance(timedelta(seconds=10))
    host.run_until_idle(LONG)
    clock.advance(timedelta(seconds=10))
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.FAILED] * len(outcomes(host, event))
    assert calls == ["a", "b", "c"] * len(outcomes(host, event))
    assert len(outcomes(host, event)) >= 2


def test_those_that_ask_for_more_time_are_tried_later_alone(
    host: Host, clock: SettableClock
) -> None:
    """After the longest time that one of them asks for; no attempt is burned."""
    waits: Mapping[str, list[float]] = {"b": [30.0], "c": [60.0]}

    def answer(context: RunContext, resource: str) -> object:
        if waits.get(resource):
            raise RetryLater(waits[resource].pop(), "not yet")
        return context.attempt

    calls = job_of(host, answer)
    event = over(host)
    clock.advance(timedelta(seconds=30))
    host.run_until_idle(LONG)
    assert calls == ["a", "b", "c"]
    clock.advance(timedelta(seconds=30))
    host.run_until_idle(LONG)
    first, second = runs_of(host, event)
    assert calls == ["a", "b", "c", "b", "c"]
    assert (first.outcome, told(first)) == (
        Outcome.SNOOZED,
        {"a": "succeeded", "b": "snoozed", "c": "snoozed"},
    )
    assert first.resources is not None
    assert first.resources["b"]["reason"] == "not yet"
    assert (second.outcome, told(second)) == (Outcome.SUCCEEDED, dict.fromkeys("abc", "succeeded"))
    assert second.resources is not None
    assert second.resources["c"]["result"] == 1


def test_what_failed_beside_what_was_put_off_has_its_retry_afterwards(
    host: Host, clock: SettableClock
) -> None:
    """Neither is lost: the run fails once nothing is put off any more, and counts once."""
    once = failing_first("a")

    def answer(context: RunContext, resource: str) -> object:
        if resource == "b" and calls.count("b") == 1:
            raise RetryLater(30)
        return once(context, resource)

    calls = job_of(host, answer, retry=TWICE)
    event = over(host, "ab")
    clock.advance(timedelta(seconds=30))
    host.run_until_idle(LONG)
    assert calls == ["a", "b", "b", "a"]
    assert outcomes(host, event) == [Outcome.SNOOZED, Outcome.FAILED, Outcome.SUCCEEDED]
    assert told(runs_of(host, event)[1]) == {"a": "failed", "b": "succeeded"}


# Ending early


def test_a_resource_can_cancel_the_event(host: Host) -> None:
    """No other is taken, and what was done is on record."""

    def answer(context: RunContext, resource: str) -> None:
        if resource == "b":
            raise CancelEvent("the account is closed")

    calls = job_of(host, answer, retry=TWICE)
    event = over(host)
    (run,) = runs_of(host, event)
    assert (calls, run.outcome, event.state) == (["a", "b"], Outcome.CANCELLED, State.CANCELLED)
    assert event.reason == "the account is closed"
    assert run.resources == {
        "a": {"outcome": "succeeded"},
        "b": {"outcome": "cancelled", "reason": "the account is closed"},
    }


def test_a_cancellation_is_seen_between_resources(host: Host) -> None:
    """What was begun comes to its end, and the rest is left."""

    def answer(context: RunContext, resource: str) -> None:
        if resource == "b":
            host.cancel(context.event_id, "enough")

    calls = job_of(host, answer)
    event = over(host)
    (run,) = runs_of(host, event)
    assert (calls, told(run)) == (["a", "b"], {"a": "succeeded", "b": "succeeded"})
    assert (run.outcome, event.state) == (Outcome.CANCELLED, State.CANCELLED)
    assert event.reason == "enough"


class Stuck:
    """Stands still at the resource ``b`` the first time, until the test ends."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.seen: Counter[str] = Counter()

    def __call__(self, context: RunContext, resource: str) -> object:
        """The answer of a job."""
        self.seen[resource] += 1
        if resource == "b" and self.seen[resource] == 1:
            self.entered.set()
            assert self.open.wait(LONG)
        return resource


@pytest.fixture
def stuck() -> Any:
    """An answer that is stuck; let go at the end."""
    stuck = Stuck()
    yield stuck
    stuck.open.set()


def test_a_timeout_keeps_what_was_done(host: Host, clock: SettableClock, stuck: Stuck) -> None:
    """The record says where it was; the retry takes that one, and those behind it."""
    calls = job_of(host.start(), stuck, timeout=30, retry=TWICE)
    event = host.schedule("start", resources=["a", "b", "c"])
    assert stuck.entered.wait(LONG)
    clock.advance(timedelta(seconds=31))
    host.run_until_idle(LONG)
    first, second = runs_of(host, event)
    assert (first.outcome, told(first)) == (
        Outcome.TIMEOUT,
        {"a": "succeeded", "b": "timeout"},
    )
    assert (second.outcome, calls) == (Outcome.SUCCEEDED, ["a", "b", "b", "c"])


def test_progress_is_visible_while_it_runs(host: Host, stuck: Stuck) -> None:
    """What is done, and how much of all that is."""
    job_of(host.start(), stuck)
    event = host.schedule("start", resources=["a", "b", "c", "d"])
    assert stuck.entered.wait(LONG)
    until(lambda: runs_of(host, event)[0].resources)
    (run,) = runs_of(host, event)
    assert (run.outcome, run.progress, run.progress_text) == (None, 0.25, "1 of 4 resources")
    assert run.resources == {"a": {"outcome": "succeeded", "result": "a"}}


def test_a_lost_host_takes_nothing_along_that_was_shown(host: Host, stuck: Stuck) -> None:
    """The next run takes only what is not known to be done."""
    calls = job_of(host.start(), stuck)
    event = host.schedule("start", resources=["a", "b", "c"])
    assert stuck.entered.wait(LONG)
    until(lambda: runs_of(host, event)[0].resources)
    host.store.rescue(str(host.id), "gone", host.clock.micros())
    until(lambda: stored(host, event).state is State.FINISHED)
    first, second = runs_of(host, event)
    assert (first.outcome, told(first)) == (Outcome.INTERRUPTED, {"a": "succeeded"})
    assert (second.outcome, told(second)) == (Outcome.SUCCEEDED, dict.fromkeys("abc", "succeeded"))
    assert calls == ["a", "b", "b", "c"]


def test_what_is_shown_with_follow_ups_to_come_is_not_taken_for_done(
    host: Host, stuck: Stuck
) -> None:
    """They are stored with the outcome of a run, so a lost host takes them along."""

    def planning(context: RunContext, resource: str) -> object:
        if resource == "a":
            context.schedule("next", resource=resource)
        return stuck(context, "b" if resource == "c" else resource)

    host.register("next")(lambda context: None)
    calls = job_of(host.start(), planning)
    event = host.schedule("start", resources=["a", "d", "c"])
    assert stuck.entered.wait(LONG)
    until(lambda: runs_of(host, event)[0].resources)
    assert told(runs_of(host, event)[0]) == {"d": "succeeded"}
    host.store.rescue(str(host.id), "gone", host.clock.micros())
    until(lambda: stored(host, event).state is State.FINISHED)
    assert calls == ["a", "d", "c", "a", "c"]
    assert [one.resource for one in host.events(event_type="next")] == ["a"]


def test_an_interruption_keeps_what_was_done(host: Host, stuck: Stuck) -> None:
    """A host that stops records it, and the next start goes on from there."""
    calls = job_of(host.start(), stuck)
    event = host.schedule("start", resources=["a", "b", "c"])
    assert stuck.entered.wait(LONG)
    host.stop(drain=0.01)
    host.run_until_idle(LONG)
    first, second = runs_of(host, event)
    assert (first.outcome, told(first)) == (
        Outcome.INTERRUPTED,
        {"a": "succeeded", "b": "interrupted"},
    )
    assert (second.outcome, second.attempt) == (Outcome.SUCCEEDED, 1)
    assert calls == ["a", "b", "b", "c"]


def test_an_interrupted_failure_counts_once(host: Host, stuck: Stuck) -> None:
    """It is not tried twice for one burned attempt: first comes what has no verdict."""

    def answer(context: RunContext, resource: str) -> object:
        if resource == "a" and stuck.seen["a"] == 0:
            stuck.seen["a"] += 1
            raise OSError("no a")
        return stuck(context, resource)

    calls = job_of(host.start(), answer, retry=TWICE)
    event = host.schedule("start", resources=["a", "b"])
    assert stuck.entered.wait(LONG)
    host.stop(drain=0.01)
    host.run_until_idle(LONG)
    assert calls == ["a", "b", "b", "a"]
    assert [(run.outcome, run.attempt) for run in runs_of(host, event)] == [
        (Outcome.INTERRUPTED, 1),
        (Outcome.FAILED, 1),
        (Outcome.SUCCEEDED, 2),
    ]


# Follow-ups


def test_follow_ups_are_those_of_the_resources_that_succeeded(host: Host) -> None:
    """Each is stored once, with the run in which its resource succeeded, failed though that is."""
    answer = failing_first("b")

    def planning(context: RunContext, resource: str) -> object:
        context.schedule("next", resource=resource)
        return answer(context, resource)

    job_of(host, planning, retry=Retry(attempts=2, first=timedelta(hours=1)))
    host.register("next")(lambda context: None)
    event = over(host)
    assert outcomes(host, event) == [Outcome.FAILED]
    assert [one.resource for one in host.events(event_type="next")] == ["a", "c"]


# Control of one's own


def test_a_job_that_overrides_run_keeps_control(host: Host) -> None:
    """It may do something before and after, and decide what failures mean."""
    steps = []

    @host.register("start")
    class Start(MultiResourceScheduledEventJob):
        def run(self, context: RunContext) -> object:
            steps.append("before")
            try:
                context.each(self.run_resource)
            except ResourcesFailed as error:
                steps.append("after")
                return list(error.failed)
            return None

        def run_resource(self, context: RunContext, resource: str) -> object:
            return failing("b")(context, resource)

    (run,) = runs_of(host, over(host))
    assert (run.outcome, run.result, steps) == (Outcome.SUCCEEDED, ["b"], ["before", "after"])
    assert told(run) == {"a": "succeeded", "b": "failed", "c": "succeeded"}


def test_each_is_called_once(host: Host) -> None:
    """A second call would find nothing to do, and nobody would know."""

    @host.register("start")
    class Start(MultiResourceScheduledEventJob):
        def run(self, context: RunContext) -> None:
            context.each(lambda *_: None)
            context.each(lambda *_: None)

    (run,) = runs_of(host, over(host))
    assert "was called before in this run" in str(run.error)


def test_a_job_may_do_all_at_once(host: Host) -> None:
    """Without a call of ``each`` there are no outcomes but the run's."""

    @host.register("start")
    class Start(MultiResourceScheduledEventJob):
        def run(self, context: RunContext) -> object:
            return "".join(context.resources)

    (run,) = runs_of(host, over(host))
    assert (run.outcome, run.result, run.resources) == (Outcome.SUCCEEDED, "abc", None)


def test_a_class_without_work_says_so(host: Host) -> None:
    """Like a job without ``run``."""

    @host.register("start")
    class Start(MultiResourceScheduledEventJob): ...

    (run,) = runs_of(host, over(host, "a"))
    assert "Start has no run_resource(self, context, resource) method" in str(run.error)
