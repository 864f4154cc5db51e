"""The worker: loads the code it is told to, then runs one job after the other."""

import asyncio
import contextvars
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

import structlog

from horae.child.code import Code, OtherCode
from horae.child.context import ChildContext
from horae.child.ends import done, ended
from horae.child.line import Line
from horae.errors import describe, summarise
from horae.registry import Entry
from horae_hookspecs import Outcome
from horae_hookspecs._current import CURRENT


class Worker:
    """Serves the host at the other ends of two pipes. The jobs have the main thread."""

    def __init__(self, requests: int, answers: int) -> None:
        self._line = Line(requests, answers)
        signal.signal(signal.SIGTERM, self._terminated)
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.format_exc_info,
                self._line.log,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )

    def serve(self) -> None:
        """Load, run what comes, and return when the host has no more for us."""
        _, origin, _ = self._line.next()
        code = self._load(origin)
        while code is not None:
            kind, content, run = self._line.next()
            if kind != "run":
                return
            self._line.run = run
            answer = self._carry_out(code, content, run)
            if not self._line.ours:
                os._exit(0)  # a job has forked, and its other half has come to the job's end too
            if self._line.ending:
                sys.exit(128 + signal.SIGTERM)
            self._line.send("done", answer)
            self._line.run = None

    def _load(self, origin: Mapping[str, Any]) -> Code | None:
        try:
            code = Code(origin)
        except OtherCode as error:
            self._line.send("refused", str(error))
        except BaseException as error:
            self._line.send("broken", describe(error))
        else:
            self._line.send("ready", os.getpid())
            return code
        return None

    def _carry_out(self, code: Code, request: Mapping[str, Any], run: object) -> dict[str, Any]:
        try:
            entry = code.entry(request)
        except BaseException as error:
            return done(Outcome.FAILED, error=describe(error), retryable=True)
        try:
            job = entry.job.build(request["arguments"], request["schema_version"])
        except BaseException as error:
            return done(None, error=describe(error), summary=summarise(error))
        context = ChildContext(request, run, self._line, code.types, entry.policy.retry)
        # In a context of its own: what the job sets there goes with it.
        return contextvars.copy_context().run(_perform, entry, job, context)

    def _terminated(self, *_: object) -> None:
        """The run is given up, or there is nothing more to do: a job has a moment to clean up."""
        if not self._line.ours:  # what a job has forked ends as if we had never been here
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        self._line.ending = True
        sys.exit(128 + signal.SIGTERM)


def _perform(entry: Entry, job: Any, context: ChildContext) -> dict[str, Any]:
    value, raised = None, None
    CURRENT.set(context)
    try:
        value = job.run(context)
        if entry.job.is_async:
            value = asyncio.run(value)
    except BaseException as error:
        raised = error
    return ended(entry.policy.retry, raised, value)
