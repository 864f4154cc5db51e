"""Time as a parameter: the system's clock, a settable one, and instants as the store keeps them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from horae_hookspecs import require_aware

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime.max.replace(tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Clock(Protocol):
    """What the host asks for the time. Only ``now`` decides what is due."""

    def now(self) -> datetime:
        """The current instant, in UTC."""

    def micros(self) -> int:
        """The current instant in microseconds since the epoch, as the store keeps it."""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever the clock is set; a clock that only flows never does."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant, in UTC."""
        return datetime.now(UTC)

    def micros(self) -> int:
        """The current instant in microseconds since the epoch."""
        return time.time_ns() // 1000

    def on_change(self, listener: Callable[[], None]) -> None:
        """Nobody sets this clock, so there is nothing to tell."""


class SettableClock:
    """A clock that stands still until it is told otherwise; for tests and rehearsals."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = require_aware(now, "SettableClock(now)")
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """The instant it was set to, in UTC."""
        return self._now

    def micros(self) -> int:
        """The instant it was set to, in microseconds since the epoch."""
        return to_micros(self._now)

    def set(self, now: datetime) -> None:
        """Jump to ``now``, forward or back. Raises NaiveDatetimeError."""
        self._now = require_aware(now, "SettableClock.set(now)")
        for listener in self._listeners:
            listener()

    def advance(self, by: timedelta | float) -> None:
        """Move on by a timedelta or a number of seconds."""
        self.set(self._now + (by if isinstance(by, timedelta) else timedelta(seconds=by)))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every ``set`` and ``advance``."""
        self._listeners.append(listener)


def to_micros(instant: datetime) -> int:
    """An aware datetime as microseconds since the epoch, exactly."""
    return (instant - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Microseconds since the epoch as a datetime in UTC."""
    return EPOCH + timedelta(microseconds=micros)
