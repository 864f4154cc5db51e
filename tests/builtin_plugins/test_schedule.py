"""The schedule kinds that come with horae: when they fire, how they are stored and written."""

import importlib
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horae_builtin_plugins import schedule
from horae_builtin_plugins.schedule import Cron, Interval, Once
from horae_hookspecs import NaiveDatetimeError, Schedule, ScheduleError

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
TICK, HOUR = timedelta(microseconds=1), timedelta(hours=1)
KINDS = tuple(schedule.horae_schedule_kinds())

instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
lengths = st.timedeltas(timedelta(milliseconds=1), timedelta(days=4000))
counts = st.none() | st.integers(1, 1000)
limits = st.fixed_dictionaries({"start": st.none() | instants, "count": counts})


def chain(value: Schedule, instant: datetime, most: int) -> list[datetime]:
    """Up to ``most`` occurrences of ``value`` after ``instant``."""
    found: list[datetime] = []
    while len(found) < most and (due := value.next_after(instant)) is not None:
        found.append(due)
        instant = due
    return found


def parsed(text: object) -> list[Schedule]:
    """What the kinds make of ``text``: one value, or none."""
    readings = (kind.parse(text) for kind in KINDS)  # type: ignore[arg-type]
    return [reading for reading in readings if reading is not None]


# The plugin


def test_the_module_is_a_plugin_with_four_kinds() -> None:
    """The hook gives the kinds under their tags."""
    assert [kind.kind for kind in KINDS] == ["once", "interval", "cron", "calendar"]


@pytest.mark.parametrize("kind", ["Once", "Interval", "Cron", "Calendar"])
def test_values_are_immutable_hashable_and_picklable(kind: str) -> None:
    """A schedule is a value: it cannot be changed, and its copies equal it."""
    given = {"Once": NOW, "Interval": HOUR, "Cron": "@daily", "Calendar": "FREQ=DAILY"}[kind]
    # Hosts of earlier tests have taken the plugin's modules with them.
    value = getattr(importlib.import_module(schedule.__name__), kind)(given)
    copy = pickle.loads(pickle.dumps(value))
    assert copy == value
    assert hash(copy) == hash(value)
    assert copy.next_after(NOW - TICK) == value.next_after(NOW - TICK)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.kind = "other"


@pytest.mark.parametrize("value", [Interval(minutes=5), Cron("@daily")], ids=str)
def test_a_naive_instant_is_refused(value: Schedule) -> None:
    """No answer is guessed for an instant without a time zone."""
    with pytest.raises(NaiveDatetimeError):
        value.next_after(datetime(2026, 1, 5))


# Once


def test_once_fires_at_its_instant_and_never_again() -> None:
    """``next_after`` is strict: at ``when`` itself there is nothing left."""
    once = Once(when=NOW)
    assert once.next_after(NOW - TICK) == NOW
    assert once.next_after(NOW) is None


def test_once_in_the_past_is_due_at_once() -> None:
    """Late work is still run: the first due time is ``when``, however long ago."""
    assert Once(NOW).first_from(NOW + timedelta(days=99)) == NOW


def test_once_keeps_its_instant_in_utc() -> None:
    """A datetime of any zone is the same schedule as its instant in UTC."""
    local = NOW.astimezone(ZoneInfo("Asia/Kathmandu"))
    assert Once(local) == Once(NOW)
    assert Once(local).when.tzinfo is UTC  # type: ignore[union-attr]


def test_once_after_a_while_is_fixed_when_anchored() -> None:
    """``Once(after=...)`` counts from the moment that the event is scheduled."""
    once = Once(after=timedelta(minutes=10))
    assert once.anchored(NOW) == Once(NOW + timedelta(minutes=10))
    assert once.first_from(NOW) == NOW + timedelta(minutes=10)
    assert once.next_after(NOW) == NOW + timedelta(minutes=10)
    assert Once(after=timedelta(0)).first_from(NOW) == NOW


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either when or after"),
        ({"when": NOW, "after": timedelta(1)}, "either when or after"),
        ({"after": timedelta(seconds=-1)}, "lies in the past"),
        ({"when": "2026-01-05"}, "takes a datetime"),
        ({"when": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))}, "out of range"),
    ],
)
def test_once_refuses_what_names_no_single_instant(
    arguments: dict[str, object], message: str
) -> None:
    """The error says what is wrong with the arguments."""
    with pytest.raises(ScheduleError, match=message):
        Once(**arguments)  # type: ignore[arg-type]


def test_once_refuses_a_naive_datetime() -> None:
    """A datetime without a time zone names no instant."""
    with pytest.raises(NaiveDatetimeError):
        Once(datetime(2026, 1, 5))


def test_a_length_that_leaves_the_calendar_is_refused_when_anchored() -> None:
    """What would be due past the year 9999 is an error at scheduling, not a crash."""
    for value in (Once(after=timedelta.max), Interval(timedelta.max)):
        with pytest.raises(ScheduleError, match="past the year 9999"):
            value.anchored(NOW)


# Interval


def test_an_interval_does_not_drift() -> None:
    """A thousand ticks of a third of a second are exactly a thousand times as long as one."""
    every = timedelta(microseconds=333_333)
    ticks = chain(Interval(every, start=NOW), NOW, 1000)
    assert ticks[-1] == NOW + 1000 * every


@given(lengths, instants, instants)
@settings(max_examples=150, deadline=None)
def test_an_interval_keeps_its_phase(every: timedelta, start: datetime, instant: datetime) -> None:
    """From any instant, the next occurrence is the first start + k * every after it, k >= 0."""
    due = Interval(every, start=start).next_after(instant)
    assert due is not None
    assert due > instant
    assert (due - start) % every == timedelta(0)
    assert due >= start
    assert due == start or due - every <= instant


def test_an_interval_without_a_start_begins_one_step_from_now() -> None:
    """``anchored`` fixes the phase; an interval with a start keeps its own."""
    interval = Interval(minutes=5)
    assert interval.next_after(NOW) == NOW + timedelta(minutes=5)
    assert interval.first_from(NOW) == NOW + timedelta(minutes=5)
    anchored = interval.anchored(NOW)
    assert anchored == Interval(minutes=5, start=NOW + timedelta(minutes=5))
    assert anchored.anchored(NOW + timedelta(days=1)) is anchored


def test_the_first_occurrence_of_an_interval_is_not_before_now() -> None:
    """An occurrence at ``now`` itself is due; otherwise the next one in phase is."""
    interval = Interval(hours=1, start=NOW)
    assert interval.first_from(NOW) == NOW
    assert interval.first_from(NOW + TICK) == NOW + timedelta(hours=1)
    assert interval.first_from(NOW - timedelta(days=9)) == NOW


def test_until_is_inclusive() -> None:
    """The last occurrence may be at ``until`` itself, and none is after it."""
    end = NOW + timedelta(hours=2)
    assert chain(Interval(hours=1, start=NOW, until=end), NOW - TICK, 9)[-1] == end
    assert chain(Interval(hours=1, start=NOW, until=end - TICK), NOW - TICK, 9)[-1] < end
    assert chain(Cron("@hourly", start=NOW, until=end), NOW - TICK, 9)[-1] == end


@pytest.mark.parametrize(
    "value", [Interval(hours=1, start=NOW, count=3), Cron("@hourly", start=NOW, count=3)], ids=str
)
def test_count_limits_the_occurrences_from_the_start(value: Schedule) -> None:
    """``count`` is about the schedule, not about the asking: it holds from any instant."""
    expected = [NOW + timedelta(hours=hours) for hours in range(3)]
    assert chain(value, NOW - timedelta(days=1), 9) == expected
    assert chain(value, expected[1], 9) == expected[2:]
    assert value.next_after(NOW + timedelta(days=1)) is None


def test_a_chain_ends_with_the_calendar() -> None:
    """After the last occurrence before the year 10000 there is none, and no error."""
    late = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    assert Interval(days=1, start=NOW).next_after(late) is None
    assert Cron("@daily", "America/New_York").next_after(late) is None
    assert Cron("*/2 * * * *", "Asia/Kathmandu").next_after(late) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "too fine"),
        ({"minutes": -5}, "too fine"),
        ({"seconds": 0.000_999}, "too fine"),
        ({"seconds": float("nan")}, "no length of time"),
        ({"days": 1e12}, "no length of time"),
        ({"hours": 1, "start": NOW, "until": NOW - TICK}, "no occurrence"),
        ({"hours": 1, "count": 0}, "whole number from 1"),
        ({"hours": 1, "count": True}, "whole number from 1"),
        ({"hours": 1, "start": datetime(2026, 1, 5)}, "no time zone"),
    ],
)
def test_an_interval_refuses_what_can_never_be_right(
    arguments: dict[str, object], message: str
) -> None:
    """The error says what is wrong with the arguments."""
    with pytest.raises(ScheduleError, match=message):
        Interval(**arguments)  # type: ignore[arg-type]


def test_an_interval_of_a_millisecond_is_fine_enough() -> None:
    """One millisecond is the least step, in every way of writing it."""
    assert Interval(seconds=0.001) == Interval(timedelta(milliseconds=1))


# Cron; what it does when clocks change is in test_cron_dst.py


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 14 * * mon-fri", "2026-01-05 14:30:00"),
        ("0 12 * * *", "2026-01-06 12:00:00"),
        ("*/5 * * * *", "2026-01-05 12:05:00"),
        ("15,45 * * * * *", "2026-01-05 12:00:15"),
        ("10 30 2 * * *", "2026-01-06 02:30:10"),
        ("@hourly", "2026-01-05 13:00:00"),
        ("@daily", "2026-01-06 00:00:00"),
        ("@Midnight", "2026-01-06 00:00:00"),
        ("@weekly", "2026-01-11 00:00:00"),
        ("@monthly", "2026-02-01 00:00:00"),
        ("@yearly", "2027-01-01 00:00:00"),
        ("@annually", "2027-01-01 00:00:00"),
        ("0 0 L * *", "2026-01-31 00:00:00"),
        ("0 0 LW * *", "2026-01-30 00:00:00"),
        ("0 0 * * 5L", "2026-01-30 00:00:00"),
        ("0 0 * * 5#2", "2026-01-09 00:00:00"),
        ("0 0 * * 7", "2026-01-11 00:00:00"),
        ("0 0 1 * tue", "2026-01-06 00:00:00"),
        ("0 0 */2 * tue", "2026-01-13 00:00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00:00"),
        ("0 0 29 FEB *", "2028-02-29 00:00:00"),
        ("0 0 */2 2 5#5", "2036-02-29 00:00:00"),
    ],
)
def test_cron_reads_the_common_spellings(expression: str, expected: str) -> None:
    """5 and 6 fields, names, aliases, L, LW and #; day and weekday join as in Debian's cron."""
    assert Cron(expression).next_after(NOW) == datetime.fromisoformat(expected + "+00:00")


def test_cron_is_strict_to_the_microsecond() -> None:
    """An occurrence at the instant itself does not count; one a microsecond later does."""
    assert Cron("0 12 * * *").next_after(NOW - TICK) == NOW
    assert Cron("0 12 * * *").next_after(NOW) == NOW + timedelta(days=1)
    assert Cron("0 12 * * *").next_after(NOW + TICK) == NOW + timedelta(days=1)
    assert Cron("0 12 * * *").first_from(NOW) == NOW


def test_cron_starts_not_before_its_start() -> None:
    """Nothing fires before ``start``, and an occurrence at ``start`` itself does."""
    cron = Cron("0 12 * * *", start=NOW + timedelta(days=7))
    assert cron.first_from(NOW) == NOW + timedelta(days=7)


def test_cron_with_a_count_is_counted_from_now() -> None:
    """``anchored`` gives a start to a counted cron without one, and leaves every other alone."""
    cron = Cron("@hourly", count=2)
    assert cron.anchored(NOW) == Cron("@hourly", count=2, start=NOW)
    assert chain(cron.anchored(NOW), NOW - TICK, 9) == [NOW, NOW + timedelta(hours=1)]
    assert Cron("@hourly").anchored(NOW) == Cron("@hourly")


def test_cron_takes_a_zone_as_object_or_by_name_in_any_case() -> None:
    """The zone is stored under its IANA name."""
    assert Cron("@daily", ZoneInfo("Europe/Berlin")) == Cron("@daily", "europe/berlin")
    assert Cron("@daily", "europe/berlin").zone == "Europe/Berlin"


@pytest.mark.parametrize("zone", ["Europe/Berln", "Europe", "", "../UTC", "/etc/passwd", "a\0b"])
def test_an_unknown_zone_is_refused_with_near_names(zone: str) -> None:
    """A misspelt zone is met with the nearest names of the IANA database."""
    with pytest.raises(ScheduleError, match=r"did you mean \w+"):
        Cron("@daily", zone)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "0 9 * *",
        "61 * * * *",
        "0 9 * * mon-fry",
        "@reboot",
        "0 0 30 2 *",
        f"{'9' * 5000} * * * *",
    ],
    ids=lambda text: text[:12] or "empty",
)
def test_a_wrong_expression_is_refused_with_a_right_one(expression: str) -> None:
    """The error shows an example of the right form."""
    with pytest.raises(ScheduleError, match=r"as in '30 2 \* \* mon-fri'"):
        Cron(expression)


def test_a_rule_that_can_never_fire_is_refused() -> None:
    """No second Monday is a 1st, 16th or 31st; no 1 February is in the first week of January."""
    with pytest.raises(ScheduleError, match="never fires"):
        Cron("0 0 */15 * 1#2")
    with pytest.raises(ScheduleError, match="no occurrence"):
        Cron("0 0 1 2 *", start=NOW, until=NOW + timedelta(days=7))


@given(st.text("0123456789*/-,#LWlw MONmon@adily", max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_cron_or_a_schedule_error(text: str) -> None:
    """Whatever is typed, nothing but ScheduleError comes back, and what is read can be told."""
    try:
        cron = Cron(text)
    except ScheduleError:
        return
    due = cron.next_after(NOW)
    assert due is None or due > NOW
    assert str(cron).endswith(", UTC time")


# Stored form

any_once = st.builds(Once, instants) | st.builds(lambda after: Once(after=after), lengths)
any_interval = st.builds(lambda every, given: Interval(every, **given), lengths, limits)
any_cron = st.builds(
    lambda expression, zone, given: Cron(expression, zone, **given),
    st.sampled_from(["@daily", "*/5 * * * *", "0 30 2 L * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    limits,
)


@given(any_once | any_interval | any_cron)
@settings(max_examples=200, deadline=None)
def test_what_is_stored_comes_back_exactly(value: Schedule) -> None:
    """A trip through JSON text loses nothing, not even a microsecond."""
    stored = json.loads(json.dumps(value.to_json()))
    assert type(value).from_json(stored) == value


def test_the_stored_form_is_short_and_readable() -> None:
    """Instants are ISO text in UTC, lengths whole seconds; what was not given is not stored."""
    local = NOW.astimezone(ZoneInfo("Europe/Berlin"))
    assert Once(local).to_json() == {"when": "2026-01-05T12:00:00+00:00"}
    assert Interval(minutes=5).to_json() == {"seconds": 300}
    assert Interval(seconds=0.25, count=3).to_json() == {
        "seconds": 0,
        "microseconds": 250_000,
        "count": 3,
    }
    assert Cron("@daily", "Europe/Berlin", until=NOW).to_json() == {
        "expression": "@daily",
        "zone": "Europe/Berlin",
        "until": "2026-01-05T12:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        (Once, [], "is a JSON object"),
        (Once, {}, "either when or after"),
        (Once, {"when": 5}, "when of a stored once is 5, not of type text"),
        (Once, {"when": "noon"}, "no date and time"),
        (Once, {"when": "2026-01-05T12:00"}, "no time zone"),
        (Once, {"when": "2026-01-05T12:00Z", "seconds": 5}, "either when or after"),
        (Interval, {}, "needs seconds"),
        (Interval, {"seconds": "5"}, "not of type int"),
        (Interval, {"seconds": 10**30}, "no length of time"),
        (Interval, {"seconds": 5, "untill": "2026"}, "has no 'untill'; it has .*until"),
        (Interval, {"seconds": 5, "count": None}, "count of a stored interval is None"),
        (Cron, {"zone": "UTC"}, "needs an expression"),
        (Cron, {"expression": "@daily", "zone": "Nowhere"}, "no time zone"),
        (Cron, {"expression": "@daily", "count": -1}, "whole number from 1"),
    ],
)
def test_garbage_in_the_store_is_refused(
    kind: type[Schedule], data: dict[str, object], message: str
) -> None:
    """The error tells what is wrong with the stored form."""
    with pytest.raises(ScheduleError, match=message):
        kind.from_json(data)


# Text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", Once(after=timedelta(0))),
        ("in 10m", Once(after=timedelta(minutes=10))),
        ("  IN  1.5 Hours ", Once(after=timedelta(minutes=90))),
        ("at 2026-01-05T13:00+01:00", Once(NOW)),
        ("At 2026-01-05  12:00z", Once(NOW)),
        (NOW, Once(NOW)),
        (timedelta(hours=1), Once(after=timedelta(hours=1))),
        ("every 5m", Interval(minutes=5)),
        ("every 1h30m", Interval(minutes=90)),
        ("every 1 hour 30 min", Interval(minutes=90)),
        ("EVERY 2 Hours", Interval(hours=2)),
        ("every 90s", Interval(seconds=90)),
        ("every 250ms", Interval(seconds=0.25)),
        ("every day", Interval(days=1)),
        ("every week", Interval(weeks=1)),
        ("cron 0 9 * * mon-fri", Cron("0 9 * * mon-fri")),
        ("Cron 0 9 * * mon-fri  IN Europe/Berlin", Cron("0 9 * * mon-fri", "Europe/Berlin")),
        ("cron @daily", Cron("@daily")),
        ("@daily", Cron("@daily")),
        ("@daily in asia/tokyo", Cron("@daily", "Asia/Tokyo")),
    ],
)
def test_text_forms_mean_what_they_say(text: object, expected: Schedule) -> None:
    """Exactly one kind reads each form, in any case and with any number of blanks."""
    assert parsed(text) == [expected]


@pytest.mark.parametrize("text", ["", "tomorrow", "nowhere", "everyone", "cronos 5", "5m"])
def test_other_texts_mean_nothing_to_these_kinds(text: str) -> None:
    """What begins with no word of a kind is left to the kinds of other plugins."""
    assert parsed(text) == []


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ("now please", "alone"),
        ("in", "in 10m"),
        ("in 5 fortnights", "in 10m"),
        ("in 1h and more", "in 10m"),
        ("at noon", "at 2026-12-24T18:00"),
        ("at 2026-12-24T18:00", "no time zone"),
        ("every", "every 1h30m"),
        ("every monday", "every 1h30m"),
        ("every 0s", "Interval"),
        ("every 99999999999 weeks", "no length of time"),
        ("cron", "mon-fri"),
        ("cron 0 9 * *", "mon-fri"),
        ("cron 0 9 * * mon in Europe/Berln", "Europe/Berlin"),
        ("@fortnightly", "@weekly"),
    ],
)
def test_a_text_that_is_nearly_right_is_refused_with_an_example(text: str, example: str) -> None:
    """A text plainly meant for a kind is an error that shows the right form."""
    with pytest.raises(ScheduleError, match=example):
        parsed(text)


@given(lengths)
@settings(max_examples=100, deadline=None)
def test_an_interval_can_be_read_back_from_its_english(every: timedelta) -> None:
    """What ``str`` says of an interval is itself a text form of it."""
    assert Interval.parse(str(Interval(every))) == Interval(every)


@pytest.mark.parametrize(
    ("value", "english"),
    [
        (Once(NOW), "once at 2026-01-05 12:00:00 UTC"),
        (Once(after=timedelta(minutes=10)), "once, 10 minutes from now"),
        (Once(after=timedelta(0)), "once, 0 seconds from now"),
        (Interval(minutes=5), "every 5 minutes"),
        (Interval(hours=1), "every hour"),
        (Interval(seconds=5400), "every 1 hour 30 minutes"),
        (Interval(days=1, count=1), "every day, 1 time"),
        (
            Interval(days=2, start=NOW, until=NOW + timedelta(days=9), count=10),
            "every 2 days from 2026-01-05 12:00:00 UTC until 2026-01-14 12:00:00 UTC, 10 times",
        ),
        (
            Cron("30 2 * * mon-fri", "Europe/Berlin"),
            "at 02:30 on Monday through Friday, Europe/Berlin time",
        ),
        (Cron("@daily", count=3), "at 00:00 every day, UTC time, 3 times"),
    ],
)
def test_schedules_read_as_plain_english(value: Schedule, english: str) -> None:
    """``str`` says when a schedule fires, with its zone and its limits."""
    assert str(value) == english


@given(any_interval | any_cron, instants)
@settings(max_examples=100, deadline=None)
def test_occurrences_are_strictly_increasing(value: Schedule, now: datetime) -> None:
    """A chain of ``next_after`` never stands still or goes back, and is in UTC."""
    found = chain(value.anchored(now), now, 20)
    assert all(earlier < later for earlier, later in pairwise([now, *found]))
    assert all(due.tzinfo is UTC for due in found)
