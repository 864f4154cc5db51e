"""Rows 20, 22, 23, 59 and 60: bots, what their actions get, and what goes with them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, SettableClock
from horae_builtin_plugins import bots
from horae_hookspecs import BotFactoryRegistryWrapper, Outcome, Resource, State, hookimpl
from kit.events import LONG, runs_of

HOUR = timedelta(hours=1)
STATES = {"i-1": "stopped", "i-2": "running", "i-3": "stopped"}


class Machines:
    """A plugin with one resource kind, and whatever actions are registered with it."""

    def __init__(self) -> None:
        self.registry = BotFactoryRegistryWrapper()

    @hookimpl
    def horae_event_types(self) -> BotFactoryRegistryWrapper:
        return self.registry

    @hookimpl
    def horae_bot_resources(self, kind: str) -> list[Resource] | None:
        if kind != "machine":
            return None
        return [Resource(name, {"state": state}) for name, state in STATES.items()]


@pytest.fixture
def machines() -> Machines:
    """The plugin, not loaded yet."""
    return Machines()


def one_round(host: Host, clock: SettableClock, machines: Machines) -> None:
    """Load the plugin, make a bot for stopped machines, and let it have its first round."""
    host.start().load_plugin(machines)
    uid = machines.registry.registrations[0].event_type
    bots.create(host, bots.Bot("night", "machine", [uid], "every 1h", filter={"state": "stopped"}))
    clock.advance(HOUR)
    host.run_until_idle(LONG)
    (round_,) = host.events(event_type=uid)
    (run,) = runs_of(host, round_)
    assert run.outcome is Outcome.SUCCEEDED, run.error


@pytest.mark.parametrize("complement", [True, False])
def test_row_20_bulk_action(
    host: Host, clock: SettableClock, machines: Machines, complement: bool
) -> None:
    """It gets bot, settings and matches, and only on request the rest too."""
    got: list[Any] = []

    @machines.registry.action(uid="m.act", bulk_action=True, accepts_complement=complement)
    def act(bot: Any, settings: Any, *found: Any) -> None:
        got.append([bot.name, *([one.id for one in part] for part in found)])

    one_round(host, clock, machines)
    assert got == [["night", ["i-1", "i-3"], *([["i-2"]] if complement else [])]]


def test_row_22_action_for_each_resource(
    host: Host, clock: SettableClock, machines: Machines
) -> None:
    """The older form is called for each match with an event, the bot and its settings."""
    got: list[tuple[str, str]] = []

    @machines.registry.action(uid="m.act")
    def act(event: Any, bot: Any, settings: Any) -> None:
        got.append((event.resource.resource_id, bot.name))

    one_round(host, clock, machines)
    assert got == [("i-1", "night"), ("i-3", "night")]


@pytest.mark.parametrize(("on", "acted"), [(True, ["i-1", "i-3"]), (False, ["i-2"])])
def test_row_23_run_when_result_is(
    host: Host, clock: SettableClock, machines: Machines, on: bool, acted: list[str]
) -> None:
    """True acts on what matches, False on what does not."""
    got: list[str] = []

    @machines.registry.action(uid="m.act", run_when_result_is=on)
    def act(event: Any, bot: Any, settings: Any) -> None:
        got.append(event.resource.id)

    one_round(host, clock, machines)
    assert got == acted


@pytest.fixture
def spawning(host_on: Callable[..., Host], clock: SettableClock, machines: Machines) -> Host:
    """A host on which a bot had a round that scheduled an event for each of its two matches."""
    host = host_on()
    host.register("work")(lambda context: None)

    @machines.registry.action(uid="m.act", bulk_action=True)
    def act(bot: Any, settings: Any, matches: list[Resource]) -> None:
        with host.tracker(bot.origin) as tracker:
            for resource in matches:
                tracker.schedule_bot_event(
                    bot=bot, resource=resource, event_type="work", schedule_data=12 * HOUR
                )

    one_round(host, clock, machines)
    assert host.events(origin="bot:night", state="pending").total == 3
    return host


def test_row_59_owner_archived(spawning: Host) -> None:
    """Its pending events are cancelled; its history is kept."""
    assert bots.archive(spawning, "night") == 3
    assert spawning.events(origin="bot:night", state="pending").total == 0
    assert spawning.runs(event_type="m.act").total == 1
    assert bots.bots(spawning) == []


@pytest.mark.parametrize(("drop", "left"), [("all", 0), ("none", 2)])
def test_row_60_owner_reconfigured(spawning: Host, drop: Any, left: int) -> None:
    """Its active events are dropped, or kept where that is asked for; the bot goes on."""
    changed = bots.Bot("night", "machine", ["m.act"], "every 2h", filter={"state": "running"})
    (event_id,) = bots.reconfigure(spawning, changed, drop=drop)
    assert spawning.events(event_type="work", state="pending").total == left
    event = spawning.get(event_id)
    assert event is not None
    assert (event.state, event.schedule["seconds"]) == (State.PENDING, 7200)
    (bot,) = bots.bots(spawning)
    assert bot.filter == {"state": "running"}
