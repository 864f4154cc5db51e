"""Random histories: the SQLite store and the memory store never tell different stories."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

from horae.stores.base import OVER, Claim, Settlement, Store
from horae.stores.factory import create_store
from horae_hookspecs import State
from stores.samples import (
    HOST,
    NOW,
    SECOND,
    a_host,
    again,
    an_event,
    claim,
    providers,
    rolled_back,
    settled,
)

ids = st.integers(1, 12)
moments = st.integers(NOW - 3 * SECOND, NOW + 3 * SECOND)
types = st.sampled_from(["tide.mark", "moon.rise", "sun.set"])


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
        origin=st.sampled_from([None, "bot"]),
    )
    def add(self, event_type: str, **details: Any) -> None:
        """Store an event."""
        self.both(lambda store: store.add([an_event(event_type, **details)]))

    @rule(seconds=st.integers(0, 2))
    def let_time_pass(self, seconds: int) -> None:
        """Time only goes on."""
        self.now += seconds * SECOND

    @rule(
        target=claims,
        limit=st.sampled_from([1, 1000]),
        loaded=st.sets(types, min_size=1),
    )
    def claim(self, limit: int, loaded: set[str]) -> Any:
        """Claim what is due."""
        return self.take(limit, loaded)

    def take(self, limit: int, loaded: set[str]) -> Any:
        """Claim from both, and see that claim numbers grow."""
        sqlite, memory = (
            store.claim(HOST, providers(store, list(loaded)), self.now, limit)
            for store in self.stores
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
        return multiple(*sqlite.claims)

    @rule(one=consumes(claims), state=st.sampled_from([*OVER, State.QUARANTINED]))
    def settle(self, one: Claim, state: State) -> None:
        """End an event, for now or for good; the claim may be long lost."""
        due = self.now if state is State.QUARANTINED else None
        follow_ups = [an_event("sun.set", due=self.now, key="k")]
        self.settle_both(settled(one, state, due=due, follow_ups=follow_ups))

    @rule(one=claims, wait=st.integers(0, 2))
    def fail(self, one: Claim, wait: int) -> None:
        """End a run whose event waits for another try; may come twice."""
        self.settle_both(again(one, self.now + wait * SECOND))

    def settle_both(self, settlement: Settlement) -> None:
        """Settle; only what still runs under the very claim is not fenced."""
        before = self.stores[1].get(settlement.event_id)
        assert before is not None
        current = self.highest[settlement.event_id] == settlement.claim
        fenced = self.both(lambda store: store.settle([settlement]))
        assert bool(fenced) != (current and before.state is State.RUNNING)

    @rule(event_id=ids)
    def cancel(self, event_id: int) -> None:
        """Cancel, in whatever state."""
        self.both(lambda store: store.cancel(event_id, "why", self.now))

    @rule(event_id=ids, paused=st.booleans())
    def pause(self, event_id: int, paused: bool) -> None:
        """Pause or resume, in whatever state."""
        self.both(lambda store: store.pause(event_id, paused))

    @rule(event_id=ids)
    def run_now(self, event_id: int) -> None:
        """Bring forward, in whatever state."""
        self.both(lambda store: store.run_now(event_id, self.now))

    @rule(target=claims)
    def lose_the_host(self) -> Any:
        """Everything that runs is interrupted, and a host that takes the same place claims it."""
        self.both(lambda store: store.rescue(HOST, "gone", self.now))
        self.both(lambda store: store.join(a_host()))
        return self.take(1000, {"tide.mark", "moon.rise", "sun.set"})

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
        self.both(lambda store: sorted(b.lane.event_type for b in store.backlog(self.now)))
        self.both(lambda store: store.cancellations(HOST))
        for event in events:
            waits = event.state in (State.PENDING, State.RUNNING, State.QUARANTINED)
            assert (event.due is not None) == waits

    def teardown(self) -> None:
        """Let go of the file."""
        for store in getattr(self, "stores", []):
            store.close()
        shutil.rmtree(getattr(self, "folder", ""), ignore_errors=True)


Histories.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, database=None
)
TestHistories = Histories.TestCase
