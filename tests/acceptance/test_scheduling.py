"""Rows 15 to 25: what is scheduled, in one piece, by whom, for what, and once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from horae import Host, InvalidArguments, SettableClock
from horae_hookspecs import (
    MultiResourceScheduledEventJob,
    Outcome,
    Retry,
    RunContext,
    ScheduledEventJob,
    ScheduledEventTracker,
    State,
)
from kit.events import LONG, runs_of, stored

HOUR = timedelta(hours=1)


@pytest.fixture
def known(host: Host) -> Host:
    """A host that knows the type ``t``, whose events need no arguments."""
    host.register("t")(lambda context: None)
    return host


def test_row_15_schedule_inside_a_context_manager(
    known: Host, host_on: Callable[..., Host]
) -> None:
    """A thousand calls in a block are one commit: a reader outside sees none, then all."""
    reader = host_on()
    with known.tracker(origin="bot:night") as tracker:
        for number in range(1000):
            tracker.schedule("t", None, HOUR, resource=f"i-{number}")
            assert number % 100 or reader.events().total == 0
    assert reader.events(origin="bot:night").total == 1000


def test_row_16_exception_in_the_block(known: Host) -> None:
    """What raises midway stores nothing."""

    def raise_midway() -> None:
        with known.tracker() as tracker:
            tracker.schedule("t")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        raise_midway()
    assert known.events().total == 0


def test_row_17_event_fields(known: Host) -> None:
    """Owner, target, description, type, schedule and payload come back as they were given."""
    known.register("fields")(lambda context, level, tags: None)
    event = known.schedule(
        "fields",
        {"level": 3, "tags": ["a", None, {"b": 1.5}]},
        "every 5m",
        origin="bot:night",
        resource="i-1",
        user="alice",
        description="Start a resource.",
        priority=2,
        key="start:i-1",
    )
    assert stored(known, event) == event
    assert event.arguments == {"level": 3, "tags": ["a", None, {"b": 1.5}]}
    assert (event.origin, event.resource, event.user) == ("bot:night", "i-1", "alice")
    assert (event.description, event.priority, event.key) == ("Start a resource.", 2, "start:i-1")
    assert event.schedule["kind"] == "interval"


def test_row_18_payload_to_typed_arguments(host_on: Callable[..., Host]) -> None:
    """Stored under v1, run under v2 through its upgrade; what cannot be upgraded is told."""
    old, new = host_on(), host_on()

    @old.register("t", version=1)
    @attrs.frozen
    class First(ScheduledEventJob):
        name: str

    good, bad = old.schedule("t", {"name": "a"}), old.schedule("t", {"name": "broken"})

    @new.register("t", version=2)
    @attrs.frozen
    class Second(ScheduledEventJob):
        names: list[str]

        def run(self, context: RunContext) -> list[str]:
            return self.names

        @classmethod
        def upgrade(cls, arguments: dict[str, Any], version: int) -> dict[str, Any]:
            if arguments["name"] == "broken":
                raise ValueError("no such name")
            return {"names": [arguments["name"]]}

    new.run_until_idle(LONG)
    assert [run.result for run in runs_of(new, good)] == [["a"]]
    assert stored(new, bad).state is State.QUARANTINED
    assert "no such name" in str(stored(new, bad).reason)


def test_row_19_a_job_knows_what_it_is_in(host: Host) -> None:
    """Event id, type, target and acting user reach the job."""

    @host.register("t")
    def job(context: RunContext) -> list[Any]:
        return [context.event_id, context.event_type, context.resource, context.user]

    event = host.schedule("t", resource="i-1", user="alice")
    host.run_until_idle(LONG)
    assert runs_of(host, event)[0].result == [event.id, "t", "i-1", "alice"]


def test_row_24_deduplication_by_key(known: Host, clock: SettableClock) -> None:
    """The same key is the same event, on request; ``unique_for`` counts finished ones too."""
    first = known.schedule("t", None, HOUR, key="k")
    assert known.schedule("t", None, HOUR, key="k").id == first.id
    assert known.schedule("t", None, HOUR).id != known.schedule("t", None, HOUR).id
    now = known.schedule("t", key="once", unique_for=HOUR)
    known.run_until_idle(LONG)
    assert known.schedule("t", key="once", unique_for=HOUR).id == now.id
    clock.advance(2 * HOUR)
    assert known.schedule("t", key="once", unique_for=HOUR).id != now.id


def test_row_25_multi_resource_job(host: Host, clock: SettableClock) -> None:
    """One event, three targets, three outcomes; one that fails hides no other, and is the only
    one that is tried again.
    """
    seen: list[str] = []

    @host.register("start", retry=Retry(attempts=2, jitter=0))
    class Start(MultiResourceScheduledEventJob):
        def run_resource(self, context: RunContext, resource: str) -> str:
            seen.append(resource)
            if resource == "b" and context.attempt == 1:
                raise OSError("no route")
            return resource.upper()

    event = host.schedule("start", resources=["a", "b", "c"])
    host.run_until_idle(LONG)
    clock.advance(60)
    host.run_until_idle(LONG)
    first, second = runs_of(host, event)
    assert (first.outcome, second.outcome) == (Outcome.FAILED, Outcome.SUCCEEDED)
    assert first.resources is not None
    assert {name: one["outcome"] for name, one in first.resources.items()} == {
        "a": "succeeded",
        "b": "failed",
        "c": "succeeded",
    }
    assert "no route" in first.resources["b"]["error"]
    assert first.resources["a"]["result"] == "A"
    assert sorted(seen) == ["a", "b", "b", "c"]


def test_row_21_cancel_pending_for_non_matches(known: Host, clock: SettableClock) -> None:
    """What is not named any more is cancelled, with the reason; what is done stays as it is."""
    with known.tracker(origin="bot") as tracker:
        tracker.schedule("t", None, HOUR, resource="stays")
        tracker.schedule("t", None, HOUR, resource="leaves")
        tracker.schedule("t", None, None, resource="done")
    known.run_until_idle(LONG)
    with known.tracker(origin="bot", cancel_missing=True) as tracker:
        tracker.schedule("t", None, HOUR, resource="stays", key="second")
    states = {event.resource: event for event in known.events(origin="bot", key=None)}
    assert states["stays"].state is State.PENDING
    assert states["done"].state is State.FINISHED
    assert states["leaves"].state is State.CANCELLED
    assert states["leaves"].reason


def test_the_seeds_tracker_needs_a_host() -> None:
    """``ScheduledEventTracker()`` works where a host is known, and says so elsewhere."""
    with pytest.raises(Exception, match="host"), ScheduledEventTracker():
        pass


def test_row_73_settings_schema_declared_by_type(host: Host) -> None:
    """Typed, required, bounded: bad settings are refused when they are scheduled, all at once."""

    @host.register("t")
    @attrs.frozen
    class Job(ScheduledEventJob):
        url: str
        tries: int = attrs.field(default=3, validator=[attrs.validators.ge(1)])

    with pytest.raises(InvalidArguments) as caught:
        host.schedule("t", {"tries": "many", "colour": "red"})
    assert len(caught.value.errors) == 3
    with pytest.raises(InvalidArguments, match="tries"):
        host.schedule("t", {"url": "x", "tries": 0})
    assert host.events().total == 0
