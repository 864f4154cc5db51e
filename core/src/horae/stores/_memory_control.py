"""What a command changes of the events in the dictionary store: the verbs under "control"."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from horae.clock import from_micros, to_micros
from horae.stores import _filters
from horae.stores._filters import EVENTS
from horae.stores._memory_data import MemoryData
from horae.stores._memory_rows import Event, claim_of
from horae.stores.records import (
    MAX_INTERRUPTIONS,
    OVER,
    PAUSE_BITS,
    CancelMissing,
    Change,
    Planned,
    still_named,
)
from horae_hookspecs import Outcome, PauseField, ScheduledEvent, State


class MemoryControl(MemoryData):
    """The part of ``MemoryStore`` that cancels, pauses, and changes events."""

    def _live(self, event_id: int) -> Event | None:
        event = self._data.events.get(event_id)
        return None if event is None or event.state in OVER else event

    def cancel(self, event_id: int, reason: str, now: int) -> bool:
        """By state."""
        with self._lock:
            event = self._live(event_id)
            if event is not None:
                self._cancel([event], reason, now)
            return event is not None

    def _cancel(self, events: Sequence[Event], reason: str, now: int) -> None:
        for event in events:
            event.reason = reason
            if event.state is State.RUNNING:
                event.cancel_requested, event.following = True, None
            else:
                event.state, event.due, event.blocked = State.CANCELLED, None, None
                event.ended = now
                event.last_outcome = event.last_outcome or Outcome.CANCELLED
        self._gates.give_way(self._data, [event.id for event in events])

    def cancel_missing(self, missing: CancelMissing, now: int) -> list[int]:
        """By origin, then by resource."""
        over = []
        with self._lock:
            for event in self._data.events.values():
                if event.state is State.PENDING and event.new.origin == missing.origin:
                    resource, resources = event.new.resource, event.new.resources
                    left = resources and still_named(missing, resources)
                    if left:
                        event.new = attrs.evolve(event.new, resources=left)
                    elif resources or (resource is not None and resource not in missing.resources):
                        over.append(event)
            self._cancel(over, missing.reason, now)
        return [event.id for event in over]

    def cancel_all(self, filters: Mapping[str, Any], reason: str, now: int) -> int:
        """What the listing would find."""
        _filters.refuse_unknown(filters, EVENTS.filters)
        with self._lock:
            live = [event for event in self._data.events.values() if event.state not in OVER]
            found = [one for one in live if _filters.matches(self._model(one), EVENTS, filters)]
            self._cancel(found, reason, now)
        return len(found)

    def pause(self, event_id: int, paused: bool) -> bool:
        """A bit."""
        with self._lock:
            event = self._live(event_id)
            if event is not None:
                self._mark([event], None, paused=paused)
            return event is not None

    def add_pause(self, field: PauseField, value: str, now: int) -> bool:
        """An entry, and a bit in each of its events."""
        with self._lock:
            known = (field, value) in self._data.pauses
            self._data.pauses.setdefault((field, value), now)
            self._mark_all(field, value, paused=True)
            return not known

    def remove_pause(self, field: PauseField, value: str) -> bool:
        """The same backwards."""
        with self._lock:
            known = self._data.pauses.pop((field, value), None) is not None
            self._mark_all(field, value, paused=False)
            return known

    def _mark_all(self, field: PauseField, value: str, *, paused: bool) -> None:
        if field in PAUSE_BITS:
            live = [event for event in self._data.events.values() if event.state not in OVER]
            found = [event for event in live if getattr(event.new, field) == value]
            self._mark(found, field, paused=paused)

    def _mark(self, events: Sequence[Event], field: PauseField | None, *, paused: bool) -> None:
        bit = PAUSE_BITS[field]
        for event in events:
            event.paused, event.blocked = event.paused & ~bit | bit * paused, None
        self._gates.give_way(self._data, [event.id for event in events])

    def run_now(self, event_id: int, now: int) -> bool:
        """An occurrence that is overdue stays what it is."""
        with self._lock:
            event = self._live(event_id)
            if event is None or event.state is State.RUNNING:
                return False
            event.state, event.due = State.PENDING, now
            event.occurrence = min(event.occurrence or now, now)
            event.interruptions, event.reason, event.blocked = 0, None, None
            event.paused &= ~PAUSE_BITS[None]
            return True

    def change(self, event_id: int, change: Change) -> bool:
        """What is given, in place."""
        with self._lock:
            event = self._live(event_id)
            moves = change.schedule is not None
            if event is None or (moves and event.cancel_requested):
                return False
            given = {name: v for name, v in change.columns().items() if v is not None}
            names = ("event_type", "schema_version", "kind")
            given |= {name: v for name in names if (v := getattr(change, name)) is not None}
            event.new = attrs.evolve(event.new, **given)
            changes_lane = self._change_lane(event)
            if change.due is not None and change.occurrence is not None:
                self._move(event, change.due, change.occurrence)
            elif change.arguments is not None and event.state is State.QUARANTINED:
                event.state, event.reason = State.PENDING, None
                event.interruptions = event.attempt = 0
            if moves or changes_lane:
                self._gates.give_way(self._data, [event.id])
            return True

    def _change_lane(self, event: Event) -> bool:
        lane = self._lane(event.new)
        if event.lane == lane:
            return False
        event.lane, event.blocked = lane, None
        return True

    def _follow(self, event: Event) -> bool:
        """What the event was changed to while it ran comes into force; whether there is any."""
        if event.following is None:
            return False
        (event.due, event.occurrence), event.following = event.following, None
        event.attempt, event.covered, event.resource_outcomes, event.ended = 0, None, None, None
        if event.state is not State.QUARANTINED or event.interruptions < MAX_INTERRUPTIONS:
            event.state, event.reason = State.PENDING, None
        return True

    def planned(self, event_id: int) -> Planned | None:
        """A look-up."""
        with self._lock:
            event = self._live(event_id)
            return None if event is None else self._planned(event)

    def earliest(self, limit: int) -> list[Planned]:
        """A sort over all ready events."""
        with self._lock:
            ready = [
                event
                for event in self._data.events.values()
                if event.state is State.PENDING and not self._held_back(event)
            ]
            ready.sort(key=lambda event: (event.due, event.id))
            planned = [self._planned(event) for event in ready[:limit]]
        return [one for one in planned if one is not None]

    def _planned(self, event: Event) -> Planned | None:
        running = event.state is State.RUNNING
        ends = event.cancel_requested and event.following is None
        due, occurrence = event.following or (event.due, event.occurrence)
        if ends or due is None or occurrence is None or event.state is State.QUARANTINED:
            return None
        claim = claim_of(attrs.evolve(event, due=due, occurrence=occurrence))
        if event.following is not None:
            return Planned(claim._replace(covered=None, attempt=0), event.lane.event_type, None)
        run = self._data.runs[event.id, event.claim] if running else None
        started = None if run is None else to_micros(run.started)
        return Planned(claim, event.lane.event_type, started)

    def _model(self, event: Event) -> ScheduledEvent:
        new = event.new
        return ScheduledEvent(
            id=event.id,
            event_type=event.lane.event_type,
            schema_version=event.lane.schema_version,
            arguments=json.loads(new.arguments),
            schedule=json.loads(new.schedule),
            due=None if event.due is None else from_micros(event.due),
            state=event.state,
            paused=self._held_back(event),
            attempt=event.attempt,
            key=new.key,
            resource=new.resource,
            origin=new.origin,
            description=new.description,
            priority=new.priority,
            created=from_micros(new.created),
            last_outcome=event.last_outcome,
            reason=event.reason,
            user=new.user,
            resources=None if new.resources is None else tuple(json.loads(new.resources)),
            blocked=event.blocked,
        )
