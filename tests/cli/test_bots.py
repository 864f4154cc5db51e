"""``horae bot``: a command that a plugin brings, on the store alone."""

import attrs
import pytest

from horae_hookspecs import BotFactoryRegistryWrapper
from kit.commands import Command

ACTION = 'acme.act={"hours": 2}'


@attrs.frozen
class Within:
    """The settings of an action."""

    hours: float


@pytest.fixture
def acting(horae: Command) -> Command:
    """The command on a store that has had an action."""
    registry = BotFactoryRegistryWrapper()
    registry.action("acme.act", settings=Within)(lambda event, bot, settings: None)
    (registration,) = registry.registrations
    with horae.client() as client:
        client.register("acme.act")(registration.target)
    return horae


def create(command: Command, *options: str, action: str = ACTION, code: int = 0) -> str:
    """Make the bot ``night``; what is said."""
    line = ["bot", "create", "night", "--resources", "machine", "--action", action]
    done = command(*line, "--at", "every 1h", *options, code=code)
    return done.stdout + done.stderr


def test_a_bot_is_made_listed_and_archived(acting: Command) -> None:
    """Each step says what it did, and programs get JSON."""
    assert "There is no bot" in acting("bot", "list").stderr
    assert "its rounds are event 1" in create(acting, "--filter", '{"state": "stopped"}')
    (listed,) = acting.json("bot", "list")
    assert listed["actions"] == [["acme.act", {"hours": 2}]]
    assert (listed["name"], listed["filter"]) == ("night", {"state": "stopped"})
    shown = acting("bot", "list").stdout
    assert shown.startswith('night: acme.act on machine {"state": "stopped"}; next round 2')
    assert shown.endswith(", waits for acme.act\n")
    assert "is a bot 'night' already" in create(acting, code=1)
    assert "1 of its events were cancelled" in acting("bot", "archive", "night").stdout
    assert "There is no bot 'night'" in acting("bot", "archive", "night", code=1).stderr
    assert acting.json("bot", "list") == []


def test_what_is_wrong_with_a_bot_is_said(acting: Command) -> None:
    """By the stored schema of its actions, and by their names; none of it is stored."""
    assert "2' is not of type 'number' @ $.settings.hours" in create(
        acting, action='acme.act={"hours": "2"}', code=1
    )
    assert "Did you mean 'acme.act'?" in create(acting, action="acme.akt", code=1)
    assert "is no JSON object" in create(acting, action="acme.act=[]", code=2)
    assert "is no JSON: " in create(acting, "--filter", "{", code=2)
    assert acting.json("bot", "list") == []
