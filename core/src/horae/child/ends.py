"""How a job in a child process, or its turn for one resource, has ended: as JSON for the host."""

from typing import Any

from horae.errors import describe
from horae.scheduling.process_protocol import dump_value
from horae.scheduling.runner import verdict
from horae_hookspecs import Outcome, ResourcesFailed, Retry


def ended(retry: Retry, error: BaseException | None, value: object) -> dict[str, Any]:
    """What is told of code that raised or returned this; the classes of ``retry`` are here."""
    try:
        outcome, details = verdict(retry, error, value)
    except BaseException as broken:  # what the job gave or raised breaks when it is looked at
        return done(Outcome.FAILED, error=describe(broken), retryable=True)
    return done(outcome, **details, partly=isinstance(error, ResourcesFailed))


def done(outcome: Outcome | None, **details: object) -> dict[str, Any]:
    """What is told of a job's end; without an outcome, it could not be built."""
    dumped = {name: dump_value(value) for name, value in details.items()}
    return {"outcome": outcome, "details": dumped}
