"""The kinds of command: common options anywhere, imports on demand, errors as one message."""

import difflib
import traceback
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from horae.cli.options import CONFIG, STORE, VERBOSE


class Command(click.Command):
    """A command that takes the common options, so that they may stand before or after it."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += [
            click.Option(
                ["--store"],
                metavar="URL",
                expose_value=False,
                callback=_keep(STORE),
                help="The store.  [env: HORAE_STORE; default: sqlite:///horae.db]",
            ),
            click.Option(
                ["--config"],
                metavar="FILE",
                expose_value=False,
                callback=_keep(CONFIG),
                help="Settings in a TOML file.  [env: HORAE_CONFIG]",
            ),
            click.Option(
                ["--verbose"],
                is_flag=True,
                expose_value=False,
                callback=_keep(VERBOSE),
                help="Log more, and show tracebacks.",
            ),
        ]


def _keep(name: str) -> Any:
    def keep(context: click.Context, _parameter: click.Parameter, value: object) -> None:
        if value:
            context.meta[name] = value

    return keep


class Group(Command, click.Group):
    """A group whose commands take the common options too."""

    command_class = Command


class RootGroup(Group):
    """Imports its commands on demand, asks plugins for others, and tells errors in words.

    ``own`` maps a command's name to its module in ``horae.cli``, whose attribute of the same name
    is the command, and to its short help.
    """

    def __init__(
        self, *args: Any, own: Mapping[str, tuple[str, str]] | None = None, **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.own = own or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Horae's own; to know those of plugins would mean to import them."""
        return list(self.own)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import horae's own command of this name, or look for one among the plugins."""
        if cmd_name in self.own:
            module = self.own[cmd_name][0]
            command: click.Command = getattr(import_module(f"horae.cli.{module}"), module)
            return command
        contributed: click.Command | None = import_module("horae.cli.contributed").find(cmd_name)
        return contributed

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A name that nobody knows is answered with the nearest one."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], self.own, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}, and no plugin brings one.{guess}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The short helps as they stand, without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.own.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of horae's becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(130)
        except Exception as error:
            code: int | None = import_module("horae.cli.failures").exit_code(error)
            if code is None:
                raise
            if ctx.meta.get(VERBOSE):
                traceback.print_exc()
            click.echo(f"Error: {error}", err=True)
            ctx.exit(code)
