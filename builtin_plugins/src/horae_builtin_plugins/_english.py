"""Recurrence rules in plain English."""

from collections.abc import Iterable
from typing import Final

from horae_builtin_plugins._rrule import Rule
from horae_builtin_plugins._text import DAYS

_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_UNITS: Final = {
    "YEARLY": "year",
    "MONTHLY": "month",
    "WEEKLY": "week",
    "DAILY": "day",
    "HOURLY": "hour",
}


def phrase(rule: Rule) -> tuple[str, list[str]]:
    """What a completed rule says, and the days of the week that it leaves out.

    Days are left out in the simple shapes only, whose text is that of the schedule's text form.
    """
    return _simple(rule) or (_general(rule), [])


def _simple(rule: Rule) -> tuple[str, list[str]] | None:
    """``daily at 02:30`` and its like, or None."""
    special = (rule.bymonth, rule.byyearday, rule.bysetpos)
    at = _clock_time(rule)
    if any(special) or rule.interval > 1 or rule.wkst or at is None:
        return None
    if any(number for number, _ in rule.byday):
        return None
    named = [day for _, day in rule.byday]
    excluded = [name for day, name in enumerate(DAYS) if named and day not in named]
    match rule.freq, bool(rule.bymonthday):
        case "HOURLY", False:
            return f"hourly at {at}", excluded
        case "DAILY", False:
            return f"daily at {at}", excluded
        case "WEEKLY", False:
            return f"weekly on {', '.join(DAYS[day] for day in named)} at {at}", []
        case "MONTHLY", True:
            days = ("last" if day == -1 else str(day) for day in rule.bymonthday)
            return f"monthly on {', '.join(days)} at {at}", excluded
    return None


def _clock_time(rule: Rule) -> str | None:
    """The one time of the day, or of the hour; None when there are several."""
    if len(rule.byminute) != 1 or len(rule.bysecond) != 1 or len(rule.byhour) != 1 - rule.is_hourly:
        return None
    second = f":{rule.bysecond[0]:02}" if rule.bysecond[0] else ""
    hour = "" if rule.is_hourly else f"{rule.byhour[0]:02}"
    return f"{hour}:{rule.byminute[0]:02}{second}"


def _general(rule: Rule) -> str:
    unit = _UNITS[rule.freq]
    every = f"every {unit}" if rule.interval == 1 else f"every {rule.interval} {unit}s"
    parts = [
        ("in", [_MONTHS[month - 1] for month in rule.bymonth]),
        ("on the", [f"{_ordinal(day)} day of the year" for day in rule.byyearday]),
        ("on the", [f"{_ordinal(day)} of the month" for day in rule.bymonthday]),
        ("on", [_day(number, day) for number, day in rule.byday]),
        ("at", [_times(rule)]),
    ]
    said = [f"{word} {joined}" for word, items in parts if (joined := _and(items))]
    chosen = _and(map(_ordinal, rule.bysetpos))
    week = f", weeks beginning on {_WEEKDAYS[rule.wkst]}" if rule.wkst else ""
    return " ".join([every, *said]) + (f", only the {chosen} of these" if chosen else "") + week


def _times(rule: Rule) -> str:
    at = _clock_time(rule)
    if at is not None:
        return at
    hours = _and(f"{hour:02}h" for hour in rule.byhour)
    minutes = _and(f":{minute:02}" for minute in rule.byminute)
    seconds = _and(map(str, rule.bysecond)) if rule.bysecond != (0,) else ""
    return " of ".join(
        text for text in (f"second {seconds}" if seconds else "", minutes, hours) if text
    )


def _day(number: int, day: int) -> str:
    return f"the {_ordinal(number)} {_WEEKDAYS[day]}" if number else _WEEKDAYS[day]


def _ordinal(number: int) -> str:
    """``1st``, ``22nd``, ``last``, ``2nd to last``."""
    if number == -1:
        return "last"
    size = abs(number)
    ending = (
        "th" if size % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(size % 10, "th")
    )
    return f"{size}{ending}" + (" to last" if number < 0 else "")


def _and(items: Iterable[str]) -> str:
    *most, last = [*items] or [""]
    return f"{', '.join(most)} and {last}" if most else last
