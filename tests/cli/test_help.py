"""What is imported when, and what the package offers."""

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

import horae
from horae.cli import OWN, main

HEAVY = {"horae.host", "horae.errors", "structlog", "rich", "cattrs", "attrs", "pluggy", "sqlite3"}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """Help and version import neither the host nor any of its libraries."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "horae", *arguments],
        capture_output=True,
        text=True,
    )
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "click" in imported
    assert not imported & HEAVY


def test_help_lists_every_command() -> None:
    """The static short help covers all commands, and each leads to a real one."""
    shown = CliRunner().invoke(main, ["--help"]).output
    for name in OWN:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_help_documents_exit_codes() -> None:
    """The table of exit codes stands below the commands."""
    shown = CliRunner().invoke(main, ["--help"]).output
    assert "no host is running" in shown


def test_package_offers_all_its_names() -> None:
    """Every name in __all__ can be imported, with a star too, and dir() knows it."""
    names: dict[str, object] = {}
    exec("from horae import *", names)
    assert set(horae.__all__) <= set(names)
    assert set(horae.__all__) <= set(dir(horae))
    for name in horae.__all__:
        assert getattr(horae, name).__name__ == name


def test_package_has_no_other_names() -> None:
    """A name that is not offered is an AttributeError, though names are looked up late."""
    with pytest.raises(AttributeError, match="no attribute 'Hots'"):
        _ = horae.Hots


def test_unknown_command_is_answered_with_the_nearest() -> None:
    """A mistyped command is a usage error that names the right one."""
    result = CliRunner().invoke(main, ["evnt"])
    assert result.exit_code == 2
    assert "Did you mean 'event'?" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["event", "list", "--state", "paused"], "'pending', 'running'"),
        (["event", "schedule"], "Give either a TYPE, or --many FILE."),
        (["event", "schedule", "a", "--args", '{"a": }'], "line 1, column 7"),
        (["event", "schedule", "a", "--args", "[1]"], "a JSON object is needed"),
        (["event", "schedule", "a", "--args", "@/no/such/file"], "cannot be read"),
        (["event", "schedule", "a", "--priority", "4"], "0<=x<=3"),
        (["event", "show", "seven"], "not a valid integer"),
        (["serve", "--workers", "0"], "x>=1"),
    ],
)
def test_bad_input_is_a_usage_error(arguments: list[str], expected: str) -> None:
    """What cannot be understood ends with exit code 2 and says what would be right."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert expected in result.output
