"""Exclusive resources over real processes: never two runs at once, and nothing locked for ever."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from horae import Host
from horae_hookspecs import Outcome
from kit.events import LONG, outcomes, stored
from kit.hosts import until
from kit.processes import Processes

TRIALS = 10


@pytest.fixture
def client(processes: Processes) -> Iterator[Host]:
    """A host that is not started, on the same file as the processes."""
    host = Host(processes.url)
    yield host
    host.close()


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_that_race_for_a_resource_run_one_event_at_a_time(
    processes: Processes, client: Host, hosts: int
) -> None:
    """In each of ten trials all hosts wake at the same instant for events of one resource, an
    event and one more for each of them: each runs once, and no run begins inside another.
    """
    for _ in range(hosts):
        processes.start_host()
    for trial in range(1, TRIALS + 1):
        due = client.clock.now() + timedelta(seconds=0.2)
        request = {"schedule": due, "resource": "pier"}
        types = ["journal.alone", "journal.alone_too"] * 2
        ids = client.schedule_many(
            [request | {"event_type": types[n % 4]} for n in range(hosts + 1)]
        )
        for event_id in ids:
            run = client.wait(event_id, LONG)
            assert run is not None
            assert run.outcome is Outcome.SUCCEEDED
        notes = processes.notes()
        begun, ended = notes[::2], notes[1::2]
        assert len(notes) == trial * len(ids) * 2
        assert [(one.key, one.pid) for one in begun] == [(one.key, one.pid) for one in ended]
        assert {one.event_id for one in begun[-len(ids) :]} == set(ids)
    assert client.runs(limit=1).total == TRIALS * (hosts + 1)


def test_nothing_stays_locked_when_a_host_is_killed(processes: Processes, client: Host) -> None:
    """Its resource is free long before the lease is over, for whoever waited and for what was
    interrupted.
    """
    hold = processes.journal.with_suffix(".hold")
    hold.touch()
    killed = processes.start_host()
    held = client.schedule("journal.hold_alone", resource="pier")
    until(lambda: processes.notes())
    processes.start_host()
    waiting = client.schedule("journal.alone", resource="pier")
    until(lambda: stored(client, waiting).blocked == "resource:pier")
    killed.kill()
    hold.unlink()
    for event in (held, waiting):
        client.wait(event.id, timeout=10)
    assert outcomes(client, held) == [Outcome.INTERRUPTED, Outcome.SUCCEEDED]
    assert outcomes(client, waiting) == [Outcome.SUCCEEDED]
