"""Fixtures that tests of more than one room use."""

from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from horae import Host, SettableClock, Settings
from horae.stores.base import Store
from horae.stores.factory import create_store
from kit.processes import Processes, started_in
from kit.sites import Site


@pytest.fixture
def clock() -> SettableClock:
    """A clock that stands at the beginning of 2026 until the test moves it."""
    return SettableClock()


@pytest.fixture(params=["memory", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind, empty."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/events.db"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """The store of ``store_url``, open."""
    store = create_store(store_url)
    store.open()
    yield store
    store.close()


@pytest.fixture
def host_on(tmp_path: Path, clock: SettableClock) -> Iterator[Callable[..., Host]]:
    """Makes hosts: on one SQLite file unless ``url`` says otherwise, with the settable clock
    unless ``clock`` does; other keyword arguments are settings. They are clients until started.
    """
    hosts: list[Host] = []

    def make(**settings: Any) -> Host:
        settings.setdefault("url", f"sqlite:///{tmp_path}/events.db")
        settings.setdefault("preflight", 0)
        settings.setdefault("watch", "off")  # tests change the disk all the time
        chosen = settings.pop("clock", clock)
        hosts.append(Host(Settings(**settings), clock=chosen))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def host(host_on: Callable[..., Host]) -> Host:
    """A host that is not started, on an empty SQLite file, with the settable clock."""
    return host_on()


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged while the test runs, instead of on the terminal."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty place for distributions, on ``sys.path``."""
    site = Site(tmp_path / "site")
    yield site
    site.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts programs; whatever is left of them is killed at the end."""
    with started_in(tmp_path) as processes:
        yield processes
