"""What is told from evidence before anything is touched: which new code cannot replace the old."""

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from horae import Host, PluginLoadFailed, RestartRequired
from horae.plugins.discovery import discover
from horae.plugins.guard import Guard
from horae_hookspecs import PluginState
from kit.extensions import COMPILER, FILE, build_extension
from kit.hosts import answer_of, plugin_of
from kit.sites import Site, answering, plugin
from kit.wheels import build_wheel, unpack

NATIVE = """
    from acme_plugin import native

    @events.register("acme.ask")
    def ask(context):
        return [VERSION, native.value()]
"""

LEANING = """
    import shared_dep

    @events.register("acme.ask")
    def ask(context):
        return [VERSION, shared_dep.VALUE]
"""


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_p10_native_code_is_not_replaced_in_a_process(
    host: Host, site: Site, tmp_path: Path
) -> None:
    """New Python code would call the old library: the upgrade is refused before anything is
    touched, the old version goes on, and a version with the same library is taken.
    """

    def install(version: int, value: int) -> None:
        files: dict[str, str | bytes] = {
            "acme_plugin/__init__.py": plugin(NATIVE.replace("VERSION", str(version))),
            f"acme_plugin/{FILE}": build_extension(tmp_path / "built", value),
        }
        site.install(files, version=f"{version}.0")

    install(1, 1)
    host.load_plugin("acme")
    assert answer_of(host) == [1, 1]

    install(2, 2)
    with pytest.raises(RestartRequired, match="native code") as refused:
        host.upgrade_plugin("acme")
    assert FILE in refused.value.detail
    info = plugin_of(host)
    assert (info.state, info.version) == (PluginState.RESTART_REQUIRED, "1.0")
    assert FILE in str(info.reason)
    assert answer_of(host) == [1, 1]

    install(3, 1)
    assert host.upgrade_plugin("acme").state is PluginState.ACTIVE
    assert answer_of(host) == [3, 1]

    install(4, 4)
    host.unload_plugin("acme")
    with pytest.raises(RestartRequired):
        host.load_plugin("acme")
    assert plugin_of(host).state is PluginState.RESTART_REQUIRED
    assert site.modules() == set()


def test_p11_a_shared_dependency_is_not_upgraded_by_halves(
    host: Host, site: Site, tmp_path: Path
) -> None:
    """Pip is content once both are on disk; the process has the old dependency, and may import
    the rest of it from the new one.
    """

    def depend(version: int) -> None:
        files = {"shared_dep/__init__.py": f"VALUE = {version}\n"}
        unpack(build_wheel(tmp_path / "deps", "shared-dep", f"{version}.0", files), site.folder)

    def install(version: int) -> None:
        site.install(
            plugin(LEANING.replace("VERSION", str(version))),
            version=f"{version}.0",
            requires=[f"shared-dep>={version}"],
        )

    depend(1)
    install(1)
    host.load_plugin("acme")
    depend(2)
    install(2)
    with pytest.raises(RestartRequired, match="shared-dep") as refused:
        host.upgrade_plugin("acme")
    assert ("loaded 1.0" in refused.value.detail, "2.0 is" in refused.value.detail) == (True, True)
    assert answer_of(host) == [1, 1]

    depend(1)
    install(1)
    assert host.upgrade_plugin("acme").state is PluginState.ACTIVE


def test_p24_a_plugin_has_the_version_that_is_loaded(host: Host, site: Site) -> None:
    """Not that of the disk, which the metadata tell."""
    site.install(answering(1))
    host.load_plugin("acme")
    site.install(answering(2), version="2.0")
    assert importlib.metadata.version("acme-plugin") == "2.0"
    assert plugin_of(host).version == "1.0"
    event = host.schedule("acme.ask")
    run = host.wait(event.id, timeout=20)
    assert run is not None
    assert (run.result, run.version) == (1, "1.0")


def test_p25_what_pip_took_away_is_still_known_to_be_the_plugins(host: Host, site: Site) -> None:
    """The distribution cannot be asked any more which modules are its own."""
    files = {"acme_plugin/__init__.py": "import acme_extra\n" + answering(1), "acme_extra.py": ""}
    site.install(files)
    host.load_plugin("acme")
    site.uninstall()
    assert site.modules() == {"acme_plugin", "acme_extra"}
    assert host.unload_plugin("acme").collected
    assert site.modules() == set()


def test_p1_what_is_installed_later_is_found_though_no_folder_looks_changed(
    host: Host, site: Site
) -> None:
    """Where times are coarse, caches of listings must be emptied by hand: those of the metadata
    and those of the modules.
    """
    stood = os.stat(site.folder)
    discover()
    with pytest.raises(ImportError):
        importlib.import_module("acme_plugin")
    site.install(answering(1))
    os.utime(site.folder, ns=(stood.st_atime_ns, stood.st_mtime_ns))
    host.load_plugin("acme")
    assert answer_of(host) == 1


def test_p2_distributions_are_only_asked_what_every_finder_of_them_knows(site: Site) -> None:
    """The backport takes the place of the standard library's finder; both find the same."""
    site.install(answering(1))
    names = {one.metadata["Name"] for one in importlib.metadata.distributions()}
    assert "acme-plugin" in names
    assert discover()["acme"].distribution == "acme-plugin"


def test_p3_what_pip_leaves_half_done_hides_nothing(host: Host, site: Site) -> None:
    """The one that it renamed, a folder without metadata, and one without a name."""
    site.install(answering(1))
    for left, text in {
        "~cme_plugin-0.9": "Name: acme-plugin\nVersion: 0.9\n",
        "broken-1.0": None,
        "nameless-1.0": "Metadata-Version: 2.1\n",
    }.items():
        info = site.folder / f"{left}.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text("[horae]\nacme = ghost\n")
        if text is not None:
            (info / "METADATA").write_text(text)
    candidate = discover()["acme"]
    assert (candidate.value, candidate.rivals) == ("acme_plugin", ())
    host.load_plugin("acme")
    assert answer_of(host) == 1


def test_p4_a_folder_that_is_on_the_path_twice_has_each_plugin_once(
    host: Host, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with lib64, which leads to lib: no rival of itself, and its modules are its own."""
    (tmp_path / "lib64").symlink_to(site.folder)
    monkeypatch.syspath_prepend(str(tmp_path / "lib64"))
    site.install(answering(1))
    assert discover()["acme"].rivals == ()
    host.load_plugin("acme")
    assert answer_of(host) == 1
    assert host.unload_plugin("acme").collected
    assert "acme_plugin" not in sys.modules


EDITABLE = {
    "a path": lambda source: f"{source}\n",
    "a finder": lambda source: (
        "import __editable___acme_finder; __editable___acme_finder.install()\n"
    ),
}

FINDER = """
import importlib.util
import pathlib
import sys

class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "acme_plugin":
            file = pathlib.Path({source!r}, name, "__init__.py")
            return importlib.util.spec_from_file_location(name, file)
        return None

def install():
    sys.meta_path.append(Finder)
    sys.path.append("__editable__.acme.finder.__path_hook__")
"""


@pytest.mark.parametrize("form", EDITABLE)
def test_p5_an_editable_install_is_loaded_by_a_running_host_and_leaves_no_trace(
    host: Host, site: Site, tmp_path: Path, form: str
) -> None:
    """Its ``.pth`` file is read at load, and what that did to the import system is undone."""
    project = edit(site, tmp_path, 1, EDITABLE[form])
    before = import_system()
    with pytest.raises(ImportError):
        importlib.import_module("acme_plugin")

    host.load_plugin("acme")
    assert answer_of(host) == 1
    project.write_text(answering("later"))
    host.upgrade_plugin("acme")
    assert answer_of(host) == "later"
    active = import_system()
    project.write_text("raise LookupError('no more')")
    with pytest.raises(PluginLoadFailed, match="no more"):
        host.upgrade_plugin("acme")
    assert (answer_of(host), import_system()) == ("later", active)

    assert host.unload_plugin("acme").collected
    assert import_system() == before
    assert site.modules() == set()
    with pytest.raises(ImportError):
        importlib.import_module("acme_plugin")


@pytest.mark.parametrize("form", EDITABLE)
def test_p5_child_processes_find_an_editable_install_too(
    host_on: Callable[..., Host], site: Site, tmp_path: Path, form: str
) -> None:
    """The one that imports it ahead of the host, and the one that runs its jobs."""
    project = edit(site, tmp_path, 1, EDITABLE[form])
    job = (
        "@events.register('acme.ask', executor='process')\ndef ask(context):\n    return 'child'\n"
    )
    project.write_text(plugin(job))
    host = host_on(name="ahead", preflight=20).start()
    host.load_plugin("acme")
    assert answer_of(host) == "child"


def test_p5_two_editable_plugins_of_one_folder_go_one_by_one(
    host: Host, site: Site, tmp_path: Path
) -> None:
    """The folder stays on the path as long as one of them needs it."""
    edit(site, tmp_path, 1, EDITABLE["a path"])
    edit(site, tmp_path, 2, EDITABLE["a path"], plugin="other")
    host.load_plugin("acme")
    host.load_plugin("other")
    host.unload_plugin("acme")
    assert str(tmp_path / "project") in sys.path
    host.upgrade_plugin("other")
    assert answer_of(host, "other.ask") == 2
    host.unload_plugin("other")
    assert str(tmp_path / "project") not in sys.path


def test_p6_an_edit_of_the_same_size_within_the_second_is_seen(
    host: Host, site: Site, tmp_path: Path
) -> None:
    """What was compiled is taken for that of the new source by its time and size."""
    project = edit(site, tmp_path, 1, EDITABLE["a path"])
    for answer, change in ((1, host.load_plugin), (2, host.upgrade_plugin), (3, _again(host))):
        project.write_text(answering(answer))
        os.utime(project, (1_700_000_000, 1_700_000_000))
        change("acme")
        assert answer_of(host) == answer


def import_system() -> tuple[list[Any], ...]:
    """What leads to modules, but for the guard of horae itself, which stays for good."""
    finders = [one for one in sys.meta_path if not isinstance(one, Guard)]
    return list(sys.path), finders, list(sys.path_hooks)


def _again(host: Host) -> Callable[[str], object]:
    def again(name: str) -> object:
        host.unload_plugin(name)
        return host.load_plugin(name)

    return again


def edit(
    site: Site, tmp_path: Path, answer: int, pth: Callable[[Path], str], plugin: str = "acme"
) -> Path:
    """Make an editable install as build backends do; the file that has the job."""
    source = tmp_path / "project"
    file = source / f"{plugin}_plugin" / "__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text(answering(answer, f"{plugin}.ask"))
    finder = FINDER.format(source=str(source))
    files = {f"__editable__.{plugin}.pth": pth(source), "__editable___acme_finder.py": finder}
    if plugin != "acme":
        del files["__editable___acme_finder.py"]
    site.install(files, plugin=plugin)
    (info,) = site.folder.glob(f"{plugin}_plugin-1.0.dist-info")
    origin = f'{{"url": "file://{source}", "dir_info": {{"editable": true}}}}'
    (info / "direct_url.json").write_text(origin)
    return file
