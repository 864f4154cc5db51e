"""``horae event cancel``, ``pause``, ``resume`` and ``run-now``: one verb for many events.

Events are named by their ids, or all at once by what they have in common.
"""

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
    "event_ids", metavar="[ID]...", type=int, nargs=-1
)


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options in place of ids: what events have in common."""
    event_type = click.option("--type", "event_type", help="All events of this type.")
    origin = click.option("--origin", help="All events of this origin.")
    resource = click.option("--resource", help="All events for this resource.")
    return event_type(origin(resource(command)))


@click.command(cls=Command)
@_ids
@_common
@click.option("--reason", default="", help="Kept with the event.")
def cancel(event_ids: Sequence[int], reason: str, **common: str | None) -> None:
    """End events: no further occurrence; a run under way is asked to end.

    Without an ID, all events that match every option.
    """
    filters = _either(event_ids, common)
    if filters:
        with client() as host:
            count = host.cancel_all(reason, **filters)
        click.echo(f"Events cancelled: {count:,}.")
        return
    _each(
        event_ids,
        lambda host, event_id: host.cancel(event_id, reason),
        "is cancelled",
        "is running, and was asked to end",
    )


@click.command(cls=Command)
@_ids
@_common
def pause(event_ids: Sequence[int], **common: str | None) -> None:
    """Keep events from running; a run under way goes on.

    With an option in place of IDs, all events that it names, and those that come later.
    """
    rule = _rule(event_ids, common)
    if not rule:
        _each(event_ids, Host.pause, "is paused")
        return
    with client() as host:
        added = host.pause(**rule)
    click.echo(f"All events of {_name(rule)} are paused{'' if added else ' already'}.")


@click.command(cls=Command)
@_ids
@_common
def resume(event_ids: Sequence[int], **common: str | None) -> None:
    """Let paused events run again; an option takes back the pause with the same option."""
    rule = _rule(event_ids, common)
    if not rule:
        _each(event_ids, Host.resume, "may run again")
        return
    with client() as host:
        removed = host.resume(**rule)
    if not removed:
        click.echo(f"Nothing pauses {_name(rule)}; horae event pauses lists what does.", err=True)
        fail()
    else:
        click.echo(f"All events of {_name(rule)} may run again.")


@click.command("run-now", cls=Command)
@click.argument("event_ids", metavar="ID...", type=int, nargs=-1, required=True)
def run_now(event_ids: Sequence[int]) -> None:
    """Make pending or quarantined events due now."""
    _each(event_ids, Host.run_now, "is due now")


def _either(event_ids: Sequence[int], common: dict[str, str | None]) -> dict[str, str]:
    """The options that are given. Raises UsageError unless there are either ids or options."""
    given = {name: value for name, value in common.items() if value is not None}
    if bool(event_ids) == bool(given):
        raise click.UsageError("Give either IDs, or --type, --origin or --resource.")
    return given


def _rule(event_ids: Sequence[int], common: dict[str, str | None]) -> dict[str, Any]:
    """The option that is given, if any is. Raises UsageError for several."""
    rule: dict[str, Any] = {**_either(event_ids, common)}
    if len(rule) > 1:
        raise click.UsageError("Give one of --type, --origin and --resource: each is its own rule.")
    return rule


def _name(rule: dict[str, Any]) -> str:
    ((field, value),) = rule.items()
    return f"{field.removeprefix('event_')} {value}"


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
