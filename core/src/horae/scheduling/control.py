"""What a host can change of events that are stored: the verbs of control, and what is to come."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from horae.clock import Clock
from horae.errors import EventNotFound
from horae.registry import Registry
from horae.scheduling.engine import Engine
from horae.scheduling.filters import instants
from horae.scheduling.requests import Planner
from horae.scheduling.runner import RunnerWork
from horae.scheduling.upcoming import Forecast
from horae.stores.base import Store
from horae_hookspecs import Pause, PauseField, ScheduledEvent, ScheduleLike, Upcoming


class EventControl:
    """The part of ``EventOperations`` that changes what was scheduled; needs no plugin."""

    store: Store
    clock: Clock
    registry: Registry
    _planner: Planner
    _engine: Engine | None

    def cancel(self, event_id: int, reason: str = "") -> bool:
        """End an event: no further occurrence. A job that runs sees ``context.cancelled``.

        False when it was over already. Raises EventNotFound.
        """
        cancelled = self.store.cancel(event_id, reason or "cancelled", self.clock.micros())
        if cancelled and self._engine is not None:
            self._engine.cancel(event_id)
            self._engine.wake()
        return cancelled or self._is_there(event_id)

    def cancel_all(self, reason: str = "", **filters: Any) -> int:
        """Cancel every event that ``events`` finds with these filters and that is not over.

        All in one transaction; how many they were. Raises TypeError for an unknown filter, and
        NaiveDatetimeError.
        """
        found = instants(filters)
        count = self.store.cancel_all(found, reason or "cancelled", self.clock.micros())
        if count and self._engine is not None:
            self._engine.cancel_marked()
            self._engine.wake()
        return count

    def pause(
        self,
        event_id: int | None = None,
        *,
        event_type: str | None = None,
        origin: str | None = None,
        resource: str | None = None,
    ) -> bool:
        """Keep an event from running until ``resume``; a run under way goes on.

        In place of an event, an ``event_type``, ``origin`` or ``resource`` holds back all of its
        events, on every host and over restarts, and those that are scheduled later. What is held
        back for several reasons waits until none is left. False for an event that is over, and
        for a rule that there was already. Raises EventNotFound, and TypeError unless exactly one
        thing is named.
        """
        rule = _rule(event_id, event_type, origin, resource)
        if isinstance(rule, int):
            paused = self.store.pause(rule, True) or self._is_there(rule)
            self._take_back(lambda work: work.event_id == rule)
            return paused
        field, value = rule
        added = self.store.add_pause(field, value, self.clock.micros())
        self._take_back(lambda work: getattr(work, field) == value)
        return added

    def resume(
        self,
        event_id: int | None = None,
        *,
        event_type: str | None = None,
        origin: str | None = None,
        resource: str | None = None,
    ) -> bool:
        """Take back what ``pause`` with the same argument did; what came due meanwhile is late,
        not lost. False for an event that is over, and for a rule that there was not.
        """
        rule = _rule(event_id, event_type, origin, resource)
        if isinstance(rule, int):
            resumed = self.store.pause(rule, False) or self._is_there(rule)
        else:
            resumed = self.store.remove_pause(*rule)
        self._wake()
        return resumed

    def pauses(self) -> list[Pause]:
        """The rules that hold back events by type, origin or resource."""
        return self.store.pauses()

    def run_now(self, event_id: int) -> bool:
        """Make a pending or quarantined event due now; False in any other state.

        It is claimed, leased and recorded like any other. Its own pause is lifted; under a pause
        of its type, origin or resource it waits for that one's end.
        """
        moved = self.store.run_now(event_id, self.clock.micros()) or self._is_there(event_id)
        self._wake()
        return moved

    def reschedule(self, event_id: int, schedule: ScheduleLike, *, keep_phase: bool = True) -> bool:
        """Give an event another schedule, in the forms that ``schedule`` takes.

        Its first occurrence takes the place of the one that was to come, with all its tries; a
        run under way goes on, and what would follow it is replaced. A schedule in the phase of
        the one before goes on in it unless ``keep_phase`` is False. A quarantined event is
        pending again. False for one that is over, or is to end with its run. Raises
        EventNotFound, UnknownSchedule and ScheduleError.
        """
        change = self._planner.replan(self._known(event_id), schedule, keep_phase=keep_phase)
        return self.store.change(event_id, change) and self._changes(event_id)

    def update(
        self,
        event_id: int,
        *,
        arguments: Mapping[str, Any] | None = None,
        description: str | None = None,
        priority: int | None = None,
    ) -> bool:
        """Change what is given; when the event is due stays as it is.

        ``arguments`` are checked as when they are scheduled, and replace all that it had; they
        bring a quarantined event back. A run under way goes on with what it had. False for an
        event that is over. Raises EventNotFound, InvalidArguments and SettingsError.
        """
        change = self._planner.revise(self._known(event_id), arguments, description, priority)
        return self.store.change(event_id, change) and self._changes(event_id)

    def upcoming(self, n: int = 10, *, event_id: int | None = None) -> list[Upcoming]:
        """The next ``n`` occurrences of an event, or of all that wait and are not paused.

        What then happens, if every run ends well and at once. An event whose schedule kind is
        not loaded is there with the occurrence that it waits for; one that is over, or in
        quarantine, is not. Raises EventNotFound.
        """
        forecast = Forecast(self.registry, self._planner.kinds, self.clock)
        if event_id is None:
            return forecast.of_all(self.store.earliest, n) if n > 0 else []
        self._known(event_id)
        return forecast.of_event(self.store.planned(event_id), max(n, 0))

    def _known(self, event_id: int) -> ScheduledEvent:
        event = self.store.get(event_id)
        if event is None:
            raise EventNotFound(event_id)
        return event

    def _is_there(self, event_id: int) -> Literal[False]:
        self._known(event_id)
        return False

    def _changes(self, event_id: int) -> Literal[True]:
        """What was claimed and has not begun is not to begin as it was."""
        self._take_back(lambda work: work.event_id == event_id)
        self._wake()
        return True

    def _take_back(self, chosen: Callable[[RunnerWork], bool]) -> None:
        if self._engine is not None:
            self._engine.take_back(chosen)

    def _wake(self) -> None:
        if self._engine is not None:
            self._engine.wake()


def _rule(
    event_id: int | None, event_type: str | None, origin: str | None, resource: str | None
) -> int | tuple[PauseField, str]:
    """The one thing that is named. Raises TypeError for none, or for several."""
    rules: list[tuple[PauseField, str | None]] = [
        ("event_type", event_type),
        ("origin", origin),
        ("resource", resource),
    ]
    given = [(field, value) for field, value in rules if value is not None]
    if len(given) + (event_id is not None) != 1:
        raise TypeError("Give exactly one of an event's id, event_type=, origin= and resource=.")
    return given[0] if event_id is None else event_id
