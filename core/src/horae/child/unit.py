"""Events that a job in a child process asks for, alone or as a unit of work."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

import attrs

from horae.errors import HostError
from horae.payloads import to_json
from horae.registry import Entry
from horae.scheduling.process_protocol import dump_value
from horae.scheduling.tracker import BotEvents
from horae_hookspecs import EventOptions, ScheduleLike


@attrs.frozen
class Request:
    """What ``schedule`` was asked for, as it can be sent."""

    event_type: str
    arguments: str
    given: Mapping[str, list[Any]]

    @classmethod
    def of(
        cls,
        job: str | object,
        arguments: Mapping[str, Any] | None,
        schedule: ScheduleLike,
        options: EventOptions,
        types: Mapping[str, Entry],
    ) -> Self:
        """Raises TypeError for what cannot be sent, and InvalidArguments."""
        name, text = _payload(job, arguments, types)
        given: dict[str, object] = {"schedule": schedule, **options}
        return cls(name, text, {key: dump_value(value) for key, value in given.items()})

    def to_json(self) -> dict[str, Any]:
        """As the host's side reads it."""
        return attrs.asdict(self)


def _payload(
    job: str | object, arguments: Mapping[str, Any] | None, types: Mapping[str, Entry]
) -> tuple[str, str]:
    if isinstance(job, str):
        return job, to_json(arguments or {}, job)
    for entry in types.values():
        if entry.job.job_class is type(job):
            return entry.event_type, entry.job.dump(job)
    raise TypeError(
        f"{type(job).__qualname__} is no job of the plugin that runs here; in a child process "
        "other plugins' events are planned by type and arguments: schedule('other.type', {...})"
    )


class ChildUnit(BotEvents):
    """See ``horae_hookspecs.Tracker``; the host collects what this is given."""

    def __init__(
        self,
        call: Callable[..., Any],
        types: Mapping[str, Entry],
        origin: str | None,
        *,
        cancel_missing: bool,
    ) -> None:
        self._call = call
        self._types = types
        self._origin = origin
        self._cancel_missing = cancel_missing
        self._number: int | None = None
        self.ids = ()

    def __enter__(self) -> Self:
        self._number = self._call("open", origin=self._origin, cancel_missing=self._cancel_missing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call("close", unit=self._number, keep=error is None)

    def schedule(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        **options: Unpack[EventOptions],
    ) -> None:
        """Checked by the host now, and stored by it with the unit."""
        if self._number is None:
            raise HostError(
                "This tracker takes no events yet: with context.tracker() as tracker: ..."
            )
        request = Request.of(event_type, arguments, schedule, options, self._types)
        self._call("add", unit=self._number, **request.to_json())
