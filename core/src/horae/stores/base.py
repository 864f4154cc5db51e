"""The contract of a store: what each verb does, and what stays true whatever happens.

Every implementation passes ``tests/stores/test_conformance*.py``. Instants are integers,
microseconds since the epoch. Arguments, schedules and results are JSON text that no store looks
into. Verbs may be called from any thread; each is one transaction, or part of the one that
``transaction`` opened in the same thread, and has either happened as a whole or not at all.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, Protocol

from horae.stores.records import (
    Added,
    Backlog,
    CancelMissing,
    CatalogueEntry,
    Change,
    Claimed,
    HostRecord,
    Installation,
    Lane,
    NewEvent,
    Planned,
    PluginAction,
    PluginRow,
    Progress,
    Provider,
    Pruned,
    Settlement,
    Stale,
    Step,
)
from horae_hookspecs import (
    Cause,
    Outcome,
    Page,
    Pause,
    PauseField,
    Run,
    ScheduledEvent,
    State,
)


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
