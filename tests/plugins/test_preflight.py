"""Code that a host has not seen before is imported by a child process first."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from horae import Host, PluginLoadFailed
from horae.plugins import preflight
from horae.plugins.discovery import discover
from horae.plugins.loader import Refused
from horae_hookspecs import PluginState
from kit.hosts import answer_of, plugin_of, until
from kit.sites import Site, answering, plugin

SEGFAULT = "import ctypes\ndef fall():\n    ctypes.string_at(0)\nfall()"

# what its package does at import -> what the reason says
FAILING = {
    "raises": ("raise LookupError('no luck')", ["its import failed: LookupError: no luck"]),
    "lacks a dependency": ("import not_there", ["No module named 'not_there'"]),
    "exits": ("print('so long')\nraise SystemExit(3)", ["SystemExit: 3", "so long"]),
    "exits hard": (
        "import os, sys\nprint('one\\ntwo', file=sys.stderr, flush=True)\nos._exit(3)",
        ["its import ended the process", "exit code 3", "the last it wrote:\n  one\n  two"],
    ),
    "segfaults": (SEGFAULT, ["its import ended the process in ", "SIGSEGV: Segmentation fault"]),
    "kills itself": (
        "import os\nos.kill(os.getpid(), 9)",
        ["its import ended the process (SIGKILL: Killed)"],
    ),
    "hangs": (
        "import time\ndef wait():\n    time.sleep(600)\nwait()",
        ["it had not been imported after 1 s; it hangs in ", "acme_plugin/__init__.py, line 3"],
    ),
    "spins": ("while True: pass", ["it had not been imported after 1 s; it hangs in "]),
    "hangs in C": ("sum(range(10**12))", ["it had not been imported after 1 s; it hangs in "]),
    "registers rubbish": (
        plugin("@hookimpl\ndef horae_event_type(): pass"),
        ["its registration failed: there is no hook horae_event_type"],
    ),
    "contributes rubbish": (
        plugin("@hookimpl\ndef horae_executors(): return {'acme': 5}"),
        ["its collection failed: horae_executors gave 5 as 'acme'"],
    ),
}


@pytest.fixture
def careful(site: Site, host_on: Callable[..., Host]) -> Host:
    """A started host that gives a new plugin a second in a child process."""
    return host_on(name="test", preflight=1.0).start()


@pytest.mark.parametrize("case", FAILING)
def test_what_would_end_or_stop_the_host_is_a_verdict(careful: Host, site: Site, case: str) -> None:
    """The plugin is failed at its preflight, with a reason in words; nothing of it is here."""
    source, texts = FAILING[case]
    site.install(source)
    with pytest.raises(PluginLoadFailed) as caught:
        careful.load_plugin("acme")
    assert caught.value.phase == "preflight"
    for text in texts:
        assert text in str(caught.value)
    info = plugin_of(careful)
    assert (info.state, info.phase) == (PluginState.FAILED, "preflight")
    assert info.reason == str(caught.value)
    assert site.modules() == set()
    careful.register("own.ask")(lambda context: "still here")
    assert answer_of(careful, "own.ask") == "still here"


@pytest.mark.parametrize("case", ["segfaults", "hangs"])
def test_an_upgrade_that_would_end_the_host_leaves_the_old_version(
    careful: Host, site: Site, case: str
) -> None:
    """Its runs are not even held up: the old version is withdrawn after the preflight alone."""
    site.install(answering(1))
    careful.load_plugin("acme")
    site.install(FAILING[case][0], version="2.0")
    with pytest.raises(PluginLoadFailed, match="preflight"):
        careful.upgrade_plugin("acme")
    assert answer_of(careful) == 1
    assert site.modules() == {"acme_plugin"}
    info = plugin_of(careful)
    assert (info.state, info.version, info.generation) == (PluginState.ACTIVE, "1.0", 1)
    site.install(answering(3), version="3.0")
    careful.upgrade_plugin("acme")
    assert answer_of(careful) == 3


def counting(site: Site, folder: Path) -> Callable[[], list[int]]:
    """Install a plugin that writes down the process that imports it; the others that did."""
    notes = folder / "imports"
    notes.touch()
    note = (
        "import os\n"
        f"with open({str(notes)!r}, 'a') as notes:\n    notes.write(f'{{os.getpid()}}\\n')\n"
    )
    site.install(note + answering(1))
    return lambda: [pid for pid in map(int, notes.read_text().split()) if pid != os.getpid()]


def test_only_unseen_code_goes_through_a_preflight(
    site: Site, host_on: Callable[..., Host], tmp_path: Path
) -> None:
    """Neither a second load nor a restart pays again; other files of the same version do."""
    elsewhere = counting(site, tmp_path)
    for _ in range(2):
        with host_on(name="test", preflight=10) as host:
            assert plugin_of(host).state is PluginState.ACTIVE if elsewhere() else True
            host.load_plugin("acme")
            host.unload_plugin("acme")
            host.load_plugin("acme")
    assert len(elsewhere()) == 1
    site.install({"acme_plugin/__init__.py": answering(2), "acme_plugin/more.py": "raise"})
    counting(site, tmp_path)
    source = site.folder / "acme_plugin" / "__init__.py"
    site.install(source.read_text() + "# other\n")
    with host_on(name="test", preflight=10) as host:
        assert plugin_of(host).state is PluginState.ACTIVE
    assert len(elsewhere()) == 2


def test_a_client_remembers_what_it_has_loaded(
    site: Site, host_on: Callable[..., Host], tmp_path: Path
) -> None:
    """What it does is not on record; but it need not look twice."""
    elsewhere = counting(site, tmp_path)
    client = host_on(name="test", preflight=10)
    for _ in range(2):
        client.load_plugin("acme")
        client.unload_plugin("acme")
    assert len(elsewhere()) == 1


def test_a_load_that_failed_does_not_make_code_known(
    site: Site, host_on: Callable[..., Host], tmp_path: Path
) -> None:
    """Only what was loaded whole has been seen."""
    elsewhere = counting(site, tmp_path)
    source = (site.folder / "acme_plugin" / "__init__.py").read_text()
    site.install(f"{source}@hookimpl\ndef horae_activate(context): raise ValueError\n")
    host = host_on(name="test", preflight=10).start()
    for _ in range(2):
        with pytest.raises(PluginLoadFailed, match="activation"):
            host.load_plugin("acme")
    assert len(elsewhere()) == 2


def test_without_a_preflight_the_host_imports_at_once(
    site: Site, host_on: Callable[..., Host], tmp_path: Path
) -> None:
    """0 seconds turn it off."""
    elsewhere = counting(site, tmp_path)
    host_on(name="test", preflight=0).start().load_plugin("acme")
    assert elsewhere() == []


def test_the_child_leaves_no_process_behind(careful: Host, site: Site, tmp_path: Path) -> None:
    """What the import started in its process group is ended with it."""
    notes = tmp_path / "started"
    site.install(
        f"import pathlib, subprocess\nchild = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(notes)!r}).write_text(str(child.pid))\nimport os; os._exit(1)\n"
    )
    with pytest.raises(PluginLoadFailed):
        careful.load_plugin("acme")
    stat = Path("/proc", notes.read_text(), "stat")
    until(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX")


def test_threads_of_the_plugin_do_not_hold_the_child_up(careful: Host, site: Site) -> None:
    """Its verdict is there once the plugin is imported, whatever runs on in it."""
    site.install(
        "import sys, threading, time\nif 'horae.child' in sys.modules:\n"
        f"    threading.Thread(target=time.sleep, args=(600,)).start()\n{answering(1)}"
    )
    assert careful.load_plugin("acme").state is PluginState.ACTIVE


def test_files_that_change_meanwhile_are_not_loaded(site: Site, host: Host) -> None:
    """The verdict holds for the files that the child has seen, and says so when they differ."""
    site.install(answering(1))
    candidate = discover()["acme"]
    site.install(answering(2))
    with pytest.raises(Refused, match="other files are installed by now"):
        preflight.Preflight(host.store, host, 10.0).check(candidate)


def test_an_editable_install_is_looked_at_each_time(
    site: Site, host_on: Callable[..., Host], tmp_path: Path
) -> None:
    """Its RECORD does not tell whether its sources have changed."""
    elsewhere = counting(site, tmp_path)
    (site.folder / "acme_plugin-1.0.dist-info" / "direct_url.json").write_text(
        '{"url": "file:///x", "dir_info": {"editable": true}}'
    )
    host = host_on(name="test", preflight=10).start()
    for _ in range(2):
        host.load_plugin("acme")
        host.unload_plugin("acme")
    assert len(elsewhere()) == 2


@pytest.mark.parametrize("case", ["segfaults", "exits hard"])
def test_a_real_host_process_outlives_such_a_plugin(site: Site, tmp_path: Path, case: str) -> None:
    """With the settings as they come, a host of its own process goes on after the verdict."""
    site.install(FAILING[case][0])
    program = """
    import sys
    from horae import Host, PluginLoadFailed
    with Host(f"sqlite:///{sys.argv[1]}") as host:
        try:
            host.load_plugin("acme")
        except PluginLoadFailed as error:
            print(error.phase)
        host.register("own.ask")(lambda context: "went on")
        print(host.wait(host.schedule("own.ask").id, timeout=20).result)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "real.db")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line in ("preflight", "went on")]
    assert (done.returncode, said) == (0, ["preflight", "went on"])


def test_an_interrupt_ends_the_child_and_comes_through(
    careful: Host, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the host waits for its child leaves no trace of the plugin."""
    began: list[Any] = []

    def interrupt(child: Any, _seconds: float) -> None:
        began.append(child.process)
        raise KeyboardInterrupt

    site.install("import time; time.sleep(600)")
    with monkeypatch.context() as patch:
        patch.setattr(preflight._Child, "listen", interrupt)
        with pytest.raises(KeyboardInterrupt):
            careful.load_plugin("acme")
    assert began[0].returncode == -signal.SIGKILL
    assert site.modules() == set()
    site.install(answering(1))
    assert careful.load_plugin("acme").state is PluginState.ACTIVE
