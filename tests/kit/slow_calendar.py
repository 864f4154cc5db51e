"""When a recurrence rule fires, found by looking at every day and every minute.

It shares nothing with what it judges, neither code nor library: a day is in a rule if it has all
that the rule asks for, and a clock is watched minute by minute. Fixed local times fire when the
clock reaches them, or jumps over them, for the first time; hourly ones whenever the clock shows
them.
"""

from calendar import isleap, monthrange
from collections.abc import Iterator, Set
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import groupby
from zoneinfo import ZoneInfo

import attrs

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@attrs.frozen
class SlowRule:
    """A rule of the parts that its fields are named after; hours and minutes are always given."""

    freq: str
    hours: Set[int]
    minutes: Set[int]
    interval: int = 1
    months: Set[int] = frozenset()
    year_days: Set[int] = frozenset()
    month_days: Set[int] = frozenset()
    days: Set[tuple[int, int]] = frozenset()
    positions: Set[int] = frozenset()
    week_start: int = 0

    @property
    def text(self) -> str:
        """The rule as RFC 5545 writes it."""
        names = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
        lists = {
            "BYMONTH": self.months,
            "BYYEARDAY": self.year_days,
            "BYMONTHDAY": self.month_days,
            "BYDAY": {f"{number or ''}{names[day]}" for number, day in self.days},
            "BYHOUR": self.hours if len(self.hours) < 24 else (),
            "BYMINUTE": self.minutes,
            "BYSETPOS": self.positions,
        }
        parts = [f"{name}={','.join(map(str, of))}" for name, of in lists.items() if of]
        head = f"FREQ={self.freq};INTERVAL={self.interval};WKST={names[self.week_start]};BYSECOND=0"
        return ";".join([head, *parts])

    def has(self, day: date) -> bool:
        """True if ``day`` has all that the rule asks of days."""
        to_end = day.day - monthrange(day.year, day.month)[1] - 1
        in_year = day.timetuple().tm_yday
        to_new_year = in_year - 366 - isleap(day.year)
        return (
            (not self.months or day.month in self.months)
            and (not self.year_days or not self.year_days.isdisjoint((in_year, to_new_year)))
            and (not self.month_days or not self.month_days.isdisjoint((day.day, to_end)))
            and (not self.days or any(self._is(day, *which) for which in self.days))
        )

    def _is(self, day: date, number: int, weekday: int) -> bool:
        if day.weekday() != weekday:
            return False
        if self.freq == "YEARLY" and not self.months:
            place, length = day.timetuple().tm_yday, 365 + isleap(day.year)
        else:
            place, length = day.day, monthrange(day.year, day.month)[1]
        return number in (0, (place + 6) // 7, -((length - place) // 7 + 1))

    def period(self, day: date) -> int:
        """The number of the year, month, week or day that ``day`` is in."""
        match self.freq:
            case "YEARLY":
                return day.year
            case "MONTHLY":
                return day.year * 12 + day.month
            case "WEEKLY":
                return (day.toordinal() - 1 - self.week_start) // 7
        return day.toordinal()

    def local_times(self, base: date, first: date, last: date) -> Iterator[datetime]:
        """The local times from ``first`` to ``last``; the interval counts from ``base``."""
        begun = self.period(base)
        days = (first + n * DAY for n in range(-400, (last - first).days + 400))
        for period, of_period in groupby(days, key=self.period):
            if (period - begun) % self.interval:
                continue
            times = [
                datetime(day.year, day.month, day.day, hour, minute)
                for day in of_period
                if self.has(day)
                for hour in sorted(self.hours)
                for minute in sorted(self.minutes)
            ]
            places = [n - 1 if n > 0 else len(times) + n for n in self.positions]
            chosen = [times[n] for n in sorted({*places}) if 0 <= n < len(times)]
            for local in chosen if self.positions else times:
                if first <= local.date() <= last:
                    yield local


def slow_fixed(
    rule: SlowRule, zone: str, base: datetime, after: datetime, until: datetime
) -> list[datetime]:
    """The instants in (after, until] at which a rule of fixed local times fires."""
    first = shown(after, zone).date() - 2 * DAY
    last = shown(until, zone).date() + DAY
    local_base = shown(base, zone).date()
    due = {reached(local, zone) for local in rule.local_times(local_base, first, last)}
    return sorted(instant for instant in due if after < instant <= until)


def slow_hourly(
    rule: SlowRule, zone: str, base: datetime, after: datetime, until: datetime
) -> list[datetime]:
    """The instants in (after, until] at which an hourly rule fires."""
    found = []
    began = base - (
        shown(base, zone) - shown(base, zone).replace(minute=0, second=0, microsecond=0)
    )
    now = after.replace(second=0, microsecond=0)
    while (now := now + MINUTE) <= until:
        local = shown(now, zone)
        fits = local.hour in rule.hours and local.minute in rule.minutes and rule.has(local.date())
        if fits and (now - began) // HOUR % rule.interval == 0:
            found.append(now)
    return found


@cache
def reached(local: datetime, zone: str) -> datetime:
    """When a watched clock first shows ``local`` or jumps over it."""
    now = local.replace(tzinfo=UTC) - 27 * HOUR
    while shown(now, zone) < local:
        now += HOUR
    now -= 3 * HOUR  # the clock may have been put back within the hour
    while shown(now, zone) < local:
        now += MINUTE
    return now


def shown(instant: datetime, zone: str) -> datetime:
    """What a clock shows at ``instant``, as a naive time."""
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
