"""Zones whose clocks change in every way there is, times near the changes, and TZ settings."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from horae_hookspecs import Schedule

SETTINGS = ["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
"""What TZ is set to while a schedule is asked."""

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "America/Santiago",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "America/St_Johns",
]
FIRST, LAST = datetime(1985, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@contextmanager
def process_in(setting: str) -> Iterator[None]:
    """The process takes the zone ``setting`` for the local one; undone at the end."""
    before = os.environ.get("TZ")
    try:
        _set(setting)
        yield
    finally:
        _set(before)


def _set(setting: str | None) -> None:
    if setting is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = setting
    time.tzset()


def chain(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    """The occurrences of ``schedule`` in (after, until]."""
    found = []
    while (due := schedule.next_after(after)) is not None and due <= until:
        assert due > after
        found.append(due)
        after = due
    return found


def offset(instant: datetime, zone: str) -> timedelta | None:
    return instant.astimezone(ZoneInfo(zone)).utcoffset()


@cache
def changes(zone: str) -> list[datetime]:
    """The instants at which the clocks of ``zone`` changed, found by looking at all times; any
    instant where they never did.
    """
    found = [FIRST + day * DAY for day in range((LAST - FIRST).days)]
    for step in (DAY, HOUR, MINUTE):
        pieces = [start + part * step for start in found for part in range(parts(step))]
        found = [piece for piece in pieces if offset(piece, zone) != offset(piece + step, zone)]
    return [start + MINUTE for start in found] or [FIRST]


def parts(step: timedelta) -> int:
    """How many steps the next greater unit has; a day is looked at as a whole."""
    return {DAY: 1, HOUR: 24, MINUTE: 60}[step]


@st.composite
def near_changes(draw: st.DrawFn, zone: str, within: timedelta) -> datetime:
    """An instant of which a change of the clocks is not further than ``within``."""
    change = draw(st.sampled_from(changes(zone)))
    return change + draw(st.timedeltas(-within, within))


def moments(zone: str) -> st.SearchStrategy[datetime]:
    """Instants near a change of the clocks, in both passes of a repeated hour, and elsewhere."""
    anywhere = st.datetimes(
        FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None), timezones=st.just(UTC)
    )
    return st.one_of(
        near_changes(zone, HOUR), near_changes(zone, 2 * DAY), near_changes(zone, HOUR), anywhere
    )
