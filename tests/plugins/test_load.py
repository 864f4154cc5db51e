"""A plugin comes: every form and style of it, and all of it at once."""

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import attrs
import pytest

from horae import Host, PluginLoadFailed, TypeTaken, UnknownEventType
from horae_hookspecs import PluginInfo, PluginState, ScheduledEventRegistryWrapper, hookimpl
from kit.hosts import answer_of, plugin_of, types_of
from kit.sites import Site, answering, plugin

JOBS = plugin(
    """
    @events.register("acme.add", version=3)
    @attrs.frozen
    class Add(ScheduledEventJob):
        first: int
        second: int = 1

        def run(self, context):
            return self.first + self.second

    @events.register("acme.greet")
    def greet(context, name: str, polite: bool = True):
        return f"Good morning, {name}." if polite else name

    @events.register("acme.later")
    async def later(context):
        return "awaited"
    """
)
SEEDS = """\
from horae_hookspecs import ScheduledEventRegistryWrapper
events = ScheduledEventRegistryWrapper()

@events.register("acme.ask")
def ask(context):
    return "seeds"

def load():
    events.load()

def unload():
    events.unload()
"""


def test_a_loaded_plugin_runs_classes_functions_and_coroutines(host: Host, site: Site) -> None:
    """Each form of a job runs with its arguments; the plugin is shown with its types."""
    site.install(JOBS, version="1.2")
    info = host.load_plugin("acme")
    assert info == plugin_of(host)
    assert (info.state, info.distribution, info.version) == ("active", "acme-plugin", "1.2")
    assert info.event_types == ("acme.add", "acme.greet", "acme.later")
    assert answer_of(host, "acme.add", first=2, second=3) == 5
    assert answer_of(host, "acme.greet", name="Eos") == "Good morning, Eos."
    assert answer_of(host, "acme.later") == "awaited"


def test_the_catalogue_says_who_provides_a_type(host: Host, site: Site) -> None:
    """Plugin, distribution, version and schema version are on record once a type is published."""
    site.install(JOBS, version="1.2")
    host.load_plugin("acme")
    types = {info.event_type: info for info in host.event_types()}
    add = types["acme.add"]
    assert (add.plugin, add.distribution, add.version) == ("acme", "acme-plugin", "1.2")
    assert (add.schema_version, add.loaded, add.withdrawn) == (3, True, None)


def test_all_types_are_published_at_once(host: Host, site: Site) -> None:
    """Whoever looks while plugins come and go sees all types of one, or none."""
    registrations = "".join(
        f"@events.register('acme.t{number}')\ndef job{number}(context): pass\n"
        for number in range(40)
    )
    site.install(plugin(registrations))
    seen, stop = set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add(sum(name.startswith("acme.") for name in host.registry.snapshot.types))

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(5):
        host.load_plugin("acme")
        host.unload_plugin("acme")
    stop.set()
    watcher.join()
    assert seen == {0, 40}


def test_loading_an_active_plugin_gives_it_as_it_is(host: Host, site: Site) -> None:
    """A second load changes nothing, not even when the disk has a new version."""
    site.install(answering(1))
    first = host.load_plugin("acme")
    site.install(answering(2), version="2.0")
    assert host.load_plugin("acme") == first
    assert answer_of(host) == 1


def test_each_load_is_a_generation(host: Host, site: Site) -> None:
    """The generation grows with every load, and each run records the one whose code ran."""
    site.install(answering(1))
    for expected in (1, 2, 3):
        assert host.load_plugin("acme").generation == expected
        event = host.schedule("acme.ask")
        run = host.wait(event.id, timeout=20)
        assert run is not None
        assert (run.plugin, run.version, run.generation) == ("acme", "1.0", expected)
        host.unload_plugin("acme")


def test_an_entry_point_may_name_an_object_in_a_module(host: Host, site: Site) -> None:
    """``module:attribute.attribute`` gives the plugin object."""
    source = """
    @events.register("acme.ask")
    def ask(context):
        return "object"

    class Plugins:
        class inner:
            @staticmethod
            @hookimpl
            def horae_event_types():
                return events
    """
    text = plugin(source).replace("@hookimpl\ndef horae_event_types():\n    return events\n", "")
    site.install(text, value="acme_plugin:Plugins.inner")
    host.load_plugin("acme")
    assert answer_of(host) == "object"


# The seeds' style


@pytest.mark.parametrize("unload", ["events.unload()", "pass", "raise RuntimeError('sulking')"])
def test_a_plugin_in_the_seeds_style_loads_and_is_withdrawn(
    host: Host, site: Site, unload: str
) -> None:
    """Module-level ``load`` and ``unload`` do; the host withdraws whatever ``unload`` does."""
    site.install(SEEDS.replace("events.unload()", unload))
    host.load_plugin("acme")
    assert answer_of(host) == "seeds"
    report = host.unload_plugin("acme")
    assert ("sulking" in "".join(report.errors)) == ("sulking" in unload)
    assert report.collected
    assert plugin_of(host).state is PluginState.COLLECTED
    assert not any(info.loaded for info in types_of(host))
    host.load_plugin("acme")
    assert answer_of(host) == "seeds"


def test_the_class_form_of_the_seeds_collects_by_itself(host: Host, site: Site) -> None:
    """``@ScheduledEventManager.register`` needs no wrapper, hook or ``load``, in any module."""
    head = "from horae_hookspecs import ScheduledEventJob, ScheduledEventManager\n"
    job = (
        "@ScheduledEventManager.register('acme.{0}')\nclass Job(ScheduledEventJob):\n"
        "    def run(self, context):\n        return '{0}'\n"
    )
    site.install(
        {
            "acme_plugin/__init__.py": f"{head}import acme_plugin.more\n{job.format('ask')}",
            "acme_plugin/more.py": head + job.format("more"),
        }
    )
    assert host.load_plugin("acme").event_types == ("acme.ask", "acme.more")
    assert answer_of(host) == "ask"
    assert answer_of(host, "acme.more") == "more"
    assert host.unload_plugin("acme").collected


# An application's own plugins


def own_plugin() -> tuple[ScheduledEventRegistryWrapper, Any]:
    """A wrapper with one type, and the hook that gives it."""
    events = ScheduledEventRegistryWrapper()
    events.register("own.ask")(lambda context: "own")
    return events, hookimpl(specname="horae_event_types")(lambda: events)


def test_a_module_already_imported_loads_under_its_name(host: Host) -> None:
    """A module object is a plugin; unloading it leaves the module in place."""
    module = ModuleType("own_module")
    _, vars(module)["give"] = own_plugin()
    sys.modules["own_module"] = module
    try:
        assert host.load_plugin(module).name == "own_module"
        assert answer_of(host, "own.ask") == "own"
        assert host.load_plugin(module).generation == 1
        host.unload_plugin("own_module")
        assert sys.modules["own_module"] is module
        assert host.load_plugin(module).generation == 2
    finally:
        del sys.modules["own_module"]


@attrs.define
class Own:
    """A plugin object that compares by value and has no hash."""

    events: ScheduledEventRegistryWrapper = attrs.field(factory=lambda: own_plugin()[0])

    @hookimpl
    def horae_event_types(self) -> ScheduledEventRegistryWrapper:
        return self.events

    @hookimpl
    def horae_plugin_changed(self, plugin: PluginInfo) -> None:
        CHANGES.append(plugin.name)

    @property
    def moody(self) -> object:
        raise AssertionError("a property is nobody's business")


CHANGES: list[str] = []


def test_an_object_is_a_plugin_named_after_its_class(host: Host) -> None:
    """Its bound hooks are called, and no property of it is."""
    assert host.load_plugin(Own()).name == "Own"
    assert answer_of(host, "own.ask") == "own"
    assert "Own" in CHANGES
    assert host.unload_plugin("Own").plugin == "Own"
    with pytest.raises(UnknownEventType):
        host.schedule("own.aks")


def test_one_module_cannot_be_two_plugins(host: Host, site: Site) -> None:
    """Two entry points for one module: the second is refused, the first goes on."""
    site.install(answering(1))
    site.install({}, plugin="twin", value="acme_plugin")
    host.load_plugin("acme")
    with pytest.raises(PluginLoadFailed, match="loaded already, under another name"):
        host.load_plugin("twin")
    assert answer_of(host) == 1


# Names that are taken


def test_a_taken_type_is_refused_with_both_owners_named(host: Host, site: Site) -> None:
    """The second plugin loads in no part; the first works on, in memory and in the catalogue."""
    site.install(answering("first"))
    both = "@events.register('{0}')\ndef job{1}(context): pass\n"
    site.install(plugin(both.format("acme.ask", 1) + both.format("other.ask", 2)), plugin="other")
    host.load_plugin("acme")
    with pytest.raises(TypeTaken, match=r"'acme\.ask' belongs to plugin 'acme', and 'other'"):
        host.load_plugin("other")
    assert answer_of(host) == "first"
    assert {info.event_type: info.plugin for info in types_of(host)} == {"acme.ask": "acme"}
    with pytest.raises(UnknownEventType):
        host.schedule("other.ask")
    host.unload_plugin("acme")
    assert host.load_plugin("other").event_types == ("acme.ask", "other.ask")


def test_an_application_type_and_a_plugin_cannot_share_a_name(host: Host, site: Site) -> None:
    """Whoever comes second is refused, application or plugin."""
    site.install(answering(1))
    host.register("acme.ask")(lambda context: "application")
    with pytest.raises(TypeTaken, match="application"):
        host.load_plugin("acme")
    assert answer_of(host) == "application"
    site.install(answering(1, "other.ask"), plugin="other")
    host.load_plugin("other")
    with pytest.raises(TypeTaken, match="other"):
        host.register("other.ask")(lambda context: "application")
    assert answer_of(host, "other.ask") == 1


def test_settings_reach_the_plugin_they_name(host_on: Any, site: Site, journal: Any) -> None:
    """``Settings(plugins=...)`` is given to ``horae_activate`` by plugin name."""
    site.install(
        plugin(
            """
            import journal

            @hookimpl
            def horae_activate(context):
                journal.lines.append(f"{context.plugin} {dict(context.settings)}")
            """
        )
    )
    host_on(plugins={"acme": {"token": "t"}, "other": {}}).start().load_plugin("acme")
    assert journal.lines == ["acme {'token': 't'}"]


def test_a_namespace_object_without_hooks_has_nothing_to_offer(host: Host) -> None:
    """An object that contributes nothing is loaded, and shown without types."""
    info = host.load_plugin(SimpleNamespace(__name__="empty"))
    assert (info.name, info.event_types, info.state) == ("empty", (), "active")
