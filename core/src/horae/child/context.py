"""What a job in a child process knows of its run; see ``horae_hookspecs.RunContext``."""

import asyncio
import copy
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Unpack

import structlog

from horae.child.ends import ended
from horae.child.line import Line
from horae.child.unit import ChildUnit, Request
from horae.clock import from_micros
from horae.registry import Entry
from horae.scheduling.resources import task_is_cancelled
from horae_hookspecs import (
    EventOptions,
    HostView,
    OutsideRunError,
    Retry,
    ScheduleLike,
)
from horae_hookspecs._current import acting_for


class ChildContext:
    """The host has the real one, and does what is asked of this; ``part`` is the resource that
    this one is about, if it is.
    """

    part: str | None = None

    def __init__(
        self,
        request: Mapping[str, Any],
        run: object,
        line: Line,
        types: Mapping[str, Entry],
        retry: Retry,
    ) -> None:
        self._run = run
        self._line = line
        self._types = types
        self._retry = retry
        self.event_id: int = request["event_id"]
        self.event_type: str = request["event_type"]
        self.attempt: int = request["attempt"]
        self.occurrence: datetime = from_micros(request["occurrence"])
        self.idempotency_key: str = request["idempotency_key"]
        self.resource: str | None = request["resource"]
        self.resources: tuple[str, ...] = tuple(request["resources"])
        self.origin: str | None = request["origin"]
        self.user: str | None = request["user"]
        self.description: str | None = request["description"]
        deadline = request["deadline"]
        self.deadline: datetime | None = None if deadline is None else from_micros(deadline)

    @property
    def cancelled(self) -> bool:
        """Whether the host has said so."""
        return self._line.cancelled(self._run)

    @property
    def host(self) -> HostView:
        """Out of reach. Raises OutsideRunError."""
        raise OutsideRunError(
            f"context.host was used in a run of {self.event_type!r}, which is in a child process, "
            "and the host is not. Plan follow-up events with context.schedule(...), or register "
            "the type with executor='thread'."
        )

    @property
    def log(self) -> Any:
        """What is logged goes to the host, which binds the run and the plugin to it."""
        return structlog.get_logger("horae.job")

    def progress(self, fraction: float, text: str = "") -> None:
        """Told to the host."""
        self._call("progress", fraction=fraction, text=text)

    def schedule(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        **options: Unpack[EventOptions],
    ) -> None:
        """Checked by the host now, and stored by it with the outcome of a run that ends well."""
        request = Request.of(event_type, arguments, schedule, options, self._types)
        self._call("schedule", **request.to_json())

    def tracker(self, origin: str | None = None, *, cancel_missing: bool = False) -> ChildUnit:
        """A unit that is stored like that."""
        return ChildUnit(self._call, self._types, origin, cancel_missing=cancel_missing)

    def each(self, work: Callable[[Any, str], object]) -> Any:
        """The host knows the resources, and takes down what becomes of them."""
        if inspect.iscoroutinefunction(work):
            return self._each_async(work)
        part = self._first()
        while part is not None:
            value, raised = None, None
            with acting_for(part):
                try:
                    value = work(part, str(part.resource))
                except BaseException as error:
                    raised = error
            part = self._next(raised, value)
        return None

    async def _each_async(self, work: Callable[[Any, str], Any]) -> None:
        part = self._first()
        while part is not None:
            value, raised = None, None
            with acting_for(part):
                try:
                    value = await work(part, str(part.resource))
                except BaseException as error:
                    raised = error
            part = self._next(raised, value)

    def _first(self) -> "ChildContext | None":
        return self._about(self._call("each"))

    def _next(self, raised: BaseException | None, value: object) -> "ChildContext | None":
        if raised is not None and (self._line.ending or _is_cancellation(raised)):
            raise raised
        return self._about(self._line.ask(self._run, "turn", ended(self._retry, raised, value)))

    def _about(self, turn: Mapping[str, str] | None) -> "ChildContext | None":
        """The context for the resource whose turn it is; None when all have had theirs."""
        if turn is None:
            return None
        part = copy.copy(self)
        part.part = part.resource = turn["resource"]
        part.idempotency_key = turn["idempotency_key"]
        return part

    def _call(self, method: str, **arguments: object) -> Any:
        return self._line.ask(self._run, "call", [method, self.part, arguments])


def _is_cancellation(error: BaseException) -> bool:
    return isinstance(error, asyncio.CancelledError) and task_is_cancelled()
