"""What a host shall have outlives it: the store knows, and the next start restores it."""

from collections.abc import Callable

import pytest

from horae import Host, HostNotRunning
from horae_hookspecs import PluginState
from kit.hosts import added, answer_of, plugin_of
from kit.sites import Site, answering, plugin

Hosts = Callable[..., Host]


def test_a_restart_loads_what_was_loaded_and_nothing_else(host_on: Hosts, site: Site) -> None:
    """Loaded plugins come back by themselves; unloaded ones and others stay out."""
    for name in ("one", "two", "three"):
        site.install(answering(name, f"{name}.ask"), plugin=name)
    with host_on(name="test") as host:
        host.load_plugin("one")
        host.load_plugin("two")
        host.unload_plugin("two")
    with host_on(name="test") as host:
        assert added(host.plugins()) == {"one"}
        assert answer_of(host, "one.ask") == "one"


def test_another_host_has_a_set_of_its_own(host_on: Hosts, site: Site) -> None:
    """The desired plugins belong to the host's name."""
    site.install(answering(1))
    with host_on(name="test") as host:
        host.load_plugin("acme")
    with host_on(name="other") as host:
        assert added(host.plugins()) == set()


def test_a_plugin_that_fails_at_the_start_is_shown_and_not_fatal(
    host_on: Hosts, site: Site
) -> None:
    """The others load, the failure stands beside its plugin, and it stays wanted."""
    for name in ("one", "two", "zwei"):
        site.install(answering(name, f"{name}.ask"), plugin=name)
    with host_on(name="test") as host:
        for name in ("one", "two", "zwei"):
            host.load_plugin(name)
    site.install("raise SystemExit('broken since')", plugin="one")
    site.uninstall("two")
    with host_on(name="test") as host:
        assert plugin_of(host, "one").state is PluginState.FAILED
        assert "broken since" in str(plugin_of(host, "one").reason)
        assert answer_of(host, "zwei.ask") == "zwei"
    client = {info.name: info for info in host_on(name="client").plugins()}
    assert "broken since" in str(client["one"].reason)
    assert "No installed distribution provides a plugin 'two'" in str(client["two"].reason)
    site.install(answering("one", "one.ask"), plugin="one")
    with host_on(name="test") as host:
        assert answer_of(host, "one.ask") == "one"


def test_autoload_adds_all_that_is_installed_but_not_what_was_unloaded(
    host_on: Hosts, site: Site
) -> None:
    """``autoload=True`` loads every discovered plugin, once one was unloaded all but that."""
    site.install(answering(1))
    site.install("raise LookupError('no luck')", plugin="broken")
    with host_on(name="test", autoload=True) as host:
        assert plugin_of(host).state is PluginState.ACTIVE
        assert plugin_of(host, "broken").state is PluginState.FAILED
        host.unload_plugin("acme")
    with host_on(name="test", autoload=True) as host:
        assert "acme" not in {info.name for info in host.plugins()}


def test_an_applications_own_plugin_is_not_restored(host_on: Hosts, site: Site) -> None:
    """Nobody but the application has the object, so the next start does not miss it."""

    class Own:
        pass

    with host_on(name="test") as host:
        host.load_plugin(Own())
    with host_on(name="test") as host:
        assert added(host.plugins()) == set()


# Commands


def test_a_command_reaches_every_running_host(host_on: Hosts, site: Site) -> None:
    """Each host carries it out and answers for itself, with the report of an unload."""
    site.install(answering(1))
    names = {"a", "b"}
    for name in names:
        host_on(name=name).start()
    client = host_on(name="client")
    loaded = list(client.command_plugin("load", "acme"))
    assert {row.host for row in loaded} == names
    assert all(row.ok and row.state is PluginState.ACTIVE for row in loaded)
    assert answer_of(client) == 1
    unloaded = list(client.command_plugin("unload", "acme", drain=5))
    assert {row.host for row in unloaded} == names
    assert all(row.ok and row.report and row.report["plugin"] == "acme" for row in unloaded)


@pytest.mark.parametrize(
    ("source", "text"),
    [("raise LookupError('no luck')", "no luck"), (None, "No installed distribution")],
    ids=["broken", "not installed"],
)
def test_a_command_that_fails_is_answered_with_the_reason(
    host: Host, host_on: Hosts, site: Site, source: str | None, text: str
) -> None:
    """The answer says why, and the host goes on."""
    if source:
        site.install(source)
    (row,) = host_on(name="client").command_plugin("load", "acme")
    assert (row.ok, row.state) == (False, PluginState.FAILED)
    assert text in str(row.reason)
    assert host.running


def test_a_commanded_upgrade_runs_the_new_version_or_says_why_not(
    host: Host, host_on: Hosts, site: Site
) -> None:
    """A failing one is answered as not done, with the old version active."""
    site.install(answering(1))
    host.load_plugin("acme")
    client = host_on(name="client")
    site.install("raise LookupError('no luck')", version="2.0")
    (row,) = client.command_plugin("upgrade", "acme", drain=5)
    assert (row.ok, row.state, row.version) == (False, PluginState.ACTIVE, "1.0")
    assert "no luck" in str(row.reason)
    site.install(answering(3), version="3.0")
    (row,) = client.command_plugin("upgrade", "acme", drain=5)
    assert (row.ok, row.reason, row.version) == (True, None, "3.0")
    assert answer_of(host) == 3


@pytest.mark.parametrize("action", ["load", "upgrade"])
def test_a_request_to_no_host_is_kept_for_the_next_start(
    host_on: Hosts, site: Site, action: str
) -> None:
    """HostNotRunning says so; the host of that name carries it out when it starts."""
    site.install(answering(1))
    with pytest.raises(HostNotRunning, match="The request is kept"):
        next(host_on(name="test").command_plugin(action, "acme"))  # type: ignore[arg-type]
    with host_on(name="test") as host:
        assert answer_of(host) == 1


def test_an_unload_asked_of_no_host_keeps_the_plugin_out(host_on: Hosts, site: Site) -> None:
    """At the next start the plugin is unloaded, which is what was wanted, and no failure."""
    site.install(answering(1))
    with host_on(name="test") as host:
        host.load_plugin("acme")
    client = host_on(name="test")
    with pytest.raises(HostNotRunning):
        next(client.command_plugin("unload", "acme"))
    with host_on(name="test") as host:
        host.run_until_idle(20)
        assert "acme" not in {info.name for info in host.plugins()}
    (row,) = [row for row in client.store.plugin_rows("test") if row.plugin == "acme"]
    assert (row.done, row.ok, row.state) == (row.requested, True, PluginState.UNLOADED)


def test_a_load_inside_a_load_is_carried_out(host: Host, site: Site) -> None:
    """A plugin may bring others with it: structural changes of one thread nest."""
    site.install(answering("inner", "inner.ask"), plugin="inner")
    site.install(
        plugin("@hookimpl\ndef horae_activate(context):\n    context.host.load_plugin('inner')\n")
    )
    host.load_plugin("acme")
    assert answer_of(host, "inner.ask") == "inner"
