"""What unloaded code may still do, and what is said of it. The names p13 to p30 are the pitfalls
of research/plugins.md.
"""

import gc
import subprocess
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from horae import Host, PluginLoadFailed
from horae_hookspecs import PluginState
from kit.hosts import answer_of, plugin_of, run_of, until
from kit.sites import Site, answering, plugin

HELD = "import journal\nclass Held:\n    def method(self): return Held\n"


def test_every_edge_is_logged_with_what_it_was(
    host: Host, site: Site, logs: list[MutableMapping[str, Any]]
) -> None:
    """Plugin, version, generation, the phase that ended there, and how long it took."""
    site.install(answering(1))
    host.load_plugin("acme")
    host.unload_plugin("acme")
    site.install("raise ValueError('no')", version="2.0")
    with pytest.raises(PluginLoadFailed):
        host.load_plugin("acme")
    edges = [entry for entry in logs if entry.get("phase") and entry["plugin"] == "acme"]
    told = [(e["event"], e["version"], e["generation"], e["phase"]) for e in edges]
    assert told == [
        ("plugin.active", "1.0", 1, "publish"),
        ("plugin.draining", "1.0", 1, "withdraw"),
        ("plugin.unloaded", "1.0", 1, "purge"),
        ("plugin.collected", "1.0", 1, "verdict"),
        ("plugin.failed", "2.0", 2, "import"),
    ]
    assert all(edge["seconds"] >= 0 for edge in edges)
    assert (plugin_of(host).state, plugin_of(host).phase) == (PluginState.FAILED, "import")


def test_a_leak_is_an_object_a_text_and_a_log_event(
    host: Host, site: Site, journal: Any, logs: list[MutableMapping[str, Any]]
) -> None:
    """And all three name the survivor and its holder."""
    site.install(plugin(f"{HELD}journal.kept.append(Held)\n"))
    host.load_plugin("acme")
    leaks = host.unload_plugin("acme").leaks
    assert leaks is not None
    held = next(one for one in leaks.survivors if one.name == "acme_plugin.Held")
    assert (held.kind, held.holders) == ("class", ("list", "kept in module journal"))
    line = "class acme_plugin.Held <- list <- kept in module journal"
    assert str(leaks).startswith("acme 1.0, generation 1: ")
    assert line in str(leaks)
    (entry,) = [entry for entry in logs if entry["event"] == "plugin.leaking"]
    assert line in entry["holders"]
    assert (entry["plugin"], entry["log_level"]) == ("acme", "warning")
    assert line in str(plugin_of(host).reason)
    journal.kept.clear()


def test_what_is_let_go_later_becomes_collected(
    host: Host, site: Site, journal: Any, host_on: Callable[..., Host]
) -> None:
    """On the host as soon as somebody looks, and then in the store, for the commands."""
    site.install(plugin(f"{HELD}journal.kept.append(Held)\n"))
    host.load_plugin("acme")
    host.unload_plugin("acme")
    assert [info.state for info in host_on().plugins()] == [PluginState.LEAKING]
    (report,) = host.plugin_leaks("acme")
    assert not report.collected
    journal.kept.clear()
    assert host.plugin_leaks("acme") == []
    assert plugin_of(host).state is PluginState.COLLECTED
    until(lambda: [info.state for info in host_on().plugins()] == [PluginState.COLLECTED])


def test_changes_that_hold_no_code_are_told_of_a_collected_plugin(
    host: Host, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the environment; values, which may be secrets, are not."""
    monkeypatch.delenv("ACME_TIDE", raising=False)
    site.install(plugin("import os\nos.environ['ACME_TIDE'] = 'secret'\n"))
    host.load_plugin("acme")
    report = host.unload_plugin("acme")
    monkeypatch.setenv("ACME_TIDE", "")
    assert report.collected
    assert report.leaks is not None
    assert [str(change) for change in report.leaks.changes] == ["os.environ: ACME_TIDE"]
    assert "secret" not in str(report)
    assert plugin_of(host).state is PluginState.COLLECTED


def test_what_hangs_in_deactivate_is_left_behind_and_named(
    host_on: Callable[..., Host], site: Site, journal: Any
) -> None:
    """The host goes on; the thread is in the report with where it stands."""
    host = host_on(name="test", deactivate=0.2).start()
    site.install(
        plugin(
            """
            import journal

            @hookimpl
            def horae_deactivate(context):
                journal.hold()
            """
        )
    )
    host.load_plugin("acme")
    report = host.unload_plugin("acme")
    (error,) = report.errors
    assert error.startswith("horae_deactivate did not return within 0.2 s, and was left at ")
    assert not report.collected
    assert report.leaks is not None
    (thread,) = report.leaks.threads
    assert thread.name == "horae-horae_deactivate"
    assert any(line.startswith("horae_deactivate (") for line in thread.stack)
    site.install(answering(1))
    host.load_plugin("acme")
    assert answer_of(host) == 1
    journal.go.set()
    until(lambda: host.plugin_leaks("acme") == [])


def test_old_generations_that_upgrades_leave_are_told(
    host: Host, site: Site, journal: Any, logs: list[MutableMapping[str, Any]]
) -> None:
    """An upgrade does not wait for a collection; several that stay behind are looked at."""
    for number in range(5):
        site.install(answering(number) + f"{HELD}journal.kept.append(Held)\n")
        host.upgrade_plugin("acme")
    assert plugin_of(host).state is PluginState.ACTIVE
    assert answer_of(host) == 4
    told = [entry for entry in logs if entry["event"] == "plugin.leaking"]
    assert {entry["generation"] for entry in told} == {1, 2, 3, 4}
    assert [report.generation for report in host.plugin_leaks("acme")] == [1, 2, 3, 4]
    journal.kept.clear()
    assert host.plugin_leaks("acme") == []


def test_p13_a_failed_load_leaves_nothing_in_typing_caches(
    host: Host, site: Site, journal: Any
) -> None:
    """``List[C]`` is cached for ever, also where the import fails right after it."""
    site.install(f"import typing\n{HELD}journal.watch(Held)\ntyping.List[Held]\n1 / 0\n")
    with pytest.raises(PluginLoadFailed):
        host.load_plugin("acme")
    gc.collect()
    assert [ref() for ref in journal.refs] == [None]


def test_p14_code_that_outlives_its_module_object_is_seen(
    host: Host, site: Site, journal: Any
) -> None:
    """The module is dead while its functions live: a weak reference on it would say nothing."""
    site.install(
        plugin(
            f"{HELD}import sys\njournal.watch(sys.modules[__name__])\n"
            "journal.kept.append(lambda: Held)\n"
        )
    )
    host.load_plugin("acme")
    assert not host.unload_plugin("acme").collected
    assert [ref() for ref in journal.refs] == [None]
    journal.kept.clear()


def test_p15_a_method_that_attrs_wrote_counts_as_the_plugins(
    host: Host, site: Site, journal: Any
) -> None:
    """Its globals are a copy, so it keeps neither the class nor the module alive."""
    site.install(
        plugin(
            "import journal\n@attrs.define(slots=False)\nclass Held:\n    x: int = 1\n"
            "journal.kept.append(Held.__init__)\n"
        )
    )
    host.load_plugin("acme")
    report = host.unload_plugin("acme")
    assert "function acme_plugin.Held.__init__ <- list <- kept in module journal" in report.holders
    journal.kept.clear()


@pytest.mark.parametrize(
    "broken",
    [
        "1 / 0\n",
        "@hookimpl\ndef horae_activate(wrong): pass\n",
        "@hookimpl\ndef horae_odd(): pass\n",
    ],
)
def test_p16_the_error_of_a_failed_load_holds_no_code(
    host: Host, site: Site, journal: Any, broken: str
) -> None:
    """Whoever keeps it; pluggy's own has the plugin in it, and a traceback its frames."""
    site.install(plugin(f"{HELD}journal.watch(Held)\n{broken}"))
    with pytest.raises(PluginLoadFailed) as failed:
        host.load_plugin("acme")
    kept = failed.value
    del failed
    gc.collect()
    assert [ref() for ref in journal.refs] == [None], kept


def test_p17_context_variables_set_by_hooks_do_not_reach_the_host(
    host: Host, site: Site, journal: Any
) -> None:
    """At import, in activate and in deactivate: each has a context that goes with it."""
    import contextvars

    journal.variable = contextvars.ContextVar("journal.variable", default=None)
    site.install(
        plugin(
            f"{HELD}journal.variable.set(Held)\n"
            "@hookimpl\ndef horae_activate(context): journal.variable.set(Held)\n"
            "@hookimpl\ndef horae_deactivate(context): journal.variable.set(Held)\n"
        )
    )
    host.load_plugin("acme")
    assert host.unload_plugin("acme").collected
    assert journal.variable.get() is None


def test_p18_a_handler_on_the_plugins_own_logger_is_found(host: Host, site: Site) -> None:
    """Loggers are for ever, whoever they are named after."""
    import logging

    site.install(
        plugin(
            "import logging\nclass Tide(logging.Handler): pass\n"
            "logging.getLogger('acme.own').addHandler(Tide())\n"
        )
    )
    host.load_plugin("acme")
    report = host.unload_plugin("acme")
    logging.getLogger("acme.own").handlers.clear()
    assert report.leaks is not None
    change = "logger 'acme.own': handler acme_plugin.Tide"
    assert change in [str(one) for one in report.leaks.changes]
    assert f"class acme_plugin.Tide <- {change}" in report.holders


FOR_EVER = """
import sys
from pathlib import Path
from horae import Host, Settings
from kit.sites import Site, plugin
site = Site(Path(sys.argv[1]) / "site")
host = Host(Settings(url="memory://", preflight=0)).start()
site.install(plugin({source!r}))
host.load_plugin("acme")
report = host.unload_plugin("acme")
print(report.collected, *report.holders, sep="\\n")
host.close()
"""


@pytest.mark.parametrize(
    ("source", "holder"),
    [
        ("def held(*_): pass\nimport sys\nsys.addaudithook(held)\n", "sys.addaudithook"),
        (
            "def held(*_): pass\nimport os\nos.register_at_fork(after_in_child=held)\n",
            "os.register_at_fork",
        ),
        ("def held(*_): pass\nimport atexit\natexit.register(held)\n", "atexit: acme_plugin.held"),
    ],
    ids=["audit hook", "at fork", "atexit"],
)
def test_p19_what_the_interpreter_keeps_for_ever_is_told(
    tmp_path: Path, source: str, holder: str
) -> None:
    """In a process of its own, since there is no way back from two of them."""
    done = subprocess.run(
        [sys.executable, "-c", FOR_EVER.format(source=source), tmp_path],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    collected, *holders = [line for line in done.stdout.splitlines() if "[" not in line[:30]]
    assert collected == "False"
    assert any(line.startswith("function acme_plugin.held") and holder in line for line in holders)


LAZY = {
    "acme_plugin/__init__.py": plugin(
        """
        import journal

        def fetch():
            from . import late
            return late

        journal.kept.append(fetch)

        @events.register("acme.ask")
        def ask(context):
            return fetch().value
        """
    ),
    "acme_plugin/late.py": "value = 'late'\n",
}


def test_p20_old_code_cannot_bring_the_plugin_back(host: Host, site: Site, journal: Any) -> None:
    """Its lazy imports are refused; the application's, and the next generation's, are not."""
    site.install(LAZY)
    host.load_plugin("acme")
    assert host.unload_plugin("acme").collected is False
    with pytest.raises(ImportError, match=r"'acme' was unloaded.*old code"):
        journal.kept[0]()
    assert site.modules() == set()
    import acme_plugin.late  # type: ignore[import-not-found]  # the application's own import

    assert acme_plugin.late.value == "late"
    for name in site.modules():
        del sys.modules[name]
    host.load_plugin("acme")
    assert answer_of(host) == "late"
    host.unload_plugin("acme")
    journal.kept.clear()
    del acme_plugin
    assert host.plugin_leaks("acme") == []
    assert not any(type(finder).__name__ == "Guard" for finder in sys.meta_path)


def test_p20_old_code_does_not_mix_the_next_generation_into_itself(
    host: Host, site: Site, journal: Any
) -> None:
    """After an upgrade the old code gets no module of the new one that is not there yet."""
    site.install(LAZY)
    host.load_plugin("acme")
    site.install({**LAZY, "acme_plugin/late.py": "value = 'new'\n"}, version="2.0")
    host.upgrade_plugin("acme")
    old, new = journal.kept
    with pytest.raises(ImportError):
        old()
    assert "acme_plugin.late" not in sys.modules
    assert new().value == "new"
    journal.kept.clear()


def test_p23_tracebacks_after_an_upgrade_show_the_lines_of_the_new_code(
    host: Host, site: Site, logs: list[MutableMapping[str, Any]]
) -> None:
    """The cache of source lines is told of files that were replaced."""
    source = "@events.register('acme.ask')\ndef ask(context):\n    {line}\n"
    for number, line in enumerate(["raise ValueError('ebb')", "\n    raise ValueError('flood')"]):
        site.install(plugin(source.format(line=line)), version=f"{number}.0")
        host.upgrade_plugin("acme")
        error = str(run_of(host).error)
        assert line.strip() in error
    assert "ebb" not in error


def test_p29_a_blocked_thread_is_named_and_the_host_goes_on(
    host: Host, site: Site, journal: Any
) -> None:
    """It cannot be interrupted; the report says where it stands."""
    site.install(
        plugin(
            """
            import threading, journal

            def forever():
                journal.go.wait(60)

            threading.Thread(target=forever, daemon=True, name="tide").start()
            """
        )
    )
    site.install(answering("here", "other.ask"), plugin="other")
    host.load_plugin("acme")
    report = host.unload_plugin("acme")
    assert not report.collected
    assert report.leaks is not None
    (thread,) = report.leaks.threads
    assert thread.name == "tide"
    assert thread.stack[0].startswith("wait (")
    assert any(line.startswith("forever (") for line in thread.stack)
    assert all("thread 'tide'" in line for line in report.holders)
    host.load_plugin("other")
    assert answer_of(host, "other.ask") == "here"
    journal.go.set()
    until(lambda: host.plugin_leaks("acme") == [])


def test_p30_to_ask_holds_nothing(host: Host, site: Site, journal: Any) -> None:
    """Asked again and again, with the same answer; reports are kept, and hold nothing."""
    site.install(plugin(f"{HELD}journal.kept.append(Held)\n"))
    reports = []
    for _ in range(3):
        host.load_plugin("acme")
        reports.append(host.unload_plugin("acme").leaks)
    reports += host.plugin_leaks("acme")
    assert [report and report.generation for report in reports] == [1, 2, 3, 1, 2, 3]
    assert all("kept in module journal" in str(report) for report in reports)
    assert [attrs.evolve(report) for report in reports if report]
    journal.kept.clear()
    assert host.plugin_leaks("acme") == []
