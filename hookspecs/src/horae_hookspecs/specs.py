"""Every hook of horae. Implement the ones you need with ``@hookimpl``; each takes fewer arguments
if you name fewer.

A hook that raises harms nobody else. While a plugin loads, the error fails that load and is shown
in ``horae plugin list``; later, it is logged under the plugin's name.
"""

from collections.abc import Generator, Iterable, Mapping
from datetime import datetime
from typing import Any

from horae_hookspecs._markers import hookspec
from horae_hookspecs.abc import ActivationContext, Executor, HostView, Schedule, Work
from horae_hookspecs.bots import Resource
from horae_hookspecs.models import PluginInfo, Run, ScheduledEvent, WaitingType
from horae_hookspecs.registration import ScheduledEventRegistryWrapper


@hookspec
def horae_event_types() -> ScheduledEventRegistryWrapper | Iterable[ScheduledEventRegistryWrapper]:  # type: ignore[empty-body]
    """Contribute event types: return the wrapper, or wrappers, that collected them."""


@hookspec
def horae_schedule_kinds() -> Iterable[type[Schedule]]:  # type: ignore[empty-body]
    """Contribute schedule kinds: return the classes."""


@hookspec
def horae_executors() -> Mapping[str, Executor]:  # type: ignore[empty-body]
    """Contribute executors by the name that ``register(executor=...)`` uses."""


@hookspec
def horae_commands() -> Iterable[Any]:  # type: ignore[empty-body]
    """Contribute click commands to the ``horae`` command; asked for when a name is not its own.

    In a command, ``with click.get_current_context().obj() as host:`` opens the store that the
    command line names: a client, which schedules, reads and commands.
    """


@hookspec
def horae_settings() -> type:  # type: ignore[empty-body]
    """The attrs class of the plugin's settings.

    What the host's configuration has for the plugin is read into it, as strictly as arguments, and
    is ``context.settings`` then. What does not fit fails the load and is listed, each with its
    path; fields without a default must be set.
    """


@hookspec
def horae_activate(context: ActivationContext) -> None:
    """The plugin is about to go live: open what it needs, through the context."""


@hookspec
def horae_deactivate(context: ActivationContext) -> None:
    """The plugin was withdrawn and drained: close what the context does not close by itself."""


@hookspec
def horae_bot_resources(kind: str) -> Iterable[Resource] | None:
    """The resources of this kind, now, all of them; None where the kind is none of yours.

    Asked by each round of a bot, which takes the answers of all plugins together. What is listed
    and does not match its filter is for the bot no longer there, so raise rather than list half of
    them: from a generator, that fails the round, and it is tried again as its type says.
    """


@hookspec
def horae_authorize(run: Work) -> str | None:
    """May this run happen, now, for the user it is for? None, or why not: it is then not made,
    and recorded as failed for want of permission.
    """


@hookspec
def horae_run(run: Work) -> Generator[None, object, object]:  # type: ignore[empty-body]
    """Wrap every run, as a ``@hookimpl(wrapper=True)`` generator: ``result = yield`` is the run."""


@hookspec
def horae_host_started(host: HostView) -> None:
    """The host has started, and runs what is due."""


@hookspec
def horae_host_stopped(host: HostView) -> None:
    """The host has stopped: nothing of it runs any more, and its store is still open."""


@hookspec
def horae_event_scheduled(event: ScheduledEvent) -> None:
    """An event was stored by this host."""


@hookspec
def horae_run_started(run: Work) -> None:
    """A run is about to begin, in its own thread."""


@hookspec
def horae_run_finished(run: Run) -> None:
    """A run's outcome is stored."""


@hookspec
def horae_event_missed(event_id: int, event_type: str, occurrence: datetime, skipped: int) -> None:
    """``skipped`` occurrences from ``occurrence`` on passed before they could start: a run that
    has ended stood for them, or they were left out.
    """


@hookspec
def horae_type_waiting(waiting: WaitingType) -> None:
    """A type was withdrawn while events of it are pending."""


@hookspec
def horae_plugin_changed(plugin: PluginInfo) -> None:
    """A plugin changed its state on this host."""
