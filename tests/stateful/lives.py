"""The machine that lives random lives of a host, and looks at what is true throughout."""

from collections import Counter
from datetime import timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from horae.stores.records import OVER
from horae_hookspecs import Outcome, ScheduledEvent, State
from kit.events import LONG
from stateful.world import Wanted, World

WAYS: Final = ["well", "well", "badly", "twice", "later"]
MINUTE: Final = timedelta(minutes=1)
UNSTARTED: Final = {Outcome.RETURNED, Outcome.MISSED, Outcome.SKIPPED}
PLACES: Final = ["pier", "quay"]
WAITS: Final = (State.PENDING, State.RUNNING, State.QUARANTINED)

chosen = st.integers(0, 10**6)
moments = st.integers(-3, 5).map(lambda minutes: minutes * MINUTE)
gated = st.tuples(st.sampled_from(["acme.dock", "acme.haul", "acme.lift"]), st.sampled_from(PLACES))
crowds = st.lists(st.one_of(st.just(("acme.work", None)), gated), max_size=3)


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
        self.pier_paused = False
        self.loaded = True
        self.is_sound = True

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

    @rule(kind=gated, way=st.sampled_from(WAYS), after=moments, count=st.integers(1, 3))
    def schedule_at_a_gate(self, kind: Wanted, way: str, after: timedelta, count: int) -> None:
        """Several events that do not all have room at once."""
        event_type, place = kind
        when = self.world.clock.now() + after
        for _ in range(count):
            self.remember(way, when, event_type=event_type, resource=place)

    @rule(way=st.sampled_from(WAYS), when=st.sampled_from([MINUTE, "every 2m"]))
    def schedule_for_several(self, way: str, when: Any) -> None:
        """One event for several resources."""
        self.remember(way, when, event_type="acme.tend", resources=["dock", *PLACES])

    def remember(self, way: str, when: Any, event_type: str = "acme.work", **options: Any) -> None:
        """Schedule, and know of it from then on."""
        event = self.world.host.schedule(event_type, {"way": way}, when, **options)
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

    @rule()
    def pause_the_pier(self) -> None:
        """Hold back what is about this one resource alone."""
        self.world.host.pause(resource="pier")
        self.pier_paused = True

    @precondition(lambda self: self.pier_paused)
    @rule()
    def resume_the_pier(self) -> None:
        """Let it go on."""
        self.world.host.resume(resource="pier")
        self.pier_paused = False

    @precondition(lambda self: self.known)
    @rule(number=chosen, after=moments)
    def reschedule(self, number: int, after: timedelta) -> None:
        """Move an event to another time; one that is over stays over."""
        event = self.event(self.pick(number))
        if event.state is State.PENDING:
            self.world.journal.tended.pop(event.id, None)
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

    @precondition(lambda self: self.may_be_in_flight())
    @rule(crowd=crowds)
    def crash(self, crowd: list[Wanted]) -> None:
        """The host is lost with some runs in hand."""
        self.fly(crowd)
        self.world.crash()

    @precondition(lambda self: self.may_be_in_flight())
    @rule(crowd=crowds)
    def lose_the_lease(self, crowd: list[Wanted]) -> None:
        """The host is believed to be lost with some runs in hand."""
        self.fly(crowd)
        self.world.lose_the_lease()

    @precondition(lambda self: self.may_be_in_flight())
    @rule(crowd=crowds.filter(len), number=chosen)
    def give_up_one_of_a_crowd(self, crowd: list[Wanted], number: int) -> None:
        """One is cancelled while some are inside and others wait; the rest run all the same."""
        ids = self.fly(crowd)
        event_id = ids[number % len(ids)]
        assert self.world.host.cancel(event_id)
        self.cancelled[event_id] = self.world.journal.begun[event_id]
        self.world.journal.gate.set()

    def may_be_in_flight(self) -> bool:
        """Whether all runs would begin that have room."""
        return self.loaded and not self.type_paused and not self.pier_paused

    def fly(self, crowd: list[Wanted]) -> list[int]:
        """Runs that have begun and not ended, and others that wait for them."""
        ids = self.world.in_flight(crowd)
        self.known.update(dict.fromkeys(ids, "held"))
        return ids

    # -- what is true throughout

    @invariant()
    def all_is_well(self) -> None:
        """All that is due has run, and what is true throughout is true."""
        self.is_sound = False
        self.come_to_rest()
        self.nothing_is_lost()
        self.nothing_succeeds_twice()
        self.every_attempt_is_on_record()
        self.what_was_cancelled_has_no_further_run()
        self.nobody_was_let_in_too_many()
        self.nobody_is_left_at_a_gate()
        self.no_resource_is_done_twice()
        self.is_sound = True

    def come_to_rest(self) -> None:
        """Run whatever is due; nothing happens to what is paused or absent."""
        begun = Counter(self.world.journal.begun)
        untouched = {event_id: self.event(event_id) for event_id in self.held_back()}
        self.world.host.run_until_idle(self.world.patience)
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

    def nobody_was_let_in_too_many(self) -> None:
        """There never were more runs behind a gate than it has room for."""
        assert not self.world.journal.crowded

    def nobody_is_left_at_a_gate(self) -> None:
        """When nothing runs, nobody has anybody to wait for."""
        events = list(self.world.host.events(limit=10**6, state=("pending", "running")))
        assert not [event for event in events if event.blocked or event.state is State.RUNNING]

    def no_resource_is_done_twice(self) -> None:
        """What succeeded for one resource is not done again with the others."""
        for done in self.world.journal.tended.values():
            assert max(done.values()) == 1

    def teardown(self) -> None:
        """In the end everything that can run has run, and all of it is told."""
        if hasattr(self, "world"):
            self.world.journal.gate.set()
            try:
                if self.is_sound:
                    self.come_to_an_end()
            finally:
                self.world.close()

    def come_to_an_end(self) -> None:
        """Bring the type back, lift every pause, let an hour pass: nothing is left due."""
        host = self.world.host
        host.load_plugin("acme")
        host.resume(event_type="acme.work")
        host.resume(resource="pier")
        for event_id in self.paused:
            host.resume(event_id)
        for _ in range(8):  # the longest chain: three attempts, a snooze, a last chance
            self.world.clock.advance(timedelta(hours=1))
            host.run_until_idle(self.world.patience)
        for event_id, way in self.known.items():
            event = self.event(event_id)
            recurs = event.schedule["kind"] == "interval"
            assert event.state in (*OVER, State.QUARANTINED) or (recurs and event.due)
            assert event_id in self.cancelled or self.is_concluded(event, way, recurs)
            assert event_id in self.cancelled or self.is_told_of_each(event)
        self.nothing_succeeds_twice()
        self.every_attempt_is_on_record()
        self.nobody_was_let_in_too_many()
        self.no_resource_is_done_twice()

    def is_told_of_each(self, event: ScheduledEvent) -> bool:
        """Whether the last run of the event tells how it ended for each of its resources."""
        if event.resources is None:
            return True
        run = next(iter(self.world.host.runs(event_id=event.id, newest_first=True)), None)
        assert run is not None
        outcomes = {name: told["outcome"] for name, told in (run.resources or {}).items()}
        failed = run.outcome is Outcome.FAILED
        return run.will_retry or outcomes == {
            name: Outcome.FAILED if failed and name == "pier" else Outcome.SUCCEEDED
            for name in event.resources
        }

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
        """The events that nothing may happen to now: paused, or of a type that is away."""
        return {
            event_id
            for event_id in self.known
            if not self.loaded
            or event_id in self.paused
            or (self.type_paused and self.event(event_id).event_type == "acme.work")
            or (self.pier_paused and self.event(event_id).resource == "pier")
        }
