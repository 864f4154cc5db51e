"""Arguments where their type is not: checked by the stored schema; and types under other names."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from horae import (
    Host,
    InvalidArguments,
    PluginLoadFailed,
    SettableClock,
    TypeTaken,
    UnknownEventType,
)
from horae_hookspecs import Outcome, State
from kit.events import stored
from kit.hosts import answer_of, types_of
from kit.sites import Site, answering, plugin

HOUR = timedelta(hours=1)

MARK = plugin("""
    @events.register("acme.mark")
    @attrs.frozen
    class Mark(ScheduledEventJob):
        place: str
        level: int = attrs.field(default=0, validator=attrs.validators.ge(0))
        def run(self, context):
            return [self.place, self.level]
    """)

NAMES = """
    @events.register("acme.mark", version={version}, aliases={aliases})
    @attrs.frozen
    class Mark(ScheduledEventJob):
        places: list[str]
        def run(self, context):
            return [context.event_type, self.places]
        @classmethod
        def upgrade(cls, arguments, version):
            return {{"places": [arguments["place"]]}}
    """


def renamed(version: int = 2, aliases: tuple[str, ...] = ("old.mark",)) -> str:
    """The source of a plugin whose type was called otherwise, and had one place."""
    return plugin(NAMES.format(version=version, aliases=aliases))


# -- without the plugin


def test_a_schema_outlives_its_plugin(host: Host, site: Site) -> None:
    """The catalogue has it, whether or not the type is loaded."""
    site.install(MARK)
    host.load_plugin("acme")
    (loaded,) = types_of(host)
    host.unload_plugin("acme")
    (away,) = types_of(host)
    assert loaded.schema == away.schema
    assert loaded.schema is not None
    assert loaded.schema["properties"]["level"] == {"type": "integer", "minimum": 0, "default": 0}
    assert loaded.schema["required"] == ["place"]


def test_arguments_are_checked_without_the_plugin(host_on: Callable[..., Host], site: Site) -> None:
    """A client refuses what the class would refuse: every mistake at once, with its path."""
    site.install(MARK)
    host, client = host_on().start(), host_on(name="client")
    host.load_plugin("acme")
    with pytest.raises(InvalidArguments) as caught:
        client.schedule("acme.mark", {"level": -1, "colour": "red"})
    found = "\n".join(caught.value.errors)
    assert len(caught.value.errors) == 3
    for part in ("'place' is a required property @ $", "'colour' was unexpected", "@ $.level"):
        assert part in found
    with pytest.raises(InvalidArguments):
        client.schedule_many([{"event_type": "acme.mark", "arguments": {"place": 5}}])
    assert client.events().total == 0
    event = client.schedule("acme.mark", {"place": "quay"})
    run = host.wait(event.id, timeout=20)
    assert run is not None
    assert run.result == ["quay", 0]


def test_a_new_version_brings_its_schema(host: Host, site: Site) -> None:
    """What is checked is what the newest publication said."""
    site.install(MARK)
    host.load_plugin("acme")
    site.install(renamed(), version="2.0")
    host.upgrade_plugin("acme")
    host.unload_plugin("acme")
    with pytest.raises(InvalidArguments, match="'places' is a required property"):
        host.schedule("acme.mark", {"place": "quay"})
    assert host.schedule("acme.mark", {"places": []}).schema_version == 2


# -- versions


def test_an_event_of_a_newer_version_waits(host: Host, site: Site, clock: SettableClock) -> None:
    """It is neither run nor failed by the older code, ``waiting`` says why, and it runs when the
    newer code is back.
    """
    site.install(renamed(version=2), version="2.0")
    host.load_plugin("acme")
    event = host.schedule("acme.mark", {"places": ["quay"]}, HOUR)
    site.install(MARK, version="1.0")
    host.upgrade_plugin("acme")
    clock.advance(HOUR)
    host.run_until_idle(timeout=20)
    assert stored(host, event).state is State.PENDING
    assert host.runs(event_id=event.id).total == 0
    (waiting,) = host.waiting()
    assert waiting.reason == "stored with schema version 2, newer than the loaded 1"
    assert "horae plugin upgrade acme" in waiting.remedy
    site.install(renamed(version=2), version="2.0")
    host.upgrade_plugin("acme")
    run = host.wait(event.id, timeout=20)
    assert host.waiting() == []
    assert run is not None
    assert run.result == ["acme.mark", ["quay"]]


def test_an_older_event_runs_under_the_new_version(
    host: Host, site: Site, clock: SettableClock
) -> None:
    """Its arguments go through ``upgrade``, and stay stored as they are."""
    site.install(MARK)
    host.load_plugin("acme")
    event = host.schedule("acme.mark", {"place": "quay"}, HOUR)
    site.install(renamed(), version="2.0")
    host.upgrade_plugin("acme")
    clock.advance(HOUR)
    run = host.wait(event.id, timeout=20)
    assert run is not None
    assert run.result == ["acme.mark", ["quay"]]
    assert (stored(host, event).arguments, run.version) == ({"place": "quay"}, "2.0")


@pytest.mark.parametrize("name", ["acme.mark", "old.mark"])
def test_arguments_that_cannot_be_upgraded_are_kept_and_repaired(
    host: Host, site: Site, clock: SettableClock, name: str
) -> None:
    """The event is set aside with the reason, and nothing of it is lost; with arguments that fit,
    it runs under the new version, and under the type's new name.
    """
    source = f"@events.register('{name}')\ndef mark(context, quay: str): ..."
    site.install(plugin(source), plugin="old")
    host.load_plugin("old")
    event = host.schedule(name, {"quay": "east"}, HOUR)
    host.unload_plugin("old")
    site.install(renamed(), version="2.0")
    host.load_plugin("acme")
    clock.advance(HOUR)
    host.run_until_idle(timeout=20)
    broken = stored(host, event)
    assert (broken.state, broken.arguments) == (State.QUARANTINED, {"quay": "east"})
    assert broken.reason == (
        "its arguments do not fit schema version 2 of the type: KeyError: 'place'"
    )
    with pytest.raises(InvalidArguments):
        host.update(event.id, arguments={"place": "east"})
    assert stored(host, event) == broken
    assert host.update(event.id, arguments={"places": ["east"]})
    host.run_until_idle(timeout=20)
    repaired = stored(host, event)
    assert (repaired.event_type, repaired.schema_version) == ("acme.mark", 2)
    first, second = host.runs(event_id=event.id)
    assert (first.outcome, second.outcome) == (Outcome.FAILED, Outcome.SUCCEEDED)
    assert second.result == ["acme.mark", ["east"]]


def test_a_plugin_repairs_its_events_by_its_next_version(
    host: Host, site: Site, clock: SettableClock
) -> None:
    """An upgrade that knows better, and ``run_now`` for what was set aside."""
    site.install(plugin("@events.register('acme.mark')\ndef mark(context, quay: str): ..."))
    host.load_plugin("acme")
    event = host.schedule("acme.mark", {"quay": "east"}, HOUR)
    site.install(renamed(), version="2.0")
    host.upgrade_plugin("acme")
    clock.advance(HOUR)
    host.run_until_idle(timeout=20)
    assert stored(host, event).state is State.QUARANTINED
    site.install(renamed().replace('"place"', '"quay"'), version="2.1")
    host.upgrade_plugin("acme")
    host.run_now(event.id)
    host.run_until_idle(timeout=20)
    assert host.runs(event_id=event.id).items[-1].result == ["acme.mark", ["east"]]


# -- other names


def test_events_under_an_old_name_are_adopted(host: Host, site: Site, clock: SettableClock) -> None:
    """Stored by a plugin that is gone for good, they run under the new type, upgraded from their
    version, and do not wait for the old one.
    """
    site.install(
        plugin("@events.register('old.mark')\ndef mark(context, place: str): ..."), plugin="old"
    )
    host.load_plugin("old")
    event = host.schedule("old.mark", {"place": "quay"}, HOUR)
    host.unload_plugin("old")
    (waiting,) = host.waiting()
    site.install(renamed())
    info = host.load_plugin("acme")
    assert (waiting.event_type, info.event_types) == ("old.mark", ("acme.mark", "old.mark"))
    assert host.waiting() == []
    clock.advance(HOUR)
    run = host.wait(event.id, timeout=20)
    assert run is not None
    assert (run.outcome, run.result) == (Outcome.SUCCEEDED, ["old.mark", ["quay"]])


def test_an_old_name_is_scheduled_under_the_new_one(host: Host, site: Site) -> None:
    """So that nothing new is stored under it, and the new schema holds."""
    site.install(renamed())
    host.load_plugin("acme")
    event = host.schedule("old.mark", {"places": ["quay"]})
    assert event.event_type == stored(host, event).event_type == "acme.mark"
    with pytest.raises(InvalidArguments):
        host.schedule("old.mark", {"place": "quay"})
    assert answer_of(host, "old.mark", places=[]) == ["acme.mark", []]


def test_the_catalogue_has_old_names(host: Host, site: Site) -> None:
    """As provided by the plugin that adopts them; they wait and go with it."""
    site.install(renamed())
    host.load_plugin("acme")
    names = {one.event_type: (one.plugin, one.schema_version) for one in types_of(host)}
    assert names == {"acme.mark": ("acme", 2), "old.mark": ("acme", 2)}
    host.unload_plugin("acme")
    assert all(one.withdrawn for one in types_of(host))
    event = host.schedule("old.mark", {"places": []})
    assert event.event_type == "old.mark"  # what is not loaded cannot say what it is called now
    (waiting,) = host.waiting()
    assert (waiting.event_type, waiting.plugin) == ("old.mark", "acme")
    host.load_plugin("acme")
    assert host.wait(event.id, timeout=20) is not None


def test_an_old_name_is_free_once_it_is_dropped(host: Host, site: Site) -> None:
    """An upgrade without the alias withdraws the name, and its events wait again."""
    site.install(renamed())
    host.load_plugin("acme")
    site.install(renamed(aliases=()), version="3.0")
    host.upgrade_plugin("acme")
    event = host.schedule("old.mark", {"places": []})
    host.run_until_idle(timeout=20)
    assert stored(host, event).state is State.PENDING
    assert [one.event_type for one in host.waiting()] == ["old.mark"]


@pytest.mark.parametrize("aliases", [("other.ask",), ("other.alias",)])
def test_a_name_has_one_owner(host: Host, site: Site, aliases: tuple[str, ...]) -> None:
    """Another plugin's type, or another's alias, is not adopted; both owners are named."""
    other = plugin("""
        @events.register("other.ask", aliases=["other.alias"])
        def ask(context): ...
        """)
    site.install(other, plugin="other")
    host.load_plugin("other")
    site.install(renamed(aliases=aliases))
    with pytest.raises(TypeTaken, match="belongs to plugin 'other', and 'acme' wants it too"):
        host.load_plugin("acme")
    host.unload_plugin("other")
    host.load_plugin("acme")
    with pytest.raises(TypeTaken, match="belongs to plugin 'acme', and 'other' wants it too"):
        host.load_plugin("other")


def test_a_plugin_has_each_name_once(host: Host, site: Site) -> None:
    """An alias that is another type's name in the same plugin is refused at load."""
    body = NAMES.format(version=1, aliases=("acme.ask",))
    site.install(plugin(f"{body}\n    @events.register('acme.ask')\n    def ask(context): ..."))
    with pytest.raises(PluginLoadFailed, match=r"event type 'acme\.ask' is registered twice"):
        host.load_plugin("acme")


def test_an_application_adopts_names_too(host: Host, site: Site) -> None:
    """On the same terms, and what was refused leaves nothing behind."""
    site.install(answering("an answer"))
    host.load_plugin("acme")
    register = host.register("tide.mark", aliases=["acme.ask"])
    with pytest.raises(TypeTaken, match="belongs to plugin 'acme', and 'application' wants it too"):
        register(lambda context: None)
    host.register("tide.mark", aliases=["tide.old"])(lambda context: context.event_type)
    assert answer_of(host, "tide.old") == "tide.mark"
    with pytest.raises(UnknownEventType):
        host.schedule("tide.older")
