"""``horae event schedule``: one event from options, or many from lines of JSON."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO

import attrs
import click

from horae.cli.event_lines import store_lines
from horae.cli.groups import Command
from horae.cli.output import json_option, one_line, print_json
from horae.cli.session import client
from horae.stores.records import PRIORITIES


@click.command(cls=Command)
@click.argument("event_type", metavar="[TYPE]", required=False)
@click.option("--args", "arguments", metavar="JSON|@FILE|-", help="The arguments, a JSON object.")
@click.option(
    "--at",
    "--schedule",
    "schedule",
    metavar="TEXT",
    help="When: 'in 10m', 'every 5m', 'daily at 02:30 in Europe/Berlin', 'cron 0 9 * * mon-fri', "
    "an instant; left out, it is now.",
)
@click.option("--key", help="Unique per origin among events that are not over.")
@click.option(
    "--resource",
    "resources",
    multiple=True,
    help="What the event is about; repeat it for a job that takes several.",
)
@click.option("--origin", help="Who asks for it.")
@click.option("--description", help="For people.")
@click.option(
    "--priority",
    type=click.IntRange(PRIORITIES[0], PRIORITIES[-1]),
    default=1,
    show_default=True,
    help="0 comes first.",
)
@click.option(
    "--missed",
    type=click.Choice(["run_once", "run_all", "skip"]),
    help="What becomes of occurrences that were missed; left out, what the type says.",
)
@click.option(
    "--absent",
    type=click.Choice(["hold", "skip"]),
    help="What becomes of those that fall due while the type is absent; left out, as it says.",
)
@click.option("--allow-unknown", is_flag=True, help="Store it even if nobody knows the type.")
@click.option(
    "--on-conflict",
    type=click.Choice(["keep", "replace", "error"]),
    default="keep",
    show_default=True,
    help="What to do when the key is taken.",
)
@click.option(
    "--many",
    metavar="FILE",
    type=click.File("rb"),
    help="Requests instead of TYPE: JSON lines with the fields of an event; - is standard input.",
)
@json_option
def schedule(
    event_type: str | None,
    arguments: str | None,
    schedule: str | None,
    resources: Sequence[str],
    many: BinaryIO | None,
    as_json: bool,
    **fields: Any,
) -> None:
    """Store an event of a type, or with --many one for each line of a file.

    Lines are objects with event_type and, as needed, arguments, schedule, key, resource,
    resources, origin, description, priority and allow_unknown. Each 1,000 lines are stored
    together: all or none.
    """
    if (event_type is None) == (many is None):
        raise click.UsageError("Give either a TYPE, or --many FILE.")
    if many is not None:
        _schedule_many(many, as_json)
        return
    given = parse_arguments(arguments)
    if resources:
        fields |= {"resource": resources[0]} if len(resources) == 1 else {"resources": resources}
    with client() as host:
        event = host.schedule(str(event_type), given, parse_when(schedule), **fields)
    if as_json:
        print_json(attrs.asdict(event))
    else:
        click.echo(f"Event {event.id} ({event.event_type}) is due {one_line(event.due)}.")


def _schedule_many(file: BinaryIO, as_json: bool) -> None:
    with client() as host:
        ids = store_lines(host, file)
    if as_json:
        print_json(ids)
    else:
        click.echo(f"Events stored: {len(ids):,}.")


def parse_when(text: str | None) -> datetime | str | None:
    """A bare instant, as people write after ``--at``; any other text is for the schedule kinds."""
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return text


def parse_arguments(given: str | None) -> Mapping[str, Any]:
    """The arguments as JSON. Raises BadParameter, with the place of the mistake."""
    if given is None:
        return {}
    text = _read(given)
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad(
            f"no JSON: {error.msg} at line {error.lineno}, column {error.colno}: "
            f"{one_line(text[max(0, error.pos - 20) : error.pos + 20])!r}"
        ) from None
    if not isinstance(arguments, dict):
        raise _bad(f'a JSON object is needed, such as \'{{"url": "..."}}\', not {arguments!r}')
    return arguments


def _read(given: str) -> str:
    if given != "-" and not given.startswith("@"):
        return given
    try:
        with click.open_file(given.removeprefix("@"), encoding="utf-8") as file:
            text: str = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(f"{given} cannot be read: {error}") from None
    return text


def _bad(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="--args")
