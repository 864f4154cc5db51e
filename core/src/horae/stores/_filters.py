"""What listings can be filtered by: the names of filters, and filters as SQL."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from horae.clock import to_micros
from horae_hookspecs import Outcome


@attrs.frozen
class Index:
    """An index that gives ids in order within one value of each of its columns.

    ``filters`` are those that it answers, ``within`` the condition of a partial index, ``without``
    the common values of its first filter that it leaves out, and ``order`` what its entries are in
    order of, where that is not the id.
    """

    name: str
    filters: tuple[str, ...]
    within: str = "1"
    without: Sequence[object] = ()
    order: str = "id"

    def serves(self, filters: Mapping[str, Any]) -> bool:
        """Whether all rows that match are in the index."""
        values = values_of(filters.get(self.filters[0]))
        return None not in values and not any(value in self.without for value in values)


@attrs.frozen(eq=False)
class Source:
    """A table that is listed: its filters by name, with their columns, and the indexes for them,
    the one that leaves least first. ``instant`` is the column behind ``since`` and ``until``.
    """

    name: str
    columns: Mapping[str, str]
    instant: str
    indexes: Sequence[Index]
    bounds: Mapping[str, str]

    @property
    def table(self) -> str:
        """The table's name."""
        return f"horae_{self.name}"

    @property
    def filters(self) -> tuple[str, ...]:
        """The names of all filters."""
        return (*self.columns, *self.bounds)

    def indexes_for(self, filters: Mapping[str, Any]) -> Sequence[Index]:
        """The indexes that have all rows that match."""
        return [one for one in self.indexes if one.serves(filters)]


PAUSED: Final = (
    "(state IN ('pending', 'running', 'quarantined') AND (paused > 0 OR lane IN "
    "(SELECT horae_lane.id FROM horae_lane JOIN horae_pause ON value = event_type "
    "WHERE field = 'event_type')))"
)
"""Held back by its own pause, or by a rule on its origin, resource or type."""

EVENTS: Final = Source(
    "event",
    {
        "id": "id",
        "event_type": "lane",
        "state": "state",
        "paused": PAUSED,
        "key": "key",
        "resource": "resource",
        "origin": "origin",
        "user": "user",
        "priority": "priority",
        "last_outcome": "last_outcome",
        "blocked": "blocked",
    },
    "created",
    (
        Index("horae_event_keyed", ("key",)),
        Index("horae_event_resource", ("resource",)),
        Index("horae_event_origin", ("origin",)),
        Index("horae_event_user", ("user",)),
        Index("horae_event_priority", ("priority",), "priority <> 1", without=(1,)),
        Index(
            "horae_event_trouble",
            ("last_outcome",),
            "last_outcome <> 'succeeded'",
            without=(Outcome.SUCCEEDED,),
        ),
        Index("horae_event_lane", ("event_type",)),
        Index(
            "horae_event_state",
            ("state",),
            "(state < 'finished' OR state = 'quarantined')",
            without=("pending", "running", "finished"),
        ),
    ),
    {
        "since": "created >=",
        "until": "created <",
        "due_since": "due >=",
        "due_until": "due <",
    },
)

RUNS: Final = Source(
    "run",
    {
        "id": "id",
        "event_id": "event",
        "claim": "claim",
        "event_type": "lane",
        "outcome": "outcome",
        "cause": "cause",
        "resource": "resource",
        "origin": "origin",
        "user": "user",
        "host": "host",
        "plugin": "plugin",
    },
    "started",
    (
        Index("horae_run_claim", ("event_id",), order="claim"),
        Index("horae_run_resource", ("resource", "outcome"), "resource IS NOT NULL"),
        Index("horae_run_origin", ("origin", "outcome"), "origin IS NOT NULL"),
        Index("horae_run_user", ("user", "outcome"), "user IS NOT NULL"),
        Index("horae_run_cause", ("cause",)),
        Index("horae_run_lane", ("event_type", "outcome")),
    ),
    {"since": "started >=", "until": "started <"},
)

OUTCOMES: Final = tuple(Outcome)


def conditions(
    source: Source, filters: Mapping[str, Any], lanes: Mapping[str, Sequence[int]]
) -> tuple[str, list[Any]]:
    """Filters as an SQL condition and its parameters; a list means any of its values.

    ``lanes`` has the ids of the lanes of each event type. Raises TypeError for an unknown filter.
    """
    refuse_unknown(filters, source.filters)
    parts, parameters = ["1"], []
    for name, value in filters.items():
        if name in source.bounds:
            parts.append(f"{source.bounds[name]} ?")
            parameters.append(value)
            continue
        values = values_of(value) if name != "event_type" else lanes_of(value, lanes)
        column = source.columns[name]
        known = [one for one in values if one is not None]
        part = f"{column} IN ({', '.join('?' * len(known))})"
        parts.append(part if len(known) == len(values) else f"({column} IS NULL OR {part})")
        parameters += known
    return " AND ".join(parts), parameters


def nothing(filters: Mapping[str, Any], lanes: Mapping[str, Sequence[int]]) -> bool:
    """Whether a filter leaves nothing at all, before anything is looked at."""
    no_lanes = "event_type" in filters and not lanes_of(filters["event_type"], lanes)
    return no_lanes or not all(values_of(value) for value in filters.values())


def matches(model: Any, source: Source, filters: Mapping[str, Any]) -> bool:
    """Whether a model has the values that the filters ask for."""
    for name, value in filters.items():
        if name in source.bounds:
            field, relation = source.bounds[name].split()
            instant = getattr(model, field)
            if instant is None or (to_micros(instant) >= value) != (relation == ">="):
                return False
        elif getattr(model, name) not in values_of(value):
            return False
    return True


def values_of(value: object) -> list[Any]:
    """The values that a filter means."""
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def lanes_of(event_types: object, lanes: Mapping[str, Sequence[int]]) -> list[int]:
    """The ids of the lanes of the event types that a filter means."""
    return [lane for name in values_of(event_types) for lane in lanes.get(name, ())]


def refuse_unknown(filters: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for a filter that is none of ``known``."""
    for name in filters:
        if name not in known:
            raise TypeError(f"There is no filter {name!r}; there are {', '.join(known)}.")
