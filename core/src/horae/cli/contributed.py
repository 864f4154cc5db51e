"""Commands that installed plugins bring, through the hook ``horae_commands``."""

from collections.abc import Iterator
from functools import cache

import click
import pluggy

from horae.cli.session import configure_logs, settings
from horae.plugins import loader, trust
from horae.plugins.discovery import Candidate, discover
from horae.settings import Trust


@cache
def find(name: str) -> click.Command | None:
    """The command of this name that an installed plugin brings, the first by plugin name.

    A plugin that is not allowed, or fails to answer, is named on standard error and passed over.
    """
    configure_logs()
    manager, policy = loader.new_manager(), settings().trust
    for _, candidate in sorted(discover().items()):
        for command in _ask(manager, candidate, policy):
            if command.name == name:
                return command
    return None


def _ask(manager: pluggy.PluginManager, candidate: Candidate, policy: Trust) -> list[click.Command]:
    try:
        trust.require(policy, candidate)
        plugin = loader.import_plugin(candidate)
        loader.register(manager, plugin, candidate.name)
        return list(_commands(manager, plugin))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        click.echo(
            f"Plugin {candidate.name!r} ({candidate.distribution} {candidate.version}) was asked "
            f"for commands and failed: {type(error).__name__}: {error}",
            err=True,
        )
        return []


def _commands(manager: pluggy.PluginManager, plugin: object) -> Iterator[click.Command]:
    for result in loader.call(manager, plugin, "horae_commands"):
        for command in result:
            if not isinstance(command, click.Command):
                raise loader.Refused(
                    f"horae_commands returned {command!r}, which is no click command"
                )
            yield command
