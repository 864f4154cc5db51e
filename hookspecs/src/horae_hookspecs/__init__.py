"""All that a horae plugin imports: markers, base classes, registration, models, errors.

A working plugin is a module with one registered function and one hook::

    from horae_hookspecs import RunContext, ScheduledEventRegistryWrapper, hookimpl

    events = ScheduledEventRegistryWrapper()

    @events.register("acme.greet")
    def greet(context: RunContext, name: str) -> str:
        return f"Good morning, {name}."

    @hookimpl
    def horae_event_types() -> ScheduledEventRegistryWrapper:
        return events

named in its distribution's ``[project.entry-points.horae]``.
"""

from horae_hookspecs._markers import hookimpl as hookimpl
from horae_hookspecs._markers import hookspec as hookspec
from horae_hookspecs.abc import ActivationContext as ActivationContext
from horae_hookspecs.abc import EventOptions as EventOptions
from horae_hookspecs.abc import Executor as Executor
from horae_hookspecs.abc import HostView as HostView
from horae_hookspecs.abc import (
    MultiResourceScheduledEventJob as MultiResourceScheduledEventJob,
)
from horae_hookspecs.abc import RunContext as RunContext
from horae_hookspecs.abc import Schedule as Schedule
from horae_hookspecs.abc import ScheduledEventJob as ScheduledEventJob
from horae_hookspecs.abc import ScheduleLike as ScheduleLike
from horae_hookspecs.abc import Tracker as Tracker
from horae_hookspecs.abc import Work as Work
from horae_hookspecs.abc import require_aware as require_aware
from horae_hookspecs.bots import BotActionFailed as BotActionFailed
from horae_hookspecs.bots import BotEvent as BotEvent
from horae_hookspecs.bots import BotFactoryRegistryWrapper as BotFactoryRegistryWrapper
from horae_hookspecs.bots import BotView as BotView
from horae_hookspecs.bots import Resource as Resource
from horae_hookspecs.errors import CancelEvent as CancelEvent
from horae_hookspecs.errors import HoraeError as HoraeError
from horae_hookspecs.errors import NaiveDatetimeError as NaiveDatetimeError
from horae_hookspecs.errors import OutsideRunError as OutsideRunError
from horae_hookspecs.errors import RegistrationError as RegistrationError
from horae_hookspecs.errors import ResourcesFailed as ResourcesFailed
from horae_hookspecs.errors import RetryLater as RetryLater
from horae_hookspecs.errors import RunControl as RunControl
from horae_hookspecs.errors import ScheduleError as ScheduleError
from horae_hookspecs.leaks import LeakReport as LeakReport
from horae_hookspecs.leaks import LeftChange as LeftChange
from horae_hookspecs.leaks import LeftThread as LeftThread
from horae_hookspecs.leaks import Survivor as Survivor
from horae_hookspecs.models import Absent as Absent
from horae_hookspecs.models import Cause as Cause
from horae_hookspecs.models import Concurrency as Concurrency
from horae_hookspecs.models import Counts as Counts
from horae_hookspecs.models import EventTypeInfo as EventTypeInfo
from horae_hookspecs.models import Missed as Missed
from horae_hookspecs.models import Outcome as Outcome
from horae_hookspecs.models import Page as Page
from horae_hookspecs.models import Pause as Pause
from horae_hookspecs.models import PauseField as PauseField
from horae_hookspecs.models import PluginInfo as PluginInfo
from horae_hookspecs.models import PluginState as PluginState
from horae_hookspecs.models import Retry as Retry
from horae_hookspecs.models import Run as Run
from horae_hookspecs.models import ScheduledEvent as ScheduledEvent
from horae_hookspecs.models import State as State
from horae_hookspecs.models import UnloadReport as UnloadReport
from horae_hookspecs.models import Upcoming as Upcoming
from horae_hookspecs.models import WaitingType as WaitingType
from horae_hookspecs.registration import Policy as Policy
from horae_hookspecs.registration import Registration as Registration
from horae_hookspecs.registration import ScheduledEventManager as ScheduledEventManager
from horae_hookspecs.registration import (
    ScheduledEventRegistryWrapper as ScheduledEventRegistryWrapper,
)
from horae_hookspecs.tracker import ScheduledEventTracker as ScheduledEventTracker

__all__ = [name for name in dir() if not name.startswith("_")]
