"""Which plugins are installed: told from metadata alone, whatever state these are in."""

import sys
from pathlib import Path

import pytest

from horae import Host, PluginLoadFailed, PluginNotFound
from horae_hookspecs import PluginState
from kit.hosts import added, answer_of, plugin_of
from kit.sites import Site, answering

METADATA = b"Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n"
ENTRY = b"[horae]\nbroken = broken\n"


def leave_behind(site: Site, name: str, files: dict[str, bytes]) -> None:
    """A ``.dist-info`` folder as it stands after an accident."""
    folder = site.folder / f"{name}.dist-info"
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_bytes(content)


def test_discovery_imports_nothing(host: Host, site: Site) -> None:
    """A plugin whose import would raise is listed with its version, and not imported."""
    site.install("raise RuntimeError('imported')", version="1.5")
    info = next(info for info in host.discover() if info.name == "acme")
    assert (info.distribution, info.version) == ("acme-plugin", "1.5")
    assert info.state is PluginState.DISCOVERED
    assert site.modules() == set()


def test_what_was_installed_meanwhile_is_found_and_what_was_taken_out_is_not(
    host: Host, site: Site
) -> None:
    """Every call looks at the disk again."""
    assert added(host.discover()) == set()
    site.install(answering(1))
    assert added(host.discover()) == {"acme"}
    site.uninstall()
    assert added(host.discover()) == set()


def test_two_distributions_with_one_plugin_name_are_refused(host: Host, site: Site) -> None:
    """Loading names both distributions, and works once there is one."""
    site.install(answering(1))
    site.install({"rival.py": answering(2)}, distribution="rival-dist", value="rival")
    with pytest.raises(PluginLoadFailed, match="uninstall all but one") as caught:
        host.load_plugin("acme")
    assert "acme-plugin" in str(caught.value)
    assert "rival-dist" in str(caught.value)
    assert plugin_of(host).state is PluginState.FAILED
    assert site.modules() == set()
    site.uninstall()
    host.load_plugin("acme")
    assert answer_of(host) == 2


def test_a_distribution_found_twice_on_the_path_is_one(
    host: Host, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is on the path under two names (lib and lib64) gives no rivals."""
    site.install(answering(1))
    (tmp_path / "site64").symlink_to(site.folder)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site64")])
    host.load_plugin("acme")
    assert answer_of(host) == 1


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("~roken-1.0", {"METADATA": METADATA, "entry_points.txt": ENTRY}),
        ("broken-1.0", {"entry_points.txt": ENTRY}),
        ("broken-1.0", {"METADATA": b"Name: broken\n", "entry_points.txt": ENTRY}),
        ("broken-1.0", {"METADATA": b"Version: 1.0\n", "entry_points.txt": ENTRY}),
        ("broken-1.0", {"METADATA": METADATA, "entry_points.txt": b"[horae]\nno equals sign\n"}),
        ("broken-1.0", {"METADATA": METADATA, "entry_points.txt": b"\xff\xfe\x00"}),
        ("broken-1.0", {"METADATA": METADATA, "entry_points.txt": ENTRY, "RECORD": b"\xff,,\n"}),
        (
            "broken-1.0",
            {"METADATA": METADATA, "entry_points.txt": ENTRY, "direct_url.json": b"{no json"},
        ),
    ],
    ids=[
        "ghost of a killed pip",
        "no METADATA",
        "no version",
        "no name",
        "entry point without a value",
        "entry points in no encoding",
        "RECORD in no encoding",
        "direct_url.json is none",
    ],
)
def test_a_damaged_distribution_is_passed_over(
    host: Host, site: Site, name: str, files: dict[str, bytes]
) -> None:
    """What pip left half done, or a disk damaged, hides no other plugin."""
    leave_behind(site, name, files)
    site.install(answering(1))
    assert added(host.discover()) == {"acme"}
    host.load_plugin("acme")
    assert answer_of(host) == 1


def test_an_unknown_name_is_answered_with_the_nearest_and_the_remedy(
    host: Host, site: Site
) -> None:
    """A misspelt name raises PluginNotFound, which says what there is and what to do."""
    site.install(answering(1))
    with pytest.raises(PluginNotFound, match="Did you mean 'acme'") as caught:
        host.load_plugin("acne")
    assert "Install it with pip" in str(caught.value)
