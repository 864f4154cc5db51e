"""A type that keeps failing is suspended, and its events wait until somebody resumes it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from horae import Budget, Host, SettableClock, Settings, SettingsError, SystemClock
from horae_hookspecs import Outcome, PluginState
from kit.hosts import answer_of, plugin_of, run_of, until
from kit.sites import Site, plugin

Hosts = Callable[..., Host]

SOURCE = """
    import os, signal

    @events.register("acme.ask", aliases=["acme.old"])
    def ask(context, fail: bool = False):
        if fail:
            raise ValueError("no answer")
        return 1

    @events.register("acme.crash", executor="process")
    def crash(context, how: str = "signal"):
        if how == "signal":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(3)
        if how == "raise":
            raise ValueError
        return 2
"""


def host_with(host_on: Hosts, site: Site, **budget: Any) -> Host:
    """A started host with the plugin loaded, and this budget."""
    site.install(plugin(SOURCE))
    host = host_on(name="test", workers=4, budget=Budget(**budget)).start()
    host.load_plugin("acme")
    return host


def suspended(host: Host) -> bool:
    """Whether the host has suspended anything of the plugin by now, on record."""
    return any(row.suspended for row in host.store.plugin_rows())


def over(host: Host) -> None:
    """Fail twice, and wait for what comes of it."""
    for _ in range(2):
        run_of(host, fail=True)
    until(lambda: suspended(host))


def test_a_type_that_fails_too_often_in_a_row_is_suspended(host_on: Hosts, site: Site) -> None:
    """Its events wait, under each of its names, with the reason and the remedy; others run."""
    host = host_with(host_on, site, failures=2)
    over(host)
    host.schedule("acme.ask")
    host.schedule("acme.old", {"fail": False})
    old, new = sorted(host.waiting(), key=lambda one: one.event_type, reverse=True)
    assert (old.event_type, new.event_type) == ("acme.old", "acme.ask")
    assert "suspended on test: 2 runs in a row failed" in new.reason
    assert "no answer" in new.reason
    assert new.remedy == old.remedy == "horae plugin resume acme"
    info = plugin_of(host)
    assert info.state is PluginState.ACTIVE
    assert str(info.reason).startswith("acme.ask is suspended: ")
    assert answer_of(host, "acme.crash", how="not") == 2
    assert host.overview()["acme.ask"]["pending"] == 1


def test_a_resumed_plugin_runs_what_waited(host_on: Hosts, site: Site) -> None:
    """Its count begins anew."""
    host = host_with(host_on, site, failures=2)
    over(host)
    waiting = host.schedule("acme.ask")
    info = host.resume_plugin("acme")
    assert (info.state, info.reason) == (PluginState.ACTIVE, None)
    run = host.wait(waiting.id, timeout=20)
    assert run is not None
    assert run.outcome is Outcome.SUCCEEDED
    assert not suspended(host)
    run_of(host, fail=True)
    assert answer_of(host) == 1


def test_a_success_between_failures_starts_the_count_anew(host_on: Hosts, site: Site) -> None:
    """In a row means in a row."""
    host = host_with(host_on, site, failures=2)
    for _ in range(3):
        run_of(host, fail=True)
        assert answer_of(host) == 1
    assert not suspended(host)


def test_failures_alone_suspend_nothing_by_default(host_on: Hosts, site: Site) -> None:
    """They may be the news that the job is for."""
    host = host_with(host_on, site)
    for _ in range(12):
        run_of(host, fail=True)
    assert answer_of(host) == 1
    assert not suspended(host)


@pytest.mark.parametrize("how", ["signal", "exit"])
def test_a_type_that_keeps_crashing_is_suspended(host_on: Hosts, site: Site, how: str) -> None:
    """By default after three child processes in a row that ended by themselves."""
    host = host_with(host_on, site)
    for _ in range(2):
        run_of(host, "acme.crash", how=how)
    run_of(host, "acme.crash", how="raise")
    for _ in range(2):
        run_of(host, "acme.crash", how=how)
    assert not suspended(host)
    run_of(host, "acme.crash", how=how)
    until(lambda: suspended(host))
    host.schedule("acme.crash")
    (waiting,) = host.waiting()
    assert "3 runs in a row ended with a crash of their process" in waiting.reason
    assert answer_of(host) == 1


def test_a_plugin_over_its_budget_is_suspended_as_a_whole(
    host_on: Hosts, site: Site, clock: SettableClock, logs: list[MutableMapping[str, Any]]
) -> None:
    """So many failures within the window, of whatever types; older ones do not count."""
    host = host_with(host_on, site, plugin_failures=3)
    run_of(host, fail=True)
    clock.advance(timedelta(hours=2))
    run_of(host, fail=True)
    run_of(host, "acme.crash", how="raise")
    assert not suspended(host)
    assert answer_of(host) == 1
    run_of(host, fail=True)
    until(lambda: suspended(host))
    assert plugin_of(host).state is PluginState.SUSPENDED
    assert "3 runs of the plugin failed within 1:00:00" in str(plugin_of(host).reason)
    assert [one for one in logs if one["event"] == "plugin.suspended"]
    host.schedule("acme.ask")
    host.schedule("acme.crash")
    assert {one.event_type for one in host.waiting()} == {"acme.ask", "acme.crash"}


def test_a_suspension_outlives_a_restart_and_an_unload(host_on: Hosts, site: Site) -> None:
    """Whoever loads the same version again has not mended it."""
    host = host_with(host_on, site, failures=2)
    over(host)
    host.close()
    host = host_on(name="test").start()
    assert "is suspended" in str(plugin_of(host).reason)
    host.unload_plugin("acme")
    host.load_plugin("acme")
    host.schedule("acme.ask")
    (waiting,) = host.waiting()
    assert waiting.remedy == "horae plugin resume acme"


def test_another_version_starts_afresh(host_on: Hosts, site: Site) -> None:
    """An upgrade is the usual remedy."""
    host = host_with(host_on, site, failures=2)
    over(host)
    waiting = host.schedule("acme.ask")
    site.install(plugin(SOURCE), version="2.0")
    assert host.upgrade_plugin("acme").reason is None
    run = host.wait(waiting.id, timeout=20)
    assert run is not None
    assert run.outcome is Outcome.SUCCEEDED
    assert not suspended(host)


def test_a_failed_upgrade_leaves_the_suspension(host_on: Hosts, site: Site) -> None:
    """The old code goes on as it stood."""
    host = host_with(host_on, site, failures=2)
    over(host)
    site.install("raise ValueError", version="2.0")
    with pytest.raises(Exception, match="failed at import"):
        host.upgrade_plugin("acme")
    host.schedule("acme.ask")
    (waiting,) = host.waiting()
    assert waiting.remedy == "horae plugin resume acme"


def test_resuming_what_is_not_loaded_loads_it(host_on: Hosts, site: Site) -> None:
    """Whatever was suspended of it runs."""
    host = host_with(host_on, site, failures=2)
    over(host)
    host.unload_plugin("acme")
    host.resume_plugin("acme")
    assert answer_of(host) == 1


def test_what_the_application_registered_itself_is_never_suspended(host_on: Hosts) -> None:
    """It is no plugin, and could not be resumed."""
    host = host_on(budget=Budget(failures=1)).start()

    @host.register("own.fail")
    def fail(context: Any) -> None:
        raise ValueError

    for _ in range(3):
        run_of(host, "own.fail")
    assert host.waiting() == []


def test_a_resumption_is_kept_for_a_host_that_is_away(host_on: Hosts, site: Site) -> None:
    """Asked for through the store, it is carried out at the next start."""
    host = host_with(host_on, site, failures=2)
    over(host)
    host.close()
    client = host_on()
    client.store.request_plugin("test", "acme", "resume")
    host = host_on(name="test").start()
    assert answer_of(host) == 1
    assert not suspended(host)


LOST = """
import sys, time
from horae import Host
sys.path.insert(0, sys.argv[2])
with Host(sys.argv[1]) as host:
    host.load_plugin("acme")
    host.schedule("acme.fatal")
    time.sleep(60)
"""

FATAL = """
    import os, signal

    @events.register("acme.fatal")
    def fatal(context):
        if "HORAE_FATAL" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
        return 1

    @events.register("acme.ask")
    def ask(context):
        return 1
"""


def lose_two_hosts(site: Site, url: str) -> None:
    """Two host processes in a row, ended by a job of the plugin."""
    site.install(plugin(FATAL))
    for _ in range(2):
        command = [sys.executable, "-c", LOST, url, str(site.folder)]
        fatal = {**os.environ, "HORAE_FATAL": "1"}
        done = subprocess.run(command, capture_output=True, timeout=60, env=fatal)
        assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_type_that_takes_its_hosts_with_it_is_suspended(
    host_on: Hosts, site: Site, tmp_path: Path
) -> None:
    """Before the next host runs anything, if the operator wants that; other types run."""
    lose_two_hosts(site, f"sqlite:///{tmp_path}/events.db")
    host = host_on(name="test", autoload=True, budget=Budget(lost_hosts=2), clock=SystemClock())
    host.start()
    (waiting,) = [one for one in host.waiting() if one.event_type == "acme.fatal"]
    assert waiting.remedy == "horae plugin resume acme"
    assert "2 hosts in a row were lost" in waiting.reason
    assert answer_of(host) == 1
    assert {run.outcome for run in host.runs(event_type="acme.fatal")} == {Outcome.INTERRUPTED}
    host.resume_plugin("acme")
    assert answer_of(host, "acme.fatal") == 1


def test_a_new_version_is_not_blamed_for_lost_hosts(
    host_on: Hosts, site: Site, tmp_path: Path
) -> None:
    """It may be the remedy."""
    lose_two_hosts(site, f"sqlite:///{tmp_path}/events.db")
    site.install(plugin(FATAL), version="2.0")
    host = host_on(name="test", autoload=True, budget=Budget(lost_hosts=2), clock=SystemClock())
    host.start()
    assert answer_of(host, "acme.fatal") == 1
    assert not suspended(host)


def test_a_budget_can_stand_in_the_settings_file(tmp_path: Path) -> None:
    """The window in seconds; 0 is no limit, since a file cannot say None."""
    file = tmp_path / "horae.toml"
    file.write_text("[budget]\ncrashes = 0\nplugin_failures = 50\nwindow = 600\n")
    wanted = Budget(crashes=0, plugin_failures=50, window=timedelta(minutes=10))
    assert Settings.read(file).budget == wanted
    file.write_text("[budget]\ncrashes = -1\nfailures = 2.5\n")
    with pytest.raises(SettingsError, match=r"\$\.budget\.failures"):
        Settings.read(file)
