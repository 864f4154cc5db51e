"""What pip does beside a running host is noticed once it is over, told, and taken over."""

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from horae import Host
from horae.plugins import pip
from horae.plugins.watch import QUIET, DiskChange, Watch
from horae_hookspecs import PluginState
from kit.hosts import answer_of, plugin_of, until
from kit.sites import Site, answering


class Looking:
    """A watch of a host's lifecycle, with a clock that the test moves."""

    def __init__(self, host: Host) -> None:
        self.at = 0.0
        self._watch = Watch(host._lifecycle, lambda: self.at)
        self.told()

    def told(self, after: float = QUIET) -> list[DiskChange]:
        """What is told of what was changed before, ``after`` seconds after a look at it."""
        self._watch.look()
        self.at += after
        self._watch.look()
        return self._watch.changes()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk need not be quiet for long."""
    monkeypatch.setattr("horae.plugins.watch.QUIET", 0.5)


@pytest.fixture
def looking(host: Host) -> Looking:
    """It has looked once."""
    return Looking(host)


def test_each_change_is_told_once_with_its_remedy(looking: Looking, host: Host, site: Site) -> None:
    """New, changed in version or only in its files, gone; what the host itself took over is not."""
    site.install(answering(1))
    (new,) = looking.told()
    assert new == DiskChange("acme", "new", None, "1.0")
    assert new.remedy == "horae plugin load acme"
    assert looking.told() == []

    host.load_plugin("acme")
    assert looking.told() == []
    site.install(answering(2), version="2.0")
    (changed,) = looking.told()
    assert changed == DiskChange("acme", "changed", "1.0", "2.0")
    assert changed.text == "2.0 is installed: horae plugin upgrade acme"
    (site.folder / "another.py").touch()
    assert looking.told() == []

    site.install(answering("other"), version="2.0")
    assert looking.told() == [changed]  # those were other files

    host.upgrade_plugin("acme")
    assert looking.told() == []
    site.install(answering(3), version="2.0")
    (edited,) = looking.told()
    assert edited.text == "other files of 2.0 is installed: horae plugin upgrade acme"

    site.uninstall()
    (gone,) = looking.told()
    assert (gone.change, gone.remedy) == ("gone", "horae plugin unload acme")


def test_p3_nothing_is_read_while_the_disk_changes_or_pip_is_at_work(
    looking: Looking, host: Host, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There would be two versions, or none; not even a pip of another horae is run into."""
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    site.install(answering(1))
    assert looking.told(after=QUIET - 0.1) == []
    site.install(answering(2), version="2.0")
    assert looking.told(after=QUIET - 0.1) == []
    (site.folder / "acme_plugin-2.0.dist-info" / "late").touch()
    assert looking.told(after=QUIET - 0.1) == []
    with pip.exclusive():
        assert pip.at_work()
        assert looking.told(after=2 * QUIET) == []
    assert not pip.at_work()
    (new,) = looking.told()
    assert new.installed == "2.0"


def test_a_look_reads_nothing_where_nothing_has_changed(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a stat for each folder of the path."""
    monkeypatch.setattr("horae.plugins.watch.discover", None)
    assert looking.told(after=1000) == []


@pytest.mark.usefixtures("soon")
def test_a_change_is_proposed_beside_the_plugin_and_in_the_log(
    host_on: Callable[..., Host], site: Site, logs: list[MutableMapping[str, Any]]
) -> None:
    """The old version goes on; once the host has taken the new one over, nothing is said."""
    site.install(answering(1))
    host = host_on(name="watching", watch="propose").start()
    host.load_plugin("acme")
    site.install(answering(2), version="2.0")
    until(lambda: plugin_of(host).reason == "2.0 is installed: horae plugin upgrade acme")
    info = plugin_of(host)
    assert (info.state, info.version, answer_of(host)) == (PluginState.ACTIVE, "1.0", 1)
    (row,) = host.store.plugin_rows()
    assert row.reason == info.reason
    (told,) = [one for one in logs if one["event"] == "plugin.changed_on_disk"]
    assert (told["change"], told["loaded"], told["installed"]) == ("changed", "1.0", "2.0")
    host.upgrade_plugin("acme")
    assert plugin_of(host).reason is None


@pytest.mark.usefixtures("soon")
def test_changes_are_taken_over_where_the_operator_wants_it(
    host_on: Callable[..., Host], site: Site
) -> None:
    """Loaded as wanted, upgraded, unloaded when it is gone, and loaded again when it is back."""
    host = host_on(name="watching", watch="apply", autoload=True).start()
    until(lambda: host._watch._known is not None)
    site.install(answering(1))
    until(lambda: any(info.name == "acme" for info in host.plugins()))
    assert answer_of(host) == 1
    site.install(answering(2), version="2.0")
    until(lambda: plugin_of(host).version == "2.0")
    assert answer_of(host) == 2
    site.uninstall()
    until(lambda: plugin_of(host).state is PluginState.COLLECTED)
    site.install(answering(3), version="3.0")
    until(lambda: plugin_of(host).state is PluginState.ACTIVE)
    assert answer_of(host) == 3


@pytest.mark.usefixtures("soon")
def test_what_fails_to_be_taken_over_is_told(
    host_on: Callable[..., Host], site: Site, logs: list[MutableMapping[str, Any]]
) -> None:
    """The old version goes on, with the reason."""
    site.install(answering(1))
    host = host_on(name="watching", watch="apply").start()
    host.load_plugin("acme")
    until(lambda: host._watch._known is not None)
    site.install("raise LookupError('two')", version="2.0")
    until(lambda: str(plugin_of(host).reason).startswith("still 1.0, for "))
    until(lambda: any(one["event"] == "plugin.change_not_applied" for one in logs))
    assert answer_of(host) == 1
