"""Bots: actions that are taken again and again on the resources that match a filter.

A bot is one recurring event for each of its actions, of the action's own type and with the origin
``bot:<name>``. So what is true of events is true of bots: they survive everything, wait for
actions that are not loaded, and stand in every listing::

    bots.create(host, bots.Bot(
        name="night", resources="machine", filter={"state": "stopped"},
        actions=[("acme.action.start", {"within": 2})], schedule="every 1h",
    ))
"""

from typing import Any

from horae_builtin_plugins._bots import ACTIVE as ACTIVE
from horae_builtin_plugins._bots import Action as Action
from horae_builtin_plugins._bots import ActiveBot as ActiveBot
from horae_builtin_plugins._bots import Bot as Bot
from horae_builtin_plugins._bots import BotExists as BotExists
from horae_builtin_plugins._bots import BotHost as BotHost
from horae_builtin_plugins._bots import archive as archive
from horae_builtin_plugins._bots import bots as bots
from horae_builtin_plugins._bots import create as create
from horae_builtin_plugins._bots import reconfigure as reconfigure
from horae_hookspecs import hookimpl


@hookimpl
def horae_commands() -> list[Any]:
    """``horae bot``."""
    from horae_builtin_plugins._bot_commands import bot  # a host needs no click

    return [bot]
