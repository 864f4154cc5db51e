"""``horae store``: the database behind everything."""

import click

from horae.cli.failures import DAMAGED
from horae.cli.groups import Group
from horae.cli.output import json_option, listing, print_json
from horae.cli.session import client


@click.group(cls=Group)
def store() -> None:
    """Migrate and check the store."""


@store.command()
@json_option
def migrate(as_json: bool) -> None:
    """Bring the schema up to date; every command does so when it opens the store."""
    with client() as host:
        url, schema = host.store.url, host.store.schema()
    if as_json:
        print_json({"store": url, "schema": schema})
    else:
        click.echo(f"{url} has schema {schema}, the newest that this horae knows.")


@store.command()
@json_option
def check(as_json: bool) -> None:
    """Look at every page for damage; exit code 3 when there is any."""
    with client() as host:
        url, findings = host.store.url, host.store.check()
    rows = [{"finding": finding} for finding in findings]
    listing(rows, "finding", as_json=as_json, empty=f"{url} is in order.")
    if findings:
        click.echo("Restore the store from a backup; horae never repairs it.", err=True)
        click.get_current_context().exit(DAMAGED)
