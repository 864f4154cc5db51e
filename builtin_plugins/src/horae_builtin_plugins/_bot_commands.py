"""``horae bot list``, ``create`` and ``archive``; imported when the command line asks for it."""

import json
from contextlib import AbstractContextManager
from typing import Any

import attrs
import click

from horae_builtin_plugins._bots import Action, ActiveBot, Bot, BotExists, BotHost, archive, create
from horae_builtin_plugins._bots import bots as active_bots


@click.group()
def bot() -> None:
    """Bots: actions taken again and again on the resources that match a filter."""


def _client() -> AbstractContextManager[BotHost]:
    client: AbstractContextManager[BotHost] = click.get_current_context().obj()
    return client


@bot.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; instants are ISO 8601 in UTC.")
def list_bots(as_json: bool) -> None:
    """List the bots that are not archived, and the actions that they wait for."""
    with _client() as host:
        found = active_bots(host)
    if as_json:
        click.echo(json.dumps([attrs.asdict(one) for one in found], indent=2, default=str))
    elif not found:
        click.echo("There is no bot. Make one with: horae bot create", err=True)
    for one in () if as_json else found:
        click.echo(_line(one))


def _line(one: ActiveBot) -> str:
    due = "never" if one.due is None else f"{one.due:%Y-%m-%dT%H:%M:%SZ}"
    state = "paused" if one.paused else f"next round {due}"
    waits = f", waits for {', '.join(one.waiting)}" if one.waiting else ""
    actions = ", ".join(uid for uid, _ in one.actions)
    return f"{one.name}: {actions} on {one.resources} {json.dumps(one.filter)}; {state}{waits}"


def _action(_context: object, _parameter: object, values: tuple[str, ...]) -> list[Action]:
    return [
        (uid, _object(settings) if settings else {})
        for uid, _, settings in (value.partition("=") for value in values)
    ]


def _filter(_context: object, _parameter: object, value: str) -> dict[str, Any]:
    return _object(value)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.BadParameter(f"{text!r} is no JSON object")
    return value


@bot.command("create")
@click.argument("name")
@click.option("--resources", metavar="KIND", required=True, help="What its resources are.")
@click.option(
    "--action",
    "actions",
    metavar="UID[=JSON]",
    multiple=True,
    required=True,
    callback=_action,
    help="An action, and its settings; may be repeated.",
)
@click.option(
    "--at",
    "--schedule",
    "schedule",
    metavar="TEXT",
    required=True,
    help="When its rounds are: 'every 1h', 'cron 0 9 * * mon-fri'.",
)
@click.option(
    "--filter",
    "conditions",
    metavar="JSON",
    default="{}",
    callback=_filter,
    help='Which resources: {"state": "stopped", "size": {"not": [1, 2]}}; all if left out.',
)
def create_bot(
    name: str, resources: str, actions: list[Action], schedule: str, conditions: dict[str, Any]
) -> None:
    """Make a bot; its settings and filter are checked, and all of it is stored or nothing."""
    with _client() as host:
        try:
            ids = create(host, Bot(name, resources, actions, schedule, conditions))
        except (BotExists, ValueError) as error:
            raise click.ClickException(str(error)) from None
    listed = ", ".join(map(str, ids))
    click.echo(f"Bot {name} was made; its rounds are event {listed}.")


@bot.command("archive")
@click.argument("name")
def archive_bot(name: str) -> None:
    """End a bot: cancel its rounds and all that they have scheduled; its history stays."""
    with _client() as host:
        count = archive(host, name)
    if not count:
        raise click.ClickException(f"There is no bot {name!r}, or nothing of it is pending.")
    click.echo(f"Bot {name} was archived; {count:,} of its events were cancelled.")
