"""Many events from lines of JSON, stored a thousand at a time."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, BinaryIO, Final

import click

from horae.cli.progress import progress, size_of
from horae.errors import StoreError
from horae.host import Host
from horae_hookspecs import HoraeError

BATCH: Final = 1000
"""Lines stored in one transaction."""

_FIELDS: Final[dict[str, type]] = {
    "event_type": str,
    "arguments": dict,
    "schedule": str,
    "key": str,
    "resource": str,
    "resources": list,
    "origin": str,
    "description": str,
    "priority": int,
    "allow_unknown": bool,
}


def store_lines(host: Host, file: BinaryIO) -> list[int]:
    """Store an event for each line of ``file``; their ids.

    Raises ClickException, naming the line, for the first that is wrong; of its batch nothing is
    stored then, while the batches before are.
    """
    ids: list[int] = []
    with progress("Scheduling", size_of(file)) as advance:
        lines = _Lines(file)
        while batch := lines.take(BATCH, host, advance):
            ids += batch
    return ids


class _Lines:
    """Reads requests, and knows at which line it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = enumerate(file, start=1)
        self._number = 0

    def take(self, count: int, host: Host, advance: Callable[[int], None]) -> list[int]:
        """Store the next lines, up to ``count``, as one batch."""
        before = self._number
        try:
            return host.schedule_many(islice(self._requests(advance), count))
        except StoreError:
            raise  # no line is to blame
        except (HoraeError, ValueError, RecursionError) as error:
            raise click.ClickException(
                f"Line {self._number}: {error}\nNothing from line {before + 1} on was stored"
                f"{f'; lines 1 to {before} are' if before else ''}."
            ) from None

    def _requests(self, advance: Callable[[int], None]) -> Iterator[dict[str, Any]]:
        for number, line in self._lines:
            self._number = number
            advance(len(line))
            if line.strip():
                yield _request(line)


def _request(line: bytes) -> dict[str, Any]:
    """The arguments of ``Host.schedule`` that a line holds. Raises ValueError."""
    try:
        request = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(request, dict) or "event_type" not in request:
        raise ValueError("it is no JSON object with an event_type")
    for name, value in request.items():
        _check(name, value)
    return request


def _check(name: str, value: object) -> None:
    if name not in _FIELDS:
        raise ValueError(f"there is no field {name!r}; known are {', '.join(_FIELDS)}")
    kind = _FIELDS[name]
    optional = name not in ("event_type", "priority", "allow_unknown")
    if type(value) is not kind and not (optional and value is None):
        raise ValueError(f"{name} must be {kind.__name__}, not {value!r}")
