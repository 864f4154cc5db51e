"""What all recurring kinds share: limits, spread, and what the clocks of a zone add to them."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Final

import attrs

from horae_builtin_plugins._once import utc
from horae_builtin_plugins._stored import LENGTH, read_stored, stored_length, take_length
from horae_builtin_plugins._text import plain_instant, plain_length, plural, read_date
from horae_builtin_plugins._wallclock import WallClock
from horae_hookspecs import Schedule, ScheduleError, require_aware

TICK: Final = timedelta.resolution
_LIMITS: Final[Mapping[str, type]] = {
    "start": datetime,
    "until": datetime,
    "count": int,
    "spread": dict,
}
_LOOK_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)
_LOOK_AT: Final = 50
"""How many occurrences from there on tell how far apart those of a zone's clocks are."""


@attrs.frozen
class Recurring(Schedule):
    """What limits a recurring schedule; each may be left out.

    ``start`` and ``until`` are the first and the last instant it may fire at, both inclusive;
    ``count`` is how many occurrences it has from ``start``. ``spread`` makes each event due later
    than its occurrences by less than that: by an amount that hangs on its id alone, so that
    many events with one schedule are spread evenly and none ever changes its place.
    """

    start: datetime | None = attrs.field(default=None, converter=utc, kw_only=True)
    until: datetime | None = attrs.field(default=None, converter=utc, kw_only=True)
    count: int | None = attrs.field(default=None, kw_only=True)
    spread: timedelta = attrs.field(default=timedelta(0), kw_only=True)

    @until.validator
    def _check_until(self, _attribute: object, until: datetime | None) -> None:
        if until is not None and self.start is not None and until < self.start:
            raise ScheduleError(
                f"There is no occurrence: until, {plain_instant(until)}, is before start, "
                f"{plain_instant(self.start)}.",
                value=until,
            )

    @count.validator
    def _check_count(self, _attribute: object, count: int | None) -> None:
        if count is not None and (type(count) is not int or count < 1):
            raise ScheduleError(f"count is a whole number from 1, not {count!r}.", value=count)

    @spread.validator
    def _check_spread(self, _attribute: object, spread: timedelta) -> None:
        if not isinstance(spread, timedelta) or spread < timedelta(0):
            raise ScheduleError(
                f"spread is a timedelta that is not negative, not {spread!r}.", value=spread
            )

    def __attrs_post_init__(self) -> None:
        """Check what more than one field has a say in."""
        if self.spread and self.spread > (shortest := self._shortest_distance()):
            raise ScheduleError(
                f"A spread of {plain_length(self.spread)} is longer than the shortest distance "
                f"between two occurrences, {plain_length(shortest)}: give that or less.",
                value=self.spread,
            )

    @abstractmethod
    def _shortest_distance(self) -> timedelta:
        """How far apart two occurrences are at least."""

    def first_from(self, now: datetime) -> datetime | None:
        """The first occurrence not before ``now``, of the schedule anchored there."""
        return self.anchored(now).next_after(now - TICK)

    def _is_late(self, due: datetime) -> bool:
        return self.until is not None and due > self.until

    def _stored_limits(self) -> dict[str, Any]:
        limits = {"start": self.start, "until": self.until}
        stored: dict[str, Any] = {name: at.isoformat() for name, at in limits.items() if at}
        if self.count is not None:
            stored["count"] = self.count
        if self.spread:
            stored["spread"] = stored_length(self.spread)
        return stored

    @classmethod
    def _read_stored(cls, data: Mapping[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
        """The stored fields, those of ``types`` and the limits, as keyword arguments."""
        fields = read_stored(cls.kind, data, {**types, **_LIMITS})
        if "spread" in fields:
            kind = f"spread of {cls.kind}"
            fields["spread"] = take_length(kind, read_stored(kind, fields["spread"], LENGTH))
        return fields

    def _plain_limits(self) -> str:
        spread = f" spread over {plain_length(self.spread)}" if self.spread else ""
        start = f" from {plain_instant(self.start)}" if self.start else ""
        until = f" until {plain_instant(self.until)}" if self.until else ""
        times = f", {plural(self.count, 'time')}" if self.count else ""
        return spread + start + until + times


def phase_of(previous: Schedule, kind: str) -> datetime | None:
    """Where ``previous`` counts from, if it is of ``kind``."""
    # Not by class: where this plugin was loaded anew, stored schedules are read by another one.
    start: datetime | None = getattr(previous, "start", None)
    return start if previous.kind == kind else None


def _dates(days: Iterable[date]) -> tuple[date, ...]:
    """The dates in order, each once. Raises ScheduleError for anything but plain dates."""
    listed = list(days) if isinstance(days, Iterable) else [days]
    wrong = [day for day in listed if not isinstance(day, date) or isinstance(day, datetime)]
    if wrong or not isinstance(days, Iterable):
        raise ScheduleError(
            "exclude is a list of dates in the schedule's zone, as [date(2026, 12, 25)], not "
            f"{days!r}.",
            value=days,
        )
    return tuple(sorted(set(listed)))


@attrs.frozen
class OnClock(Recurring):
    """A recurring schedule that names local times of a zone.

    ``exclude`` are dates, as the clocks of the zone show them, on which it does not fire; what
    falls out does not count for ``count``. ``count`` without ``start`` counts from the time of
    scheduling.
    """

    exclude: tuple[date, ...] = attrs.field(default=(), converter=_dates, kw_only=True)

    @property
    @abstractmethod
    def clock(self) -> WallClock:
        """When it fires, apart from all limits. Raises ScheduleError if that is never."""

    def __attrs_post_init__(self) -> None:
        """Check that there is an occurrence within the limits."""
        clock = self.clock
        super().__attrs_post_init__()
        if self.start is None or self.until is None:
            return
        first = clock.next_after(self.start - TICK, self._excluded)
        if first is None or self._is_late(first):
            raise ScheduleError(f"There is no occurrence {self}.", value=self)

    @property
    def _excluded(self) -> frozenset[date]:
        return frozenset(self.exclude)

    def _shortest_distance(self) -> timedelta:
        return _shortest_distance(self.clock)

    def next_after(self, instant: datetime) -> datetime | None:
        """The first occurrence after ``instant``. With ``count``, walks from ``start`` to it."""
        now = require_aware(instant, "instant")
        since = max(now, self.start - TICK) if self.start else now
        due = self.clock.next_after(since, self._excluded)
        return None if due is None or self._is_late(due) or self._is_spent(due) else due

    def _is_spent(self, due: datetime) -> bool:
        """True when ``count`` occurrences come before ``due``."""
        if self.count is None or self.start is None:
            return False
        return _tally(self.clock, self.start, self._excluded, self.count).is_over_before(due)

    def _stored_limits(self) -> dict[str, Any]:
        dates = {"exclude": [day.isoformat() for day in self.exclude]} if self.exclude else {}
        return dates | super()._stored_limits()

    @classmethod
    def _read_stored(cls, data: Mapping[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
        fields = super()._read_stored(data, {**types, "zone": str, "exclude": list})
        if "exclude" in fields:
            example = "2026-12-25"
            fields["exclude"] = [read_date(str(d), example=example) for d in fields["exclude"]]
        return fields


@lru_cache(maxsize=256)
def _shortest_distance(clock: WallClock) -> timedelta:
    """How far apart the next occurrences are at least; a year if there is but one."""
    seen = islice(clock.occurrences(_LOOK_FROM), _LOOK_AT)
    return min((later - due for due, later in pairwise(seen)), default=timedelta(days=365))


class _Tally:
    """The first ``count`` occurrences from a start on, as far as anybody asked.

    It is shared by equal schedules, since a host reads one anew at every settle; without it each
    of ``count`` occurrences would be a walk from the start.
    """

    def __init__(
        self, clock: WallClock, start: datetime, excluded: frozenset[date], count: int
    ) -> None:
        self._clock = clock
        self._excluded = excluded
        self._count = count
        # One tuple, replaced as a whole: threads may both walk, and both are right.
        self._reached = (0, start - TICK)

    def is_over_before(self, due: datetime) -> bool:
        """True when all ``count`` occurrences come before the occurrence ``due``."""
        number, last = self._reached
        while number < self._count and last < due:
            following = self._clock.next_after(last, self._excluded)
            if following is None:
                break
            number, last = number + 1, following
        self._reached = (number, last)
        return last < due


@lru_cache(maxsize=1024)
def _tally(clock: WallClock, start: datetime, excluded: frozenset[date], count: int) -> _Tally:
    return _Tally(clock, start, excluded, count)
