"""A new version replaces a running one, or everything stays as it was."""

import sys
import threading
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, PluginBusy, PluginError, PluginLoadFailed, PluginNotFound
from horae_hookspecs import Outcome, PluginState
from kit.hosts import answer_of, plugin_of, types_of
from kit.sites import Site, answering, plugin

ANSWERING = """
    from acme_plugin.answer import answer

    @events.register("acme.ask")
    def ask(context):
        from acme_plugin import late
        return [answer(), late.VALUE]
"""


def install(site: Site, version: int, addition: str = "", **modules: str) -> None:
    """A plugin in three modules, one of them imported late, that answers with its version.

    The package has the function ``answer`` under the name of the module that it came from.
    """
    parts = {
        "__init__": plugin(f"{ANSWERING}\n    {addition}"),
        "answer": f"def answer():\n    return {version}\n",
        "late": f"VALUE = {version}\n",
    }
    files = {f"acme_plugin/{name}.py": text for name, text in (parts | modules).items()}
    site.install(files, version=f"{version}.0")


def test_the_new_code_runs_with_all_its_modules(host: Host, site: Site) -> None:
    """Submodules too, imported early or late; a module that only the old version had is gone."""
    install(site, 1, "import acme_plugin.old", old="")
    host.load_plugin("acme")
    assert answer_of(host) == [1, 1]
    install(site, 2)
    info = host.upgrade_plugin("acme")
    assert (info.version, info.generation, info.state) == ("2.0", 2, PluginState.ACTIVE)
    assert info == plugin_of(host)
    assert site.modules() == {"acme_plugin", "acme_plugin.answer"}
    assert answer_of(host) == [2, 2]
    assert site.modules() == {"acme_plugin", "acme_plugin.answer", "acme_plugin.late"}
    assert host.unload_plugin("acme").collected
    assert site.modules() == set()


def test_an_upgraded_plugin_that_leaks_is_found_out(host: Host, site: Site, journal: Any) -> None:
    """The verdict at unload is about the code that is loaded, not about the version before it."""
    install(site, 1)
    host.load_plugin("acme")
    install(site, 2, "import journal; journal.kept.append(ask)")
    host.upgrade_plugin("acme")
    report = host.unload_plugin("acme")
    assert not report.collected
    assert "module journal" in "".join(report.holders)


def test_upgrading_what_is_not_loaded_loads_it(host: Host, site: Site) -> None:
    """There is nothing to replace, so it is a load."""
    install(site, 1)
    assert host.upgrade_plugin("acme").generation == 1
    assert answer_of(host) == [1, 1]


def test_pending_events_of_the_old_schema_run_through_upgrade(host: Host, site: Site) -> None:
    """Arguments stored under version 1 reach the job of version 2 as its ``upgrade`` makes them."""
    site.install(
        plugin(
            """
            @events.register("acme.start")
            def start(context, machine: str):
                return machine
            """
        )
    )
    host.load_plugin("acme")
    event = host.schedule("acme.start", {"machine": "i-1"}, timedelta(hours=1))
    site.install(
        plugin(
            """
            @events.register("acme.start", version=2)
            @attrs.frozen
            class Start(ScheduledEventJob):
                resource_id: str
                dry_run: bool

                def run(self, context):
                    return [self.resource_id, self.dry_run]

                @classmethod
                def upgrade(cls, arguments, version):
                    return {"resource_id": arguments["machine"], "dry_run": version == 1}
            """
        ),
        version="2.0",
    )
    host.upgrade_plugin("acme")
    host.clock.advance(3600)  # type: ignore[attr-defined]
    run = host.wait(event.id, timeout=20)
    assert run is not None
    assert (run.result, run.version) == (["i-1", True], "2.0")
    assert answer_of(host, "acme.start", resource_id="i-2", dry_run=False) == ["i-2", False]


def test_a_type_that_the_new_version_lacks_waits(host: Host, site: Site, journal: Any) -> None:
    """It is recorded as withdrawn and told to the observers; its events are kept."""
    site.install(
        plugin("import journal\n@hookimpl\ndef horae_type_waiting(waiting):\n"
               "    journal.lines.append(waiting.event_type)\n"),
        plugin="watch",
    )  # fmt: skip
    host.load_plugin("watch")
    site.install(answering(1, "acme.old") + "events.register('acme.ask')(lambda context: 1)\n")
    host.load_plugin("acme")
    event = host.schedule("acme.old", schedule=timedelta(days=1))
    site.install(answering(2), version="2.0")
    host.upgrade_plugin("acme")
    types = {info.event_type: info for info in host.event_types()}
    assert types["acme.old"].withdrawn is not None
    assert types["acme.ask"].withdrawn is None
    assert types["acme.ask"].version == "2.0"
    assert journal.lines == ["acme.old"]
    assert host.events(event_type="acme.old", state="pending").items[0].id == event.id


FAILING = {
    "import error": "raise LookupError('version 2')",
    "missing module": "import acme_plugin.forgotten",
    "exit at import": "raise SystemExit('version 2')",
    "failure after new modules": "import acme_plugin.new; raise LookupError('version 2')",
    "bad hook": "@hookimpl\n    def horae_run_started(event): pass",
    "taken type": "events.register('other.ask')(lambda context: 2)",
    "failing activate": "@hookimpl\n    def horae_activate(context): raise OSError('version 2')",
}


@pytest.mark.parametrize("case", FAILING)
def test_a_failing_upgrade_leaves_the_old_version_answering(
    host: Host, site: Site, case: str
) -> None:
    """Its very modules are back with their attributes; late imports find what was installed with
    them while it was loaded, and the reason is shown beside the active plugin.
    """
    site.install(answering("other", "other.ask"), plugin="other")
    host.load_plugin("other")
    install(site, 1, "import acme_plugin.late", old="")
    host.load_plugin("acme")
    names = site.modules()
    before = {name: sys.modules[name] for name in names}
    answer = sys.modules["acme_plugin"].answer
    waiting = host.schedule("acme.ask", schedule=timedelta(hours=1))

    install(site, 2, FAILING[case], new="")
    with pytest.raises(PluginLoadFailed):
        host.upgrade_plugin("acme")

    assert {name: sys.modules[name] for name in site.modules()} == before
    assert sys.modules["acme_plugin"].answer is answer
    info = plugin_of(host)
    assert (info.state, info.version, info.generation) == (PluginState.ACTIVE, "1.0", 1)
    assert str(info.reason).startswith("still 1.0, for Plugin 'acme' failed at ")
    assert answer_of(host) == [1, 1]
    assert answer_of(host, "other.ask") == "other"
    types = {info.event_type: (info.plugin, info.version) for info in types_of(host)}
    assert types == {"acme.ask": ("acme", "1.0"), "other.ask": ("other", "1.0")}
    host.clock.advance(3600)  # type: ignore[attr-defined]
    run = host.wait(waiting.id, timeout=20)
    assert run is not None
    assert run.outcome is Outcome.SUCCEEDED

    install(site, 3)
    assert host.upgrade_plugin("acme").reason is None
    assert answer_of(host) == [3, 3]


def test_an_interrupt_during_an_upgrade_leaves_the_old_version_answering(
    host: Host, site: Site
) -> None:
    """Ctrl-C is not swallowed, and takes nothing down."""
    install(site, 1)
    host.load_plugin("acme")
    install(site, 2, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        host.upgrade_plugin("acme")
    install(site, 1)
    assert answer_of(host) == [1, 1]
    assert plugin_of(host).state is PluginState.ACTIVE


def test_an_upgrade_to_nothing_is_refused(host: Host, site: Site) -> None:
    """When pip took the plugin out, it cannot be upgraded, and goes on."""
    site.install(answering(1))
    host.load_plugin("acme")
    site.uninstall()
    with pytest.raises(PluginNotFound):
        host.upgrade_plugin("acme")
    assert answer_of(host) == 1


def test_an_application_reloads_its_own_plugins_itself(host: Host) -> None:
    """There is nothing on disk that could replace a plugin object."""
    host.load_plugin(threading)
    with pytest.raises(PluginError, match="belongs to the application"):
        host.upgrade_plugin("threading")
    assert plugin_of(host, "threading").state is PluginState.ACTIVE


def test_a_busy_upgrade_is_refused_and_changes_nothing(
    host: Host, site: Site, journal: Any
) -> None:
    """The run under way ends as if nobody had asked; the next try succeeds."""
    holding = """
    import journal

    @events.register("acme.hold")
    def hold(context):
        journal.hold()
        return "undisturbed"
    """
    site.install(plugin(holding))
    host.load_plugin("acme")
    before, modules = plugin_of(host), {name: sys.modules[name] for name in site.modules()}
    event = host.schedule("acme.hold")
    journal.entered.acquire()
    site.install(answering(2), version="2.0")
    with pytest.raises(PluginBusy, match="nothing was changed"):
        host.upgrade_plugin("acme", drain=0.05)
    assert plugin_of(host) == before
    assert {name: sys.modules[name] for name in site.modules()} == modules
    journal.go.set()
    run = host.wait(event.id, timeout=20)
    assert run is not None
    assert (run.outcome, run.result) == (Outcome.SUCCEEDED, "undisturbed")
    host.upgrade_plugin("acme", drain=20)
    assert answer_of(host) == 2


def test_the_old_version_is_deactivated_after_the_new_one_took_over(
    host: Host, site: Site, journal: Any
) -> None:
    """Its parting error does not undo the upgrade, and what it entered is left."""
    closing = """
    import journal

    @hookimpl
    def horae_activate(context):
        context.undo(lambda: journal.lines.append("undone VERSION"))
        journal.lines.append("active VERSION")

    @hookimpl
    def horae_deactivate(context):
        raise OSError("no parting")
    """
    for version in "12":
        install(site, int(version), closing.strip("\n").strip().replace("VERSION", version))
        host.upgrade_plugin("acme")
    assert journal.lines == ["active 1", "active 2", "undone 1"]
    assert answer_of(host) == [2, 2]
