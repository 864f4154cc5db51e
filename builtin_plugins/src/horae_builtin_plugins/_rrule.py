"""Recurrence rules of RFC 5545: read strictly, completed, and written in one way."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, time
from functools import lru_cache
from itertools import product
from typing import Any, Final, NoReturn, Self

import attrs

from horae_hookspecs import ScheduleError

FREQUENCIES: Final = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY")
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

_SIGNED: Final = {"BYYEARDAY": 366, "BYMONTHDAY": 31, "BYSETPOS": 366}
_PLAIN: Final = {
    "BYMONTH": range(1, 13),
    "BYHOUR": range(24),
    "BYMINUTE": range(60),
    "BYSECOND": range(60),
}
_ELSEWHERE: Final = {
    "UNTIL": "until=, an aware datetime",
    "COUNT": "count=",
    "DTSTART": "start=, an aware datetime",
    "TZID": "zone=",
    "EXDATE": "exclude=, a list of dates",
    # Over the turn of the year dateutil leaves out days of the last week.
    "BYWEEKNO": "BYMONTH, or INTERVAL with FREQ=WEEKLY",
}
_TOO_FINE: Final = ("MINUTELY", "SECONDLY")
_MOST_IN_AN_HOUR: Final = 60
_LONGEST_MONTHS: Final = dict(zip(range(1, 13), (31, 29, *(31, 30, 31, 30, 31) * 2), strict=False))
_EXAMPLE: Final = "FREQ=MONTHLY;BYDAY=1MO;BYHOUR=9"


def _refuse(rule: object, problem: str) -> NoReturn:
    raise ScheduleError(f"The rule {str(rule)!r} cannot be used: {problem}.", value=rule)


@attrs.frozen
class Rule:
    """A rule, part by part; a part that is not given is empty.

    ``byday`` are pairs of ordinal and weekday, 0 for every such day: ``-1FR`` is (-1, 4).
    """

    freq: str
    interval: int = 1
    bymonth: tuple[int, ...] = ()
    byyearday: tuple[int, ...] = ()
    bymonthday: tuple[int, ...] = ()
    byday: tuple[tuple[int, int], ...] = ()
    byhour: tuple[int, ...] = ()
    byminute: tuple[int, ...] = ()
    bysecond: tuple[int, ...] = ()
    bysetpos: tuple[int, ...] = ()
    wkst: int = 0

    @property
    def is_hourly(self) -> bool:
        """True for the one frequency that follows elapsed time."""
        return self.freq == "HOURLY"

    def completed(self, start: datetime | None) -> Self:
        """This rule with its times and days spelt out: those of ``start``, read locally.

        Without ``start`` a time that is not given is midnight, or the full hour. Raises
        ScheduleError for days that nothing tells.
        """
        at = start.time() if start else time()
        times: dict[str, Any] = {
            "byhour": self.byhour if self.byhour or self.is_hourly else (at.hour,),
            "byminute": self.byminute or (at.minute,),
            "bysecond": self.bysecond or (at.second,),
        }
        if self._names_days():
            return attrs.evolve(self, **times)
        if start is None:
            _refuse(self, f"it does not say on which day; write for example {_DAYS[self.freq]}")
        if self.freq == "WEEKLY":
            return attrs.evolve(self, **times, byday=((0, start.weekday()),))
        months = self.bymonth or ((start.month,) if self.freq == "YEARLY" else ())
        return attrs.evolve(self, **times, bymonth=months, bymonthday=(start.day,))

    def _names_days(self) -> bool:
        by_day = self.byyearday or self.bymonthday or self.byday
        return bool(by_day) or self.freq in ("DAILY", "HOURLY")

    def __str__(self) -> str:
        """The text of the rule: parts in the order of the fields, nothing that goes unsaid."""
        parts = {
            "FREQ": [self.freq],
            "INTERVAL": [self.interval] if self.interval > 1 else [],
            **{name: getattr(self, name.lower()) for name in _LISTS},
            "BYDAY": [f"{number or ''}{WEEKDAYS[day]}" for number, day in self.byday],
            "WKST": [WEEKDAYS[self.wkst]] if self.wkst else [],
        }
        order = [name for name in parts if name != "WKST"]
        return ";".join(
            f"{name}={','.join(map(str, parts[name]))}" for name in (*order, "WKST") if parts[name]
        )


_DAYS: Final = {
    "WEEKLY": "BYDAY=MO",
    "MONTHLY": "BYMONTHDAY=1 or BYDAY=1MO",
    "YEARLY": "BYMONTH=12;BYMONTHDAY=24",
}


@lru_cache(maxsize=1024)
def read_rule(text: str) -> Rule:
    """The rule that ``text`` writes, with or without ``RRULE:`` in front.

    Raises ScheduleError for anything that is no such rule, is finer than hourly, combines parts
    that RFC 5545 keeps apart, or names no day that there is.
    """
    written = "".join(text.upper().split()).removeprefix("RRULE:")
    parts = [part.partition("=") for part in written.split(";") if part]
    fields: dict[str, Any] = {}
    for name, _, content in parts:
        if name in _ELSEWHERE:
            _refuse(text, f"{name} does not stand in the rule here; give {_ELSEWHERE[name]}")
        if name not in _READERS:
            _refuse(text, f"there is no part {name!r}, only {', '.join(_READERS)}")
        if name.lower() in fields:
            _refuse(text, f"{name} stands there twice")
        fields[name.lower()] = _READERS[name](text, name, content)
    if "freq" not in fields:
        _refuse(text, f"it has no FREQ; write it as in {_EXAMPLE!r}")
    rule = Rule(**fields)
    _check(rule)
    return rule


def _read_freq(text: str, _name: str, content: str) -> str:
    if content in _TOO_FINE:
        _refuse(
            text,
            f"{content} is too fine for a calendar; for every so many minutes or seconds use "
            "Interval(minutes=5), or Cron('*/5 * * * *') for times on the clock",
        )
    if content not in FREQUENCIES:
        _refuse(text, f"FREQ is one of {', '.join(FREQUENCIES)}, not {content!r}")
    return content


def _read_interval(text: str, name: str, content: str) -> int:
    if not content.isdecimal() or not 1 <= int(content[:6]) <= 10_000 or len(content) > 5:
        _refuse(text, f"{name} is a whole number from 1 to 10000, not {content!r}")
    return int(content)


def _read_signed(text: str, name: str, content: str) -> tuple[int, ...]:
    limit = _SIGNED[name]
    numbers = [_number(item) for item in content.split(",")]
    if not all(number and -limit <= number <= limit for number in numbers):
        _refuse(text, f"{name} takes 1 to {limit}, or -{limit} to -1 from the end: not {content!r}")
    return _ordered(numbers)


def _read_plain(text: str, name: str, content: str) -> tuple[int, ...]:
    allowed = _PLAIN[name]
    numbers = [_number(item) for item in content.split(",")]
    if not all(number in allowed for number in numbers):
        _refuse(text, f"{name} takes {allowed[0]} to {allowed[-1]}, not {content!r}")
    return _ordered(numbers)


def _read_days(text: str, name: str, content: str) -> tuple[tuple[int, int], ...]:
    days = []
    for item in content.split(","):
        number = _number(item[:-2]) if item[:-2] else 0
        if item[-2:] not in WEEKDAYS or number is None or (item[:-2] and not 0 < abs(number) < 54):
            _refuse(
                text, f"{name} takes {', '.join(WEEKDAYS)}, or as in 1MO and -1FR: not {item!r}"
            )
        days.append((number, WEEKDAYS.index(item[-2:])))
    return tuple(sorted(set(days)))


def _read_week_start(text: str, name: str, content: str) -> int:
    if content not in WEEKDAYS:
        _refuse(text, f"{name} is one of {', '.join(WEEKDAYS)}, not {content!r}")
    return WEEKDAYS.index(content)


def _number(item: str) -> int | None:
    digits = item.removeprefix("-") if item.startswith("-") else item.removeprefix("+")
    return int(item) if digits.isascii() and digits.isdecimal() and len(digits) < 4 else None


def _ordered(numbers: Iterable[int | None]) -> tuple[int, ...]:
    return tuple(sorted({number for number in numbers if number is not None}))


_READERS: Final[Mapping[str, Callable[[str, str, str], Any]]] = {
    "FREQ": _read_freq,
    "INTERVAL": _read_interval,
    "BYMONTH": _read_plain,
    "BYYEARDAY": _read_signed,
    "BYMONTHDAY": _read_signed,
    "BYDAY": _read_days,
    "BYHOUR": _read_plain,
    "BYMINUTE": _read_plain,
    "BYSECOND": _read_plain,
    "BYSETPOS": _read_signed,
    "WKST": _read_week_start,
}
_LISTS: Final = tuple(name for name in _READERS if name.startswith("BY"))


def _check(rule: Rule) -> None:
    """Raise ScheduleError for parts that do not go together."""
    for name, frequencies in _ONLY_WITH.items():
        if getattr(rule, name.lower()) and rule.freq not in frequencies:
            _refuse(rule, f"{name} goes with FREQ={' or '.join(frequencies)} only")
    is_numbered = any(number for number, _ in rule.byday)
    if is_numbered and rule.freq not in ("MONTHLY", "YEARLY"):
        _refuse(rule, "a BYDAY with a number, as 1MO, goes with FREQ=MONTHLY or YEARLY only")
    days = rule.byyearday or rule.bymonthday or rule.byday or rule.bymonth
    if rule.bysetpos and not (days or rule.byhour or rule.byminute or rule.bysecond):
        _refuse(rule, "BYSETPOS needs another BY part to choose from")
    if rule.is_hourly and len(rule.byminute or "-") * len(rule.bysecond or "-") > _MOST_IN_AN_HOUR:
        _refuse(rule, "more than 60 times an hour are too fine; use Interval(seconds=30)")
    if (
        rule.bymonth
        and rule.bymonthday
        and not any(
            abs(day) <= _LONGEST_MONTHS[month]
            for month, day in product(rule.bymonth, rule.bymonthday)
        )
    ):
        _refuse(rule, "it can never fire, since no such month has such a day")


_ONLY_WITH: Final = {
    "BYYEARDAY": ("YEARLY", "HOURLY"),
    "BYMONTHDAY": ("YEARLY", "MONTHLY", "DAILY", "HOURLY"),
    "BYSETPOS": ("YEARLY", "MONTHLY", "WEEKLY", "DAILY"),
}
