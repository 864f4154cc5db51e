"""For the authors of plugins: a host to try them on, and what to assert of what it did.

With pytest nothing is imported from here but the assertions: the fixtures ``horae_host`` and
``horae_clock`` come with horae. Name the plugins under test in ``pyproject.toml``::

    [tool.pytest.ini_options]
    horae_plugins = ["acme"]

and then::

    def test_ping(horae_host):
        horae_host.schedule("acme.ping", {"url": "http://localhost/"}, "every 1h")
        first, second = horae_host.run_due(timedelta(hours=1))
        assert_succeeded(first, second)
"""

from horae.testing.assertions import assert_failed as assert_failed
from horae.testing.assertions import assert_nothing_scheduled as assert_nothing_scheduled
from horae.testing.assertions import assert_scheduled as assert_scheduled
from horae.testing.assertions import assert_succeeded as assert_succeeded
from horae.testing.host import PluginHost as PluginHost

__all__ = [
    "PluginHost",
    "assert_failed",
    "assert_nothing_scheduled",
    "assert_scheduled",
    "assert_succeeded",
]
