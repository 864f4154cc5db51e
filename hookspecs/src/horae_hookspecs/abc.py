"""The base classes behind what a plugin contributes: jobs, schedules, executors.

The docstrings are the contract: what the host promises, and what it expects in return.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import (
    Any,
    ClassVar,
    Final,
    Literal,
    Protocol,
    Self,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
)

from horae_hookspecs.errors import NaiveDatetimeError
from horae_hookspecs.models import Absent, Missed, Page, Run, ScheduledEvent

T = TypeVar("T")

# Fibonacci hashing: multiples of the golden ratio, modulo one, lie more evenly than chance would
# have it, and those of consecutive ids far apart.
_WHOLE: Final = 2**64
_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15


class Schedule(ABC):
    """When an event is due: an immutable value, stored as tagged JSON.

    Subclass it as a frozen attrs class, set ``kind`` and return the class from the hook
    ``horae_schedule_kinds``. The host calls nothing but what stands here, and reading a stored
    event calls none of it, so that events can be listed while their schedule kind is away.
    """

    __slots__ = ()

    kind: ClassVar[str]
    """The tag in the stored form, unique among all plugins: ``once``, ``interval``, ``cron``."""

    spread: timedelta = timedelta(0)
    """Over how long ``offset`` spreads the events that share this schedule; zero does not."""

    @abstractmethod
    def next_after(self, instant: datetime) -> datetime | None:
        """The first occurrence strictly after ``instant``, in UTC; None when there is none left.

        Depends on nothing but the value and ``instant``: every host, and every restart, must
        get the same answer.
        """

    def first_from(self, now: datetime) -> datetime | None:
        """The first due time of an event scheduled ``now``: the first occurrence not before it."""
        return self.next_after(now - timedelta(microseconds=1))

    def anchored(self, now: datetime) -> Self:
        """This schedule with everything left relative to "now" made fixed; stored as returned."""
        return self

    def continuing(self, previous: "Schedule", now: datetime) -> Self:
        """This schedule in place of ``previous``, in the phase that it had; anchored like that."""
        return self.anchored(now)

    def occurrences(self, after: datetime) -> Iterator[datetime]:
        """The occurrences strictly after ``after``, in order; maybe without end."""
        due = self.next_after(after)
        while due is not None:
            yield due
            due = self.next_after(due)

    def offset(self, event_id: int) -> timedelta:
        """How much later than its occurrences this event is due: how a schedule spreads events
        that share it. The same for every occurrence of an event, and on every host.

        From zero up to ``spread``, which it never reaches; evenly, in whole microseconds.
        """
        place = event_id * _GOLDEN % _WHOLE
        return timedelta(microseconds=self.spread // timedelta.resolution * place // _WHOLE)

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The stored form without the tag: JSON values only."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The schedule stored as ``data``. Raises ScheduleError when it cannot be read."""

    @classmethod
    def parse(cls, value: datetime | timedelta | str) -> Self | None:
        """The schedule that ``value`` means to this kind, or None when it means nothing to it.

        Raises ScheduleError when it is plainly meant for this kind and wrong.
        """
        return None

    @abstractmethod
    def __str__(self) -> str:
        """The schedule in plain English: ``every 5 minutes``."""


ScheduleLike: TypeAlias = Schedule | datetime | timedelta | str | None
"""What ``schedule`` accepts: None is now, a datetime that instant, a timedelta from now, a text
one of the forms that the loaded schedule kinds read (``"every 5m"``)."""


class EventOptions(TypedDict, total=False):
    """What may be said of an event beside its type, arguments and schedule; all by keyword.

    ``key`` is unique per origin among events that are not over, with ``unique_for`` also among
    those stored within that time, over or not. ``on_conflict`` says what becomes of a second
    event with a key: ``"keep"`` (the default) leaves the first as it is and gives that one,
    ``"replace"`` makes the first what the second says (one that runs goes on, and what follows
    changes), ``"error"`` raises KeyTaken.

    ``resource`` is what the event is about, ``resources`` several of them for a multi-resource
    job, ``origin`` who asks for it, ``user`` on whose behalf it runs, ``description`` is for
    people. ``priority`` is 0 (first) to 3. ``missed`` and ``absent`` overrule the type's policy.
    """

    key: str | None
    on_conflict: Literal["keep", "replace", "error"]
    unique_for: timedelta | None
    resource: str | None
    resources: Sequence[str] | None
    origin: str | None
    user: str | None
    description: str | None
    priority: int
    missed: Missed | Literal["run_once", "run_all", "skip"] | None
    absent: Absent | None


class RunContext(Protocol):
    """What a job knows of the run it is in."""

    event_id: int
    event_type: str
    attempt: int
    """Which try of this occurrence this is, from 1; only tries that burn budget count."""
    occurrence: datetime
    """The nominal due time, in UTC; the run may start later."""
    idempotency_key: str
    """The same over all attempts of one occurrence: hand it to services that can deduplicate."""
    resource: str | None
    origin: str | None
    user: str | None
    description: str | None
    deadline: datetime | None
    """When the type's timeout ends this run, in UTC."""
    host: "HostView"
    """The host that runs it."""
    resources: Sequence[str]
    """What a multi-resource run is to work on: at first all that the event names, in a retry those
    that have not succeeded yet. Empty in any other run."""

    @property
    def log(self) -> Any:
        """A structlog logger bound with event id, type, plugin, version and generation."""

    @property
    def cancelled(self) -> bool:
        """True once the event was cancelled or the run's time is up: end as soon as you can."""

    def progress(self, fraction: float, text: str = "") -> None:
        """Tell how far the run is, from 0.0 to 1.0."""

    def each(self, work: "Callable[[RunContext, str], object]") -> Any:
        """Do ``work`` for each of ``resources``, one after the other; call it once in a run.

        What ``work`` returns or raises becomes that resource's outcome, and the next one's turn
        comes whatever it was. It is given a context of its own, with its ``resource``, with an
        ``idempotency_key`` that no other resource has, and with follow-ups that are kept if this
        resource succeeds. Before each one ``cancelled`` is looked at.

        At the end it raises RetryLater when some resources did, for the longest time that one of
        them asks for: the run goes on with only those. Else it raises ResourcesFailed when any
        has failed, here or earlier in the occurrence. A CancelEvent passes through at once.

        With an ``async def`` it gives an awaitable that does the same.
        """

    def schedule(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        **options: Unpack[EventOptions],
    ) -> None:
        """Plan a follow-up event: stored together with this run's outcome, or not at all.

        Raises the same errors as ``Host.schedule``, but KeyTaken: by the end of the run it is too
        late for that, so ``on_conflict="error"`` means ``"keep"`` here. It has no id before the
        run ends.
        """

    def tracker(
        self, origin: str | None = None, *, cancel_missing: bool = False
    ) -> AbstractContextManager["Tracker"]:
        """A unit of work that is part of this run's outcome; see ``HostView.tracker``."""


class Tracker(Protocol):
    """One unit of work: what is scheduled in its block is stored together at its end, or not at
    all. An exception that leaves the block stores nothing.

    Each call is checked at once and raises what ``Host.schedule`` raises. Calls that differ in
    nothing but their resource become one event where the job is a MultiResourceScheduledEventJob;
    instants less than a second apart count as the same, so that ``now`` may be read for each.
    """

    ids: Sequence[int]
    """The ids of the events, in order, once they are stored; in place of one whose key was taken,
    the id of the one that has it. Empty before, and for a unit that is stored with a run."""

    def schedule(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        **options: Unpack[EventOptions],
    ) -> None:
        """Add an event; ``origin`` is the tracker's unless one is given here."""

    def schedule_bot_event(
        self,
        *,
        bot: object,
        resource: object,
        description: str | None = None,
        event_type: str | object,
        schedule_data: ScheduleLike,
        action_data: Mapping[str, Any] | str | None = None,
    ) -> None:
        """Add an event that a bot asks for.

        ``bot`` is its name, or an object with a ``name``, ``uid`` or ``bot_id``; the event's
        origin is ``bot:<name>`` unless the tracker has one. ``resource`` is an id, or an object
        with a ``resource_id`` or ``id``. ``action_data`` are the arguments, also as JSON text.
        Raises TypeError for a bot or a resource that has no such name.
        """


class ScheduledEventJob:
    """The class behind an event type: its attrs fields are the arguments, ``run`` the work.

    ::

        @events.register("acme.start_resource", version=2, timeout=30, retry=Retry(attempts=5))
        @attrs.frozen
        class StartResource(ScheduledEventJob):
            '''Start one stopped resource.'''
            resource_id: str
            dry_run: bool = False

            def run(self, context: RunContext) -> object:
                return cloud.start(self.resource_id, token=context.idempotency_key)

    The arguments are checked strictly against the fields when an event is scheduled and again
    before each run. ``async def run`` is awaited on the host's event loop.
    A field's ``metadata`` may have a ``title``, a ``description`` and an ``example``, for people
    and for ``horae plugin check``.

    A run ends by returning a JSON value (recorded with it), by raising (failed, and tried again
    as the type's ``retry`` says), by ``RetryLater`` or by ``CancelEvent``.
    """

    __slots__ = ()

    def run(self, context: RunContext) -> object:
        """Do the work. Execution is at least once: make it safe to repeat."""
        raise NotImplementedError(f"{type(self).__qualname__} has no run(self, context) method.")

    @classmethod
    def upgrade(cls, arguments: dict[str, Any], version: int) -> dict[str, Any]:
        """Arguments stored under schema ``version``, in today's shape.

        Called before a run of every event that was scheduled under an older version. The
        default keeps them: right where a new version only adds fields with defaults.
        """
        return arguments


class MultiResourceScheduledEventJob(ScheduledEventJob):
    """A job for many resources: one event names them, and each has an outcome of its own.

    ::

        @events.register("acme.start_resource", retry=Retry(attempts=3))
        class StartResource(MultiResourceScheduledEventJob):
            def run_resource(self, context: RunContext, resource: str) -> object:
                return cloud.start(resource, token=context.idempotency_key)

    Scheduled with ``resources=["i-1", "i-2"]``, or with one ``resource``. One that fails hides no
    other: ``Run.resources`` tells of each, a run in which any failed has failed, and a retry takes
    only those that have not succeeded. The next occurrence takes all of them again.
    """

    __slots__ = ()

    def run(self, context: RunContext) -> object:
        """Take one resource after the other. Override it to decide that yourself."""
        return context.each(self.run_resource)

    def run_resource(self, context: RunContext, resource: str) -> object:
        """Do the work for one resource; may be an ``async def``. It ends like a run does."""
        raise NotImplementedError(
            f"{type(self).__qualname__} has no run_resource(self, context, resource) method."
        )


class Work(Protocol):
    """One claimed run in the hands of an executor: call ``run`` or await ``run_async``, once."""

    @property
    def event_id(self) -> int:
        """The event that is run."""

    @property
    def claim(self) -> int:
        """The claim it is run under; (event, claim) names this run everywhere."""

    @property
    def event_type(self) -> str:
        """The event's type."""

    @property
    def resource(self) -> str | None:
        """What the event is about."""

    @property
    def user(self) -> str | None:
        """On whose behalf it runs."""

    @property
    def spare(self) -> bool:
        """Whether it takes a place in the executor's ``spare`` room."""

    def run(self) -> bool:
        """Carry the run out in the calling thread and report its outcome; raises nothing.

        False when the run was given up meanwhile: ``Executor.replace`` was called for it.
        """

    async def run_async(self) -> None:
        """The same for a job with ``async def run``; raises nothing but cancellation."""


class Executor(ABC):
    """Where runs are carried out.

    The host calls ``start`` once, ``submit`` from one thread only, ``stop`` once. What was
    submitted and never begun is taken back by the host: beginning it then does nothing.
    """

    @abstractmethod
    def start(self) -> None:
        """Make ready. Called before the first ``submit``."""

    @abstractmethod
    def capacity(self) -> int:
        """How many runs can be under way at once."""

    def spare(self) -> int:
        """How many more there can be of types that would have to wait for others: while all of
        ``capacity`` is taken, each type with nothing under way gets one run in this room, and
        its ``Work`` says so.
        """
        return 0

    @abstractmethod
    def submit(self, work: Work) -> None:
        """Take ``work`` and return at once; begin it as soon as there is room."""

    def replace(self, work: Work) -> None:
        """``work`` is past its deadline and was given up: free what it occupies, if possible.

        Its exclusive resource stays occupied until ``work.run`` has come to its end all the same.
        """
        return

    def cancel(self, work: Work) -> None:
        """The event of ``work``, which may be under way, was cancelled: tell its job, if that
        cannot see ``cancelled`` from where it is.
        """
        return

    @abstractmethod
    def stop(self) -> None:
        """Begin nothing more and let go of all threads; called after the drain."""


class HostView(Protocol):
    """The part of a host that plugins may use."""

    @property
    def name(self) -> str:
        """The host's name, stable over restarts."""

    def schedule(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        **options: Unpack[EventOptions],
    ) -> ScheduledEvent:
        """Store an event; it survives ``kill -9`` and power loss once this returns."""

    def get(self, event_id: int) -> ScheduledEvent | None:
        """The event, or None."""

    def events(self, **filters: Any) -> Page[ScheduledEvent]:
        """Stored events, filtered by the fields of ``ScheduledEvent``."""

    def runs(self, **filters: Any) -> Page[Run]:
        """Recorded runs, filtered by the fields of ``Run``."""

    def cancel(self, event_id: int, reason: str = "") -> bool:
        """Cancel an event; False when it was over already."""

    def tracker(
        self, origin: str | None = None, *, cancel_missing: bool = False
    ) -> AbstractContextManager[Tracker]:
        """A unit of work: ``with host.tracker("night") as tracker: tracker.schedule(...)``.

        ``cancel_missing`` says that the block names all resources that ``origin`` still wants
        events for: its pending events for any other are cancelled, with the reason recorded, in
        the same transaction, and those for several are narrowed to the named ones. Events without
        a resource, running ones and those that are over stay as they are. It needs an origin.
        """

    def ask(self, hook: str, **arguments: object) -> list[Any]:
        """What every loaded plugin answers to a hook; one that raises is logged and left out."""


class ActivationContext(Protocol):
    """Given to ``horae_activate``: whatever is done through it is undone at unload, in reverse."""

    plugin: str
    host: HostView
    settings: Any
    """An instance of the class that ``horae_settings`` returns; else the mapping that the host has
    for the plugin, which may be empty."""

    @property
    def log(self) -> Any:
        """A structlog logger bound with plugin, version and generation."""

    def enter(self, manager: AbstractContextManager[T]) -> T:
        """Enter ``manager`` now and leave it at unload."""

    def undo(self, action: Callable[[], object]) -> None:
        """Call ``action`` at unload."""


def require_aware(value: datetime, where: str) -> datetime:
    """``value`` in UTC. Raises NaiveDatetimeError, naming ``where``, if it has no time zone."""
    if value.utcoffset() is None:
        raise NaiveDatetimeError(value, where=where)
    return value.astimezone(UTC)
