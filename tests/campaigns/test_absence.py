"""The main scenario: a thousand events whose plugin goes away, comes due, and comes back.

Real wheels, real pip, a real environment, a host that is killed. The plugin's jobs append to a
file; that file is the judge of what ran, and the store must say the same.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from horae import Host
from horae.stores.records import PluginRow
from horae_hookspecs import Outcome, PluginState, State
from kit.environments import make_venv, pip_install, pip_uninstall
from kit.hosts import until
from kit.processes import Process, Processes, read_journal
from kit.wheels import build_wheel

EVENTS = 1000
CANCELLED = 5

PLUGIN = '''
import os, time
from pathlib import Path
from horae_hookspecs import ScheduledEventRegistryWrapper, hookimpl

events = ScheduledEventRegistryWrapper()

@events.register("tide.mark", version={schema})
def mark(context, journal: str, height: float = 0.0) -> str:
    """Write one line: event, idempotency key, process, time."""
    line = f"{{context.event_id}} {{context.idempotency_key}} {{os.getpid()}} {{time.time_ns()}}\\n"
    file = os.open(journal, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(file, line.encode())
    os.close(file)
    return {version!r}

@hookimpl
def horae_event_types():
    return events
'''

HARBOUR = """
import sys, threading, time
from horae import Host, Settings, logs

logs.configure()
host = Host(Settings(url=sys.argv[1], name="harbour"))

def announce():
    while not host.running:
        time.sleep(0.002)
    print("running")

threading.Thread(target=announce, daemon=True).start()
host.run_forever()
"""


@attrs.frozen
class Harbour:
    """An environment with a host in it, and a client outside that has never seen the plugin."""

    python: Path
    wheels: dict[str, Path]
    processes: Processes
    client: Host

    def start(self) -> Process:
        """The host, running."""
        process = self.processes.start(HARBOUR, self.processes.url, python=self.python)
        process.expect("running")
        return process

    def command(self, action: Any) -> PluginRow:
        """What the host answers to a command about the plugin."""
        (row,) = self.client.command_plugin(action, "tide", drain=5)
        assert row.ok, row.reason
        return row


@pytest.fixture
def harbour(tmp_path: Path, processes: Processes) -> Iterator[Harbour]:
    """With tide 1.0 installed, and 2.0 at hand."""
    wheels = {
        version: build_wheel(
            tmp_path / "wheels",
            "tide-tables",
            version,
            {"tide_tables.py": PLUGIN.format(version=version, schema=schema)},
            {"tide": "tide_tables"},
        )
        for version, schema in (("1.0", 1), ("2.0", 2))
    }
    python = make_venv(tmp_path / "venv")
    pip_install(python, wheels["1.0"])
    client = Host(processes.url)
    yield Harbour(python, wheels, processes, client)
    client.close()


def test_a_thousand_events_outlive_the_absence_of_their_plugin(harbour: Harbour) -> None:
    """Unloaded before they are due, its host killed, uninstalled, read and counted, five of them
    cancelled, installed in another version: the rest run exactly once each.
    """
    host, client, journal = harbour.start(), harbour.client, harbour.processes.journal
    assert harbour.command("load").version == "1.0"
    due = datetime.now(UTC) + timedelta(seconds=4)
    request = {"event_type": "tide.mark", "arguments": {"journal": str(journal)}, "schedule": due}
    ids = client.schedule_many([request] * EVENTS)
    before = list(client.events(limit=EVENTS))

    unloaded = harbour.command("unload")
    assert datetime.now(UTC) < due, "too slow a machine: the plugin was to be gone by then"
    assert unloaded.state is PluginState.COLLECTED
    assert unloaded.report is not None
    assert unloaded.report["collected"]
    host.kill()
    host = harbour.start()
    pip_uninstall(harbour.python, "tide-tables")

    until(lambda: datetime.now(UTC) > due)
    _read_while_it_is_away(client, ids, due)
    assert list(client.events(limit=EVENTS)) == before  # absence has changed nothing
    gone = {event_id for event_id in ids[:CANCELLED] if client.cancel(event_id, "ebb")}

    pip_install(harbour.python, harbour.wheels["2.0"])
    host.kill()
    harbour.start()
    assert harbour.command("load").version == "2.0"
    until(lambda: client.events(state="finished", limit=1).total == EVENTS - len(gone), timeout=60)
    _judge(client, journal, set(ids) - gone)
    assert {event.id for event in client.events(state="cancelled")} == gone
    assert client.waiting() == []


def _read_while_it_is_away(client: Host, ids: list[int], due: datetime) -> None:
    """Listing, showing, counting and explaining need nothing of the plugin."""
    assert [event.id for event in client.events(state="pending", limit=EVENTS)] == ids
    event = client.get(ids[-1])
    assert event is not None
    assert (event.event_type, event.due, event.attempt) == ("tide.mark", due, 0)
    assert client.overview() == {"tide.mark": {State.PENDING: EVENTS}}
    assert client.runs().total == 0
    (waiting,) = client.waiting()
    assert (waiting.event_type, waiting.pending, waiting.overdue) == ("tide.mark", EVENTS, EVENTS)
    assert waiting.oldest_due == due
    provenance = (waiting.plugin, waiting.distribution, waiting.version)
    assert provenance == ("tide", "tide-tables", "1.0")
    assert waiting.remedy == ("python -m pip install tide-tables==1.0 && horae plugin load tide")
    assert "tide_tables" not in sys.modules


def _judge(client: Host, journal: Path, expected: set[int]) -> None:
    """The file and the store agree: each event once."""
    notes = read_journal(journal)
    assert Counter(note.event_id for note in notes) == Counter(expected)
    assert len({note.key for note in notes}) == len(expected)
    runs = list(client.runs(limit=2 * EVENTS))
    assert Counter(run.event_id for run in runs) == Counter(expected)
    assert {(run.outcome, run.version, run.attempt) for run in runs} == {
        (Outcome.SUCCEEDED, "2.0", 1)
    }
