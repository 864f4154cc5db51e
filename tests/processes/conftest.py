"""What the tests of child processes share: a plugin whose jobs run in them, and its host."""

from collections.abc import Callable

import pytest

from horae import Budget, Host
from kit.isolated import SOURCE
from kit.sites import Site


@pytest.fixture
def host(site: Site, host_on: Callable[..., Host]) -> Host:
    """A started host with two places for child processes and the plugin of ``kit.isolated``, whose
    types may crash as often as they like.
    """
    site.install(SOURCE)
    host = host_on(processes=2, budget=Budget(crashes=0)).start()
    host.load_plugin("acme")
    return host
