"""The resources of a multi-resource run: one after the other, each with an outcome of its own.

The ledger is what a run knows of them. Its entries are never changed, only added, so the engine
may read it at any time: to show how far the run is, or to keep what was done when it gives the run
up.
"""

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Protocol, Self

import attrs

from horae.errors import ChildGone, describe, storable, summarise
from horae.payloads import MAX_RESULT, dump_result, encode
from horae.scheduling.recurrence import COUNTED, worth_retrying
from horae.stores.records import Claim, Step
from horae_hookspecs import CancelEvent, Outcome, ResourcesFailed, Retry, RetryLater
from horae_hookspecs._current import CURRENT, Tracking

VERDICTS: Final = (Outcome.SUCCEEDED, Outcome.FAILED)
"""The outcomes after which a resource's turn in this attempt is over."""

MAX_LINE: Final = 200
"""How many characters of an error are kept once the errors in full have used up their room."""

SHOWN: Final = 3
"""How many failed resources a run's error names."""


def mismatch(
    event_type: str, *, is_multi: bool, resource: str | None, resources: str | None
) -> str | None:
    """Why a job cannot be run for what an event names, or None when it can."""
    if is_multi and resource is None and resources is None:
        return f"event type {event_type!r} works on resources; name them: resources=[...]"
    if resources is not None and not is_multi:
        return (
            f"the job of event type {event_type!r} is no MultiResourceScheduledEventJob, so that "
            "resources=[...] would reach nobody; schedule one event for each resource=..."
        )
    return None


class Part(Tracking, Protocol):
    """A run's context as far as it is about one resource; ``over`` once that one's turn is."""

    over: bool

    @property
    def cancelled(self) -> bool:
        """Whether no more is wanted."""

    @property
    def follow_ups(self) -> Sequence[Step]:
        """What the job planned in the name of the resource."""

    def tell(self, fraction: float, text: str) -> None:
        """Tell the engine how far the run is; it has a look at the ledger then."""


@attrs.frozen
class Account:
    """What a run that is over leaves of its resources.

    ``resources`` is for its record, ``carried`` for what comes after it in the same occurrence,
    both JSON; ``follow_ups`` are those of the resources that succeeded.
    """

    resources: str | None
    carried: str | None
    follow_ups: Sequence[Step]


@attrs.frozen
class _Entry:
    """What has become of one resource."""

    outcome: Outcome
    details: Mapping[str, Any]
    follow_ups: Sequence[Step] = ()

    @property
    def may_succeed(self) -> bool:
        """Whether the resource has failed, and another attempt is worth it."""
        return self.outcome is Outcome.FAILED and "final" not in self.details

    def to_json(self) -> dict[str, Any]:
        return {"outcome": self.outcome, **self.details}


class Ledger:
    """What has become of an event's resources in this occurrence, as far as is known.

    What was interrupted starts with what its attempt had found out. So a resource that failed in
    an interrupted attempt has its next turn when this attempt is over, as one more that counts.
    """

    def __init__(self, claim: Claim, retry: Retry) -> None:
        names: list[str] = json.loads(claim.resources or "null") or [str(claim.resource)]
        known = json.loads(claim.resource_outcomes or "{}")
        self._names = names
        self._entries = {
            name: _Entry(Outcome(known[name].pop("outcome")), known[name])
            for name in names
            if name in known and known[name]["outcome"] in VERDICTS
        }
        self._retry = retry
        self._asked = False
        self._under_way: str | None = None
        self._room = {"result": MAX_RESULT, "error": MAX_RESULT}
        self._longest: timedelta | None = None
        self.todo = tuple(name for name in self._names if name not in self._entries)

    # -- while the run lasts

    def each(self, about: Callable[[str], Part], work: Callable[[Any, str], object]) -> Any:
        """See ``RunContext.each``; ``about`` makes the context for a resource."""
        if self._asked:
            raise RuntimeError(
                "context.each() was called before in this run, and every resource has its outcome; "
                "do all that is to be done for a resource in one function."
            )
        self._asked = True
        if inspect.iscoroutinefunction(work):
            return self._each_async(about, work)
        for name in self.todo:
            with self._turn(about(name), name) as turn:
                turn.value = work(turn.context, name)
        self._conclude()
        return None

    async def _each_async(self, about: Callable[[str], Part], work: Callable[..., Any]) -> None:
        for name in self.todo:
            with self._turn(about(name), name) as turn:
                turn.value = await work(turn.context, name)
        self._conclude()

    def _turn(self, context: Part, name: str) -> "_Turn":
        if context.cancelled:
            left = len(self._names) - len(self._entries)
            raise CancelEvent(f"cancelled with {left} of {len(self._names)} resources to be done")
        self._under_way = name
        return _Turn(self, context, name)

    def succeeded(self, name: str, value: object, context: Part) -> None:
        """Note that ``name`` is done, with what the job returned for it."""
        text, problem = dump_result(value)
        if text is not None and not self._fits("result", text):
            problem = f"the results of all resources have more than {MAX_RESULT:,} bytes together"
            text = None
        details: dict[str, Any] = {} if text is None else {"result": json.loads(text)}
        if problem is not None:
            details["result_error"] = problem
        self._note(name, _Entry(Outcome.SUCCEEDED, details, tuple(context.follow_ups)))

    def raised(self, name: str, error: BaseException) -> None:
        """Note how the job ended for ``name``."""
        if isinstance(error, RetryLater):
            self._longest = max(self._longest or error.after, error.after)
            self._note(name, _Entry(Outcome.SNOOZED, _because(error.reason)))
        elif isinstance(error, CancelEvent):
            self._note(name, _Entry(Outcome.CANCELLED, _because(error)))
        else:
            final = {} if worth_retrying(self._retry, error) else {"final": True}
            self._note(name, _Entry(Outcome.FAILED, {"error": self._error(error), **final}))

    def _note(self, name: str, entry: _Entry) -> None:
        self._entries[name] = entry
        self._under_way = None

    def tell(self, context: Part) -> None:
        """Tell how far the run is."""
        done, of_all = len(self._entries), len(self._names)
        context.tell(done / of_all, f"{done} of {of_all} resources")

    def _error(self, error: BaseException) -> str:
        text = describe(error)
        return text if self._fits("error", text) else summarise(error)[:MAX_LINE]

    def _fits(self, what: str, text: str) -> bool:
        # So much for all of them together: the whole is rewritten with each look at the progress.
        fits = len(text) <= self._room[what]
        self._room[what] -= len(text) if fits else 0
        return fits

    def _conclude(self) -> None:
        """Raise what the outcomes of the resources make of the run."""
        entries = list(self._entries.items())
        later = [name for name, entry in entries if entry.outcome is Outcome.SNOOZED]
        failed = [name for name, entry in entries if entry.outcome is Outcome.FAILED]
        of_all = f"of {len(self._names)} resources"
        if later and self._longest is not None:
            raise RetryLater(self._longest, f"{len(later)} {of_all} to be tried later")
        if failed:
            told = "; ".join(f"{name}: {self._line(name)}" for name in failed[:SHOWN])
            rest = "; ..." if len(failed) > SHOWN else ""
            raise ResourcesFailed(f"{len(failed)} {of_all} failed: {told}{rest}", failed=failed)

    def _line(self, name: str) -> str:
        error: str = self._entries[name].details["error"]
        return error.rpartition("\n")[2][:MAX_LINE]

    @property
    def worth_retrying(self) -> bool:
        """Whether any of the resources that failed may succeed in another attempt."""
        return any(entry.may_succeed for entry in self._entries.values())

    # -- for the engine

    def so_far(self) -> str | None:
        """The outcomes that need not be found out again if the host is lost now, as JSON.

        One with follow-ups is left out: these are stored with the run's outcome, and would be
        lost if the resource were taken for done.
        """
        return _dump({n: e for n, e in self._entries.copy().items() if not e.follow_ups})

    def account(self, outcome: Outcome) -> Account:
        """What a run that ends with ``outcome`` leaves."""
        entries = self._entries.copy()
        follow_ups = [new for entry in entries.values() for new in entry.follow_ups]
        if self._under_way is not None and outcome in (Outcome.TIMEOUT, Outcome.INTERRUPTED):
            entries[self._under_way] = _Entry(outcome, {})
        # An attempt that counts is followed by one for all that may still succeed.
        carried = {
            name: entry
            for name, entry in entries.items()
            if entry.outcome in VERDICTS and not (outcome in COUNTED and entry.may_succeed)
        }
        return Account(_dump(entries), _dump(carried), follow_ups)


class _Turn:
    """Brackets the job's code for one resource: what it raises is noted, and the next one comes."""

    def __init__(self, ledger: Ledger, context: Part, name: str) -> None:
        self._ledger = ledger
        self._name = name
        self.context = context
        self.value: object = None

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self.context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        CURRENT.reset(self._token)
        self.context.over = True
        if isinstance(error, asyncio.CancelledError) and task_is_cancelled():
            return False
        try:
            self._note(error)
        except BaseException as broken:  # what the job gave or raised breaks when it is looked at
            self._ledger.raised(self._name, broken)
        self._ledger.tell(self.context)
        return not isinstance(error, (CancelEvent, ChildGone))

    def _note(self, error: BaseException | None) -> None:
        if inspect.iscoroutine(self.value):
            self.value.close()
            error = TypeError("run_resource() gave a coroutine: write async def run_resource")
        if error is None:
            self._ledger.succeeded(self._name, self.value, self.context)
        else:
            self._ledger.raised(self._name, error)


def task_is_cancelled() -> bool:
    """Whether the run itself was given up, and not something that the job waited for."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread, without a loop
        return False
    return task is not None and task.cancelling() > 0


def _because(reason: object) -> dict[str, Any]:
    text = storable(reason)
    return {"reason": text} if text else {}


def _dump(entries: Mapping[str, _Entry]) -> str | None:
    return encode({name: e.to_json() for name, e in entries.items()}) if entries else None
