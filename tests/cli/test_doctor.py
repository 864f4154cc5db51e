"""What ``horae doctor`` finds on stores where something is wrong."""

import os
from datetime import UTC, datetime, timedelta

from horae import Host, SettableClock
from horae.clock import to_micros
from horae.processes import process_identity
from horae.stores.records import MAX_INTERRUPTIONS, HostRecord, Provider
from kit.commands import Command


def join(host: Host, *, beaten: timedelta = timedelta(0), name: str = "quay") -> None:
    """Put a host on record that has ``tide.mark`` loaded and lives as long as this process."""
    host.store.join(
        HostRecord(
            id=name,
            name=name,
            identity=process_identity(),
            pid=os.getpid(),
            beat=1,
            beaten=to_micros(datetime.now(UTC) - beaten),
            event_types={"tide.mark": 1},
            kinds=["once"],
        )
    )


def findings(horae: Command, code: int = 1) -> list[tuple[str, str]]:
    """The subject and text of each finding."""
    report = horae.json("doctor", code=code)
    assert all(one["remedy"] for one in report["findings"])
    return [(one["subject"], one["finding"]) for one in report["findings"]]


def test_quarantined_and_paused_events_are_named(horae: Command) -> None:
    """Events that were set aside or paused are findings with their ids; what is over is none."""
    with horae.client() as client:
        for _ in range(3):
            client.schedule("tide.mark", allow_unknown=True)
        client.pause(2)
        client.pause(3)
        client.cancel(3)
        (lane,) = client.store.lanes()
        for number in range(MAX_INTERRUPTIONS):
            join(client, name=f"lost-{number}")
            now = client.clock.micros() + number * 10_000_000  # past the wait for a last chance
            client.store.claim(f"lost-{number}", {lane.id: Provider("tide", None, 1)}, now, 1)
            client.store.rescue(f"lost-{number}", "it sank", now)
        join(client)
    assert findings(horae) == [("events", "1 quarantined: 1"), ("events", "1 paused: 2")]
    assert "it sank" in horae("event", "show", 1).stdout


def test_late_events_of_a_loaded_type_are_found(horae: Command) -> None:
    """A type that a living host has, and yet does not run, is a finding with its age."""
    with horae.client() as client:
        join(client)
        late = Host(horae.url, clock=SettableClock(datetime.now(UTC) - timedelta(hours=2)))
        late.schedule("tide.mark", allow_unknown=True)
        late.close()
    ((subject, finding),) = findings(horae)
    assert subject == "type tide.mark"
    assert finding.startswith("1 overdue, the oldest for 2 h")


def test_events_that_wait_for_a_resource_are_no_lack_of_workers(horae: Command) -> None:
    """They are a finding of their own, once the type is late."""
    with horae.client() as client:
        join(client)
        late = Host(horae.url, clock=SettableClock(datetime.now(UTC) - timedelta(hours=2)))
        for _ in range(3):
            late.schedule("tide.mark", allow_unknown=True, resource="pier")
        late.close()
        (lane,) = client.store.lanes()
        exclusive = {lane.id: Provider("tide", None, 1, exclusive=True)}
        client.store.claim("quay", exclusive, client.clock.micros(), 3)
    ((subject, finding),) = findings(horae)
    assert subject == "type tide.mark"
    assert finding.startswith("2 wait for what others have in use")
    assert "resource:pier" in horae("event", "show", 2).stdout


def test_silent_host_is_found(horae: Command) -> None:
    """A process that is there, but shows no sign of life, is a finding."""
    with horae.client() as client:
        join(client, beaten=timedelta(minutes=5))
    ((subject, finding),) = findings(horae)
    assert subject == "host quay"
    assert "no sign of life for 5 min" in finding


def test_healthy_store_has_no_findings(horae: Command) -> None:
    """With a host and nothing late, the exit code is 0 and a sentence says so."""
    with horae.client() as client:
        join(client)
    done = horae("doctor")
    assert "All is well." in done.stderr
    assert "schema  1\n" in done.stdout
