"""A run whose job is in a child process: the host's side of the conversation about it."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, Protocol

from horae import logs
from horae.errors import ChildError, ChildGone
from horae.payloads import Unkept
from horae.registry import Generation
from horae.scheduling.children import Child
from horae.scheduling.process_protocol import dump_error, load_value
from horae.scheduling.recurrence import Result
from horae.scheduling.runner import Attempt, Ended, RunnerWork
from horae.scheduling.tracker import Unit
from horae_hookspecs import CancelEvent, Outcome, OutsideRunError, ResourcesFailed, RetryLater

LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})


class Children(Protocol):
    """Where an attempt has its child from."""

    @property
    def outdated(self) -> frozenset[Generation]:
        """The generations whose code is not to be had any more."""

    def child_for(self, work: RunnerWork) -> AbstractContextManager[Child]:
        """A child with the code of ``work``."""

    def outdate(self, generation: Generation, reason: str) -> None:
        """Take note that no new child has the code of ``generation``."""


class _Left(ChildGone):
    """The job has come to its end without finishing a resource's turn."""

    def __init__(self, done: Mapping[str, Any]) -> None:
        super().__init__("the job left it before its turn was over")
        self.done = done


class ProcessAttempt(Attempt):
    """The job is built and performed by the child; all else is as for any other run."""

    __slots__ = ("_asked", "_child", "_children", "_part", "_units")

    def __init__(self, work: RunnerWork, children: Children) -> None:
        super().__init__(work)
        self._children = children
        self._asked = 0
        self._part: Any = None
        self._units: list[Unit] = []

    def _unbuildable(self) -> Result | None:
        return None  # the child says so, if it is

    def perform(self) -> Any:
        """Have the job done; gives what it returned and raises what came of it."""
        if self.work.entry.generation in self._children.outdated:
            raise Ended(self.work.result(Outcome.RETURNED))
        with self._children.child_for(self.work) as self._child:
            self._child.run = self.work.key
            self._child.send("run", _request(self))
            if self.work.cancelled:
                self._child.cancel(self.work.key)
            done = self._until_done()
            self._child.run = None
        return self._conclude(done)

    def _until_done(self) -> Mapping[str, Any]:
        try:
            done: Mapping[str, Any] = self._converse(until="done")
        except _Left as left:
            done = left.done
        return done

    def _converse(self, until: Literal["done", "turn"]) -> Any:
        """Do what the job asks for, until it says that it, or a resource's turn, is over."""
        while (message := self._child.receive()) is not None:
            kind, content, run = message
            ours = run is not None and tuple(run) == self.work.key
            if kind in ("call", "turn"):
                self._asked, content = content
            if kind == until:
                return content
            if kind == "done":
                raise _Left(content)
            if kind == "refused":
                self._children.outdate(self.work.entry.generation, content)
                raise Ended(self.work.result(Outcome.RETURNED))
            if kind == "broken":
                raise ChildError(content)
            if kind == "log":
                self._log(*content, ours=ours)
            elif kind == "call":
                self._reply(self._answer(*content, ours=ours))
        raise ChildGone(f"the process of the job {self._child.finish()}")

    def _reply(self, answer: Mapping[str, Any]) -> None:
        """The answer to what was asked last: a job asks one thing after the other."""
        self._child.send("answer", {**answer, "to": self._asked})

    def _log(self, level: str, event: str, details: Mapping[str, Any], *, ours: bool) -> None:
        log = self.context.log if ours else logs.get().bind(plugin=self._child.generation.plugin)
        getattr(log, level if level in LEVELS else "info")(event, **details)

    # -- what a job may ask for

    def _answer(
        self, method: str, part: str | None, arguments: Mapping[str, Any], *, ours: bool
    ) -> dict[str, Any]:
        try:
            context = self.context if part is None else self._part
            if not ours or context is None or context.part != part:
                raise OutsideRunError("The run of this context is over.")
            return {"value": _METHODS[method](self, context, **arguments)}
        except ChildGone:
            raise
        except Exception as error:
            return {"error": dump_error(error)}

    def _progress(self, context: Any, fraction: float, text: str) -> None:
        context.progress(fraction, text)

    def _schedule(self, scheduling: Any, event_type: str, arguments: str, given: Any) -> None:
        kinds = self.work.desk.registry.snapshot.kinds
        asked = {name: load_value(value, kinds) for name, value in given.items()}
        scheduling.schedule(event_type, json.loads(arguments), **asked)

    def _open(self, context: Any, origin: str | None, cancel_missing: bool) -> int:
        unit = context.tracker(origin, cancel_missing=cancel_missing)
        self._units.append(unit.__enter__())
        return len(self._units) - 1

    def _add(self, _: Any, unit: int, **request: Any) -> None:
        self._schedule(self._units[unit], **request)

    def _close(self, _: Any, unit: int, keep: bool) -> None:
        error = None if keep else RuntimeError("its block was left with an error")
        self._units[unit].__exit__(None, error, None)

    def _each(self, context: Any) -> None:
        """The ledger is here and the work is there: tell the job whose turn it is, each time."""
        context.each(self._turn)

    def _turn(self, context: Any, resource: str) -> Any:
        self._part = context
        part = {"resource": resource, "idempotency_key": context.idempotency_key}
        self._reply({"value": part})
        try:
            return self._conclude(self._converse(until="turn"))
        finally:
            self._part = None

    def _conclude(self, done: Mapping[str, Any]) -> Any:
        """What the job returned, or what it raised as far as it can be told across processes."""
        outcome = done["outcome"]
        details = {name: load_value(value, {}) for name, value in done["details"].items()}
        if outcome == Outcome.SUCCEEDED:
            problem, result = details["result_error"], details["result"]
            return Unkept(problem) if problem else result and json.loads(result)
        if outcome == Outcome.SNOOZED:
            raise RetryLater(details["after"], details["reason"] or "")
        if outcome == Outcome.CANCELLED:
            raise CancelEvent(details["reason"])
        if outcome is None:
            raise Ended(self._misfit(details["error"], details["summary"]))
        if details.get("partly"):
            raise ResourcesFailed(details["error"], failed=())
        raise ChildError(details["error"], retryable=details["retryable"])


_METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    "progress": ProcessAttempt._progress,
    "schedule": ProcessAttempt._schedule,
    "open": ProcessAttempt._open,
    "add": ProcessAttempt._add,
    "close": ProcessAttempt._close,
    "each": ProcessAttempt._each,
}


def _request(attempt: Attempt) -> dict[str, Any]:
    work, context = attempt.work, attempt.context
    policy = work.entry.policy
    return {
        "event_id": work.event_id,
        "event_type": work.event_type,
        "arguments": work.row.arguments,
        "schema_version": work.lane.schema_version,
        "attempt": context.attempt,
        "occurrence": work.row.occurrence,
        "idempotency_key": context.idempotency_key,
        "resource": context.resource,
        "origin": context.origin,
        "user": context.user,
        "description": context.description,
        "deadline": work.deadline,
        "resources": context.resources,
        "target": work.entry.target,
        "version": work.entry.job.version,
        "on": [_name(kind) for kind in policy.retry.on],
        "never": [_name(kind) for kind in policy.retry.never],
    }


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"
