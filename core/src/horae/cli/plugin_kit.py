"""``horae plugin new`` and ``check``: for the authors of plugins."""

import json
from pathlib import Path
from typing import Any

import attrs
import click

from horae.cli.failures import fail
from horae.cli.groups import Command
from horae.cli.output import json_option, many_lines, print_json
from horae.testing.check import Wishes
from horae.testing.check import check as check_plugin
from horae.testing.project import write_project
from horae.testing.steps import GRADES, Step, grade


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


def _object(text: str) -> Any:
    """A JSON object on the command line."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f'{text!r} is no JSON object, such as \'{{"who": "me"}}\'')
    return found


@click.command(cls=Command)
@click.argument("target", metavar="PATH_OR_NAME")
@click.option(
    "--previous",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A wheel of an earlier version, to upgrade from.",
)
@click.option(
    "--example",
    "examples",
    metavar="TYPE JSON",
    type=(str, str),
    multiple=True,
    help="Arguments to run a type with; else those that its fields give, or defaults.",
)
@click.option(
    "--settings",
    metavar="JSON",
    default="{}",
    help="Settings of plugins: a JSON object by their names.",
)
@click.option("--no-use", is_flag=True, help="Run no job of the plugin.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=300,
    show_default=True,
    help="How long all steps in the scratch environment may take.",
)
@json_option
def check(
    target: str,
    previous: Path | None,
    examples: tuple[tuple[str, str], ...],
    settings: str,
    no_use: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Take a plugin through its whole life in a scratch environment, and grade it.

    It is a project's folder, a wheel, or an installed plugin. It is built, installed, loaded, used
    (each type is run once), unloaded, upgraded and rolled back; this environment is not touched.
    The exit code is 0 for the grades A and B.
    """
    wishes = Wishes(
        previous=previous,
        examples={event_type: _object(text) for event_type, text in examples},
        settings=_object(settings),
        use=not no_use,
        timeout=timeout,
    )
    steps = []
    for step in check_plugin(target, wishes):
        steps.append(step)
        if not as_json:
            click.echo(_line(step))
    given = grade(steps)
    if as_json:
        print_json({"grade": given, "steps": [attrs.asdict(step) for step in steps]})
    else:
        click.echo(f"\nGrade {given}: {GRADES[given]}")
    if given > "B":
        fail()


def _line(step: Step) -> str:
    head = f"{step.verdict:<8} {step.name} ({step.seconds:.1f} s)"
    return f"{head}\n         {many_lines(step.detail, indent=9)}" if step.detail else head
