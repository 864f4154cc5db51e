"""In whose name the code that runs now may schedule: set by a host around what it calls."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol


class Tracking(Protocol):
    """A run, or a host: whoever opens trackers."""

    def tracker(
        self, origin: str | None = None, *, cancel_missing: bool = False
    ) -> AbstractContextManager[Any]:
        """A unit of work in its name."""


CURRENT: Final[ContextVar[Tracking]] = ContextVar("horae_current")


@contextmanager
def acting_for(whom: Tracking) -> Iterator[None]:
    """Inside the block, trackers without a host of their own are ``whom``'s."""
    token = CURRENT.set(whom)
    try:
        yield
    finally:
        CURRENT.reset(token)
