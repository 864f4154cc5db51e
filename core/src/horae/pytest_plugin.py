"""The fixtures that pytest finds where horae is installed; nothing else is imported for them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from horae.clock import SettableClock
    from horae.testing.host import PluginHost

OPTION = "horae_plugins"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugins under test are named in the project's configuration."""
    parser.addini(OPTION, "the names of the plugins that horae_host loads", "args", default=[])


@pytest.fixture
def horae_clock() -> "SettableClock":
    """The clock of ``horae_host``: it stands at the beginning of 2026 until a test moves it."""
    from horae.clock import SettableClock

    return SettableClock()


@pytest.fixture
def horae_settings() -> Mapping[str, Mapping[str, Any]]:
    """The settings of plugins by their names; override it, or parametrize it indirectly."""
    return {}


@pytest.fixture
def horae_host(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    horae_clock: "SettableClock",
    horae_settings: Mapping[str, Mapping[str, Any]],
) -> "Iterator[PluginHost]":
    """A started host on a store of its own, with the plugins under test loaded."""
    from horae.testing.host import PluginHost

    host = PluginHost(tmp_path, clock=horae_clock, settings=horae_settings)
    try:
        host.start()
        for name in request.config.getini(OPTION):
            host.load_plugin(name)
        yield host
    finally:
        host.close()
