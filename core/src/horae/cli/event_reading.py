"""``horae event list``, ``show`` and ``history``."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import click

from horae.cli.groups import Command
from horae.cli.output import Row, json_option, listing, many_lines, print_json, record
from horae.cli.session import client
from horae.errors import EventNotFound
from horae.scheduling.operations import PAGE
from horae_hookspecs import Outcome, Page, Run, ScheduledEvent, State

EVENT_COLUMNS: Final = (
    "id event_type state paused due priority attempt last_outcome key resource origin description"
)
RUN_COLUMNS: Final = (
    "id event_id event_type outcome cause attempt occurrence started took host plugin version "
    "problem"
)
SHOWN_RUN_COLUMNS: Final = (
    "id claim outcome cause will_retry attempt occurrence covers started took host plugin version "
    "generation result"
)
RESOURCE_COLUMNS: Final = "resource outcome result problem"


def _paged(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every long listing."""
    limit = click.option(
        "--limit", type=click.IntRange(min=1), default=PAGE, show_default=True, help="Rows at most."
    )
    after = click.option("--after", metavar="ID", type=int, default=0, help="Go on behind this id.")
    return limit(after(json_option(command)))


@click.command("list", cls=Command)
@click.option("--type", "event_type", multiple=True, help="Only this type; may be repeated.")
@click.option(
    "--state",
    multiple=True,
    type=click.Choice([one.value for one in State]),
    help="May be repeated.",
)
@click.option("--origin", help="Only events of this origin.")
@click.option("--resource", help="Only events for this resource.")
@click.option("--key", help="Only events with this key.")
@_paged
def list_events(limit: int, after: int, as_json: bool, **filters: Any) -> None:
    """List events in order of their ids."""
    with client() as host:
        page = host.events(limit=limit, after=after, **_given(filters))
    rows = [_event_row(event) for event in page]
    listing(rows, EVENT_COLUMNS, as_json=as_json, empty="No event matches.")
    _tell_rest(page)


@click.command(cls=Command)
@click.argument("event_id", metavar="ID", type=int)
@json_option
def show(event_id: int, as_json: bool) -> None:
    """Show one event and its runs, with their errors in full."""
    with client() as host:
        event = host.get(event_id)
        runs = host.runs(event_id=event_id, limit=PAGE)
        causes = host.causes(event_id=event_id)
    if event is None:
        raise EventNotFound(event_id)
    shown = {**_event_row(event), "causes": causes}
    rows = [_run_row(run) for run in runs]
    if as_json:
        print_json({**shown, "runs": rows})
        return
    record(shown, as_json=False)
    click.echo()
    listing(rows, SHOWN_RUN_COLUMNS, as_json=False, empty="It has not run yet.")
    for run in runs:
        if said := run.error or run.result_error:
            click.echo(f"\nRun {run.id} {run.outcome}:\n  {many_lines(said, indent=2)}")
        if run.resources:
            click.echo(f"\nResources of run {run.id}:")
            listing(_resource_rows(run.resources), RESOURCE_COLUMNS, as_json=False, empty="")
    _tell_rest(runs, f"horae event history --event {event_id}")


@click.command(cls=Command)
@click.option("--type", "event_type", multiple=True, help="Only this type; may be repeated.")
@click.option("--event", "event_id", metavar="ID", type=int, help="Only runs of this event.")
@click.option(
    "--outcome",
    multiple=True,
    type=click.Choice([one.value for one in Outcome]),
    help="May be repeated.",
)
@_paged
def history(limit: int, after: int, as_json: bool, **filters: Any) -> None:
    """List runs in the order in which they were claimed."""
    with client() as host:
        page = host.runs(limit=limit, after=after, **_given(filters))
    rows = [_run_row(run) for run in page]
    listing(rows, RUN_COLUMNS, as_json=as_json, empty="No run matches.")
    _tell_rest(page)


def _given(filters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in filters.items() if value not in (None, ())}


def _event_row(event: ScheduledEvent) -> Row:
    return attrs.asdict(event)


def _run_row(run: Run) -> Row:
    took = run.finished - run.started if run.finished else None
    # Of a traceback, the last line says what happened; the whole of it is for `event show`.
    return {**attrs.asdict(run), "took": took, "problem": _last(run.error or run.result_error)}


def _resource_rows(resources: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    return [
        {
            "resource": name,
            "outcome": told["outcome"],
            "result": told.get("result"),
            "problem": _last(told.get("error") or told.get("result_error") or told.get("reason")),
        }
        for name, told in resources.items()
    ]


def _last(text: str | None) -> str | None:
    return (text or "").strip().rpartition("\n")[2] or None


def _tell_rest(page: Page[Any], command: str = "the same command") -> None:
    if page.next is not None:
        click.echo(
            f"These are {len(page)} of {page.total:,}; {command} with --after {page.next} goes on.",
            err=True,
        )
