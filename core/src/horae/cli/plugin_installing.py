"""``horae plugin install`` and ``uninstall``: the running hosts do it, and say how far they are."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import click

from horae.cli.failures import fail
from horae.cli.groups import Command
from horae.cli.output import many_lines, print_json
from horae.cli.plugin_commands import AnyCommand, asking_hosts, unloaded, with_dependents
from horae.cli.session import client
from horae.stores.records import Installation


def _asking(command: AnyCommand) -> AnyCommand:
    return asking_hosts(with_dependents(command), seconds=600)


@click.command(cls=Command)
@click.argument("requirement")
@click.option("--upgrade", is_flag=True, help="To the newest that there is.")
@click.option(
    "--find-links", metavar="PLACE", multiple=True, help="A folder or page with wheels; repeatable."
)
@click.option("--index-url", "index", metavar="URL", help="Another index than the configured one.")
@click.option("--no-index", "offline", is_flag=True, help="Ask no index at all.")
@_asking
def install(requirement: str, find_links: tuple[str, ...], **asked: Any) -> None:
    """Install a plugin into the environment of every running host, and load or upgrade it.

    REQUIREMENT is what pip takes: a name, a name with versions, a wheel. What only a restarted
    host could run is refused before anything is touched; a version that fails is taken back.
    """
    links = tuple(map(_absolute, find_links))
    _ask("install", _absolute(requirement), find_links=links, **asked)


@click.command(cls=Command)
@click.argument("name")
@_asking
def uninstall(name: str, **asked: Any) -> None:
    """Unload a plugin on every running host, and uninstall it there; its events wait."""
    _ask("uninstall", name, **asked)


def _absolute(place: str) -> str:
    """A path that exists here as one that leads there from the host's folder too."""
    return str(Path(place).resolve()) if Path(place).exists() else place


def _ask(action: Literal["install", "uninstall"], what: str, as_json: bool, **asked: Any) -> None:
    verdicts = []
    with client() as host, _progress(f"{action} {what}") as show:
        try:
            for one in host.command_installation(action, what, **asked):
                if not one.done:
                    show(f"{one.host}: {one.progress or 'asked'}")
                    continue
                verdicts.append(one)
                if not as_json:
                    click.echo("\n  ".join(_verdict(one)))
        finally:
            if as_json:
                print_json([attrs.asdict(one) for one in verdicts])
    if not all(one.ok for one in verdicts):
        fail()


def _verdict(done: Installation) -> Iterator[str]:
    """What came of it on one host: a line, and below it what else there is to know."""
    if not done.ok:
        yield f"{done.host}: {done.action} {done.what} failed"
        yield many_lines(done.reason, indent=2)
    elif done.action == "install":
        yield f"{done.host}: {done.plugin} {done.version} is loaded"
    else:
        yield f"{done.host}: {done.plugin} is uninstalled"
        if done.report is not None:
            yield from unloaded(**done.report)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[str], None]]:
    """What to tell the steps to: they move on a terminal, and are lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda step: click.echo(step, err=True)
        return
    from rich.console import Console  # slow to import

    with Console(stderr=True).status(title) as shown:
        yield shown.update
