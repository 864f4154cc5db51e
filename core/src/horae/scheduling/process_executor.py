"""The executor ``process``: each run in a child process, which can be ended whatever it does.

A child is a fresh interpreter for one generation of a plugin. It runs one job at a time and is
used again for the next; when its generation goes, or it has been idle for a while, it is ended.
"""

import functools
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

import attrs

from horae import logs
from horae.registry import Generation
from horae.scheduling.children import PATIENCE, Child
from horae.scheduling.process_attempt import ProcessAttempt
from horae.scheduling.runner import RunnerWork
from horae_hookspecs import Executor, Work

AVAILABLE: Final = hasattr(os, "fork") and hasattr(os, "waitid")
"""Whether children can be kept on this system; elsewhere nobody has this executor."""

IDLE: Final = 60.0
"""Seconds after which a child that has nothing to do is ended."""

Works = queue.SimpleQueue[RunnerWork | None]


@attrs.define(eq=False)
class _Seat:
    """A run under way, and the child that it is in."""

    child: Child | None = None
    given_up: bool = False


class ProcessExecutor(Executor):
    """As many child processes at once as ``capacity`` says, each attended to by a thread here, and
    a quarter as many for types that would find them all taken.

    ``outdated`` are the generations that no child can have any more, since something else is
    installed in their place; their events wait until the host has loaded that too.
    """

    def __init__(self, capacity: int) -> None:
        self.outdated: frozenset[Generation] = frozenset()
        self._capacity = capacity
        self._spare = max(1, capacity // 4) if capacity > 1 else 0
        self._queue: Works = queue.SimpleQueue()
        self._spare_queue: Works = queue.SimpleQueue()
        self._threads: dict[threading.Thread, Works] = {}
        self._endings: list[threading.Thread] = []
        self._lock = threading.Condition()
        self._seats: dict[Work, _Seat] = {}
        self._idle: list[Child] = []
        self._current: Collection[Generation] = ()

    def start(self) -> None:
        """Nothing: the threads and the children come with the first runs."""

    def capacity(self) -> int:
        """As many as there may be children at work."""
        return self._capacity

    def spare(self) -> int:
        """A quarter, as for threads."""
        return self._spare

    def submit(self, work: Work) -> None:
        """Whichever thread is free takes it."""
        assert isinstance(work, RunnerWork)
        if not self._threads:
            for works in [self._queue] * self._capacity + [self._spare_queue] * self._spare:
                self._threads[self._thread(functools.partial(self._serve, works))] = works
        (self._spare_queue if work.spare else self._queue).put(work)

    def replace(self, work: Work) -> None:
        """End the child with all that it has started; the next run gets another."""
        with self._lock:
            seat = self._seats.get(work)
            if seat is not None:
                seat.given_up = True
                if seat.child is not None:
                    seat.child.end()

    def cancel(self, work: Work) -> None:
        """Pass it on to the child."""
        assert isinstance(work, RunnerWork)
        with self._lock:
            seat = self._seats.get(work)
            if seat is not None and seat.child is not None:
                seat.child.cancel(work.key)

    def wait_ended(self, works: Collection[Work]) -> None:
        """Wait until none of these, which were given up, has a child any more."""
        with self._lock:
            self._lock.wait_for(lambda: self._seats.keys().isdisjoint(works), 2 * PATIENCE)

    def keep(self, generations: Collection[Generation]) -> None:
        """Only these are loaded: end the children of all others, busy ones after their run."""
        with self._lock:
            self._current = generations
            if not self.outdated <= set(generations):
                self.outdated = self.outdated.intersection(generations)
            self._dismiss([child for child in self._idle if child.generation not in generations])

    def stop(self) -> None:
        """End all children, and wait until they have ended."""
        for works in self._threads.values():
            works.put(None)
        with self._lock:
            self._current = ()
            self._dismiss(self._idle)
        until = time.monotonic() + 2 * PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for thread in self._endings:  # only now: what served may have had a child to end
            thread.join(max(0.0, until - time.monotonic()))

    # -- the threads

    def _thread(self, target: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=target, name="horae-process", daemon=True)
        thread.start()
        return thread

    def _serve(self, works: Works) -> None:
        while (work := self._next(works)) is not None:
            with self._lock:
                self._seats[work] = _Seat()
            work.run_as(ProcessAttempt(work, self))
            with self._lock:
                del self._seats[work]
                self._lock.notify_all()
            del work  # else this frame would hold the plugin's code until the next run

    def _next(self, works: Works) -> RunnerWork | None:
        while True:
            try:
                return works.get(timeout=IDLE if self._idle else None)
            except queue.Empty:
                with self._lock:
                    until = time.monotonic() - IDLE
                    self._dismiss([child for child in self._idle if child.idle_since <= until])

    # -- the children

    @contextmanager
    def child_for(self, work: RunnerWork) -> Iterator[Child]:
        """A child with the code of ``work``; it is used again if it has done what it was told."""
        seat = self._seats[work]
        child = self._warm(work.entry.generation) or Child(work.entry.generation)
        with self._lock:
            seat.child = child
            if seat.given_up:
                child.end()
        try:
            yield child
        finally:
            with self._lock:
                seat.child = None
                if child.run is None and child.generation in self._current and not seat.given_up:
                    child.idle_since = time.monotonic()
                    self._idle.append(child)
                else:
                    self._end(child)

    def _warm(self, generation: Generation) -> Child | None:
        """An idle child of this generation; else there is room for a new one."""
        with self._lock:
            self._dismiss([child for child in self._idle if not child.alive])
            for child in reversed(self._idle):
                if child.generation is generation:
                    self._idle.remove(child)
                    return child
            busy = sum(seat.child is not None for seat in self._seats.values())
            too_many = busy + len(self._idle) + 1 - (self._capacity + self._spare)
            self._dismiss(self._idle[: max(0, too_many)])
        return None

    def outdate(self, generation: Generation, reason: str) -> None:
        """Take note that no new child has the code of ``generation``."""
        with self._lock:
            known = generation in self.outdated
            self.outdated |= {generation}
        if not known:
            logs.get().error(
                "process.outdated",
                plugin=generation.plugin,
                generation=generation.number,
                reason=reason,
                remedy=f"horae plugin upgrade {generation.plugin}",
            )

    def _dismiss(self, children: Collection[Child]) -> None:
        """End idle children; called with the lock."""
        for child in tuple(children):
            self._idle.remove(child)
            self._end(child)

    def _end(self, child: Child) -> None:
        """End a child, without waiting for it; called with the lock."""
        child.end()
        self._endings = [thread for thread in self._endings if thread.is_alive()]
        self._endings.append(self._thread(child.close))
