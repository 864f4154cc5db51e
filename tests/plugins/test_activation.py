"""What a plugin opens through its ActivationContext is closed for it, whatever happens."""

from typing import Any

import pytest

from horae import Host, PluginLoadFailed
from horae_hookspecs import PluginState
from kit.hosts import answer_of, plugin_of
from kit.sites import Site, plugin

OPENING = """
    import contextlib, journal

    @events.register("acme.ask")
    def ask(context):
        return OPEN

    OPEN = None

    @contextlib.contextmanager
    def service(name):
        journal.lines.append(f"open {name}")
        yield name
        journal.lines.append(f"close {name}")

    @hookimpl
    def horae_activate(context):
        global OPEN
        OPEN = context.enter(service("one"))
        context.undo(lambda: journal.lines.append("undo two"))
        context.enter(service("three"))
        LAST_WORDS

    @hookimpl
    def horae_deactivate(context):
        journal.lines.append("deactivate")
        PARTING
"""
BACKWARDS = ["close three", "undo two", "close one"]


def install(site: Site, last_words: str = "", parting: str = "") -> None:
    """The opening plugin, with a last line of its own in either hook."""
    source = OPENING.replace("LAST_WORDS", last_words).replace("PARTING", parting)
    site.install(plugin(source))


def test_everything_is_undone_in_reverse_at_unload(host: Host, site: Site, journal: Any) -> None:
    """First the plugin's own ``horae_deactivate``, then what it entered, last in first out."""
    install(site)
    host.load_plugin("acme")
    assert journal.lines == ["open one", "open three"]
    assert answer_of(host) == "one"
    journal.lines.clear()
    report = host.unload_plugin("acme")
    assert journal.lines == ["deactivate", *BACKWARDS]
    assert (report.errors, report.collected) == ((), True)


def test_everything_is_undone_when_the_load_fails(host: Host, site: Site, journal: Any) -> None:
    """A plugin that raises after it has opened two services leaves none open."""
    install(site, last_words="raise OSError('port taken')")
    with pytest.raises(PluginLoadFailed, match="port taken"):
        host.load_plugin("acme")
    assert journal.lines[-3:] == BACKWARDS


def test_everything_is_undone_when_the_types_turn_out_to_be_taken(
    host: Host, site: Site, journal: Any
) -> None:
    """Publishing comes after the activation, and its failure takes the activation back."""
    install(site)
    host.register("acme.ask")(lambda context: "application")
    with pytest.raises(PluginLoadFailed):
        host.load_plugin("acme")
    assert journal.lines[-3:] == BACKWARDS


def test_a_raising_deactivate_is_reported_and_the_unload_goes_on(
    host: Host, site: Site, journal: Any
) -> None:
    """Its error is in the report and beside the plugin; the rest is undone, the code is gone."""
    install(site, parting="raise OSError('no parting')")
    host.load_plugin("acme")
    report = host.unload_plugin("acme")
    assert "no parting" in report.errors[0]
    assert "no parting" in str(plugin_of(host).reason)
    assert plugin_of(host).state is PluginState.COLLECTED
    assert journal.lines[-3:] == BACKWARDS
    assert report.collected
    assert site.modules() == set()


@pytest.mark.parametrize("error", ["OSError('stuck')", "SystemExit('stuck')"])
def test_an_undo_that_raises_does_not_stop_the_others(
    host: Host, site: Site, journal: Any, error: str
) -> None:
    """What fails is reported under its name; everything else is undone."""
    install(site, last_words=f"context.undo(lambda: (_ for _ in ()).throw({error}))")
    host.load_plugin("acme")
    report = host.unload_plugin("acme")
    assert "stuck" in report.errors[0]
    assert "horae_activate.<locals>.<lambda>" in report.errors[0]
    assert journal.lines[-3:] == BACKWARDS
    assert report.collected


def test_a_plugin_sees_the_host_through_its_context(host: Host, site: Site, journal: Any) -> None:
    """It can schedule while it is activated; the event runs once its types are published."""
    install(site, last_words="journal.kept.append(context.host.schedule('good.ask').id)")
    host.register("good.ask")(lambda context: "good")
    host.load_plugin("acme")
    run = host.wait(journal.kept[0], timeout=20)
    assert run is not None
    assert run.result == "good"


def test_stopping_the_host_for_good_undoes_its_plugins(
    host: Host, site: Site, journal: Any
) -> None:
    """``close`` deactivates what is loaded."""
    install(site)
    host.load_plugin("acme")
    host.close()
    assert journal.lines[-3:] == BACKWARDS
