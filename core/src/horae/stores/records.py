"""What a store is handed and gives: events, claims, settlements, and rows of hosts and plugins.

Instants are integers, microseconds since the epoch; arguments, schedules and results are JSON text.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import attrs

from horae_hookspecs import (
    Cause,
    Concurrency,
    Outcome,
    Pause,
    PluginState,
    State,
)

PRIORITIES: Final = (0, 1, 2, 3)
"""0 is claimed first."""

MAX_INTERRUPTIONS: Final = 3
"""An event whose host was lost so often in a row is quarantined: it may be what kills it."""

LAST_CHANCE: Final = 1_000_000
LAST_CHANCE_SPREAD: Final = 21, 100_000
"""Before the try that may be its last, an event waits a second and up to twenty tenths more, in
microseconds: events that were in the same bad hands twice do not go into the same hands again all
at once, and are not all set aside when a third host is lost for a reason that is not theirs."""

PAUSE_BITS: Final[Mapping[str | None, int]] = {None: 1, "origin": 2, "resource": 4}
"""Why an event is held back, as bits: it was paused itself, or a rule holds for its origin or
its resource. A rule on its type is in no bit: it holds for the whole lane."""

FURTHEST: Final = 2**62
"""Later than every due time."""

OVER: Final = (State.FINISHED, State.FAILED, State.CANCELLED, State.EXPIRED)
"""The states of events that will not run again."""


@attrs.frozen(kw_only=True)
class NewEvent:
    """An event to be stored.

    ``recurs`` is False where nothing follows the first occurrence: such an event is concluded
    without a look at its schedule. ``due`` is the first occurrence, and what ``offset`` gives for
    the new event's id is added to it. ``resources`` and ``missed`` are JSON, ``absent`` is
    "hold", "skip" or microseconds; where ``missed`` or ``absent`` is None, the type is asked when
    it matters. Events stored since ``unique_since`` count for the key even when they are over.
    """

    event_type: str
    schema_version: int
    kind: str
    arguments: str
    schedule: str
    due: int
    created: int
    recurs: bool = True
    key: str | None = None
    resource: str | None = None
    origin: str | None = None
    description: str | None = None
    priority: int = 1
    user: str | None = None
    resources: str | None = None
    missed: str | None = None
    absent: str | int | None = None
    on_conflict: Literal["keep", "replace", "error"] = "keep"
    unique_since: int | None = None
    offset: Callable[[int], int] | None = attrs.field(default=None, eq=False)

    def held_by(self, rules: Sequence[Pause]) -> bool:
        """Whether any of ``rules`` holds for this event."""
        return any(getattr(self, rule.field) == rule.value for rule in rules)

    def due_for(self, event_id: int) -> int:
        """When this event is due under the id that it was given."""
        return self.due if self.offset is None else self.due + self.offset(event_id)


@attrs.frozen
class CancelMissing:
    """Cancel what an origin wanted for resources that it does not name any more; see the verb."""

    origin: str
    resources: frozenset[str]
    reason: str


Step: TypeAlias = NewEvent | CancelMissing
"""What a unit of work does."""


@attrs.frozen
class Added:
    """The id of a new event, or of the one that holds its key already, which it ``replaced``.

    ``paused`` says that a rule holds back the new one.
    """

    id: int
    created: bool
    replaced: bool = False
    paused: bool = False


@attrs.frozen
class Lane:
    """An interned (event type, schema version, schedule kind): the unit of the claim predicate."""

    id: int
    event_type: str
    schema_version: int
    kind: str


class Gate(NamedTuple):
    """What has room for so many runs at once, of the events whose ``field`` has this value; those
    of a type as a whole have no field.
    """

    name: str
    room: int
    field: Literal["resource", "origin"] | None = None
    value: str | None = None


@attrs.frozen
class Provider:
    """Whose code will run a lane's events, recorded with each run; and how many there may be.

    ``event_type`` is what the type is called now, whatever its older events were stored under.
    """

    plugin: str
    version: str | None
    generation: int
    exclusive: bool = False
    concurrency: Concurrency = attrs.field(factory=Concurrency)
    event_type: str = ""

    @property
    def gated(self) -> bool:
        """Whether any of its events has to pass a gate."""
        limits = self.concurrency
        return self.exclusive or limits.limit is not None or limits.per is not None

    @property
    def own_gate(self) -> str:
        """The gate that all runs of a type with a ``limit`` pass."""
        return f"limit:{self.event_type}"

    def gates(self, resource: str | None, origin: str | None) -> list[Gate]:
        """The gates that an event of this resource and origin passes to run.

        The gate of an exclusive resource is the same for all exclusive types.
        """
        gates, limits = [], self.concurrency
        if limits.limit is not None:
            gates.append(Gate(self.own_gate, limits.limit))
        if self.exclusive and resource is not None:
            gates.append(Gate(f"resource:{resource}", 1, "resource", resource))
        value = resource if limits.per == "resource" else origin
        if limits.per is not None and value is not None:
            name = f"{self.event_type}:{limits.per}:{value}"
            gates.append(Gate(name, limits.each, limits.per, value))
        return gates


class Claim(NamedTuple):
    """An event in the hands of one host.

    ``settled`` is the last occurrence that was concluded; ``covered`` the instant up to which
    this occurrence stands for all that came due, known once its first attempt has failed.
    ``resources`` is a JSON list, ``resource_outcomes`` a JSON object with what became of those
    that this occurrence's earlier attempts got to.

    A named tuple: one is made for each run, and frozen classes cost ten times as much to make.
    """

    event_id: int
    claim: int
    lane: int
    arguments: str
    schedule: str
    due: int
    occurrence: int
    attempt: int
    interruptions: int
    settled: int | None
    covered: int | None
    recurs: bool
    priority: int
    resource: str | None
    origin: str | None
    description: str | None
    created: int
    user: str | None = None
    resources: str | None = None
    resource_outcomes: str | None = None
    missed: str | None = None
    absent: str | int | None = None


@attrs.define
class Settlement:
    """How a claim ended, and how its event stands from then on; ``key`` names it.

    ``keeps_hold`` says that the run was given up while its code goes on: whatever gates it had
    passed stay occupied until ``release`` is told that it ended, or its host is lost.
    ``follow_ups`` are carried out in their order.
    """

    event_id: int
    claim: int
    lane: int
    priority: int
    outcome: Outcome
    started: int
    finished: int
    state: State
    due: int | None
    occurrence: int | None
    attempt: int
    interruptions: int
    settled: int | None
    covered: int | None = None
    will_retry: bool = False
    result: str | None = None
    result_error: str | None = None
    error: str | None = None
    reason: str | None = None
    follow_ups: Sequence[Step] = ()
    covers: int = 1
    cause: Cause | None = None
    resources: str | None = None
    resource_outcomes: str | None = None
    keeps_hold: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """Event and claim."""
        return self.event_id, self.claim


@attrs.frozen
class Stale:
    """What of one type's history is to go: events that are over and ended before ``before``, or
    whose id is up to ``upto``; and of each event that is not over, the runs that finished before
    ``before`` or are not among its newest ``runs``. Its last run stays in any case, and so do an
    event whose code still occupies a gate, the newest event and the one of the newest run: then
    their ids are never given again. None is no bound.
    """

    event_type: str
    before: int | None = None
    upto: int | None = None
    runs: int | None = None


class Pruned(NamedTuple):
    """How many events and runs went, and the id to go on ``after``; None when all was looked at."""

    events: int
    runs: int
    next: int | None


@attrs.frozen(kw_only=True)
class Change:
    """What is to be different of an event; None leaves it as it is.

    ``arguments`` come with their ``event_type``, which may have another name now, and their
    ``schema_version``; and ``schedule`` with its ``kind``, with its
    first ``occurrence``, when that is ``due``, and whether it ``recurs``.
    """

    arguments: str | None = None
    event_type: str | None = None
    schema_version: int | None = None
    description: str | None = None
    priority: int | None = None
    schedule: str | None = None
    kind: str | None = None
    occurrence: int | None = None
    due: int | None = None
    recurs: bool | None = None

    def columns(self) -> dict[str, Any]:
        """What of it is kept as it stands here."""
        names = ("arguments", "description", "priority", "schedule", "recurs")
        return {name: getattr(self, name) for name in names}


class Planned(NamedTuple):
    """An event that will run, as it would be claimed next.

    ``started`` is when the run that is under way was claimed; None while the event waits, and
    when what follows that run was changed meanwhile: that is how it stands here then.
    """

    claim: Claim
    event_type: str
    started: int | None


class Progress(NamedTuple):
    """How far the run of a claim is, from 0.0 to 1.0, and in words.

    ``resources`` is what has become of the first of a multi-resource run's, JSON as in a
    Settlement; None leaves what was told before.
    """

    event_id: int
    claim: int
    fraction: float
    text: str
    resources: str | None = None


@attrs.frozen
class Claimed:
    """What a claim brought, and when the next event of the asked lanes is due, if any is.

    ``next_due`` is never too late; too early costs one look in vain.
    """

    claims: Sequence[Claim]
    next_due: int | None


@attrs.frozen(kw_only=True)
class HostRecord:
    """A host that shows itself as alive; ``identity`` is how its process is told from others."""

    id: str
    name: str
    identity: str
    pid: int
    beat: int
    beaten: int
    event_types: Mapping[str, int]
    kinds: Sequence[str]


@attrs.frozen
class CatalogueEntry:
    """What the store remembers of a type after its plugin is gone.

    ``schema`` is the JSON Schema of its arguments. ``absent_from`` and ``absent_until`` bound the
    last absence that is over; ``publish`` sets them.
    """

    event_type: str
    schema_version: int
    plugin: str
    distribution: str | None
    version: str | None
    published: int
    withdrawn: int | None = None
    schema: str | None = None
    absent_from: int | None = None
    absent_until: int | None = None


@attrs.frozen
class Backlog:
    """The pending events of one lane; ``blocked`` are those that a full gate holds back."""

    lane: Lane
    pending: int
    overdue: int
    oldest_due: int
    blocked: int = 0


PluginAction = Literal["load", "unload", "upgrade", "resume"]
"""What a host can be asked to do with a plugin."""


@attrs.frozen
class Suspension:
    """The types of a plugin that a host does not run, each with the reason: it is over its budget.

    It holds for one ``version`` of the plugin; another one starts afresh.
    """

    version: str | None
    types: Mapping[str, str]


@attrs.frozen(kw_only=True)
class PluginRow:
    """What is wanted of a plugin on one host, and what that host reports.

    ``requested`` counts requests; a host has carried out those up to ``done``. ``settings_schema``
    is the JSON Schema of the plugin's settings, ``suspended`` which of its types the host has
    suspended, with the reasons, and at which version of the plugin,
    ``record`` the digest of the RECORD that it has last loaded.
    """

    host: str
    plugin: str
    desired: Literal["loaded", "unloaded"] = "loaded"
    action: PluginAction = "load"
    drain: float | None = None
    include_dependents: bool = False
    requested: int = 0
    done: int = 0
    state: PluginState = PluginState.DISCOVERED
    reason: str | None = None
    distribution: str | None = None
    version: str | None = None
    generation: int = 0
    event_types: Sequence[str] = ()
    report: Mapping[str, Any] | None = None
    ok: bool = True
    settings_schema: Mapping[str, Any] | None = None
    suspended: Suspension | None = None
    record: str | None = None


@attrs.frozen(kw_only=True)
class Installation:
    """What one host is asked to install or uninstall, and what it reports.

    ``what`` is a requirement as pip takes it, or the name of the plugin to uninstall; ``asked`` is
    when, in microseconds, ``drain`` in seconds. ``progress`` says what is being done, ``plugin``
    and ``version`` what came of it, ``reason`` why it failed, ``report`` what an unload told.
    """

    id: int = 0
    host: str
    action: Literal["install", "uninstall"]
    what: str
    asked: int
    upgrade: bool = False
    find_links: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...])
    index: str | None = None
    offline: bool = False
    drain: float | None = None
    include_dependents: bool = False
    progress: str | None = None
    done: bool = False
    ok: bool = True
    reason: str | None = None
    plugin: str | None = None
    version: str | None = None
    report: Mapping[str, Any] | None = None


FORGOTTEN: Final = 24 * 3600 * 1_000_000
"""How long an installation that is done is remembered, in microseconds."""


def last_chance(event_id: int, now: int) -> int:
    """When an event that was interrupted once less than is allowed is tried again."""
    steps, step = LAST_CHANCE_SPREAD
    return now + LAST_CHANCE + event_id % steps * step


def still_named(missing: CancelMissing, resources: str) -> str | None:
    """What is left of an event's resources, a JSON list; None when nothing is."""
    left = [name for name in json.loads(resources) if name in missing.resources]
    return json.dumps(left) if left else None
