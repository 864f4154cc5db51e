"""Lengths, instants, zones and clauses: how all kinds read them in texts and write them."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from horae_hookspecs import ScheduleError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of the week as texts write them, in the order of ``datetime.weekday``."""

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


def one_blank(text: str) -> str:
    """``text`` with single blanks between its words and none around it."""
    return " ".join(text.split())


def first_word(value: object) -> tuple[str, str]:
    """The first word of a text in lower case, and the rest; both empty for anything else."""
    if not isinstance(value, str):
        return "", ""
    word, _, rest = one_blank(value).partition(" ")
    return word.lower(), rest


# Lengths


def length(**parts: float) -> timedelta:
    """A timedelta. Raises ScheduleError when it is out of range."""
    try:
        return timedelta(**parts)
    except (TypeError, ValueError, OverflowError) as error:
        raise ScheduleError(f"That is no length of time: {error}.", value=parts) from error


def read_length(text: str, *, example: str) -> timedelta:
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
    lengths = (length(**{_UNIT_NAMES[unit]: float(number)}) for number, unit in parts)
    return sum(lengths, timedelta(0))


def plain_length(value: timedelta) -> str:
    """``1 hour 30 minutes``: from weeks down to microseconds, without the zeros."""
    words = []
    for unit in _UNITS:
        number, value = divmod(value, timedelta(**{unit: 1}))
        if number:
            words.append(plural(number, unit.removesuffix("s")))
    return " ".join(words) or "0 seconds"


def plural(number: int, noun: str) -> str:
    """``1 day`` or ``2 days``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# Instants, dates, zones


def read_instant(text: str, *, example: str) -> datetime:
    """The ISO 8601 ``text``, or what ``plain_instant`` wrote. Raises ScheduleError otherwise."""
    try:
        return datetime.fromisoformat(re.sub(r" UTC$", "+00:00", text.upper()))
    except ValueError as error:
        raise ScheduleError(
            f"{text!r} is no date and time; write it as in {example!r}.", value=text
        ) from error


def plain_instant(instant: datetime) -> str:
    """``2026-12-24 17:00:00 UTC``."""
    return f"{instant.replace(tzinfo=None).isoformat(sep=' ')} UTC"


def read_date(text: str, *, example: str) -> date:
    """``2026-12-25`` as a date. Raises ScheduleError otherwise."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ScheduleError(
            f"{text!r} is no date; write it as in {example!r}.", value=text
        ) from error


def zone_name(zone: str | ZoneInfo) -> str:
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


# Clauses

_CLAUSE: Final = re.compile(r"\s(except|in|spread over|spread|from|until)\s", re.IGNORECASE)
_TIMES: Final = re.compile(r",? ([0-9]{1,9}) times?$", re.IGNORECASE)


def split_clauses(text: str, allowed: str, *, example: str) -> tuple[str, dict[str, str]]:
    """``text`` before its clauses, and these by name; ``allowed`` names the kind's, with blanks.

    The clauses that every recurring kind has are ``spread``, ``from``, ``until`` and ``times``.
    Raises ScheduleError for one that comes twice, or that this kind has not.
    """
    times = _TIMES.search(text)
    head, *rest = _CLAUSE.split(text[: times.start()] if times else text)
    found = {"times": times[1]} if times else {}
    for name, content in zip(rest[::2], rest[1::2], strict=True):
        word = name.lower().removesuffix(" over")
        if word in found or word not in (*allowed.split(), "spread", "from", "until"):
            problem = "stands there twice" if word in found else "does not fit there"
            raise ScheduleError(
                f"{word!r} {problem} in {text!r}; write it as in {example!r}.", value=text
            )
        found[word] = content
    return head, found


def read_limits(clauses: Mapping[str, str]) -> dict[str, Any]:
    """The keyword arguments of a recurring kind that ``clauses`` stand for."""
    limits: dict[str, Any] = {}
    for word, name in (("from", "start"), ("until", "until")):
        if word in clauses:
            example = f"{word} 2026-12-24T18:00+01:00"
            limits[name] = read_instant(clauses[word], example=example)
    if "spread" in clauses:
        limits["spread"] = read_length(clauses["spread"], example="spread 5m")
    if "times" in clauses:
        limits["count"] = int(clauses["times"])
    return limits


def split_list(text: str) -> list[str]:
    """The items of ``sat, sun``, with commas, blanks or both between them."""
    return [item for item in re.split(r"[\s,]+", text) if item]


def plain_exclusions(days: Iterable[object]) -> str:
    """`` except sat, 2026-12-25``, or nothing; ``days`` are names and dates."""
    listed = ", ".join(map(str, days))
    return f" except {listed}" if listed else ""
