"""``horae event cancel``, ``pause``, ``resume`` and ``run-now``: one verb for many events."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from horae.cli.failures import fail
from horae.cli.groups import Command
from horae.cli.session import client
from horae.errors import EventNotFound
from horae.host import Host
from horae_hookspecs import State

_ids: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "event_ids", metavar="ID...", type=int, nargs=-1, required=True
)


@click.command(cls=Command)
@_ids
@click.option("--reason", default="", help="Kept with the event.")
def cancel(event_ids: Sequence[int], reason: str) -> None:
    """End events: no further occurrence; a run under way is asked to end."""
    _each(
        event_ids,
        lambda host, event_id: host.cancel(event_id, reason),
        "is cancelled",
        "is running, and was asked to end",
    )


@click.command(cls=Command)
@_ids
def pause(event_ids: Sequence[int]) -> None:
    """Keep events from running; a run under way goes on."""
    _each(event_ids, Host.pause, "is paused")


@click.command(cls=Command)
@_ids
def resume(event_ids: Sequence[int]) -> None:
    """Let paused events run again."""
    _each(event_ids, Host.resume, "may run again")


@click.command("run-now", cls=Command)
@_ids
def run_now(event_ids: Sequence[int]) -> None:
    """Make pending or quarantined events due now."""
    _each(event_ids, Host.run_now, "is due now")


def _each(
    event_ids: Sequence[int],
    verb: Callable[[Host, int], bool],
    done: str,
    running: str | None = None,
) -> None:
    """Apply ``verb`` to each event; one that cannot be changed keeps no other from it."""
    with client() as host:
        changed = [_change(host, event_id, verb, done, running or done) for event_id in event_ids]
    if not all(changed):
        fail()


def _change(
    host: Host, event_id: int, verb: Callable[[Host, int], bool], done: str, running: str
) -> bool:
    try:
        changed = verb(host, event_id)
    except EventNotFound as error:
        click.echo(str(error), err=True)
        return False
    event = host.get(event_id)
    state = event.state if event else "gone"
    if not changed:
        click.echo(f"Event {event_id} is {state}, so nothing was changed.", err=True)
        return False
    click.echo(f"Event {event_id} {running if state == State.RUNNING else done}.")
    return True
