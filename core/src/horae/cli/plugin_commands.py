"""``horae plugin load``, ``unload`` and ``upgrade``: ask the running hosts, show their verdicts."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import click

from horae.cli.failures import fail
from horae.cli.groups import Command
from horae.cli.output import json_option, many_lines, print_json
from horae.cli.session import client
from horae.stores.records import PluginAction, PluginRow

AnyCommand = Callable[..., Any]


def asking_hosts(command: AnyCommand, seconds: int) -> AnyCommand:
    """What a command takes that running hosts carry out; by default it waits for ``seconds``."""
    drain = click.option(
        "--drain",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        help="How long the plugin's runs may take to end; left out, the host decides.",
    )
    timeout = click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        default=seconds,
        show_default=True,
        help="How long to wait for the hosts, beyond the drain.",
    )
    return drain(timeout(json_option(command)))


def _asking(command: AnyCommand) -> AnyCommand:
    name: Callable[[AnyCommand], AnyCommand] = click.argument("name")
    return name(asking_hosts(command, seconds=60))


@click.command(cls=Command)
@_asking
def load(**asked: Any) -> None:
    """Load an installed plugin on every running host, now and at each start."""
    _ask("load", **asked)


with_dependents = click.option(
    "--include-dependents", is_flag=True, help="With the plugins that need it, the latest first."
)


@click.command(cls=Command)
@_asking
@with_dependents
def unload(**asked: Any) -> None:
    """Take a plugin out of every running host; its pending events wait, untouched."""
    _ask("unload", **asked)


@click.command(cls=Command)
@_asking
@with_dependents
def upgrade(**asked: Any) -> None:
    """Replace a plugin by what pip put on disk, or leave everything as it was."""
    _ask("upgrade", **asked)


@click.command(cls=Command)
@_asking
def resume(**asked: Any) -> None:
    """Run the types of a plugin again that were suspended for going over their budget."""
    _ask("resume", **asked)


def _ask(action: PluginAction, name: str, as_json: bool, **asked: Any) -> None:
    verdicts = []
    with client() as host:
        answers = host.command_plugin(action, name, **asked)
        try:
            for row in _spinning(answers, f"Waiting for the hosts to {action} {name}"):
                verdicts.append(row)
                if not as_json:
                    click.echo(_verdict(row))
        finally:
            if as_json:
                print_json([attrs.asdict(row) for row in verdicts])
    if not all(row.ok for row in verdicts):
        fail()


def _verdict(row: PluginRow) -> str:
    """What one host answered: a line, and below it what else there is to know."""
    title = f"{row.host}: {row.plugin} {row.version or ''}".rstrip()
    if not row.ok:
        refused = f"{title}: {row.action} failed; it is {row.state}"
        return f"{refused}\n  {many_lines(row.reason, indent=2)}"
    lines = [f"{title} is {row.state}, generation {row.generation}"]
    if row.report is None:
        lines.append(f"event types: {', '.join(row.event_types) or 'none'}")
        if row.reason:
            lines.append(many_lines(row.reason, indent=2))
    else:
        lines += unloaded(**row.report)
    return "\n  ".join(lines)


def unloaded(
    finished: int,
    returned: int,
    abandoned: int,
    collected: bool,
    holders: list[str],
    errors: list[str],
    dependents: list[dict[str, Any]],
    leaks: dict[str, Any] | None = None,
    **_: object,
) -> Iterator[str]:
    """What an unload told, line by line."""
    for one in dependents:
        yield f"before it, {one['plugin']}:"
        yield from ("  " + line for line in unloaded(**one))
    yield f"runs: {finished} finished, {returned} returned, {abandoned} abandoned"
    yield "its code is gone" if collected else "its code is still held:"
    for text in (*holders, *errors):
        yield "  " + many_lines(text, indent=4)
    for one in leaks["threads"] if leaks else ():
        yield f"  thread {one['name']!r} runs it: {one['stack'][0]}"
    for one in leaks["changes"] if leaks else ():
        yield f"  it changed {one['where']}: {one['what']}"


def _spinning(answers: Iterator[PluginRow], text: str) -> Iterator[PluginRow]:
    """The same answers, with something that moves on a terminal while one is awaited."""
    if not sys.stderr.isatty():
        yield from answers
        return
    from rich.console import Console  # slow to import

    console = Console(stderr=True)
    while True:
        with console.status(text):
            answer = next(answers, None)
        if answer is None:
            return
        yield answer
