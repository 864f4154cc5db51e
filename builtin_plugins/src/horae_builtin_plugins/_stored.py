"""The stored form: fields of plain JSON, read strictly."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from horae_builtin_plugins._text import length, read_instant
from horae_hookspecs import ScheduleError

LENGTH: Final[Mapping[str, type]] = {"seconds": int, "microseconds": int}
"""The fields that a length is stored as."""


def read_stored(kind: str, data: Mapping[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
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
    return read_instant(str(value), example="2026-12-24T17:00:00+00:00") if is_instant else value


def stored_length(value: timedelta) -> dict[str, Any]:
    """Whole seconds, and microseconds if there are any: exact, unlike a float of seconds."""
    seconds, rest = divmod(value, timedelta(seconds=1))
    return {"seconds": seconds} | ({"microseconds": rest // timedelta.resolution} if rest else {})


def take_length(kind: str, fields: Mapping[str, Any]) -> timedelta:
    """The length stored as ``fields``. Raises ScheduleError without seconds."""
    if "seconds" not in fields:
        raise ScheduleError(f"A stored {kind} needs seconds.", value=fields)
    return length(**fields)
