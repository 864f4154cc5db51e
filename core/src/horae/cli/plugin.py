"""``horae plugin``: the commands, gathered."""

import click

from horae.cli import plugin_commands, plugin_installing, plugin_kit, plugin_listing
from horae.cli.groups import Group


@click.group(cls=Group)
def plugin() -> None:
    """List, install, load, unload and upgrade plugins on the running hosts."""


for _command in (
    plugin_listing.list_plugins,
    plugin_listing.info,
    plugin_commands.load,
    plugin_commands.unload,
    plugin_commands.upgrade,
    plugin_commands.resume,
    plugin_installing.install,
    plugin_installing.uninstall,
    plugin_kit.new,
    plugin_kit.check,
):
    plugin.add_command(_command)
