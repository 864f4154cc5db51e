"""Short questions to a host, as the tests of several rooms ask them."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from horae import Host
from horae_hookspecs import EventTypeInfo, Outcome, PluginInfo, Run


def run_of(host: Host, event_type: str = "acme.ask", **arguments: Any) -> Run:
    """Schedule an event for now; the run that came of it."""
    run = host.wait(host.schedule(event_type, arguments).id, timeout=20)
    assert run is not None
    return run


def answer_of(host: Host, event_type: str = "acme.ask", **arguments: Any) -> Any:
    """Schedule an event for now; the result of its run, which must succeed."""
    run = run_of(host, event_type, **arguments)
    assert run.outcome is Outcome.SUCCEEDED, run.error
    return run.result


def plugin_of(host: Host, name: str = "acme") -> PluginInfo:
    """How a plugin stands."""
    return next(info for info in host.plugins() if info.name == name)


def added(plugins: Iterable[PluginInfo]) -> set[str]:
    """The names of those plugins that are no part of horae."""
    own = ("horae-builtin-plugins", "horae-sample-plugin")
    return {info.name for info in plugins if info.distribution not in own}


def types_of(host: Host) -> list[EventTypeInfo]:
    """The known types but for those of horae itself."""
    return [info for info in host.event_types() if info.plugin != "horae"]


def until(condition: Callable[[], Any], timeout: float = 20.0) -> Any:
    """Wait until ``condition`` holds; its value. Raises AssertionError when it never does."""
    limit = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < limit, f"not within {timeout} s: {condition}"
        time.sleep(0.01)
    return value
