"""The kind ``once``, and what all kinds take for an instant."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

import attrs

from horae_builtin_plugins._stored import LENGTH, read_stored, stored_length, take_length
from horae_builtin_plugins._text import (
    first_word,
    length,
    plain_instant,
    plain_length,
    read_instant,
    read_length,
)
from horae_hookspecs import Schedule, ScheduleError, require_aware


def utc(value: datetime | None) -> datetime | None:
    """``value`` in UTC. Raises ScheduleError for what names no instant."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise ScheduleError(f"A schedule takes a datetime here, not {value!r}.", value=value)
    try:
        return require_aware(value, "The datetime given to a schedule")
    except OverflowError as error:
        raise ScheduleError(f"{value!r} is out of range in UTC.", value=value) from error


def later(now: datetime, wait: timedelta) -> datetime:
    """``now`` plus ``wait``. Raises ScheduleError when that is past the year 9999."""
    try:
        return now + wait
    except OverflowError as error:
        raise ScheduleError(f"{wait} from now is past the year 9999.", value=wait) from error


@attrs.frozen
class Once(Schedule):
    """One occurrence: at the instant ``when``, or as long as ``after`` from now.

    A time in the past is due at once, since late work is still work. ``after`` counts from the
    moment the event is scheduled: ``anchored`` turns it into ``when``. Raises ScheduleError
    unless exactly one is given and ``after`` is not negative, NaiveDatetimeError for a ``when``
    without a time zone.
    """

    kind: ClassVar[str] = "once"
    when: datetime | None = attrs.field(default=None, converter=utc)
    after: timedelta | None = attrs.field(default=None, kw_only=True)

    @after.validator
    def _check(self, _attribute: object, after: timedelta | None) -> None:
        if (after is None) == (self.when is None):
            raise ScheduleError("Once takes either when or after: Once(datetime.now(UTC)).")
        if after is not None and after < timedelta(0):
            raise ScheduleError(f"Once(after={after!r}) lies in the past.", value=after)

    def next_after(self, instant: datetime) -> datetime | None:
        """``when`` if it is after ``instant``; without an anchor, ``after`` from ``instant``."""
        when = self.anchored(instant).when
        return when if when is not None and when > instant else None

    def first_from(self, now: datetime) -> datetime | None:
        """``when``, be it over or not."""
        return self.anchored(now).when

    def anchored(self, now: datetime) -> Self:
        """This schedule with ``after`` made the instant that it means, counted from ``now``."""
        return self if self.after is None else type(self)(later(now, self.after))

    def to_json(self) -> dict[str, Any]:
        """``{"when": ISO text in UTC}``; a length as in Interval while it has no anchor."""
        if self.when is not None:
            return {"when": self.when.isoformat()}
        return stored_length(self.after or timedelta(0))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The schedule that ``to_json`` gave. Raises ScheduleError telling what is wrong."""
        fields = read_stored(cls.kind, data, {"when": datetime, **LENGTH})
        when = fields.pop("when", None)
        return cls(when, after=take_length(cls.kind, fields) if fields else None)

    @classmethod
    def parse(cls, value: datetime | timedelta | str) -> Self | None:
        """A datetime, a timedelta, ``now``, ``in 10m`` or ``at 2026-12-24T18:00+01:00``."""
        if isinstance(value, datetime):
            return cls(value)
        if isinstance(value, timedelta):
            return cls(after=value)
        match first_word(value):
            case "now", "":
                return cls(after=timedelta(0))
            case "now", rest:
                raise ScheduleError(f"'now' stands alone, without {rest!r}.", value=value)
            case "in", rest:
                return cls(after=read_length(rest, example="in 10m"))
            case "at", rest:
                return cls(read_instant(rest, example="at 2026-12-24T18:00+01:00"))
        return None

    def __str__(self) -> str:
        """``once at 2026-12-24 17:00:00 UTC`` or ``once, 10 minutes from now``."""
        if self.when is not None:
            return f"once at {plain_instant(self.when)}"
        return f"once, {plain_length(self.after or timedelta(0))} from now"


def hours_from_now(hours: float) -> Once:
    """Once, ``hours`` after it is scheduled: 0.25 is a quarter of an hour, 0 is at once."""
    return Once(after=length(hours=hours))
