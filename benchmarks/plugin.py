"""The plugin that the benchmarks run: one event type that does nothing."""

from horae_hookspecs import RunContext, ScheduledEventRegistryWrapper, hookimpl

NOOP = "bench.noop"

events = ScheduledEventRegistryWrapper()


@events.register(NOOP)
def noop(context: RunContext) -> None:
    """Nothing: what a run costs beyond its job."""


@hookimpl
def horae_event_types() -> ScheduledEventRegistryWrapper:
    """Contribute the one type."""
    return events
