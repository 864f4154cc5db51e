"""What every row needs: sizes, fresh databases, alternating rounds, and lines of the table."""

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from benchmarks.plugin import NOOP
from horae.clock import to_micros
from horae.stores.records import NewEvent

MODES: Final = ("FULL", "NORMAL")
"""The two settings of ``synchronous`` that a store URL knows."""

FAR: Final = datetime(2100, 1, 1, tzinfo=UTC)


@attrs.frozen
class Sizes:
    """How much of everything a run takes."""

    rounds: int
    one_by_one: int
    bulk: int
    drain: int
    seconds: int
    """Length of the lateness row."""
    pending: int
    """Events that lie in the store and must cost nothing."""


QUICK: Final = Sizes(3, one_by_one=2_000, bulk=100_000, drain=20_000, seconds=3, pending=50_000)
FULL: Final = Sizes(7, one_by_one=10_000, bulk=100_000, drain=20_000, seconds=20, pending=1_000_000)


@attrs.frozen
class Line:
    """One line of the table; ``met`` is None where the design sets no target."""

    row: str
    unit: str
    horae: float | None
    bare: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """What horae reaches of the figure beside it."""
        return self.horae / self.bare if self.horae is not None and self.bare else None


@attrs.frozen
class Bench:
    """What a row is given: how much to do, and where."""

    sizes: Sizes
    folder: Path
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    def file(self) -> Path:
        """The path of a database that is not there yet."""
        return self.folder / f"bench-{next(self._numbers)}.db"

    def url(self, synchronous: str = "FULL") -> str:
        """The URL of a store that is not there yet."""
        return f"sqlite:///{self.file()}?synchronous={synchronous}"


Row = Callable[[Bench], Iterator[Line]]


def alternate(
    rounds: int, horae: Callable[[], float], bare: Callable[[], float]
) -> tuple[float, float]:
    """The medians of both, taken in turns, so that a busy minute of the machine hits both."""
    pairs = [(horae(), bare()) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def seconds(action: Callable[[], object]) -> float:
    """How long ``action`` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def rank(values: list[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def new_event(due: datetime = FAR, event_type: str = NOOP) -> NewEvent:
    """An event as ``Host.schedule`` would store it, for filling a store quickly."""
    return NewEvent(
        event_type=event_type,
        schema_version=1,
        kind="once",
        arguments="{}",
        schedule=f'{{"kind":"once","when":"{due.isoformat()}"}}',
        due=to_micros(due),
        created=to_micros(datetime.now(UTC)),
    )


def soon(wait: float) -> datetime:
    """The instant ``wait`` seconds from now."""
    return datetime.now(UTC) + timedelta(seconds=wait)


def sleep_until(instant: datetime) -> None:
    """Return when the clock shows ``instant``."""
    time.sleep(max(0.0, instant.timestamp() - time.time()))


def fsync_median(folder: Path, times: int = 50) -> float:
    """Seconds that the disk takes to make 4 KiB durable."""
    path = folder / "fsync"
    with path.open("wb", buffering=0) as file:

        def write() -> None:
            file.write(bytes(4096))
            os.fsync(file.fileno())

        taken = [seconds(write) for _ in range(times)]
    path.unlink()
    return statistics.median(taken)
