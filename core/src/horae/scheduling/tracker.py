"""A unit of work: events are collected in a block, and stored together when it is left."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, Unpack

import attrs

from horae.errors import HostError, InvalidArguments, SettingsError
from horae.payloads import encode
from horae.scheduling.requests import Planner
from horae.stores.records import CancelMissing, NewEvent, Step
from horae_hookspecs import EventOptions, ScheduleLike

TOGETHER: Final = 1_000_000
"""Microseconds below which instants count as the same: who schedules for many resources in a loop
reads the clock for each."""

NO_LONGER_MATCHES: Final = "resource no longer matches"
"""Why an event was cancelled whose resource was not named any more."""

BOT_NAMES: Final = "name", "uid", "bot_id"
RESOURCE_NAMES: Final = "resource_id", "id"


class BotEvents(ABC):
    """A tracker's ``schedule_bot_event``, in terms of its ``schedule``."""

    _origin: str | None

    @abstractmethod
    def schedule(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        **options: Unpack[EventOptions],
    ) -> None:
        """See ``horae_hookspecs.Tracker``."""

    def schedule_bot_event(
        self,
        *,
        bot: object,
        resource: object,
        description: str | None = None,
        event_type: str | object,
        schedule_data: ScheduleLike,
        action_data: Mapping[str, Any] | str | None = None,
    ) -> None:
        """The call of the seed systems, in terms of ``schedule``."""
        name = _name(bot, "bot", BOT_NAMES)
        self.schedule(
            event_type,
            _arguments(action_data, event_type),
            schedule_data,
            origin=f"bot:{name}" if self._origin is None else self._origin,
            resource=_name(resource, "resource", RESOURCE_NAMES),
            description=description,
        )


class Unit(BotEvents):
    """See ``horae_hookspecs.Tracker``; ``finish`` is given all of it at the end of the block."""

    def __init__(
        self,
        planner: Planner,
        finish: Callable[[Sequence[Step]], Sequence[int]],
        origin: str | None,
        *,
        cancel_missing: bool,
    ) -> None:
        if cancel_missing and origin is None:
            raise SettingsError(
                "cancel_missing cancels what an origin has pending, so it needs one: "
                "tracker('night', cancel_missing=True)."
            )
        self._planner = planner
        self._finish = finish
        self._origin = origin
        self._cancel_missing = cancel_missing
        self._open = False
        self.ids: Sequence[int] = ()

    def __enter__(self) -> Self:
        self._moment = self._planner.moment()
        self._named: set[str] = set()
        self._events: list[_Collected] = []
        self._shared: dict[tuple[NewEvent, int], _Collected] = {}
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        if error is None:
            self.ids = tuple(self._finish(self._steps()))

    def _steps(self) -> list[Step]:
        steps: list[Step] = [one.event() for one in self._events]
        if self._cancel_missing and self._origin is not None:
            named = frozenset(self._named)
            steps.append(CancelMissing(self._origin, named, NO_LONGER_MATCHES))
        return steps

    def schedule(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        **options: Unpack[EventOptions],
    ) -> None:
        """Checked now, stored at the end of the block."""
        if not self._open:
            raise HostError(
                "This tracker takes no events any more: its block is over. Open another one: "
                "with host.tracker() as tracker: ..."
            )
        if options.get("origin") is None and self._origin is not None:
            options["origin"] = self._origin
        self._collect(
            self._planner.plan(event_type, arguments, schedule, moment=self._moment, **options)
        )

    def _collect(self, new: NewEvent) -> None:
        names = _resources(new)
        if new.origin == self._origin:
            self._named.update(names)
        one_way = (new.resource is None) != (new.resources is None)
        if one_way and self._planner.takes_many(new.event_type):
            self._join(new, names)
        else:
            self._events.append(_Collected(new, names))

    def _join(self, new: NewEvent, names: list[str]) -> None:
        """Add to the event that differs from this one only in its resources, if there is one."""
        # Where only one occurrence is left, its time says all that the schedule does.
        text = new.schedule if new.recurs else ""
        alike = attrs.evolve(new, resource=None, resources=None, due=0, schedule=text)
        second = new.due // TOGETHER
        for near in (second, second - 1, second + 1):
            known = self._shared.get((alike, near))
            if known is not None and abs(known.new.due - new.due) < TOGETHER:
                known.resources += names
                return
        collected = self._shared[alike, second] = _Collected(new, names)
        self._events.append(collected)


@attrs.define
class _Collected:
    """An event of the unit, and all resources that it is asked for."""

    new: NewEvent
    resources: list[str]

    def event(self) -> NewEvent:
        """The event as it is stored."""
        names = list(dict.fromkeys(self.resources))
        if set(names) == set(_resources(self.new)):
            return self.new
        return attrs.evolve(self.new, resource=None, resources=encode(names))


def _resources(new: NewEvent) -> list[str]:
    named = [] if new.resource is None else [new.resource]
    return named if new.resources is None else [*named, *json.loads(new.resources)]


def _name(value: object, what: str, attributes: Sequence[str]) -> str:
    if isinstance(value, str):
        return value
    found = (getattr(value, attribute, None) for attribute in attributes)
    name = next((one for one in found if one is not None), None)
    if name is None:
        raise TypeError(f"{what}={value!r} is no text, and has no {' or '.join(attributes)}.")
    return str(name)


def _arguments(
    action_data: Mapping[str, Any] | str | None, event_type: str | object
) -> Mapping[str, Any] | None:
    if not isinstance(action_data, str):
        return action_data
    try:
        arguments: Mapping[str, Any] = json.loads(action_data)
    except ValueError as error:
        raise InvalidArguments(str(event_type), [f"action_data is no JSON: {error} @ $"]) from None
    return arguments
