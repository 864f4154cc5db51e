"""What a host can do with events: the part of its face that scheduling owns."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Unpack

from horae.clock import from_micros
from horae.errors import EventNotFound, WaitTimeout
from horae.scheduling.control import EventControl
from horae.scheduling.filters import instants
from horae.scheduling.tracker import Unit
from horae.settings import Settings
from horae.stores.base import carry_out
from horae.stores.records import OVER, Added, NewEvent, Step
from horae_hookspecs import (
    Cause,
    Counts,
    EventOptions,
    Outcome,
    Page,
    Run,
    ScheduledEvent,
    ScheduleLike,
    State,
)

PAGE: Final = 100


class EventOperations(EventControl):
    """Schedule, read and control events; works on any host, started or not."""

    settings: Settings

    def schedule(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        *,
        allow_unknown: bool = False,
        connection: object | None = None,
        **options: Unpack[EventOptions],
    ) -> ScheduledEvent:
        """Store an event; once this returns, it survives ``kill -9`` and power loss.

        ``event_type`` is a type's name, or a job instance that brings its arguments. ``schedule``
        is a schedule, a datetime, a timedelta from now, a text form, or None for now. The other
        options are those of ``EventOptions``: key, on_conflict, unique_for, resource, resources,
        origin, user, description, priority, missed, absent.

        With ``connection``, an open connection of yours to the store's own database, the event is
        part of the transaction there: your commit stores it, your rollback takes it back, and no
        observer is told. Without a transaction on a connection in autocommit mode it is stored
        when this returns.

        Raises UnknownEventType, InvalidArguments, ScheduleError, UnknownSchedule, KeyTaken,
        SettingsError, StoreError; nothing was stored then.
        """
        new = self._planner.plan(
            event_type, arguments, schedule, allow_unknown=allow_unknown, **options
        )
        (added,) = self.store.add([new], connection)
        self._all_added([new], [added], connection)
        if added.created:
            return _fresh(new, added)
        event = self.store.get(added.id, connection)
        assert event is not None
        return event

    def schedule_many(
        self, requests: Iterable[Mapping[str, Any]], *, connection: object | None = None
    ) -> list[int]:
        """Store many events in one transaction, all or none; each a mapping of ``schedule``'s
        arguments by name. Gives their ids, in place of an event whose key is taken the id of the
        one that has it, and raises what ``schedule`` raises. ``connection`` is as there.
        """
        moment = self._planner.moment()
        events = [self._planner.plan(**request, moment=moment) for request in requests]
        return self._all_added(events, self.store.add(events, connection), connection)

    def tracker(self, origin: str | None = None, *, cancel_missing: bool = False) -> Unit:
        """A unit of work: what is scheduled in its block is stored together at its end, or not at
        all; see ``horae_hookspecs.Tracker``.

        ``cancel_missing`` says that the block names all resources that ``origin`` still wants
        events for: its pending ones for any other are cancelled in the same transaction, and
        those for several resources narrowed. Raises SettingsError when it has no origin.
        """
        return Unit(self._planner, self._carry_out, origin, cancel_missing=cancel_missing)

    def _carry_out(self, steps: Sequence[Step]) -> Sequence[int]:
        with self.store.transaction():
            added = carry_out(self.store, steps, self.clock.micros())
        return self._all_added([step for step in steps if isinstance(step, NewEvent)], added)

    def get(self, event_id: int) -> ScheduledEvent | None:
        """The event, or None."""
        return self.store.get(event_id)

    def events(
        self, *, limit: int = PAGE, after: int = 0, newest_first: bool = False, **filters: Any
    ) -> Page[ScheduledEvent]:
        """Stored events in order of their ids, a page at a time; needs no plugin.

        Filters are id, event_type, state, paused, key, resource, origin, user, priority,
        last_outcome and blocked; a list means any of its values. ``since`` and ``until`` bound
        when events were created, ``due_since`` and ``due_until`` when they are due, by aware
        datetimes, the ends excluded. The page's ``next`` is the ``after`` of the following one,
        also with ``newest_first``. Raises TypeError for an unknown filter and NaiveDatetimeError.
        """
        return self.store.events(instants(filters), limit, after, newest_first=newest_first)

    def runs(
        self, *, limit: int = PAGE, after: int = 0, newest_first: bool = False, **filters: Any
    ) -> Page[Run]:
        """Recorded runs in the order of their claims, like ``events``.

        Filters are id, event_id, claim, event_type, outcome, cause, resource, origin, user, host
        and plugin; ``since`` and ``until`` bound when runs started.
        """
        return self.store.runs(instants(filters), limit, after, newest_first=newest_first)

    def causes(self, **filters: Any) -> dict[Cause, int]:
        """Why runs did not succeed, and how many for each cause; filters as for ``runs``."""
        return self.store.causes(instants(filters))

    def wait(self, event_id: int, timeout: float | None = None) -> Run | None:
        """Wait until the event is over, or for one that recurs until an occurrence has ended.

        Gives the last run; None when there was none. Raises EventNotFound, and WaitTimeout.
        """
        before = self.store.last_run(event_id)
        seen = before.id if before and before.outcome else 0
        ended: list[Run | None] = []

        def has_ended() -> bool:
            event, last = self.store.get(event_id), self.store.last_run(event_id)
            if event is None:
                raise EventNotFound(event_id)
            over = event.state in (*OVER, State.QUARANTINED)
            if over or (last and last.id > seen and _ends_an_occurrence(last)):
                ended.append(last)
            return bool(ended)

        if not self._wait(has_ended, timeout):
            raise WaitTimeout(f"Event {event_id} was not over after {timeout} s.")
        return ended[0]

    def overview(self) -> dict[str, Counts]:
        """How many events there are of each type by state, and of its runs by outcome."""
        states: dict[str, dict[State, int]] = {}
        outcomes: dict[str, dict[Outcome, int]] = {}
        for (event_type, state), count in self.store.overview().items():
            states.setdefault(event_type, {})[state] = count
        for (event_type, outcome), count in self.store.outcomes().items():
            outcomes.setdefault(event_type, {})[outcome] = count
        return {
            name: Counts(states.get(name, {}), outcomes.get(name, {}))
            for name in sorted({*states, *outcomes})
        }

    def _all_added(
        self,
        events: Sequence[NewEvent],
        added: Sequence[Added],
        connection: object | None = None,
    ) -> list[int]:
        # In a caller's transaction nothing has happened yet; the engine sees its commit.
        for new, one in zip(events, added, strict=True) if connection is None else ():
            if one.created:
                self._added(new, one)
            elif one.replaced:
                self._changes(one.id)
        return [one.id for one in added]

    def _added(self, new: NewEvent, added: Added) -> None:
        if self._engine is not None:
            self._engine.scheduled(new.due)
        if "horae_event_scheduled" in self.registry.snapshot.observers:
            self.registry.observe("horae_event_scheduled", event=_fresh(new, added))

    def _wait(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        if self._engine is not None:
            return self._engine.wait(condition, timeout)
        until = None if timeout is None else time.monotonic() + timeout
        while not condition():
            if until is not None and time.monotonic() > until:
                return False
            time.sleep(self.settings.poll)
        return True


def _ends_an_occurrence(run: Run) -> bool:
    passing = (Outcome.SNOOZED, Outcome.RETURNED, Outcome.INTERRUPTED)
    return run.outcome is not None and run.outcome not in passing and not run.will_retry


def _fresh(new: NewEvent, added: Added) -> ScheduledEvent:
    """An event as it stands right after it was stored."""
    return ScheduledEvent(
        id=added.id,
        event_type=new.event_type,
        schema_version=new.schema_version,
        arguments=json.loads(new.arguments),
        schedule=json.loads(new.schedule),
        due=from_micros(new.due_for(added.id)),
        state=State.PENDING,
        paused=added.paused,
        attempt=0,
        key=new.key,
        resource=new.resource,
        origin=new.origin,
        description=new.description,
        priority=new.priority,
        created=from_micros(new.created),
        last_outcome=None,
        reason=None,
        user=new.user,
        resources=None if new.resources is None else tuple(json.loads(new.resources)),
    )
