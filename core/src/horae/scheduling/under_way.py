"""What is under way: every run that was claimed, until its outcome is settled.

A run is in one of three places: queued (handed to an executor, not begun), running, done (its
result waits for the next settle). It is moved between them under one lock, so whoever moves it owns
it. What is in none of them has been settled or given up, and whatever comes for it later is fenced.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from horae.scheduling.progress import ProgressNotes
from horae.scheduling.recurrence import Result
from horae.scheduling.runner import Room, RunnerWork
from horae.stores.records import Progress
from horae_hookspecs import Outcome

Key = tuple[int, int]
"""Event and claim."""

Ended = Sequence[tuple[RunnerWork, Result]]


class UnderWay:
    """The three places, how much room is taken, and how far the runs are."""

    def __init__(self) -> None:
        self._queued: dict[Key, RunnerWork] = {}
        self._running: dict[Key, RunnerWork] = {}
        self._done: deque[tuple[RunnerWork, Result]] = deque()
        self._ended_late: deque[Key] = deque()
        self._taken: Counter[Room] = Counter()
        self._notes = ProgressNotes()
        self._moving = threading.Lock()

    # -- how it stands

    def __bool__(self) -> bool:
        """Whether anything that was claimed is not settled yet."""
        return any(self._taken.values())

    @property
    def taken(self) -> Mapping[Room, int]:
        """How many places are taken in each room."""
        return self._taken

    @property
    def queued(self) -> list[RunnerWork]:
        """Those that were handed over and have not begun, in the order of their hand-over."""
        return list(self._queued.values())

    @property
    def running(self) -> list[RunnerWork]:
        """Those that have begun, in that order."""
        return list(self._running.values())

    @property
    def waiting(self) -> int:
        """How many are queued."""
        return len(self._queued)

    @property
    def ended(self) -> int:
        """How many wait for their settle."""
        return len(self._done)

    def oldest_queued(self) -> float | None:
        """Since when the first of the queued ones waits."""
        oldest = next(iter(list(self._queued.values())), None)
        return None if oldest is None else oldest.queued

    def runs(self, work: RunnerWork) -> bool:
        """Whether it has begun and not ended."""
        return work.key in self._running

    # -- from place to place

    def queue(self, work: RunnerWork) -> None:
        """It was claimed, and takes its place."""
        self._taken[work.room] += 1
        self._queued[work.key] = work

    def begin(self, work: RunnerWork, started: int, deadline: int | None) -> bool:
        """From the queue to the running ones; False when it was given back."""
        with self._moving:
            if self._queued.pop(work.key, None) is None:
                return False
            work.started, work.deadline = started, deadline
            self._running[work.key] = work
        return True

    def end(self, work: RunnerWork, result: Result) -> bool:
        """From the running ones to the done ones; False when it is not there any more."""
        return self._end(work, self._running, result)

    def end_unbegun(self, work: RunnerWork, result: Result) -> bool:
        """From the queue to the done ones."""
        return self._end(work, self._queued, result)

    def give_back(self, chosen: Callable[[RunnerWork], bool]) -> int:
        """End those of the queue that are ``chosen`` as returned; how many that were."""
        return sum(
            self.end_unbegun(work, work.result(Outcome.RETURNED))
            for work in self.queued
            if chosen(work)
        )

    def end_late(self, work: RunnerWork) -> None:
        """A run that was given up has come to its end after all: only now it leaves its gates."""
        self._ended_late.append(work.key)

    def _end(self, work: RunnerWork, place: dict[Key, RunnerWork], result: Result) -> bool:
        with self._moving:
            if place.pop(work.key, None) is None:
                return False
            self._done.append((work, result))
            return True

    # -- out

    def take(self) -> tuple[Ended, list[Key], Sequence[Progress]]:
        """What is to be settled, who has ended late, and the progress that is to be stored. Their
        places are free from now on.
        """
        # In this order: who ended late was among the done ones before.
        late = [self._ended_late.popleft() for _ in range(len(self._ended_late))]
        done = [self._done.popleft() for _ in range(len(self._done))]
        self._taken.subtract(Counter(work.room for work, _ in done))
        return done, late, self._told(done)

    def put_back(self, done: Ended, late: Sequence[Key], told: Sequence[Progress]) -> None:
        """It could not be stored."""
        self._ended_late.extendleft(reversed(late))
        self._taken.update(Counter(work.room for work, _ in done))
        self._done.extendleft(reversed(done))
        self._notes.put_back(told)

    def forget_done(self) -> None:
        """What could not be stored is rescued by the next start."""
        self._done.clear()
        self._taken.clear()

    # -- how far they are

    def note(self, work: RunnerWork, fraction: float, text: str) -> None:
        """The last word counts, and none that comes after the end."""
        with self._moving:
            if work.key in self._running:
                self._notes.note(Progress(*work.key, fraction, text))

    def until_note(self) -> float:
        """Seconds until progress is to be stored."""
        return self._notes.until_next()

    def _told(self, done: Iterable[tuple[RunnerWork, Any]]) -> Sequence[Progress]:
        told = self._notes.take(work.key for work, _ in done)
        works = [self._running.get(one[:2]) for one in told]
        return [
            one if work is None else one._replace(resources=work.resources_so_far())
            for one, work in zip(told, works, strict=True)
        ]
