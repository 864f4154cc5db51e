"""What a host and its child processes say to each other: JSON lines on two pipes, no pickles.

From the host: ``load`` (once), ``run``, ``cancel``, ``answer``. From the child: ``ready`` or
``refused`` or ``broken`` (once), and for each run any number of ``log``, ``call`` and ``turn``,
then one ``done``. The host answers each ``call`` and ``turn``. Every message about a run names it,
so that whatever a thread of the job says after its run's end reaches no other.
"""

import builtins
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any, Final

from horae import errors
from horae.errors import HostError, summarise
from horae.scheduling.recurrence import dump_missed, dump_schedule, load_missed, load_schedule
from horae_hookspecs import Missed, Schedule, ScheduleError
from horae_hookspecs import errors as plugin_errors

Message = dict[str, Any]

_FAMILIES: Final[tuple[ModuleType, ...]] = (errors, plugin_errors, builtins)


def encode_message(kind: str, content: object, run: object = None) -> bytes:
    """One line."""
    return json.dumps([kind, content, run]).encode() + b"\n"


def decode_message(line: bytes) -> tuple[str, Any, Any]:
    """The kind of a message, its content, and the run it belongs to."""
    kind, content, run = json.loads(line)
    return kind, content, run


def dump_value(value: object) -> list[Any]:
    """Whatever ``schedule`` takes as a schedule or an option, as JSON. Raises TypeError."""
    if isinstance(value, Schedule):
        return ["schedule", dump_schedule(value)]
    if isinstance(value, datetime):
        return ["datetime", value.isoformat()]
    if isinstance(value, timedelta):
        return ["duration", value // timedelta.resolution]
    if isinstance(value, Missed):
        return ["missed", dump_missed(value)]
    json.dumps(value)
    return ["plain", value]


def load_value(dumped: list[Any], kinds: Mapping[str, type[Schedule]]) -> Any:
    """What ``dump_value`` was given. Raises ScheduleError for a kind that is not loaded."""
    form, value = dumped
    if form == "schedule":
        return _schedule(value, kinds)
    if form == "datetime":
        return datetime.fromisoformat(value)
    if form == "duration":
        return timedelta(microseconds=value)
    return load_missed(value) if form == "missed" else value


def _schedule(text: str, kinds: Mapping[str, type[Schedule]]) -> Schedule:
    schedule = load_schedule(text, kinds)
    if schedule is None:
        raise ScheduleError(f"The host has not loaded the schedule kind of {text}.", value=text)
    return schedule


def dump_error(error: BaseException) -> dict[str, Any]:
    """An error as JSON: its class by name, its text, and those of its attributes that are JSON."""
    attributes = {name: value for name, value in vars(error).items() if _plain(value)}
    try:
        text = str(error)
    except Exception:
        text = summarise(error)
    return {"kind": type(error).__name__, "text": text, "attributes": attributes}


def load_error(dumped: Mapping[str, Any]) -> Exception:
    """The error again, if its class is Python's or horae's; else a HostError that names it."""
    found = (vars(family).get(dumped["kind"]) for family in _FAMILIES)
    kind = next((one for one in found if isinstance(one, type)), None)
    if kind is None or not issubclass(kind, Exception):
        return HostError(f"{dumped['kind']}: {dumped['text']}")
    # Not by calling the class: each has its own arguments, and the text is made of them already.
    error = kind.__new__(kind)
    error.args = (dumped["text"],)
    vars(error).update(dumped["attributes"])
    return error


def _plain(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
