"""What the tests of scheduling share: a host on each kind of store."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from horae import Host
from kit.processes import Processes, started_in


@pytest.fixture
def host(host_on: Callable[..., Host], store_url: str) -> Host:
    """A host that is not started, on each kind of store, with the settable clock."""
    return host_on(url=store_url)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts programs; whatever is left of them is killed at the end."""
    with started_in(tmp_path) as processes:
        yield processes
