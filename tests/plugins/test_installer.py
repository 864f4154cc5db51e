"""Disk and memory changed as one, by the real pip in a real environment beside a running host."""

import json
import subprocess
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from horae.plugins.trust import contents_of_wheel
from kit.environments import make_venv, pip_install, site_packages
from kit.extensions import COMPILER, FILE, build_extension
from kit.sites import answering, plugin
from kit.wheels import build_wheel

PRELUDE = """
import hashlib
import json
import sys
from pathlib import Path
from horae import *

folder, site = map(Path, sys.argv[1:3])
links = [str(folder / "wheels")]
url = f"sqlite:///{folder}/events.db"
trust, preflight = json.loads(sys.argv[3])
settings = Settings(url=url, name="test", drain=20, preflight=preflight, trust=Trust(**trust))
host = Host(settings).start()
found = {}

def install(requirement, **options):
    return host.install_plugin(requirement, find_links=links, offline=True, **options)

def refused(requirement, **options):
    try:
        install(requirement, **options)
    except PluginError as error:
        return [type(error).__name__, str(error)]

def answer(event_type="acme.ask"):
    run = host.wait(host.schedule(event_type).id, timeout=20)
    return run.result

def disk():
    return {
        str(file.relative_to(site)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(site.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
    }

def version():
    return [[info.version, str(info.state)] for info in host.plugins() if info.name == "acme"]
"""

Program = Callable[[str], Any]


class Environment:
    """A virtual environment, a folder with wheels to install, and programs that run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = site_packages(folder / "venv")
        self.python = make_venv(folder / "venv")

    def wheel(
        self,
        version: int,
        source: str | Mapping[str, str | bytes],
        distribution: str = "acme-plugin",
        **details: Any,
    ) -> Path:
        """A wheel of acme, or another one, to be found by the programs."""
        files = {"acme_plugin/__init__.py": source} if isinstance(source, str) else source
        points = details.pop("entry_points", {"acme": "acme_plugin"})
        return build_wheel(
            self.folder / "wheels", distribution, f"{version}.0", files, points, **details
        )

    def run(self, program: str, *, preflight: float = 2, **trust: Any) -> Any:
        """What the program left in ``found``; it has a started host, and some short words."""
        source = f"{PRELUDE}\n{textwrap.dedent(program)}\nhost.close()\nprint(json.dumps(found))\n"
        done = subprocess.run(
            [self.python, "-c", source, self.folder, self.site, json.dumps([trust, preflight])],
            capture_output=True,
            text=True,
            timeout=100,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment of the test's own."""
    return Environment(tmp_path)


def test_a_plugin_is_installed_upgraded_and_uninstalled_while_the_host_runs(
    environment: Environment,
) -> None:
    """With what it needs; what satisfies the requirement stays until an upgrade is asked for,
    and the disk is as before in the end, but for what others may need by now.
    """
    for version in (1, 2):
        source = f"open('imported', 'a').write('{version}')\n{answering(version)}"
        environment.wheel(version, source, requires=["helper>=1"])
    environment.wheel(1, {"helper.py": ""}, "helper", entry_points={})
    found = environment.run(
        """
        before = disk()
        found["first"] = [install("acme-plugin<2").version, answer()]
        found["again"] = [install("acme-plugin").generation, answer()]
        found["newer"] = [install("acme-plugin>=2").version, answer()]
        found["as new"] = [install("acme-plugin", upgrade=True).generation, answer()]
        found["helper"] = (site / "helper.py").exists()
        report = host.uninstall_plugin("acme")
        found["report"] = [report.collected, report.plugin, version()[0][1] != "active"]
        found["left"] = sorted(name.split("/")[0] for name in disk().keys() - before.keys())
        found["waiting"] = host.schedule("acme.ask").id in [e.id for e in host.events()]
        """
    )
    assert found["first"] == ["1.0", 1]
    assert found["again"] == [1, 1]
    assert found["newer"] == ["2.0", 2]
    assert found["as new"] == [2, 2]
    # Once in a child process, ahead of all, and once in the host.
    assert (environment.folder / "imported").read_text() == "1122"
    assert found["helper"]
    assert found["report"] == [True, "acme", True]
    assert set(found["left"]) == {"helper.py", "helper-1.0.dist-info"}
    assert found["waiting"]


FAILING = {
    "import error": plugin("raise LookupError('version 2')"),
    "exit": plugin("raise SystemExit('version 2')"),
    "bad hook": plugin("@hookimpl\ndef horae_run_started(event): pass"),
    "taken type": answering(2).replace("acme.ask", "other.ask"),
    "failing activate": plugin("@hookimpl\ndef horae_activate(context): raise OSError('two')"),
}

HOPELESS = {
    "import error": plugin("raise LookupError('version 2')"),
    "exit": plugin("raise SystemExit('version 2')"),
    "hang": plugin("import time; time.sleep(600)"),
    "segmentation fault": plugin("import ctypes; ctypes.string_at(0)"),
}


@pytest.mark.parametrize(
    ("cases", "preflight"), [(FAILING, 0), (HOPELESS, 2)], ids=["in the host", "ahead of it"]
)
def test_each_kind_of_failing_upgrade_rolls_back_disk_and_memory(
    environment: Environment, cases: Mapping[str, str], preflight: float
) -> None:
    """The old version answers the next event, in the same generation, and of what is on disk not
    a byte is another, nor is anything there that the new version brought. What fails in a child
    process is not even installed.
    """
    # By its path, which pip notes beside it: that is put back as well.
    pip_install(environment.python, environment.wheel(1, answering(1)))
    environment.wheel(
        1,
        {"other_plugin.py": answering("other", "other.ask")},
        "other-plugin",
        entry_points={"other": "other_plugin"},
    )
    environment.wheel(1, {"helper.py": ""}, "helper", entry_points={})
    for number, source in enumerate(cases.values(), 2):
        files = {"acme_plugin/__init__.py": source, "acme_plugin/new.py": ""}
        environment.wheel(number, files, requires=["helper"])
    found = environment.run(
        f"""
        host.load_plugin("acme")
        install("other-plugin")
        before = disk()
        assert any(name.endswith("direct_url.json") for name in before)
        for number in range(2, {len(cases) + 2}):
            steps = []
            said = refused(f"acme-plugin=={{number}}.0", tell=steps.append)
            touched = any(step.startswith("installing") for step in steps)
            state = [answer(), answer("other.ask"), version(), disk() == before]
            found[number] = [said, touched, *state]
        """,
        preflight=preflight,
    )
    for case, (said, touched, *state) in zip(cases, found.values(), strict=True):
        assert said[0] in ("PluginLoadFailed", "TypeTaken"), case
        assert touched == (preflight == 0), case
        assert state == [1, "other", [["1.0", "active"]], True], case


def test_what_pip_cannot_do_changes_nothing(environment: Environment) -> None:
    """Its own words say why: no such version, no plugin in it, a busy plugin."""
    environment.wheel(1, answering(1))
    environment.wheel(1, {"helper.py": ""}, "helper", entry_points={})
    found = environment.run(
        """
        install("acme-plugin")
        before = disk()
        found["no version"] = refused("acme-plugin>=7")
        found["no plugin"] = refused("helper")
        found["no such"] = refused("nowhere-to-be-found")
        found["state"] = [answer(), version(), disk() == before]
        """
    )
    assert found["no version"][0] == "InstallFailed"
    assert "No matching distribution found for acme-plugin>=7" in found["no version"][1]
    assert found["no plugin"][0] == "InstallFailed"
    assert "has no plugin" in found["no plugin"][1]
    assert "nowhere-to-be-found" in found["no such"][1]
    assert found["state"] == [1, [["1.0", "active"]], True]


def test_what_only_a_new_process_can_run_is_refused_before_the_disk_is_touched(
    environment: Environment, tmp_path: Path
) -> None:
    """A loaded dependency that would be another one; for a plugin that is not there yet, an older
    version that makes do with what is loaded is found.
    """
    for version in (1, 2):
        environment.wheel(version, {"shared.py": f"VALUE = {version}"}, "shared", entry_points={})
        source = f"import shared\n{answering(version)}"
        environment.wheel(version, source, requires=[f"shared>={version}"])
        environment.wheel(
            version,
            {"other_plugin.py": answering(version, "other.ask")},
            "other-plugin",
            entry_points={"other": "other_plugin"},
            requires=[f"shared>={version}"],
        )
    found = environment.run(
        """
        import subprocess
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "-f", links[0]]
        subprocess.run([*pip, "shared==1.0"], check=True)
        install("acme-plugin==1.0")
        before = disk()
        found["refused"] = refused("acme-plugin", upgrade=True)
        found["state"] = [answer(), version(), disk() == before]
        found["other"] = [install("other-plugin").version, answer("other.ask")]
        """
    )
    assert found["refused"][0] == "RestartRequired"
    assert "shared 2.0" in found["refused"][1]
    assert found["state"] == [1, [["1.0", "restart required"]], True]
    assert found["other"] == ["1.0", 1]


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_p10_a_new_native_file_is_refused_before_the_disk_is_touched(
    environment: Environment, tmp_path: Path
) -> None:
    """Told from the new wheel's RECORD and what is loaded."""
    for version in (1, 2):
        source = plugin(
            """
            from acme_plugin import native

            @events.register("acme.ask")
            def ask(context):
                return native.value()
            """
        )
        built = build_extension(tmp_path / "built", version)
        environment.wheel(
            version, {"acme_plugin/__init__.py": source, f"acme_plugin/{FILE}": built}
        )
    found = environment.run(
        """
        install("acme-plugin<2")
        before = disk()
        found["refused"] = refused("acme-plugin>=2")
        found["state"] = [answer(), version(), disk() == before]
        """
    )
    assert found["refused"][0] == "RestartRequired"
    assert FILE in found["refused"][1]
    assert found["state"] == [1, [["1.0", "restart required"]], True]


def test_what_the_policy_denies_is_not_installed(environment: Environment) -> None:
    """By its name before pip sees it, by its version before the disk is touched; what a pinned
    distribution brings is compared with the pin.
    """
    for version in (1, 2):
        environment.wheel(version, answering(version))
    pinned = contents_of_wheel(environment.wheel(3, answering(3)))
    tried = """
        before = disk()
        for version in (1, 2, 3):
            said = refused(f"acme-plugin=={version}.0")
            found[version] = said or answer()
        found["untouched"] = disk() == before
        """
    denied = environment.run(tried, default="deny")
    assert [denied[n][0] for n in "123"] == ["PluginBlocked"] * 3
    assert "trust.default" in denied["1"][1]
    assert denied["untouched"]
    blocked = environment.run(tried, block={"acme-plugin<3": "it eats the tide"})
    assert [blocked[n] if n == "3" else blocked[n][0] for n in "123"] == [
        "PluginBlocked",
        "PluginBlocked",
        3,
    ]
    assert "it eats the tide" in blocked["1"][1]
    wrong = environment.run(tried, pins={"acme-plugin==3.0": "0" * 64})
    assert ("PluginBlocked", pinned) == (wrong["3"][0], wrong["3"][1].split("SHA-256 ")[1][:64])


def test_two_plugins_of_one_distribution_are_upgraded_both_or_none(
    environment: Environment,
) -> None:
    """When the second one fails, the first has its old code back too."""
    points = {"acme": "acme_plugin", "buoy": "buoy_plugin"}
    for version, end in ((1, ""), (2, "raise LookupError('two')"), (3, "")):
        files = {
            "acme_plugin/__init__.py": answering(version),
            "buoy_plugin.py": answering(version, "buoy.ask") + end,
        }
        environment.wheel(version, files, entry_points=points)
    found = environment.run(
        """
        install("acme-plugin==1.0")
        before = disk()
        found["refused"] = refused("acme-plugin==2.0")
        found["state"] = [answer(), answer("buoy.ask"), disk() == before, version()]
        install("acme-plugin==3.0")
        found["newer"] = [answer(), answer("buoy.ask")]
        host.uninstall_plugin("buoy")
        found["gone"] = [info.name for info in host.discover()]
        """,
        preflight=0,
    )
    assert found["refused"][0] == "PluginLoadFailed"
    assert found["state"] == [1, 1, True, [["1.0", "active"]]]
    assert found["newer"] == [3, 3]
    assert not {"acme", "buoy"} & set(found["gone"])


def test_hosts_of_one_environment_follow_each_other(environment: Environment) -> None:
    """What the first has installed, the second takes over when it is asked for the same; code of
    which it has loaded another version, it leaves.
    """
    for version in (1, 2):
        environment.wheel(version, answering(version))
    found = environment.run(
        """
        other = Host(Settings(url=f"sqlite:///{folder}/other.db", name="other", preflight=0))
        other.start()

        def answers():
            return [
                one.wait(one.schedule("acme.ask").id, timeout=20).result for one in (host, other)
            ]

        for requirement in ("acme-plugin<2", "acme-plugin>=2"):
            install(requirement)
            other.install_plugin(requirement, find_links=links, offline=True)
            found[requirement] = answers()
        other.close()
        """
    )
    assert found == {"acme-plugin<2": [1, 1], "acme-plugin>=2": [2, 2]}
