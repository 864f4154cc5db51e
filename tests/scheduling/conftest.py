"""What the tests of scheduling share: a host on each kind of store."""

from collections.abc import Callable

import pytest

from horae import Host


@pytest.fixture
def host(host_on: Callable[..., Host], store_url: str) -> Host:
    """A host that is not started, on each kind of store, with the settable clock."""
    return host_on(url=store_url)
