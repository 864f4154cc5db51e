"""Every schedule kind against a slow walk that shares no code with it, in many zones, with the
process in five others. ``HORAE_CAMPAIGN`` makes it long.
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horae_builtin_plugins.schedule import Calendar, Interval, Once
from horae_hookspecs import Schedule, ScheduleError
from kit.slow_calendar import SlowRule, shown, slow_fixed, slow_hourly
from kit.zones import DAY, HOUR, MINUTE, SETTINGS, ZONES, chain, moments, process_in

CAMPAIGN: Final = bool(os.environ.get("HORAE_CAMPAIGN"))
EXAMPLES: Final = 400 if CAMPAIGN else 4
NAMES: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

ALL_HOURS: Final = frozenset(range(24))
hours = st.sampled_from([0, 1, 2, 3, 12, 23])
minutes = st.sampled_from([0, 1, 15, 29, 30, 31, 45, 59])
several_hours = st.frozensets(hours, min_size=1, max_size=2)
several_minutes = st.frozensets(minutes, min_size=1, max_size=2)
weekdays = st.integers(0, 6)
plain_days = st.frozensets(st.tuples(st.just(0), weekdays), min_size=1, max_size=3)
numbered_days = st.frozensets(
    st.tuples(st.sampled_from([0, 1, 2, 3, 4, -1, -2]), weekdays), min_size=1, max_size=3
)
month_days = st.frozensets(st.sampled_from([1, 5, 28, 29, 30, 31, -1, -2, -30]), min_size=1)
months = st.frozensets(st.integers(1, 12), max_size=5)
intervals = st.sampled_from([1, 1, 2, 3, 5])
none: st.SearchStrategy[frozenset[Any]] = st.just(frozenset())
positions = none | st.frozensets(st.sampled_from([1, 2, 3, -1, -2]), min_size=1, max_size=2)

daily_rules = st.builds(
    SlowRule,
    freq=st.just("DAILY"),
    hours=several_hours,
    minutes=several_minutes,
    interval=intervals,
    days=none | plain_days,
    months=none | months,
    positions=none | st.just(frozenset({-1})),
)
weekly_rules = st.builds(
    SlowRule,
    freq=st.just("WEEKLY"),
    hours=several_hours,
    minutes=several_minutes,
    interval=intervals,
    days=plain_days,
    positions=positions,
    week_start=weekdays,
)
monthly_rules = st.builds(
    SlowRule,
    freq=st.just("MONTHLY"),
    hours=several_hours,
    minutes=st.frozensets(minutes, min_size=1, max_size=1),
    interval=intervals,
    month_days=month_days,
) | st.builds(
    SlowRule,
    freq=st.just("MONTHLY"),
    hours=st.frozensets(hours, min_size=1, max_size=1),
    minutes=st.frozensets(minutes, min_size=1, max_size=1),
    interval=intervals,
    days=numbered_days,
    positions=positions,
)
yearly_rules = st.builds(
    SlowRule,
    freq=st.just("YEARLY"),
    hours=st.frozensets(hours, min_size=1, max_size=1),
    minutes=st.frozensets(minutes, min_size=1, max_size=1),
    interval=st.sampled_from([1, 1, 2]),
    months=months,
    days=numbered_days,
    positions=positions,
) | st.builds(
    SlowRule,
    freq=st.just("YEARLY"),
    hours=st.frozensets(hours, min_size=1, max_size=1),
    minutes=st.frozensets(minutes, min_size=1, max_size=1),
    year_days=st.frozensets(st.sampled_from([1, 60, 90, 300, 366, -1, -366]), min_size=1),
)
hourly_rules = st.builds(
    SlowRule,
    freq=st.just("HOURLY"),
    hours=st.just(ALL_HOURS) | several_hours,
    minutes=several_minutes,
    interval=st.sampled_from([1, 1, 2, 5]),
    days=none | plain_days,
)


def chain_everywhere(
    data: st.DataObject, make: Callable[[], Schedule], after: datetime, until: datetime
) -> list[datetime]:
    """The occurrences in (after, until]: the same, whatever zone the process takes for local."""
    found = []
    for setting in data.draw(st.permutations(SETTINGS)):
        with process_in(setting):
            found.append(chain(make(), after, until))
    assert found == found[:1] * len(SETTINGS)
    return found[0]


def can_fire(make: Callable[[], Schedule]) -> bool:
    """False for a rule that is refused because it never fires."""
    try:
        make()
    except ScheduleError as error:
        if "can never fire" in str(error):
            return False
        raise
    return True


def dates_around(after: datetime, zone: str) -> st.SearchStrategy[list[date]]:
    """Some dates of the days that follow ``after``."""
    today = shown(after, zone).date()
    return st.lists(st.integers(-1, 40).map(lambda days: today + days * DAY), max_size=4)


def check(
    data: st.DataObject,
    rules: st.SearchStrategy[SlowRule],
    zone: str,
    length: timedelta,
    slow: Callable[..., list[datetime]] = slow_fixed,
) -> None:
    """A calendar of a rule fires over ``length`` exactly as ``slow`` says, with all its limits."""
    rule, after = data.draw(rules), data.draw(moments(zone))
    until, excluded = after + length, data.draw(dates_around(after, zone))
    start = after - data.draw(st.timedeltas(timedelta(0), 30 * DAY))
    if rule.interval == 1 and data.draw(st.booleans()):
        start = None
    expected = [
        due
        for due in slow(rule, zone, start or after, after, until)
        if shown(due, zone).date() not in excluded
    ]

    def make() -> Schedule:
        return Calendar(rule.text, zone, start=start, exclude=excluded)

    if can_fire(make):
        assert chain_everywhere(data, make, after, until) == expected
    else:
        assert expected == []


fires = pytest.mark.parametrize(
    "zone", [pytest.param(zone, marks=[pytest.mark.campaign] * CAMPAIGN) for zone in ZONES]
)
examples = settings(max_examples=EXAMPLES, deadline=None)


@fires
@given(st.data())
@examples
def test_once_fires_at_its_instant_in_every_zone(zone: str, data: st.DataObject) -> None:
    """Once is due at the one instant that it was given, whatever clock showed it."""
    when, after = data.draw(moments(zone)), data.draw(moments(zone))
    expected = [when] if when > after else []
    given = shown(when, zone).replace(tzinfo=UTC) - (shown(when, zone).replace(tzinfo=UTC) - when)
    assert chain_everywhere(data, lambda: Once(given), after, datetime.max.replace(tzinfo=UTC)) == (
        expected
    )


@fires
@given(st.data())
@examples
def test_an_interval_fires_as_one_who_counts_on(zone: str, data: st.DataObject) -> None:
    """The occurrences are the start and what is reached from there step by step, DST or not."""
    after = data.draw(moments(zone))
    every = data.draw(st.timedeltas(7 * MINUTE, 2 * DAY))
    start = after + data.draw(st.timedeltas(-20 * every, 3 * every))
    count = data.draw(st.none() | st.integers(1, 30))
    steps = [start]
    while steps[-1] < after + 10 * every:
        steps.append(steps[-1] + every)
    expected = [due for due in steps[:count] if after < due <= after + 10 * every]

    def make() -> Schedule:
        return Interval(every, start=start, count=count)

    assert chain_everywhere(data, make, after, after + 10 * every) == expected


@fires
@given(st.data())
@examples
def test_a_daily_rule_fires_as_the_slow_walk_does(zone: str, data: st.DataObject) -> None:
    """Days, intervals, positions and exclusions, over three weeks around a change of clocks."""
    check(data, daily_rules, zone, 21 * DAY)


@fires
@given(st.data())
@examples
def test_a_weekly_rule_fires_as_the_slow_walk_does(zone: str, data: st.DataObject) -> None:
    """Weeks beginning on any day, with intervals and positions."""
    check(data, weekly_rules, zone, 45 * DAY)


@fires
@given(st.data())
@examples
def test_a_monthly_rule_fires_as_the_slow_walk_does(zone: str, data: st.DataObject) -> None:
    """Days from either end of the month, numbered weekdays, short months that are skipped."""
    check(data, monthly_rules, zone, 150 * DAY)


@fires
@given(st.data())
@examples
def test_a_yearly_rule_fires_as_the_slow_walk_does(zone: str, data: st.DataObject) -> None:
    """Numbered weekdays of months and years, days of the year."""
    check(data, yearly_rules, zone, 900 * DAY)


@fires
@given(st.data())
@examples
def test_an_hourly_rule_fires_as_the_slow_walk_does(zone: str, data: st.DataObject) -> None:
    """Elapsed time: nothing in a gap, both passes of a repeated hour, intervals of real hours."""
    check(data, hourly_rules, zone, 3 * DAY, slow_hourly)


def by_name(days: Sequence[int]) -> list[str | int]:
    """Some days as names, the others as numbers."""
    return [NAMES[day] if day % 2 else day for day in days]


@fires
@given(st.data())
@examples
def test_the_four_shapes_fire_as_the_slow_walk_does(zone: str, data: st.DataObject) -> None:
    """Hourly, daily, weekly and monthly with days left out, by name or number."""
    out = data.draw(st.lists(weekdays, max_size=3, unique=True))
    left = frozenset((0, day) for day in range(7) if day not in out)
    on = data.draw(st.lists(weekdays, min_size=4, max_size=5, unique=True))
    of_month = data.draw(st.lists(st.sampled_from([1, 15, 30, 31, -1]), min_size=1, unique=True))
    hour, minute, after = data.draw(hours), data.draw(minutes), data.draw(moments(zone))
    limits: dict[str, Any] = {"zone": zone, "exclude_days": by_name(out)}
    at = {"hours": frozenset({hour}), "minutes": frozenset({minute})}
    both = left & {(0, day) for day in on}
    shapes: list[tuple[Callable[[], Schedule], list[datetime]]] = [
        (
            lambda: Calendar.daily(hour, minute, **limits),
            slow_fixed(SlowRule("DAILY", **at, days=left), zone, after, after, after + 9 * DAY),
        ),
        (
            lambda: Calendar.weekly(by_name(on), hour, minute, **limits),
            slow_fixed(SlowRule("WEEKLY", **at, days=both), zone, after, after, after + 9 * DAY),
        ),
        (
            lambda: Calendar.monthly(of_month, hour, minute, **limits),
            slow_fixed(
                SlowRule("MONTHLY", **at, month_days=frozenset(of_month), days=left),
                zone,
                after,
                after,
                after + 70 * DAY,
            ),
        ),
        (
            lambda: Calendar.hourly(minute, **limits),
            slow_hourly(
                SlowRule("HOURLY", ALL_HOURS, at["minutes"], days=left),
                zone,
                after,
                after,
                after + 2 * DAY,
            ),
        ),
    ]
    lengths = (9 * DAY, 9 * DAY, 70 * DAY, 2 * DAY)
    for (make, expected), length in zip(shapes, lengths, strict=True):
        if make is shapes[1][0] and not both:
            continue
        assert chain_everywhere(data, make, after, after + length) == expected


@fires
@given(st.data())
@examples
def test_a_count_ends_a_calendar_where_the_slow_walk_counts(zone: str, data: st.DataObject) -> None:
    """``count`` occurrences from the start, those on excluded dates left out of the count."""
    rule, start = data.draw(daily_rules), data.draw(moments(zone))
    excluded, count = data.draw(dates_around(start, zone)), data.draw(st.integers(1, 12))
    until = start + 40 * DAY
    walked = slow_fixed(rule, zone, start, start - timedelta.resolution, until)
    expected = [due for due in walked if shown(due, zone).date() not in excluded][:count]
    after = start + data.draw(st.timedeltas(-HOUR, 20 * DAY))

    def make() -> Schedule:
        return Calendar(rule.text, zone, start=start, count=count, exclude=excluded)

    if can_fire(make):
        found = chain_everywhere(data, make, after, until)
        assert found == [due for due in expected if due > after]
    else:
        assert walked == []
