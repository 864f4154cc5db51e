"""The command on a store in a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from kit.commands import TIDE, Command


@pytest.fixture
def horae(tmp_path: Path) -> Command:
    """The command on an empty folder."""
    return Command(tmp_path)


@pytest.fixture
def tide(horae: Command) -> Command:
    """The command with a plugin ``tide`` installed."""
    horae.install("tide", TIDE)
    return horae


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command run in this process configures the logging; put it back."""
    yield
    structlog.reset_defaults()
