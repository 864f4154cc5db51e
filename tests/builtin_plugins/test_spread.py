"""Spread over time, phase kept, and hours from now."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horae import Host, SettableClock
from horae_builtin_plugins.schedule import Calendar, Cron, Interval, Once, hours_from_now
from horae_hookspecs import Schedule, ScheduleError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICK = timedelta.resolution


def test_a_thousand_equal_schedules_are_spread_evenly(host: Host) -> None:
    """Each tenth of the spread gets a tenth of the events; what they stand for is on the hour."""
    hourly = Cron("@hourly", spread=HOUR)
    requests = [{"event_type": "tide.mark", "schedule": hourly, "allow_unknown": True}] * 1000
    host.schedule_many(requests)
    late = [event.due - NOW for event in host.events(limit=1000) if event.due]
    tenths = Counter(offset // (HOUR / 10) for offset in late)
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) - min(tenths.values()) <= 10


def test_an_event_keeps_its_place_from_one_occurrence_to_the_next(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """Runs stand for the occurrence itself, and a restart changes no due time."""
    ran: list[datetime] = []
    event = None
    for number in range(3):
        host = host_on()
        host.register("job")(lambda context: ran.append(context.occurrence))
        event = event or host.schedule("job", None, Calendar.hourly(spread=HOUR))
        due = NOW + number * HOUR + Calendar.hourly(spread=HOUR).offset(event.id)
        assert [found.due for found in host.events()] == [due]
        clock.set(due)
        host.run_until_idle(20)
        host.close()
    assert ran == [NOW + number * HOUR for number in range(3)]


@given(st.integers(1, 2**62), st.timedeltas(TICK, timedelta(days=365)))
def test_an_offset_is_always_less_than_the_spread(event_id: int, spread: timedelta) -> None:
    """It is never negative either, and hangs on nothing but the id and the spread."""
    offset = Interval(days=365, spread=spread).offset(event_id)
    assert timedelta(0) <= offset < spread
    assert Interval(days=365, spread=spread).offset(event_id) == offset


def test_without_a_spread_there_is_no_offset() -> None:
    """All events are then due at the occurrence itself."""
    assert Interval(hours=1).offset(7) == timedelta(0)
    assert Once(NOW).offset(7) == timedelta(0)


def test_offsets_are_the_same_after_a_restart() -> None:
    """They are part of the stored form's meaning: these are those of the first release."""
    offsets = [Interval(hours=1, spread=HOUR).offset(event_id) for event_id in (1, 2, 1000)]
    assert [round(offset / HOUR, 6) for offset in offsets] == [0.618034, 0.236068, 0.033989]


@pytest.mark.parametrize(
    "make",
    [
        lambda spread: Interval(hours=1, spread=spread),
        lambda spread: Cron("@hourly", spread=spread),
        lambda spread: Calendar.hourly(spread=spread),
        lambda spread: Calendar("FREQ=HOURLY;BYMINUTE=0;INTERVAL=1", start=NOW, spread=spread),
    ],
    ids=["interval", "cron", "calendar", "calendar with a start"],
)
def test_a_spread_is_no_longer_than_the_way_to_the_next(
    make: Callable[[timedelta], Schedule],
) -> None:
    """As long is fine, since it is never reached."""
    assert make(HOUR).spread == HOUR
    for wrong in (HOUR + TICK, -TICK):
        with pytest.raises(ScheduleError, match="spread"):
            make(wrong)


def test_the_shortest_of_uneven_distances_counts() -> None:
    """Nine and ten o'clock are an hour apart, whatever the night is."""
    with pytest.raises(ScheduleError, match="between two occurrences, 1 hour"):
        Calendar("FREQ=DAILY;BYHOUR=9,10", spread=2 * HOUR)
    with pytest.raises(ScheduleError, match="between two occurrences, 1 hour"):
        Cron("0 9,10 * * *", spread=2 * HOUR)


# Phase


def test_a_new_interval_keeps_the_phase_of_the_old_one() -> None:
    """Every ten minutes goes on where every hour was, from now on."""
    old = Interval(hours=1, start=NOW + timedelta(minutes=7))
    now = NOW + timedelta(minutes=35)
    new = Interval(minutes=10, count=3).continuing(old, now)
    minutes = [(due - NOW) // timedelta(minutes=1) for due in new.occurrences(now)]
    assert minutes == [37, 47, 57]


def test_a_start_overrules_the_phase() -> None:
    """Whoever gives one wants it; and another kind has no phase to keep."""
    new = Interval(minutes=10, start=NOW)
    assert new.continuing(Interval(hours=1, start=NOW + TICK), NOW) == new
    assert Interval(minutes=10).continuing(Once(NOW), NOW) == Interval(minutes=10).anchored(NOW)


def test_a_phase_holds_backwards_too() -> None:
    """From every day to every ten minutes: the first is soon, in step with the day's."""
    old = Interval(days=1, start=NOW + timedelta(days=7, minutes=3))
    new = Interval(minutes=10).continuing(old, NOW)
    assert new.start == NOW + timedelta(minutes=3)


def test_every_other_week_stays_that_week() -> None:
    """A calendar with an INTERVAL takes the phase of the calendar that it replaces."""
    old = Calendar("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", start=datetime(2026, 1, 5, tzinfo=UTC))
    now = datetime(2026, 1, 14, tzinfo=UTC)
    new = Calendar("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", count=2).continuing(old, now)
    assert [due.date() for due in new.occurrences(now)] == [date(2026, 1, 20), date(2026, 2, 3)]
    assert Calendar.daily().continuing(old, now) == Calendar.daily()
    assert Cron("@daily").continuing(old, now) == Cron("@daily")


def test_occurrences_are_what_next_after_gives() -> None:
    """One by one, to the last."""
    schedule = Interval(hours=1, start=NOW, count=3)
    assert list(schedule.occurrences(NOW)) == [NOW + HOUR, NOW + 2 * HOUR]
    assert list(islice(Once(NOW).occurrences(NOW - TICK), 5)) == [NOW]


# From now


def test_hours_from_now_may_be_fractions(host: Host, clock: SettableClock) -> None:
    """0.25 is a quarter of an hour from now, and 0 is soon: at once."""
    quarter = host.schedule("tide.mark", {}, hours_from_now(0.25), allow_unknown=True)
    soon = host.schedule("tide.mark", {}, hours_from_now(0), allow_unknown=True)
    assert quarter.due == clock.now() + timedelta(minutes=15)
    assert soon.due == clock.now()


@pytest.mark.parametrize("hours", [-1, float("nan"), float("inf"), 1e12, "1"])
def test_hours_from_now_are_a_length_of_time(hours: float) -> None:
    """Anything else is refused."""
    with pytest.raises(ScheduleError):
        hours_from_now(hours)
