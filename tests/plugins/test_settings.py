"""A plugin's settings are read into its class when it is loaded, or it is not loaded."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from horae import Host, PluginLoadFailed
from horae_hookspecs import PluginState
from kit.hosts import answer_of, plugin_of
from kit.sites import Site, plugin

CONFIGURED = plugin("""
    from datetime import date, timedelta

    @attrs.frozen
    class Server:
        port: int = attrs.field(validator=attrs.validators.ge(1))

    @attrs.frozen
    class Settings:
        '''How to reach it.'''
        server: Server
        since: date | None = None
        timeout: timedelta = timedelta(seconds=5)

    found = []

    @events.register("acme.ask")
    def ask(context):
        return str(found[-1])

    @hookimpl
    def horae_settings():
        return Settings

    @hookimpl
    def horae_activate(context):
        found.append(context.settings)
""")

Hosts = Callable[..., Host]


def host_with(host_on: Hosts, settings: Any) -> Host:
    """A started host with these settings for the plugin."""
    return host_on(name="test", plugins={"acme": settings}).start()


def test_the_settings_are_an_instance_of_the_class(host_on: Hosts, site: Site) -> None:
    """Nested, with defaults; a date may be one already, as in a TOML file."""
    site.install(CONFIGURED)
    host = host_with(host_on, {"server": {"port": 80}, "since": date(2026, 1, 2)})
    host.load_plugin("acme")
    assert answer_of(host) == (
        "Settings(server=Server(port=80), since=datetime.date(2026, 1, 2), "
        "timeout=datetime.timedelta(seconds=5))"
    )
    report = host.unload_plugin("acme")
    assert report.collected, report


def test_each_setting_that_does_not_fit_is_told_with_its_path(host_on: Hosts, site: Site) -> None:
    """All at once, and the plugin is not loaded."""
    site.install(CONFIGURED)
    host = host_with(host_on, {"server": {"port": "80"}, "timeout": "5", "colour": 1})
    with pytest.raises(PluginLoadFailed) as failed:
        host.load_plugin("acme")
    assert failed.value.phase == "settings"
    text = str(failed.value)
    assert "expected int, got str '80' @ $.server.port" in text
    assert "@ $.timeout" in text
    assert "colour" in text
    assert plugin_of(host).state is PluginState.FAILED
    assert site.modules() == set()


def test_a_setting_that_must_be_there_is_missed(host: Host, site: Site) -> None:
    """A host without any settings for the plugin says which."""
    site.install(CONFIGURED)
    with pytest.raises(PluginLoadFailed, match=r"required field missing @ \$\.server"):
        host.load_plugin("acme")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def horae_settings():\n        return dict", "return a class made by attrs"),
        ("def horae_settings():\n        return 5", "return a class made by attrs"),
        ("def horae_settings():\n        return Odd", "Odd cannot be read from JSON"),
        ("def horae_settings():\n        raise KeyError('x')", "KeyError"),
    ],
)
def test_a_class_of_no_use_is_refused(host: Host, site: Site, source: str, told: str) -> None:
    """In the phase of the settings."""
    odd = "@attrs.frozen\n    class Odd:\n        value: complex = 0j"
    site.install(plugin(f"\n    {odd}\n\n    @hookimpl\n    {source}"))
    with pytest.raises(PluginLoadFailed, match=told) as failed:
        host.load_plugin("acme")
    assert failed.value.phase == "settings"


def test_settings_that_are_no_json_are_refused(host_on: Hosts, site: Site) -> None:
    """A program can give anything."""
    site.install(CONFIGURED)
    host = host_with(host_on, {"server": {"port": {1, 2}}})
    with pytest.raises(PluginLoadFailed, match="are no JSON"):
        host.load_plugin("acme")


def test_the_schema_of_the_settings_is_on_record(host_on: Hosts, site: Site) -> None:
    """For whoever wants to know what may be set, without the plugin's code."""
    site.install(CONFIGURED)
    host = host_with(host_on, {"server": {"port": 80}})
    host.load_plugin("acme")
    (row,) = host.store.plugin_rows()
    assert row.settings_schema is not None
    assert row.settings_schema["required"] == ["server"]
    assert row.settings_schema["description"] == "How to reach it."
