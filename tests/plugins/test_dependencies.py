"""Plugins that need each other come in order, and go the other way round."""

import sys

import pytest

from horae import Host, PluginLoadFailed, PluginNeeded
from horae_hookspecs import PluginState
from kit.hosts import added, answer_of, plugin_of
from kit.sites import Site, plugin

TOP = """
import base_plugin

@events.register("top.ask")
def ask(context):
    return base_plugin.VALUE
"""


def install_three(site: Site, value: int = 1) -> None:
    """``top`` needs ``middle``, which needs ``base``, and ``extra`` only for an extra."""
    site.install(plugin(), plugin="extra")
    site.install(plugin(f"VALUE = {value}"), plugin="base", version=f"{value}.0")
    site.install(plugin(), plugin="middle", requires=["Base_Plugin>=1"])
    site.install(
        plugin(TOP), plugin="top", requires=["middle-plugin", "extra-plugin; extra == 'x'"]
    )


def active(host: Host) -> list[str]:
    """The active plugins from the site, by name."""
    return sorted(added(i for i in host.plugins() if i.state is PluginState.ACTIVE))


def test_what_a_plugin_needs_is_loaded_first(host: Host, site: Site) -> None:
    """Through others too, whatever case and dashes its metadata have."""
    install_three(site)
    host.load_plugin("top")
    assert active(host) == ["base", "middle", "top"]
    assert answer_of(host, "top.ask") == 1


def test_a_plugin_whose_need_fails_is_not_loaded(host: Host, site: Site) -> None:
    """The refusal says whose fault it is."""
    install_three(site)
    site.install("raise ValueError('no base')", plugin="base")
    with pytest.raises(PluginLoadFailed, match=r"needs plugin 'base'.*no base"):
        host.load_plugin("top")
    assert active(host) == []
    assert site.modules() == set()


def test_a_circle_of_needs_is_refused_with_its_members(host: Host, site: Site) -> None:
    """None of them can be the first."""
    site.install(plugin(), plugin="hen", requires=["egg-plugin"])
    site.install(plugin(), plugin="egg", requires=["hen-plugin"])
    with pytest.raises(PluginLoadFailed, match=r"circle.*(hen needs egg|egg needs hen)"):
        host.load_plugin("hen")
    assert active(host) == []


def test_two_plugins_of_one_distribution_need_nothing_of_each_other(host: Host, site: Site) -> None:
    """A distribution that names itself, for an extra, is no circle."""
    site.install(plugin(), plugin="self", requires=["self-plugin"])
    assert host.load_plugin("self").state is PluginState.ACTIVE


def test_a_plugin_that_is_needed_is_not_unloaded(host: Host, site: Site) -> None:
    """Its dependents are named, in the order of their coming, and nothing has changed."""
    install_three(site)
    host.load_plugin("top")
    with pytest.raises(PluginNeeded, match=r"middle, top.*--include-dependents") as refused:
        host.unload_plugin("base")
    assert refused.value.dependents == ("middle", "top")
    assert answer_of(host, "top.ask") == 1


def test_dependents_are_unloaded_before_it_when_they_are_included(host: Host, site: Site) -> None:
    """The latest first, each with its verdict; all of them stay out over a restart."""
    install_three(site)
    host.load_plugin("top")
    report = host.unload_plugin("base", include_dependents=True)
    assert [one.plugin for one in report.dependents] == ["top", "middle"]
    assert all(one.collected for one in (*report.dependents, report)), report
    assert site.modules() == set()
    host.stop()
    host.start()
    assert active(host) == []


def test_dependents_come_back_after_an_upgrade_with_the_new_code(host: Host, site: Site) -> None:
    """P22: what they had imported of the old version would be stale."""
    install_three(site)
    host.load_plugin("top")
    install_three(site, value=2)
    with pytest.raises(PluginNeeded):
        host.upgrade_plugin("base")
    assert answer_of(host, "top.ask") == 1
    host.upgrade_plugin("base", include_dependents=True)
    assert active(host) == ["base", "middle", "top"]
    assert answer_of(host, "top.ask") == 2
    assert sys.modules["base_plugin"].VALUE == 2


def test_dependents_come_back_after_an_upgrade_that_failed(host: Host, site: Site) -> None:
    """On the old code, which goes on."""
    install_three(site)
    host.load_plugin("top")
    site.install("raise ValueError", plugin="base", version="2.0")
    with pytest.raises(PluginLoadFailed):
        host.upgrade_plugin("base", include_dependents=True)
    assert plugin_of(host, "base").version == "1.0"
    assert active(host) == ["base", "middle", "top"]
    assert answer_of(host, "top.ask") == 1


def test_a_restart_loads_what_was_loaded_for_another(host: Host, site: Site) -> None:
    """A plugin that was unwanted is wanted again once something that needs it is loaded."""
    install_three(site)
    host.load_plugin("base")
    host.unload_plugin("base")
    host.load_plugin("top")
    rows = {row.plugin: (row.desired, row.state) for row in host.store.plugin_rows()}
    assert rows["base"] == rows["middle"] == rows["top"] == ("loaded", "active")
    host.stop()
    host.start()
    assert active(host) == ["base", "middle", "top"]
