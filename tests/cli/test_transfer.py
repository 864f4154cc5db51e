"""``horae store export`` and ``import``: from one place to another, with no plugin there."""

import json
import shutil
from pathlib import Path

import pytest

from horae_hookspecs import State
from kit.commands import TIDE, Command, is_running, state_of
from kit.hosts import until


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    """The URL of another store that is not there yet."""
    return f"sqlite:///{tmp_path}/elsewhere.db"


def test_events_run_where_they_were_imported(tide: Command, elsewhere: str) -> None:
    """Exported while one runs, and imported without the plugin; once it is back, all run."""
    with tide.client() as client:
        late = client.schedule("tide.mark", {"place": "pier"}, allow_unknown=True)
        gate = tide.folder / "gate"
        held = client.schedule("tide.hold", {"gate": str(gate)}, allow_unknown=True)
        client.pause(late.id)
        with tide.serving("--autoload") as server:
            until(lambda: is_running(client, held.id))
            export = tide("store", "export", "all.jsonl")
            server.process.kill()
    assert "events: 2, runs: 1, " in export.stderr
    shutil.rmtree(tide.folder / "site")
    (tide.folder / "site").mkdir()
    done = tide("store", "import", "all.jsonl", store=elsewhere)
    assert "Imported into sqlite:///" in done.stderr
    assert "events: 2, runs: 1, " in done.stderr
    shown = json.loads(tide("event", "show", held.id, "--json", store=elsewhere).stdout)
    assert [run["outcome"] for run in shown["runs"]] == ["interrupted"]
    assert "exported while it ran" in shown["reason"]
    gate.touch()
    tide.install("tide", TIDE)
    tide.url = elsewhere
    tide("event", "resume", late.id)
    with tide.client() as client, tide.serving("--autoload"):
        for event in (late, held):
            until(lambda: state_of(client, event.id) == State.FINISHED)  # noqa: B023
        (run,) = client.runs(event_id=late.id)
    assert (run.result, run.claim) == ("pier", 1)


def test_pipes_carry_it(horae: Command, elsewhere: str) -> None:
    """Without a file it goes to standard output, and a dash reads standard input."""
    with horae.client() as client:
        client.schedule("tide.mark", None, "in 1h", description="☃", allow_unknown=True)
    exported = horae("store", "export").stdout
    assert horae("store", "export", "-").stdout.splitlines()[1:] == exported.splitlines()[1:]
    horae("store", "import", "-", stdin=exported, store=elsewhere)
    (event,) = json.loads(horae("event", "list", "--json", store=elsewhere).stdout)
    assert event["description"] == "☃"


def test_a_file_is_not_overwritten_by_mistake(horae: Command) -> None:
    """Only with --force."""
    file = horae.folder / "all.jsonl"
    file.write_text("precious")
    assert "--force overwrites it" in horae("store", "export", file, code=1).stderr
    assert file.read_text() == "precious"
    horae("store", "export", file, "--force")
    assert json.loads(file.read_text().splitlines()[0])["horae"] == 1
    assert not (horae.folder / "all.jsonl.part").exists()


def test_a_file_that_cannot_be_written_is_said(horae: Command) -> None:
    """In words, without a traceback."""
    done = horae("store", "export", "nowhere/all.jsonl", code=1)
    assert "nowhere/all.jsonl cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_line_is_said(horae: Command, elsewhere: str) -> None:
    """With its number and exit code 1, and the store stays empty."""
    lines = horae("store", "export").stdout.splitlines()
    text = "\n".join([lines[0], '{"evnt":{}}', *lines[1:]])
    done = horae("store", "import", "-", stdin=text, code=1, store=elsewhere)
    assert "Line 2: there is no record 'evnt'" in done.stderr
    assert "Nothing was imported" in done.stderr
    horae("store", "import", "-", stdin="\n".join(lines), store=elsewhere)
