"""Random histories: the SQLite store and the memory store never tell different stories."""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from horae.clock import to_micros
from horae.stores.base import Store
from horae.stores.factory import create_store
from horae.stores.records import (
    OVER,
    CancelMissing,
    Change,
    Claim,
    Planned,
    Provider,
    Settlement,
    Stale,
)
from horae_hookspecs import Cause, Concurrency, PauseField, State
from stores.samples import (
    HOST,
    NOW,
    SECOND,
    a_host,
    again,
    an_event,
    claim,
    rolled_back,
    settled,
)

CAMPAIGN: Final = bool(os.environ.get("HORAE_CAMPAIGN"))

ids = st.integers(1, 20)
moments = st.integers(NOW - 3 * SECOND, NOW + 3 * SECOND)
types = st.sampled_from(["tide.mark", "moon.rise", "sun.set"])
policies = st.sampled_from(
    [
        {"exclusive": True},
        {"exclusive": True},
        {"exclusive": True, "concurrency": Concurrency(2, per="origin", each=1)},
        {"concurrency": Concurrency(per="resource", each=2)},
        {},
    ]
)
"""Of a type when it is claimed from: an upgrade may change it at any time."""


def gated(store: Store, loaded: dict[str, dict[str, Any]]) -> dict[int, Provider]:
    """The lanes of these types, each with its policy."""
    return {
        lane.id: Provider("tides", "1.0", 1, event_type=lane.event_type, **loaded[lane.event_type])
        for lane in store.lanes()
        if lane.event_type in loaded
    }


def unlaned(planned: Planned | None) -> Planned | None:
    """Without the id of the lane, which is each store's own affair."""
    return planned and planned._replace(claim=planned.claim._replace(lane=0))


class Histories(RuleBasedStateMachine):
    """Every rule does the same to both stores and compares the answers."""

    claims = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        """Two empty stores with one host on record."""
        self.folder = Path(tempfile.mkdtemp())
        url = f"sqlite:///{self.folder}/events.db?synchronous=NORMAL"
        self.stores: list[Store] = [create_store(url), create_store("memory://")]
        self.now = NOW
        self.highest: dict[int, int] = {}
        for store in self.stores:
            store.open()
            store.join(a_host())

    def both(self, verb: Callable[[Store], Any]) -> Any:
        """The answer of both stores, which is one."""
        sqlite, memory = (verb(store) for store in self.stores)
        assert sqlite == memory
        return sqlite

    @rule(
        event_type=types,
        due=moments,
        priority=st.integers(0, 3),
        key=st.sampled_from([None, None, "k", "l"]),
        on_conflict=st.sampled_from(["keep", "replace"]),
        unique_since=st.sampled_from([None, NOW]),
        origin=st.sampled_from([None, "bot"]),
        resource=st.sampled_from([None, "pier", "quay"]),
        resources=st.sampled_from([None, None, '["pier", "quay"]']),
    )
    def add(self, event_type: str, **details: Any) -> None:
        """Store an event."""
        self.both(lambda store: store.add([an_event(event_type, **details)]))

    @rule(crowd=st.lists(types, min_size=4, max_size=8), priority=st.integers(0, 3))
    def crowd(self, crowd: list[str], priority: int) -> None:
        """Several that are due at once, and want the same resource."""
        events = [an_event(one, due=self.now, priority=priority, resource="pier") for one in crowd]
        self.both(lambda store: store.add(events))

    @rule(event_type=types, before=moments, keep=st.integers(0, 3), limit=st.integers(1, 5))
    def prune(self, event_type: str, before: int, keep: int, limit: int) -> None:
        """Delete old history, to the end."""
        upto = self.both(lambda store: store.surplus(event_type, keep))
        stale = Stale(event_type, before, upto, keep)
        after = 0
        while after is not None:
            after = self.both(lambda store, after=after: store.prune(stale, after, limit)).next

    @rule(seconds=st.integers(0, 2))
    def let_time_pass(self, seconds: int) -> None:
        """Time only goes on."""
        self.now += seconds * SECOND

    @rule(
        target=claims,
        limit=st.sampled_from([1, 1000]),
        loaded=st.dictionaries(types, policies, min_size=1),
    )
    def claim(self, limit: int, loaded: dict[str, Any]) -> Any:
        """Claim what is due."""
        return multiple(*self.take(limit, loaded))

    def take(self, limit: int, loaded: dict[str, Any]) -> Sequence[Claim]:
        """Claim from both, and see that claim numbers grow."""
        sqlite, memory = (
            store.claim(HOST, gated(store, loaded), self.now, limit) for store in self.stores
        )
        assert sqlite is not None
        assert memory is not None
        # The ids of lanes are each store's own affair.
        assert [one._replace(lane=0) for one in sqlite.claims] == [
            one._replace(lane=0) for one in memory.claims
        ]
        if sqlite.next_due != memory.next_due:
            # What was cancelled or paused may be looked for once more, in vain; never the reverse.
            assert sqlite.next_due is not None
            assert self.now < sqlite.next_due < (memory.next_due or sqlite.next_due + 1)
        for one in sqlite.claims:
            assert one.claim > self.highest.get(one.event_id, 0)
            self.highest[one.event_id] = one.claim
        return sqlite.claims

    @rule(one=consumes(claims), state=st.sampled_from([*OVER, State.QUARANTINED]))
    def settle(self, one: Claim, state: State) -> None:
        """End an event, for now or for good; the claim may be long lost."""
        due = self.now if state is State.QUARANTINED else None
        missing = CancelMissing("bot", frozenset({"pier"}), "gone")
        follow_ups = [an_event("sun.set", due=self.now, key="k", resource="pier"), missing]
        self.settle_both(settled(one, state, due=due, follow_ups=follow_ups))

    @rule(one=claims, wait=st.integers(0, 2), keeps_hold=st.booleans())
    def fail(self, one: Claim, wait: int, keeps_hold: bool) -> None:
        """End a run whose event waits for another try; may come twice."""
        self.settle_both(again(one, self.now + wait * SECOND, keeps_hold=keeps_hold))

    @rule(one=claims)
    def release(self, one: Claim) -> None:
        """A run that was given up comes to its end; perhaps it was not given up."""
        current = self.highest[one.event_id] == one.claim
        event = self.stores[1].get(one.event_id)
        if event is None:
            return  # it was deleted
        if not (current and event.state is State.RUNNING):
            self.both(lambda store: store.release(one.event_id, one.claim))

    def settle_both(self, settlement: Settlement) -> None:
        """Settle; only what still runs under the very claim is not fenced."""
        before = self.stores[1].get(settlement.event_id)
        current = self.highest[settlement.event_id] == settlement.claim
        fenced = self.both(lambda store: store.settle([settlement]))
        assert bool(fenced) != (current and before is not None and before.state is State.RUNNING)

    @rule(event_id=ids)
    def cancel(self, event_id: int) -> None:
        """Cancel, in whatever state."""
        self.both(lambda store: store.cancel(event_id, "why", self.now))

    @rule(named=st.sets(st.sampled_from(["pier", "quay"])))
    def cancel_missing(self, named: set[str]) -> None:
        """Cancel and narrow what the bot wanted for other resources."""
        missing = CancelMissing("bot", frozenset(named), "gone")
        self.both(lambda store: store.cancel_missing(missing, self.now))

    @rule(event_id=ids, paused=st.booleans())
    def pause(self, event_id: int, paused: bool) -> None:
        """Pause or resume, in whatever state."""
        self.both(lambda store: store.pause(event_id, paused))

    @rule(
        rule=st.sampled_from(
            [("event_type", "tide.mark"), ("origin", "bot"), ("resource", "pier")]
        ),
        lift=st.booleans(),
    )
    def pause_by_rule(self, rule: tuple[PauseField, str], lift: bool) -> None:
        """Hold back many events, those to come too, or lift that."""
        if lift:
            self.both(lambda store: store.remove_pause(*rule))
        else:
            self.both(lambda store: store.add_pause(*rule, self.now))

    @rule(origin=st.sampled_from([None, "bot"]), event_type=types)
    def cancel_all(self, origin: str | None, event_type: str) -> None:
        """Cancel what a listing finds."""
        filters = {"origin": origin, "event_type": event_type}
        self.both(lambda store: store.cancel_all(filters, "all", self.now))

    @rule(event_id=ids, wait=st.integers(0, 2), recurs=st.booleans())
    def reschedule(self, event_id: int, wait: int, recurs: bool) -> None:
        """Another schedule, in whatever state."""
        due = self.now + wait * SECOND
        change = Change(schedule='{"kind":"x"}', kind="x", occurrence=due, due=due, recurs=recurs)
        self.both(lambda store: store.change(event_id, change))

    @rule(event_id=ids, event_type=types, priority=st.sampled_from([None, 0, 3]))
    def update(self, event_id: int, event_type: str, priority: int | None) -> None:
        """Other arguments, in whatever state, and another place in the order."""
        change = Change(arguments="{}", event_type=event_type, schema_version=1, priority=priority)
        self.both(lambda store: store.change(event_id, change))

    @rule(event_id=ids)
    def run_now(self, event_id: int) -> None:
        """Bring forward, in whatever state."""
        self.both(lambda store: store.run_now(event_id, self.now))

    @rule(target=claims, cause=st.sampled_from([Cause.HOST_LOST, Cause.LEASE_LOST]))
    def lose_the_host(self, cause: Cause) -> Any:
        """Everything that runs is interrupted, and a host that takes the same place claims it."""
        self.both(lambda store: store.rescue(HOST, "gone", self.now, cause))
        self.both(lambda store: store.join(a_host()))
        return multiple(*self.take(1000, {"tide.mark": {}, "moon.rise": {}, "sun.set": {}}))

    @rule(loaded=st.dictionaries(types, policies, min_size=1), limit=st.sampled_from([1, 1000]))
    def let_everybody_come_to_an_end(self, loaded: dict[str, Any], limit: int) -> None:
        """Whatever happened before: when nobody is inside any more, all that is due of the loaded
        types is claimed, one after the other.
        """
        self.both(lambda store: store.rescue(HOST, "gone", self.now))
        self.both(lambda store: store.join(a_host()))
        for _ in range(100):
            claims = self.take(limit, loaded)
            self.both(lambda store: store.settle([settled(one) for one in claims]))  # noqa: B023
            if not claims:
                break
        for event in self.stores[0].events({"state": "pending", "paused": False}, 1000, 0):
            late = event.due is not None and to_micros(event.due) <= self.now
            assert not (late and event.event_type in loaded), event

    @rule(event_type=types)
    def fail_a_transaction(self, event_type: str) -> None:
        """A block that claims, adds and then breaks leaves everything as it was."""
        for store in self.stores:
            with rolled_back(store):
                store.add([an_event(event_type, due=self.now)])
                claim(store, now=self.now)

    @invariant()
    def they_tell_the_same(self) -> None:
        """All that can be read is equal, and no event lost its place."""
        events = self.both(lambda store: store.events({}, 1000, 0))
        self.both(lambda store: store.runs({}, 1000, 0))
        self.both(lambda store: store.overview())
        self.both(lambda store: store.outcomes())
        self.both(lambda store: sorted(b.lane.event_type for b in store.backlog(self.now)))
        self.both(lambda store: store.cancellations(HOST))
        self.both(lambda store: store.causes({}))
        self.both(lambda store: store.pauses())
        self.both(lambda store: [unlaned(one) for one in store.earliest(5)])
        self.both(lambda store: [unlaned(store.planned(event.id)) for event in events])
        for event in events:
            waits = event.state in (State.PENDING, State.RUNNING, State.QUARANTINED)
            assert (event.due is not None) == waits

    def teardown(self) -> None:
        """Let go of the file."""
        for store in getattr(self, "stores", []):
            store.close()
        shutil.rmtree(getattr(self, "folder", ""), ignore_errors=True)


Histories.TestCase.settings = settings(
    max_examples=400 if CAMPAIGN else 40,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=not CAMPAIGN,  # the same histories each time; the campaign throws the dice
)
TestHistories = pytest.mark.timeout(1800)(Histories.TestCase)
if CAMPAIGN:
    TestHistories = pytest.mark.campaign(TestHistories)
