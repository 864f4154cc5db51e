"""The ``horae`` command: thin commands over Host and Store.

Nothing heavy is imported here; a command's module is imported when the command is asked for.
"""

from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING

import click

from horae.cli.groups import RootGroup

if TYPE_CHECKING:
    from horae_hookspecs import HostView

OWN = {
    "serve": ("serve", "Run a host until it is told to stop."),
    "demo": ("demo", "See events outlive their plugin, an upgrade and a kill -9."),
    "doctor": ("doctor", "Look for what keeps events from running, and say what to do."),
    "plugin": ("plugin", "List, load, unload and upgrade plugins on the running hosts."),
    "event": ("event", "Schedule, list and change events."),
    "type": ("types", "Event types, and those that wait for their plugin."),
    "store": ("store", "Migrate, check, export and import the store."),
}
"""The module of each command, which has a command of the module's name, and its short help."""

EPILOG = """\b
Exit codes:
  0    done, or all is well
  1    what was asked for failed, or something was found
  2    the command was called wrongly
  3    the store is damaged, full, or cannot be opened
  4    no host is running
  5    a host did not answer in time
  130  interrupted

Installed plugins may bring commands of their own.
"""


@click.group(
    cls=RootGroup,
    own=OWN,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="horae")
@click.pass_context
def main(context: click.Context) -> None:
    """Run scheduled events whose types come from plugins that come and go."""
    context.obj = _client  # for the commands of plugins, which import nothing of horae


def _client() -> "AbstractContextManager[HostView]":
    client: AbstractContextManager[HostView] = import_module("horae.cli.session").client()
    return client
