"""The schedule kinds ``once``, ``interval`` and ``cron``; this module is the plugin itself."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from itertools import islice, takewhile
from typing import Any, ClassVar, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import attrs

from horae_builtin_plugins._wallclock import WallClock
from horae_hookspecs import Schedule, ScheduleError, hookimpl, require_aware

_TICK: Final = timedelta.resolution
_FINEST: Final = timedelta(milliseconds=1)
_BOUNDS: Final[Mapping[str, type]] = {"start": datetime, "until": datetime, "count": int}
_LENGTH: Final[Mapping[str, type]] = {"seconds": int, "microseconds": int}


def _utc(value: datetime | None) -> datetime | None:
    """``value`` in UTC. Raises ScheduleError for what names no instant."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise ScheduleError(f"A schedule takes a datetime here, not {value!r}.", value=value)
    try:
        return require_aware(value, "The datetime given to a schedule")
    except OverflowError as error:
        raise ScheduleError(f"{value!r} is out of range in UTC.", value=value) from error


def _later(now: datetime, length: timedelta) -> datetime:
    """``now`` plus ``length``. Raises ScheduleError when that is past the year 9999."""
    try:
        return now + length
    except OverflowError as error:
        raise ScheduleError(f"{length} from now is past the year 9999.", value=length) from error


@attrs.frozen
class Once(Schedule):
    """One occurrence: at the instant ``when``, or as long as ``after`` from now.

    A time in the past is due at once, since late work is still work. ``after`` counts from the
    moment the event is scheduled: ``anchored`` turns it into ``when``. Raises ScheduleError
    unless exactly one is given and ``after`` is not negative, NaiveDatetimeError for a ``when``
    without a time zone.
    """

    kind: ClassVar[str] = "once"
    when: datetime | None = attrs.field(default=None, converter=_utc)
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
        return self if self.after is None else type(self)(_later(now, self.after))

    def to_json(self) -> dict[str, Any]:
        """``{"when": ISO text in UTC}``; a length as in Interval while it has no anchor."""
        if self.when is not None:
            return {"when": self.when.isoformat()}
        return _stored_length(self.after or timedelta(0))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The schedule that ``to_json`` gave. Raises ScheduleError telling what is wrong."""
        fields = _read_stored(cls.kind, data, {"when": datetime, **_LENGTH})
        when = fields.pop("when", None)
        return cls(when, after=_take_length(cls.kind, fields) if fields else None)

    @classmethod
    def parse(cls, value: datetime | timedelta | str) -> Self | None:
        """A datetime, a timedelta, ``now``, ``in 10m`` or ``at 2026-12-24T18:00+01:00``."""
        if isinstance(value, datetime):
            return cls(value)
        if isinstance(value, timedelta):
            return cls(after=value)
        match _first_word(value):
            case "now", "":
                return cls(after=timedelta(0))
            case "now", rest:
                raise ScheduleError(f"'now' stands alone, without {rest!r}.", value=value)
            case "in", rest:
                return cls(after=_read_length(rest, example="in 10m"))
            case "at", rest:
                return cls(_read_instant(rest, example="at 2026-12-24T18:00+01:00"))
        return None

    def __str__(self) -> str:
        """``once at 2026-12-24 17:00:00 UTC`` or ``once, 10 minutes from now``."""
        if self.when is not None:
            return f"once at {_plain_instant(self.when)}"
        return f"once, {_plain_length(self.after or timedelta(0))} from now"


@attrs.frozen
class _Recurring(Schedule):
    """What limits a recurring schedule; each may be left out.

    ``start`` and ``until`` are the first and the last instant it may fire at, both inclusive;
    ``count`` is how many occurrences it has from ``start``.
    """

    start: datetime | None = attrs.field(default=None, converter=_utc, kw_only=True)
    until: datetime | None = attrs.field(default=None, converter=_utc, kw_only=True)
    count: int | None = attrs.field(default=None, kw_only=True)

    @until.validator
    def _check_until(self, _attribute: object, until: datetime | None) -> None:
        if until is not None and self.start is not None and until < self.start:
            raise ScheduleError(
                f"There is no occurrence: until, {_plain_instant(until)}, is before start, "
                f"{_plain_instant(self.start)}.",
                value=until,
            )

    @count.validator
    def _check_count(self, _attribute: object, count: int | None) -> None:
        if count is not None and (type(count) is not int or count < 1):
            raise ScheduleError(f"count is a whole number from 1, not {count!r}.", value=count)

    def first_from(self, now: datetime) -> datetime | None:
        """The first occurrence not before ``now``, of the schedule anchored there."""
        return self.anchored(now).next_after(now - _TICK)

    def _is_late(self, due: datetime) -> bool:
        return self.until is not None and due > self.until

    def _stored_bounds(self) -> dict[str, Any]:
        bounds = {name: getattr(self, name) for name in _BOUNDS}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in bounds.items()
            if value is not None
        }

    def _plain_bounds(self) -> str:
        start = f" from {_plain_instant(self.start)}" if self.start else ""
        until = f" until {_plain_instant(self.until)}" if self.until else ""
        return start + until + (f", {_plural(self.count, 'time')}" if self.count else "")


@attrs.frozen(init=False)
class Interval(_Recurring):
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
    ) -> None:
        parts = _length(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        self.__attrs_init__(every=every + parts, start=start, until=until, count=count)

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
        return self if self.start else attrs.evolve(self, start=_later(now, self.every))

    def to_json(self) -> dict[str, Any]:
        """``{"seconds": int}``, ``microseconds`` and the bounds beside it where they are given."""
        return _stored_length(self.every) | self._stored_bounds()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The schedule that ``to_json`` gave. Raises ScheduleError telling what is wrong."""
        fields = _read_stored(cls.kind, data, {**_LENGTH, **_BOUNDS})
        bounds = {name: fields.pop(name) for name in _BOUNDS if name in fields}
        return cls(_take_length(cls.kind, fields), **bounds)

    @classmethod
    def parse(cls, value: datetime | timedelta | str) -> Self | None:
        """``every 5m``, ``every 1h30m``, ``every 2 hours`` or ``every day``."""
        match _first_word(value):
            case "every", rest:
                return cls(_read_length(rest, example="every 1h30m"))
        return None

    def __str__(self) -> str:
        """``every 5 minutes from 2026-12-24 17:00:00 UTC, 10 times``."""
        length = _plain_length(self.every)
        one = re.fullmatch(r"1 ([a-z]+)", length)
        return f"every {one[1] if one else length}{self._plain_bounds()}"


def _zone_name(zone: str | ZoneInfo) -> str:
    """The IANA name of ``zone``, in any case. Raises ScheduleError with the nearest names."""
    name = (zone.key or "") if isinstance(zone, ZoneInfo) else str(zone)
    try:
        return str(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        known = {known.casefold(): known for known in available_timezones()}
        if name.casefold() in known:
            return known[name.casefold()]
        near = [known[match] for match in get_close_matches(name.casefold(), known)]
        raise ScheduleError(
            f"{name!r} is no time zone of the IANA database; "
            f"did you mean {' or '.join(near or ['Europe/Berlin'])}?",
            value=zone,
        ) from error


def _one_blank(text: str) -> str:
    return " ".join(text.split())


@attrs.frozen
class Cron(_Recurring):
    """At the local times of ``zone`` that a cron expression names, as in Debian's Vixie cron.

    ``expression`` has 5 fields, or 6 with seconds first, in cronsim's spelling (names, ``L``,
    ``LW``, ``5#2``), or is an alias such as ``@daily``. A fixed-time entry fires exactly once per
    local day over changes of the clocks; one whose second, minute or hour begins with ``*``
    follows elapsed time. ``count`` without ``start`` counts from the time of scheduling. Raises
    ScheduleError for an unknown expression or zone, and for a rule that can never fire.
    """

    kind: ClassVar[str] = "cron"
    expression: str = attrs.field(converter=_one_blank)
    zone: str = attrs.field(default="UTC", converter=_zone_name)
    _clock: WallClock = attrs.field(init=False, eq=False, repr=False)

    @_clock.default
    def _read(self) -> WallClock:
        return WallClock(self.expression, ZoneInfo(self.zone))

    @_clock.validator
    def _check_bounds(self, _attribute: object, clock: WallClock) -> None:
        if self.start is None or self.until is None:
            return
        first = clock.next_after(self.start - _TICK)
        if first is None or self._is_late(first):
            raise ScheduleError(f"There is no occurrence {self}.", value=self.expression)

    def next_after(self, instant: datetime) -> datetime | None:
        """The first occurrence after ``instant``. With ``count``, walks from ``start`` to it."""
        now = require_aware(instant, "instant")
        due = self._clock.next_after(max(now, self.start - _TICK) if self.start else now)
        return None if due is None or self._is_late(due) or self._is_spent(due) else due

    def _is_spent(self, due: datetime) -> bool:
        """True when ``count`` occurrences come before ``due``."""
        if self.count is None or self.start is None:
            return False
        earlier = takewhile(lambda occurrence: occurrence < due, self._walk(self.start))
        return sum(1 for _ in islice(earlier, self.count)) == self.count

    def _walk(self, start: datetime) -> Iterator[datetime]:
        due = self._clock.next_after(start - _TICK)
        while due is not None:
            yield due
            due = self._clock.next_after(due)

    def anchored(self, now: datetime) -> Self:
        """This schedule with ``start`` set to ``now`` if there is a ``count`` and no start."""
        if self.count is None or self.start is not None:
            return self
        return attrs.evolve(self, start=now)

    def to_json(self) -> dict[str, Any]:
        """``{"expression": text, "zone": IANA name}`` and the bounds where they are given."""
        return {"expression": self.expression, "zone": self.zone} | self._stored_bounds()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The schedule that ``to_json`` gave. Raises ScheduleError telling what is wrong."""
        fields = _read_stored(cls.kind, data, {"expression": str, "zone": str, **_BOUNDS})
        if "expression" not in fields:
            raise ScheduleError("A stored cron needs an expression.", value=data)
        return cls(**fields)

    @classmethod
    def parse(cls, value: datetime | timedelta | str) -> Self | None:
        """``cron 0 9 * * mon-fri`` or ``@daily``; either may end in ``in Europe/Berlin``."""
        word, rest = _first_word(value)
        if word != "cron" and not word.startswith("@"):
            return None
        text = rest if word == "cron" else f"{word} {rest}"
        expression, *zone = re.split(r"\sin\s", text, maxsplit=1, flags=re.IGNORECASE)
        return cls(expression, *zone)

    def __str__(self) -> str:
        """``at 02:30 on Monday through Friday, Europe/Berlin time``."""
        text = self._clock.explain()
        return f"{text[:1].lower()}{text[1:]}, {self.zone} time{self._plain_bounds()}"


def _read_stored(kind: str, data: Mapping[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    """The stored ``data`` with its instants read; only fields of ``types``, each of its type."""
    if not isinstance(data, Mapping):
        raise ScheduleError(f"A stored {kind} is a JSON object, not {data!r}.", value=data)
    return {name: _read_field(kind, name, value, types) for name, value in data.items()}


def _read_field(kind: str, name: str, value: object, types: Mapping[str, type]) -> object:
    if name not in types:
        raise ScheduleError(
            f"A stored {kind} has no {name!r}; it has {', '.join(types)}.", value=value
        )
    is_instant = types[name] is datetime
    if type(value) is not (str if is_instant else types[name]):
        raise ScheduleError(
            f"{name} of a stored {kind} is {value!r}, not of type "
            f"{'text' if is_instant else types[name].__name__}.",
            value=value,
        )
    return _read_instant(str(value), example="2026-12-24T17:00:00+00:00") if is_instant else value


def _read_instant(text: str, *, example: str) -> datetime:
    """The ISO 8601 ``text`` as a datetime. Raises ScheduleError showing ``example``."""
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ScheduleError(
            f"{text!r} is no date and time; write it as in {example!r}.", value=text
        ) from error


_UNITS: Final = {
    "weeks": ("w", "week"),
    "days": ("d", "day"),
    "hours": ("h", "hr", "hrs", "hour"),
    "minutes": ("m", "min", "mins", "minute"),
    "seconds": ("s", "sec", "secs", "second"),
    "milliseconds": ("ms", "millisecond"),
    "microseconds": ("us", "microsecond"),
}
_UNIT_NAMES: Final = {name: unit for unit, names in _UNITS.items() for name in (unit, *names)}
_PART: Final = r"([0-9]+(?:\.[0-9]+)?) ?([a-z]+) ?"


def _length(**parts: float) -> timedelta:
    """A timedelta. Raises ScheduleError when it is out of range."""
    try:
        return timedelta(**parts)
    except (ValueError, OverflowError) as error:
        raise ScheduleError(f"That is no length of time: {error}.", value=parts) from error


def _read_length(text: str, *, example: str) -> timedelta:
    """``5m``, ``1h30m``, ``2 hours`` or ``day`` as a length. Raises ScheduleError otherwise."""
    low = text.lower()
    written = f"1 {low}" if low in _UNIT_NAMES else low
    parts = re.findall(_PART, written)
    if not re.fullmatch(f"(?:{_PART})+", written) or any(u not in _UNIT_NAMES for _, u in parts):
        raise ScheduleError(
            f"{text!r} is no length of time; write it as in {example!r}, in weeks (w), days (d), "
            "hours (h), minutes (m) or seconds (s).",
            value=text,
        )
    lengths = (_length(**{_UNIT_NAMES[unit]: float(number)}) for number, unit in parts)
    return sum(lengths, timedelta(0))


def _first_word(value: object) -> tuple[str, str]:
    """The first word of a text in lower case, and the rest; both empty for anything else."""
    if not isinstance(value, str):
        return "", ""
    word, _, rest = _one_blank(value).partition(" ")
    return word.lower(), rest


def _stored_length(length: timedelta) -> dict[str, Any]:
    """Whole seconds, and microseconds if there are any: exact, unlike a float of seconds."""
    seconds, rest = divmod(length, timedelta(seconds=1))
    return {"seconds": seconds} | ({"microseconds": rest // _TICK} if rest else {})


def _take_length(kind: str, fields: Mapping[str, Any]) -> timedelta:
    if "seconds" not in fields:
        raise ScheduleError(f"A stored {kind} needs seconds.", value=fields)
    return _length(**fields)


def _plain_instant(instant: datetime) -> str:
    return f"{instant.replace(tzinfo=None).isoformat(sep=' ')} UTC"


def _plain_length(length: timedelta) -> str:
    """``1 hour 30 minutes``: from weeks down to microseconds, without the zeros."""
    words = []
    for unit in _UNITS:
        number, length = divmod(length, timedelta(**{unit: 1}))
        if number:
            words.append(_plural(number, unit.removesuffix("s")))
    return " ".join(words) or "0 seconds"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@hookimpl
def horae_schedule_kinds() -> Iterable[type[Schedule]]:
    """The kinds of this module."""
    return (Once, Interval, Cron)
