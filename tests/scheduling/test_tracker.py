"""Units of work: events that are stored together or not at all, by a host, a run or a plugin."""

import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from horae import (
    Host,
    HostError,
    InvalidArguments,
    KeyTaken,
    SettableClock,
    SettingsError,
    UnknownEventType,
)
from horae_builtin_plugins import schedule
from horae_hookspecs import (
    ActivationContext,
    MultiResourceScheduledEventJob,
    NaiveDatetimeError,
    Outcome,
    OutsideRunError,
    Retry,
    RunContext,
    ScheduledEvent,
    ScheduledEventRegistryWrapper,
    ScheduledEventTracker,
    State,
    Tracker,
    hookimpl,
)
from kit.events import LONG, outcomes, runs_of, stored

LATER = timedelta(hours=12)


@pytest.fixture
def host(host_on: Callable[..., Host], store_url: str) -> Host:
    """A host that is not started, on a store of each kind, with a type for one resource and one
    for many.
    """
    host = host_on(url=store_url)
    host.register("one")(lambda context, level=0: None)

    @host.register("many")
    class Many(MultiResourceScheduledEventJob):
        def run_resource(self, context: RunContext, resource: str) -> None: ...

    return host


def listed(host: Host, **filters: Any) -> list[ScheduledEvent]:
    """The events there are."""
    return list(host.events(limit=2000, **filters))


def resources(host: Host, **filters: Any) -> list[object]:
    """What each of the events is about."""
    return [event.resources or event.resource for event in listed(host, **filters)]


def track(host: Host, *calls: dict[str, Any]) -> None:
    """Schedule events of the type ``one`` in one unit."""
    with host.tracker() as tracker:
        for call in calls:
            tracker.schedule("one", None, LATER, **call)


# All or nothing


def test_a_block_is_stored_at_its_end(host: Host) -> None:
    """All of it, with the tracker's origin where a call has none, and the ids are told then."""
    with host.tracker("bot:night") as tracker:
        tracker.schedule("one", {"level": 3}, LATER, resource="i-1", key="k")
        tracker.schedule("one", None, "every 5m", origin="man")
        assert (tracker.ids, listed(host)) == ((), [])
    first, second = listed(host)
    assert list(tracker.ids) == [first.id, second.id]
    assert (first.arguments, first.resource, first.key) == ({"level": 3}, "i-1", "k")
    assert (first.origin, second.origin) == ("bot:night", "man")


def break_off(opened: AbstractContextManager[Tracker]) -> None:
    """Schedule something, and leave the block with an exception."""
    with opened as tracker:
        tracker.schedule("one", None, LATER, resource="i-2")
        raise ZeroDivisionError


def test_an_exception_in_the_block_stores_nothing(host: Host) -> None:
    """Nor does it cancel anything."""
    before = host.schedule("one", origin="bot", resource="i-1", schedule=LATER)
    with pytest.raises(ZeroDivisionError):
        break_off(host.tracker("bot", cancel_missing=True))
    assert [event.id for event in listed(host)] == [before.id]
    assert stored(host, before).state is State.PENDING


def test_a_thousand_calls_are_one_commit(host_on: Callable[..., Host], tmp_path: Path) -> None:
    """Who looks from outside sees none of them, then all; and what they cancel goes with it."""
    host, outside = host_on(), host_on()
    host.register("one")(lambda context: None)
    assert outside.events().total == 0
    gone = host.schedule("one", None, LATER, resource="i-x", origin="bot")
    statements: list[str] = []
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        count = "SELECT count(*) FROM horae_event WHERE state = 'pending'"
        with host.tracker("bot", cancel_missing=True) as tracker:
            for number in range(1000):
                tracker.schedule("one", None, LATER, resource=f"i-{number}")
            assert connection.execute(count).fetchone() == (1,)
            host.store._writer.connection.set_trace_callback(statements.append)  # type: ignore[attr-defined]
        assert connection.execute(count).fetchone() == (1000,)
    assert [one for one in statements if one in ("COMMIT", "ROLLBACK")] == ["COMMIT"]
    assert [event.id for event in outside.events(state="cancelled")] == [gone.id]
    assert len(set(tracker.ids)) == 1000


def test_nothing_is_stored_when_the_store_refuses_one(host: Host) -> None:
    """A key that is taken takes the whole unit with it."""
    holder = host.schedule("one", None, LATER, key="k")
    calls = [{}, {"key": "k", "on_conflict": "error"}]
    with pytest.raises(KeyTaken):
        track(host, *calls)
    assert [event.id for event in listed(host)] == [holder.id]


def test_the_id_of_who_has_the_key_is_told(host: Host) -> None:
    """In place of an event that was not stored."""
    holder = host.schedule("one", None, LATER, key="k")
    with host.tracker() as tracker:
        tracker.schedule("one", None, LATER, key="k")
    assert list(tracker.ids) == [holder.id]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({"event_type": "onne"}, UnknownEventType),
        ({"event_type": "one", "arguments": {"height": 3}}, InvalidArguments),
        ({"event_type": "one", "schedule": datetime(2026, 1, 1)}, NaiveDatetimeError),
        ({"event_type": "one", "priority": 7}, SettingsError),
        ({"event_type": "many"}, SettingsError),
        ({"event_type": "one", "colour": "red"}, TypeError),
    ],
)
def test_a_wrong_call_is_refused_at_once(
    host: Host, call: dict[str, Any], error: type[Exception]
) -> None:
    """At its line, and the block may go on without it."""
    with host.tracker() as tracker:
        with pytest.raises(error):
            tracker.schedule(**call)
        tracker.schedule("one")
    assert [event.event_type for event in listed(host)] == ["one"]


def test_a_tracker_whose_block_is_over_takes_nothing_more(host: Host) -> None:
    """It would be lost."""
    with host.tracker() as tracker:
        tracker.schedule("one")
    with pytest.raises(HostError, match="its block is over"):
        tracker.schedule("one")
    assert len(listed(host)) == 1


def test_a_running_host_takes_up_what_was_tracked(host: Host) -> None:
    """At once, and who watches is told of each."""
    seen = []

    class Watcher:
        @hookimpl
        def horae_event_scheduled(self, event: ScheduledEvent) -> None:
            seen.append(event.id)

    host.load_plugin(Watcher())
    host.start()
    with host.tracker() as tracker:
        tracker.schedule("one")
        tracker.schedule("one")
    host.run_until_idle(LONG)
    assert seen == list(tracker.ids)
    assert {event.state for event in listed(host)} == {State.FINISHED}


# Bots


def test_a_bot_event_says_who_and_what(host: Host) -> None:
    """The call of the seed systems, with texts."""
    with host.tracker() as tracker:
        tracker.schedule_bot_event(
            bot="night",
            resource="i-1",
            description="Start a resource.",
            event_type="one",
            schedule_data=schedule.Once(when=datetime(2026, 1, 1, 12, tzinfo=UTC)),
            action_data={"level": 3},
        )
    (event,) = listed(host)
    assert (event.origin, event.resource) == ("bot:night", "i-1")
    assert (event.description, event.arguments) == ("Start a resource.", {"level": 3})
    assert event.due == datetime(2026, 1, 1, 12, tzinfo=UTC)


def bot_event(tracker: Any, **details: Any) -> None:
    """Schedule an event for a bot, the usual one but for ``details``."""
    usual = {"bot": "night", "resource": "i-1", "description": None, "event_type": "one"}
    tracker.schedule_bot_event(**usual | {"schedule_data": LATER} | details)


@pytest.mark.parametrize(
    "bot", [SimpleNamespace(name="n"), SimpleNamespace(uid="n"), SimpleNamespace(bot_id="n")]
)
@pytest.mark.parametrize("resource", [SimpleNamespace(resource_id=7), SimpleNamespace(id=7)])
def test_a_bot_and_a_resource_may_be_objects(host: Host, bot: object, resource: object) -> None:
    """They are known by their names."""
    with host.tracker() as tracker:
        bot_event(tracker, bot=bot, resource=resource)
    (event,) = listed(host)
    assert (event.origin, event.resource) == ("bot:n", "7")


@pytest.mark.parametrize("what", ["bot", "resource"])
def test_an_object_without_a_name_is_refused(host: Host, what: str) -> None:
    """The error says which names would do."""
    with host.tracker() as tracker, pytest.raises(TypeError, match=rf"{what}=.* has no .* or "):
        bot_event(tracker, **{what: object()})


def test_the_origin_of_the_tracker_goes_before_the_bots(host: Host) -> None:
    """One unit has one origin."""
    with host.tracker("campaign") as tracker:
        bot_event(tracker)
    (event,) = listed(host)
    assert event.origin == "campaign"


def test_action_data_may_be_json_text(host: Host) -> None:
    """As in the seed systems; it is checked like all arguments."""
    with host.tracker() as tracker:
        bot_event(tracker, action_data=json.dumps({"level": 3}))
        for wrong in ("{level: 3}", '["level"]'):
            with pytest.raises(InvalidArguments):
                bot_event(tracker, action_data=wrong)
    (event,) = listed(host)
    assert event.arguments == {"level": 3}


# One event for many resources


def test_calls_that_differ_only_in_their_resource_become_one_event(host: Host) -> None:
    """Each resource once, in the order of the calls; reading the clock for each does not matter."""
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    with host.tracker() as tracker:
        for number in (2, 1, 2, 3):
            when = moment + timedelta(milliseconds=number)
            bot_event(tracker, event_type="many", resource=f"i-{number}", schedule_data=when)
    assert resources(host) == [("i-2", "i-1", "i-3")]
    assert len(tracker.ids) == 1


def test_instants_a_second_apart_are_two(host: Host) -> None:
    """Nearer ones are one, on whichever side of a full second they lie."""
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    with host.tracker() as tracker:
        for name, after in (("a", 0.9), ("b", 1.8), ("c", 0.1), ("d", 1.9), ("e", 3.9)):
            when = moment + timedelta(seconds=after)
            tracker.schedule("many", None, when, resource=name)
    assert resources(host) == [("a", "b", "c"), "d", "e"]


def test_a_recurring_event_is_shared_like_that(host: Host) -> None:
    """By its schedule as it is written."""
    with host.tracker() as tracker:
        for text in ("every 5m", "every 5m", "every 6m"):
            tracker.schedule("many", None, text, resource=f"{text} {len(listed(host))}")
            tracker.schedule("many", None, text, resources=["a", "b"])
    assert resources(host) == [("every 5m 0", "a", "b"), ("every 6m 0", "a", "b")]


@pytest.mark.parametrize(
    "other",
    [
        {"event_type": "one"},
        {"schedule": timedelta(hours=13)},
        {"description": "Another."},
        {"key": "k"},
        {"priority": 2},
        {"origin": "man"},
        {"resources": ["i-3"]},
    ],
)
def test_calls_that_differ_in_anything_else_do_not(host: Host, other: dict[str, Any]) -> None:
    """What was asked for twice in two ways is wanted in both; and what is about one resource for
    the sake of others is not about several.
    """
    usual = {"event_type": "many", "schedule": LATER, "description": "One."}
    with host.tracker() as tracker:
        tracker.schedule(**usual, resource="i-1")
        tracker.schedule(**{**usual, "resource": "i-2", **other})
    assert len(listed(host)) == 2
    assert listed(host)[0].resource == "i-1"


def test_a_type_for_one_resource_has_an_event_for_each(host: Host) -> None:
    """Nobody would work on the others."""
    with host.tracker() as tracker:
        for name in ("a", "b"):
            tracker.schedule("one", None, LATER, resource=name)
    assert resources(host) == ["a", "b"]


# What is not named any more


def test_what_is_not_named_any_more_is_cancelled(host: Host) -> None:
    """In one go with what is new, and the reason is on record."""
    with host.tracker("bot") as tracker:
        for name in ("a", "b"):
            tracker.schedule("one", None, LATER, resource=name)
    gone = tracker.ids[0]
    with host.tracker("bot", cancel_missing=True) as tracker:
        for name in ("b", "c"):
            tracker.schedule("one", None, LATER, resource=name)
    assert resources(host, state="pending") == ["b", "b", "c"]
    (event,) = listed(host, state="cancelled")
    assert (event.id, event.reason) == (gone, "resource no longer matches")


def test_an_event_for_many_is_narrowed_to_what_is_named(host: Host) -> None:
    """The others are still wanted."""
    with host.tracker("bot") as tracker:
        for name in "abc":
            tracker.schedule("many", None, LATER, resource=name)
    with host.tracker("bot", cancel_missing=True) as tracker:
        tracker.schedule("one", None, LATER, resources=None, resource="a")
        tracker.schedule("one", None, LATER, resource="c")
    assert resources(host) == [("a", "c"), "a", "c"]


def test_what_another_origin_names_does_not_count(host: Host) -> None:
    """It is not what this origin wants."""
    host.schedule("one", None, LATER, resource="a", origin="bot")
    with host.tracker("bot", cancel_missing=True) as tracker:
        tracker.schedule("one", None, LATER, resource="a", origin="man")
    assert [(event.origin, event.state) for event in listed(host)] == [
        ("bot", State.CANCELLED),
        ("man", State.PENDING),
    ]


def test_it_needs_an_origin(host: Host) -> None:
    """Else it would be everybody's events."""
    with pytest.raises(SettingsError, match="so it needs one"):
        host.tracker(cancel_missing=True)


# In a run


def test_a_unit_in_a_run_is_stored_with_its_outcome(host: Host) -> None:
    """While the job runs there is nothing of it, and what it cancels is there still."""
    seen = []
    old = host.schedule("one", None, LATER, origin="bot", resource="a")

    @host.register("plan")
    def plan(context: RunContext) -> None:
        with ScheduledEventTracker("bot", cancel_missing=True) as tracker:
            tracker.schedule("one", None, LATER, resource="b")
        with context.tracker() as other:
            other.schedule("one", None, LATER, resource="c")
        seen.append((host.events(event_type="one").total, stored(host, old).state, tracker.ids))

    host.schedule("plan")
    host.run_until_idle(LONG)
    assert seen == [(1, State.PENDING, ())]
    assert resources(host, event_type="one", state="pending") == ["b", "c"]
    assert stored(host, old).state is State.CANCELLED


def test_units_of_one_run_follow_each_other(host: Host) -> None:
    """The second cancels what the first has planned, as it would outside."""

    @host.register("plan")
    def plan(context: RunContext) -> None:
        for name in ("a", "b"):
            with ScheduledEventTracker("bot", cancel_missing=True) as tracker:
                tracker.schedule("one", None, LATER, resource=name)

    host.schedule("plan")
    host.run_until_idle(LONG)
    assert resources(host, state="cancelled") == ["a"]
    assert resources(host, state="pending") == ["b"]


def test_a_run_that_fails_stores_and_cancels_nothing(host: Host) -> None:
    """The attempt that succeeds does both."""
    old = host.schedule("one", None, LATER, origin="bot", resource="a")

    @host.register("plan", retry=Retry(attempts=2, first=timedelta(hours=1), jitter=0))
    def plan(context: RunContext) -> None:
        with ScheduledEventTracker("bot", cancel_missing=True) as tracker:
            tracker.schedule("one", None, LATER, resource="b")
        assert context.attempt == 2

    event = host.schedule("plan")
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.FAILED]
    assert (stored(host, old).state, resources(host, event_type="one")) == (State.PENDING, ["a"])
    assert isinstance(host.clock, SettableClock)
    host.clock.advance(timedelta(hours=1))
    host.run_until_idle(LONG)
    assert (stored(host, old).state, resources(host, event_type="one")) == (
        State.CANCELLED,
        ["a", "b"],
    )


def test_an_async_job_has_its_own_run(host: Host) -> None:
    """Two on one loop do not take each other's."""

    @host.register("plan")
    async def plan(context: RunContext) -> None:
        with ScheduledEventTracker(context.description) as tracker:
            tracker.schedule("one", None, LATER)

    for name in ("a", "b"):
        host.schedule("plan", description=name)
    host.run_until_idle(LONG)
    assert sorted(str(event.origin) for event in listed(host, event_type="one")) == ["a", "b"]


def test_a_unit_of_one_resource_falls_with_it(host: Host) -> None:
    """Inside a turn of a multi-resource job the unit joins that resource's outcome."""

    @host.register("plan")
    class Plan(MultiResourceScheduledEventJob):
        def run_resource(self, context: RunContext, resource: str) -> None:
            with ScheduledEventTracker() as tracker:
                tracker.schedule("one", None, LATER, resource=resource)
            assert resource == "a"

    host.schedule("plan", resources=["a", "b"])
    host.run_until_idle(LONG)
    assert resources(host, event_type="one") == ["a"]


def test_a_key_that_is_taken_by_then_is_kept(host: Host) -> None:
    """The outcome of a run does not depend on it: ``error`` means ``keep`` here."""
    holder = host.schedule("one", None, LATER, key="k")

    @host.register("plan")
    def plan(context: RunContext) -> None:
        context.schedule("one", None, LATER, key="k", on_conflict="error")
        with ScheduledEventTracker() as tracker:
            tracker.schedule("one", None, LATER, key="k", on_conflict="error")

    event = host.schedule("plan")
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.SUCCEEDED]
    assert [one.id for one in listed(host, event_type="one")] == [holder.id]


def test_what_comes_after_the_run_is_refused(host: Host) -> None:
    """It would be stored with nothing."""
    kept: list[RunContext] = []
    host.register("plan")(kept.append)
    host.schedule("plan")
    host.run_until_idle(LONG)
    with pytest.raises(OutsideRunError, match="is over"):
        kept[0].schedule("one")
    with pytest.raises(OutsideRunError, match="is over"), kept[0].tracker() as tracker:
        tracker.schedule("one")


# Elsewhere


def test_outside_there_is_no_host(host: Host) -> None:
    """The error says how to name one; a job's own threads are outside, and may be handed it."""
    raised = []

    def in_thread(context: RunContext) -> None:
        try:
            ScheduledEventTracker().__enter__()
        except OutsideRunError as error:
            raised.append(error)
        with context.tracker() as tracker:
            tracker.schedule("one", None, LATER)

    @host.register("plan")
    def plan(context: RunContext) -> None:
        thread = threading.Thread(target=in_thread, args=(context,))
        thread.start()
        thread.join()

    with pytest.raises(OutsideRunError, match=r"with host\.tracker\(\) as tracker"):
        ScheduledEventTracker().__enter__()
    event = host.schedule("plan")
    host.run_until_idle(LONG)
    assert (outcomes(host, event), len(raised)) == ([Outcome.SUCCEEDED], 1)
    assert len(listed(host, event_type="one")) == 1


def test_an_activation_stores_at_the_end_of_the_block(host: Host) -> None:
    """It has no outcome to be stored with."""
    seen = []

    class Acme:
        @hookimpl
        def horae_activate(self, context: ActivationContext) -> None:
            with ScheduledEventTracker("acme") as tracker:
                tracker.schedule("one", None, LATER)
            with context.host.tracker("acme") as other:
                other.schedule("one", None, LATER)
            seen.extend([*tracker.ids, *other.ids])

    host.load_plugin(Acme())
    assert [event.id for event in listed(host, origin="acme")] == seen
    assert len(seen) == 2


def test_so_does_the_load_of_a_seed_style_plugin(host: Host) -> None:
    """Where modules have functions instead of hooks."""
    seed = ModuleType("seed")

    def load() -> None:
        seed.events.load()
        with ScheduledEventTracker("seed") as tracker:
            tracker.schedule("one", None, LATER)

    vars(seed).update(events=ScheduledEventRegistryWrapper(), load=load, unload=lambda: None)
    host.load_plugin(seed)
    assert len(listed(host, origin="seed")) == 1


def test_blocks_may_be_nested(host: Host) -> None:
    """Each is a unit of its own, also of one and the same tracker."""

    @host.register("plan")
    def plan(context: RunContext) -> None:
        outer = ScheduledEventTracker()
        with outer as first:
            first.schedule("one", None, LATER, resource="a")
            with pytest.raises(ZeroDivisionError):
                break_off(context.tracker())
            with pytest.raises(ZeroDivisionError):
                break_off(outer)
        with outer as second:
            second.schedule("one", None, LATER, resource="c")

    event = host.schedule("plan")
    host.run_until_idle(LONG)
    assert runs_of(host, event)[0].error is None
    assert resources(host, event_type="one") == ["a", "c"]
