"""The errors that plugin authors raise or meet.

HoraeError
├── RegistrationError      an event type, or the class behind it, cannot be registered
├── ScheduleError          a schedule that cannot be built or read
│   └── NaiveDatetimeError a datetime without a time zone
├── OutsideRunError        something that needs a running host was used without one
├── ResourcesFailed        a multi-resource run did not succeed for all of its resources
└── RunControl             raised inside a run to say how it ends
    ├── RetryLater         not now; burns no attempt
    └── CancelEvent        never again
"""

from collections.abc import Sequence
from datetime import datetime, timedelta


class HoraeError(Exception):
    """The root of every error that horae raises."""


class RegistrationError(HoraeError):
    """An event type cannot be registered as asked; the message shows the right form."""

    def __init__(self, message: str, *, event_type: str | None = None) -> None:
        super().__init__(message)
        self.event_type = event_type


class ScheduleError(HoraeError, ValueError):
    """A schedule cannot be built or read from what was given."""

    def __init__(self, message: str, *, value: object = None) -> None:
        super().__init__(message)
        self.value = value


class NaiveDatetimeError(ScheduleError):
    """A datetime without a time zone names no instant, so horae refuses to guess one."""

    def __init__(self, value: datetime, *, where: str) -> None:
        super().__init__(
            f"{where} is {value!r}, which has no time zone and so names no instant. "
            "Say which zone is meant: datetime.now(UTC), or "
            "value.replace(tzinfo=ZoneInfo('Europe/Berlin')).",
            value=value,
        )
        self.where = where


class OutsideRunError(HoraeError):
    """What was used works only inside a run or an activation, where a host is known."""


class ResourcesFailed(HoraeError):
    """Some of a run's resources failed; ``Run.resources`` tells of each."""

    def __init__(self, message: str, *, failed: Sequence[str]) -> None:
        super().__init__(message)
        self.failed = tuple(failed)


class RunControl(HoraeError):
    """Raised inside a run to end it in another way than success or failure."""


class RetryLater(RunControl):
    """Run this occurrence again after a while; no attempt is burned.

    ``after`` is a timedelta or a number of seconds, not negative.
    """

    def __init__(self, after: timedelta | float = 0.0, reason: str = "") -> None:
        self.after = after if isinstance(after, timedelta) else timedelta(seconds=after)
        if self.after < timedelta(0):
            raise ValueError(f"RetryLater(after={after!r}) lies in the past; give 0 or more.")
        self.reason = reason
        super().__init__(reason or f"retry after {self.after}")


class CancelEvent(RunControl):
    """End the event for good: this run is recorded as cancelled, and no other follows."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "cancelled by the job")
