"""``horae event list``, ``show``, ``history`` and ``overview``."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs
import click

from horae.cli.groups import Command
from horae.cli.output import Row, json_option, listing, many_lines, print_json, record
from horae.cli.session import client
from horae.errors import EventNotFound
from horae.scheduling.operations import PAGE
from horae_hookspecs import Cause, Counts, Outcome, Page, Run, ScheduledEvent, State

EVENT_COLUMNS: Final = (
    "id event_type state paused due priority attempt last_outcome key resource origin description"
)
RUN_COLUMNS: Final = (
    "id event_id event_type outcome cause progress attempt occurrence started took resource origin "
    "host plugin version problem"
)
SHOWN_RUN_COLUMNS: Final = (
    "id claim outcome cause progress progress_text will_retry attempt occurrence covers started "
    "took host plugin version generation result"
)
RESOURCE_COLUMNS: Final = "resource outcome result problem"


def _instant(text: str) -> datetime:
    """An instant in ISO 8601; without a zone it would be another one on every machine."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no instant; write 2026-12-24T18:00Z.") from None
    if instant.utcoffset() is None:
        raise click.BadParameter(f"{text!r} names no zone; add Z for UTC, or one like +01:00.")
    return instant


def _paged(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options of every long listing; ``what`` its times are of."""
    options = (
        click.option(
            "--since", type=_instant, metavar="INSTANT", help=f"Only what {what} then or later."
        ),
        click.option("--until", type=_instant, metavar="INSTANT", help=f"Only what {what} before."),
        click.option("--newest-first", is_flag=True, help="Begin with the highest id."),
        click.option("--after", metavar="ID", type=int, default=0, help="Go on behind this id."),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            default=PAGE,
            show_default=True,
            help="Rows at most.",
        ),
        json_option,
    )
    return _all_of(*options)


def _all_of(
    *options: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


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
@click.option("--user", help="Only events on behalf of this user.")
@click.option("--key", help="Only events with this key.")
@click.option(
    "--due-since", type=_instant, metavar="INSTANT", help="Only what is due then or later."
)
@click.option("--due-until", type=_instant, metavar="INSTANT", help="Only what is due before.")
@_paged("was stored")
def list_events(as_json: bool, **filters: Any) -> None:
    """List events in order of their ids."""
    with client() as host:
        page = host.events(**_given(filters))
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
        if event is None:
            raise EventNotFound(event_id)
        runs = host.runs(event_id=event_id)
        shown = {**_event_row(event), "causes": host.causes(event_id=event_id)}
        rows = [_run_row(run) for run in runs]
        if as_json:
            print_json({**shown, "runs": rows})
            return
        record(shown, as_json=False)
        click.echo()
        listing(rows, SHOWN_RUN_COLUMNS, as_json=False, empty="It has not run yet.")
        for run in runs:
            _tell_in_full(run)
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
@click.option(
    "--cause",
    multiple=True,
    type=click.Choice([one.value for one in Cause]),
    help="Why it did not succeed; may be repeated.",
)
@click.option("--origin", help="Only runs of events of this origin.")
@click.option("--resource", help="Only runs of events for this resource.")
@click.option("--user", help="Only runs on behalf of this user.")
@_paged("started")
def history(as_json: bool, **filters: Any) -> None:
    """List runs in the order in which they were claimed."""
    with client() as host:
        page = host.runs(**_given(filters))
        rows = [_run_row(run) for run in page]
        listing(rows, RUN_COLUMNS, as_json=as_json, empty="No run matches.")
        _tell_rest(page)


@click.command(cls=Command)
@json_option
def overview(as_json: bool) -> None:
    """Count the events of each type by state, and its runs by outcome."""
    with client() as host:
        counted = host.overview()
    if as_json:
        print_json({name: {"states": c, "outcomes": c.outcomes} for name, c in counted.items()})
        return
    rows = [{"event_type": name, **c, **_run_counts(c)} for name, c in counted.items()]
    columns = ["event_type", *State, *(f"runs_{one}" for one in Outcome)]
    shown = [name for name in columns if any(row.get(name) for row in rows)]
    table = [{name: row.get(name, 0) for name in shown} for row in rows]
    names = " ".join(shown or ["event_type"])
    listing(table, names, as_json=False, empty="There is no event.")


def _run_counts(counts: Counts) -> dict[str, int]:
    return {f"runs_{outcome}": count for outcome, count in counts.outcomes.items()}


def _tell_in_full(run: Run) -> None:
    if said := run.error or run.result_error:
        click.echo(f"\nRun {run.id} {run.outcome}:\n  {many_lines(said, indent=2)}")
    if run.resources:
        click.echo(f"\nResources of run {run.id}:")
        listing(_resource_rows(run.resources), RESOURCE_COLUMNS, as_json=False, empty="")


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
