"""``horae plugin`` against a real host process."""

import signal
import subprocess

import attrs

from horae.stores.records import Suspension
from kit.commands import TIDE, Command, is_running
from kit.hosts import until


def test_plugin_comes_and_goes_on_a_running_host(horae: Command) -> None:
    """Load, list, info, upgrade and unload act on the host, and show what it answered."""
    with horae.serving("--name", "quay"):
        (loaded,) = horae.json("plugin", "load", "sample")
        assert loaded["host"] == "quay"
        assert loaded["ok"] is True
        assert loaded["state"] == "active"
        assert loaded["event_types"] == ["sample.action.probe_sites", "sample.http_probe"]
        (row,) = [one for one in horae.json("plugin", "list") if one["name"] == "sample"]
        assert (row["state"], row["host"], row["version"]) == ("active", "quay", row["installed"])
        assert "quay: sample" in horae("plugin", "upgrade", "sample").stdout
        info = horae.json("plugin", "info", "sample")
        assert info["hosts"][0]["generation"] == 2
        assert info["event_types"][1]["event_type"] == "sample.http_probe"
        unloaded = horae("plugin", "unload", "sample", "--drain", "5").stdout
        assert "runs: 0 finished, 0 returned, 0 abandoned" in unloaded
        assert "its code is gone" in unloaded
        _, entry = horae.json("type", "list")
        assert entry["event_type"] == "sample.http_probe"
        assert entry["loaded"] is False


def test_events_run_wait_and_are_explained(tide: Command) -> None:
    """History, show, waiting and doctor tell of runs, failures and an absent type."""
    with tide.serving("--name", "quay", "--autoload"), tide.client() as client:
        tide("event", "schedule", "tide.mark", "--args", '{"place": "pier"}')
        tide("event", "schedule", "tide.fail")
        client.wait(1, timeout=30)
        client.wait(2, timeout=30)
        assert tide.json("doctor")["findings"] == []
        (run,) = tide.json("event", "history", "--event", 1)
        assert (run["outcome"], run["result"], run["host"]) == ("succeeded", "pier", "quay")
        (failed,) = tide.json("event", "history", "--outcome", "failed")
        assert failed["event_id"] == 2
        shown = tide("event", "show", 2).stdout
        assert "\n  ValueError: the tide\n  is out" in shown
        tide("plugin", "unload", "tide")
        tide("event", "schedule", "tide.mark")
        (waiting,) = tide.json("type", "waiting")
        assert waiting["remedy"] == "horae plugin load tide"
        report = tide.json("doctor", code=1)
        assert [one["subject"] for one in report["findings"]] == ["type tide.mark"]
        assert report["hosts"][0]["host"] == "quay"


def test_failed_load_is_shown_in_full(horae: Command) -> None:
    """A host that cannot load the plugin makes exit code 1; list and doctor keep the reason."""
    horae.install("wreck", 'raise RuntimeError("the mast\\nis broken")')
    with horae.serving("--name", "quay"):
        done = horae("plugin", "load", "wreck", code=1)
        assert "RuntimeError: the mast\n  is broken" in done.stdout
        assert "Did you mean 'wreck'" in horae("plugin", "load", "wrek", code=1).stdout
        listed = horae("plugin", "list").stdout
        assert "the mast\\nis broken" in listed
        subjects = [one["subject"] for one in horae.json("doctor", code=1)["findings"]]
        assert subjects == ["plugin wreck", "plugin wrek"]
        horae("plugin", "unload", "wrek", code=1)
        assert len(horae.json("doctor", code=1)["findings"]) == 1


def test_without_a_host_the_request_is_kept(tide: Command) -> None:
    """No running host is exit code 4, and no error for the listings; doctor names it."""
    done = tide("plugin", "load", "tide", code=4)
    assert "The request is kept" in done.stderr
    states = {one["name"]: one["state"] for one in tide.json("plugin", "list")}
    assert states["tide"] == "load requested"
    assert states["schedules"] == "built-in"
    subjects = [one["subject"] for one in tide.json("doctor", code=1)["findings"]]
    assert subjects == ["hosts"]


def test_missing_answer_is_exit_code_5(tide: Command) -> None:
    """A host that is still draining when the time is up makes exit code 5."""
    gate = tide.folder / "gate"
    with tide.serving("--autoload"), tide.client() as client:
        event = client.schedule("tide.hold", {"gate": str(gate)})
        until(lambda: is_running(client, event.id))
        done = tide("plugin", "unload", "tide", "--drain", "0", "--timeout", "0.1", code=5)
        assert "No answer yet" in done.stderr
        gate.touch()


def heed_interrupts() -> None:
    """Let SIGINT end this process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupt_is_exit_code_130(tide: Command) -> None:
    """Ctrl-C while a command waits for a host ends it quietly; the request stays."""
    gate = tide.folder / "gate"
    with tide.serving("--autoload"), tide.client() as client:
        event = client.schedule("tide.hold", {"gate": str(gate)})
        until(lambda: is_running(client, event.id))
        line = tide.line("--store", tide.url, "plugin", "unload", "tide", "--drain", "15")
        # A shell's background jobs ignore SIGINT, and so would this process as their child.
        with subprocess.Popen(
            line, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
        ) as process:
            until(lambda: any(row.action == "unload" for row in client.store.plugin_rows()))
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        assert (process.returncode, said.strip()) == (130, "")
        gate.touch()


def test_unknown_plugin_has_no_info(horae: Command) -> None:
    """Info on a name that nobody knows fails with the nearest one."""
    assert "Did you mean 'sample'?" in horae("plugin", "info", "sampel", code=1).stderr


def test_info_of_an_installed_plugin(tide: Command) -> None:
    """An installed plugin is known without any host."""
    info = tide.json("plugin", "info", "tide")
    assert (info["distribution"], info["installed"], info["hosts"]) == ("tide-plugin", "1.0", [])


def test_plugins_bring_commands(tide: Command) -> None:
    """An installed plugin's command runs; one that cannot be asked is named and passed over."""
    assert tide("tide").stdout == "high water\n"
    tide.install("aground", "import no_such_module")
    done = tide("tide")
    assert done.stdout == "high water\n"
    assert "Plugin 'aground' (aground-plugin 1.0) was asked for commands and failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plugin_that_is_needed_goes_with_those_that_need_it(horae: Command) -> None:
    """Refused by their names first; info tells who needs whom."""
    horae.install("reef", TIDE.replace("tide", "reef"))
    horae.install("tide", TIDE, requires=["reef-plugin"])
    with horae.serving("--name", "quay"):
        horae("plugin", "load", "tide")
        assert horae.json("plugin", "info", "tide")["requires"] == ["reef"]
        assert horae.json("plugin", "info", "reef")["required_by"] == ["tide"]
        refused = horae("plugin", "unload", "reef", code=1).stdout
        assert "needed by tide" in refused
        assert horae.json("plugin", "info", "reef")["hosts"][0]["desired"] == "loaded"
        unloaded = horae("plugin", "unload", "reef", "--include-dependents").stdout
        assert "before it, tide:" in unloaded
        states = {row["name"]: row["desired"] for row in horae.json("plugin", "list")}
        assert states["tide"] == states["reef"] == "unloaded"


def test_a_suspended_plugin_is_resumed(tide: Command) -> None:
    """Info and the list of what waits tell why and how."""
    with tide.serving("--name", "quay", "--autoload"), tide.client() as client:
        (row,) = [one for one in client.store.plugin_rows("quay") if one.plugin == "tide"]
        spoken = Suspension(row.version, {"tide.mark": "3 runs crashed"})
        tide("plugin", "unload", "tide")
        (row,) = [one for one in client.store.plugin_rows("quay") if one.plugin == "tide"]
        client.store.report_plugin(attrs.evolve(row, suspended=spoken))
        assert "tide.mark is suspended: 3 runs crashed" in tide("plugin", "load", "tide").stdout
        tide("event", "schedule", "tide.mark")
        (waiting,) = tide.json("type", "waiting")
        assert waiting["remedy"] == "horae plugin resume tide"
        assert "suspended" not in tide("plugin", "resume", "tide").stdout
        assert client.wait(1, timeout=30) is not None
