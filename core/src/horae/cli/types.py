"""``horae type``: what the store remembers of event types, and which of them events wait for."""

import difflib

import attrs
import click

from horae.cli.groups import Group
from horae.cli.output import Row, json_option, listing, print_json, record, since
from horae.cli.session import client
from horae.errors import UnknownEventType
from horae_hookspecs import WaitingType


@click.group("type", cls=Group)
def types() -> None:
    """Event types, and those that wait for their plugin."""


@types.command("list")
@json_option
def list_types(as_json: bool) -> None:
    """List every type that any plugin ever provided on this store."""
    with client() as host:
        rows = [attrs.asdict(one) for one in host.event_types()]
    columns = "event_type schema_version plugin distribution version loaded"
    listing(rows, columns, as_json=as_json, empty="No plugin has provided a type here yet.")


@types.command()
@click.argument("event_type", metavar="TYPE")
@json_option
def show(event_type: str, as_json: bool) -> None:
    """Show who provides a type, and the JSON Schema of its arguments."""
    with client() as host:
        known = {one.event_type: one for one in host.event_types()}
    if event_type not in known:
        near = difflib.get_close_matches(event_type, list(known), n=1)
        raise UnknownEventType(event_type, nearest=next(iter(near), None))
    row = attrs.asdict(known[event_type], recurse=False)
    if as_json:
        print_json(row)
        return
    schema = row.pop("schema")
    record(row, as_json=False)
    click.echo()
    print_json(schema)


@types.command()
@json_option
def waiting(as_json: bool) -> None:
    """List the types with pending events that no running host can run, and what to do."""
    with client() as host:
        rows = [_row(one) for one in host.waiting()]
    columns = "event_type pending overdue oldest_due age plugin distribution version reason remedy"
    listing(rows, columns, as_json=as_json, empty="No event waits for its type.")


def _row(waiting: WaitingType) -> Row:
    return {**attrs.asdict(waiting), "age": since(waiting.oldest_due)}
