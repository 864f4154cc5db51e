"""Rows as models: what the stores have in common."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from horae.clock import from_micros
from horae.stores.records import HostRecord, PluginRow, Suspension
from horae_hookspecs import Cause, Outcome, Page, PluginState, Run, ScheduledEvent, State

PAUSED: Final = (
    "(e.state IN ('pending', 'running', 'quarantined') AND (e.paused > 0 OR l.event_type IN "
    "(SELECT value FROM horae_pause WHERE field = 'event_type')))"
)
EVENT_COLUMNS: Final = (
    f"e.id, l.event_type, l.schema_version, e.arguments, e.schedule, e.due, e.state, {PAUSED}, "
    "e.attempt, e.key, e.resource, e.origin, e.description, e.priority, e.created, "
    "e.last_outcome, e.reason, e.user, e.resources, e.blocked"
)
RUN_COLUMNS: Final = (
    "r.id, r.event, r.claim, l.event_type, r.occurrence, r.attempt, r.started, r.finished, "
    "r.outcome, r.will_retry, r.result, r.result_error, r.error, r.host, r.plugin, r.version, "
    "r.generation, r.covers, r.cause, r.resources, r.progress, r.progress_text, r.resource, "
    "r.origin, r.user"
)


def page(items: list[Any], total: int | Callable[[], int], limit: int) -> Page[Any]:
    """A page of up to ``limit`` of ``items``, which are one more where another page follows."""
    kept = items[:limit]
    return Page(items=kept, total=total, next=kept[-1].id if len(items) > limit else None)


def event(row: Sequence[Any]) -> ScheduledEvent:
    """A row of EVENT_COLUMNS."""
    return ScheduledEvent(
        id=row[0],
        event_type=row[1],
        schema_version=row[2],
        arguments=json.loads(row[3]),
        schedule=json.loads(row[4]),
        due=None if row[5] is None else from_micros(row[5]),
        state=State(row[6]),
        paused=bool(row[7]),
        attempt=row[8],
        key=row[9],
        resource=row[10],
        origin=row[11],
        description=row[12],
        priority=row[13],
        created=from_micros(row[14]),
        last_outcome=None if row[15] is None else Outcome(row[15]),
        reason=row[16],
        user=row[17],
        resources=None if row[18] is None else tuple(json.loads(row[18])),
        blocked=row[19],
    )


def run(row: Sequence[Any]) -> Run:
    """A row of RUN_COLUMNS."""
    return Run(
        id=row[0],
        event_id=row[1],
        claim=row[2],
        event_type=row[3],
        occurrence=from_micros(row[4]),
        attempt=row[5],
        started=from_micros(row[6]),
        finished=None if row[7] is None else from_micros(row[7]),
        outcome=None if row[8] is None else Outcome(row[8]),
        will_retry=bool(row[9]),
        result=None if row[10] is None else json.loads(row[10]),
        result_error=row[11],
        error=row[12],
        resources=None if row[19] is None else json.loads(row[19]),
        host=row[13],
        plugin=row[14],
        version=row[15],
        generation=row[16],
        covers=row[17],
        cause=None if row[18] is None else Cause(row[18]),
        progress=row[20],
        progress_text=row[21],
        resource=row[22],
        origin=row[23],
        user=row[24],
    )


def host_row(host: HostRecord) -> tuple[Any, ...]:
    """The row of a host."""
    return (
        host.id,
        host.name,
        host.identity,
        host.pid,
        host.beat,
        host.beaten,
        json.dumps(dict(host.event_types)),
        json.dumps(list(host.kinds)),
    )


def host(row: Sequence[Any]) -> HostRecord:
    """A row of horae_host."""
    return HostRecord(
        id=row[0],
        name=row[1],
        identity=row[2],
        pid=row[3],
        beat=row[4],
        beaten=row[5],
        event_types=json.loads(row[6]),
        kinds=json.loads(row[7]),
    )


def plugin_report(row: PluginRow) -> dict[str, Any]:
    """The parameters of REPORT_PLUGIN."""
    texts = {
        "event_types": json.dumps(list(row.event_types)),
        "report": _text(row.report),
        "settings_schema": _text(row.settings_schema),
        "suspended": _text(None if row.suspended is None else attrs.asdict(row.suspended)),
    }
    return attrs.asdict(row, recurse=False) | texts


def _text(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(dict(value))


def plugin_row(row: Sequence[Any]) -> PluginRow:
    """A row of PLUGIN_ROWS."""
    return PluginRow(
        host=row[0],
        plugin=row[1],
        desired=row[2],
        action=row[3],
        drain=row[4],
        requested=row[5],
        done=row[6],
        state=PluginState(row[7]),
        reason=row[8],
        distribution=row[9],
        version=row[10],
        generation=row[11],
        event_types=json.loads(row[12]),
        report=None if row[13] is None else json.loads(row[13]),
        ok=bool(row[14]),
        include_dependents=bool(row[15]),
        settings_schema=None if row[16] is None else json.loads(row[16]),
        suspended=None if row[17] is None else Suspension(**json.loads(row[17])),
        record=row[18],
    )
