"""The kind ``interval``."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Self

import attrs

from horae_builtin_plugins._once import later
from horae_builtin_plugins._recurring import Recurring, phase_of
from horae_builtin_plugins._stored import LENGTH, stored_length, take_length
from horae_builtin_plugins._text import (
    first_word,
    length,
    plain_length,
    read_length,
    read_limits,
    split_clauses,
)
from horae_hookspecs import Schedule, ScheduleError, require_aware

_FINEST: Final = timedelta(milliseconds=1)


@attrs.frozen(init=False)
class Interval(Recurring):
    """Every so often in elapsed time, whatever the clocks do: ``Interval(hours=1, minutes=30)``.

    Occurrences are ``start + k * every`` for k = 0, 1, 2...: they do not drift and keep their
    phase over restarts. Without ``start``, ``anchored`` sets it to one ``every`` from now. Raises
    ScheduleError for less than a millisecond.
    """

    kind: ClassVar[str] = "interval"
    every: timedelta = attrs.field(kw_only=True)

    def __init__(
        self,
        every: timedelta = timedelta(0),
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        start: datetime | None = None,
        until: datetime | None = None,
        count: int | None = None,
        spread: timedelta = timedelta(0),
    ) -> None:
        parts = length(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        self.__attrs_init__(
            every=every + parts, start=start, until=until, count=count, spread=spread
        )

    @every.validator
    def _check_every(self, _attribute: object, every: timedelta) -> None:
        if every < _FINEST:
            raise ScheduleError(
                f"An interval of {every.total_seconds()} seconds is too fine: give at least a "
                "millisecond, as in Interval(minutes=5).",
                value=every,
            )

    def next_after(self, instant: datetime) -> datetime | None:
        """The first ``start + k * every`` after ``instant``; without a start, one ``every`` on."""
        now = require_aware(instant, "instant")
        start = self.start or now
        ticks = max(0, (now - start) // self.every + 1)
        if self.start is not None and self.count is not None and ticks >= self.count:
            return None
        try:
            due = start + ticks * self.every
        except OverflowError:  # the calendar of datetime ends with the year 9999
            return None
        return None if self._is_late(due) else due

    def anchored(self, now: datetime) -> Self:
        """This interval with a start; ``now`` plus ``every`` if it had none."""
        return self if self.start else attrs.evolve(self, start=later(now, self.every))

    def continuing(self, previous: Schedule, now: datetime) -> Self:
        """This interval, unless it has a start, in phase with ``previous`` if that is another."""
        phase = phase_of(previous, self.kind)
        if self.start is not None or phase is None:
            return self.anchored(now)
        steps = -((phase - now) // self.every)  # backwards too: from a day to a minute
        return attrs.evolve(self, start=later(phase, steps * self.every))

    def _shortest_distance(self) -> timedelta:
        return self.every

    def to_json(self) -> dict[str, Any]:
        """``{"seconds": int}``, ``microseconds`` and the limits beside it where they are given."""
        return stored_length(self.every) | self._stored_limits()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The schedule that ``to_json`` gave. Raises ScheduleError telling what is wrong."""
        fields = cls._read_stored(data, LENGTH)
        every = {name: fields.pop(name) for name in LENGTH if name in fields}
        return cls(take_length(cls.kind, every), **fields)

    @classmethod
    def parse(cls, value: datetime | timedelta | str) -> Self | None:
        """``every 5m``, ``every 1h30m``, ``every 2 hours``, ``every day spread 10m``; the limits
        as ``str`` writes them.
        """
        word, rest = first_word(value)
        if word != "every":
            return None
        every, clauses = split_clauses(rest, "", example="every 1h30m spread 5m")
        return cls(read_length(every, example="every 1h30m"), **read_limits(clauses))

    def __str__(self) -> str:
        """``every 5 minutes from 2026-12-24 17:00:00 UTC, 10 times``."""
        length = plain_length(self.every)
        one = re.fullmatch(r"1 ([a-z]+)", length)
        return f"every {one[1] if one else length}{self._plain_limits()}"
