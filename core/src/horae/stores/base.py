"""The contract of a store: what each verb does, and what stays true whatever happens.

Every implementation passes ``tests/stores/test_conformance*.py``. Instants are integers,
microseconds since the epoch. Arguments, schedules and results are JSON text that no store looks
into. Verbs may be called from any thread; each is one transaction, or part of the one that
``transaction`` opened in the same thread, and has either happened as a whole or not at all.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import attrs

from horae_hookspecs import (
    Cause,
    Concurrency,
    Outcome,
    Page,
    Pause,
    PauseField,
    PluginState,
    Run,
    ScheduledEvent,
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


def carry_out(store: "Store", steps: Sequence[Step], now: int) -> list[Added]:
    """Do ``steps`` in their order, inside the caller's transaction; what became of the events."""
    added: list[Added] = []
    for kind, group in groupby(steps, type):
        if kind is NewEvent:
            added += store.add([step for step in group if isinstance(step, NewEvent)])
        else:
            for step in group:
                assert isinstance(step, CancelMissing)
                store.cancel_missing(step, now)
    return added


class Store(Protocol):
    """Keeps events, runs, hosts and plugins. See the module docstring for what holds throughout."""

    url: str
    one_kernel: bool
    """Whether all processes that can use this store share one machine."""

    def open(self) -> None:
        """Connect, and bring the schema up to date. Raises a StoreError with the remedy."""

    def close(self) -> None:
        """Let go of every connection; harmless when closed."""

    def before_fork(self) -> None:
        """Wait until no thread is inside the store, and keep the others out."""

    def after_fork_in_parent(self) -> None:
        """Let them in again."""

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections without closing them, and open own ones."""

    def transaction(self) -> AbstractContextManager[None]:
        """Make all verbs of this thread inside the block one transaction; may be nested."""

    # -- events

    def add(self, events: Sequence[NewEvent], connection: object | None = None) -> list[Added]:
        """Store events, durably once this returns.

        A key is unique per origin among events that are not over: of a second event with it,
        ``on_conflict`` says whether it is not stored, takes the place of the first, which keeps
        its id, or raises KeyTaken with nothing stored. What takes the place of an event that runs
        follows that run, however that ends. Those stored since ``unique_since`` count even when
        they are over, and are never replaced.

        With ``connection``, an open connection of the caller's to the same database, all this is
        part of the caller's transaction. Raises StoreUnsupported where that cannot be.
        """

    def get(self, event_id: int, connection: object | None = None) -> ScheduledEvent | None:
        """One event, or None. Needs no plugin, like all reading. As ``connection`` sees it."""

    def events(
        self,
        filters: Mapping[str, Any],
        limit: int,
        after: int = 0,
        *,
        newest_first: bool = False,
    ) -> Page[ScheduledEvent]:
        """Events in order of their ids, from the one after id ``after`` on; 0 begins.

        Filters are named after fields of ScheduledEvent, a list means any of its values; ``since``
        and ``until`` bound ``created``, ``due_since`` and ``due_until`` ``due``, in microseconds,
        the ends excluded. Raises TypeError for any other name.
        """

    def runs(
        self,
        filters: Mapping[str, Any],
        limit: int,
        after: int = 0,
        *,
        newest_first: bool = False,
    ) -> Page[Run]:
        """Runs in the order in which they were claimed, like ``events``; ``since`` and ``until``
        bound ``started``.
        """

    def last_run(self, event_id: int) -> Run | None:
        """The run of the event's highest claim."""

    def causes(self, filters: Mapping[str, Any]) -> dict[Cause, int]:
        """How many runs did not succeed, by cause; the filters are those of ``runs``."""

    def overview(self) -> dict[tuple[str, State], int]:
        """How many events there are of each type in each state."""

    def outcomes(self) -> dict[tuple[str, Outcome], int]:
        """How many runs there are of each type with each outcome."""

    def backlog(self, now: int) -> list[Backlog]:
        """The lanes that have pending events."""

    def planned(self, event_id: int) -> Planned | None:
        """A pending or running event, unless it is to end with its run; paused or not."""

    def earliest(self, limit: int) -> list[Planned]:
        """The pending events that are due first of all that are not paused, in that order."""

    # -- control

    def cancel(self, event_id: int, reason: str, now: int) -> bool:
        """End a pending or quarantined event; ask a running one to end, with nothing after it."""

    def cancel_missing(self, missing: CancelMissing, now: int) -> list[int]:
        """Cancel the pending events of an origin whose resource is not among those it names.

        Of an event for several resources only the named ones are left; it is cancelled when none
        is. Events without any, and those in any other state, stay as they are. The ids of those
        that were cancelled.
        """

    def cancel_all(self, filters: Mapping[str, Any], reason: str, now: int) -> int:
        """Cancel what ``events`` finds with these filters and is not over; how many that were."""

    def pause(self, event_id: int, paused: bool) -> bool:
        """Keep an event from being claimed, or allow it again; False when it is over.

        It is only claimed when no rule of ``add_pause`` holds for it either.
        """

    def add_pause(self, field: PauseField, value: str, now: int) -> bool:
        """Keep all events whose ``field`` has this value from being claimed, those to come too.

        ``field`` is event_type, origin or resource. No event of a paused type is rewritten. False
        when there was such a rule already.
        """

    def remove_pause(self, field: PauseField, value: str) -> bool:
        """Take a rule back; False when there was none."""

    def pauses(self) -> list[Pause]:
        """The rules, by field and value."""

    def run_now(self, event_id: int, now: int) -> bool:
        """Make a pending or quarantined event due at ``now``; False in any other state.

        An occurrence that was still to come is brought forward, so that the one after it stays.
        Its own pause is lifted; a rule that holds for it goes on holding.
        """

    def change(self, event_id: int, change: Change) -> bool:
        """Make an event different; False when it is over.

        Another schedule puts its first occurrence in the place of the one that was to come, with
        all its tries; while the event runs, in the place of whatever follows, however the run
        ends. An event that runs and is to end then gets no other schedule: that is False too.
        Another schedule, or other arguments, take an event out of quarantine.
        """

    # -- claim and settle

    def lanes(self) -> Sequence[Lane]:
        """Every lane that was ever used: the same object again as long as none is new."""

    def claim(
        self, host_id: str, lanes: Mapping[int, Provider], now: int, limit: int
    ) -> Claimed | None:
        """Take up to ``limit`` due events of these lanes, by priority, then by due time.

        Events of paused types are left alone, and count for no ``next_due``; a type is paused
        under the name that it has now, and under that which its events were stored with.
        Each gets a new claim number, higher than any it had, and a run row. None when the host is
        not on record any more: it was declared dead and must join again under a new id.

        When more are due than can be taken, every tenth pick goes to the longest overdue of
        whatever priority. So an event with n longer overdue ones before it is taken within
        10 * (n + 1) picks, however many of a higher priority there are and still come.

        Where a lane's Provider names gates, an event is only taken while there is room in all of
        them, counted over the runs of all hosts. One that meets a full gate is ``blocked`` by it:
        it is looked at again when somebody leaves that gate, and costs no claim anything until
        then. Nobody is blocked by a type's ``limit``: a lane without room is left alone, and
        counts for ``next_due`` again once there is some.
        """

    def settle(self, settlements: Sequence[Settlement]) -> set[tuple[int, int]]:
        """Record outcomes; the (event, claim) pairs that came too late are returned as fenced.

        A settlement counts only while its event still runs under that very claim. An event whose
        cancellation was asked for meanwhile ends as cancelled instead of waiting again or being
        set aside, and its run will not be tried again; one whose schedule was changed waits for
        what that says. The gates that the run had passed are left, unless it ``keeps_hold``.
        """

    def release(self, event_id: int, claim: int) -> None:
        """Leave the gates that a run still occupied after its settlement; harmless when none."""

    def progress(self, told: Sequence[Progress]) -> None:
        """Note how far runs are; of those that have ended, and of fenced ones, nothing changes."""

    def cancellations(self, host_id: str) -> set[int]:
        """Events running on this host whose cancellation was asked for."""

    def poll(self) -> bool:
        """Whether another process changed anything since the last call; cheap."""

    # -- retention

    def surplus(self, event_type: str, keep: int) -> int | None:
        """The highest id of the type's events that are over, without the newest ``keep`` of them;
        None when there are no more than that.
        """

    def prunable(self, stale: Stale, after: int, limit: int) -> Pruned:
        """What ``prune`` would delete."""

    def prune(self, stale: Stale, after: int, limit: int) -> Pruned:
        """Delete what is ``stale``, in order of ids, from the one after id ``after`` on.

        At most ``limit`` rows go, an event after all its runs, and no more than ``limit`` events
        are looked at, so that neither this nor what waits for it takes long.
        """

    # -- hosts

    def join(self, host: HostRecord) -> None:
        """Put a host on record as alive."""

    def beat(self, host: HostRecord, now: int) -> bool:
        """Renew a host and what it has loaded; False when it is not on record any more."""

    def hosts(self) -> list[HostRecord]:
        """The hosts on record."""

    def rescue(self, host_id: str, reason: str, now: int, cause: Cause = Cause.HOST_LOST) -> int:
        """Take a lost host off the record and free what it had claimed; the number of runs.

        Each run is recorded as interrupted with ``reason`` and ``cause``, and as one that will be
        tried again unless its event ends with it; and every gate is left that the host's runs
        occupied. No attempt is burned. The event is due as before; after the second interruption
        in a row, ``last_chance`` later than ``now``; at the third it is quarantined.
        """

    # -- catalogue and plugins

    def publish(self, entries: Sequence[CatalogueEntry]) -> None:
        """Record types as provided from now on."""

    def withdraw(self, event_types: Iterable[str], now: int) -> None:
        """Record types as not provided any more by anybody."""

    def catalogue(self) -> dict[str, CatalogueEntry]:
        """Every type that was ever published."""

    def request_plugin(
        self,
        host: str,
        plugin: str,
        action: PluginAction,
        drain: float | None = None,
        *,
        include_dependents: bool = False,
    ) -> int:
        """Write what a host shall do with a plugin; the number to wait for in ``done``."""

    def report_plugin(self, row: PluginRow) -> None:
        """A host's answer: how the plugin stands, up to request ``row.done``."""

    def plugin_rows(self, host: str | None = None) -> list[PluginRow]:
        """Desired state and answers, of one host or of all."""

    def request_installation(self, wanted: Installation) -> int:
        """Write what a host shall install or uninstall; the id of the request.

        Requests that were done a day before it was asked for are forgotten.
        """

    def report_installation(self, installation: Installation) -> None:
        """A host's answer, or how far it is; harmless when the request is forgotten."""

    def installations(self, host: str | None = None) -> list[Installation]:
        """Requests and answers in the order of asking, of one host or of all."""

    def schema(self) -> int:
        """The number of the newest migration that was applied; 0 where there are none."""

    def check(self) -> list[str]:
        """Look for damage; one line for each finding, none when all is well."""

    # -- transfer

    def export_lines(self, now: int) -> Iterator[str]:
        """All types, rules, events and runs as lines of JSON, which any store imports.

        They show the store as it was when the first was read, whatever happens meanwhile. What
        belongs to living hosts is not among them: who runs what, gates, and desired plugins.
        """

    def import_lines(self, lines: Iterable[str | bytes]) -> dict[str, int]:
        """Store what was exported, under the same ids and claims; how many of each kind.

        All or nothing. No id of the store that was exported is given again. An event that was
        running is freed as ``rescue`` does it, but for counting that as an interruption. What is
        known here of a type, and rules that hold here, stay. Raises ImportRefused when there are
        events or runs already, and for a line that is wrong.
        """
