"""What horae tells about events, runs and plugins: frozen values, no behaviour, plain data.

Every instant is an aware datetime in UTC.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

import attrs

T = TypeVar("T")


class State(StrEnum):
    """Where a scheduled event stands."""

    PENDING = "pending"
    RUNNING = "running"
    QUARANTINED = "quarantined"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SNOOZED = "snoozed"
    RETURNED = "returned"
    MISSED = "missed"
    SKIPPED = "skipped"


class PluginState(StrEnum):
    """Where a plugin stands on one host."""

    DISCOVERED = "discovered"
    ACTIVE = "active"
    DRAINING = "draining"
    UNLOADED = "unloaded"
    FAILED = "failed"


@attrs.frozen
class Retry:
    """When a failed run is tried again.

    The n-th retry waits ``first * factor ** (n - 1)``, at most ``longest``, moved by up to
    ``jitter`` of itself either way so that a thousand events that failed together do not
    come back together. ``attempts`` counts the first try too: 1 means no retry.
    """

    attempts: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    first: timedelta = timedelta(seconds=1)
    factor: float = attrs.field(default=2.0, validator=attrs.validators.ge(1.0))
    longest: timedelta = timedelta(hours=1)
    jitter: float = attrs.field(
        default=0.1, validator=[attrs.validators.ge(0.0), attrs.validators.le(1.0)]
    )


@attrs.frozen(kw_only=True)
class ScheduledEvent:
    """A stored request: run this type, with these arguments, at these times.

    ``schedule`` is the stored form, JSON with the key ``kind``; ``due`` is None once nothing
    more will run. ``attempt`` counts the tries of the current occurrence that used up budget.
    """

    id: int
    event_type: str
    schema_version: int
    arguments: Mapping[str, Any]
    schedule: Mapping[str, Any]
    due: datetime | None
    state: State
    paused: bool
    attempt: int
    key: str | None
    resource: str | None
    origin: str | None
    description: str | None
    priority: int
    created: datetime
    last_outcome: Outcome | None
    reason: str | None


@attrs.frozen(kw_only=True)
class Run:
    """One execution attempt. ``outcome`` is None while it runs.

    ``occurrence`` is the nominal due time. ``result`` is what the job returned, as JSON;
    ``error`` the text of what it raised; ``result_error`` says why a result was not kept.
    ``version`` is that of the distribution whose code ran.
    """

    id: int
    event_id: int
    claim: int
    event_type: str
    occurrence: datetime
    attempt: int
    started: datetime
    finished: datetime | None
    outcome: Outcome | None
    will_retry: bool
    result: Any
    result_error: str | None
    error: str | None
    resources: Mapping[str, Any] | None
    host: str
    plugin: str
    version: str | None
    generation: int


@attrs.frozen(kw_only=True)
class PluginInfo:
    """A plugin as one host sees it; ``reason`` says why it is in its state."""

    name: str
    distribution: str | None
    version: str | None
    state: PluginState
    reason: str | None = None
    generation: int = 0
    event_types: tuple[str, ...] = ()
    host: str | None = None


@attrs.frozen(kw_only=True)
class EventTypeInfo:
    """A type in the catalogue: who provides it, or last did."""

    event_type: str
    schema_version: int
    plugin: str
    distribution: str | None
    version: str | None
    published: datetime
    withdrawn: datetime | None
    loaded: bool


@attrs.frozen(kw_only=True)
class WaitingType:
    """Pending events that no living host can run, and what would change that."""

    event_type: str
    pending: int
    overdue: int
    oldest_due: datetime | None
    plugin: str | None
    distribution: str | None
    version: str | None
    reason: str
    remedy: str


@attrs.frozen(kw_only=True)
class UnloadReport:
    """What became of a plugin's runs and of its code.

    Runs that were under way ``finished``, were ``returned`` unstarted and uncounted, or were
    ``abandoned`` at the deadline: recorded as interrupted, their late answers fenced.
    ``collected`` says that nothing holds the code any more; else ``holders`` names what does.
    """

    plugin: str
    finished: int
    returned: int
    abandoned: int
    collected: bool
    holders: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page of a listing: iterate it; ``next`` is the cursor of the page after, or None."""

    items: Sequence[T]
    total: int
    next: int | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
