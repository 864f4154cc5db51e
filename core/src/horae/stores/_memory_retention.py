"""How history leaves the dictionary store: by looking at all of it."""

from collections.abc import Iterator

from horae.clock import to_micros
from horae.stores._memory_listing import MemoryListing
from horae.stores._memory_rows import Event
from horae.stores.records import OVER, Pruned, Stale


class MemoryRetention(MemoryListing):
    """The part of ``MemoryStore`` that deletes history."""

    def surplus(self, event_type: str, keep: int) -> int | None:
        """In order of ids, from the end."""
        with self._lock:
            over = [event.id for event in self._of_type(event_type) if event.state in OVER]
        return over[-keep - 1] if len(over) > keep else None

    def prunable(self, stale: Stale, after: int, limit: int) -> Pruned:
        """Finds without deleting."""
        events, runs, further = self._stale(stale, after, limit)
        return Pruned(len(events), len(runs), further)

    def prune(self, stale: Stale, after: int, limit: int) -> Pruned:
        """Finds, then deletes."""
        with self._lock:
            events, runs, further = self._stale(stale, after, limit)
            for key in runs:
                del self._data.runs[key]
            for event_id in events:
                del self._data.events[event_id]
        return Pruned(len(events), len(runs), further)

    def _of_type(self, event_type: str, after: int = 0) -> list[Event]:
        found = [e for e in self._data.events.values() if e.lane.event_type == event_type]
        return [event for event in found if event.id > after]

    def _stale(
        self, stale: Stale, after: int, limit: int
    ) -> tuple[list[int], list[tuple[int, int]], int | None]:
        events: list[int] = []
        runs: list[tuple[int, int]] = []
        with self._lock:
            looked_at = self._of_type(stale.event_type, after)
            for event in looked_at[:limit]:
                room = limit - len(events) - len(runs)
                goes = self._goes(event, stale)
                old = list(self._runs_of(event) if goes else self._old_runs_of(event, stale))
                runs += old[:room]
                if len(old) + goes > room:
                    return events, runs, event.id - 1
                events += [event.id] if goes else []
        return events, runs, looked_at[limit - 1].id if len(looked_at) >= limit else None

    def _goes(self, event: Event, stale: Stale) -> bool:
        """Whether the event is stale itself."""
        if event.state not in OVER or any(hold[1] == event.id for hold in self._data.holds):
            return False
        if event.id in self._newest():
            return False
        old = stale.before is not None and event.ended is not None and event.ended < stale.before
        return old or event.id <= (stale.upto or 0)

    def _newest(self) -> set[int]:
        """The newest event, and that of the newest run."""
        newest = max(self._data.runs.values(), key=lambda run: run.id, default=None)
        return {max(self._data.events), 0 if newest is None else newest.event_id}

    def _runs_of(self, event: Event) -> Iterator[tuple[int, int]]:
        keys = ((event.id, claim) for claim in range(1, event.claim + 1))
        return (key for key in keys if key in self._data.runs)

    def _old_runs_of(self, event: Event, stale: Stale) -> Iterator[tuple[int, int]]:
        """The runs that are stale of an event that is not over, up to the first that is not."""
        old = stale.before is not None
        for key in self._runs_of(event) if event.state not in OVER else ():
            finished = self._data.runs[key].finished
            old = old and finished is not None and to_micros(finished) < (stale.before or 0)
            many = stale.runs is not None and key[1] <= event.claim - stale.runs
            if key[1] == event.claim or not (old or many):
                return
            yield key
