"""``horae plugin new`` and ``check``: for the authors of plugins."""

from pathlib import Path

import click

from horae.cli.groups import Command
from horae.testing.project import write_project


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where to put it; left out, a new folder of the plugin's name.",
)
def new(name: str, folder: Path | None) -> None:
    """Write the project of a new plugin, with tests, that gets the top grade of its check."""
    target = folder or Path(name)
    for path in write_project(name, target):
        click.echo(path)
    click.echo(f"\nNow: cd {target} && pip install -e '.[test]' && pytest && horae plugin check .")
