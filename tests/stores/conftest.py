"""Every kind of store, for the suite that all of them pass."""

from pathlib import Path

import pytest

STORES = {
    "memory": "memory://",
    "sqlite-full": "sqlite:///{folder}/events.db",
    "sqlite-normal": "sqlite:///{folder}/events.db?synchronous=NORMAL",
}


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind and setting, empty."""
    return STORES[request.param].format(folder=tmp_path)
