"""What horae tells about events, runs and plugins: frozen values, no behaviour, plain data.

Every instant is an aware datetime in UTC.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Generic, Literal, TypeVar

import attrs

from horae_hookspecs.leaks import LeakReport

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


class Cause(StrEnum):
    """Why a run did not succeed: what the attempts of an event are counted apart by.

    Only the first two burn an attempt. A ``permission`` is never tried again by itself.
    """

    ERROR = "error"
    TIMEOUT = "timeout"
    PERMISSION = "permission"
    SHUTDOWN = "shutdown"
    HOST_LOST = "host_lost"
    LEASE_LOST = "lease_lost"


class PluginState(StrEnum):
    """Where a plugin stands on one host.

    It comes as discovered and becomes active, or blocked (trust), incompatible (it asks for another
    horae or Python) or failed (in a phase). An active one may be suspended (its types wait). It
    leaves by draining and unloaded, and ends collected (its code is gone) or leaking (something
    holds its code, see ``LeakReport``). Restart required: what is on disk cannot come in place.
    """

    DISCOVERED = "discovered"
    BLOCKED = "blocked"
    INCOMPATIBLE = "incompatible"
    FAILED = "failed"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DRAINING = "draining"
    UNLOADED = "unloaded"
    COLLECTED = "collected"
    LEAKING = "leaking"
    RESTART_REQUIRED = "restart required"

    @property
    def is_failure(self) -> bool:
        """Whether it did not get to be loaded."""
        return self in (PluginState.BLOCKED, PluginState.INCOMPATIBLE, PluginState.FAILED)


_positive: Final = attrs.validators.gt(timedelta(0))

Kinds = type[BaseException] | tuple[type[BaseException], ...]


def _kinds(value: Kinds) -> tuple[type[BaseException], ...]:
    kinds = value if isinstance(value, tuple) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"{kind!r} is no class of exceptions; give such classes in a tuple")
    return kinds


@attrs.frozen
class Retry:
    """When a failed run is tried again.

    The n-th retry waits ``first * factor ** (n - 1)``, at most ``longest``, moved by up to
    ``jitter`` of itself either way so that a thousand events that failed together do not
    come back together. ``attempts`` counts the first try too: 1 means no retry. ``max_age``
    ends the retries of an occurrence that long after its first try began. What a job raises is
    only tried again if it is of a kind in ``on`` and of none in ``never``.
    """

    attempts: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    first: timedelta = timedelta(seconds=1)
    factor: float = attrs.field(default=2.0, validator=attrs.validators.ge(1.0))
    longest: timedelta = timedelta(hours=1)
    jitter: float = attrs.field(
        default=0.1, validator=[attrs.validators.ge(0.0), attrs.validators.le(1.0)]
    )
    max_age: timedelta | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    on: tuple[type[BaseException], ...] = attrs.field(default=(BaseException,), converter=_kinds)
    never: tuple[type[BaseException], ...] = attrs.field(default=(), converter=_kinds)


@attrs.frozen
class Missed:
    """What becomes of an occurrence whose time passed before it could start.

    ``run_once``: one run stands for all that were missed. ``run_all``: each gets its run, in
    order, but no more than the last ``cap`` of them. ``skip``: none is made up for. An occurrence
    later than ``grace`` is not run by any policy; None is any lateness, and for ``skip`` a minute.
    Whatever is not run is recorded as missed.
    """

    policy: Literal["run_once", "run_all", "skip"] = attrs.field(
        default="run_once", validator=attrs.validators.in_(("run_once", "run_all", "skip"))
    )
    grace: timedelta | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    cap: int = attrs.field(default=100, validator=attrs.validators.ge(1))

    @classmethod
    def of(cls, value: "Missed | str") -> "Missed":
        """A policy's name stands for the policy with its defaults."""
        return cls(value) if isinstance(value, str) else value  # type: ignore[arg-type]


Absent = Literal["hold", "skip"] | timedelta
"""What becomes of an occurrence that fell due while its type was absent, once the type is back:
``hold`` runs it, ``skip`` does not, and a timedelta runs it unless it is late by more than that."""


@attrs.frozen
class Concurrency:
    """How many runs of a type there may be at once, on all hosts together.

    ``limit`` counts all of them. ``each`` counts those that share a ``resource`` or an ``origin``,
    whichever ``per`` names.
    """

    limit: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    per: Literal["resource", "origin"] | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, "resource", "origin"))
    )
    each: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    @classmethod
    def of(cls, value: "Concurrency | int | None") -> "Concurrency":
        """A number stands for a limit on the type."""
        return cls(value) if value is None or isinstance(value, int) else value


@attrs.frozen(kw_only=True)
class ScheduledEvent:
    """A stored request: run this type, with these arguments, at these times.

    ``schedule`` is the stored form, JSON with the key ``kind``; ``due`` is None once nothing
    more will run. ``attempt`` counts the tries of the current occurrence that used up budget.
    ``paused`` says that it is held back, by itself or by a rule for its type, origin or resource.
    ``user`` is on whose behalf it runs. ``resources`` are those of a multi-resource event, and
    ``blocked`` names what holds back one that is due, while something does.
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
    user: str | None = None
    resources: tuple[str, ...] | None = None
    blocked: str | None = None


@attrs.frozen(kw_only=True)
class Run:
    """One execution attempt. ``outcome`` is None while it runs.

    ``occurrence`` is the nominal due time. ``result`` is what the job returned, as JSON;
    ``error`` the text of what it raised; ``result_error`` says why a result was not kept.
    ``version`` is that of the distribution whose code ran. ``covers`` is how many occurrences a
    run that concludes one stands for, or for what was missed how many are left out with it; it
    counts up to 1000. ``cause`` is why it did not succeed. ``progress`` is what the job last told,
    from 0.0 to 1.0, with ``progress_text``. ``resources`` has for each resource of a
    multi-resource event a mapping with ``outcome`` and, where there are any, ``result``,
    ``result_error``, ``error``, ``final`` (an error after which it is not tried again) and the
    ``reason`` that the job gave. ``resource``, ``origin`` and ``user`` are those of its event.
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
    covers: int = 1
    cause: Cause | None = None
    progress: float | None = None
    progress_text: str | None = None
    resource: str | None = None
    origin: str | None = None
    user: str | None = None


@attrs.frozen(kw_only=True)
class PluginInfo:
    """A plugin as one host sees it; ``reason`` says why it is in its state, ``phase`` which phase
    of its life failed.
    """

    name: str
    distribution: str | None
    version: str | None
    state: PluginState
    reason: str | None = None
    generation: int = 0
    event_types: tuple[str, ...] = ()
    host: str | None = None
    phase: str | None = None


@attrs.frozen(kw_only=True)
class EventTypeInfo:
    """A type in the catalogue: who provides it, or last did.

    ``schema`` is the JSON Schema of its arguments. ``absent_from`` and ``absent_until`` are the
    last time that no living host had it and that is over.
    """

    event_type: str
    schema_version: int
    plugin: str
    distribution: str | None
    version: str | None
    published: datetime
    withdrawn: datetime | None
    loaded: bool
    schema: Mapping[str, Any] | None = None
    absent_from: datetime | None = None
    absent_until: datetime | None = None


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
    ``collected`` says that nothing holds the code any more; else ``holders`` names what does, a
    line for each survivor. ``leaks`` has all that was left, None for nothing.
    ``dependents`` are the reports of the plugins that were unloaded before it since they need it.
    """

    plugin: str
    finished: int
    returned: int
    abandoned: int
    collected: bool
    holders: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    leaks: LeakReport | None = None
    dependents: "tuple[UnloadReport, ...]" = ()


PauseField = Literal["event_type", "origin", "resource"]
"""What events are held back by together."""


@attrs.frozen
class Pause:
    """A rule: all events whose ``field`` has this ``value`` are held back, those to come too."""

    field: PauseField
    value: str
    since: datetime


@attrs.frozen(kw_only=True)
class Upcoming:
    """An occurrence that is still to come, and the event that it is one of."""

    due: datetime
    event_id: int
    event_type: str
    occurrence: datetime


class Counts(dict[State, int]):
    """How many events of one type there are in each state; ``outcomes`` counts its runs."""

    def __init__(self, states: Mapping[State, int], outcomes: Mapping[Outcome, int]) -> None:
        super().__init__(states)
        self.outcomes = dict(outcomes)


class Page(Generic[T]):
    """One page of a listing: iterate it; ``next`` is the cursor of the page after, or None.

    ``total`` is how many there are on all pages; it is counted when it is first asked for, since
    to count a million takes longer than to read a page of them.
    """

    def __init__(
        self,
        *,
        items: Sequence[T],
        total: int | Callable[[], int],
        next: int | None,  # noqa: A002 (the contract's name for the cursor)
    ) -> None:
        self.items = items
        self.next = next
        self._total = total

    @property
    def total(self) -> int:
        """How many there are on all pages."""
        if not isinstance(self._total, int):
            self._total = self._total()
        return self._total

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Page):
            return NotImplemented
        mine, theirs = (list(self.items), self.next), (list(other.items), other.next)
        return mine == theirs and self.total == other.total

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Page(items={self.items!r}, next={self.next!r})"
