"""``horae store``: the database behind everything."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from horae.cli.failures import DAMAGED
from horae.cli.groups import Group
from horae.cli.output import json_option, listing, print_json
from horae.cli.progress import progress, size_of
from horae.cli.session import client


@click.group(cls=Group)
def store() -> None:
    """Migrate, check, export and import the store."""


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


@store.command()
@click.argument("file", default="-")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def export(file: str, force: bool) -> None:
    """Write all types, rules, events and runs to FILE, as lines of JSON.

    Without FILE, or with -, to standard output. No plugin is needed, and hosts may go on: what is
    written is the store at one instant.
    """
    with client() as host, _written(file, force) as out, progress("Exporting") as advance:
        counts: dict[str, int] = {}
        for line in host.store.export_lines(host.clock.micros()):
            data = line.encode() + b"\n"
            out.write(data)
            advance(len(data))
            tag = line[2 : line.index('"', 2)]
            counts[tag] = counts.get(tag, 0) + 1
        url = host.store.url
    click.echo(f"Exported from {url}: {_told(counts)}.", err=True)


@store.command("import")
@click.argument("file", type=click.File("rb"))
def import_(file: BinaryIO) -> None:
    """Store what FILE holds, an export, in a store that has no events yet.

    With - from standard input. Ids stay; what was running when it was exported is tried again. A
    line that is wrong is named, and nothing is imported then.
    """
    with client() as host, progress("Importing", size_of(file)) as advance:
        counts = host.store.import_lines(_told_to(advance, file))
        url = host.store.url
    click.echo(f"Imported into {url}: {_told(counts)}.", err=True)


def _told(counts: Mapping[str, int]) -> str:
    words = {"event": "events", "run": "runs", "event_type": "types", "pause": "pauses"}
    return ", ".join(f"{word}: {counts.get(tag, 0):,}" for tag, word in words.items())


def _told_to(advance: Callable[[int], None], file: BinaryIO) -> Iterator[bytes]:
    for line in file:
        advance(len(line))
        yield line


@contextmanager
def _written(name: str, force: bool) -> Iterator[BinaryIO]:
    """A file that is there as a whole, and durably, or not at all; a dash is standard output."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(name) and not force:
        raise click.ClickException(f"{name} is there already; --force overwrites it.")
    part = Path(f"{name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(name)
    except OSError as error:
        raise click.ClickException(f"{name} cannot be written: {error}") from None
    finally:
        part.unlink(missing_ok=True)
