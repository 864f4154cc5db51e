"""The ordinary event that deletes old history: when there is one, and what it leaves."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from horae import Host, Retention, SettableClock, SettingsError
from horae.scheduling.retention import BATCH
from horae_hookspecs import Outcome, ScheduledEvent
from kit.events import LONG, outcomes, stored
from kit.hosts import until

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
EVENT_TYPE = "horae.retention"


def with_history(host: Host, events: int = 3, event_type: str = "t") -> Host:
    """The host after it has run so many events."""
    host.register(event_type)(lambda context: None)
    host.schedule_many([{"event_type": event_type}] * events)
    host.run_until_idle(LONG)
    return host


def the_event(host: Host) -> ScheduledEvent:
    """The one that deletes."""
    (event,) = host.events(event_type=EVENT_TYPE)
    return event


def deleted(host: Host) -> list[Any]:
    """What each of its runs has told."""
    return [run.result for run in host.runs(event_type=EVENT_TYPE)]


def pass_hours(host: Host, clock: SettableClock, hours: int) -> None:
    """Let so much time pass, an hour at a time, and whatever is due run."""
    for _ in range(hours):
        clock.advance(HOUR)
        host.run_until_idle(LONG)


def test_a_young_store_has_no_such_event(host: Host, clock: SettableClock) -> None:
    """Nor has an empty one, and neither has the type, until both are needed."""
    host.start()
    assert host.events().total == 0
    assert host.event_types() == []
    with_history(host)
    host.stop()
    clock.advance(29 * DAY)
    host.run_until_idle(LONG)
    assert host.events(event_type=EVENT_TYPE).total == 0
    assert EVENT_TYPE not in {info.event_type for info in host.event_types()}


def test_it_is_an_ordinary_event(host: Host, clock: SettableClock) -> None:
    """In the list, with an origin and a history; it recurs, and tells what it has deleted."""
    with_history(host)
    clock.advance(31 * DAY)
    host.start()
    host.run_until_idle(LONG)
    event = the_event(host)
    (info,) = [one for one in host.event_types() if one.event_type == EVENT_TYPE]
    assert (info.plugin, info.loaded) == ("horae", True)
    assert (event.key, event.origin, event.priority) == (EVENT_TYPE, "horae", 3)
    assert event.due == clock.now() + HOUR
    assert deleted(host) == [{"events": 3, "runs": 3}]
    assert [one.id for one in host.events()] == [event.id]
    clock.advance(HOUR)
    host.run_until_idle(LONG)
    assert outcomes(host, event) == [Outcome.SUCCEEDED] * 2


def test_its_own_history_is_pruned_too(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """By the same rules."""
    host = with_history(host_on(retention={"*": Retention(age=10 * HOUR)}))
    clock.advance(11 * HOUR)
    host.start()
    for _ in range(20):
        host.run_until_idle(LONG)
        clock.advance(HOUR)
    host.run_until_idle(LONG)
    assert 10 <= len(outcomes(host, the_event(host))) <= 12


def test_a_running_host_notices_by_itself(host: Host, clock: SettableClock) -> None:
    """When time has gone on, without a restart."""
    with_history(host)
    host.start()
    clock.advance(31 * DAY)
    until(lambda: host.events(event_type=EVENT_TYPE).total)
    until(lambda: host.events(event_type="t").total == 0)


def test_each_type_has_its_rule(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """By age, by number, for ever, and as all others."""
    rules = {
        "*": Retention(age=2 * DAY),
        "many": Retention(age=None, count=2),
        "kept": Retention(age=None),
        "brief": Retention(age=HOUR),
    }
    host = host_on(retention=rules)
    for event_type in ("other", "many", "kept", "brief"):
        with_history(host, 4, event_type)
    clock.advance(DAY)
    host.run_until_idle(LONG)
    left = {one: host.events(event_type=one).total for one in ("other", "many", "kept", "brief")}
    assert left == {"other": 4, "many": 2, "kept": 4, "brief": 0}
    clock.advance(DAY + HOUR)
    host.run_until_idle(LONG)
    left = {one: host.events(event_type=one).total for one in ("other", "many", "kept")}
    assert left == {"other": 0, "many": 2, "kept": 4}


def test_age_and_number_hold_together(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """What is too old goes, and so does what is too much; of a recurring event's runs as well."""
    host = host_on(retention={"t": Retention(age=DAY, count=2), "often": Retention(count=2)})
    host.register("often")(lambda context: None)
    event = host.schedule("often", None, "every 1h")
    with_history(host, 3)
    pass_hours(host, clock, 5)
    assert host.events(event_type="t").total == 2
    assert len(outcomes(host, event)) == 2
    pass_hours(host, clock, 25)
    assert host.events(event_type="t").total == 0
    assert len(outcomes(host, event)) == 2


def test_all_of_it_goes(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """However many batches that takes."""
    host = with_history(host_on(), BATCH)
    clock.advance(31 * DAY)
    host.run_until_idle(LONG)
    assert deleted(host) == [{"events": BATCH, "runs": BATCH}]


def test_it_is_looked_for_once_an_hour(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """Each hour anew: what gets old in between can wait that long."""
    host = with_history(host_on(retention={"*": Retention(age=90 * MINUTE)}))
    found = []
    for minutes in (61, 39, 22):  # after which it is 61, 100 and 122 minutes old
        clock.advance(minutes * MINUTE)
        host.run_until_idle(LONG)
        found.append(host.events(event_type=EVENT_TYPE).total)
    assert found == [0, 0, 1]


def test_a_clock_that_was_set_back_stops_nothing(host: Host, clock: SettableClock) -> None:
    """It is looked for by the new time from then on."""
    clock.advance(100 * DAY)
    host.run_until_idle(LONG)
    clock.advance(-50 * DAY)
    with_history(host)
    clock.advance(31 * DAY)
    host.run_until_idle(LONG)
    assert deleted(host) == [{"events": 3, "runs": 3}]


def test_once_cancelled_it_comes_back_when_it_is_needed(host: Host, clock: SettableClock) -> None:
    """What holds it back for good is a rule that keeps everything, or a pause."""
    with_history(host)
    clock.advance(31 * DAY)
    host.run_until_idle(LONG)
    host.cancel(the_event(host).id)
    with_history(host, event_type="later")
    clock.advance(31 * DAY)
    host.run_until_idle(LONG)
    assert host.events(event_type="later").total == 0


def test_without_a_rule_nothing_goes(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """And no event is stored for it."""
    host = with_history(host_on(retention={}))
    clock.advance(1000 * DAY)
    host.run_until_idle(LONG)
    assert host.events().total == 3


def test_a_recurring_event_keeps_its_young_runs(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """As many as the rule's age has, and it goes on."""
    host = host_on(retention={"*": Retention(age=5 * DAY)})
    host.register("t")(lambda context: None)
    event = host.schedule("t", None, "every 1d")
    host.start()
    for _ in range(12):
        clock.advance(DAY)
        host.run_until_idle(LONG)
    until(lambda: host.events(event_type=EVENT_TYPE).total)
    host.run_until_idle(LONG)
    assert deleted(host) == [{"events": 0, "runs": 6}]
    kept = [run.occurrence for run in host.runs(event_id=event.id)]
    assert kept == [clock.now() - n * DAY for n in reversed(range(6))]
    assert stored(host, event).due == clock.now() + DAY


def test_it_goes_on_after_a_restart(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """Also of a host that was away for longer than its hour: then it runs once."""
    first = with_history(host_on())
    clock.advance(31 * DAY)
    first.run_until_idle(LONG)
    first.close()
    second = host_on()
    clock.advance(5 * HOUR)
    second.run_until_idle(LONG)
    assert outcomes(second, the_event(second)) == [Outcome.SUCCEEDED] * 2


def test_two_hosts_have_one(host_on: Callable[..., Host], clock: SettableClock) -> None:
    """Whoever is first stores it."""
    first = with_history(host_on(name="first"))
    second = host_on(name="second")
    clock.advance(31 * DAY)
    first.start()
    second.start()
    first.run_until_idle(LONG)
    second.run_until_idle(LONG)
    assert deleted(second) == [{"events": 3, "runs": 3}]
    assert the_event(first) == the_event(second)


def test_when_cancelled_it_stops_after_a_batch(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """What it has done until then is done."""
    host = with_history(host_on(), BATCH)
    clock.advance(31 * DAY)
    cancelled: list[bool] = []
    prune = host.store.prune

    def and_cancel(*arguments: Any) -> Any:
        if not cancelled:
            cancelled.append(host.cancel(the_event(host).id))
        return prune(*arguments)

    host.store.prune = and_cancel  # type: ignore[method-assign]
    host.run_until_idle(LONG)
    assert host.events(event_type="t").total == BATCH // 2
    assert deleted(host) == [{"events": BATCH // 2, "runs": BATCH // 2}]


@pytest.mark.parametrize(
    "rule", [{"age": 30}, {"age": -DAY}, {"count": -1}, {"count": True}, {"count": 2.5}]
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any]) -> None:
    """With what it was."""
    with pytest.raises(SettingsError, match="is neither None nor a"):
        Retention(**rule)
