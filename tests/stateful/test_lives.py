"""Random lives of a host: whatever happens, nothing is lost, nothing succeeds twice, every attempt
is on record; and the machine that checks it finds the bugs that are planted for it.
"""

import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from horae.stores.base import OVER
from horae.stores.sqlite import SqliteStore
from horae_hookspecs import Outcome, ScheduledEvent, State
from kit.events import LONG
from stateful.world import World

WAYS: Final = ["well", "well", "badly", "twice", "later"]
MINUTE: Final = timedelta(minutes=1)
UNSTARTED: Final = {Outcome.RETURNED, Outcome.MISSED, Outcome.SKIPPED}
WAITS: Final = (State.PENDING, State.RUNNING, State.QUARANTINED)

chosen = st.integers(0, 10**6)
moments = st.integers(-3, 5).map(lambda minutes: minutes * MINUTE)


class Lives(RuleBasedStateMachine):
    """One host after the other on one file, with a plugin that comes, goes and changes."""

    @initialize()
    def begin(self) -> None:
        """An empty store, a started host, the plugin loaded."""
        self.world = World()
        self.known: dict[int, str] = {}
        self.cancelled: dict[int, int] = {}
        self.paused: set[int] = set()
        self.type_paused = False
        self.loaded = True

    # -- what users do

    @rule(way=st.sampled_from(WAYS), after=moments, priority=st.integers(0, 3))
    def schedule_once(self, way: str, after: timedelta, priority: int) -> None:
        """One event, due now, soon, or some time ago."""
        when = self.world.clock.now() + after
        self.remember(way, when, priority=priority)

    @rule(way=st.sampled_from(WAYS), minutes=st.integers(1, 3), count=st.integers(2, 4))
    def schedule_recurring(self, way: str, minutes: int, count: int) -> None:
        """An event that comes due several times."""
        self.remember(way, f"every {minutes}m")

    @rule(way=st.sampled_from(WAYS), key=st.sampled_from("kl"))
    def schedule_with_a_key(self, way: str, key: str) -> None:
        """The second event with a key is the first."""
        self.remember(way, MINUTE, key=key)

    def remember(self, way: str, when: Any, **options: Any) -> None:
        """Schedule, and know of it from then on."""
        event = self.world.host.schedule("acme.work", {"way": way}, when, **options)
        self.known.setdefault(event.id, way)

    @precondition(lambda self: self.known)
    @rule(number=chosen)
    def cancel(self, number: int) -> None:
        """End an event; from then on it has no further run."""
        event_id = self.pick(number)
        if self.world.host.cancel(event_id):
            self.cancelled[event_id] = self.world.journal.begun[event_id]

    @precondition(lambda self: self.known)
    @rule(number=chosen)
    def pause(self, number: int) -> None:
        """Hold an event back."""
        event_id = self.pick(number)
        if self.world.host.pause(event_id):
            self.paused.add(event_id)

    @precondition(lambda self: self.paused)
    @rule(number=chosen)
    def resume(self, number: int) -> None:
        """Let it go on."""
        event_id = sorted(self.paused)[number % len(self.paused)]
        self.world.host.resume(event_id)
        self.paused.discard(event_id)

    @rule()
    def pause_the_type(self) -> None:
        """Hold all of them back, those that are still to come too."""
        self.world.host.pause(event_type="acme.work")
        self.type_paused = True

    @precondition(lambda self: self.type_paused)
    @rule()
    def resume_the_type(self) -> None:
        """Let them go on, but for those that are held back one by one."""
        self.world.host.resume(event_type="acme.work")
        self.type_paused = False

    @precondition(lambda self: self.known)
    @rule(number=chosen, after=moments)
    def reschedule(self, number: int, after: timedelta) -> None:
        """Move an event to another time; one that is over stays over."""
        event = self.event(self.pick(number))
        if event.state is State.PENDING:
            self.world.host.reschedule(event.id, self.world.clock.now() + after)

    @precondition(lambda self: self.known)
    @rule(number=chosen, way=st.sampled_from(WAYS))
    def change_the_arguments(self, number: int, way: str) -> None:
        """Let an event that waits go another way."""
        event = self.event(self.pick(number))
        if event.state is State.PENDING and self.loaded:
            self.world.host.update(event.id, arguments={"way": way})
            self.known[event.id] = way

    @precondition(lambda self: self.known)
    @rule(number=chosen)
    def run_now(self, number: int) -> None:
        """Bring an event forward; that lifts its pause."""
        event_id = self.pick(number)
        if self.world.host.run_now(event_id):
            self.paused.discard(event_id)

    def pick(self, number: int) -> int:
        """One of the events there are."""
        return sorted(self.known)[number % len(self.known)]

    # -- what happens

    @rule(by=moments)
    def let_time_pass(self, by: timedelta) -> None:
        """Time goes on, or back."""
        self.world.clock.advance(by)

    @precondition(lambda self: self.loaded)
    @rule()
    def unload(self) -> None:
        """The plugin goes; its events are as they were."""
        before = [self.event(event_id) for event_id in self.known]
        self.world.host.unload_plugin("acme", drain=LONG)
        assert before == [self.event(event_id) for event_id in self.known]
        self.loaded = False

    @precondition(lambda self: not self.loaded)
    @rule()
    def load(self) -> None:
        """And comes back."""
        self.world.host.load_plugin("acme")
        self.loaded = True

    @precondition(lambda self: self.loaded)
    @rule()
    def upgrade(self) -> None:
        """A newer version takes over."""
        self.world.version += 1
        self.world.install()
        self.world.host.upgrade_plugin("acme", drain=LONG)
        self.loaded = True

    @rule()
    def restart(self) -> None:
        """The host stops and starts."""
        self.world.restart()

    @precondition(lambda self: self.loaded and not self.type_paused)
    @rule(count=st.integers(0, 3))
    def crash(self, count: int) -> None:
        """The host is lost with some runs in hand."""
        self.known.update(dict.fromkeys(self.world.in_flight(count), "held"))
        self.world.crash()

    @precondition(lambda self: self.loaded and not self.type_paused)
    @rule(count=st.integers(0, 3))
    def lose_the_lease(self, count: int) -> None:
        """The host is believed to be lost with some runs in hand."""
        self.known.update(dict.fromkeys(self.world.in_flight(count), "held"))
        self.world.lose_the_lease()

    # -- what is true throughout

    @invariant()
    def all_is_well(self) -> None:
        """All that is due has run, and what is true throughout is true."""
        self.come_to_rest()
        self.nothing_is_lost()
        self.nothing_succeeds_twice()
        self.every_attempt_is_on_record()
        self.what_was_cancelled_has_no_further_run()

    def come_to_rest(self) -> None:
        """Run whatever is due; nothing happens to what is paused or absent."""
        begun = Counter(self.world.journal.begun)
        untouched = {event_id: self.event(event_id) for event_id in self.held_back()}
        self.world.host.run_until_idle(LONG)
        for event_id, before in untouched.items():
            assert self.world.journal.begun[event_id] == begun[event_id]
            assert self.event(event_id) == before

    def nothing_is_lost(self) -> None:
        """Every event is there, and waits for a time or is over."""
        for event_id in self.known:
            event = self.event(event_id)
            assert (event.due is not None) == (event.state in WAITS)

    def nothing_succeeds_twice(self) -> None:
        """An occurrence has at most one run that succeeded."""
        won = Counter(
            (run.event_id, run.occurrence)
            for run in self.world.host.runs(limit=10**6, outcome=Outcome.SUCCEEDED)
        )
        assert not won or max(won.values()) == 1

    def every_attempt_is_on_record(self) -> None:
        """There is a run for each time that the job was called."""
        recorded = Counter(
            run.event_id
            for run in self.world.host.runs(limit=10**6)
            if run.outcome not in UNSTARTED
        )
        assert recorded == self.world.journal.begun

    def what_was_cancelled_has_no_further_run(self) -> None:
        """Cancelled is for good."""
        for event_id, begun in self.cancelled.items():
            assert self.world.journal.begun[event_id] == begun

    def teardown(self) -> None:
        """In the end everything that can run has run, and all of it is told."""
        if hasattr(self, "world"):
            try:
                self.come_to_an_end()
            finally:
                self.world.close()

    def come_to_an_end(self) -> None:
        """Bring the type back, lift every pause, let an hour pass: nothing is left due."""
        host = self.world.host
        host.load_plugin("acme")
        host.resume(event_type="acme.work")
        for event_id in self.paused:
            host.resume(event_id)
        for _ in range(8):  # the longest chain: three attempts, a snooze, a last chance
            self.world.clock.advance(timedelta(hours=1))
            host.run_until_idle(LONG)
        for event_id, way in self.known.items():
            event = self.event(event_id)
            recurs = event.schedule["kind"] == "interval"
            assert event.state in (*OVER, State.QUARANTINED) or (recurs and event.due)
            assert event_id in self.cancelled or self.is_concluded(event, way, recurs)
        self.nothing_succeeds_twice()
        self.every_attempt_is_on_record()

    def is_concluded(self, event: ScheduledEvent, way: str, recurs: bool) -> bool:
        """Whether the event's last run is what its way leads to."""
        if event.state is State.QUARANTINED:
            return "3 times in a row" in str(event.reason)
        wanted = Outcome.FAILED if way == "badly" else Outcome.SUCCEEDED
        return event.last_outcome is wanted or (recurs and event.last_outcome is not None)

    def event(self, event_id: int) -> ScheduledEvent:
        """The event, which must be there."""
        event = self.world.host.get(event_id)
        assert event is not None
        return event

    def held_back(self) -> set[int]:
        """The events that nothing may happen to now: paused, or all while the type is away."""
        return self.paused if self.loaded and not self.type_paused else set(self.known)


CAMPAIGN: Final = bool(os.environ.get("HORAE_CAMPAIGN"))
RANDOM: Final = settings(
    max_examples=300 if CAMPAIGN else 15,
    stateful_step_count=60 if CAMPAIGN else 20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
Lives.TestCase.settings = RANDOM
TestLives = pytest.mark.timeout(3600)(Lives.TestCase)
if CAMPAIGN:
    TestLives = pytest.mark.campaign(TestLives)


# -- bugs, planted to see whether the machine finds them


def bury(store: SqliteStore, statement: str) -> None:
    """Do to the file what the bug does."""
    with store.transaction():
        assert store._writer is not None
        store._writer.execute(statement)


Verb = Callable[..., Any]


def claims_what_is_paused(claim: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """The pause is overlooked."""
    bury(store, "UPDATE horae_event SET paused = 0 WHERE state = 'pending'")
    store._heads.forget()
    return claim(store, *arguments)


def claims_off_the_record(claim: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """The run row is not written."""
    claimed = claim(store, *arguments)
    bury(store, "DELETE FROM horae_run WHERE outcome IS NULL")
    return claimed


def settles_without_a_due_time(settle: Verb, store: SqliteStore, settlements: Any) -> Any:
    """Where the event goes on is forgotten."""
    return settle(store, [one._replace(due=None) for one in settlements])


def settles_all_but_the_last(settle: Verb, store: SqliteStore, settlements: Any) -> Any:
    """One of a group is dropped."""
    return settle(store, settlements[:-1])


def rescues_for_nothing(rescue: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """What the lost host had in hand is over instead of due again."""
    freed = rescue(store, *arguments)
    bury(
        store,
        "UPDATE horae_event SET state = 'finished', due = NULL "
        "WHERE state = 'pending' AND last_outcome = 'interrupted'",
    )
    return freed


def rescues_in_silence(rescue: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """The runs of the lost host never get an outcome."""
    freed = rescue(store, *arguments)
    bury(store, "DELETE FROM horae_run WHERE outcome = 'interrupted'")
    return freed


def withdraws_the_events_too(withdraw: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """Events of a type that is away are taken for failed."""
    withdraw(store, *arguments)
    bury(store, "UPDATE horae_event SET state = 'failed', due = NULL WHERE state = 'pending'")


def withdraws_an_attempt(withdraw: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """Absence burns an attempt."""
    withdraw(store, *arguments)
    bury(store, "UPDATE horae_event SET attempt = attempt + 1 WHERE state = 'pending'")


BUGS: Final = {
    "claim": [claims_what_is_paused, claims_off_the_record],
    "settle": [settles_without_a_due_time, settles_all_but_the_last],
    "rescue": [rescues_for_nothing, rescues_in_silence],
    "withdraw": [withdraws_the_events_too, withdraws_an_attempt],
}


@pytest.mark.parametrize(
    ("verb", "bug"),
    [pytest.param(verb, bug, id=bug.__name__) for verb, bugs in BUGS.items() for bug in bugs],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, verb: str, bug: Callable[..., Any]
) -> None:
    """A machine that finds nothing would prove nothing."""
    sound = getattr(SqliteStore, verb)

    def planted(store: SqliteStore, *arguments: Any) -> Any:
        return bug(sound, store, *arguments)

    monkeypatch.setattr(SqliteStore, verb, planted)
    with pytest.raises(BaseException) as found:  # noqa: PT011 (which invariant breaks is chance)
        run_state_machine_as_test(
            Lives,
            settings=settings(RANDOM, max_examples=100, phases=[Phase.generate]),
        )
    assert found.type in (AssertionError, FlakyFailure, BaseExceptionGroup, ExceptionGroup), found
