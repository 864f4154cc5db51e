"""``horae event update`` and ``reschedule``: another description, other arguments, other times."""

from typing import Any

import attrs
import click

from horae.cli.event_scheduling import parse_arguments, parse_when
from horae.cli.failures import fail
from horae.cli.groups import Command
from horae.cli.output import json_option, one_line, print_json
from horae.cli.session import client
from horae.host import Host
from horae.stores.records import PRIORITIES


@click.command(cls=Command)
@click.argument("event_id", metavar="ID", type=int)
@click.option("--args", "arguments", metavar="JSON|@FILE|-", help="In place of all it has.")
@click.option("--description", help="For people.")
@click.option(
    "--priority", type=click.IntRange(PRIORITIES[0], PRIORITIES[-1]), help="0 comes first."
)
@json_option
def update(event_id: int, arguments: str | None, as_json: bool, **fields: Any) -> None:
    """Change an event in place; other arguments bring it back from quarantine.

    When it is due stays as it is, and a run under way goes on with what it had.
    """
    given = None if arguments is None else parse_arguments(arguments)
    if given is None and all(value is None for value in fields.values()):
        raise click.UsageError("Give at least one of --args, --description and --priority.")
    with client() as host:
        changed = host.update(event_id, arguments=given, **fields)
        _tell(host, event_id, changed, as_json)


@click.command(cls=Command)
@click.argument("event_id", metavar="ID", type=int)
@click.argument("schedule", metavar="TEXT")
@click.option("--new-phase", is_flag=True, help="Count from now, whatever the phase was before.")
@json_option
def reschedule(event_id: int, schedule: str, new_phase: bool, as_json: bool) -> None:
    """Give an event another schedule: 'in 10m', 'every 5m', 'cron 0 9 * * mon-fri', an instant.

    A run under way goes on, and what follows it changes.
    """
    with client() as host:
        changed = host.reschedule(event_id, parse_when(schedule), keep_phase=not new_phase)
        _tell(host, event_id, changed, as_json)


def _tell(host: Host, event_id: int, changed: bool, as_json: bool) -> None:
    event = host.get(event_id)
    assert event is not None
    coming = host.upcoming(1, event_id=event_id)
    if not changed:
        click.echo(f"Event {event_id} is {event.state}, so nothing was changed.", err=True)
        fail()
    if as_json:
        print_json(attrs.asdict(event))
    else:
        due = one_line(coming[0].due) if coming else "never again"
        click.echo(f"Event {event_id} is changed, and due {due}.")
