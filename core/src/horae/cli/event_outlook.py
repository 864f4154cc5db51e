"""``horae event upcoming`` and ``pauses``: what will run, and what is held back."""

import attrs
import click

from horae.cli.groups import Command
from horae.cli.output import json_option, listing
from horae.cli.session import client


@click.command(cls=Command)
@click.argument("event_id", metavar="[ID]", type=int, required=False)
@click.option(
    "-n", "count", type=click.IntRange(min=1), default=10, show_default=True, help="Rows at most."
)
@json_option
def upcoming(event_id: int | None, count: int, as_json: bool) -> None:
    """List the next occurrences of an event, or of all that wait and are not paused."""
    with client() as host:
        rows = [attrs.asdict(one) for one in host.upcoming(count, event_id=event_id)]
    columns = "due event_id event_type occurrence"
    listing(rows, columns, as_json=as_json, empty="Nothing is to come.")


@click.command(cls=Command)
@json_option
def pauses(as_json: bool) -> None:
    """List what holds back all events of a type, an origin or a resource."""
    with client() as host:
        rows = [attrs.asdict(rule) for rule in host.pauses()]
    listing(rows, "field value since", as_json=as_json, empty="Nothing is paused as a whole.")
