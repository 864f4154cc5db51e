"""Cron when clocks change, against examples and a slow walk through time that shares no code.

The walk knows no rule about gaps and repeated hours. It watches a wall clock minute by minute, as
the cron daemon does: an entry that follows elapsed time fires when the clock shows a matching
time; a fixed-time entry fires when the clock reaches a matching time, or jumps over it, for the
first time.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horae_builtin_plugins.schedule import Cron
from kit.zones import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    SETTINGS,
    ZONES,
    chain,
    moments,
    near_changes,
    process_in,
)

# The slow walk


def numbers(field: str, span: range) -> frozenset[int]:
    """What ``*``, ``*/15``, ``0-3`` or ``1,30`` stands for."""
    if field.startswith("*"):
        return frozenset(span[:: int(field[2:] or 1)])
    if "-" in field:
        low, high = map(int, field.split("-"))
        return frozenset(range(low, high + 1))
    return frozenset(map(int, field.split(",")))


@attrs.frozen
class Entry:
    """A cron entry of 6 fields in the simple forms whose meaning is plain."""

    is_fixed: bool
    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def read(cls, expression: str) -> "Entry":
        second, minute, hour, _, _, weekday = expression.split()
        return cls(
            "*" not in second + minute + hour,
            numbers(second, range(60)),
            numbers(minute, range(60)),
            numbers(hour, range(24)),
            numbers(weekday, range(7)),
        )

    def matches(self, local: datetime) -> bool:
        return (
            local.second in self.seconds
            and local.minute in self.minutes
            and local.hour in self.hours
            and local.isoweekday() % 7 in self.weekdays
        )


def slow_walk(
    expression: str, zone: str, after: datetime, until: datetime, step: timedelta, lead: timedelta
) -> Iterator[datetime]:
    """The instants in (after, until] at which ``expression``, of 6 fields, fires.

    The clock is watched every ``step``, from ``lead`` before ``after`` on: longer than a change
    of the clocks, so that every repeated time is known as one.
    """
    entry, clock = Entry.read(expression), ZoneInfo(zone)
    now = after.replace(second=0, microsecond=0) - lead
    reached = now.astimezone(clock).replace(tzinfo=None)
    while (now := now + step) <= until:
        shown = now.astimezone(clock).replace(tzinfo=None)
        fires = False
        while entry.is_fixed and reached < shown:
            reached += step
            fires = fires or entry.matches(reached)
        if now > after and (fires or (not entry.is_fixed and entry.matches(shown))):
            yield now


# Entries, and times to ask about


def fields(likely: list[int], stars: list[str]) -> st.SearchStrategy[str]:
    """Fields as ``*``, ``*/15``, ``0-3`` or ``1,30``, the numbers drawn from ``likely``."""
    number = st.sampled_from(likely)
    lists = st.sets(number, min_size=1, max_size=3).map(lambda them: ",".join(map(str, them)))
    ranges = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    return st.one_of(lists, lists, ranges, st.sampled_from(stars))


sixties = fields([0, 1, 15, 29, 30, 31, 45, 59], ["*", "*/15", "*/7"])
hours = fields([0, 1, 2, 3, 4, 12, 22, 23], ["*", "*/2", "*/5"])
weekdays = st.just("*") | fields([0, 1, 5, 6], ["*"])
by_minute = st.builds("0 {} {} * * {}".format, sixties, hours, weekdays)
by_second = st.builds("{} {} {} * * *".format, sixties, sixties, hours)


# Properties


@pytest.mark.parametrize("zone", ZONES)
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_cron_fires_as_the_slow_walk_does(zone: str, data: st.DataObject) -> None:
    """Over two days from any instant, every occurrence is the one that a watched clock gives."""
    expression, after = data.draw(by_minute), data.draw(moments(zone))
    until = after + 2 * DAY
    expected = list(slow_walk(expression, zone, after, until, MINUTE, lead=2 * DAY))
    with process_in(data.draw(st.sampled_from(SETTINGS))):
        assert chain(Cron(expression, zone), after, until) == expected
        assert chain(Cron(expression.removeprefix("0 "), zone), after, until) == expected


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Europe/Berlin"])
@given(st.data())
@settings(max_examples=12, deadline=None)
def test_cron_with_seconds_fires_as_the_slow_walk_does(zone: str, data: st.DataObject) -> None:
    """The rule for 6 fields is that for 5, watched by the second."""
    expression, after = data.draw(by_second), data.draw(near_changes(zone, HOUR))
    until = after + HOUR
    expected = list(slow_walk(expression, zone, after, until, SECOND, lead=3 * HOUR))
    assert chain(Cron(expression, zone), after, until) == expected


@pytest.mark.parametrize("expression", ["0 30 12 * * *", "0 */30 * * * *", "0 0 0,23 * * *"])
@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Pacific/Apia", "2011-12-30T10:00Z"),
        ("Pacific/Kwajalein", "1993-08-21T12:00Z"),
        ("Pacific/Kwajalein", "1969-09-30T13:00Z"),
    ],
    ids=["a day skipped", "another day skipped", "a day repeated"],
)
def test_cron_follows_a_clock_that_changes_by_a_day(
    expression: str, zone: str, change: str
) -> None:
    """A skipped or repeated day is a gap or a repeated hour like any other."""
    after = datetime.fromisoformat(change) - 2 * DAY
    until = after + 4 * DAY
    expected = list(slow_walk(expression, zone, after, until, MINUTE, lead=3 * DAY))
    assert chain(Cron(expression, zone), after, until) == expected


# Examples


@pytest.mark.parametrize("seconds", ["", "0 "], ids=["5 fields", "6 fields"])
@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        pytest.param(
            "America/New_York",
            "30 2 * * *",
            "2025-03-09T01:59-05:00",
            ["2025-03-09T03:00-04:00", "2025-03-10T02:30-04:00"],
            id="New York, gap, fixed: once, right after it",
        ),
        pytest.param(
            "America/New_York",
            "30 1 * * *",
            "2025-11-02T01:00-04:00",
            ["2025-11-02T01:30-04:00", "2025-11-03T01:30-05:00"],
            id="New York, fold, fixed: once, in the first pass",
        ),
        pytest.param(
            "America/New_York",
            "*/30 * * * *",
            "2025-03-09T01:00-05:00",
            ["2025-03-09T01:30-05:00", "2025-03-09T03:00-04:00", "2025-03-09T03:30-04:00"],
            id="New York, gap, star: elapsed time",
        ),
        pytest.param(
            "America/New_York",
            "*/30 * * * *",
            "2025-11-02T00:59-04:00",
            [
                "2025-11-02T01:00-04:00",
                "2025-11-02T01:30-04:00",
                "2025-11-02T01:00-05:00",
                "2025-11-02T01:30-05:00",
                "2025-11-02T02:00-05:00",
            ],
            id="New York, fold, star: both passes",
        ),
        pytest.param(
            "America/New_York",
            "*/30 2 * * *",
            "2025-03-09T01:00-05:00",
            ["2025-03-10T02:00-04:00"],
            id="New York, gap, star in the gap's hour: nothing",
        ),
        pytest.param(
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-29T00:00+01:00",
            ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
            id="Berlin, gap, fixed",
        ),
        pytest.param(
            "Europe/Berlin",
            "0,30 2,3 * * *",
            "2026-03-29T00:00+01:00",
            ["2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-30T02:00+02:00"],
            id="Berlin, gap, several fixed times fall together",
        ),
        pytest.param(
            "Europe/Berlin",
            "0 * * * *",
            "2026-03-29T01:00+01:00",
            ["2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"],
            id="Berlin, gap, hourly",
        ),
        pytest.param(
            "Europe/Berlin",
            "0 * * * *",
            "2026-10-25T01:00+02:00",
            ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"],
            id="Berlin, fold, hourly",
        ),
        pytest.param(
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-25T02:15+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
            id="Berlin, fold, asked in the first pass",
        ),
        pytest.param(
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-25T02:15+01:00",
            ["2026-10-26T02:30+01:00"],
            id="Berlin, fold, asked in the second pass: never back (cronsim goes back)",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-04T01:59+10:30",
            ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"],
            id="Lord Howe, gap of 30 minutes, fixed",
        ),
        pytest.param(
            "Australia/Lord_Howe",
            "*/15 * * * *",
            "2026-04-05T01:30+11:00",
            ["2026-04-05T01:45+11:00", "2026-04-05T01:30+10:30", "2026-04-05T01:45+10:30"],
            id="Lord Howe, fold of 30 minutes, star",
        ),
        pytest.param(
            "America/Santiago",
            "0 0 * * *",
            "2026-09-05T12:00-04:00",
            ["2026-09-06T01:00-03:00", "2026-09-07T00:00-03:00"],
            id="Santiago, a day without midnight",
        ),
        pytest.param(
            "Pacific/Apia",
            "0 12 * * *",
            "2011-12-29T12:00-10:00",
            ["2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"],
            id="Apia, a day that never was: made up for right after it",
        ),
    ],
)
def test_cron_at_a_change_of_clocks(
    seconds: str, zone: str, expression: str, after: str, expected: list[str]
) -> None:
    """Fixed times fire once per local day, others follow elapsed time, for 5 and 6 fields."""
    instants = [datetime.fromisoformat(text) for text in expected]
    found = chain(Cron(seconds + expression, zone), datetime.fromisoformat(after), instants[-1])
    assert found == instants


def test_a_star_among_the_seconds_follows_elapsed_time() -> None:
    """``*/30 30 1`` fires in both passes of the repeated hour."""
    cron = Cron("*/30 30 1 * * *", "America/New_York")
    found = chain(
        cron,
        datetime.fromisoformat("2025-11-02T01:00-04:00"),
        datetime.fromisoformat("2025-11-02T02:00-05:00"),
    )
    assert found == [
        datetime(2025, 11, 2, hour, 30, second, tzinfo=UTC) for hour in (5, 6) for second in (0, 30)
    ]


def test_a_rule_that_falls_into_the_gap_every_year_ends() -> None:
    """In New York the second Sunday of March has had no 02:30 since 2007."""
    cron = Cron("*/30 2 * 3 0#2", "America/New_York")
    assert cron.next_after(datetime(2000, 1, 1, tzinfo=UTC)) is not None
    assert cron.next_after(datetime(2026, 1, 1, tzinfo=UTC)) is None
