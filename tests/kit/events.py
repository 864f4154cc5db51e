"""Short questions about a stored event and its runs."""

from typing import Final

from horae import Host
from horae_hookspecs import Outcome, Run, ScheduledEvent

LONG: Final = 20
"""Seconds after which a test gives up waiting for a host; none that passes comes near it."""


def stored(host: Host, event: ScheduledEvent) -> ScheduledEvent:
    """The event as it is now."""
    found = host.get(event.id)
    assert found is not None
    return found


def runs_of(host: Host, event: ScheduledEvent) -> list[Run]:
    """Its runs, in order."""
    return list(host.runs(event_id=event.id))


def outcomes(host: Host, event: ScheduledEvent) -> list[Outcome | None]:
    """How they ended."""
    return [run.outcome for run in runs_of(host, event)]
