"""The clocks of a time zone: the instants that a set of local times means.

The rule is that of Vixie cron as Debian ships it (cron(8), on local time changes). *Fixed* local
times fire exactly once per local day: in a gap at the first valid instant after it, in a repeated
hour at the first of the two. Others follow elapsed time: nothing in a gap, both passes of a
repeated hour. Debian limits the rule to changes under three hours and has no seconds; here it
holds for changes of any length, a skipped day included.

What finds the local times is given naive ones only, so that no library has a say in this.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Set
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

TICK: Final = timedelta.resolution
HORIZON_YEARS: Final = 50
"""How far ahead a time is looked for. The rarest day there is, a 29 February on a given weekday,
comes after 40 years at most (2072 to 2112)."""

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_NO_DATES: Final[Set[date]] = frozenset()


class WallClock(ABC):
    """Local times, and the zone whose clocks show them; an immutable, hashable value."""

    __slots__ = ()

    zone: ZoneInfo

    @property
    @abstractmethod
    def is_fixed(self) -> bool:
        """True for fixed local times, False for those that follow elapsed time."""

    @abstractmethod
    def matches(self, local: datetime) -> Iterator[datetime]:
        """The local times strictly after ``local``, in order; both naive, in whole seconds."""

    def next_after(self, instant: datetime, excluded: Set[date] = _NO_DATES) -> datetime | None:
        """The first instant strictly after ``instant``, both in UTC, at which this fires while
        the clocks show none of the ``excluded`` dates.
        """
        try:
            due = self._after(instant)
            while due is not None and due.astimezone(self.zone).date() in excluded:
                due = self._after(self._end_of_day(due) - TICK)
        except OverflowError:  # the calendar of datetime ends with the year 9999
            return None
        return due

    def occurrences(self, instant: datetime) -> Iterator[datetime]:
        """All instants after ``instant`` at which this fires."""
        due = self.next_after(instant)
        while due is not None:
            yield due
            due = self.next_after(due)

    def _after(self, instant: datetime) -> datetime | None:
        return self._fixed_after(instant) if self.is_fixed else self._elapsed_after(instant)

    def _end_of_day(self, instant: datetime) -> datetime:
        """The first instant after ``instant`` at which the clocks show the date that follows."""
        shown = instant.astimezone(self.zone)
        midnight = datetime.combine(shown.date() + _DAY, datetime.min.time())
        first, second = _readings(midnight, self.zone)
        if first > second:
            return _change(second, first, self.zone)
        return first if first > instant else second

    def _fixed_after(self, instant: datetime) -> datetime | None:
        # Due times come in the order of their local times, so the first one that fits is next.
        for local in self.matches(_naive(instant.astimezone(self.zone))):
            before, after = _readings(local, self.zone)
            due = before if before <= after else _change(after, before, self.zone)
            if due > instant:
                return due
        return None

    def _elapsed_after(self, instant: datetime) -> datetime | None:
        here = instant.astimezone(self.zone)
        due = self._first_valid(here, instant)
        first, second = _readings(here, self.zone)
        if here.fold == 1 or first >= second:
            return due
        # The clocks are about to be put back: local times that are over come once more.
        change = _change(first, second, self.zone)
        if due is not None and due < change:
            return due
        return self._first_valid(change.astimezone(self.zone) - _SECOND, change - _SECOND)

    def _first_valid(self, local: datetime, instant: datetime) -> datetime | None:
        """The first instant after ``instant`` whose local time matches and is after ``local``."""
        for match in self.matches(_naive(local)):
            if match.year > local.year + HORIZON_YEARS:
                break  # it has fallen into the same gap every year
            before, after = _readings(match, self.zone)
            if before <= after and after > instant:
                return before if before > instant else after
        return None


def _naive(local: datetime) -> datetime:
    return local.replace(tzinfo=None, microsecond=0, fold=0)


def _readings(local: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """``local`` in UTC, read with the clocks as before and as after a change near it (PEP 495).

    Without a change the two are equal. In a repeated hour the first is the earlier one and both
    are valid; in a gap the first is the later one and neither is.
    """
    before = local.replace(tzinfo=zone, fold=0)
    return before.astimezone(UTC), before.replace(fold=1).astimezone(UTC)


def _change(earlier: datetime, later: datetime, zone: ZoneInfo) -> datetime:
    """The instant after ``earlier``, at most ``later``, at which clocks in ``zone`` change."""
    offset = later.astimezone(zone).utcoffset()
    seconds = range(round((later - earlier).total_seconds()))

    def is_changed(second: int) -> bool:
        return (earlier + timedelta(seconds=second)).astimezone(zone).utcoffset() == offset

    return earlier + timedelta(seconds=bisect_left(seconds, True, key=is_changed))
