"""How the dictionary store lists and counts: by looking at all of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from horae.stores import _filters, _rows
from horae.stores._filters import EVENTS, RUNS, Source
from horae.stores._memory_control import MemoryControl
from horae.stores._memory_data import refuse_connection
from horae_hookspecs import Cause, Outcome, Page, Run, ScheduledEvent, State


class MemoryListing(MemoryControl):
    """The part of ``MemoryStore`` that lists and counts."""

    def get(self, event_id: int, connection: object | None = None) -> ScheduledEvent | None:
        """A look-up."""
        refuse_connection(connection)
        with self._lock:
            event = self._data.events.get(event_id)
            return None if event is None else self._model(event)

    def events(
        self,
        filters: Mapping[str, Any],
        limit: int,
        after: int = 0,
        *,
        newest_first: bool = False,
    ) -> Page[ScheduledEvent]:
        """In order of ids, which is the order of insertion."""
        with self._lock:
            models = [self._model(event) for event in self._data.events.values()]
        return _page(models, EVENTS, filters, limit, (after, newest_first))

    def runs(
        self,
        filters: Mapping[str, Any],
        limit: int,
        after: int = 0,
        *,
        newest_first: bool = False,
    ) -> Page[Run]:
        """In order of claims, which is the order of insertion."""
        with self._lock:
            runs = list(self._data.runs.values())
        return _page(runs, RUNS, filters, limit, (after, newest_first))

    def last_run(self, event_id: int) -> Run | None:
        """The event knows its last claim."""
        with self._lock:
            event = self._data.events.get(event_id)
            return None if event is None else self._data.runs.get((event_id, event.claim))

    def causes(self, filters: Mapping[str, Any]) -> dict[Cause, int]:
        """A count."""
        runs = self.runs(filters, len(self._data.runs))
        return dict(Counter(run.cause for run in runs if run.cause is not None))

    def overview(self) -> dict[tuple[str, State], int]:
        """A count."""
        with self._lock:
            return dict(Counter((e.lane.event_type, e.state) for e in self._data.events.values()))

    def outcomes(self) -> dict[tuple[str, Outcome], int]:
        """A count."""
        with self._lock:
            runs = list(self._data.runs.values())
        return dict(Counter((run.event_type, run.outcome) for run in runs if run.outcome))


def _page(
    models: Sequence[Any],
    source: Source,
    filters: Mapping[str, Any],
    limit: int,
    where: tuple[int, bool],
) -> Page[Any]:
    _filters.refuse_unknown(filters, source.filters)
    after, newest_first = where
    matching = [model for model in models if _filters.matches(model, source, filters)]
    if newest_first:
        rest = [model for model in reversed(matching) if not after or model.id < after]
    else:
        rest = [model for model in matching if model.id > after]
    return _rows.page(rest[: limit + 1], len(matching), limit)
