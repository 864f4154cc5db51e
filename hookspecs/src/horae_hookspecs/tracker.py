"""``ScheduledEventTracker``: a unit of work for code that a host runs, without naming the host."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from horae_hookspecs._current import CURRENT
from horae_hookspecs.abc import Tracker
from horae_hookspecs.errors import OutsideRunError


class ScheduledEventTracker:
    """Collects events and stores them together when its block is left, or none of them.

    ::

        with ScheduledEventTracker() as tracker:
            for resource in matches:
                tracker.schedule_bot_event(
                    bot=bot, resource=resource,
                    description="Start a resource.",
                    event_type="acme.start_resource",
                    schedule_data=schedule.Once(when=datetime.now(UTC) + timedelta(hours=12)),
                )

    In a run, the unit is part of its outcome: stored with it, and only if the run ends well. In
    ``horae_activate``, or a module's ``load()``, it is stored at the end of the block. Anywhere
    else there is no host to ask, and entering the block raises OutsideRunError; also in threads
    that a job starts itself, which do not know what run they belong to.

    ``origin`` and ``cancel_missing`` are those of ``HostView.tracker``, and the block's value is a
    ``Tracker``.
    """

    def __init__(self, origin: str | None = None, *, cancel_missing: bool = False) -> None:
        self._origin = origin
        self._cancel_missing = cancel_missing
        self._blocks: list[AbstractContextManager[Any]] = []

    def __enter__(self) -> Tracker:
        current = CURRENT.get(None)
        if current is None:
            raise OutsideRunError(
                "ScheduledEventTracker() works where a host is at work: in a run, in "
                "horae_activate, or in a plugin's load(). Elsewhere say which host is meant: "
                "with host.tracker() as tracker: ... (a job's own threads can be handed "
                "context.tracker)."
            )
        opened = current.tracker(self._origin, cancel_missing=self._cancel_missing)
        tracker: Tracker = opened.__enter__()
        self._blocks.append(opened)
        return tracker

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._blocks.pop().__exit__(kind, error, traceback)
