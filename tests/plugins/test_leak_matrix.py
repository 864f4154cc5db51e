"""The leak matrix: what keeps unloaded code alive and what does not, each with its verdict.

Every scenario is a plugin that does one thing at module level, is loaded and unloaded. All of them
share one host, and each leaves it and the process as they were.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from horae import Host, Settings
from horae_hookspecs import PluginState, UnloadReport
from kit.hosts import plugin_of, until
from kit.leak_scenarios import COLLECTED, KEEPER, LEAKING
from kit.sites import Site, plugin


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One place for all of the plugins."""
    folder: Path = tmp_path_factory.mktemp("matrix")
    site = Site(folder / "site")
    yield site
    site.close()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """One started host for all of the plugins."""
    with Host(Settings(url="memory://", name="matrix", workers=2, preflight=0)) as host:
        yield host


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Code that is not the plugin's, anew for each."""
    journal = ModuleType("journal")
    exec(KEEPER, vars(journal))
    monkeypatch.setitem(sys.modules, "journal", journal)
    yield journal
    journal.stop.set()
    journal.loop.close()


def life(host: Host, site: Site, source: str) -> UnloadReport:
    """Install, load and unload."""
    site.install(plugin(source))
    host.load_plugin("acme")
    return host.unload_plugin("acme")


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("scenario", COLLECTED)
def test_what_leaves_nothing_is_collected(host: Host, site: Site, scenario: str) -> None:
    """No false alarm."""
    report = life(host, site, COLLECTED[scenario])
    assert (report.collected, report.holders, report.errors) == (True, (), ()), report.leaks
    assert report.leaks is None, str(report.leaks)
    assert plugin_of(host).state is PluginState.COLLECTED


@pytest.mark.parametrize("scenario", LEAKING)
def test_what_is_held_is_leaking_and_its_holder_named(
    host: Host, site: Site, journal: ModuleType, scenario: str
) -> None:
    """Until the holder lets go: then nothing of it is left."""
    leaking = LEAKING[scenario]
    report = life(host, site, leaking.source)
    try:
        assert not report.collected
        assert plugin_of(host).state is PluginState.LEAKING
        assert all(leaking.held in line for line in report.holders), str(report.leaks)
    finally:
        exec(leaking.free, {"journal": journal})
    assert until(lambda: not host.plugin_leaks("acme"), 5)
    assert plugin_of(host).state is PluginState.COLLECTED
