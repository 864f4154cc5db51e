"""Rows 26 to 36, 44 and 46: when events are due, and what becomes of those that were late."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from horae import Host, SettableClock
from horae_builtin_plugins import schedule
from horae_hookspecs import Missed, NaiveDatetimeError, Outcome, Schedule, State, hookimpl
from kit.events import LONG, outcomes, runs_of, stored

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def known(host: Host) -> Host:
    """A host that knows the type ``t``."""
    host.register("t")(lambda context: None)
    return host


def test_row_26_once(known: Host, clock: SettableClock) -> None:
    """It fires once at its time; then nothing is due any more, and the row is kept."""
    event = known.schedule("t", None, schedule.Once(clock.now() + HOUR))
    known.run_until_idle(LONG)
    assert runs_of(known, event) == []
    clock.advance(2 * HOUR)
    known.run_until_idle(LONG)
    assert outcomes(known, event) == [Outcome.SUCCEEDED]
    assert (stored(known, event).state, stored(known, event).due) == (State.FINISHED, None)


@pytest.mark.parametrize(("hours", "due"), [(0.25, 15 * MINUTE), (0, MINUTE)])
def test_row_27_hours_from_now(
    known: Host, clock: SettableClock, hours: float, due: timedelta
) -> None:
    """A quarter of an hour is fifteen minutes; none at all is within a minute."""
    event = known.schedule("t", None, schedule.hours_from_now(hours))
    assert event.due is not None
    assert clock.now() <= event.due <= clock.now() + due
    assert not hours or event.due == clock.now() + due


def test_row_28_interval_without_drift(known: Host, clock: SettableClock) -> None:
    """The thousandth tick is where a thousand intervals end, however late each run was."""
    when = schedule.Interval(minutes=7).anchored(clock.now())
    at = clock.now()
    for tick in range(1, 1001):
        following = when.next_after(at)
        assert following is not None
        assert following == clock.now() + tick * 7 * MINUTE
        at = following + timedelta(milliseconds=tick)


def test_row_29_calendar_kinds() -> None:
    """Hourly, daily, weekly and monthly, with days left out; the property tests have the rest."""
    start = datetime(2026, 1, 30, 12, tzinfo=UTC)  # a Friday
    kinds = {
        schedule.Calendar.hourly(minute=15): datetime(2026, 1, 30, 12, 15, tzinfo=UTC),
        schedule.Calendar.daily(hour=9, exclude_days=["sat", "sun"]): datetime(
            2026, 2, 2, 9, tzinfo=UTC
        ),
        schedule.Calendar.weekly("thu", hour=9): datetime(2026, 2, 5, 9, tzinfo=UTC),
        schedule.Calendar.monthly(31, hour=9): datetime(2026, 1, 31, 9, tzinfo=UTC),
    }
    for kind, due in kinds.items():
        assert kind.next_after(start) == due, str(kind)
    after_january = schedule.Calendar.monthly(31, hour=9).next_after(
        datetime(2026, 2, 1, tzinfo=UTC)
    )
    assert after_january == datetime(2026, 3, 31, 9, tzinfo=UTC)


def test_row_30_cron() -> None:
    """Five fields, read on the clocks of a zone that is named."""
    cron = schedule.Cron("30 2 * * mon-fri", zone="Europe/Berlin")
    assert cron.next_after(datetime(2026, 1, 2, 12, tzinfo=UTC)) == datetime(
        2026, 1, 5, 1, 30, tzinfo=UTC
    )


def test_row_31_aware_instants_only(known: Host) -> None:
    """A naive time names no instant and is refused, with the way out."""
    for attempt in (
        lambda: schedule.Once(datetime(2026, 1, 1)),
        lambda: known.schedule("t", None, datetime(2026, 1, 1)),
        lambda: schedule.Interval(minutes=1, start=datetime(2026, 1, 1)),
    ):
        with pytest.raises(NaiveDatetimeError, match=r"datetime\.now\(UTC\)"):
            attempt()


@pytest.mark.parametrize(
    "when",
    [
        schedule.Once(datetime(2026, 5, 15, 22, 19, 19, tzinfo=UTC)),
        schedule.Interval(minutes=5, start=datetime(2026, 1, 1, tzinfo=UTC)),
        schedule.Cron("0 9 * * mon-fri"),
        schedule.Calendar.daily(hour=9),
    ],
    ids=lambda when: when.kind,
)
def test_row_32_tagged_data_and_text(known: Host, when: Schedule) -> None:
    """Stored as JSON with the kind as tag, read back equal, and told in English."""
    data = dict(known.schedule("t", None, when).schedule)
    assert data.pop("kind") == when.kind
    assert type(when).from_json(data) == when
    assert str(when)[0].isalpha()


def test_row_33_third_party_schedule_kinds(known: Host, clock: SettableClock) -> None:
    """A kind comes from a plugin; while it is away its events are kept, and not run."""

    class FullMoon(schedule.Once):
        kind = "full_moon"

    class Moon:
        @hookimpl
        def horae_schedule_kinds(self) -> list[type[Schedule]]:
            return [FullMoon]

    moon = Moon()
    known.start().load_plugin(moon)
    event = known.schedule("t", None, FullMoon(clock.now() + HOUR))
    known.unload_plugin("Moon", drain=0)
    clock.advance(2 * HOUR)
    known.run_until_idle(LONG)
    assert (stored(known, event).state, runs_of(known, event)) == (State.PENDING, [])
    known.load_plugin(moon)
    known.run_until_idle(LONG)
    assert outcomes(known, event) == [Outcome.SUCCEEDED]


def test_row_34_spread(known: Host, host_on: Callable[..., Host]) -> None:
    """A thousand equal schedules come due evenly, and at the same times after a restart."""
    when = schedule.Interval(hours=1, spread=10 * MINUTE)
    ids = known.schedule_many([{"event_type": "t", "schedule": when}] * 1000)
    due = {event.id: event.due for event in known.events(limit=1000)}
    earliest = min(at for at in due.values() if at)
    minutes = Counter((at - earliest) // MINUTE for at in due.values() if at)
    assert sorted(minutes) == list(range(10))
    assert all(80 <= count <= 120 for count in minutes.values())
    again = host_on()
    assert {event.id: event.due for event in again.events(limit=1000)} == due
    assert set(due) == set(ids)


def test_row_35_coalesce(known: Host, clock: SettableClock) -> None:
    """Five periods without a host are made up for by one run, which says that it covers five."""
    event = known.schedule("t", None, "every 1h")
    clock.advance(5 * HOUR + MINUTE)
    known.run_until_idle(LONG)
    (run,) = runs_of(known, event)
    assert (run.outcome, run.covers) == (Outcome.SUCCEEDED, 5)


def test_row_36_misfire_grace(known: Host, clock: SettableClock) -> None:
    """Late within the grace it runs; later, a missed run is on record instead."""
    missed = Missed("run_once", grace=10 * MINUTE)
    soon = known.schedule("t", None, HOUR, missed=missed)
    late = known.schedule("t", None, HOUR - 20 * MINUTE, missed=missed)
    clock.advance(HOUR + 5 * MINUTE)
    known.run_until_idle(LONG)
    assert outcomes(known, soon) == [Outcome.SUCCEEDED]
    assert outcomes(known, late) == [Outcome.MISSED]
    assert stored(known, late).state is State.EXPIRED


def test_row_44_change_keeps_the_phase(known: Host, clock: SettableClock) -> None:
    """A new description moves nothing, a new interval keeps its phase, unless asked otherwise."""
    event = known.schedule("t", None, "every 10m")
    clock.advance(3 * MINUTE)
    known.update(event.id, description="new")
    assert (stored(known, event).due, stored(known, event).description) == (event.due, "new")
    known.reschedule(event.id, schedule.Interval(minutes=5))
    assert stored(known, event).due == clock.now() + 2 * MINUTE
    known.reschedule(event.id, schedule.Interval(minutes=5), keep_phase=False)
    assert stored(known, event).due == clock.now() + 5 * MINUTE


@pytest.mark.parametrize(
    ("missed", "runs"),
    [
        ("run_once", [(Outcome.SUCCEEDED, 3)]),
        ("run_all", [(Outcome.SUCCEEDED, 1)] * 3),
        ("skip", [(Outcome.MISSED, 3)]),
    ],
)
def test_row_46_catch_up_after_downtime(
    host: Host, clock: SettableClock, missed: str, runs: list[tuple[Outcome, int]]
) -> None:
    """What came due while nothing ran is made up for as the policy says."""
    host.register("t", missed=missed)(lambda context: None)
    event = host.schedule("t", None, "every 1h")
    clock.advance(3 * HOUR + 30 * MINUTE)
    host.run_until_idle(LONG)
    assert [(run.outcome, run.covers) for run in runs_of(host, event)] == runs
    assert stored(host, event).due == clock.now() + 30 * MINUTE
