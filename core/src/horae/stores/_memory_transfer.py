"""How the dictionary store is exported and imported: see ``transfer`` for the lines."""

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any

import attrs

from horae.clock import from_micros, to_micros
from horae.stores import transfer
from horae.stores._memory_listing import MemoryListing
from horae.stores._memory_rows import Data, Event
from horae.stores.records import OVER, CatalogueEntry, Lane, NewEvent
from horae.stores.transfer import Reader, Row, Table
from horae_hookspecs import Cause, Outcome, Run, State


class MemoryTransfer(MemoryListing):
    """The part of ``MemoryStore`` that is exported and imported."""

    url: str

    @abstractmethod
    def rescue(self, host_id: str, reason: str, now: int, cause: Cause = Cause.HOST_LOST) -> int:
        """Free what a host had claimed."""

    def export_lines(self, now: int) -> Iterator[str]:
        """From a copy."""
        with self._lock:
            data = deepcopy(self._data)
        yield from transfer.export(now, lambda table: _rows(data, table))

    def import_lines(self, lines: Iterable[str | bytes]) -> dict[str, int]:
        """Into a copy, like every transaction."""
        reader, keys = Reader(), set[tuple[str, str | None]]()
        with self.transaction():
            if self._data.events or self._data.runs:
                raise transfer.refuse_filled(self.url)
            reader.read(lines, lambda table, row: self._keep(table, row, keys))
            self._data.last_event = reader.last["event"]
            self._data.last_run = reader.last["run"]
            transfer.land(self, reader.exported)
        return dict(reader.counts)

    def _keep(self, table: Table, row: Row, keys: set[tuple[str, str | None]]) -> None:
        match table.tag:
            case "event_type":
                self._data.catalogue.setdefault(row["event_type"], CatalogueEntry(**row))
            case "pause":
                self._data.pauses.setdefault((row["field"], row["value"]), row["since"])
            case "event":
                if row["key"] is not None and row["state"] not in OVER:
                    _refuse_taken(row, keys)
                event = _event(row)
                event.lane = self._lane(event.new)
                self._data.events[event.id] = event
            case _:
                self._keep_run(row)

    def _keep_run(self, row: Row) -> None:
        event = self._data.events.get(row["event"])
        transfer.refuse_claim(row, None if event is None else event.claim)
        if (row["event"], row["claim"]) in self._data.runs:
            raise ValueError(f"event {row['event']} has a run with claim {row['claim']} already")
        name = (row["event_type"], row["schema_version"], row["kind"])
        self._data.lanes.setdefault(name, Lane(len(self._data.lanes) + 1, *name))
        self._data.runs[row["event"], row["claim"]] = _run(row)


def _rows(data: Data, table: Table) -> Iterator[Mapping[str, Any]]:
    match table.tag:
        case "event_type":
            yield from (attrs.asdict(entry) for entry in data.catalogue.values())
        case "pause":
            for (field, value), since in sorted(data.pauses.items()):
                yield {"field": field, "value": value, "since": since}
        case "event":
            yield from map(_event_row, data.events.values())
        case _:
            # A run remembers no more of its lane than the type.
            lanes = {lane.event_type: lane for lane in data.lanes.values()}
            yield from (_run_row(run, lanes[run.event_type]) for run in data.runs.values())


def _event_row(event: Event) -> Row:
    row = attrs.asdict(event.new, recurse=False) | attrs.asdict(event, recurse=False)
    row["next_due"], row["next_occurrence"] = event.following or (None, None)
    return row | {name: int(row[name]) for name in ("recurs", "cancel_requested")}


def _run_row(run: Run, lane: Lane) -> Row:
    row = attrs.asdict(run, recurse=False) | {"event": run.event_id, "will_retry": +run.will_retry}
    row |= {name: to_micros(at) for name, at in row.items() if isinstance(at, datetime)}
    for name in ("result", "resources"):
        row[name] = None if row[name] is None else json.dumps(row[name])
    return row | {"schema_version": lane.schema_version, "kind": lane.kind}


def _refuse_taken(row: Row, keys: set[tuple[str, str | None]]) -> None:
    name = (row["key"], row["origin"] or "")
    if name in keys:
        raise ValueError(f"the key {row['key']!r} of event {row['id']} is taken")
    keys.add(name)


def _event(row: Row) -> Event:
    following = None if row["next_due"] is None else (row["next_due"], row["next_occurrence"])
    outcome = row["last_outcome"]
    row |= {
        "state": State(row["state"]),
        "last_outcome": None if outcome is None else Outcome(outcome),
        "recurs": bool(row["recurs"]),
        "cancel_requested": bool(row["cancel_requested"]),
    }
    new = NewEvent(**_fields(NewEvent, row))
    lane = Lane(0, new.event_type, new.schema_version, new.kind)
    return Event(lane=lane, new=new, following=following, **_fields(Event, row))


def _run(row: Row) -> Run:
    row = {name: value for name, value in row.items() if value is not None}
    row |= {at: from_micros(row[at]) for at in ("occurrence", "started", "finished") if at in row}
    row |= {name: json.loads(row[name]) for name in ("result", "resources") if name in row}
    row |= {"event_id": row["event"], "will_retry": bool(row["will_retry"])}
    kinds = {"outcome": Outcome, "cause": Cause}
    row |= {name: kind(row[name]) for name, kind in kinds.items() if name in row}
    empty: dict[str, Any] = dict.fromkeys(attrs.fields_dict(Run))
    return Run(**(empty | _fields(Run, row)))


def _fields(model: type[attrs.AttrsInstance], row: Row) -> dict[str, Any]:
    return {name: row[name] for name in attrs.fields_dict(model) if name in row}
