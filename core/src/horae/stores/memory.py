"""The dictionary store: for tests and trials, gone with the process, same verbs as the others."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs

from horae.clock import from_micros
from horae.stores._memory_installations import MemoryInstallations
from horae.stores._memory_retention import MemoryRetention
from horae.stores._memory_rows import Event, claim_of
from horae.stores._memory_transfer import MemoryTransfer
from horae.stores.base import carry_out
from horae.stores.records import (
    MAX_INTERRUPTIONS,
    Backlog,
    CatalogueEntry,
    Claim,
    Claimed,
    HostRecord,
    Lane,
    PluginAction,
    PluginRow,
    Progress,
    Provider,
    Settlement,
    last_chance,
)
from horae_hookspecs import Cause, Outcome, Run, State


class MemoryStore(MemoryTransfer, MemoryRetention, MemoryInstallations):
    """See ``Store`` for what each verb does; the SQL stores are held to the same suite."""

    url = "memory://"
    one_kernel = True

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

    def claim(
        self, host_id: str, lanes: Mapping[int, Provider], now: int, limit: int
    ) -> Claimed | None:
        """A sort over all ready events."""
        with self._lock:
            host = self._data.hosts.get(host_id)
            if host is None:
                return None
            paused = {value for field, value in self._data.pauses if field == "event_type"}
            lanes = {lane: one for lane, one in lanes.items() if one.event_type not in paused}
            gates = self._gates.of(self._data, lanes)
            ready = self._ready(gates.open_lanes()) if limit > 0 else []
            ids = self._gates.pick(self._data, gates, ready, now, limit)
            taken = [self._data.events[one] for one in ids]
            taken.sort(key=lambda event: (event.new.priority, event.due or 0, event.id))
            claims = [self._take(event, host, lanes, now) for event in taken]
            self._gates.enter(self._data, gates, host_id, claims)
            rest = [event.due for event in self._ready(gates.open_lanes()) if event.due is not None]
            return Claimed(claims, min(rest, default=None))

    def _ready(self, lanes: Mapping[int, Provider]) -> list[Event]:
        return [
            event
            for event in self._data.events.values()
            if event.state is State.PENDING
            and not self._held_back(event)
            and event.blocked is None
            and event.lane.id in lanes
        ]

    def _take(
        self, event: Event, host: HostRecord, lanes: Mapping[int, Provider], now: int
    ) -> Claim:
        event.state, event.claim, event.host = State.RUNNING, event.claim + 1, host.id
        provider = lanes[event.lane.id]
        assert event.due is not None
        assert event.occurrence is not None
        self._data.last_run += 1
        self._data.runs[event.id, event.claim] = Run(
            id=self._data.last_run,
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
            resource=event.new.resource,
            origin=event.new.origin,
            user=event.new.user,
        )
        return claim_of(event)

    def settle(self, settlements: Sequence[Settlement]) -> set[tuple[int, int]]:
        """Only what still runs under the claim it names."""
        with self._lock:
            valid = [one for one in settlements if self._runs_under(one)]
            for one in valid:
                self._conclude(self._data.events[one.event_id], one)
            self._gates.leave(self._data, valid)
        return {one.key for one in settlements} - {one.key for one in valid}

    def _runs_under(self, one: Settlement) -> bool:
        event = self._data.events.get(one.event_id)
        return bool(event and event.state is State.RUNNING and event.claim == one.claim)

    def _conclude(self, event: Event, one: Settlement) -> None:
        cancelled = event.cancel_requested
        ends = cancelled and one.state in (State.PENDING, State.QUARANTINED)
        event.state = State.CANCELLED if ends else one.state
        event.due = None if cancelled else one.due
        event.ended = one.finished if event.due is None else None
        event.reason = event.reason if cancelled else one.reason
        event.occurrence, event.attempt = one.occurrence, one.attempt
        event.interruptions, event.settled = one.interruptions, one.settled
        event.covered, event.resource_outcomes = one.covered, one.resource_outcomes
        event.last_outcome, event.host, event.cancel_requested = one.outcome, None, False
        follows = self._follow(event)
        key = (one.event_id, one.claim)
        self._data.runs[key] = attrs.evolve(
            self._data.runs[key],
            started=from_micros(one.started),
            finished=from_micros(one.finished),
            outcome=one.outcome,
            will_retry=one.will_retry and not (cancelled or follows),
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

    def progress(self, told: Sequence[Progress]) -> None:
        """Only of runs that have not ended."""
        with self._lock:
            for one in told:
                run = self._data.runs.get(one[:2])
                if run is not None and run.outcome is None:
                    self._data.runs[one[:2]] = attrs.evolve(
                        run,
                        progress=one.fraction,
                        progress_text=one.text or None,
                        resources=json.loads(one.resources) if one.resources else run.resources,
                    )

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

    def _free(self, event: Event, reason: str, now: int, cause: Cause) -> None:
        key = (event.id, event.claim)
        event.interruptions += 1
        self._data.runs[key] = attrs.evolve(
            self._data.runs[key],
            finished=from_micros(now),
            outcome=Outcome.INTERRUPTED,
            will_retry=not (event.cancel_requested or event.following)
            and event.interruptions < MAX_INTERRUPTIONS,
            error=reason,
            cause=cause,
        )
        done = self._data.runs[key].resources
        if done is not None:
            event.resource_outcomes = json.dumps(dict(done))
        event.last_outcome, event.host = Outcome.INTERRUPTED, None
        if event.cancel_requested:
            event.state, event.due, event.cancel_requested = State.CANCELLED, None, False
            event.ended = now
        elif event.interruptions >= MAX_INTERRUPTIONS:
            event.state = State.QUARANTINED
            event.reason = f"interrupted {MAX_INTERRUPTIONS} times in a row: {reason}"
        else:
            event.state, event.reason = State.PENDING, reason
            if event.interruptions + 1 == MAX_INTERRUPTIONS:
                event.due = last_chance(event.id, now)
        self._follow(event)

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
        action: PluginAction,
        drain: float | None = None,
        *,
        include_dependents: bool = False,
    ) -> int:
        """Counts the request."""
        with self._lock:
            row = self._data.plugins.get((host, plugin)) or PluginRow(host=host, plugin=plugin)
            self._data.plugins[host, plugin] = attrs.evolve(
                row,
                desired="unloaded" if action == "unload" else "loaded",
                action=action,
                drain=drain,
                include_dependents=include_dependents,
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
                include_dependents=known.include_dependents,
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
