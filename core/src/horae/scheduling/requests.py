"""From what a caller asks for to what is stored: types looked up, arguments checked, time fixed."""

import difflib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from horae.clock import Clock, to_micros
from horae.errors import SettingsError, UnknownEventType, UnknownSchedule
from horae.payloads import to_json
from horae.registry import Entry, Registry
from horae.scheduling.recurrence import dump_schedule
from horae.stores.base import PRIORITIES, NewEvent, Store
from horae_hookspecs import Schedule, ScheduleError, ScheduleLike


class Planner:
    """Turns requests into events; the same for hosts, clients and running jobs."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        kinds: Callable[[], Mapping[str, type[Schedule]]],
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._kinds = kinds

    def plan(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        *,
        key: str | None = None,
        resource: str | None = None,
        origin: str | None = None,
        description: str | None = None,
        priority: int = 1,
        allow_unknown: bool = False,
    ) -> NewEvent:
        """The event that the arguments of ``Host.schedule`` ask for; raises what that raises."""
        if priority not in PRIORITIES:
            raise SettingsError(f"priority={priority!r} is none of 0 (first), 1, 2, 3 (last).")
        now = self._clock.now()
        name, version, text = self._payload(event_type, arguments, allow_unknown)
        when = self._schedule(schedule, now).anchored(now)
        first = when.first_from(now)
        if first is None:
            raise ScheduleError(f"{when} never comes due from now on.", value=when)
        return NewEvent(
            event_type=name,
            schema_version=version,
            kind=when.kind,
            arguments=text,
            schedule=dump_schedule(when),
            due=to_micros(first),
            created=to_micros(now),
            key=key,
            resource=resource,
            origin=origin,
            description=description,
            priority=priority,
        )

    def _payload(
        self, event_type: str | object, arguments: Mapping[str, Any] | None, allow_unknown: bool
    ) -> tuple[str, int, str]:
        types = self._registry.snapshot.types
        if not isinstance(event_type, str):
            entry = _entry_of(event_type, types)
            return entry.event_type, entry.job.version, entry.job.dump(event_type)
        loaded = types.get(event_type)
        if loaded is not None:
            return event_type, loaded.job.version, loaded.job.validate(arguments or {})
        text = to_json(arguments or {}, event_type)
        catalogue = self._store.catalogue()
        if event_type in catalogue:
            return event_type, catalogue[event_type].schema_version, text
        if allow_unknown:
            return event_type, 1, text
        near = difflib.get_close_matches(event_type, [*types, *catalogue], n=1)
        hint = ""
        if near and near[0] in catalogue:
            known = catalogue[near[0]]
            hint = f" Plugin {known.plugin!r} ({known.distribution or 'no distribution'}) has it."
        raise UnknownEventType(event_type, nearest=near[0] if near else None, hint=hint)

    def _schedule(self, value: ScheduleLike, now: datetime) -> Schedule:
        if isinstance(value, Schedule):
            return value
        kinds = self._kinds()
        value = now if value is None else value
        if isinstance(value, (datetime, timedelta, str)):
            for kind in kinds.values():
                parsed = kind.parse(value)
                if parsed is not None:
                    return parsed
        raise UnknownSchedule(value, sorted(kinds))


def _entry_of(job: object, types: Mapping[str, Entry]) -> Entry:
    for entry in types.values():
        if entry.job.job_class is type(job):
            return entry
    raise UnknownEventType(type(job).__qualname__, nearest=None)
