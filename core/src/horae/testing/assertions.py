"""What to assert of events and runs; each failure shows what there was instead."""

import re
from collections.abc import Iterable
from typing import Any

from horae_hookspecs import HostView, Outcome, Run, ScheduledEvent, State


def assert_succeeded(*runs: Run) -> list[Any]:
    """All of ``runs``, and at least one, succeeded; their results."""
    assert runs, "There was no run."
    for run in runs:
        assert run.outcome is Outcome.SUCCEEDED, _told(run)
        assert run.result_error is None, f"{_told(run)}, and {run.result_error}"
    return [run.result for run in runs]


def assert_failed(run: Run, text: str = "") -> str:
    """The run failed with an error in which the pattern ``text`` is found; that error."""
    assert run.outcome in (Outcome.FAILED, Outcome.TIMEOUT), _told(run)
    error = run.error or ""
    assert re.search(text, error), f"{text!r} is not found in the error of {_told(run)}"
    return error


def assert_scheduled(
    host: HostView, event_type: str | None = None, **fields: Any
) -> ScheduledEvent:
    """Exactly one pending event of this type has these fields; that event.

    ``arguments`` may name some of the event's arguments only.
    """
    pending = _pending(host)
    found = [event for event in pending if _fits(event, event_type, fields)]
    wanted = f"{event_type or 'event'} with {fields}" if fields else str(event_type or "event")
    assert len(found) == 1, f"{len(found)} pending events are {wanted}. {_list(pending)}"
    return found[0]


def assert_nothing_scheduled(host: HostView, event_type: str | None = None, **fields: Any) -> None:
    """No pending event of this type has these fields."""
    found = [event for event in _pending(host) if _fits(event, event_type, fields)]
    assert not found, _list(found)


def _pending(host: HostView) -> list[ScheduledEvent]:
    events = host.events(state=State.PENDING, limit=10_000)
    return [event for event in events if event.origin != "horae"]


def _fits(event: ScheduledEvent, event_type: str | None, fields: dict[str, Any]) -> bool:
    if event_type not in (None, event.event_type):
        return False
    arguments = fields.get("arguments", {})
    named = {name: event.arguments[name] for name in arguments if name in event.arguments}
    others = {name: value for name, value in fields.items() if name != "arguments"}
    return named == arguments and all(getattr(event, k) == value for k, value in others.items())


def _told(run: Run) -> str:
    end = f"the run of {run.event_type} (event {run.event_id}, attempt {run.attempt})"
    return f"{end}: {run.outcome or 'still running'}\n{run.error or ''}".rstrip()


def _list(events: Iterable[ScheduledEvent]) -> str:
    lines = [f"  {one.id}: {one.event_type} {dict(one.arguments)} due {one.due}" for one in events]
    return "Pending are:\n" + "\n".join(lines) if lines else "Nothing is pending."
