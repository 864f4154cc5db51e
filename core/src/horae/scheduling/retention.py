"""Retention: how long history is kept, and the ordinary event that deletes what is older.

The event is stored when there is something to delete for the first time, so that a young store has
none; from then on it recurs like any other, and its own history goes by the same rules.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Final

import attrs

from horae.clock import Clock
from horae.scheduling.requests import Planner
from horae.settings import Retention
from horae.stores.base import Store
from horae.stores.records import Pruned, Stale
from horae_hookspecs import RunContext, ScheduledEventRegistryWrapper, State

EVENT_TYPE: Final = "horae.retention"
"""The type, and the key of its one event."""

ORIGIN: Final = "horae"

BATCH: Final = 1000
"""The most rows that one transaction deletes."""

HOUR: Final = 3_600_000_000
"""How often it runs, and is looked for, in microseconds."""

LIVING: Final = (State.PENDING, State.RUNNING, State.QUARANTINED)


class Caretaker:
    """Sees to it that the event is there when it is needed, and its type with it: ``publish``
    makes that known.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rules: Mapping[str, Retention],
        planner: Planner,
        publish: Callable[[ScheduledEventRegistryWrapper], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._planner = planner
        self._publish = publish
        self._looked: int | None = None
        self._types = ScheduledEventRegistryWrapper()
        self._types.register(EVENT_TYPE)(self._retention)
        self._is_published = False

    def look(self) -> bool:
        """Store the event if anything is old enough to go; whether it did. Looks once an hour."""
        now, since = self._clock.micros(), self._looked
        if since is not None and abs(now - since) < HOUR:
            return False
        self._looked = now
        stored = self._stored()
        if not stored and not any(map(self._any_stale, self._stale())):
            return False
        if not self._is_published:
            self._publish(self._types)
            self._is_published = True
        if stored:
            return False
        new = self._planner.plan(
            EVENT_TYPE, None, "every 1h", key=EVENT_TYPE, origin=ORIGIN, priority=3
        )
        (added,) = self._store.add([attrs.evolve(new, due=now)])  # the first time at once
        return added.created

    def _stored(self) -> bool:
        living = {"key": EVENT_TYPE, "origin": ORIGIN, "state": LIVING}
        return bool(self._store.events(living, 1).items)

    def _stale(self) -> Iterator[Stale]:
        """What is to go of each type by its rule, now."""
        for event_type in dict.fromkeys(lane.event_type for lane in self._store.lanes()):
            rule = self._rules.get(event_type) or self._rules.get("*")
            if rule is not None and (rule.age, rule.count) != (None, None):
                yield self._stale_of(event_type, rule)

    def _stale_of(self, event_type: str, rule: Retention) -> Stale:
        before = None
        if rule.age is not None:
            before = self._clock.micros() - rule.age // timedelta(microseconds=1)
        upto = None if rule.count is None else self._store.surplus(event_type, rule.count)
        return Stale(event_type, before, upto, rule.count)

    def _any_stale(self, stale: Stale) -> bool:
        return any(found.events or found.runs for found in _batches(self._store.prunable, stale))

    def _retention(self, context: RunContext) -> dict[str, int]:
        """Delete old history, a batch at a time; how many events and runs went."""
        events = runs = 0
        todo = list(self._stale())
        for n, stale in enumerate(todo):
            for batch in _batches(self._prune, stale):
                events, runs = events + batch.events, runs + batch.runs
                context.progress(n / len(todo), f"{events} events and {runs} runs deleted")
                if context.cancelled:
                    return {"events": events, "runs": runs}
        return {"events": events, "runs": runs}

    def _prune(self, stale: Stale, after: int, limit: int) -> Pruned:
        """A batch; then the store is left to others for as long as that had kept them waiting."""
        began = time.monotonic()
        pruned = self._store.prune(stale, after, limit)
        time.sleep(time.monotonic() - began)
        return pruned


def _batches(verb: Callable[[Stale, int, int], Pruned], stale: Stale) -> Iterator[Pruned]:
    after: int | None = 0
    while after is not None:
        batch = verb(stale, after, BATCH)
        after = batch.next
        yield batch
