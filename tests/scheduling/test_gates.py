"""Exclusive resources and limits, on one host and on two: never more runs than there may be."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from horae import Host, SettableClock, SettingsError
from horae_hookspecs import Concurrency, Outcome, RunContext, State
from kit.events import LONG, outcomes, stored
from kit.hosts import until


class Occupied:
    """A job body that counts who is inside, by resource, and waits until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.most: dict[str | None, int] = {}
        self._inside: dict[str | None, int] = {}
        self._lock = threading.Lock()

    def run(self, context: RunContext) -> None:
        with self._lock:
            inside = self._inside[context.resource] = self._inside.get(context.resource, 0) + 1
            self.most[context.resource] = max(inside, self.most.get(context.resource, 0))
        self.begun.release()
        assert self.go.acquire(timeout=LONG)
        with self._lock:
            self._inside[context.resource] -= 1

    def let_go(self, runs: int) -> None:
        """Let so many runs end, one after the other, as they begin."""
        for _ in range(runs):
            self.go.release()


@pytest.fixture
def two_hosts(host_on: Callable[..., Host]) -> list[Host]:
    """Two hosts on one file, not started, that find each other's changes by polling."""
    return [host_on(name="one"), host_on(name="two")]


def register(hosts: list[Host], names: list[str], job: Callable[..., Any], **policy: Any) -> None:
    """The same types on all of these hosts, which are started with it."""
    for host in hosts:
        for name in names:
            host.register(name, **policy)(job)
        host.start()


def test_a_resource_has_one_run_over_types_and_hosts(host_on: Callable[..., Host]) -> None:
    """Twelve events of two exclusive types and two resources, on two hosts with a thread each:
    two run at a time.
    """
    job = Occupied()
    two_hosts = [host_on(name="one", workers=1), host_on(name="two", workers=1)]
    register(two_hosts, ["tide.mark", "moon.rise"], job.run, exclusive=True)
    requests = [
        {"event_type": event_type, "resource": resource}
        for event_type in ("tide.mark", "moon.rise")
        for resource in ("pier", "quay")
        for _ in range(3)
    ]
    ids = two_hosts[0].schedule_many(requests)
    for _ in range(2):
        assert job.begun.acquire(timeout=LONG)
    job.let_go(len(ids))
    for event_id in ids:
        two_hosts[0].wait(event_id, LONG)
    assert job.most == {"pier": 1, "quay": 1}
    runs = two_hosts[0].runs()
    assert runs.total == len(ids)
    assert {run.host for run in runs} == {"one", "two"}


def test_an_event_says_what_holds_it_back(host: Host) -> None:
    """While the resource is in use, and no longer."""
    job = Occupied()
    register([host], ["tide.mark"], job.run, exclusive=True)
    host.schedule("tide.mark", resource="pier")
    assert job.begun.acquire(timeout=LONG)
    waiting = host.schedule("tide.mark", resource="pier")
    until(lambda: stored(host, waiting).blocked == "resource:pier")
    assert stored(host, waiting).state is State.PENDING
    job.let_go(2)
    host.wait(waiting.id, LONG)
    assert stored(host, waiting).blocked is None


def test_a_thread_past_its_timeout_keeps_its_resource_until_it_ends(
    host: Host, clock: SettableClock
) -> None:
    """Its run is over for the record, but its code may still be at work on the resource."""
    job = Occupied()
    host.register("tide.mark", exclusive=True, timeout=30)(job.run)
    host.register("moon.rise", exclusive=True)(lambda context: None)
    host.start()
    stuck = host.schedule("tide.mark", resource="pier")
    assert job.begun.acquire(timeout=LONG)
    clock.advance(31)
    host.wait(stuck.id, LONG)
    assert outcomes(host, stuck) == [Outcome.TIMEOUT]
    waiting = host.schedule("moon.rise", resource="pier")
    until(lambda: stored(host, waiting).blocked == "resource:pier")
    free = host.schedule("moon.rise", resource="quay")
    host.wait(free.id, LONG)
    assert outcomes(host, waiting) == []
    job.let_go(1)
    host.wait(waiting.id, LONG)
    assert outcomes(host, waiting) == [Outcome.SUCCEEDED]


def test_a_coroutine_past_its_timeout_leaves_its_resource_when_it_was_cancelled(
    host: Host, clock: SettableClock
) -> None:
    """It can be ended, so nobody waits for long."""
    begun = threading.Event()

    @host.register("tide.mark", exclusive=True, timeout=30)
    async def mark(context: RunContext) -> None:
        begun.set()
        if context.description == "slow":
            await asyncio.sleep(3600)

    host.start()
    host.schedule("tide.mark", resource="pier", description="slow")
    assert begun.wait(LONG)
    waiting = host.schedule("tide.mark", resource="pier")
    clock.advance(31)
    host.wait(waiting.id, LONG)
    assert outcomes(host, waiting) == [Outcome.SUCCEEDED]


def test_a_type_has_as_many_runs_as_its_limit_on_two_hosts(two_hosts: list[Host]) -> None:
    """Of ten events three run at a time; whenever one ends, on either host, another begins."""
    job = Occupied()
    register(two_hosts, ["tide.mark"], job.run, concurrency=3)
    ids = two_hosts[0].schedule_many([{"event_type": "tide.mark"}] * 10)
    for _ in range(3):
        assert job.begun.acquire(timeout=LONG)
    for _ in range(7):
        job.let_go(1)
        assert job.begun.acquire(timeout=LONG)
    job.let_go(3)
    for event_id in ids:
        two_hosts[0].wait(event_id, LONG)
    assert job.most == {None: 3}


def test_a_resource_of_one_type_has_as_many_runs_as_each_says(two_hosts: list[Host]) -> None:
    """Two of the pier's and two of the quay's at a time."""
    job = Occupied()
    register(two_hosts, ["tide.mark"], job.run, concurrency=Concurrency(per="resource", each=2))
    requests = [{"event_type": "tide.mark", "resource": r} for r in ("pier", "quay")] * 5
    ids = two_hosts[0].schedule_many(requests)
    for _ in range(4):
        assert job.begun.acquire(timeout=LONG)
    job.let_go(10)
    for event_id in ids:
        two_hosts[0].wait(event_id, LONG)
    assert job.most == {"pier": 2, "quay": 2}


def test_a_type_at_its_limit_lets_the_host_sleep(host_on: Callable[..., Host]) -> None:
    """Nothing can be claimed before a run ends, so no turn is taken to try."""
    job = Occupied()
    host = host_on(poll=LONG)
    register([host], ["tide.mark"], job.run, concurrency=1)
    host.schedule_many([{"event_type": "tide.mark"}] * 3)
    assert job.begun.acquire(timeout=LONG)
    engine = host._engine
    assert engine is not None
    engine.wait(lambda: False, 0.2)
    before = engine._turns
    engine.wait(lambda: False, 0.3)
    assert engine._turns == before
    job.let_go(3)
    host.run_until_idle(LONG)


def test_exclusive_events_take_one_resource(host: Host) -> None:
    """Several at once are refused where the type is known, with the way out."""
    host.register("tide.mark", exclusive=True)(lambda context: None)
    with pytest.raises(SettingsError, match="one event for each resource"):
        host.schedule("tide.mark", resources=["pier", "quay"])
