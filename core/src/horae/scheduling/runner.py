"""One run, from its claim to its outcome.

``RunnerWork.run`` is the story: begin, build, perform, classify. Whatever a plugin does in it
becomes an outcome; nothing it raises gets past this file, and nothing of it is kept but text.
"""

import contextvars
import copy
import inspect
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, Unpack

import attrs
import structlog

from horae.clock import Clock, from_micros
from horae.errors import ChildGone, describe, storable, summarise
from horae.payloads import dump_result
from horae.registry import Entry, Observer, Registry, hook_failed
from horae.scheduling.misfires import left_out
from horae.scheduling.recurrence import Result, load_schedule, worth_retrying
from horae.scheduling.requests import Planner
from horae.scheduling.resources import Ledger, mismatch
from horae.scheduling.tracker import Unit
from horae.stores.records import Claim, Lane, NewEvent, Step
from horae_hookspecs import (
    CancelEvent,
    Cause,
    EventOptions,
    Executor,
    HostView,
    Outcome,
    OutsideRunError,
    ResourcesFailed,
    Retry,
    RetryLater,
    RunContext,
    ScheduleLike,
    Work,
)
from horae_hookspecs._current import CURRENT


class Desk(Protocol):
    """Where a run picks itself up and hands itself in; the engine's side of a run."""

    registry: Registry
    clock: Clock
    host: HostView
    planner: Planner

    def begin(self, work: "RunnerWork") -> bool:
        """Take the run over from the queue and note its start; False when it was given back."""

    def report(self, work: "RunnerWork", result: Result) -> bool:
        """Hand in the outcome; False when the run was given up, and this answer is fenced."""

    def progress(self, work: "RunnerWork", fraction: float, text: str) -> None:
        """Note how far the run is; nothing where it was given up."""


class Room(NamedTuple):
    """Where a run takes a place: an executor, or the part of it that is kept spare."""

    executor: Executor
    spare: bool = False


class RunnerWork:
    """A claimed run in the hands of an executor; see ``horae_hookspecs.Work``."""

    __slots__ = (
        "cancelled",
        "claim",
        "deadline",
        "desk",
        "entry",
        "key",
        "lane",
        "ledger",
        "queued",
        "room",
        "row",
        "started",
        "thread",
    )

    def __init__(self, desk: Desk, row: Claim, lane: Lane, entry: Entry, room: Room) -> None:
        self.desk = desk
        self.room = room
        self.queued = time.monotonic()
        self.row = row
        self.claim = row.claim
        self.key = row.event_id, row.claim  # what names this run everywhere
        self.lane = lane
        self.entry = entry
        self.ledger: Ledger | None = None
        self.started = 0
        self.deadline: int | None = None
        self.thread: int | None = None
        self.cancelled = False

    @property
    def event_id(self) -> int:
        """The event that is run."""
        return self.row.event_id

    @property
    def event_type(self) -> str:
        """Its type."""
        return self.lane.event_type

    @property
    def resource(self) -> str | None:
        """What the event is about."""
        return self.row.resource

    @property
    def origin(self) -> str | None:
        """Who asked for it."""
        return self.row.origin

    @property
    def user(self) -> str | None:
        """On whose behalf it runs."""
        return self.row.user

    @property
    def spare(self) -> bool:
        """Whether it takes a spare place."""
        return self.room.spare

    def run(self) -> bool:
        """Carry the run out in the calling thread; see ``Work.run`` for the answer."""
        self.thread = threading.get_ident()
        return self.run_as(Attempt(self))

    def run_as(self, attempt: "Attempt") -> bool:
        """The same, with another way to build and perform the job."""
        # In a context of its own: what the job sets there goes with it.
        return contextvars.copy_context().run(attempt.carry_out)

    async def run_async(self) -> None:
        """Carry the run out on the running event loop."""
        with Attempt(self) as attempt:
            if attempt.ready():
                attempt.value = await attempt.perform()

    def place(self) -> str | None:
        """Where the run's thread is at this moment: file, line and function of its innermost
        frame. None for a run that has no thread to itself.
        """
        frame = None if self.thread is None else sys._current_frames().get(self.thread)
        if frame is None:
            return None
        return storable(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")

    def resources_so_far(self) -> str | None:
        """What has become of its resources, as JSON, while it runs; None when there is nothing."""
        return None if self.ledger is None else self.ledger.so_far()

    def result(self, outcome: Outcome, **details: Any) -> Result:
        """A result of this run, finished now; its resources are as far as they are."""
        now = self.desk.clock.micros()
        if self.ledger is not None:
            details |= attrs.asdict(self.ledger.account(outcome), recurse=False)
        return Result(outcome, started=self.started or now, finished=now, **details)


class Attempt:
    """Brackets the plugin's code: counted in before, classified and reported after."""

    __slots__ = ("begun", "context", "job", "kept", "refusal", "value", "work", "wrappers")

    def __init__(self, work: RunnerWork) -> None:
        self.work = work
        self.begun = False
        self.kept = True
        self.refusal: Result | None = None
        self.value: Any = None
        self.wrappers = _UNWRAPPED

    def __enter__(self) -> "Attempt":
        return self

    def carry_out(self) -> bool:
        """The whole of it, in the calling thread; see ``Work.run`` for the answer."""
        with self:
            if self.ready():
                self.value = self.perform()
        return self.kept

    def ready(self) -> bool:
        """Begin the run and build its job; False when there is nothing to perform."""
        work, entry = self.work, self.work.entry
        if not work.desk.begin(work):
            return False
        # In this order: counted in first, then looked whether the code is still published. The
        # other way round, an unload between the two would find nobody inside and retire the code.
        entry.generation.enter()
        self.begun = True
        snapshot = work.desk.registry.snapshot
        if snapshot.types.get(work.event_type) is not entry:
            self.refusal = work.result(Outcome.RETURNED)
        else:
            self.refusal = self._needless() or self._unbuildable() or self._unfit()
        if self.refusal is None and "horae_authorize" in snapshot.observers:
            self.refusal = self._forbidden()
        if self.refusal is None:
            self.context = _Context(work)
            if "horae_run" in snapshot.observers:
                self.wrappers = _Wrappers(work, snapshot.observers["horae_run"])
            if "horae_run_started" in snapshot.observers:
                work.desk.registry.observe("horae_run_started", run=work)
        return self.refusal is None

    def perform(self) -> Any:
        """Call the job; gives an awaitable where the job is asynchronous."""
        CURRENT.set(self.context)
        return self.job.run(self.context)

    def _needless(self) -> Result | None:
        row, entry = self.work.row, self.work.entry
        if row.settled == row.occurrence:
            reason = "this occurrence was settled before; only the next one was missing"
            return self.work.result(Outcome.SKIPPED, reason=reason)
        if row.interruptions and entry.policy.interrupted == "fail":
            reason = "not repeated after an interruption: its type says interrupted='fail'"
            return self.work.result(Outcome.SKIPPED, reason=reason, error=reason)
        return None if entry.never_late and row.missed is None else self._missed()

    def _missed(self) -> Result | None:
        work = self.work
        row, entry, kinds = work.row, work.entry, work.desk.registry.snapshot.kinds
        try:
            missed = left_out(
                row,
                work.started,
                entry.policy,
                entry.absence,
                lambda: load_schedule(row.schedule, kinds),
            )
        except BaseException:
            return None  # the settlement asks the same schedule, and sets the event aside for it
        if missed is None:
            return None
        return work.result(
            missed.outcome, left_out=missed.until, reason=missed.reason, error=missed.reason
        )

    def _forbidden(self) -> Result | None:
        answers = self.work.desk.registry.ask("horae_authorize", run=self.work)
        refused = next((str(answer) for answer in answers if answer is not None), None)
        if refused is None:
            return None
        user = f"user {self.work.user!r}" if self.work.user is not None else "nobody in particular"
        return self.work.result(
            Outcome.FAILED,
            error=storable(f"not permitted to {user}: {refused}"),
            cause=Cause.PERMISSION,
            retryable=False,
        )

    def _unbuildable(self) -> Result | None:
        entry, row = self.work.entry, self.work.row
        try:
            self.job = entry.job.build(row.arguments, self.work.lane.schema_version)
        except BaseException as error:
            return self._misfit(describe(error), summarise(error))
        return None

    def _misfit(self, error: str, summary: str) -> Result:
        version = self.work.entry.job.version
        return self.work.result(
            Outcome.FAILED,
            error=error,
            cause=Cause.ERROR,
            reason=f"its arguments do not fit schema version {version} of the type: {summary}",
            quarantine=True,
        )

    def _unfit(self) -> Result | None:
        """Open the ledger of a multi-resource run; none can be run without its resources."""
        row, is_multi = self.work.row, self.work.entry.job.is_multi
        if not is_multi and row.resources is None:
            return None
        named = {"resource": row.resource, "resources": row.resources}
        reason = mismatch(self.work.event_type, is_multi=is_multi, **named)
        if reason is not None:
            return self.work.result(
                Outcome.FAILED, error=reason, cause=Cause.ERROR, reason=reason, quarantine=True
            )
        self.work.ledger = Ledger(row, self.work.entry.policy.retry)
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> bool:
        if self.begun:
            result = self.refusal or self._ended(error)
            self.job = None
            self.work.entry.generation.leave()
            self.kept = self.work.desk.report(self.work, result)
        return True

    def _ended(self, error: BaseException | None) -> Result:
        self.value, error = self.wrappers.close(self.value, error)
        try:
            result = _classify(self.work, error, self.value)
        except BaseException as broken:  # what the job gave or raised breaks when it is looked at
            return self.work.result(Outcome.FAILED, error=describe(broken), cause=Cause.ERROR)
        self.context.over = True
        if self.context.follow_ups and result.outcome is Outcome.SUCCEEDED:
            result.follow_ups = [*result.follow_ups, *self.context.follow_ups]
        return result


class Ended(Exception):
    """Raised in place of the job's own end where a run has come to its result before."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.error)
        self.result = result


def _classify(work: RunnerWork, error: BaseException | None, value: Any) -> Result:
    if isinstance(error, Ended):
        return error.result
    outcome, details = verdict(work.entry.policy.retry, error, value)
    details["crashed"] = isinstance(error, ChildGone)
    if isinstance(error, ResourcesFailed) and work.ledger is not None:
        details["retryable"] = work.ledger.worth_retrying
    return work.result(outcome, **details)


def verdict(
    retry: Retry, error: BaseException | None, value: Any
) -> tuple[Outcome, dict[str, Any]]:
    """How a job ended that raised or returned this, and the fields of ``Result`` that tell more."""
    if error is None:
        if inspect.iscoroutine(value):
            value.close()
            told = "run() gave a coroutine: write async def run"
            return Outcome.FAILED, {"error": told, "cause": Cause.ERROR}
        text, problem = dump_result(value)
        return Outcome.SUCCEEDED, {"result": text, "result_error": problem}
    if isinstance(error, RetryLater):
        return Outcome.SNOOZED, {"after": error.after, "reason": storable(error.reason) or None}
    if isinstance(error, CancelEvent):
        return Outcome.CANCELLED, {"reason": storable(error)}
    told = storable(error) if isinstance(error, ResourcesFailed) else describe(error)
    details = {"error": told, "cause": Cause.ERROR, "retryable": worth_retrying(retry, error)}
    return Outcome.FAILED, details


class _Context:
    """See ``horae_hookspecs.RunContext``; ``part`` is the resource that it is about, if it is."""

    part: str | None = None
    over = False

    def __init__(self, work: RunnerWork) -> None:
        row = work.row
        self._work = work
        self.event_id = row.event_id
        self.event_type = work.event_type
        self.attempt = row.attempt + 1
        self.resource = row.resource
        self.origin = row.origin
        self.user = row.user
        self.description = row.description
        self.host = work.desk.host
        self.resources = () if work.ledger is None else work.ledger.todo
        self.follow_ups: list[Step] = []

    @property
    def occurrence(self) -> datetime:
        """The nominal due time."""
        return from_micros(self._work.row.occurrence)

    @property
    def idempotency_key(self) -> str:
        """Event and occurrence, so every attempt has the same; each resource has its own."""
        part = "" if self.part is None else f"-{self.part}"
        return f"{self.event_id}-{self._work.row.occurrence}{part}"

    @property
    def deadline(self) -> datetime | None:
        """When the run's time is up."""
        return None if self._work.deadline is None else from_micros(self._work.deadline)

    @property
    def cancelled(self) -> bool:
        """Set by the engine when the event is cancelled or the run was given up."""
        return self._work.cancelled

    @property
    def log(self) -> Any:
        """Bound when asked for: most runs log nothing."""
        generation = self._work.entry.generation
        return structlog.get_logger("horae.job").bind(
            event_id=self.event_id,
            event_type=self.event_type,
            plugin=generation.plugin,
            version=generation.version,
            generation=generation.number,
        )

    def progress(self, fraction: float, text: str = "") -> None:
        """Told to the log and to the engine, which stores the last that it was told."""
        if not 0.0 <= fraction <= 1.0:  # nor is NaN
            raise ValueError(f"progress({fraction!r}): give a fraction from 0.0 to 1.0.")
        text = storable(text)
        self.log.info("run.progress", fraction=fraction, text=text)
        self.tell(float(fraction), text)

    def tell(self, fraction: float, text: str) -> None:
        """Told to the engine alone."""
        self._work.desk.progress(self._work, fraction, text)

    def schedule(
        self,
        event_type: str | object,
        arguments: Mapping[str, Any] | None = None,
        schedule: ScheduleLike = None,
        **options: Unpack[EventOptions],
    ) -> None:
        """Checked now, stored with the outcome of a run that ends well."""
        planner = self._work.desk.planner
        self._follow_up([planner.plan(event_type, arguments, schedule, **options)])

    def tracker(self, origin: str | None = None, *, cancel_missing: bool = False) -> Unit:
        """A unit that is stored like that."""
        return Unit(self._work.desk.planner, self._follow_up, origin, cancel_missing=cancel_missing)

    def _follow_up(self, steps: Sequence[Step]) -> Sequence[int]:
        if self.over:
            raise OutsideRunError(
                f"The run of event {self.event_id} is over, and its follow-ups are stored; "
                "schedule through context.host instead."
            )
        self.follow_ups += map(_keeping, steps)
        return ()

    def each(self, work: Callable[[RunContext, str], object]) -> Any:
        """The ledger has the resources, and takes down what becomes of them."""
        if self._work.ledger is None:
            raise TypeError(
                f"context.each() is for the job of a MultiResourceScheduledEventJob, and that of "
                f"event type {self.event_type!r} is none."
            )
        return self._work.ledger.each(self._about, work)

    def _about(self, resource: str) -> "_Context":
        part = copy.copy(self)
        part.part = part.resource = resource
        part.follow_ups = []
        return part


def _keeping(step: Step) -> Step:
    """A follow-up whose key is taken when the run ends must not take the run's outcome with it."""
    if isinstance(step, NewEvent) and step.on_conflict == "error":
        return attrs.evolve(step, on_conflict="keep")
    return step


class _Wrappers:
    """The ``horae_run`` generators around one run. One that breaks is left out and logged, so
    that no plugin can fail another's runs.
    """

    def __init__(self, work: Work | None, wrappers: tuple[Observer, ...]) -> None:
        self._open: list[tuple[str, Any]] = []
        for wrapper in wrappers:
            try:
                generator = wrapper({"run": work})
                next(generator)
                self._open.append((wrapper.plugin, generator))
            except BaseException as error:
                hook_failed(wrapper.plugin, "horae_run", error)

    def close(self, value: Any, raised: BaseException | None) -> tuple[Any, BaseException | None]:
        """Hand the result outwards: what a wrapper returns replaces it, a job's error stays."""
        for plugin, generator in reversed(self._open):
            try:
                if raised is None:
                    generator.send(value)
                else:
                    generator.throw(raised)
                generator.close()
            except StopIteration as stop:
                value = stop.value
            except BaseException as error:
                if error is not raised:
                    hook_failed(plugin, "horae_run", error)
        return value, raised


_UNWRAPPED: Final = _Wrappers(None, ())
