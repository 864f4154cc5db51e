"""Calendars: how they are written, read, stored and refused. When they fire on all the clocks of
the world is in test_reference.py.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horae_builtin_plugins.schedule import Calendar, Cron, Interval, Once
from horae_hookspecs import NaiveDatetimeError, Schedule, ScheduleError

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)  # a Monday
TICK = timedelta(microseconds=1)
BERLIN = "Europe/Berlin"
CHRISTMAS = [date(2026, 12, 25), date(2026, 12, 26)]


def local(schedule: Calendar, number: int, after: datetime = NOW) -> list[str]:
    """The next occurrences as the clocks show them."""
    found = islice(schedule.occurrences(after), number)
    return [f"{due.astimezone(ZoneInfo(schedule.zone)):%Y-%m-%d %H:%M}" for due in found]


def parsed(text: str) -> list[Schedule]:
    """What the kinds make of ``text``: one value, or none."""
    kinds = (Once, Interval, Cron, Calendar)
    return [found for kind in kinds if (found := kind.parse(text)) is not None]


# The four shapes, and rules


def test_the_four_shapes_write_rules() -> None:
    """Each of them is the same value as the calendar of its rule."""
    assert Calendar.hourly(15, 30) == Calendar("FREQ=HOURLY;BYMINUTE=15;BYSECOND=30")
    assert Calendar.daily(2, 30, zone=BERLIN) == Calendar(
        "FREQ=DAILY;BYHOUR=2;BYMINUTE=30", zone=BERLIN
    )
    assert Calendar.weekly(["thu", 0], 9) == Calendar("FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=9")
    assert Calendar.monthly(-1, 18) == Calendar("freq=monthly; bymonthday=-1; byhour=18")


def test_days_are_left_out_by_name_or_number() -> None:
    """0 is Monday, as in ``datetime.weekday``; names may be short or long, in any case."""
    weekend = Calendar.daily(exclude_days=["sat", "Sunday"])
    assert weekend == Calendar.daily(exclude_days=[5, 6])
    assert local(weekend, 3, datetime(2026, 1, 8, 12, tzinfo=UTC)) == [
        "2026-01-09 00:00",
        "2026-01-12 00:00",
        "2026-01-13 00:00",
    ]


def test_a_short_month_has_no_31st_and_every_month_a_last_day() -> None:
    """Day 31 is skipped in short months as RFC 5545 says; -1 is the last day."""
    assert local(Calendar.monthly(31), 3) == [
        "2026-01-31 00:00",
        "2026-03-31 00:00",
        "2026-05-31 00:00",
    ]
    assert local(Calendar.monthly(-1), 3) == [
        "2026-01-31 00:00",
        "2026-02-28 00:00",
        "2026-03-31 00:00",
    ]


def test_what_a_rule_leaves_open_is_that_of_the_start() -> None:
    """Time, weekday and day of the month come from the start, as its zone's clocks show it."""
    start = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
    assert Calendar("FREQ=WEEKLY", BERLIN, start=start) == Calendar.weekly(
        "thu", 9, 30, zone=BERLIN, start=start
    )
    assert Calendar("FREQ=MONTHLY", BERLIN, start=start).rrule == Calendar.monthly(15, 9, 30).rrule
    yearly = Calendar("FREQ=YEARLY", BERLIN, start=start)
    assert local(yearly, 2) == ["2026-01-15 09:30", "2027-01-15 09:30"]


def test_an_interval_counts_from_the_start_however_long_ago() -> None:
    """A start of 1970 keeps its phase, and asking costs no walk through all the years."""
    start = datetime(1970, 1, 1, 9, tzinfo=UTC)
    weekly = Calendar("FREQ=WEEKLY;INTERVAL=2", start=start)
    assert local(weekly, 2) == ["2026-01-15 09:00", "2026-01-29 09:00"]
    hourly = Calendar("FREQ=HOURLY;INTERVAL=5", start=start)
    due = hourly.next_after(NOW)
    assert due is not None
    assert (due - start) % timedelta(hours=5) == timedelta(0)


def test_a_mix_of_numbered_and_plain_days_means_either() -> None:
    """1MO and TU are the first Monday and every Tuesday; dateutil wants a day to be both."""
    mixed = Calendar("FREQ=MONTHLY;BYDAY=1MO,TU")
    assert local(mixed, 5) == [
        "2026-01-06 00:00",
        "2026-01-13 00:00",
        "2026-01-20 00:00",
        "2026-01-27 00:00",
        "2026-02-02 00:00",
    ]


def test_what_counts_from_now_is_fixed_when_anchored() -> None:
    """A count or an INTERVAL without a start begins when the event is scheduled."""
    assert Calendar.daily().anchored(NOW) == Calendar.daily()
    counted = Calendar.daily(count=2).anchored(NOW)
    assert counted == Calendar.daily(count=2, start=NOW)
    assert local(counted, 9) == ["2026-01-06 00:00", "2026-01-07 00:00"]
    spaced = Calendar("FREQ=DAILY;INTERVAL=3").anchored(NOW)
    assert local(spaced, 2) == ["2026-01-08 00:00", "2026-01-11 00:00"]


def test_a_calendar_ends_with_the_calendar() -> None:
    """Near the year 9999 the answer is what is left, then None."""
    late = datetime(9999, 12, 30, 12, tzinfo=UTC)
    assert local(Calendar.daily(), 9, late) == ["9999-12-31 00:00"]
    assert Calendar.hourly(zone="Asia/Kathmandu").next_after(datetime.max.replace(tzinfo=UTC)) is (
        None
    )


# Dates that are excluded


@pytest.mark.parametrize(
    "schedule",
    [
        Calendar.daily(9, zone=BERLIN, exclude=CHRISTMAS),
        Cron("0 9 * * *", BERLIN, exclude=CHRISTMAS),
    ],
    ids=["calendar", "cron"],
)
def test_nothing_fires_on_an_excluded_date(schedule: Schedule) -> None:
    """Dates are those of the zone's clocks."""
    found = islice(schedule.occurrences(datetime(2026, 12, 24, tzinfo=UTC)), 2)
    assert [due.day for due in found] == [24, 27]


def test_a_date_is_excluded_in_the_zone_and_at_one_stroke() -> None:
    """A cron of every second leaves a whole day out without looking at each of its seconds."""
    cron = Cron("* * * * * *", "Asia/Kathmandu", exclude=[date(2026, 1, 6), date(2026, 1, 7)])
    due = cron.next_after(datetime(2026, 1, 5, 18, 14, 59, tzinfo=UTC))
    assert due == datetime(2026, 1, 7, 18, 15, tzinfo=UTC)


def test_excluded_dates_do_not_count() -> None:
    """``count`` is of occurrences, and an excluded one is none."""
    start = datetime(2026, 12, 24, tzinfo=UTC)
    schedule = Calendar.daily(9, exclude=CHRISTMAS, start=start, count=2)
    assert local(schedule, 9, start) == ["2026-12-24 09:00", "2026-12-27 09:00"]


def test_schedules_that_differ_in_their_count_are_counted_apart() -> None:
    """Neither how far one was asked nor in which order changes the other's end."""
    start = datetime(2026, 1, 6, tzinfo=UTC)
    long, short = (Calendar.daily(start=start, count=count) for count in (5, 2))
    assert len(local(long, 9, start - TICK)) == 5
    assert local(short, 9, start - TICK) == ["2026-01-06 00:00", "2026-01-07 00:00"]
    assert long.next_after(start) == start + timedelta(days=1)


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Calendar("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "no such month has such a day"),
        (lambda: Calendar("FREQ=MONTHLY;BYMONTHDAY=1;BYDAY=2MO"), "can never fire"),
        (lambda: Calendar("FREQ=HOURLY;INTERVAL=24;BYHOUR=3", start=NOW), "can never fire"),
        (
            lambda: Calendar("FREQ=DAILY;INTERVAL=7;BYDAY=TU", start=NOW),
            "change its INTERVAL or the start",
        ),
        (lambda: Calendar.daily(start=NOW, until=NOW - TICK), "no occurrence: until"),
        (lambda: Calendar.daily(start=NOW, until=NOW + TICK), "no occurrence"),
        (
            lambda: Calendar.daily(start=NOW, until=NOW + timedelta(1), exclude=[date(2026, 1, 6)]),
            "no occurrence",
        ),
        (lambda: Calendar.daily(exclude_days=range(7)), "No day of the week is left"),
        (lambda: Calendar.weekly("mon", exclude_days=["mon"]), "not excluded"),
        (lambda: Calendar.weekly([]), "No day of the week"),
        (lambda: Calendar("FREQ=MINUTELY"), r"Interval\(minutes=5\)"),
        (lambda: Calendar("FREQ=SECONDLY"), "Cron"),
        (
            lambda: Calendar(f"FREQ=HOURLY;BYMINUTE={','.join(map(str, range(60)))};BYSECOND=0,30"),
            "too fine",
        ),
        (lambda: Calendar("FREQ=DAILY;UNTIL=20270101T000000Z"), "until="),
        (lambda: Calendar("FREQ=DAILY;COUNT=3"), "count="),
        (lambda: Calendar("DTSTART=20270101T000000;FREQ=DAILY"), "start="),
        (lambda: Calendar("FREQ=YEARLY;BYWEEKNO=1"), "FREQ=WEEKLY"),
        (lambda: Calendar("FREQ=YEARLY;BYEASTER=0"), "no part 'BYEASTER', only FREQ"),
        (lambda: Calendar("FREQ=DAILY;FREQ=DAILY"), "twice"),
        (lambda: Calendar("FREQ=FORTNIGHTLY"), "one of YEARLY"),
        (lambda: Calendar("every day"), "no part"),
        (lambda: Calendar("BYDAY=MO"), "no FREQ; write it as in"),
        (lambda: Calendar(""), "no FREQ"),
        (lambda: Calendar("FREQ=WEEKLY"), "BYDAY=MO"),
        (lambda: Calendar("FREQ=YEARLY;BYMONTH=2"), "BYMONTHDAY=24"),
        (lambda: Calendar("FREQ=WEEKLY;BYDAY=1MO"), "MONTHLY or YEARLY"),
        (lambda: Calendar("FREQ=WEEKLY;BYMONTHDAY=1"), "BYMONTHDAY goes with"),
        (lambda: Calendar("FREQ=DAILY;BYSETPOS=1"), "another BY part"),
        (lambda: Calendar("FREQ=DAILY;BYHOUR=24"), "0 to 23"),
        (lambda: Calendar("FREQ=MONTHLY;BYMONTHDAY=0"), "-31 to -1"),
        (lambda: Calendar("FREQ=MONTHLY;BYDAY=0MO"), "1MO"),
        (lambda: Calendar("FREQ=MONTHLY;BYDAY=MON"), "MO, TU"),
        (lambda: Calendar("FREQ=DAILY;INTERVAL=0"), "from 1 to 10000"),
        (lambda: Calendar("FREQ=DAILY;WKST=1"), "WKST is one of"),
        (lambda: Calendar.daily(2.5), "BYHOUR takes"),  # type: ignore[arg-type]
        (lambda: Calendar.monthly(32), "1 to 31"),
        (lambda: Calendar.weekly("noday"), "no day of the week"),
        (lambda: Calendar.weekly(7), "6 .Sunday."),
        (lambda: Calendar.daily(zone="Europe/Berln"), "Europe/Berlin"),
        (lambda: Calendar.daily(exclude=["2026-12-25"]), "list of dates"),  # type: ignore[list-item]
        (lambda: Calendar.daily(exclude=[NOW]), "list of dates"),
        (lambda: Calendar.daily(exclude=date(2026, 1, 1)), "list of dates"),  # type: ignore[arg-type]
        (lambda: Calendar.daily(count=0), "whole number"),
    ],
)
def test_what_can_never_be_right_is_refused(make: Callable[[], object], message: str) -> None:
    """At once, with what to do instead."""
    with pytest.raises(ScheduleError, match=message):
        make()


@pytest.mark.parametrize("name", ["start", "until"])
def test_a_naive_datetime_is_refused(name: str) -> None:
    """As everywhere, with the remedy."""
    limits: dict[str, Any] = {name: datetime(2026, 1, 5)}
    with pytest.raises(NaiveDatetimeError, match="ZoneInfo"):
        Calendar.daily(**limits)


# Stored form, text, English

hours = st.integers(0, 23)
sixties = st.integers(0, 59)
days_out = st.lists(st.integers(0, 6), max_size=6, unique=True)
limits = st.fixed_dictionaries(
    {},
    optional={
        "zone": st.sampled_from([BERLIN, "Australia/Lord_Howe"]),
        "exclude": st.lists(st.dates(date(2026, 1, 1), date(2030, 1, 1)), max_size=3),
        "start": st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
        "count": st.integers(1, 500),
        "spread": st.timedeltas(timedelta(0), timedelta(minutes=59)),
    },
)
simple_calendars = st.one_of(
    st.builds(
        lambda minute, second, out, given: Calendar.hourly(
            minute, second, exclude_days=out, **given
        ),
        sixties,
        sixties,
        days_out,
        limits,
    ),
    st.builds(
        lambda hour, minute, second, out, given: Calendar.daily(
            hour, minute, second, exclude_days=out, **given
        ),
        hours,
        sixties,
        sixties,
        days_out,
        limits,
    ),
    st.builds(
        lambda on, hour, minute, given: Calendar.weekly(on, hour, minute, **given),
        st.lists(st.integers(0, 6), min_size=1),
        hours,
        sixties,
        limits,
    ),
    st.builds(
        lambda on, hour, out, given: Calendar.monthly(on, hour, exclude_days=out, **given),
        st.lists(st.sampled_from([1, 2, 15, 28, -1, -2]), min_size=1),
        hours,
        days_out,
        limits,
    ),
)
rules = st.sampled_from(
    [
        "FREQ=MONTHLY;BYDAY=1MO,-1FR",
        "FREQ=YEARLY;BYMONTH=1,12;BYMONTHDAY=-1;BYHOUR=9,17",
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU;WKST=SU",
        "FREQ=HOURLY;INTERVAL=2",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=YEARLY;BYYEARDAY=1,-1",
    ]
).flatmap(lambda rule: limits.map(lambda given: Calendar(rule, **given)))
crons = limits.map(lambda given: Cron("0 9 * * mon-fri", **given))
intervals = limits.map(
    lambda given: Interval(
        hours=1, **{name: given[name] for name in given if name not in ("zone", "exclude")}
    )
)


@given(simple_calendars | rules | crons | intervals)
@settings(max_examples=120, deadline=None)
def test_what_is_stored_comes_back_exactly(value: Schedule) -> None:
    """A trip through JSON text loses nothing."""
    assert type(value).from_json(json.loads(json.dumps(value.to_json()))) == value


@given(simple_calendars | intervals)
@settings(max_examples=120, deadline=None)
def test_what_is_written_can_be_read_back(value: Schedule) -> None:
    """The English of the four shapes, and of intervals, is a text form, limits and all."""
    assert type(value).parse(str(value)) == value


def test_the_stored_form_is_the_rule_in_full() -> None:
    """It needs nothing that was the start's or the default's to be understood."""
    calendar = Calendar(
        "BYDAY=MO;FREQ=WEEKLY", BERLIN, exclude=CHRISTMAS, spread=timedelta(seconds=90)
    )
    assert calendar.to_json() == {
        "rrule": "FREQ=WEEKLY;BYDAY=MO;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
        "zone": BERLIN,
        "exclude": ["2026-12-25", "2026-12-26"],
        "spread": {"seconds": 90},
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "JSON object"),
        ({"zone": "UTC"}, "needs a rrule"),
        ({"rrule": 5}, "not of type str"),
        ({"rrule": "FREQ=DAILY", "exclude": "2026"}, "not of type list"),
        ({"rrule": "FREQ=DAILY", "exclude": [5]}, "'5' is no date"),
        ({"rrule": "FREQ=DAILY", "spread": 5}, "not of type dict"),
        ({"rrule": "FREQ=DAILY", "spread": {"hours": 5}}, "has no 'hours'"),
        ({"rrule": "FREQ=DAILY", "spread": {}}, "needs seconds"),
        ({"rrule": "FREQ=DAILY", "byhour": 9}, "has no 'byhour'"),
    ],
)
def test_garbage_in_the_store_is_refused(data: Any, message: str) -> None:
    """The error tells what is wrong with the stored form."""
    with pytest.raises(ScheduleError, match=message):
        Calendar.from_json(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "daily at 02:30 except sat,sun in Europe/Berlin",
            Calendar.daily(2, 30, exclude_days=["sat", "sun"], zone=BERLIN),
        ),
        (
            "Daily at 9:00:05 except sun, 2026-12-25 2026-12-26 IN europe/berlin",
            Calendar.daily(9, 0, 5, exclude_days=["sun"], exclude=CHRISTMAS, zone=BERLIN),
        ),
        ("weekly on mon,thu at 9:00", Calendar.weekly(["mon", "thu"], 9)),
        ("monthly on 1 at 00:00", Calendar.monthly(1)),
        ("monthly on 15, last at 18:00", Calendar.monthly([15, -1], 18)),
        ("hourly at :15", Calendar.hourly(15)),
        (
            "hourly at :15 spread 5m, 3 times",
            Calendar.hourly(15, spread=timedelta(0, 300), count=3),
        ),
        (
            "rrule FREQ=MONTHLY;BYDAY=1MO in Europe/Berlin",
            Calendar("FREQ=MONTHLY;BYDAY=1MO", BERLIN),
        ),
        ("every 5m spread 1m", Interval(minutes=5, spread=timedelta(minutes=1))),
        ("every hour from 2026-01-05T13:00+01:00", Interval(hours=1, start=NOW)),
        ("every day until 2026-01-05 12:00:00 UTC", Interval(days=1, until=NOW)),
        (
            "@daily except 2026-12-25, 2026-12-26 in Europe/Berlin spread 2 hours",
            Cron("@daily", BERLIN, exclude=CHRISTMAS, spread=timedelta(hours=2)),
        ),
    ],
)
def test_text_forms_mean_what_they_say(text: str, expected: Schedule) -> None:
    """Exactly one kind reads each form."""
    assert parsed(text) == [expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("daily", "daily at 02:30 except"),
        ("daily at 9", "daily at 02:30 except"),
        ("daily at 9:00 or so", "daily at 02:30 except"),
        ("daily at 25:00", "0 to 23"),
        ("daily at 9:00 except someday", "no day of the week"),
        ("daily at 9:00 except 25.12.", "no date; write it as in 'daily"),
        ("daily at 9:00 in Berlin", "Europe/Berlin"),
        ("daily at 9:00 in UTC in UTC", "twice"),
        ("daily at 9:00 until 2026-12-24T18:00", "no time zone"),
        ("weekly at 9:00", "weekly on mon"),
        ("weekly on mon at 9:00 except mon", "not excluded"),
        ("monthly at 9:00", "monthly on 1, last"),
        ("monthly on first at 9:00", "1 to 31"),
        ("hourly", "hourly at :15"),
        ("hourly at 15", "hourly at :15"),
        ("rrule", "rrule FREQ=MONTHLY"),
        ("rrule FREQ=DAILY except sat", "stand in its BYDAY"),
        ("every 5m in Europe/Berlin", "'in' does not fit there"),
        ("every 5m spread 6m", "longer than the shortest distance"),
    ],
)
def test_a_text_that_is_nearly_right_is_refused_with_an_example(text: str, message: str) -> None:
    """The error shows the right form."""
    with pytest.raises(ScheduleError, match=message):
        parsed(text)


@pytest.mark.parametrize(
    ("value", "english"),
    [
        (Calendar.daily(2, 30, zone=BERLIN), "daily at 02:30 in Europe/Berlin"),
        (
            Calendar.weekly(["thu", "mon"], 9, exclude=CHRISTMAS[:1], spread=timedelta(hours=1)),
            "weekly on mon, thu at 09:00 except 2026-12-25 in UTC spread over 1 hour",
        ),
        (
            Calendar.monthly([1, -1], 18, exclude_days=["sun"], start=NOW, count=1),
            "monthly on last, 1 at 18:00 except sun in UTC from 2026-01-05 12:00:00 UTC, 1 time",
        ),
        (Calendar.hourly(5, 7), "hourly at :05:07 in UTC"),
        (
            Calendar("FREQ=MONTHLY;BYDAY=1MO,-2FR;BYHOUR=9", BERLIN),
            "every month on the 2nd to last Friday and the 1st Monday at 09:00 in Europe/Berlin",
        ),
        (
            Calendar("FREQ=YEARLY;INTERVAL=2;BYMONTH=3;BYMONTHDAY=22;BYHOUR=9,17;BYMINUTE=0,30"),
            "every 2 years in March on the 22nd of the month at :00 and :30 of 09h and 17h in UTC",
        ),
        (
            Calendar("FREQ=MONTHLY;BYDAY=MO,FR;BYSETPOS=-1;BYSECOND=5,6;WKST=SU"),
            "every month on Monday and Friday at second 5 and 6 of :00 of 00h, only the last of "
            "these, weeks beginning on Sunday in UTC",
        ),
        (
            Calendar("FREQ=YEARLY;BYYEARDAY=100"),
            "every year on the 100th day of the year at 00:00 in UTC",
        ),
        (
            Cron("@daily", exclude=CHRISTMAS, spread=timedelta(minutes=5)),
            "at 00:00 every day except 2026-12-25, 2026-12-26, UTC time spread over 5 minutes",
        ),
    ],
)
def test_calendars_read_as_plain_english(value: Schedule, english: str) -> None:
    """``str`` says when a schedule fires, with its zone and its limits."""
    assert str(value) == english
