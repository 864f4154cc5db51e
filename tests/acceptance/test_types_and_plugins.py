"""Rows 1 to 13: event types, and the plugins that bring them and take them away."""

import gc
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from horae import Host, PluginLoadFailed, SettableClock, TypeTaken
from horae_hookspecs import Outcome, PluginState, State
from kit.environments import make_venv, pip_install, pip_uninstall
from kit.events import LONG, outcomes, runs_of, stored
from kit.hosts import answer_of, plugin_of
from kit.processes import Processes
from kit.sites import HEAD, Site, answering, plugin
from kit.wheels import build_wheel

SEED_STYLE = """
def load():
    events.load()

def unload():
    {unload}
"""


def names(host: Host) -> set[str]:
    """The types that are loaded."""
    return {info.event_type for info in host.event_types() if info.loaded}


def seed_style(unload: str) -> str:
    """The source of a plugin with ``load`` and ``unload`` instead of hooks."""
    body = "@events.register('acme.ask')\ndef ask(context):\n    return 1\n"
    return HEAD + body + SEED_STYLE.format(unload=unload)


def test_row_01_register_by_decorator(host: Host, site: Site) -> None:
    """After a load the list of types shows the uid, its distribution and version."""
    site.install(answering(1), version="1.2")
    host.start().load_plugin("acme")
    (info,) = [one for one in host.event_types() if one.event_type == "acme.ask"]
    assert (info.plugin, info.distribution, info.version) == ("acme", "acme-plugin", "1.2")
    assert info.loaded


def test_row_02_duplicate_uid(host: Host, site: Site) -> None:
    """A second distribution that claims a uid is refused, both owners named; the first works on."""
    site.install(answering("first"))
    site.install(answering("second"), plugin="rival")
    host.start().load_plugin("acme")
    with pytest.raises(TypeTaken, match=r"'acme'.*'rival'"):
        host.load_plugin("rival")
    assert answer_of(host) == "first"


def test_row_03_deferred_registry_object(host: Host, site: Site) -> None:
    """To import the plugin registers nothing; to load it does."""
    site.install(answering(1))
    host.start()
    __import__("acme_plugin")
    assert "acme.ask" not in names(host)
    host.load_plugin("acme")
    assert "acme.ask" in names(host)


def test_row_04_unload_withdraws_types(host: Host, site: Site) -> None:
    """After an unload the type is absent, no new run starts, and the process is the same."""
    pid = os.getpid()
    site.install(answering(1))
    host.start().load_plugin("acme")
    host.unload_plugin("acme")
    event = host.schedule("acme.ask")
    host.run_until_idle(LONG)
    assert "acme.ask" not in names(host)
    assert runs_of(host, event) == []
    assert os.getpid() == pid


def test_row_05_load_and_unload_repeatable(host: Host, site: Site) -> None:
    """A hundred cycles end with the same list of types, and with no more objects."""
    site.install(answering(1))
    host.start()
    counts = []
    for _ in range(100):
        host.load_plugin("acme")
        host.load_plugin("acme")
        assert "acme.ask" in names(host)
        host.unload_plugin("acme")
        gc.collect()
        counts.append(len(gc.get_objects()))
    assert "acme.ask" not in names(host)
    assert counts[-1] - counts[10] < 500


@pytest.mark.parametrize("unload", ["pass", "raise ValueError('broken')"])
def test_row_06_host_withdraws_whatever_unload_does(host: Host, site: Site, unload: str) -> None:
    """A plugin whose unload does nothing, and one whose unload raises, leave no registration."""
    site.install(seed_style(unload))
    host.start().load_plugin("acme")
    assert answer_of(host) == 1
    host.unload_plugin("acme")
    assert "acme.ask" not in names(host)


def test_row_07_pending_events_survive_unload(host: Host, clock: SettableClock, site: Site) -> None:
    """Unloaded, due, loaded again: it waits with an empty history, and then runs once."""
    site.install(answering(1))
    host.start().load_plugin("acme")
    event = host.schedule("acme.ask", schedule="in 1h")
    host.unload_plugin("acme")
    clock.advance(7200)
    host.run_until_idle(LONG)
    assert (stored(host, event).state, runs_of(host, event)) == (State.PENDING, [])
    host.load_plugin("acme")
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.SUCCEEDED]


def test_row_08_unknown_type_shown(host: Host, clock: SettableClock, site: Site) -> None:
    """How many events wait, how many are overdue, and what brings the type back."""
    site.install(answering(1))
    host.start().load_plugin("acme")
    host.schedule_many([{"event_type": "acme.ask", "schedule": "in 1h"}] * 3)
    host.unload_plugin("acme")
    clock.advance(7200)
    (waiting,) = host.waiting()
    assert (waiting.event_type, waiting.pending, waiting.overdue) == ("acme.ask", 3, 3)
    assert waiting.remedy == "horae plugin load acme"


@pytest.mark.parametrize("drain", [LONG, 0])
def test_row_09_unload_while_a_job_runs(host: Host, site: Site, drain: float) -> None:
    """The run completes within the deadline, or is recorded as interrupted; it never vanishes."""
    entered, go = threading.Event(), threading.Event()
    held = type("Held", (), {"entered": entered, "go": go})
    site.install(
        plugin(
            """
            @events.register("acme.ask")
            def ask(context):
                held.entered.set()
                held.go.wait(20)
            """
        )
    )
    host.start().load_plugin("acme")
    __import__("acme_plugin").held = held
    event = host.schedule("acme.ask")
    assert entered.wait(LONG)
    if drain:
        threading.Timer(0.05, go.set).start()
    report = host.unload_plugin("acme", drain=drain)
    go.set()
    assert (report.finished, report.abandoned) == ((1, 0) if drain else (0, 1))
    assert outcomes(host, event) == [Outcome.SUCCEEDED if drain else Outcome.INTERRUPTED]


def test_row_10_plugins_from_pip_distributions(tmp_path: Path, processes: Processes) -> None:
    """The type appears once pip installed it beside a running host, and goes with pip uninstall."""
    python = make_venv(tmp_path / "env")
    wheel = build_wheel(
        tmp_path,
        "acme-plugin",
        "1.0",
        {"acme_plugin/__init__.py": answering(7)},
        {"acme": "acme_plugin"},
    )
    program = (
        "import sys\nfrom horae import Host\nhost = Host(sys.argv[1]).start()\n"
        "print('up')\nsys.stdin.readline()\n"
    )
    processes.start(
        program.replace("sys.stdin.readline()", "import time\ntime.sleep(60)"),
        processes.url,
        python=python,
    ).expect("up")
    client = Host(processes.url)
    try:
        pip_install(python, wheel)
        (answer,) = client.command_plugin("load", "acme")
        assert answer.ok, answer.reason
        assert answer_of(client) == 7
        pip_uninstall(python, "acme-plugin")
        (answer,) = client.command_plugin("unload", "acme")
        assert answer.ok, answer.reason
        assert "acme.ask" not in names(client)
        assert client.discover() == [] or "acme" not in {one.name for one in client.discover()}
    finally:
        client.close()


def test_row_11_plugin_metadata_and_host_version(host: Host, site: Site) -> None:
    """A plugin made for another horae is refused with the reason; others load."""
    site.install(answering("old"), requires=["horae-hookspecs>=99", "attrs"])
    site.install(answering("good", "good.ask"), plugin="good", requires=["horae-hookspecs<99"])
    host.start()
    with pytest.raises(PluginLoadFailed, match="needs horae-hookspecs >=99"):
        host.load_plugin("acme")
    assert "needs horae-hookspecs" in str(plugin_of(host).reason)
    host.load_plugin("good")
    assert answer_of(host, "good.ask") == "good"


def test_row_12_modules_in_a_fixed_order(host: Host, site: Site) -> None:
    """The modules of a plugin are taken up in the order that it says, and down in reverse."""
    package = plugin(
        """
        from acme_plugin import first, second

        @hookimpl
        def horae_activate(context):
            for module in (first, second):
                module.load()
                context.undo(module.unload)
        """
    )
    part = "from acme_plugin_log import log\n\ndef load():\n    log.append('+{0}')\n"
    part += "\ndef unload():\n    log.append('-{0}')\n"
    site.install(
        {
            "acme_plugin/__init__.py": package,
            "acme_plugin/first.py": part.format("first"),
            "acme_plugin/second.py": part.format("second"),
            "acme_plugin_log.py": "log = []\n",
        }
    )
    host.start().load_plugin("acme")
    log: list[Any] = __import__("acme_plugin_log").log
    host.unload_plugin("acme")
    assert log == ["+first", "+second", "-second", "-first"]


def test_row_13_plugin_failure_isolation(host: Host, site: Site) -> None:
    """A plugin that breaks at import is shown, the host is up, and others run."""
    site.install("raise ImportError('no such thing')")
    site.install(answering("good", "good.ask"), plugin="good")
    host.start()
    with pytest.raises(PluginLoadFailed, match="no such thing"):
        host.load_plugin("acme")
    host.load_plugin("good")
    assert plugin_of(host).state is PluginState.FAILED
    assert answer_of(host, "good.ask") == "good"
