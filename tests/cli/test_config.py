"""``--config FILE``: the settings of a host in a TOML file."""

import json
from pathlib import Path
from typing import Any

import pytest

from horae import Settings, SettingsError
from kit.commands import Command

EVERYTHING = """
url = "sqlite:///hours.db"
name = "quay"
workers = 3
drain = 1.5
preflight = 0

[trust]
allow = ["tide-plugin", "moon-plugin>=2"]
block = {"tide-plugin<1" = "it mixes up ebb and flow"}

[plugins.tide]
places = ["quay", "beach"]
depth = {least = 2}

[retention."*"]
age = 3600

[retention."tide.mark"]
count = 10

[budget]
crashes = 5
"""

# what is in the file -> what is said of it
WRONG = {
    'workers = "8"': ["expected int, got str '8' @ $.workers"],
    "workers = 0": ["'workers' must be >= 1: 0 @ $.workers"],
    "wrokers = 8": ["extra fields found (wrokers) @ $"],
    "workers =\nname = 1": ["cannot be read", "line 1"],
    "beat = 20": ["leaves room for fewer than two beats"],
    "trust = 5": ["expected the fields of Trust, got int 5 @ $.trust"],
    "[trust]\nallow = ['a b']": ["trust.allow has 'a b'", "@ $.trust"],
    "[retention.x]\nage = -1": ["is neither None nor a timedelta from 0 on", "retention['x']"],
    "drain = 'x'\n[budget]\ncrashes = -1": ["@ $.drain", "@ $.budget.crashes"],
}


def written(folder: Path, text: str) -> Path:
    """A file of settings."""
    file = folder / "horae.toml"
    file.write_text(text)
    return file


def test_a_file_has_every_setting(tmp_path: Path) -> None:
    """Plain settings, and tables within each other; the rules of trust know where they stand."""
    file = written(tmp_path, EVERYTHING)
    settings = Settings.read(file)
    assert (settings.url, settings.name, settings.workers) == ("sqlite:///hours.db", "quay", 3)
    assert (settings.drain, settings.preflight, settings.beat) == (1.5, 0, Settings().beat)
    assert settings.trust.allow == ("tide-plugin", "moon-plugin>=2")
    assert (settings.trust.default, settings.trust.source) == ("deny", str(file))
    assert settings.plugins == {"tide": {"places": ["quay", "beach"], "depth": {"least": 2}}}
    assert settings.retention["*"].age is not None
    assert settings.retention["*"].age.total_seconds() == 3600
    assert settings.retention["tide.mark"].count == 10
    assert settings.budget.crashes == 5


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_in_a_file_is_told_with_its_place(tmp_path: Path, text: str) -> None:
    """All that is wrong at once, and the name of the file."""
    with pytest.raises(SettingsError, match=r"horae\.toml") as caught:
        Settings.read(written(tmp_path, text))
    for told in WRONG[text]:
        assert told in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(horae: Command) -> None:
    """Nothing is served with settings that nobody meant."""
    assert "none.toml cannot be read" in horae("serve", "--config", "none.toml", code=2).stderr


@pytest.mark.parametrize("named", ["option", "environment"])
def test_serve_takes_its_settings_from_the_file(tide: Command, named: str) -> None:
    """What is given on the command line goes before the file, and the rules of trust hold."""
    file = written(tide.folder, EVERYTHING.replace("tide-plugin<1", "tide-plugin"))
    options: list[Any] = ["--autoload", "--name", "pier"]
    if named == "option":
        options += ["--config", file]
    else:
        tide.environment["HORAE_CONFIG"] = str(file)
    with tide.serving(*options) as server:
        lines = [json.loads(line) for line in server.log().splitlines()]
    blocked = {line["plugin"]: line for line in lines if line["event"] == "plugin.blocked"}
    assert "it mixes up ebb and flow" in blocked["tide"]["reason"]
    assert f"in {file}" in blocked["tide"]["reason"]
    assert [line["name"] for line in lines if line["event"] == "host.started"] == ["pier"]


def test_commands_read_the_store_from_the_file(tide: Command) -> None:
    """Named in the environment or on the command line, a store goes before that of the file."""
    file = written(tide.folder, 'url = "sqlite:///file.db"')
    tide.environment["HORAE_CONFIG"] = str(file)
    tide("event", "schedule", "tide.mark", "--allow-unknown", store=f"sqlite:///{tide.folder}/a.db")
    assert not (tide.folder / "file.db").exists()
    del tide.environment["HORAE_CONFIG"]


def test_the_commands_of_a_plugin_that_is_not_allowed_are_not_asked_for(tide: Command) -> None:
    """The command line imports plugins too, and asks before."""
    assert tide("tide").stdout == "high water\n"
    tide.environment["HORAE_CONFIG"] = str(written(tide.folder, "[trust]\ndefault = 'deny'"))
    done = tide("tide", code=2)
    assert "PluginBlocked" in done.stderr
    assert "put 'tide-plugin' into trust.allow" in done.stderr


def test_info_shows_what_a_pin_is_made_of(tide: Command) -> None:
    """With the digest that it shows as a pin, the plugin is allowed, and no other."""
    info = tide.json("plugin", "info", "tide")
    pin = f"[trust]\ndefault = 'deny'\npins = {{'tide-plugin==1.0' = '{info['contents']}'}}"
    tide.environment["HORAE_CONFIG"] = str(written(tide.folder, pin))
    assert tide("tide").stdout == "high water\n"
    tide.install("tide", "")
    assert "its contents have the SHA-256" in tide("tide", code=2).stderr
