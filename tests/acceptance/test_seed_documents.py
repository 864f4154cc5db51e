"""The examples of the documents that horae was written after, run.

Of the documents' text only this is changed: the import lines; ``datetime.utcnow()``, which names no
instant, is ``datetime.now(UTC)``; the ``@`` before ``events.register`` and the comma behind
``event_type`` are there. ``...`` among the arguments of ``registry.action`` stands for more of them
and is left out; as the body of a job it stands for the work, and is kept but where the job is to do
some.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from horae import Host, SettableClock
from horae_builtin_plugins import bots
from horae_hookspecs import Outcome, Resource, ScheduledEvent, State, hookimpl
from kit.events import LONG, runs_of, stored
from kit.sites import Site

REGISTRATION = """
from horae_hookspecs import MultiResourceScheduledEventJob, ScheduledEventManager
@ScheduledEventManager.register('divvy.start_resource')
class StartResourceJob(MultiResourceScheduledEventJob):
    ...
"""

ACTION = """
from horae_hookspecs import ScheduledEventTracker

@registry.action(
    uid='divvy.action.start_resource_example',
    bulk_action=True,
    accepts_complement=True,
)
def start_resource_example(bot, settings, matches, non_matches):
    with ScheduledEventTracker() as context:
        for resource in matches:
            context.schedule_bot_event(
                bot=bot, resource=resource,
                description='Start a resource.',
                event_type='divvy.start_resource',
                schedule_data=schedule.Once(when=datetime.now(UTC) + timedelta(hours=12))
            )
"""
ACTION_PLUGIN = f"""
from datetime import UTC, datetime, timedelta
from horae_builtin_plugins import schedule
from horae_hookspecs import BotFactoryRegistryWrapper
registry = BotFactoryRegistryWrapper()
{ACTION}
def load():
    registry.load()
def unload():
    registry.unload()
"""

LOADING = """
from horae_hookspecs import MultiResourceScheduledEventJob, ScheduledEventRegistryWrapper

# Initialize the registry wrapper
events = ScheduledEventRegistryWrapper()

# Register a scheduled event job
@events.register('divvy.start_resource')
class StartResourceJob(MultiResourceScheduledEventJob):
    ...

# Handle plugin loading/unloading
def load():
    events.load()
def unload():
    events.unload()
"""

BODY = """
    def run_resource(self, context, resource):
        return f'started {resource}'
"""


def working(example: str) -> str:
    """The example with work in its job."""
    return example.replace("\n    ...\n", BODY)


@pytest.fixture
def host(site: Site, host_on: Callable[..., Host]) -> Host:
    """A started host, which sees what is installed."""
    return host_on().start()


def types(host: Host) -> dict[str, bool]:
    """The types of the documents, and whether they are loaded."""
    return {one.event_type: one.loaded for one in host.event_types()}


def listing() -> object:
    """A plugin that lists three machines, of which two are stopped."""
    states = {"i-1": "stopped", "i-2": "running", "i-3": "stopped"}

    def resources(kind: str) -> list[Resource]:
        return [Resource(name, {"state": state}) for name, state in states.items()]

    hook = hookimpl(specname="horae_bot_resources")(resources)
    return SimpleNamespace(__name__="machines", horae_bot_resources=hook)


@pytest.fixture
def event(host: Host, site: Site, clock: SettableClock) -> ScheduledEvent:
    """What came of a round of a bot with the documents' action."""
    site.install(working(REGISTRATION), plugin="jobs")
    site.install(ACTION_PLUGIN, plugin="action")
    for plugin in ("jobs", "action", listing()):
        host.load_plugin(plugin)
    action = "divvy.action.start_resource_example"
    bots.create(
        host, bots.Bot("night", "machine", [action], "every 24h", filter={"state": "stopped"})
    )
    clock.advance(timedelta(hours=24))
    host.run_until_idle(timeout=LONG)
    (event,) = host.events(event_type="divvy.start_resource")
    return event


@pytest.mark.parametrize("example", [REGISTRATION, LOADING])
def test_the_job_can_be_referred_to_by_its_identifier(host: Host, site: Site, example: str) -> None:
    """Registered by the decorator of the manager or by that of a wrapper."""
    site.install(example, plugin="jobs")
    assert host.load_plugin("jobs").event_types == ("divvy.start_resource",)
    assert types(host) == {"divvy.start_resource": True}
    event = host.schedule("divvy.start_resource", resource="i-1")
    run = host.wait(event.id, timeout=LONG)
    assert run is not None
    assert "run_resource" in str(run.error)  # the document leaves the work open


def test_the_action_spawns_events_for_its_matches(host: Host, event: ScheduledEvent) -> None:
    """In twelve hours, for the bot, as one event since the job is one for many resources."""
    assert event.resources == ("i-1", "i-3")
    assert (event.origin, event.description) == ("bot:night", "Start a resource.")
    assert event.due is not None
    in_twelve_hours = datetime.now(UTC) + timedelta(hours=12)
    assert abs(event.due - in_twelve_hours) < timedelta(minutes=5)
    assert event.schedule["kind"] == "once"


def test_the_spawned_event_does_the_work(
    host: Host, event: ScheduledEvent, clock: SettableClock
) -> None:
    """At its time, once for each resource."""
    assert event.due is not None
    bots.archive(host, "day")  # another bot's events are none of this one's
    clock.advance(event.due - clock.now())
    host.run_until_idle(timeout=LONG)
    (run,) = runs_of(host, event)
    assert run.outcome is Outcome.SUCCEEDED
    assert run.resources is not None
    assert {name: one["result"] for name, one in run.resources.items()} == {
        "i-1": "started i-1",
        "i-3": "started i-3",
    }


def test_the_plugin_is_loaded_and_unloaded(host: Host, site: Site, clock: SettableClock) -> None:
    """Its ``unload()`` takes the type away; what is stored waits, and runs after ``load()``."""
    site.install(working(LOADING), plugin="jobs")
    host.load_plugin("jobs")
    event = host.schedule("divvy.start_resource", None, timedelta(hours=12), resource="i-1")
    host.unload_plugin("jobs")
    assert types(host) == {"divvy.start_resource": False}
    clock.advance(timedelta(hours=13))
    host.run_until_idle(timeout=LONG)
    assert stored(host, event).state is State.PENDING
    host.load_plugin("jobs")
    host.run_until_idle(timeout=LONG)
    assert [run.outcome for run in runs_of(host, event)] == [Outcome.SUCCEEDED]
