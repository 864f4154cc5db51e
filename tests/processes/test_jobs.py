"""Jobs in child processes do what jobs do anywhere."""

import json
import os
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, SettableClock, Settings
from horae.stores.records import NewEvent
from horae_hookspecs import Outcome, RegistrationError, State
from kit.events import LONG, outcomes, runs_of, stored
from kit.hosts import answer_of, run_of, types_of
from kit.isolated import SOURCE
from kit.sites import Site


@pytest.fixture(scope="module")
def clock() -> SettableClock:
    """One for all tests here, as the host."""
    return SettableClock()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, clock: SettableClock) -> Iterator[Host]:
    """A host with the plugin of ``kit.isolated`` and one child, which all tests here share."""
    folder = tmp_path_factory.mktemp("jobs")
    site = Site(folder / "site")
    site.install(SOURCE)
    settings = Settings(url=f"sqlite:///{folder}/events.db", processes=1)
    with closing(site), Host(settings, clock=clock) as host:
        host.load_plugin("acme")
        yield host


def _stored_as(host: Host, arguments: str, version: int = 2) -> int:
    """An event of ``acme.sum`` for now, stored with these arguments; its id."""
    like = host.schedule("acme.sum", {"terms": []}, timedelta(days=999))
    now = host.clock.micros()
    new = NewEvent(
        event_type=like.event_type,
        schema_version=version,
        kind="once",
        arguments=arguments,
        schedule=json.dumps(like.schedule),
        due=now,
        created=now,
        recurs=False,
    )
    host.cancel(like.id)
    (added,) = host.store.add([new])
    return added.id


def test_a_job_runs_in_another_process_which_is_used_again(host: Host) -> None:
    """Each run is in the same child, and that is not the host; what it says is kept."""
    pids = {answer_of(host, "acme.pid") for _ in range(5)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_arguments_come_as_they_were_stored_and_are_upgraded_there(host: Host) -> None:
    """The child builds the job, from whatever version of the arguments."""
    assert answer_of(host, "acme.sum", terms=[1, 2, 3]) == 6
    old = _stored_as(host, '{"a":20,"b":3}', version=1)
    host.run_until_idle(LONG)
    (run,) = host.runs(event_id=old)
    assert run.result == 23


def test_arguments_that_do_not_fit_set_the_event_aside(host: Host) -> None:
    """As for a thread: it is quarantined with the reason, and kept."""
    odd = _stored_as(host, '{"terms":"many"}')
    host.run_until_idle(LONG)
    event = host.get(odd)
    assert event is not None
    assert event.state is State.QUARANTINED
    assert "do not fit schema version 2" in str(event.reason)
    assert "expected list, got str 'many'" in str(event.reason)


def test_what_a_job_raises_is_kept_with_its_traceback(host: Host) -> None:
    """The text is the child's, from the job's file on."""
    run = run_of(host, "acme.fail")
    assert run.outcome is Outcome.FAILED
    assert "acme_plugin/__init__.py" in str(run.error)
    assert str(run.error).endswith("ValueError: the tide is out")
    assert "process_attempt" not in str(run.error)


@pytest.mark.parametrize(
    ("what", "problem"),
    [("set", "the result is no JSON"), ("nan", "no JSON"), ("long", "more than 65,536")],
)
def test_a_result_that_cannot_be_kept_leaves_the_run_succeeded(
    host: Host, what: str, problem: str
) -> None:
    """The limits are those of any run."""
    run = run_of(host, "acme.odd", what=what)
    assert run.outcome is Outcome.SUCCEEDED
    assert run.result is None
    assert problem in str(run.result_error)


def test_the_kind_of_an_error_decides_on_another_try(host: Host, clock: SettableClock) -> None:
    """The classes of ``on`` and ``never`` are the child's, and judged there."""
    for kind, tries in (("os", 2), ("timeout", 1), ("value", 1)):
        event = host.schedule("acme.picky", {"kind": kind})
        host.run_until_idle(LONG)
        clock.advance(10)
        host.run_until_idle(LONG)
        assert outcomes(host, event) == [Outcome.FAILED] * tries, kind


def test_retry_later_and_cancel_event_end_a_run_as_they_do_elsewhere(
    host: Host, clock: SettableClock
) -> None:
    """Their wait and their reasons come across."""
    later, never = host.schedule("acme.later"), host.schedule("acme.never")
    host.run_until_idle(LONG)
    assert outcomes(host, later) == [Outcome.SNOOZED]
    assert stored(host, later).due == clock.now() + timedelta(minutes=5)
    assert stored(host, never).state is State.CANCELLED
    assert stored(host, never).reason == "there is no tide"


def test_a_job_with_async_def_runs_on_a_loop_in_the_child(host: Host) -> None:
    """``executor='process'`` holds for it too."""
    assert answer_of(host, "acme.async") != os.getpid()


def test_a_job_is_told_of_its_run(host: Host) -> None:
    """Everything but the host, which is elsewhere."""
    event = host.schedule(
        "acme.tell", resource="quay", origin="night", user="ann", description="Tell."
    )
    run = host.wait(event.id, LONG)
    assert run is not None
    due = run.occurrence
    assert run.result == {
        "event_id": event.id,
        "attempt": 1,
        "occurrence": due.isoformat(),
        "key": f"{event.id}-{int(due.timestamp() * 1e6)}",
        "resource": "quay",
        "origin": "night",
        "user": "ann",
        "description": "Tell.",
        "deadline": None,
    }
    reaching = run_of(host, "acme.reach")
    assert "OutsideRunError: context.host was used in a run of 'acme.reach'" in str(reaching.error)


def test_what_a_job_logs_is_logged_by_the_host(
    host: Host, logs: list[MutableMapping[str, Any]]
) -> None:
    """Bound with the run and the plugin; what is no JSON as its repr, exceptions as text."""
    run = run_of(host, "acme.log")
    low, odd = (line for line in logs if line["event"].startswith("tide."))
    assert low == {
        "event": "tide.low",
        "log_level": "warning",
        "metres": 0.3,
        "place": "PosixPath('quay')",
        "event_id": run.event_id,
        "event_type": "acme.log",
        "plugin": "acme",
        "version": "1.0",
        "generation": 1,
    }
    assert odd["log_level"] == "error"
    assert "ZeroDivisionError" in odd["exception"]


def test_progress_is_told_while_the_job_runs(
    host: Host, logs: list[MutableMapping[str, Any]]
) -> None:
    """As from a thread."""
    run_of(host, "acme.progress")
    (told,) = (line for line in logs if line["event"] == "run.progress")
    assert (told["fraction"], told["text"]) == (0.5, "half")


def test_follow_ups_are_stored_with_a_good_end_alone(host: Host, clock: SettableClock) -> None:
    """Named or given as a job; those of a failed run are not stored."""
    run_of(host, "acme.plan", end="badly")
    assert not list(host.events(event_type="acme.sum", state="pending"))
    run_of(host, "acme.plan")
    first, second = host.events(event_type="acme.sum", state="pending")
    assert (first.arguments, first.key) == ({"terms": [1, 2]}, "first")
    assert first.due == clock.now() + timedelta(minutes=1)
    assert (second.arguments, second.priority) == ({"terms": [3]}, 0)
    assert second.due == clock.now() + timedelta(hours=1)
    for event in (first, second):
        host.cancel(event.id)


def test_a_follow_up_that_is_wrong_raises_in_the_job(host: Host) -> None:
    """At the call, what it raises on the host."""
    assert answer_of(host, "acme.plan_wrongly") == [
        "InvalidArguments",
        "UnknownEventType",
        "UnknownSchedule",
        "InvalidArguments",
        "TypeError",
        "TypeError",
    ]
    assert not list(host.events(event_type=["acme.sum", "acme.pid"], state="pending"))


def test_a_unit_of_work_is_stored_with_the_run_or_not_at_all(host: Host) -> None:
    """Opened through the context or as in the seeds; a block that fails stores nothing of it."""
    assert answer_of(host, "acme.track") == "over"
    tracked = list(host.events(event_type="acme.pid", state="pending"))
    assert [(event.description, event.origin) for event in tracked] == [
        ("first", "night"),
        ("second", "night"),
    ]
    assert [event.resource for event in tracked] == [None, "quay"]
    for event in tracked:
        host.cancel(event.id)


def test_each_resource_has_its_own_outcome(host: Host, clock: SettableClock) -> None:
    """A failing one hides no other, a retry takes that alone, follow-ups come of what succeeded."""
    event = host.schedule("acme.each", resources=["a", "bad", "c"])
    host.run_until_idle(LONG)
    (first,) = runs_of(host, event)
    assert first.outcome is Outcome.FAILED
    assert first.error == "1 of 3 resources failed: bad: ValueError: the tide is out"
    assert first.resources is not None
    assert {name: how["outcome"] for name, how in first.resources.items()} == {
        "a": "succeeded",
        "bad": "failed",
        "c": "succeeded",
    }
    assert first.resources["c"]["result"] == ["c", "c"]
    assert "in run_resource" in first.resources["bad"]["error"]
    clock.advance(11)
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.FAILED, Outcome.SUCCEEDED]
    planned = host.events(event_type="acme.pid", resource=["a", "bad", "c"])
    assert [event.resource for event in planned] == ["a", "c", "bad"]


def test_a_crash_for_one_resource_is_told_of_that_one(host: Host, clock: SettableClock) -> None:
    """The run fails with it; those before it are done, and another try takes the rest."""
    event = host.schedule("acme.each", {"how": "crash"}, resources=["a", "bad", "c"])
    host.run_until_idle(LONG)
    (first,) = runs_of(host, event)
    assert first.error == "the process of the job exited with code 3"
    assert first.resources is not None
    assert {name: how["outcome"] for name, how in first.resources.items()} == {
        "a": "succeeded",
        "bad": "failed",
    }
    assert first.resources["bad"]["error"] == first.error
    clock.advance(11)
    host.run_until_idle(LONG)
    second = runs_of(host, event)[1]
    assert second.outcome is Outcome.SUCCEEDED


def test_cancelling_in_one_resource_ends_the_run(host: Host) -> None:
    """As in a thread."""
    event = host.schedule("acme.each", {"how": "cancel"}, resources=["bad", "c"])
    host.run_until_idle(LONG)
    assert stored(host, event).state is State.CANCELLED
    assert outcomes(host, event) == [Outcome.CANCELLED]


def test_resources_may_be_worked_on_by_an_async_def(host: Host) -> None:
    """It is awaited in the child."""
    event = host.schedule("acme.each_async", resources=["a", "b"])
    host.run_until_idle(LONG)
    (run,) = runs_of(host, event)
    assert run.outcome is Outcome.SUCCEEDED, run.error
    assert run.resources is not None
    assert [how["result"] for how in run.resources.values()] == ["A", "B"]


def test_a_job_that_leaves_a_resource_in_its_turn_has_not_done_it(host: Host) -> None:
    """The run ends as the job says, and the resource as failed."""
    event = host.schedule("acme.each_left", resources=["a", "b"])
    host.run_until_idle(LONG)
    (run,) = runs_of(host, event)
    assert (run.outcome, run.result) == (Outcome.SUCCEEDED, "left")
    assert run.resources == {
        "a": {"outcome": "failed", "error": "the job left it before its turn was over"}
    }


def test_a_job_that_is_interrupted_while_it_asks_gets_no_answer_twice(host: Host) -> None:
    """An alarm may go off at any time, also before an answer is read."""
    assert answer_of(host, "acme.interrupted", how_often=50) == [50, "UnknownEventType"]


def test_what_a_job_sets_in_its_context_goes_with_it(host: Host) -> None:
    """The next run in the same process does not find it."""
    assert [answer_of(host, "acme.set") for _ in range(2)] == ["unset", "unset"]


def test_a_context_that_outlives_its_run_is_out_of_use(host: Host) -> None:
    """What is called on it reaches neither the host nor the next run in the same child."""
    run_of(host, "acme.leave")
    assert answer_of(host, "acme.late") == ["The run of this context is over."] * 2
    assert not list(host.events(event_type=["acme.sum", "acme.pid"], state="pending"))


def test_a_process_that_a_job_forks_does_not_answer_for_it(host: Host) -> None:
    """It comes to the end of the job as well, and says nothing."""
    assert answer_of(host, "acme.fork") > 0
    assert answer_of(host, "acme.pid") != os.getpid()


def test_a_job_without_an_importable_place_is_refused(host_on: Callable[..., Host]) -> None:
    """When it is registered, with what to do about it; and it leaves nothing behind."""
    host = host_on()
    with pytest.raises(RegistrationError, match="needs an importable plugin"):
        host.register("app.local", executor="process")(lambda context: None)
    host.register("app.other")(lambda context: None)
    assert [info.event_type for info in types_of(host)] == ["app.other"]
    assert not runs_of(host, host.schedule("app.other"))
