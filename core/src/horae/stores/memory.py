"""The dictionary store: for tests and trials, gone with the process, same verbs as the others."""

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

import attrs

from horae.clock import from_micros
from horae.errors import KeyTaken
from horae.stores import _rows
from horae.stores._memory_gates import MemoryGates
from horae.stores.base import (
    MAX_INTERRUPTIONS,
    OVER,
    Added,
    Backlog,
    CancelMissing,
    CatalogueEntry,
    Claim,
    Claimed,
    HostRecord,
    Lane,
    NewEvent,
    PluginRow,
    Provider,
    Settlement,
    carry_out,
    last_chance,
    still_named,
)
from horae_hookspecs import Cause, Outcome, Page, Run, ScheduledEvent, State


@attrs.define
class _Event:
    """What a row of ``horae_event`` holds."""

    id: int
    lane: Lane
    new: NewEvent
    due: int | None
    occurrence: int | None
    state: State = State.PENDING
    paused: bool = False
    blocked: str | None = None
    settled: int | None = None
    covered: int | None = None
    claim: int = 0
    attempt: int = 0
    interruptions: int = 0
    host: str | None = None
    cancel_requested: bool = False
    resource_outcomes: str | None = None
    last_outcome: Outcome | None = None
    reason: str | None = None


@attrs.define
class _Data:
    """Everything; copied at the start of a transaction so that it can be put back."""

    events: dict[int, _Event] = attrs.field(factory=dict)
    runs: dict[tuple[int, int], Run] = attrs.field(factory=dict)
    lanes: dict[tuple[str, int, str], Lane] = attrs.field(factory=dict)
    hosts: dict[str, HostRecord] = attrs.field(factory=dict)
    catalogue: dict[str, CatalogueEntry] = attrs.field(factory=dict)
    plugins: dict[tuple[str, str], PluginRow] = attrs.field(factory=dict)
    holds: dict[tuple[str, int, int], str | None] = attrs.field(factory=dict)


class MemoryStore:
    """See ``Store`` for what each verb does; the SQL stores are held to the same suite."""

    url = "memory://"
    one_kernel = True

    def __init__(self) -> None:
        self._data = _Data()
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

    # -- events

    def add(self, events: Sequence[NewEvent]) -> list[Added]:
        """One by one; a key that is taken takes back those before it."""
        may_fail = any(event.on_conflict == "error" for event in events)
        with self.transaction() if may_fail else self._lock:
            return [self._add(event) for event in events]

    def _add(self, new: NewEvent) -> Added:
        for event in self._data.events.values():
            same = (event.new.key, event.new.origin) == (new.key, new.origin)
            if new.key is not None and same and event.state not in OVER:
                if new.on_conflict == "error":
                    raise KeyTaken(new.key, new.origin, event.id)
                return Added(event.id, created=False)
        name = (new.event_type, new.schema_version, new.kind)
        lane = self._data.lanes.setdefault(name, Lane(len(self._data.lanes) + 1, *name))
        event_id = len(self._data.events) + 1
        self._data.events[event_id] = _Event(event_id, lane, new, new.due_for(event_id), new.due)
        return Added(event_id, created=True)

    def get(self, event_id: int) -> ScheduledEvent | None:
        """A look-up."""
        with self._lock:
            event = self._data.events.get(event_id)
            return None if event is None else _model(event)

    def events(self, filters: Mapping[str, Any], limit: int, after: int) -> Page[ScheduledEvent]:
        """In order of ids, which is the order of insertion."""
        with self._lock:
            models = [_model(event) for event in self._data.events.values()]
        return _page(models, _rows.EVENT_FILTERS, filters, limit, after)

    def runs(self, filters: Mapping[str, Any], limit: int, after: int) -> Page[Run]:
        """In order of claims, which is the order of insertion."""
        with self._lock:
            runs = list(self._data.runs.values())
        return _page(runs, _rows.RUN_FILTERS, filters, limit, after)

    def last_run(self, event_id: int) -> Run | None:
        """The event knows its last claim."""
        with self._lock:
            event = self._data.events.get(event_id)
            return None if event is None else self._data.runs.get((event_id, event.claim))

    def causes(self, filters: Mapping[str, Any]) -> dict[Cause, int]:
        """A count."""
        runs = self.runs(filters, 2**63, 0)
        return dict(Counter(run.cause for run in runs if run.cause is not None))

    def cancel(self, event_id: int, reason: str, now: int) -> bool:
        """By state."""
        with self._lock:
            event = self._data.events.get(event_id)
            if event is None or event.state in OVER:
                return False
            event.reason = reason
            if event.state is State.RUNNING:
                event.cancel_requested = True
            else:
                event.state, event.due, event.blocked = State.CANCELLED, None, None
                event.last_outcome = event.last_outcome or Outcome.CANCELLED
            self._gates.give_way(self._data, [event_id])
            return True

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
                        over.append(event.id)
            for event_id in over:
                self.cancel(event_id, missing.reason, now)
        return over

    def pause(self, event_id: int, paused: bool) -> bool:
        """A flag."""
        with self._lock:
            event = self._data.events.get(event_id)
            if event is None or event.state in OVER:
                return False
            event.paused, event.blocked = paused, None
            self._gates.give_way(self._data, [event_id])
            return True

    def run_now(self, event_id: int, now: int) -> bool:
        """An occurrence that is overdue stays what it is."""
        with self._lock:
            event = self._data.events.get(event_id)
            if event is None or event.state not in (State.PENDING, State.QUARANTINED):
                return False
            event.state, event.due, event.paused = State.PENDING, now, False
            event.occurrence = min(event.occurrence or now, now)
            event.interruptions, event.reason, event.blocked = 0, None, None
            return True

    def overview(self) -> dict[tuple[str, State], int]:
        """A count."""
        with self._lock:
            return dict(Counter((e.lane.event_type, e.state) for e in self._data.events.values()))

    def backlog(self, now: int) -> list[Backlog]:
        """By lane."""
        pending: dict[Lane, list[int]] = {}
        blocked: Counter[Lane] = Counter()
        with self._lock:
            for event in self._data.events.values():
                if event.state is State.PENDING and event.due is not None:
                    pending.setdefault(event.lane, []).append(event.due)
                    blocked[event.lane] += event.blocked is not None
        return [
            Backlog(lane, len(due), sum(at <= now for at in due), min(due), blocked[lane])
            for lane, due in pending.items()
        ]

    # -- claim and settle

    def lanes(self) -> Sequence[Lane]:
        """In order of first use."""
        with self._lock:
            if len(self._listed) != len(self._data.lanes):
                self._listed = tuple(self._data.lanes.values())
            return self._listed

    def claim(
        self, host_id: str, lanes: Mapping[int, Provider], now: int, limit: int
    ) -> Claimed | None:
        """A sort over all ready events."""
        with self._lock:
            host = self._data.hosts.get(host_id)
            if host is None:
                return None
            gates = self._gates.of(self._data, lanes)
            ready = self._ready(gates.open_lanes()) if limit > 0 else []
            ids = self._gates.pick(self._data, gates, ready, now, limit)
            claims = [self._take(self._data.events[one], host, lanes, now) for one in ids]
            claims.sort(key=lambda claim: (claim.priority, claim.due, claim.event_id))
            self._gates.enter(self._data, gates, host_id, claims)
            rest = [event.due for event in self._ready(gates.open_lanes()) if event.due is not None]
            return Claimed(claims, min(rest, default=None))

    def _ready(self, lanes: Mapping[int, Provider]) -> list[_Event]:
        return [
            event
            for event in self._data.events.values()
            if event.state is State.PENDING
            and not event.paused
            and event.blocked is None
            and event.lane.id in lanes
        ]

    def _take(
        self, event: _Event, host: HostRecord, lanes: Mapping[int, Provider], now: int
    ) -> Claim:
        event.state, event.claim, event.host = State.RUNNING, event.claim + 1, host.id
        provider = lanes[event.lane.id]
        assert event.due is not None
        assert event.occurrence is not None
        self._data.runs[event.id, event.claim] = Run(
            id=len(self._data.runs) + 1,
            event_id=event.id,
            claim=event.claim,
            event_type=event.lane.event_type,
            occurrence=from_micros(event.occurrence),
            attempt=event.attempt + 1,
            started=from_micros(now),
            finished=None,
            outcome=None,
            will_retry=False,
            result=None,
            result_error=None,
            error=None,
            resources=None,
            host=host.name,
            plugin=provider.plugin,
            version=provider.version,
            generation=provider.generation,
        )
        return Claim(
            event_id=event.id,
            claim=event.claim,
            lane=event.lane.id,
            arguments=event.new.arguments,
            schedule=event.new.schedule,
            due=event.due,
            occurrence=event.occurrence,
            attempt=event.attempt,
            interruptions=event.interruptions,
            settled=event.settled,
            covered=event.covered,
            recurs=event.new.recurs,
            priority=event.new.priority,
            resource=event.new.resource,
            origin=event.new.origin,
            description=event.new.description,
            created=event.new.created,
            user=event.new.user,
            resources=event.new.resources,
            resource_outcomes=event.resource_outcomes,
            missed=event.new.missed,
            absent=event.new.absent,
        )

    def settle(self, settlements: Sequence[Settlement]) -> set[tuple[int, int]]:
        """Only what still runs under the claim it names."""
        with self._lock:
            valid = [one for one in settlements if self._runs_under(one)]
            for one in valid:
                self._conclude(self._data.events[one.event_id], one)
            self._gates.leave(self._data, valid)
        return {one[:2] for one in settlements} - {one[:2] for one in valid}

    def _runs_under(self, one: Settlement) -> bool:
        event = self._data.events.get(one.event_id)
        return bool(event and event.state is State.RUNNING and event.claim == one.claim)

    def _conclude(self, event: _Event, one: Settlement) -> None:
        cancelled = event.cancel_requested
        ends = cancelled and one.state in (State.PENDING, State.QUARANTINED)
        event.state = State.CANCELLED if ends else one.state
        event.due = None if cancelled else one.due
        event.reason = event.reason if cancelled else one.reason
        event.occurrence, event.attempt = one.occurrence, one.attempt
        event.interruptions, event.settled = one.interruptions, one.settled
        event.covered, event.resource_outcomes = one.covered, one.resource_outcomes
        event.last_outcome, event.host, event.cancel_requested = one.outcome, None, False
        key = (one.event_id, one.claim)
        self._data.runs[key] = attrs.evolve(
            self._data.runs[key],
            started=from_micros(one.started),
            finished=from_micros(one.finished),
            outcome=one.outcome,
            will_retry=one.will_retry and not cancelled,
            result=None if one.result is None else json.loads(one.result),
            result_error=one.result_error,
            error=one.error,
            cause=one.cause,
            covers=one.covers,
            resources=None if one.resources is None else json.loads(one.resources),
        )
        carry_out(self, one.follow_ups, one.finished)

    def release(self, event_id: int, claim: int) -> None:
        """By event and claim."""
        with self._lock:
            self._gates.release(self._data, event_id, claim)

    def cancellations(self, host_id: str) -> set[int]:
        """By flag."""
        with self._lock:
            return {
                event.id
                for event in self._data.events.values()
                if event.host == host_id and event.cancel_requested
            }

    def poll(self) -> bool:
        """No other process can reach this store."""
        return False

    # -- hosts

    def join(self, host: HostRecord) -> None:
        """An entry."""
        with self._lock:
            self._data.hosts[host.id] = host

    def beat(self, host: HostRecord, now: int) -> bool:
        """A new value for the entry."""
        with self._lock:
            known = self._data.hosts.get(host.id)
            if known is None:
                return False
            self._data.hosts[host.id] = attrs.evolve(host, beat=known.beat + 1, beaten=now)
            return True

    def hosts(self) -> list[HostRecord]:
        """All of them."""
        with self._lock:
            return list(self._data.hosts.values())

    def rescue(self, host_id: str, reason: str, now: int, cause: Cause = Cause.HOST_LOST) -> int:
        """Every event that the host had in hand."""
        with self._lock:
            self._data.hosts.pop(host_id, None)
            lost = [e for e in self._data.events.values() if e.host == host_id]
            self._gates.leave_host(self._data, host_id, lost)
            for event in lost:
                self._free(event, reason, now, cause)
            return len(lost)

    def _free(self, event: _Event, reason: str, now: int, cause: Cause) -> None:
        key = (event.id, event.claim)
        event.interruptions += 1
        self._data.runs[key] = attrs.evolve(
            self._data.runs[key],
            finished=from_micros(now),
            outcome=Outcome.INTERRUPTED,
            will_retry=not event.cancel_requested and event.interruptions < MAX_INTERRUPTIONS,
            error=reason,
            cause=cause,
        )
        done = self._data.runs[key].resources
        if done is not None:
            event.resource_outcomes = json.dumps(dict(done))
        event.last_outcome, event.host = Outcome.INTERRUPTED, None
        if event.cancel_requested:
            event.state, event.due, event.cancel_requested = State.CANCELLED, None, False
        elif event.interruptions >= MAX_INTERRUPTIONS:
            event.state = State.QUARANTINED
            event.reason = f"interrupted {MAX_INTERRUPTIONS} times in a row: {reason}"
        else:
            event.state, event.reason = State.PENDING, reason
            if event.interruptions + 1 == MAX_INTERRUPTIONS:
                event.due = last_chance(event.id, now)

    # -- catalogue and plugins

    def publish(self, entries: Sequence[CatalogueEntry]) -> None:
        """The latest wins."""
        with self._lock:
            for entry in entries:
                known = self._data.catalogue.get(entry.event_type)
                absence: tuple[int | None, int | None] = (None, None)
                if known is not None:
                    absence = (known.absent_from, known.absent_until)
                    if known.withdrawn is not None:
                        absence = (known.withdrawn, entry.published)
                self._data.catalogue[entry.event_type] = attrs.evolve(
                    entry, withdrawn=None, absent_from=absence[0], absent_until=absence[1]
                )

    def withdraw(self, event_types: Iterable[str], now: int) -> None:
        """Kept, with the time."""
        with self._lock:
            for name in self._data.catalogue.keys() & event_types:
                entry = self._data.catalogue[name]
                if entry.withdrawn is None:
                    self._data.catalogue[name] = attrs.evolve(entry, withdrawn=now)

    def catalogue(self) -> dict[str, CatalogueEntry]:
        """A copy."""
        with self._lock:
            return dict(self._data.catalogue)

    def request_plugin(
        self,
        host: str,
        plugin: str,
        action: Literal["load", "unload", "upgrade"],
        drain: float | None = None,
    ) -> int:
        """Counts the request."""
        with self._lock:
            row = self._data.plugins.get((host, plugin)) or PluginRow(host=host, plugin=plugin)
            self._data.plugins[host, plugin] = attrs.evolve(
                row,
                desired="unloaded" if action == "unload" else "loaded",
                action=action,
                drain=drain,
                requested=row.requested + 1,
            )
            return row.requested + 1

    def report_plugin(self, row: PluginRow) -> None:
        """Leaves a newer request open."""
        with self._lock:
            known = self._data.plugins.get((row.host, row.plugin))
            known = known or attrs.evolve(row, requested=row.done)
            self._data.plugins[row.host, row.plugin] = attrs.evolve(
                row,
                desired=known.desired if known.requested > row.done else row.desired,
                action=known.action,
                drain=known.drain,
                requested=known.requested,
            )

    def plugin_rows(self, host: str | None = None) -> list[PluginRow]:
        """By plugin, then by host."""
        with self._lock:
            rows = [row for row in self._data.plugins.values() if host in (None, row.host)]
        return sorted(rows, key=lambda row: (row.plugin, row.host))

    def schema(self) -> int:
        """Memory has nothing to migrate."""
        return 0

    def check(self) -> list[str]:
        """Memory does not rot."""
        return []


def _model(event: _Event) -> ScheduledEvent:
    return ScheduledEvent(
        id=event.id,
        event_type=event.lane.event_type,
        schema_version=event.lane.schema_version,
        arguments=json.loads(event.new.arguments),
        schedule=json.loads(event.new.schedule),
        due=None if event.due is None else from_micros(event.due),
        state=event.state,
        paused=event.paused,
        attempt=event.attempt,
        key=event.new.key,
        resource=event.new.resource,
        origin=event.new.origin,
        description=event.new.description,
        priority=event.new.priority,
        created=from_micros(event.new.created),
        last_outcome=event.last_outcome,
        reason=event.reason,
        user=event.new.user,
        resources=None if event.new.resources is None else tuple(json.loads(event.new.resources)),
        blocked=event.blocked,
    )


def _page(
    models: Sequence[Any],
    known: Iterable[str],
    filters: Mapping[str, Any],
    limit: int,
    after: int,
) -> Page[Any]:
    _rows.refuse_unknown(filters, known)
    matching = [model for model in models if _matches(model, filters)]
    rest = [model for model in matching if model.id > after]
    kept = rest[:limit]
    return Page(items=kept, total=len(matching), next=kept[-1].id if len(rest) > limit else None)


def _matches(model: Any, filters: Mapping[str, Any]) -> bool:
    for name, value in filters.items():
        wanted = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if getattr(model, name) not in wanted:
            return False
    return True
