"""A host in a process of its own, and pip beside it: what is on disk changes while it runs."""

import json
import signal
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from horae import Host
from horae.stores.records import PluginRow
from horae_hookspecs import State
from kit.environments import make_venv, pip_install, pip_uninstall
from kit.hosts import until
from kit.sites import answering, plugin
from kit.wheels import build_wheel

SERVE = """
import sys
from horae import Host, Settings
Host(Settings(url=sys.argv[1], name="served", drain=5)).run_forever()
"""

Serve = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment; tests leave nothing installed in it."""
    return make_venv(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The store that the process and the test share."""
    return f"sqlite:///{tmp_path}/events.db"


@pytest.fixture
def serve(environment: Path, url: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts the host in a process of its own."""
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "log.txt").open("ab") as log:
            command = [str(environment), "-c", SERVE, url]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def client(url: str) -> Iterator[Host]:
    """The test's own view of the store; it runs nothing."""
    client = Host(url)
    yield client
    client.close()


@pytest.fixture
def wheel(tmp_path: Path, environment: Path) -> Iterator[Callable[..., Path]]:
    """Builds wheels of the plugin acme, and takes it out of the environment at the end."""

    def build(version: int, source: str | None = None) -> Path:
        package = {
            "acme_plugin/__init__.py": source
            or "import acme_plugin.part\n"
            + plugin(
                """
                @events.register("acme.ask")
                def ask(context):
                    return acme_plugin.part.VALUE
                """
            ),
            "acme_plugin/part.py": f"VALUE = {version}\n",
        }
        return build_wheel(
            tmp_path / "wheels", "acme-plugin", f"{version}.0", package, {"acme": "acme_plugin"}
        )

    yield build
    pip_uninstall(environment, "acme-plugin")


def command(client: Host, action: Any) -> PluginRow:
    """The served host's answer to a command about acme."""
    until(client.hosts)
    (row,) = client.command_plugin(action, "acme", drain=5)
    return row


def answer(client: Host) -> Any:
    """What a run of acme.ask in the served host gives."""
    run = client.wait(client.schedule("acme.ask").id, timeout=20)
    assert run is not None
    return run.result


def test_a_running_host_follows_pip(
    client: Host, serve: Serve, environment: Path, wheel: Callable[..., Path]
) -> None:
    """Install, upgrade, uninstall and reinstall beside the host: it changes when it is told to,
    and its events live through all of it.
    """
    process = serve()
    missing = command(client, "load")
    assert (missing.ok, "Install it with pip" in str(missing.reason)) == (False, True)

    pip_install(environment, wheel(1))
    assert command(client, "load").ok
    assert answer(client) == 1

    pip_install(environment, wheel(2))
    assert answer(client) == 1
    assert command(client, "upgrade").version == "2.0"
    assert answer(client) == 2

    pip_uninstall(environment, "acme-plugin")
    assert answer(client) == 2
    unloaded = command(client, "unload")
    assert unloaded.report is not None
    assert unloaded.report["collected"]
    waiting = client.schedule("acme.ask")
    assert client.waiting()[0].reason == "acme-plugin is not installed here"

    pip_install(environment, wheel(3))
    assert command(client, "load").version == "3.0"
    run = client.wait(waiting.id, timeout=20)
    assert run is not None
    assert (run.result, run.claim) == (3, 1)
    assert process.poll() is None


def test_a_killed_host_has_its_plugins_back(
    client: Host, serve: Serve, environment: Path, wheel: Callable[..., Path]
) -> None:
    """After ``kill -9``, and after an ordered stop, the next process loads what was wanted."""
    pip_install(environment, wheel(1))
    for end in (signal.SIGKILL, signal.SIGTERM):
        process = serve()
        assert command(client, "load").ok
        process.send_signal(end)
        process.wait(20)
        until(lambda: not client.hosts())
    event = client.schedule("acme.ask")
    serve()
    run = client.wait(event.id, timeout=20)
    assert run is not None
    assert run.result == 1


def test_a_plugin_that_ends_the_process_at_import_does_not(
    client: Host, serve: Serve, environment: Path, wheel: Callable[..., Path]
) -> None:
    """``sys.exit()`` in a plugin is a failed load; the host and its old version go on."""
    pip_install(environment, wheel(1))
    process = serve()
    assert command(client, "load").ok
    pip_install(environment, wheel(2, "import sys; sys.exit(4)"))
    failed = command(client, "upgrade")
    assert (failed.ok, failed.version, "SystemExit: 4" in str(failed.reason)) == (
        False,
        "1.0",
        True,
    )
    assert answer(client) == 1
    assert process.poll() is None


def test_a_client_needs_no_plugin(
    client: Host, serve: Serve, environment: Path, wheel: Callable[..., Path]
) -> None:
    """This process, which has no acme installed, schedules, reads and cancels its events."""
    pip_install(environment, wheel(1))
    serve()
    assert command(client, "load").event_types == ["acme.ask"]
    event = client.schedule("acme.ask", schedule="in 1h", description="later")
    assert client.get(event.id) == event
    assert client.cancel(event.id)
    cancelled = client.get(event.id)
    assert cancelled is not None
    assert cancelled.state is State.CANCELLED
    assert {info.name: info.host for info in client.plugins()} == {"acme": "served"}


# Editable installs

EDITED = """
import json, sys
from pathlib import Path
from horae import Host, Settings

url, file = sys.argv[1:]
with Host(Settings(url=url, workers=2)) as host:
    def answer():
        return host.wait(host.schedule("acme.ask").id, timeout=20).result

    def mine():
        return sorted(name for name in sys.modules if name.startswith("acme"))

    host.load_plugin("acme")
    first, loaded = answer(), mine()
    Path(file).write_text(Path(file).read_text().replace("first", "second edition"))
    host.upgrade_plugin("acme")
    second = answer()
    report = host.unload_plugin("acme")
    found = [first, second, loaded, mine(), report.collected, report.holders]
    Path("found.json").write_text(json.dumps(found))
"""
LAYOUTS = {
    "a package": ("acme_plugin", {"__init__": "from acme_plugin.part import *", "part": "JOB"}),
    "a module in a package": ("acme_plugin.hooks", {"__init__": "", "hooks": "JOB"}),
    "hooks beside the jobs": (
        "acme_plugin.hooks",
        {"__init__": "", "hooks": "from acme_plugin.jobs import *", "jobs": "JOB"},
    ),
    "a single module": ("acme_single", {}),
}


def project(folder: Path, value: str, modules: dict[str, str]) -> Path:
    """A project of acme in ``folder``, in one module where ``modules`` is empty; the file that
    has the job.
    """
    job = answering("first")
    source = folder / "src"
    (source / "acme_plugin").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        textwrap.dedent(
            f"""
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"
            [project]
            name = "acme-plugin"
            version = "1.0"
            entry-points.horae.acme = "{value}"
            [tool.hatch.build]
            dev-mode-dirs = ["src"]
            [tool.hatch.build.targets.wheel]
            only-include = ["src"]
            """
        )
    )
    if not modules:
        (source / "acme_single.py").write_text(job)
        return source / "acme_single.py"
    for name, text in modules.items():
        (source / "acme_plugin" / f"{name}.py").write_text(job if text == "JOB" else text)
    (name,) = [name for name, text in modules.items() if text == "JOB"]
    return source / "acme_plugin" / f"{name}.py"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_editable_install_is_upgraded_and_leaves_no_trace(
    environment: Path, url: str, tmp_path: Path, layout: str
) -> None:
    """What was edited runs after an upgrade, in every module; the unload takes all of it out."""
    pytest.importorskip("hatchling", reason="the dependency group 'test' is not installed")
    file = project(tmp_path / "project", *LAYOUTS[layout])
    pip_install(environment, "--editable", tmp_path / "project")
    try:
        done = subprocess.run(
            [environment, "-c", EDITED, url, file],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
    finally:
        pip_uninstall(environment, "acme-plugin")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, loaded, left, collected, holders = json.loads(
        (tmp_path / "found.json").read_text()
    )
    assert (first, second) == ("first", "second edition")
    assert loaded != []
    assert (left, collected, holders) == ([], True, [])


COMING = """
import json, subprocess, sys
from pathlib import Path
from horae import Host, PluginError, Settings
from horae.plugins.guard import Guard

url, project, found = sys.argv[1], Path(sys.argv[2]), []
pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]

def state():
    finders = [repr(one) for one in sys.meta_path if not isinstance(one, Guard)]
    return [list(sys.path), finders, list(map(repr, sys.path_hooks))]

with Host(Settings(url=url, workers=2)) as host:
    before = state()
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "install", *offline, "-e", str(project)], check=True)
    host.load_plugin("acme")
    found.append(host.wait(host.schedule("acme.ask").id, timeout=20).result)
    found.append(host.unload_plugin("acme").collected)
    found.append(state() == before)
    host.load_plugin("acme")
    found.append(host.wait(host.schedule("acme.ask").id, timeout=20).result)
    host.uninstall_plugin("acme")
    found.append(state() == before)
    try:
        import acme_plugin
    except ImportError:
        found.append("not importable")
    try:
        host.load_plugin("acme")
    except PluginError as error:
        found.append(type(error).__name__)
Path("found.json").write_text(json.dumps(found))
"""


def test_p5_an_editable_install_comes_into_a_running_host_and_goes(
    environment: Path, url: str, tmp_path: Path
) -> None:
    """The interpreter has read its ``.pth`` files long before, and has nothing of this one left
    once it is unloaded, or uninstalled.
    """
    pytest.importorskip("hatchling", reason="the dependency group 'test' is not installed")
    project(tmp_path / "project", *LAYOUTS["a package"])
    command = [environment, "-c", COMING, url, tmp_path / "project"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    finally:
        pip_uninstall(environment, "acme-plugin")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "found.json").read_text()) == [
        "first",
        True,
        True,
        "first",
        True,
        "not importable",
        "PluginNotFound",
    ]
