"""From what a caller asks for to what is stored: types looked up, arguments checked, time fixed."""

import difflib
import functools
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Unpack

import attrs

from horae.clock import Clock, to_micros
from horae.errors import SettingsError, UnknownEventType, UnknownSchedule
from horae.payloads import check_by_schema, encode, to_json
from horae.registry import Entry, Registry
from horae.scheduling.recurrence import (
    dump_absent,
    dump_missed,
    dump_schedule,
    offset_of,
    read_schedule,
)
from horae.scheduling.resources import mismatch
from horae.stores.base import Store
from horae.stores.records import PRIORITIES, CatalogueEntry, Change, NewEvent
from horae_hookspecs import (
    EventOptions,
    Missed,
    Schedule,
    ScheduledEvent,
    ScheduleError,
    ScheduleLike,
)
from horae_hookspecs.registration import check_absent


@attrs.frozen
class Times:
    """A schedule as it is stored, and when its first occurrence is due."""

    kind: str
    text: str
    due: int
    recurs: bool
    offset: Callable[[int], int] | None


class Moment:
    """What requests that are planned together share: the time, and what was looked up for one."""

    def __init__(
        self, now: datetime, catalogue: Callable[[], Mapping[str, CatalogueEntry]]
    ) -> None:
        self.now = now
        self.micros = to_micros(now)
        self.times: dict[object, Times] = {}
        self._read = catalogue

    @functools.cached_property
    def catalogue(self) -> Mapping[str, CatalogueEntry]:
        """The store's catalogue of types."""
        return self._read()


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

    def moment(self) -> Moment:
        """Now, for one request or for many."""
        return Moment(self._clock.now(), self._store.catalogue)

    def plan(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        *,
        allow_unknown: bool = False,
        moment: Moment | None = None,
        **options: Unpack[EventOptions],
    ) -> NewEvent:
        """The event that the arguments of ``Host.schedule`` ask for; raises what that raises."""
        moment = moment or self.moment()
        name, version, text = self._payload(event_type, arguments, allow_unknown, moment)
        stored = _stored(options, moment) if options else {}
        entry = self._registry.snapshot.types.get(name)
        if entry is not None:  # else it is asked when it is back
            if entry.policy.absent is not None:
                stored.setdefault("absent", dump_absent(entry.policy.absent))
            if entry.job.is_multi or "resources" in stored:
                _check_resources(entry, stored)
        times = self._times(schedule, moment)
        return NewEvent(
            event_type=name,
            schema_version=version,
            kind=times.kind,
            arguments=text,
            schedule=times.text,
            due=times.due,
            created=moment.micros,
            recurs=times.recurs,
            offset=times.offset,
            **stored,
        )

    def takes_many(self, event_type: str) -> bool:
        """Whether one event of a type may name several resources, as far as it is loaded."""
        entry = self._registry.snapshot.types.get(event_type)
        return entry is not None and entry.job.is_multi

    @property
    def kinds(self) -> Mapping[str, type[Schedule]]:
        """The schedule kinds there are."""
        return self._kinds()

    def replan(self, event: ScheduledEvent, schedule: ScheduleLike, *, keep_phase: bool) -> Change:
        """Another schedule for an event that is stored; raises what ``Host.schedule`` raises."""
        now = self._clock.now()
        new = self._schedule(schedule, now)
        previous = (
            read_schedule(encode(dict(event.schedule)), self._kinds()) if keep_phase else None
        )
        fixed = new.anchored(now) if previous is None else new.continuing(previous, now)
        times = _times_of(fixed, now)
        return Change(
            schedule=times.text,
            kind=times.kind,
            occurrence=times.due,
            due=times.due + (times.offset(event.id) if times.offset else 0),
            recurs=times.recurs,
        )

    def revise(
        self,
        event: ScheduledEvent,
        arguments: Mapping[str, Any] | None,
        description: str | None,
        priority: int | None,
    ) -> Change:
        """What else of a stored event is to change. Raises InvalidArguments and SettingsError."""
        change = Change(description=description, priority=priority)
        if priority is not None:
            _check_priority(priority)
        if arguments is None:
            return change
        name, version, text = self._payload(event.event_type, arguments, True, self.moment())
        return attrs.evolve(change, event_type=name, schema_version=version, arguments=text)

    def _payload(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None,
        allow_unknown: bool,
        moment: Moment,
    ) -> tuple[str, int, str]:
        types = self._registry.snapshot.types
        if not isinstance(event_type, str):
            entry = _entry_of(event_type, types)
            return entry.event_type, entry.job.version, entry.job.dump(event_type)
        loaded = types.get(event_type)
        if loaded is not None:
            return loaded.event_type, loaded.job.version, loaded.job.validate(arguments or {})
        text = to_json(arguments or {}, event_type)
        known = moment.catalogue.get(event_type)
        if known is not None:
            check_by_schema(known.schema, text, event_type)
            return event_type, known.schema_version, text
        if allow_unknown:
            return event_type, 1, text
        raise _unknown(event_type, {*types, *moment.catalogue}, moment.catalogue)

    def _times(self, value: ScheduleLike, moment: Moment) -> Times:
        # Many events at once mostly share few schedules, and these are values that do not change.
        remembered = moment.times if value is None or isinstance(value, Hashable) else {}
        known = remembered.get(value)
        if known is None:
            known = _times_of(self._schedule(value, moment.now).anchored(moment.now), moment.now)
            remembered[value] = known
        return known

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


def _times_of(when: Schedule, now: datetime) -> Times:
    """The times of an anchored schedule. Raises ScheduleError when there are none."""
    first = when.first_from(now)
    if first is None:
        raise ScheduleError(f"{when} never comes due from now on.", value=when)
    recurs = when.next_after(first) is not None
    return Times(when.kind, dump_schedule(when), to_micros(first), recurs, offset_of(when))


def _check_priority(priority: object) -> None:
    if priority not in PRIORITIES:
        raise SettingsError(f"priority={priority!r} is none of 0 (first), 1, 2, 3 (last).")


def _check_resources(entry: Entry, stored: Mapping[str, Any]) -> None:
    wrong = mismatch(
        entry.event_type,
        is_multi=entry.job.is_multi,
        resource=stored.get("resource"),
        resources=stored.get("resources"),
    )
    if wrong is not None:
        raise SettingsError(f"{wrong[0].upper()}{wrong[1:]}.")


def _stored(options: EventOptions, moment: Moment) -> dict[str, Any]:
    """The options as NewEvent has them. Raises TypeError and SettingsError."""
    refuse_unknown_options(options)
    stored: dict[str, Any] = {**options}
    _check_priority(stored.get("priority", 1))
    if stored.get("on_conflict", "keep") not in ("keep", "replace", "error"):
        raise SettingsError(
            f"on_conflict={stored['on_conflict']!r} is none of 'keep', 'replace' and 'error'."
        )
    unique_for = stored.pop("unique_for", None)
    if unique_for is not None:
        if stored.get("key") is None:
            raise SettingsError("unique_for needs a key: it says for how long the key is unique.")
        stored["unique_since"] = moment.micros - unique_for // timedelta(microseconds=1)
    if stored.get("resources") is not None:
        stored["resources"] = _resources(stored["resources"])
    if stored.get("missed") is not None:
        stored["missed"] = dump_missed(Missed.of(stored["missed"]))
    absent = stored.pop("absent", None)
    if absent is not None:
        check_absent(None, None, absent)
        stored["absent"] = dump_absent(absent)
    return stored


def refuse_unknown_options(options: Iterable[str]) -> None:
    """Raise TypeError for a keyword that is none of EventOptions."""
    for name in options:
        if name not in EventOptions.__annotations__:
            near = difflib.get_close_matches(name, EventOptions.__annotations__, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            known = ", ".join(EventOptions.__annotations__)
            raise TypeError(f"An event has no option {name!r}.{guess} There are {known}.")


def _resources(names: object) -> str:
    """Resources as JSON text, each once. Raises SettingsError for what is no list of texts."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise SettingsError(f"resources={names!r} is no list of texts.")
    listed = list(dict.fromkeys(names))
    if not listed or not all(isinstance(name, str) for name in listed):
        raise SettingsError(f"resources={names!r} must be a list of one text or more.")
    return encode(listed)


def _unknown(
    event_type: str, names: Iterable[str], catalogue: Mapping[str, CatalogueEntry]
) -> UnknownEventType:
    near = next(iter(difflib.get_close_matches(event_type, list(names), n=1)), None)
    known = catalogue.get(near or "")
    hint = known and f" Plugin {known.plugin!r} ({known.distribution or 'no distribution'}) has it."
    return UnknownEventType(event_type, nearest=near, hint=hint or "")


def _entry_of(job: object, types: Mapping[str, Entry]) -> Entry:
    for entry in types.values():
        if entry.job.job_class is type(job):
            return entry
    raise UnknownEventType(type(job).__qualname__, nearest=None)
