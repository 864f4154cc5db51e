"""Bots: rounds of actions over resources that plugins list, as events like all others."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horae import Host, InvalidArguments, PluginLoadFailed, SettableClock, UnknownEventType
from horae_builtin_plugins import bots
from horae_hookspecs import (
    BotFactoryRegistryWrapper,
    BotView,
    Outcome,
    RegistrationError,
    Resource,
    RetryLater,
    Run,
    ScheduledEvent,
    ScheduledEventTracker,
    State,
    hookimpl,
)
from horae_hookspecs.filters import compile_filter
from kit.events import LONG

HOUR = timedelta(hours=1)
LATER = timedelta(hours=12)


@attrs.frozen
class Within:
    """The settings of an action."""

    hours: float = attrs.field(validator=attrs.validators.gt(0))
    note: str = ""


class Fleet:
    """A plugin with machines and actions on them, and a memory of what they were called with."""

    def __init__(self) -> None:
        self.machines: dict[str, dict[str, Any]] = {
            "m-1": {"state": "stopped", "size": 2},
            "m-2": {"state": "running", "size": 4},
            "m-3": {"state": "stopped", "size": 8},
        }
        self.calls: list[tuple[Any, ...]] = []
        self.registry = BotFactoryRegistryWrapper()
        self.registry.register("fleet.start")(lambda context: context.resource)
        self._register()
        self.__name__ = "fleet"

    @hookimpl
    def horae_event_types(self) -> BotFactoryRegistryWrapper:
        """The actions."""
        return self.registry

    @hookimpl
    def horae_bot_resources(self, kind: str) -> Sequence[Resource] | None:
        """The machines."""
        if kind != "machine":
            return None
        return [Resource(name, fields) for name, fields in self.machines.items()]

    def _register(self) -> None:
        action = self.registry.action

        @action("fleet.both", bulk_action=True, accepts_complement=True, settings=Within)
        def both(bot: Any, settings: Any, matches: Any, non_matches: Any) -> None:
            self.calls.append((bot, settings, ids(matches), ids(non_matches)))

        @action("fleet.matches", bulk_action=True, name="Matches", description="Only those.")
        def only(bot: Any, settings: Any, matches: Any) -> str:
            self.calls.append((bot, settings, ids(matches)))
            return "done"

        @action("fleet.each")
        def each(event: Any, bot: Any, settings: Any) -> None:
            self.calls.append((event.resource.id, event.bot, bot, settings))
            if event.resource.state == "broken":
                raise ValueError("it is broken")

        @action("fleet.others", run_when_result_is=False)
        def others(event: Any, bot: Any, settings: Any) -> None:
            self.calls.append((event.resource.id,))

        @action("fleet.schedule", bulk_action=True)
        def plan(bot: Any, settings: Any, matches: Any) -> None:
            with ScheduledEventTracker(bot.origin, cancel_missing=True) as tracker:
                for resource in matches:
                    tracker.schedule("fleet.start", None, LATER, resource=resource.id)


def ids(resources: Sequence[Resource]) -> list[str]:
    """What they are called."""
    return [resource.resource_id for resource in resources]


@pytest.fixture
def fleet() -> Fleet:
    """The plugin."""
    return Fleet()


@pytest.fixture
def host(host_on: Callable[..., Host], store_url: str, fleet: Fleet) -> Host:
    """A host on a store of each kind, with the plugin, and not started."""
    host = host_on(url=store_url)
    host.load_plugin(fleet)
    return host


STOPPED = {"state": "stopped"}


def bot(*actions: Any, **changes: Any) -> bots.Bot:
    """A bot on stopped machines, every hour from now on."""
    given: dict[str, Any] = {"name": "night", "resources": "machine", "filter": STOPPED}
    return bots.Bot(**{**given, "schedule": "every 1h", "actions": actions, **changes})


def round_of(host: Host, *actions: Any, **changes: Any) -> Run:
    """The first round of a new bot."""
    (first, *_) = bots.create(host, bot(*actions, **changes))
    host.run_now(first)
    host.run_until_idle(timeout=LONG)
    return host.runs(event_id=first).items[-1]


def active(host: Host) -> list[ScheduledEvent]:
    """What is not over of the bot's events."""
    return list(host.events(origin="bot:night", state=bots.ACTIVE))


# -- rounds


def test_a_bulk_action_gets_matches_and_non_matches(host: Host, fleet: Fleet) -> None:
    """Once a round, with the bot and its settings as they were typed."""
    run = round_of(host, ("fleet.both", {"hours": 2}))
    assert run.outcome is Outcome.SUCCEEDED, run.error
    assert run.result == {"matches": 2, "non_matches": 1}
    (call,) = fleet.calls
    assert call == (BotView("night"), Within(2.0), ["m-1", "m-3"], ["m-2"])


def test_a_bulk_action_may_want_matches_alone(host: Host, fleet: Fleet) -> None:
    """It is called without the others, and what it returns is the result, too."""
    run = round_of(host, "fleet.matches")
    assert run.result == {"matches": 2, "non_matches": 1, "result": "done"}
    assert [call[2:] for call in fleet.calls] == [(["m-1", "m-3"],)]


def test_an_action_may_be_called_for_each_resource(host: Host, fleet: Fleet) -> None:
    """With an event that has the resource and the bot; a failing one hides no other."""
    fleet.machines["m-0"] = {"state": "broken"}
    run = round_of(host, "fleet.each", filter={"state": ["stopped", "broken"]})
    assert [call[0] for call in fleet.calls] == ["m-1", "m-3", "m-0"]
    assert all(call[1] == call[2] == BotView("night") for call in fleet.calls)
    assert run.outcome is Outcome.FAILED
    assert "The action failed for 1 of 3 resources:\n  - m-0: ValueError" in str(run.error)


def test_a_run_is_ended_from_any_of_its_calls(host: Host, fleet: Fleet) -> None:
    """``RetryLater`` and ``CancelEvent`` are no failures of a resource."""

    @fleet.registry.action("fleet.later")
    def later(event: Any, bot: Any, settings: Any) -> None:
        fleet.calls.append((event.resource.id,))
        raise RetryLater(60, "not now")

    host.unload_plugin("fleet", drain=0)
    host.load_plugin(fleet)
    assert round_of(host, "fleet.later").outcome is Outcome.SNOOZED
    assert fleet.calls == [("m-1",)]


def test_many_failures_are_counted(host: Host, fleet: Fleet) -> None:
    """The first are told, and how many more there are."""
    fleet.machines |= {f"b-{n}": {"state": "broken"} for n in range(30)}
    error = str(round_of(host, "fleet.each", filter={"state": "broken"}).error)
    assert "failed for 30 of 30 resources" in error
    assert error.endswith("\n  and 10 more")


def test_an_action_may_act_on_what_does_not_match(host: Host, fleet: Fleet) -> None:
    """``run_when_result_is=False``: the filter says which ones to leave alone."""
    assert round_of(host, "fleet.others").outcome is Outcome.SUCCEEDED
    assert fleet.calls == [("m-2",)]


def test_answers_of_all_plugins_are_joined(host: Host, fleet: Fleet) -> None:
    """Each resource once, whoever lists it."""
    other = ModuleType("other")

    def resources(kind: str) -> Iterator[Resource]:
        yield Resource("m-1", STOPPED)
        yield Resource("m-9", STOPPED)

    vars(other)["horae_bot_resources"] = hookimpl(specname="horae_bot_resources")(resources)
    host.load_plugin(other)
    round_of(host, "fleet.matches")
    assert sorted(fleet.calls[0][2]) == ["m-1", "m-3", "m-9"]


def test_nothing_is_judged_while_nobody_lists_the_resources(host: Host, fleet: Fleet) -> None:
    """The round is put off and burns no attempt; the action is not called with nothing."""
    run = round_of(host, "fleet.matches", resources="ship")
    assert (run.outcome, fleet.calls) == (Outcome.SNOOZED, [])
    (event,) = active(host)
    assert (event.state, event.attempt) == (State.PENDING, 0)
    fleet.machines.clear()
    assert round_of(host, "fleet.matches", name="day").result["matches"] == 0


def test_a_round_recurs(host: Host, fleet: Fleet, clock: SettableClock) -> None:
    """Each sees the resources as they are then."""
    bots.create(host, bot("fleet.matches"))
    for _ in range(2):
        clock.advance(HOUR)
        host.run_until_idle(timeout=LONG)
        fleet.machines["m-2"]["state"] = "stopped"
    assert [call[2] for call in fleet.calls] == [["m-1", "m-3"], ["m-1", "m-2", "m-3"]]


def test_what_no_longer_matches_is_cancelled(
    host: Host, fleet: Fleet, clock: SettableClock
) -> None:
    """An action that names all it wants has its pending events for others cancelled, with the
    reason, and no second ones for the same.
    """
    bots.create(host, bot("fleet.schedule"))
    clock.advance(HOUR)
    host.run_until_idle(timeout=LONG)
    fleet.machines["m-1"]["state"] = "running"
    clock.advance(HOUR)
    host.run_until_idle(timeout=LONG)
    by_state = {
        state: {event.resource for event in host.events(event_type="fleet.start", state=state)}
        for state in (State.PENDING, State.CANCELLED)
    }
    assert by_state == {State.PENDING: {"m-3"}, State.CANCELLED: {"m-1"}}
    (cancelled,) = host.events(event_type="fleet.start", state=State.CANCELLED)
    assert cancelled.reason == "resource no longer matches"


def test_an_action_that_is_away_is_waited_for(
    host: Host, fleet: Fleet, clock: SettableClock
) -> None:
    """Like any event type: the bot stays, and makes its round when the action is back."""
    bots.create(host, bot("fleet.matches"))
    with host:
        host.unload_plugin("fleet")
        clock.advance(HOUR)
        host.run_until_idle(timeout=LONG)
        assert fleet.calls == []
        assert [one.event_type for one in host.waiting()] == ["fleet.matches"]
        (listed,) = bots.bots(host)
        assert listed.waiting == ("fleet.matches",)
        host.load_plugin(fleet)
        host.run_until_idle(timeout=LONG)
    assert len(fleet.calls) == 1


# -- creating, changing, archiving


def test_a_bot_is_an_event_for_each_action(host: Host) -> None:
    """Of the action's type, with the bot's origin, and told apart by its key."""
    made = bots.create(host, bot("fleet.matches", ("fleet.both", {"hours": 2})))
    first, second = active(host)
    assert [first.id, second.id] == list(made)
    assert (first.event_type, first.key, first.origin) == (*["fleet.matches"] * 2, "bot:night")
    assert second.arguments == {
        "bot": "night",
        "resources": "machine",
        "filter": STOPPED,
        "settings": {"hours": 2},
    }
    assert first.schedule["kind"] == "interval"


@pytest.mark.parametrize(
    ("action", "changes", "part"),
    [
        (("fleet.both", {"hours": "2"}), {}, "expected float, got str '2' @ $.settings.hours"),
        (("fleet.both", {"hours": 0}), {}, "'hours' must be > 0: 0.0 @ $.settings.hours"),
        ("fleet.both", {}, "required field missing @ $.settings"),
        (("fleet.matches", {"more": 1}), {}, "extra fields found (more) @ $.settings"),
        ("fleet.matches", {"filter": {"state": {"like": "x"}}}, "is no condition"),
        ("fleet.matches", {"filter": {"a": {"matches": "("}}}, "is no regular expression"),
        ("fleet.start", {}, "takes no arguments"),
    ],
)
def test_what_no_round_could_do_is_refused(
    host: Host, action: Any, changes: dict[str, Any], part: str
) -> None:
    """When the bot is made, and then none of its rounds is stored."""
    with pytest.raises(InvalidArguments) as caught:
        bots.create(host, bot("fleet.each", action, **changes))
    assert any(part in error for error in caught.value.errors), caught.value.errors
    assert active(host) == []


def test_an_unknown_action_is_refused(host: Host) -> None:
    """The bot is not made, with the nearest name for a hint."""
    with pytest.raises(UnknownEventType, match=r"Did you mean 'fleet\.both'\?"):
        bots.create(host, bot("fleet.matches", "fleet.bothh"))
    assert active(host) == []


@pytest.mark.parametrize("actions", [(), ("fleet.each", "fleet.each")])
def test_a_bot_has_each_action_once(actions: tuple[str, ...]) -> None:
    """And one at least."""
    with pytest.raises(ValueError, match="a bot has one action or more, and each once"):
        bot(*actions)


def test_a_bot_is_made_once(host: Host) -> None:
    """A second one of its name is refused, with other actions too, until it is archived."""
    bots.create(host, bot("fleet.matches"))
    with pytest.raises(bots.BotExists, match="reconfigure"):
        bots.create(host, bot("fleet.each"))
    bots.archive(host, "night")
    bots.create(host, bot("fleet.each"))
    assert [event.event_type for event in active(host)] == ["fleet.each"]


def test_reconfiguring_drops_what_the_old_configuration_planned(
    host: Host, fleet: Fleet, clock: SettableClock
) -> None:
    """A round keeps its event and does what is said now; those of actions that are gone end."""
    schedule_id, _ = bots.create(host, bot("fleet.schedule", "fleet.each"))
    clock.advance(HOUR)
    host.run_until_idle(timeout=LONG)
    planned = {event.id for event in host.events(event_type="fleet.start")}
    ids = bots.reconfigure(
        host, bot("fleet.schedule", "fleet.matches", filter={"size": 4}, schedule="every 2h")
    )
    assert ids[0] == schedule_id
    left = active(host)
    assert [event.id for event in left] == list(ids)
    assert {event.arguments["filter"]["size"] for event in left} == {4}
    assert len(planned) == 2
    reasons = {one.reason for one in host.events(state=State.CANCELLED)}
    assert reasons == {"bot 'night' was reconfigured"}
    clock.advance(2 * HOUR)
    host.run_until_idle(timeout=LONG)
    assert fleet.calls[-1][2] == ["m-2"]


@pytest.mark.parametrize(
    ("drop", "kept"),
    [
        ("all", {"fleet.matches"}),
        ("rounds", {"fleet.matches", "fleet.start"}),
        ("none", {"fleet.matches", "fleet.start", "fleet.schedule"}),
    ],
)
def test_what_is_dropped_is_a_policy(
    host: Host, clock: SettableClock, drop: Any, kept: set[str]
) -> None:
    """All that is not over, rounds alone, or nothing."""
    bots.create(host, bot("fleet.schedule"))
    clock.advance(HOUR)
    host.run_until_idle(timeout=LONG)
    bots.reconfigure(host, bot("fleet.matches"), drop=drop)
    assert {event.event_type for event in active(host)} == kept


def test_a_configuration_that_is_refused_changes_nothing(host: Host) -> None:
    """Nor does a policy that is none."""
    bots.create(host, bot("fleet.matches"))
    before = active(host)
    with pytest.raises(InvalidArguments):
        bots.reconfigure(host, bot("fleet.each", ("fleet.matches", {"more": 1})))
    with pytest.raises(ValueError, match="none of 'all', 'rounds' and 'none'"):
        bots.reconfigure(host, bot("fleet.each"), drop="some")  # type: ignore[arg-type]
    assert active(host) == before


def test_archiving_ends_what_is_pending_and_keeps_what_was(
    host: Host, clock: SettableClock
) -> None:
    """Rounds and what they scheduled are cancelled with the reason; history and others stay."""
    bots.create(host, bot("fleet.schedule"))
    bots.create(host, bot("fleet.matches", name="day"))
    clock.advance(HOUR)
    host.run_until_idle(timeout=LONG)
    runs = host.runs().total
    assert len(active(host)) == 3
    assert bots.archive(host, "night") == 3
    assert active(host) == []
    reasons = {event.reason for event in host.events(origin="bot:night")}
    assert (reasons, host.runs().total) == ({"bot 'night' was archived"}, runs)
    assert [one.name for one in bots.bots(host)] == ["day"]
    assert bots.archive(host, "night") == 0


def test_a_round_that_is_archived_stores_nothing(host: Host, fleet: Fleet) -> None:
    """One that runs meanwhile comes to its end, and leaves no event of an archived bot."""

    @fleet.registry.action("fleet.late", bulk_action=True)
    def late(bot: Any, settings: Any, matches: Any) -> None:
        with ScheduledEventTracker(bot.origin) as tracker:
            tracker.schedule("fleet.start", None, LATER)
        bots.archive(host, "night")

    host.unload_plugin("fleet", drain=0)
    host.load_plugin(fleet)
    run = round_of(host, "fleet.late")
    assert run.outcome is Outcome.CANCELLED
    assert active(host) == []


def test_bots_are_listed(host: Host) -> None:
    """By name, as they were made, with their next round; what rounds scheduled is no bot."""
    bots.create(host, bot(("fleet.both", {"hours": 2.0}), "fleet.matches"))
    bots.create(host, bot("fleet.schedule", name="day", filter={}))
    host.schedule("fleet.start", origin="bot:night", key="fleet.start")
    day, night = bots.bots(host)
    assert (day.name, day.filter, day.actions) == ("day", {}, (("fleet.schedule", {}),))
    assert night.actions == (("fleet.both", {"hours": 2.0}), ("fleet.matches", {}))
    assert (night.resources, night.filter, night.paused) == ("machine", STOPPED, False)
    assert night.due == active(host)[0].due
    assert night.schedule == active(host)[0].schedule


def test_there_may_be_no_bots(host_on: Callable[..., Host]) -> None:
    """Nor any event type."""
    assert bots.bots(host_on(url="memory://")) == []


# -- registering


def test_an_action_is_an_event_type(host: Host) -> None:
    """With a schema that has its settings, and its name and description."""
    types = {one.event_type: one for one in host.event_types()}
    schema = types["fleet.both"].schema
    assert schema is not None
    assert schema["$defs"]["Within"]["properties"]["hours"]["exclusiveMinimum"] == 0
    assert schema["required"] == ["bot", "resources", "settings"]
    assert (types["fleet.matches"].schema or {})["description"] == "Matches\n\nOnly those."


def test_actions_come_and_go_with_load_and_unload() -> None:
    """The wrapper is like that of event types, and offers both."""
    fleet = Fleet()
    assert not fleet.registry.loaded
    fleet.registry.load()
    assert fleet.registry.loaded
    assert {one.event_type for one in fleet.registry.registrations} > {"fleet.start", "fleet.each"}


async def awaited(bot: object, settings: object, matches: object) -> None:
    """An action that nobody awaits."""


@pytest.mark.parametrize(
    ("function", "policy", "part"),
    [
        (awaited, {}, "give a plain function"),
        ("text", {}, "give a plain function"),
        (print, {"settings": dict}, "is no attrs class"),
        (print, {"executor": "process"}, "has no host to ask for resources"),
        (print, {"colour": "red"}, "The policy given for event type 'acme.act' is wrong"),
    ],
)
def test_what_can_be_no_action_is_refused(function: Any, policy: Any, part: str) -> None:
    """When it is registered, with the way out."""
    with pytest.raises(RegistrationError, match=part):
        BotFactoryRegistryWrapper().action("acme.act", **policy)(function)


def test_settings_that_json_cannot_hold_are_refused(host: Host) -> None:
    """At load, like the arguments of any type."""
    strange = attrs.make_class("Strange", {"value": attrs.field(type=complex)})
    registry = BotFactoryRegistryWrapper()
    registry.action("acme.act", settings=strange)(lambda event, bot, settings: None)
    plugin = ModuleType("acme")
    vars(plugin)["horae_event_types"] = hookimpl(specname="horae_event_types")(lambda: registry)
    with pytest.raises(PluginLoadFailed, match="no JSON value is a complex"):
        host.load_plugin(plugin)


def test_a_resource_shows_its_fields() -> None:
    """As attributes; one that it has not is an AttributeError, and not a hang."""
    resource = Resource("m-1", {"state": "stopped"})
    assert (resource.resource_id, resource.state) == ("m-1", "stopped")
    for name in ("size", "_private", "__deepcopy__"):
        with pytest.raises(AttributeError, match=name):
            getattr(resource, name)


# -- filters

FIELDS = {
    "id": "m-1",
    "state": "stopped",
    "size": 2,
    "ready": True,
    "tags": {"owner": "ann", "a": {"b": 1}},
    "x.y": 5,
}


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({}, True),
        ({"state": "stopped"}, True),
        ({"state": "running"}, False),
        ({"state": ["running", "stopped"]}, True),
        ({"state": []}, False),
        ({"state": {"not": "stopped"}}, False),
        ({"state": {"not": ["running"]}}, True),
        ({"state": {"not": {"matches": "r.*"}}}, True),
        ({"state": {"matches": "stop"}}, False),
        ({"state": {"matches": "stop.*"}}, True),
        ({"state": ["x", {"matches": "s.*"}]}, True),
        ({"size": {"matches": "2"}}, False),
        ({"size": 2, "state": "stopped"}, True),
        ({"size": 2, "state": "running"}, False),
        ({"ready": 1}, False),
        ({"size": 2.0}, True),
        ({"tags.owner": "ann"}, True),
        ({"tags.a.b": 1}, True),
        ({"tags.a.c": None}, True),
        ({"state.length": None}, True),
        ({"missing": "x"}, False),
        ({"missing": {"not": "x"}}, True),
        ({"missing": None}, True),
        ({"x.y": 5}, True),
        ({"id": "m-1"}, True),
    ],
)
def test_a_filter_says_which_resources_are_meant(conditions: dict[str, Any], matches: bool) -> None:
    """All conditions must hold; a field that is not there is null."""
    assert compile_filter(conditions)(FIELDS) is matches


@pytest.mark.parametrize(
    "condition", [{}, {"like": 1}, {"not": 1, "matches": "x"}, {"matches": 5}, {"matches": "("}]
)
def test_a_filter_is_strict(condition: Any) -> None:
    """All that is wrong with it is told, however deep."""
    with pytest.raises(ValueError, match=r"for first .*; .* for second "):
        compile_filter({"first": condition, "second": {"not": [1, condition]}})


@settings(max_examples=50)
@given(st.recursive(st.none() | st.integers() | st.text(), st.lists), st.none() | st.integers())
def test_not_is_the_opposite(condition: Any, value: Any) -> None:
    """Of every condition, for every value."""
    plain, opposite = (compile_filter({"a": c}) for c in (condition, {"not": condition}))
    assert plain({"a": value}) is not opposite({"a": value})
