"""How events get into the dictionary store, and its transactions."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import attrs

from horae.clock import from_micros
from horae.errors import KeyTaken, StoreUnsupported
from horae.stores._memory_gates import MemoryGates
from horae.stores._memory_rows import Data, Event
from horae.stores.records import FURTHEST, OVER, PAUSE_BITS, Added, Lane, NewEvent
from horae_hookspecs import Pause, State


class MemoryData:
    """The part of ``MemoryStore`` that keeps everything, and adds events."""

    def __init__(self) -> None:
        self._data = Data()
        self._listed: tuple[Lane, ...] = ()
        self._lock = threading.RLock()
        self._gates = MemoryGates()
        self._depth = 0

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to let go of; the data stays as long as the store."""

    def before_fork(self) -> None:
        """Nobody is half way through a change when the copy is made."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """The child has a copy of its own."""
        self._lock = threading.RLock()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """On an error, everything is as it was before the outermost block."""
        with self._lock:
            before = deepcopy(self._data) if not self._depth else None
            self._depth += 1
            try:
                yield
            except BaseException:
                self._data = before or self._data
                self._listed = ()
                raise
            finally:
                self._depth -= 1

    def add(self, events: Sequence[NewEvent], connection: object | None = None) -> list[Added]:
        """One by one; a key that is taken takes back those before it."""
        refuse_connection(connection)
        may_fail = any(event.on_conflict == "error" for event in events)
        with self.transaction() if may_fail else self._lock:
            added = [self._add(event) for event in events]
            self._gates.give_way(self._data, [one.id for one in added if one.replaced])
            return added

    def _add(self, new: NewEvent) -> Added:
        holder = None if new.key is None else self._holder(new)
        if holder is None:
            return self._insert(new)
        if holder.state not in OVER and new.on_conflict == "replace":
            self._replace(holder, new)
            return Added(holder.id, created=False, replaced=True)
        if new.on_conflict == "error":
            raise KeyTaken(str(new.key), new.origin, holder.id)
        return Added(holder.id, created=False)

    def _holder(self, new: NewEvent) -> Event | None:
        """Who holds the key, or held it last and not too long ago."""
        name = (new.key, new.origin)
        found = [e for e in self._data.events.values() if (e.new.key, e.new.origin) == name]
        live = [event for event in found if event.state not in OVER]
        last = [
            event for event in found[-1:] if event.new.created >= (new.unique_since or FURTHEST)
        ]
        return next(iter(live + last), None)

    def _insert(self, new: NewEvent) -> Added:
        event_id = self._data.last_event = self._data.last_event + 1
        event = Event(event_id, self._lane(new), new, new.due_for(event_id), new.due)
        event.paused = self._rules(new)
        self._data.events[event_id] = event
        return Added(event_id, created=True, paused=self._held_back(event))

    def pauses(self) -> list[Pause]:
        """Sorted."""
        with self._lock:
            rules = sorted(self._data.pauses.items())
        return [Pause(field, value, from_micros(since)) for (field, value), since in rules]

    def _held_back(self, event: Event) -> bool:
        rule = ("event_type", event.lane.event_type)
        return event.state not in OVER and (event.paused > 0 or rule in self._data.pauses)

    def _replace(self, event: Event, new: NewEvent) -> None:
        event.lane, event.paused = self._lane(new), event.paused & 1 | self._rules(new)
        event.new = attrs.evolve(new, created=event.new.created)
        self._move(event, new.due_for(event.id), new.due)

    def _move(self, event: Event, due: int, occurrence: int) -> None:
        """Another occurrence takes the place of the one that was to come."""
        if event.state is State.RUNNING:
            event.following = (due, occurrence)
            return
        event.state, event.due, event.occurrence = State.PENDING, due, occurrence
        event.attempt = event.interruptions = 0
        event.covered = event.resource_outcomes = event.reason = event.blocked = None

    def _lane(self, new: NewEvent) -> Lane:
        name = (new.event_type, new.schema_version, new.kind)
        return self._data.lanes.setdefault(name, Lane(len(self._data.lanes) + 1, *name))

    def _rules(self, new: NewEvent) -> int:
        """The bits of the rules that hold for the event."""
        pauses, bits = self._data.pauses, PAUSE_BITS
        return sum(
            bits[field]
            for field in ("origin", "resource")
            if (field, getattr(new, field)) in pauses
        )

    def lanes(self) -> Sequence[Lane]:
        """In order of first use."""
        with self._lock:
            if len(self._listed) != len(self._data.lanes):
                self._listed = tuple(self._data.lanes.values())
            return self._listed


def refuse_connection(connection: object | None) -> None:
    """Raise StoreUnsupported where a caller's transaction was to be joined."""
    if connection is not None:
        raise StoreUnsupported(
            "The memory store has no database whose transactions could be joined: leave out "
            "connection=, or use a store in a file (sqlite:///...)."
        )
