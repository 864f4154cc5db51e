"""Child processes end: at the deadline, by themselves, and with what they belong to."""

import os
import signal
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from horae import Host, SettableClock
from horae.scheduling import process_executor
from horae_hookspecs import Outcome
from kit.events import LONG, outcomes
from kit.hosts import answer_of, run_of, until
from kit.isolated import SOURCE, noted, running
from kit.processes import Processes
from kit.sites import Site, answering

HOSTING = """
import sys
from horae import Host
sys.path.insert(0, sys.argv[2])
host = Host(sys.argv[1])
host.start()
host.load_plugin("acme")
host.schedule("acme.family", {"notes": sys.argv[3]})
print("scheduled")
sys.stdin.read()
import time
time.sleep(600)
"""


def test_at_its_deadline_a_job_ends_whatever_it_does(
    host_on: Callable[..., Host], site: Site, clock: SettableClock, tmp_path: Path
) -> None:
    """Also what ignores SIGTERM, never leaves C, forks, or takes a session of its own."""
    site.install(SOURCE)
    host = host_on(processes=4).start()
    host.load_plugin("acme")
    jobs = {"spin": 1, "stubborn": 1, "busy_in_c": 1, "family": 4}
    events = [host.schedule(f"acme.{job}", {"notes": f"{tmp_path}/{job}"}) for job in jobs]
    pids = {job: noted(tmp_path / job, count) for job, count in jobs.items()}
    assert {job: running(found) for job, found in pids.items()} == pids
    clock.advance(31)
    for event in events:
        run = host.wait(event.id, LONG)
        assert run is not None
        assert run.outcome is Outcome.TIMEOUT
    for job, found in pids.items():
        until(lambda found=found: not running(found), timeout=3)
        assert answer_of(host, "acme.pid") not in found, job


def test_a_job_has_a_moment_to_clean_up(host: Host, clock: SettableClock, tmp_path: Path) -> None:
    """SIGTERM comes first, and leaves it as SystemExit."""
    event = host.schedule("acme.tidy", {"notes": f"{tmp_path}/notes"})
    noted(tmp_path / "notes")
    clock.advance(31)
    host.wait(event.id, LONG)
    assert noted(tmp_path / "notes.tidied") == noted(tmp_path / "notes")


def test_a_deadline_does_not_hold_up_the_engine(
    host: Host, clock: SettableClock, tmp_path: Path
) -> None:
    """Threads go on while a child that will not end is being killed."""
    host.register("app.quick")(lambda context: "done")
    event = host.schedule("acme.stubborn", {"notes": f"{tmp_path}/notes"})
    noted(tmp_path / "notes")
    clock.advance(31)
    begun = time.monotonic()
    host.wait(event.id, LONG)
    assert answer_of(host, "app.quick") == "done"
    assert time.monotonic() - begun < 0.45, "longer than the grace that the job has"


def test_a_crash_fails_its_run_alone_and_is_told(host: Host, tmp_path: Path) -> None:
    """The run beside it goes on, the one after it has a fresh child."""
    gate = tmp_path / "gate"
    beside = host.schedule("acme.hold", {"gate": str(gate)})
    noted(f"{gate}.notes")
    for how, end in {
        "exit": "exited with code 3",
        "segfault": "was ended by SIGSEGV",
        "kill": "was ended by SIGKILL",
        "kill the keeper": "was ended by SIGKILL",
    }.items():
        pid = answer_of(host, "acme.pid")
        run = run_of(host, "acme.crash", how=how)
        assert (run.outcome, run.error) == (Outcome.FAILED, f"the process of the job {end}")
        assert not running([pid])
    assert answer_of(host, "acme.pid") != os.getpid()
    gate.touch()
    held = host.wait(beside.id, LONG)
    assert held is not None
    assert held.result == "opened"


def test_a_cancelled_job_sees_it(host: Host, tmp_path: Path) -> None:
    """``context.cancelled`` is set where the job is."""
    event = host.schedule("acme.hold", {"gate": f"{tmp_path}/gate"})
    noted(tmp_path / "gate.notes")
    host.cancel(event.id)
    run = host.wait(event.id, LONG)
    until(lambda: outcomes(host, event) == [Outcome.SUCCEEDED])
    run = next(iter(host.runs(event_id=event.id)))
    assert run.result == "cancelled"


def test_as_many_run_at_once_as_there_are_places(host: Host, tmp_path: Path) -> None:
    """Two here, each in a child of its own; the third waits for one of them."""
    gate = tmp_path / "gate"
    events = [host.schedule("acme.hold", {"gate": str(gate)}) for _ in range(3)]
    first, second = noted(f"{gate}.notes", 2)
    assert first != second
    assert host.overview()["acme.hold"]["running"] >= 2
    time.sleep(0.1)
    assert len(noted(f"{gate}.notes", 2)) == 2
    gate.touch()
    for event in events:
        host.wait(event.id, LONG)
    assert set(noted(f"{gate}.notes", 3)) == {first, second}


def test_unloading_a_plugin_ends_its_children(host: Host) -> None:
    """The idle ones at once."""
    pid = answer_of(host, "acme.pid")
    host.unload_plugin("acme")
    until(lambda: not running([pid]), timeout=3)


def test_unloading_a_plugin_gives_its_jobs_the_drain_and_ends_them(
    host: Host, tmp_path: Path
) -> None:
    """What does not end in time is recorded as interrupted, and ended; then nothing is left."""
    event = host.schedule("acme.stubborn", {"notes": f"{tmp_path}/notes"})
    pids = noted(tmp_path / "notes")
    report = host.unload_plugin("acme", drain=0)
    assert not running(pids)
    assert (report.abandoned, report.collected) == (1, True)
    assert outcomes(host, event) == [Outcome.INTERRUPTED]


def test_an_upgrade_starts_new_children(host: Host, site: Site) -> None:
    """They run the new code, and the old ones end."""
    pid = answer_of(host, "acme.pid")
    new = answering("new").replace("ask')", "ask', executor='process')")
    site.install(new, version="2.0")
    host.upgrade_plugin("acme")
    assert answer_of(host) == "new"
    until(lambda: not running([pid]), timeout=3)


def test_other_code_than_the_claimed_is_not_run(
    host: Host, site: Site, logs: list[MutableMapping[str, Any]]
) -> None:
    """A child that would run what pip has put in its place gives the claim back, once; the event
    waits until the host has loaded that too. A child that was there before goes on meanwhile.
    """
    site.install(SOURCE.replace("return os.getpid()", "return 'other'"), version="1.0")
    event = host.schedule("acme.pid")
    until(lambda: outcomes(host, event) == [Outcome.RETURNED])
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.RETURNED]
    (told,) = (line for line in logs if line["event"] == "process.outdated")
    assert told["remedy"] == "horae plugin upgrade acme"
    host.upgrade_plugin("acme")
    run = host.wait(event.id, LONG)
    assert run is not None
    assert (run.result, run.attempt) == ("other", 1)


def test_stopping_a_host_ends_its_children(host: Host, tmp_path: Path) -> None:
    """They are gone when it has stopped, the idle and the busy."""
    pid = answer_of(host, "acme.pid")
    event = host.schedule("acme.stubborn", {"notes": f"{tmp_path}/notes"})
    gone = [pid, *noted(tmp_path / "notes")]
    host.stop(drain=0)
    assert not running(gone)
    assert outcomes(host, event) == [Outcome.INTERRUPTED]


def test_a_child_without_anything_to_do_ends(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; the next run has a new one."""
    monkeypatch.setattr(process_executor, "IDLE", 0.05)
    pid = answer_of(host, "acme.pid")
    until(lambda: not running([pid]), timeout=3)
    assert answer_of(host, "acme.pid") != pid


def test_killing_a_host_leaves_none_of_its_children(
    site: Site, processes: Processes, tmp_path: Path
) -> None:
    """``kill -9`` lets nobody clean up, and yet the job, and all that it has started, ends."""
    site.install(SOURCE)
    notes = tmp_path / "notes"
    killed = processes.start(HOSTING, processes.url, site.folder, notes)
    pids = noted(notes, 4)
    assert running(pids) == pids
    killed.signal(signal.SIGKILL)
    until(lambda: not running(pids), timeout=3)


def test_a_module_given_as_a_plugin_is_found_by_its_name(
    site: Site, host_on: Callable[..., Host]
) -> None:
    """And an application's own function in a module of its own."""
    site.install(
        {
            "tide_plugin/__init__.py": SOURCE.replace("acme.", "tide."),
            "tide_app.py": "import os\ndef pid(context):\n    return os.getpid()\n",
        },
        plugin="tide",
    )
    import tide_app  # type: ignore[import-not-found]
    import tide_plugin  # type: ignore[import-not-found]

    host = host_on(processes=1).start()
    host.load_plugin(tide_plugin)
    host.register("app.pid", executor="process")(tide_app.pid)
    first, second = (answer_of(host, event_type) for event_type in ("tide.pid", "app.pid"))
    assert len({first, second, os.getpid()}) == 3
    # There is room for one, and the second was another generation's.
    until(lambda: not running([first]), timeout=3)
