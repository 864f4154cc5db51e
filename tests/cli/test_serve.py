"""``horae serve``: how it begins and how it ends."""

import json
import signal

import pytest

from kit.commands import Command, is_running, state_of
from kit.hosts import until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_host_ends_on_a_signal(horae: Command, number: int) -> None:
    """Either signal ends it with exit code 0, and it leaves the record."""
    with horae.serving("--name", "quay") as server:
        server.signal(number)
        assert server.exit_code() == 0
    assert horae.json("doctor", code=1)["hosts"] == []


def test_signal_drains(tide: Command) -> None:
    """A run under way comes to its end before the host does."""
    gate = tide.folder / "gate"
    with tide.serving("--autoload") as server, tide.client() as client:
        event = client.schedule("tide.hold", {"gate": str(gate)})
        until(lambda: is_running(client, event.id))
        server.signal()
        gate.touch()
        assert server.exit_code() == 0
        assert state_of(client, event.id) == "finished"


def test_second_signal_gives_back_at_once(tide: Command) -> None:
    """A second signal does not wait for the drain: the run is interrupted, the event pending."""
    with tide.serving("--autoload", "--drain", "600") as server, tide.client() as client:
        event = client.schedule("tide.hold", {"gate": str(tide.folder / "gate")})
        until(lambda: is_running(client, event.id))
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGINT)  # a second SIGTERM could melt into the first
        assert server.exit_code() == 0
        assert state_of(client, event.id) == "pending"
        (run,) = client.runs(event_id=event.id)
        assert run.outcome == "interrupted"


def test_name_of_a_living_host_is_refused(horae: Command) -> None:
    """Two hosts of one name are an error that says how to tell them apart."""
    with horae.serving("--name", "quay"):
        assert "horae serve --name" in horae("serve", "--name", "quay", code=1).stderr


def test_log_is_json_lines_on_standard_error(horae: Command) -> None:
    """Away from a terminal each log line is a JSON object."""
    with horae.serving("--name", "quay") as server:
        started = [json.loads(line) for line in server.log().splitlines()][-1]
    assert started["event"] == "host.started"
    assert started["name"] == "quay"
    assert started["store"] == horae.url
