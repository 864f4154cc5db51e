"""The kind ``calendar``."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Final, Self, TypeAlias, TypedDict, Unpack
from zoneinfo import ZoneInfo

import attrs

from horae_builtin_plugins._english import phrase
from horae_builtin_plugins._once import utc
from horae_builtin_plugins._recurring import TICK, OnClock, phase_of
from horae_builtin_plugins._rrule import WEEKDAYS, read_rule
from horae_builtin_plugins._ruleclock import RuleClock, rule_clock
from horae_builtin_plugins._text import (
    DAYS,
    first_word,
    plain_exclusions,
    read_date,
    read_limits,
    split_clauses,
    split_list,
    zone_name,
)
from horae_hookspecs import Schedule, ScheduleError

Day: TypeAlias = str | int
"""A day of the week: ``mon``, ``monday``, or 0 for Monday to 6 for Sunday as in ``weekday()``."""


class Limits(TypedDict, total=False):
    """What ``Calendar.daily`` and its like take by keyword beside days and times."""

    zone: str | ZoneInfo
    exclude: Iterable[date]
    start: datetime | None
    until: datetime | None
    count: int | None
    spread: timedelta


@attrs.frozen(init=False)
class Calendar(OnClock):
    """At the local times of ``zone`` that a recurrence rule of RFC 5545 names.

    ``Calendar("FREQ=MONTHLY;BYDAY=1MO;BYHOUR=9", "Europe/Berlin")``, or one of ``hourly``,
    ``daily``, ``weekly`` and ``monthly``, which write the rule. Parts of the rule that name days
    or times may be left out: they are those of ``start``; without one it is midnight, and the
    days must be told. An INTERVAL counts the periods from that of ``start``, or of the time of
    scheduling. A day that a period does not have is skipped: BYMONTHDAY=31 is silent in April,
    BYMONTHDAY=-1 is the last day of every month.

    A local time fires exactly once per local day over changes of the clocks: one in a gap right
    after it, one that is repeated the first time. FREQ=HOURLY follows elapsed time instead: it
    fires whenever the clock shows its minute, and INTERVAL counts hours that pass.

    Raises ScheduleError for a rule that cannot be read, is finer than hourly or can never fire.
    UNTIL, COUNT and DTSTART do not stand in the rule: they are ``until``, ``count``, ``start``.
    """

    kind: ClassVar[str] = "calendar"
    rrule: str
    zone: str = attrs.field(default="UTC", converter=zone_name)

    def __init__(
        self,
        rrule: str,
        zone: str | ZoneInfo = "UTC",
        *,
        exclude: Iterable[date] = (),
        start: datetime | None = None,
        until: datetime | None = None,
        count: int | None = None,
        spread: timedelta = timedelta(0),
    ) -> None:
        name, since = zone_name(zone), utc(start)
        local = since and since.astimezone(ZoneInfo(name)).replace(tzinfo=None)
        self.__attrs_init__(
            rrule=str(read_rule(str(rrule)).completed(local)),
            zone=name,
            exclude=exclude,
            start=since,
            until=until,
            count=count,
            spread=spread,
        )

    @classmethod
    def hourly(
        cls,
        minute: int = 0,
        second: int = 0,
        *,
        exclude_days: Iterable[Day] = (),
        **limits: Unpack[Limits],
    ) -> Self:
        """Whenever the clocks show ``minute`` and ``second``, but on ``exclude_days``."""
        days = _all_but(exclude_days)
        return cls(f"FREQ=HOURLY{days};BYMINUTE={minute};BYSECOND={second}", **limits)

    @classmethod
    def daily(
        cls,
        hour: int = 0,
        minute: int = 0,
        second: int = 0,
        *,
        exclude_days: Iterable[Day] = (),
        **limits: Unpack[Limits],
    ) -> Self:
        """Every day at that time, but on ``exclude_days``."""
        return cls(f"FREQ=DAILY{_all_but(exclude_days)}{_at(hour, minute, second)}", **limits)

    @classmethod
    def weekly(
        cls,
        days: Day | Iterable[Day],
        hour: int = 0,
        minute: int = 0,
        second: int = 0,
        *,
        exclude_days: Iterable[Day] = (),
        **limits: Unpack[Limits],
    ) -> Self:
        """On one or several ``days`` of each week, but for ``exclude_days``."""
        on = _by_day(_weekdays(days) - _weekdays(exclude_days))
        return cls(f"FREQ=WEEKLY{on}{_at(hour, minute, second)}", **limits)

    @classmethod
    def monthly(
        cls,
        days: int | Iterable[int] = 1,
        hour: int = 0,
        minute: int = 0,
        second: int = 0,
        *,
        exclude_days: Iterable[Day] = (),
        **limits: Unpack[Limits],
    ) -> Self:
        """On one or several ``days`` of each month, unless they fall on ``exclude_days``.

        1 is the first, -1 the last day. A month that has no such day is skipped, so 31 fires
        seven times a year, and -1 twelve times.
        """
        listed = days if isinstance(days, Iterable) else (days,)
        by_month = f";BYMONTHDAY={','.join(map(str, listed))}"
        at = _at(hour, minute, second)
        return cls(f"FREQ=MONTHLY{by_month}{_all_but(exclude_days)}{at}", **limits)

    @property
    def clock(self) -> RuleClock:
        """The rule on the clocks of the zone."""
        return rule_clock(self.rrule, self.zone, self.start if self._has_phase else None)

    @property
    def _has_phase(self) -> bool:
        return read_rule(self.rrule).interval > 1

    def anchored(self, now: datetime) -> Self:
        """This schedule with ``start`` set to ``now`` if it counts from there and has none."""
        if self.start is not None or not (self.count or self._has_phase):
            return self
        return attrs.evolve(self, start=now)

    def continuing(self, previous: Schedule, now: datetime) -> Self:
        """This schedule, unless it has a start, in phase with ``previous`` if that is another."""
        phase = phase_of(previous, self.kind)
        if self.start is not None or phase is None or not self._has_phase:
            return self.anchored(now)
        first = attrs.evolve(self, start=phase, count=None).next_after(now - TICK)
        return self.anchored(now) if first is None else attrs.evolve(self, start=first)

    def to_json(self) -> dict[str, Any]:
        """``{"rrule": text, "zone": IANA name}`` and the limits where they are given."""
        return {"rrule": self.rrule, "zone": self.zone} | self._stored_limits()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The schedule that ``to_json`` gave. Raises ScheduleError telling what is wrong."""
        fields = cls._read_stored(data, {"rrule": str})
        if "rrule" not in fields:
            raise ScheduleError("A stored calendar needs a rrule.", value=data)
        return cls(**fields)

    @classmethod
    def parse(cls, value: datetime | timedelta | str) -> Self | None:
        """``daily at 02:30 except sat, sun in Europe/Berlin``, ``weekly on mon, thu at 9:00``,
        ``monthly on 1, last at 18:00``, ``hourly at :15`` or ``rrule FREQ=...``, with dates
        after ``except`` as well, and the limits as ``str`` writes them.
        """
        word, rest = first_word(value)
        if word not in _EXAMPLES:
            return None
        example = _EXAMPLES[word]
        head, clauses = split_clauses(f" {rest}", "except in", example=example)
        days, dates = _exclusions(clauses.get("except", ""), example)
        rule = _read_head(word, head.strip(), days, example)
        zone = clauses.get("in", "UTC")
        return cls(rule, zone, exclude=dates, **read_limits(clauses))

    def __str__(self) -> str:
        """``daily at 02:30 except sat, sun in Europe/Berlin``: for the four simple shapes, a text
        that ``parse`` reads back; for other rules plain English.
        """
        text, days = phrase(read_rule(self.rrule))
        excluded = plain_exclusions([*days, *self.exclude])
        return f"{text}{excluded} in {self.zone}{self._plain_limits()}"


def _weekdays(days: Day | Iterable[Day]) -> set[int]:
    """The days as numbers from 0, Monday. Raises ScheduleError for what is none."""
    return {_weekday(day) for day in ([days] if isinstance(days, (str, int)) else days)}


def _weekday(day: Day) -> int:
    if isinstance(day, str) and len(day) > 2:
        known = [n for n, name in enumerate(_LONG_DAYS) if name.startswith(day.lower())]
        if known:
            return known[0]
    if type(day) is int and day in range(7):
        return day
    raise ScheduleError(
        f"{day!r} is no day of the week: give {', '.join(DAYS)}, or 0 (Monday) to 6 (Sunday).",
        value=day,
    )


_LONG_DAYS: Final = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)


def _by_day(days: set[int]) -> str:
    """The BYDAY part. Raises ScheduleError where no day is left."""
    if not days:
        raise ScheduleError(
            "No day of the week is left: name one that is not excluded, as in "
            "Calendar.weekly('mon', hour=9).",
            value=days,
        )
    return f";BYDAY={','.join(WEEKDAYS[day] for day in sorted(days))}"


def _all_but(excluded: Iterable[Day]) -> str:
    """The BYDAY part for every day but ``excluded``; nothing where all are left."""
    left = set(range(7)) - _weekdays(excluded)
    return _by_day(left) if len(left) < 7 else ""


def _at(hour: int, minute: int, second: int) -> str:
    return f";BYHOUR={hour};BYMINUTE={minute};BYSECOND={second}"


# Text

_EXAMPLES: Final = {
    "hourly": "hourly at :15",
    "daily": "daily at 02:30 except sat, sun in Europe/Berlin",
    "weekly": "weekly on mon, thu at 09:00 in Europe/Berlin",
    "monthly": "monthly on 1, last at 18:00 in Europe/Berlin",
    "rrule": "rrule FREQ=MONTHLY;BYDAY=1MO;BYHOUR=9 in Europe/Berlin",
}
_TIME: Final = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?"
_HEADS: Final = {
    "hourly": re.compile(r"at :([0-9]{2})(?::([0-9]{2}))?", re.IGNORECASE),
    "daily": re.compile(rf"at {_TIME}", re.IGNORECASE),
    "weekly": re.compile(rf"on (.+) at {_TIME}", re.IGNORECASE),
    "monthly": re.compile(rf"on (.+) at {_TIME}", re.IGNORECASE),
    "rrule": re.compile(r"(\S.*)"),
}


def _exclusions(text: str, example: str) -> tuple[list[str], list[date]]:
    """What stands after ``except``: days of the week, and dates."""
    items = split_list(text)
    days = [item for item in items if not item[0].isdigit()]
    return days, [read_date(item, example=example) for item in items if item not in days]


def _read_head(word: str, head: str, days: list[str], example: str) -> str:
    """The rule that the text before the clauses writes, less the excluded days."""
    found = _HEADS[word].fullmatch(head)
    if found is None or (word == "rrule" and days):
        where = "" if found is None else "; the days of the week stand in its BYDAY"
        raise ScheduleError(
            f"'{word} {head}' does not say when; write it as in {example!r}{where}.", value=head
        )
    match word, *found.groups(default="0"):
        case "hourly", minute, second:
            return f"FREQ=HOURLY{_all_but(days)};BYMINUTE={minute};BYSECOND={second}"
        case "daily", *at:
            return f"FREQ=DAILY{_all_but(days)}{_at(*map(int, at))}"
        case "weekly", on, *at:
            by_day = _by_day(_weekdays(split_list(on)) - _weekdays(days))
            return f"FREQ=WEEKLY{by_day}{_at(*map(int, at))}"
        case "monthly", on, *at:
            listed = ",".join("-1" if day == "last" else day for day in split_list(on.lower()))
            return f"FREQ=MONTHLY;BYMONTHDAY={listed}{_all_but(days)}{_at(*map(int, at))}"
    return found[1]
