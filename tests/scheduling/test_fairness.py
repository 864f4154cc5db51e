"""Types do not starve each other: what one type's slow events may cost another."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from horae import Host, WaitTimeout
from horae_hookspecs import Outcome, RunContext
from kit.events import LONG, outcomes
from kit.hosts import until


@pytest.fixture
def slow() -> Iterator[threading.Event]:
    """What slow jobs wait for; they always get it in the end."""
    event = threading.Event()
    yield event
    event.set()


def slow_job(slow: threading.Event) -> Callable[[RunContext], None]:
    """A job that lasts until the test says so."""

    def wait(context: RunContext) -> None:
        slow.wait(LONG)

    return wait


@pytest.mark.parametrize("workers", [2, 4, 16])
def test_a_thousand_slow_events_do_not_delay_another_type(
    host_on: Callable[..., Host], slow: threading.Event, workers: int
) -> None:
    """They fill every worker and wait in a long line, and other types' events run meanwhile, one
    of each type at a time.
    """
    host = host_on(workers=workers)
    host.register("slow")(slow_job(slow))
    host.register("quick")(lambda context: "done")
    host.register("other")(lambda context: "done")
    host.schedule_many([{"event_type": "slow", "priority": 0}] * 1000)
    host.start()
    until(lambda: host.runs(limit=1).total == workers)
    events = [host.schedule(name, priority=3) for name in ("quick", "other", "quick", "quick")]
    for event in events:
        run = host.wait(event.id, LONG)
        assert run is not None
        assert run.result == "done"
    assert host.runs(event_type="slow", limit=1).total == workers


@pytest.mark.usefixtures("logs")
def test_a_thousand_slow_coroutines_do_not_delay_another_type(
    host_on: Callable[..., Host],
) -> None:
    """The same holds on the event loop."""
    host = host_on()

    @host.register("slow")
    async def wait(context: RunContext) -> None:
        while not context.cancelled:
            await asyncio.sleep(0.05)

    @host.register("quick")
    async def quick(context: RunContext) -> str:
        return "done"

    host.schedule_many([{"event_type": "slow"}] * 1100)
    host.start()
    until(lambda: host.runs(limit=1).total == 1000)
    run = host.wait(host.schedule("quick").id, LONG)
    assert run is not None
    assert run.result == "done"
    host.stop(0)


def test_one_worker_is_one_worker(host_on: Callable[..., Host], slow: threading.Event) -> None:
    """Who asks for one thread gets one: nothing runs beside a slow job."""
    host = host_on(workers=1)
    begun = threading.Event()

    @host.register("slow")
    def wait(context: RunContext) -> None:
        begun.set()
        slow.wait(LONG)

    host.register("quick")(lambda context: "done")
    host.start()
    host.schedule("slow")
    assert begun.wait(LONG)
    event = host.schedule("quick")
    with pytest.raises(WaitTimeout):
        host.run_until_idle(0.3)
    assert outcomes(host, event) == []
    slow.set()
    host.wait(event.id, LONG)


def test_what_was_queued_for_a_worker_is_given_back_when_none_gets_free(
    host_on: Callable[..., Host], slow: threading.Event
) -> None:
    """Quick events are claimed ahead; when one of them turns out to be slow, those behind it are
    given back uncounted, and another host runs them.
    """
    busy = host_on(name="busy", workers=1)
    begun = threading.Event()

    def work(context: RunContext) -> None:
        if context.description == "slow":
            begun.set()
            slow.wait(LONG)

    for host in (busy, other := host_on(name="other")):
        host.register("tide.mark")(work)
    quick = [{"event_type": "tide.mark"}] * 2000
    busy.schedule_many([*quick, {"event_type": "tide.mark", "description": "slow"}, *quick])
    busy.start()
    assert begun.wait(LONG)
    other.start()
    until(lambda: busy.events(state="finished", limit=1).total == 4000)
    returned = list(busy.runs(outcome=Outcome.RETURNED))
    assert {run.host for run in returned} == {"busy"}
    assert all(run.attempt == 1 for run in busy.runs(host="other"))
