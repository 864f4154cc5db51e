"""What every store does by command: rules that hold back, changes in place, keys that replace."""

from typing import Any

import attrs
import pytest

from horae.clock import from_micros
from horae.errors import KeyTaken
from horae.stores.base import Store
from horae.stores.records import MAX_INTERRUPTIONS, OVER, Added, Change, NewEvent
from horae_hookspecs import Outcome, Pause, ScheduledEvent, State
from stores.samples import (
    HOST,
    NOW,
    SECOND,
    a_host,
    add,
    again,
    an_event,
    claim,
    providers,
    rolled_back,
    settled,
)

LATER = NOW + 9 * SECOND

RULES: list[tuple[Any, str]] = [
    ("event_type", "tide.mark"),
    ("origin", "bot"),
    ("resource", "pier"),
]
rules = pytest.mark.parametrize(("field", "value"), RULES, ids=[field for field, _ in RULES])


@pytest.fixture(autouse=True)
def _host(store: Store) -> None:
    """A host is on record."""
    store.join(a_host())


def here(store: Store, event_id: int) -> ScheduledEvent:
    """The event as it stands."""
    event = store.get(event_id)
    assert event is not None
    return event


def held(store: Store, **details: Any) -> int:
    """An event that every one of the rules holds back."""
    return add(store, origin="bot", resource="pier", **details)


def another(due: int = LATER, **details: Any) -> Change:
    """Another schedule."""
    defaults: dict[str, Any] = {"schedule": '{"kind":"new"}', "kind": "new", "recurs": True}
    return Change(occurrence=due, due=due, **(defaults | details))


# -- pauses


@rules
def test_a_rule_holds_for_events_before_and_after(store: Store, field: Any, value: str) -> None:
    """None of them is claimed or counts as due until it is lifted; others are left alone."""
    before = held(store)
    assert store.add_pause(field, value, NOW)
    after = held(store)
    other = add(store, "moon.rise", origin="person", resource="dock")
    assert [one.event_id for one in claim(store)] == [other]
    claimed = store.claim(HOST, providers(store), NOW, 10)
    assert claimed is not None
    assert claimed.next_due is None
    assert [event.id for event in store.events({"paused": True}, 10, 0)] == [before, after]
    assert here(store, after).paused
    assert store.remove_pause(field, value)
    assert [one.event_id for one in claim(store)] == [before, after]


@rules
def test_a_rule_is_there_once(store: Store, field: Any, value: str) -> None:
    """A second time adds nothing, and what is gone cannot be lifted."""
    assert not store.remove_pause(field, value)
    assert store.add_pause(field, value, NOW)
    assert not store.add_pause(field, value, LATER)
    assert store.pauses() == [Pause(field, value, from_micros(NOW))]
    assert store.remove_pause(field, value)
    assert store.pauses() == []
    with rolled_back(store):
        store.add_pause(field, value, NOW)
        assert len(store.pauses()) == 1
    assert store.pauses() == []


def test_every_pause_is_lifted_by_itself(store: Store) -> None:
    """An event is claimed when none is left, in whatever order they went."""
    event_id = held(store)
    store.pause(event_id, True)
    for field, value in RULES:
        store.add_pause(field, value, NOW)
    for field, value in RULES:
        assert claim(store) == []
        store.remove_pause(field, value)
    assert claim(store) == []
    store.pause(event_id, False)
    assert len(claim(store)) == 1


@rules
def test_a_run_under_way_comes_to_its_end(store: Store, field: Any, value: str) -> None:
    """Only what follows it is not claimed."""
    held(store)
    (claimed,) = claim(store)
    store.add_pause(field, value, NOW)
    assert store.settle([again(claimed, NOW)]) == set()
    assert claim(store) == []
    store.remove_pause(field, value)
    assert len(claim(store)) == 1


@rules
def test_a_rule_does_not_touch_what_is_over(store: Store, field: Any, value: str) -> None:
    """What will not run again is not paused."""
    event_id = held(store)
    (claimed,) = claim(store)
    store.settle([settled(claimed)])
    before = here(store, event_id)
    store.add_pause(field, value, NOW)
    assert here(store, event_id) == before
    assert store.events({"paused": True}, 10, 0).total == 0


@rules
def test_run_now_does_not_lift_a_rule(store: Store, field: Any, value: str) -> None:
    """It is due, and runs when the rule is lifted."""
    event_id = held(store, due=LATER)
    store.add_pause(field, value, NOW)
    store.pause(event_id, True)
    assert store.run_now(event_id, NOW)
    assert claim(store) == []
    store.remove_pause(field, value)
    assert len(claim(store)) == 1


def test_whoever_is_paused_at_a_gate_lets_the_next_one_try(store: Store) -> None:
    """A rule on some of those that wait strands none of the others."""
    ids = [add(store, origin=origin, resource="pier") for origin in ("a", "bot", "c")]
    gated = {lane: attrs.evolve(one, exclusive=True) for lane, one in providers(store).items()}

    def taken() -> list[Any]:
        claimed = store.claim(HOST, gated, NOW, 10)
        assert claimed is not None
        return list(claimed.claims)

    (first,) = taken()
    store.settle([settled(first)])
    store.add_pause("origin", "bot", NOW)
    assert [one.event_id for one in taken()] == [ids[2]]


def test_a_type_is_paused_under_its_present_name_too(store: Store) -> None:
    """A rule holds for what was stored before the type was renamed."""
    add(store, "tide.old")
    now = {"event_type": "tide.mark"}
    renamed = {lane: attrs.evolve(one, **now) for lane, one in providers(store).items()}
    store.add_pause("event_type", "tide.mark", NOW)
    claimed = store.claim(HOST, renamed, NOW, 10)
    assert claimed is not None
    assert (list(claimed.claims), claimed.next_due) == ([], None)
    store.remove_pause("event_type", "tide.mark")
    claimed = store.claim(HOST, renamed, NOW, 10)
    assert claimed is not None
    assert len(claimed.claims) == 1


# -- cancel all


def test_cancel_all_cancels_what_the_listing_finds(store: Store) -> None:
    """Pending and quarantined events at once, running ones with their run; none that is over."""
    for state in (State.FINISHED, State.QUARANTINED):
        held(store)
        (claimed,) = claim(store)
        due = NOW if state is State.QUARANTINED else None
        store.settle([settled(claimed, state, due=due)])
    running = held(store)
    claim(store)
    held(store)
    other = add(store, origin="person")
    assert store.cancel_all({"origin": "bot", "event_type": ["tide.mark"]}, "why", NOW) == 3
    assert store.cancellations(HOST) == {running}
    states = [event.state for event in store.events({}, 10, 0)]
    ended = [State.FINISHED, State.CANCELLED, State.RUNNING, State.CANCELLED]
    assert states == [*ended, State.PENDING]
    assert here(store, 2).reason == "why"
    assert store.cancel_all({"state": "finished"}, "why", NOW) == 0
    assert store.cancel_all({"id": [other, running]}, "why", NOW) == 2


def test_cancel_all_refuses_an_unknown_filter(store: Store) -> None:
    """And cancels nothing."""
    add(store)
    with pytest.raises(TypeError, match="no filter 'colour'"):
        store.cancel_all({"colour": "red"}, "why", NOW)
    assert store.events({"state": "pending"}, 10, 0).total == 1


# -- change


def test_another_schedule_takes_the_place_of_what_was_to_come(store: Store) -> None:
    """Of a pending event: its occurrence, with all its tries."""
    event_id = add(store)
    (claimed,) = claim(store)
    store.settle([again(claimed, NOW + SECOND, covered=NOW)])
    assert store.change(event_id, another())
    event = here(store, event_id)
    assert (event.due, event.attempt) == (from_micros(LATER), 0)
    assert event.schedule == {"kind": "new"}
    assert claim(store, now=LATER - 1) == []
    (once_more,) = claim(store, now=LATER)
    assert (once_more.occurrence, once_more.attempt, once_more.covered) == (LATER, 0, None)
    assert (once_more.recurs, once_more.settled) == (True, claimed.settled)


@pytest.mark.parametrize("state", State)
def test_another_schedule_follows_a_run_however_it_ends(store: Store, state: State) -> None:
    """Waiting again, over, set aside or cancelled by the job: what was asked for comes."""
    if state is State.RUNNING:
        return
    event_id = add(store, priority=3)
    (claimed,) = claim(store)
    assert store.change(event_id, another())
    assert here(store, event_id).state is State.RUNNING
    waits = state in (State.PENDING, State.QUARANTINED)
    details = {"due": NOW if waits else None, "will_retry": state is State.PENDING}
    store.settle([settled(claimed, state, reason="old", attempt=1, covered=NOW, **details)])
    event = here(store, event_id)
    assert (event.state, event.due, event.attempt) == (State.PENDING, from_micros(LATER), 0)
    assert event.reason is None
    assert event.last_outcome is Outcome.SUCCEEDED
    assert [run.will_retry for run in store.runs({}, 10, 0)] == [False]
    assert [one.covered for one in claim(store, now=LATER)] == [None]


def test_another_schedule_follows_a_lost_run(store: Store) -> None:
    """The interruption is counted, and too many of them set the event aside all the same."""
    event_id = add(store)
    for number in range(1, MAX_INTERRUPTIONS + 1):
        (claimed,) = claim(store, now=LATER + 9 * number * SECOND)
        assert claimed.interruptions == number - 1
        store.change(event_id, another(LATER + number))
        store.rescue(HOST, "gone", NOW)
        store.join(a_host())
        assert here(store, event_id).due == from_micros(LATER + number)
    event = here(store, event_id)
    assert event.state is State.QUARANTINED
    assert "gone" in (event.reason or "")


def test_a_run_that_is_to_end_gets_no_other_schedule(store: Store) -> None:
    """Neither after the request to end nor before it; anything else of it may still change."""
    event_id = add(store)
    (claimed,) = claim(store)
    assert store.change(event_id, another())
    store.cancel(event_id, "why", NOW)
    assert not store.change(event_id, another())
    assert store.change(event_id, Change(description="new"))
    store.settle([again(claimed, NOW)])
    assert here(store, event_id).state is State.CANCELLED


def test_what_is_not_given_stays(store: Store) -> None:
    """Each part is changed by itself."""
    event_id = add(store, description="old", priority=2, resource="pier")
    before = here(store, event_id)
    assert store.change(event_id, Change(description="new"))
    assert store.change(event_id, Change(priority=0))
    assert store.change(event_id, Change(arguments="{}", event_type="x.y", schema_version=5))
    event = here(store, event_id)
    assert (event.description, event.priority, event.arguments) == ("new", 0, {})
    assert (event.event_type, event.schema_version) == ("x.y", 5)
    assert (event.due, event.schedule, event.resource) == (before.due, before.schedule, "pier")
    (claimed,) = claim(store, types=["x.y"])
    assert claimed.priority == 0


def test_a_running_event_that_moves_to_another_lane_is_found_there(store: Store) -> None:
    """What it was claimed from is not where it waits afterwards."""
    event_id = add(store)
    (claimed,) = claim(store)
    store.change(event_id, Change(priority=0, arguments="{}", event_type="x.y", schema_version=1))
    assert claim(store) == []
    store.settle([again(claimed, NOW)])
    assert [one.priority for one in claim(store, types=["x.y"])] == [0]


@pytest.mark.parametrize(
    "change", [another(NOW), Change(arguments="{}", event_type="tide.mark", schema_version=1)]
)
def test_a_quarantined_event_comes_back_when_it_is_mended(store: Store, change: Change) -> None:
    """With another schedule or other arguments, not with another description."""
    event_id = add(store)
    (claimed,) = claim(store)
    store.settle([settled(claimed, State.QUARANTINED, due=NOW, attempt=2, reason="broken")])
    store.change(event_id, Change(description="broken", priority=0))
    assert here(store, event_id).state is State.QUARANTINED
    assert store.change(event_id, change)
    event = here(store, event_id)
    assert (event.state, event.reason, event.attempt) == (State.PENDING, None, 0)
    assert [one.interruptions for one in claim(store)] == [0]


@pytest.mark.parametrize("state", OVER)
def test_what_is_over_is_not_changed(store: Store, state: State) -> None:
    """Nor is what never was."""
    event_id = add(store)
    (claimed,) = claim(store)
    store.settle([settled(claimed, state)])
    before = here(store, event_id)
    assert not store.change(event_id, another())
    assert not store.change(event_id, Change(description="x"))
    assert not store.change(77, another())
    assert store.get(event_id) == before


# -- keys


def replacing(**details: Any) -> NewEvent:
    """An event that takes the place of one with its key."""
    return an_event(key="k", on_conflict="replace", **details)


def test_a_replacement_keeps_what_the_event_is_known_by(store: Store) -> None:
    """Id, time of creation and an own pause stay; all else is as in the second request."""
    event_id = add(store, key="k", resource="pier", description="old", priority=3, user="u")
    store.pause(event_id, True)
    store.add_pause("resource", "dock", NOW)
    new = replacing(
        event_type="x.y", due=LATER, created=LATER, resource="dock", arguments="{}", recurs=False
    )
    assert store.add([new]) == [Added(event_id, created=False, replaced=True)]
    event = here(store, event_id)
    assert (event.event_type, event.due, event.created) == ("x.y", *map(from_micros, (LATER, NOW)))
    assert (event.resource, event.description, event.priority) == ("dock", None, 1)
    assert (event.user, event.arguments) == (None, {})
    store.pause(event_id, False)
    assert here(store, event_id).paused
    store.remove_pause("resource", "dock")
    assert [one.recurs for one in claim(store, now=LATER)] == [False]


def test_a_replacement_of_a_running_event_follows_its_run(store: Store) -> None:
    """Also when it was asked to end: what was asked for last is not lost."""
    event_id = add(store, key="k")
    (claimed,) = claim(store)
    store.cancel(event_id, "why", NOW)
    assert store.add([replacing(due=LATER, resource="new")])[0].id == event_id
    store.settle([settled(claimed)])
    event = here(store, event_id)
    assert (event.state, event.due, event.resource) == (State.PENDING, from_micros(LATER), "new")


def test_a_key_is_held_for_a_time_beyond_the_end(store: Store) -> None:
    """Counted from when the event was stored, for the last one that had it, in its origin."""
    first = add(store, key="k")
    (claimed,) = claim(store)
    store.settle([settled(claimed)])
    assert store.add([replacing(unique_since=NOW)]) == [Added(first, created=False)]
    with pytest.raises(KeyTaken):
        store.add([an_event(key="k", on_conflict="error", unique_since=NOW)])
    assert add(store, key="k", origin="bot", unique_since=NOW) != first
    second = add(store, key="k", created=NOW + 5, unique_since=NOW + 1)
    assert second != first
    store.cancel(second, "why", NOW)
    assert add(store, key="k", unique_since=NOW + 5) == second
    assert add(store, key="k", unique_since=NOW + 6) != second


def test_a_taken_key_leaves_nothing_of_a_request(store: Store) -> None:
    """All or none, also of what would have been replaced."""
    add(store, key="k", resource="old")
    add(store, key="l")
    with pytest.raises(KeyTaken, match="'l'"):
        store.add([an_event(), replacing(resource="new"), an_event(key="l", on_conflict="error")])
    assert [event.resource for event in store.events({}, 10, 0)] == ["old", None]


# -- what is planned


def test_the_earliest_are_told_in_their_order(store: Store) -> None:
    """Over lanes and priorities; nothing paused, running or over."""
    dues = [7, 3, 5, 1, 9]
    for number, due in enumerate(dues):
        add(store, ("tide.mark", "moon.rise")[number % 2], due=NOW + due, priority=number % 4)
    store.pause(4, True)
    assert [one.claim.event_id for one in store.earliest(3)] == [2, 3, 1]
    store.add_pause("event_type", "moon.rise", NOW)
    assert [one.claim.event_id for one in store.earliest(9)] == [3, 1, 5]
    store.cancel(3, "why", NOW)
    claim(store, now=NOW + 7)
    assert [one.claim.event_id for one in store.earliest(9)] == [5]


def test_a_planned_event_is_as_it_would_be_claimed(store: Store) -> None:
    """While it runs it is told since when, or how it stands after that."""
    event_id = add(store)
    waiting = store.planned(event_id)
    (claimed,) = claim(store)
    running = store.planned(event_id)
    assert waiting is not None
    assert running is not None
    assert waiting.claim._replace(claim=1) == running.claim == claimed
    assert (waiting.event_type, waiting.started, running.started) == ("tide.mark", None, NOW)
    store.change(event_id, another())
    changed = store.planned(event_id)
    assert changed is not None
    assert (changed.claim.due, changed.claim.occurrence, changed.started) == (LATER, LATER, None)
    store.cancel(event_id, "why", NOW)
    assert store.planned(event_id) is None
    assert store.planned(77) is None
