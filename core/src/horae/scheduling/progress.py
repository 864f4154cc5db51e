"""How far runs are: what jobs tell, kept until the engine's next turn may store it."""

import math
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final

from horae.stores.records import Progress

EVERY: Final = 0.25
"""Seconds between two notes in the store, however often jobs tell how far they are."""


class ProgressNotes:
    """The last word of each run that was not stored yet; may be used from any thread."""

    def __init__(self) -> None:
        self._notes: dict[tuple[int, int], Progress] = {}
        self._stored = -math.inf
        self._lock = threading.Lock()

    def note(self, progress: Progress) -> None:
        """Remember how far a run is, in place of what it said before."""
        with self._lock:
            self._notes[progress[:2]] = progress

    def take(self, ended: Iterable[tuple[int, int]]) -> Sequence[Progress]:
        """What is to be stored now: the last words of the runs that ended, and those of all
        others as well if it is time.
        """
        if not self._notes:
            return ()
        with self._lock:
            if self.until_next() > 0:
                return [self._notes.pop(key) for key in ended if key in self._notes]
            taken, self._notes = self._notes, {}
            self._stored = time.monotonic()
            return list(taken.values())

    def put_back(self, notes: Iterable[Progress]) -> None:
        """These could not be stored; what was said since counts more."""
        with self._lock:
            self._notes = {note[:2]: note for note in notes} | self._notes

    def until_next(self) -> float:
        """Seconds until there is something to store."""
        return self._stored + EVERY - time.monotonic() if self._notes else math.inf
