"""Recurrence rules on the clocks of a time zone; dateutil expands them.

``FREQ=HOURLY`` follows elapsed time: it fires whenever the clock shows one of its minutes, and
INTERVAL counts hours that really pass. Every coarser rule names fixed local times. dateutil sees
naive local times only, from the beginning of the period asked about: from a start long ago it
would walk through all that lies between.
"""

from collections.abc import Iterator
from datetime import MAXYEAR, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import attrs
from dateutil.rrule import DAILY, MONTHLY, WEEKLY, YEARLY, rrule, weekday

from horae_builtin_plugins._rrule import Rule, read_rule
from horae_builtin_plugins._wallclock import HORIZON_YEARS, TICK, WallClock
from horae_hookspecs import ScheduleError

_HOUR: Final = timedelta(hours=1)
_MOST_PHASES: Final = 2000
"""How many hours in phase are tried; where none fits, the phase misses the hours for good."""
_ANY_DAY: Final = datetime(2000, 1, 1)  # noqa: DTZ001 (local times are naive on purpose)
_CYCLE_YEARS: Final = 400
"""After so many years the calendar repeats, weekdays included."""
_LATEST: Final = MAXYEAR - HORIZON_YEARS
_FREQUENCIES: Final = {
    "YEARLY": YEARLY,
    "MONTHLY": MONTHLY,
    "WEEKLY": WEEKLY,
    "DAILY": DAILY,
    "HOURLY": DAILY,  # at all hours; the interval is counted elsewhere
}


@attrs.frozen
class RuleClock(WallClock):
    """A completed rule and the zone whose clocks it is read on.

    ``base`` is where the INTERVAL is counted from: None for the instant that is asked about.
    Raises ScheduleError for a rule that does not fire within 50 years.
    """

    rule: Rule
    zone: ZoneInfo
    base: datetime | None
    _parts: dict[str, Any] = attrs.field(init=False, eq=False, repr=False)

    @_parts.default
    def _read(self) -> dict[str, Any]:
        rule = self.rule
        return {
            "freq": _FREQUENCIES[rule.freq],
            "interval": 1 if rule.is_hourly else rule.interval,
            "bymonth": rule.bymonth or None,
            "byyearday": rule.byyearday or None,
            "bymonthday": rule.bymonthday or None,
            "byweekday": [weekday(day, number or None) for number, day in _days(rule)] or None,
            "byhour": rule.byhour or range(24),
            "byminute": rule.byminute,
            "bysecond": rule.bysecond,
            "bysetpos": rule.bysetpos or None,
            "wkst": rule.wkst,
        }

    @_parts.validator
    def _check_fires(self, _attribute: object, _parts: dict[str, Any]) -> None:
        since = self.base or _ANY_DAY.replace(tzinfo=self.zone)
        if self.next_after(since - TICK) is None:
            raise ScheduleError(
                f"The rule '{self.rule}' can never fire: no day of the calendar has all that it "
                "asks for. Leave out one of its BY parts, or change its INTERVAL or the start "
                "that this counts from.",
                value=str(self.rule),
            )

    @property
    def is_fixed(self) -> bool:
        """True for all but hourly rules."""
        return not self.rule.is_hourly

    def matches(self, local: datetime) -> Iterator[datetime]:
        """What dateutil finds from the beginning of the period around ``local`` on."""
        base = local
        if self.base is not None:
            base = self.base.astimezone(self.zone).replace(tzinfo=None)
        # It looks up to the year 9999 for what never comes, so it is asked late in the calendar.
        shift = (_LATEST - max(base, local).year) // _CYCLE_YEARS * _CYCLE_YEARS
        since = local.replace(year=local.year + shift)
        begun = _opening(self.rule, base.replace(year=base.year + shift).date(), since.date())
        opening = datetime.combine(begun, time())
        for match in rrule(dtstart=opening, **self._parts).xafter(since):
            if match.year - shift > MAXYEAR:
                return
            yield match.replace(year=match.year - shift)

    def _after(self, instant: datetime) -> datetime | None:
        due = super()._after(instant)
        if not self.rule.is_hourly or self.rule.interval == 1:
            return due
        first = _full_hour(self.base or instant, self.zone)
        for _ in range(_MOST_PHASES):
            if due is None or (due - first) // _HOUR % self.rule.interval == 0:
                return due
            skipped = ((due - first) // _HOUR // self.rule.interval + 1) * self.rule.interval
            due = super()._after(first + skipped * _HOUR - TICK)
        return None


def _days(rule: Rule) -> Iterator[tuple[int, int]]:
    """BYDAY with numbers for all days or for none: dateutil wants a day to fit both kinds."""
    is_numbered = any(number for number, _ in rule.byday)
    most = 53 if rule.freq == "YEARLY" and not rule.bymonth else 5
    for number, day in rule.byday:
        every = range(1, most + 1) if is_numbered else (0,)
        yield from ((place, day) for place in ((number,) if number else every))


def _opening(rule: Rule, base: date, local: date) -> date:
    """The first day of the last period not after ``local`` that the INTERVAL lets happen."""

    def rolled(periods: int) -> int:
        return max(0, periods) // rule.interval * rule.interval

    match rule.freq:
        case "YEARLY":
            return date(base.year + rolled(local.year - base.year), 1, 1)
        case "MONTHLY":
            begun = base.year * 12 + base.month - 1
            month = begun + rolled(local.year * 12 + local.month - 1 - begun)
            return date(month // 12, month % 12 + 1, 1)
        case "WEEKLY":
            week = base - timedelta(days=(base.weekday() - rule.wkst) % 7)
            return week + timedelta(weeks=rolled((local - week).days // 7))
        case "DAILY":
            return base + timedelta(days=rolled((local - base).days))
    return local


def _full_hour(instant: datetime, zone: ZoneInfo) -> datetime:
    """When the hour that the clocks show at ``instant`` began, would they have been left alone."""
    shown = instant.astimezone(zone)
    return instant - timedelta(
        minutes=shown.minute, seconds=shown.second, microseconds=shown.microsecond
    )


@lru_cache(maxsize=1024)
def rule_clock(rule: str, zone: str, base: datetime | None) -> RuleClock:
    """The clock of ``rule``: shared, since a host reads a schedule anew at every settle."""
    return RuleClock(read_rule(rule), ZoneInfo(zone), base)
