"""What every store does with events: keep, find, count, cancel, pause, bring forward.

``test_conformance_runs.py`` and ``test_conformance_fleet.py`` are the other parts of the suite.
"""

import threading

import pytest

from horae.clock import from_micros
from horae.stores.base import Store
from horae.stores.records import OVER, Added
from horae_hookspecs import Outcome, State
from stores.samples import (
    HOST,
    NOW,
    SECOND,
    a_host,
    add,
    again,
    an_event,
    claim,
    rolled_back,
    settled,
)


def end_in(store: Store, event_id: int, state: State) -> None:
    """Claim the event and let it end in ``state``."""
    store.join(a_host())
    (claimed,) = claim(store)
    assert claimed.event_id == event_id
    store.settle([settled(claimed, state, due=NOW if state is State.QUARANTINED else None)])


# -- add and get


def test_an_event_comes_back_as_it_was_stored(store: Store) -> None:
    """Every field of a new event is told again, instants as aware datetimes."""
    details = {
        "key": "k",
        "resource": "pier",
        "origin": "bot",
        "description": "Mark.",
        "priority": 3,
    }
    event = store.get(add(store, "tide.mark", due=NOW + 1, schema_version=2, **details))
    assert event is not None
    assert {name: getattr(event, name) for name in details} == details
    assert (event.event_type, event.schema_version) == ("tide.mark", 2)
    assert (event.arguments, event.schedule) == ({"level": 3}, {"kind": "once"})
    assert (event.due, event.created) == (from_micros(NOW + 1), from_micros(NOW))
    assert (event.state, event.paused, event.attempt) == (State.PENDING, False, 0)
    assert (event.last_outcome, event.reason) == (None, None)


def test_an_unknown_event_is_none(store: Store) -> None:
    """An id that was never given finds nothing, and nothing can be done to it."""
    assert store.get(1) is None
    assert store.last_run(1) is None
    assert not store.cancel(1, "why", NOW)
    assert not store.pause(1, True)
    assert not store.run_now(1, NOW)


def test_many_events_get_ids_in_their_order(store: Store) -> None:
    """``add`` answers in the order of what it was given, with growing ids."""
    added = store.add([an_event(resource=str(n)) for n in range(5)])
    assert [one.id for one in added] == sorted({one.id for one in added})
    assert [event.resource for event in store.events({}, 10, 0)] == list("01234")


def test_adding_nothing_is_nothing(store: Store) -> None:
    """An empty request stores nothing and is no error."""
    assert store.add([]) == []


def test_a_key_is_held_by_one_event(store: Store) -> None:
    """A second event with the key is not stored; the first one's id comes back."""
    first = add(store, key="k")
    assert store.add([an_event(key="k", resource="other")]) == [Added(first, created=False)]
    assert store.events({}, 10, 0).total == 1


def test_a_key_is_held_within_one_request(store: Store) -> None:
    """Two events with one key in a single ``add`` become one."""
    first, second = store.add([an_event(key="k"), an_event(key="k")])
    assert (second.id, second.created) == (first.id, False)


def test_a_key_belongs_to_its_origin(store: Store) -> None:
    """Origins, and having none, do not share keys."""
    origins = [None, "bot", "person"]
    added = store.add([an_event(key="k", origin=origin) for origin in origins])
    assert all(one.created for one in added)


def test_a_key_is_held_while_running_and_in_quarantine(store: Store) -> None:
    """An event holds its key until it is over, not only while it is pending."""
    store.join(a_host())
    first = add(store, key="k")
    (claimed,) = claim(store)
    assert add(store, key="k") == first
    store.settle([settled(claimed, State.QUARANTINED, due=NOW)])
    assert add(store, key="k") == first


@pytest.mark.parametrize("state", OVER)
def test_a_key_is_free_when_its_event_is_over(store: Store, state: State) -> None:
    """In each final state the key can be used again, under a new id."""
    first = add(store, key="k")
    end_in(store, first, state)
    assert add(store, key="k") > first


def test_many_threads_and_one_key_make_one_event(store: Store) -> None:
    """Whoever comes first stores it; all get the same id."""
    ids: list[int] = []
    threads = [
        threading.Thread(target=lambda: ids.append(add(store, key="k", resource="pier")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert set(ids) == {1}


# -- lanes


def test_a_lane_is_interned_once(store: Store) -> None:
    """Type, schema version and kind make a lane; the same three are the same lane."""
    for details in ({}, {}, {"schema_version": 2}, {"kind": "cron"}):
        add(store, "tide.mark", **details)
    found = [(lane.event_type, lane.schema_version, lane.kind) for lane in store.lanes()]
    assert found == [("tide.mark", 1, "once"), ("tide.mark", 2, "once"), ("tide.mark", 1, "cron")]


def test_lanes_are_the_same_object_until_one_is_new(store: Store) -> None:
    """Who keeps what ``lanes`` gave can tell by identity whether to look again."""
    add(store)
    before = store.lanes()
    add(store)
    assert store.lanes() is before
    add(store, "tide.new")
    assert store.lanes() is not before
    assert len(store.lanes()) == 2


def test_a_lane_that_was_taken_back_is_not_listed(store: Store) -> None:
    """A rolled back transaction leaves no trace in what ``lanes`` gives afterwards."""
    with rolled_back(store):
        add(store, "tide.gone")
        store.lanes()
    add(store, "tide.mark")
    assert [lane.event_type for lane in store.lanes()] == ["tide.mark"]


# -- transactions


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    """Of verbs of every kind in a failed block, none has happened."""
    kept, paused = add(store, resource="kept"), add(store, resource="paused")
    with rolled_back(store):
        add(store, resource="gone")
        store.join(a_host())
        store.cancel(kept, "why", NOW)
        store.pause(paused, True)
    assert [event.resource for event in store.events({}, 10, 0)] == ["kept", "paused"]
    assert store.events({"state": State.PENDING, "paused": False}, 10, 0).total == 2
    assert store.hosts() == []


def test_a_transaction_may_be_nested(store: Store) -> None:
    """The outermost block decides: an inner one that ended well goes down with it."""
    with rolled_back(store), store.transaction():
        add(store)
    with store.transaction(), store.transaction():
        add(store, resource="kept")
    assert [event.resource for event in store.events({}, 10, 0)] == ["kept"]


def test_a_transaction_sees_its_own_writes(store: Store) -> None:
    """Reading is part of the transaction too: what was added inside is found inside."""
    with store.transaction():
        event_id = add(store, "tide.mark")
        assert store.get(event_id) is not None
        assert store.events({}, 10, 0).total == 1
        assert [lane.event_type for lane in store.lanes()] == ["tide.mark"]


def test_after_a_rollback_the_store_claims_by_the_truth(store: Store) -> None:
    """What a failed transaction had learned about due times is forgotten with it."""
    store.join(a_host())
    add(store, resource="kept")
    with rolled_back(store):
        assert len(claim(store)) == 1
        add(store, due=NOW - SECOND)
    assert [taken.resource for taken in claim(store)] == ["kept"]
    assert claim(store) == []


# -- listings


def test_events_are_filtered_by_field(store: Store) -> None:
    """Each filter narrows; a list means any of its values; None means without."""
    store.add(
        [
            an_event("tide.mark", resource="pier", origin="bot", key="a", priority=0),
            an_event("tide.mark", resource="dock", origin="person", priority=2),
            an_event("moon.rise", resource="pier"),
        ]
    )
    store.cancel(2, "why", NOW)
    store.pause(3, True)

    def found(**filters: object) -> list[int]:
        return [event.id for event in store.events(filters, 10, 0)]

    assert found(event_type="tide.mark") == [1, 2]
    assert found(event_type=["tide.mark", "moon.rise"], resource="pier") == [1, 3]
    assert found(state="pending") == [1, 3]
    assert found(state=(State.CANCELLED, State.FINISHED)) == [2]
    assert found(paused=True) == [3]
    assert found(origin=None) == [3]
    assert found(key="a", priority=0, id=1) == [1]
    assert found(last_outcome=Outcome.CANCELLED) == [2]
    assert found(event_type=[]) == []


def test_runs_are_filtered_by_field(store: Store) -> None:
    """Runs are found by event, claim, type, outcome, host and plugin."""
    store.join(a_host())
    store.add([an_event("tide.mark"), an_event("moon.rise")])
    first, _ = claim(store)
    store.settle([settled(first)])

    def found(**filters: object) -> list[int]:
        return [run.event_id for run in store.runs(filters, 10, 0)]

    assert found(event_id=1) == found(event_type="tide.mark") == [1]
    assert found(outcome="succeeded") == [1]
    assert found(outcome=None) == [2]
    assert found(host="tide", plugin="tides", claim=1) == [1, 2]
    assert found(host="other") == []


def test_an_unknown_filter_is_refused(store: Store) -> None:
    """A filter that there is no field for is a TypeError that lists those there are."""
    with pytest.raises(TypeError, match="no filter 'colour'; there are id, event_type"):
        store.events({"colour": "red"}, 10, 0)
    with pytest.raises(TypeError, match="no filter 'colour'; there are id, event_id"):
        store.runs({"colour": "red"}, 10, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pages_cover_everything_once(store: Store, size: int) -> None:
    """Following ``next`` visits every match once, in order; ``total`` counts them all."""
    store.add([an_event("tide.mark" if n % 3 else "moon.rise") for n in range(10)])
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = store.events({"event_type": "tide.mark"}, size, after)
        assert len(page) <= size
        assert page.total == 6
        seen += [event.id for event in page]
        after = page.next
    assert seen == [2, 3, 5, 6, 8, 9]


def test_runs_are_paged_in_the_order_of_their_claims(store: Store) -> None:
    """The cursor of runs is the run's own id."""
    store.join(a_host())
    store.add([an_event(due=NOW - n) for n in range(3)])
    claim(store)
    first = store.runs({}, 2, 0)
    assert [run.event_id for run in first] == [3, 2]
    assert (first.total, first.next) == (3, first.items[-1].id)
    second = store.runs({}, 2, first.next or 0)
    assert [run.event_id for run in second] == [1]
    assert (second.total, second.next) == (3, None)


# -- counts


def test_overview_counts_by_type_and_state(store: Store) -> None:
    """Every event is counted once, under its type and state."""
    store.join(a_host())
    store.add([an_event("tide.mark"), an_event("tide.mark", due=NOW + 1), an_event("moon.rise")])
    (claimed,) = claim(store, types=["moon.rise"])
    store.settle([settled(claimed)])
    store.cancel(1, "why", NOW)
    assert store.overview() == {
        ("tide.mark", State.CANCELLED): 1,
        ("tide.mark", State.PENDING): 1,
        ("moon.rise", State.FINISHED): 1,
    }


def test_backlog_counts_pending_events_by_lane(store: Store) -> None:
    """Paused events are pending too; running ones and those that are over are not."""
    store.join(a_host())
    for due in (NOW - 2 * SECOND, NOW - SECOND, NOW, NOW + SECOND):
        add(store, due=due)
    store.pause(2, True)
    claim(store, limit=1)
    add(store, "moon.rise", due=NOW + 9)
    found = {b.lane.event_type: (b.pending, b.overdue, b.oldest_due) for b in store.backlog(NOW)}
    assert found == {"tide.mark": (3, 2, NOW - SECOND), "moon.rise": (1, 0, NOW + 9)}


def test_an_empty_store_counts_nothing(store: Store) -> None:
    """Nothing stored, nothing counted, nothing damaged."""
    assert store.overview() == {}
    assert store.backlog(NOW) == []
    assert store.lanes() == ()
    assert store.events({}, 10, 0).total == 0
    assert store.check() == []


# -- cancel


def test_cancel_ends_a_pending_event(store: Store) -> None:
    """It is over at once, keeps the reason, and is never claimed."""
    store.join(a_host())
    event_id = add(store)
    assert store.cancel(event_id, "not wanted", NOW)
    event = store.get(event_id)
    assert event is not None
    assert (event.state, event.due, event.reason) == (State.CANCELLED, None, "not wanted")
    assert event.last_outcome is Outcome.CANCELLED
    assert claim(store) == []


def test_cancel_ends_a_quarantined_event(store: Store) -> None:
    """What was set aside can be given up; the outcome of its last run stays."""
    event_id = add(store)
    end_in(store, event_id, State.QUARANTINED)
    assert store.cancel(event_id, "why", NOW)
    event = store.get(event_id)
    assert event is not None
    assert (event.state, event.last_outcome) == (State.CANCELLED, Outcome.SUCCEEDED)


@pytest.mark.parametrize("state", OVER)
def test_cancel_leaves_what_is_over(store: Store, state: State) -> None:
    """An event that ended stays as it ended."""
    event_id = add(store)
    end_in(store, event_id, state)
    before = store.get(event_id)
    assert not store.cancel(event_id, "why", NOW)
    assert store.get(event_id) == before


def test_cancel_asks_a_running_event_to_end(store: Store) -> None:
    """It goes on running; its host, and no other, is told."""
    store.join(a_host())
    event_id = add(store)
    add(store)
    claim(store)
    assert store.cancellations(HOST) == set()
    assert store.cancel(event_id, "why", NOW)
    assert store.cancellations(HOST) == {event_id}
    assert store.cancellations("other") == set()
    event = store.get(event_id)
    assert event is not None
    assert event.state is State.RUNNING


@pytest.mark.parametrize("state", [State.FINISHED, State.FAILED])
def test_a_cancelled_run_may_still_end_its_event_its_own_way(store: Store, state: State) -> None:
    """A job that ends normally after the request has succeeded, or failed."""
    store.join(a_host())
    event_id = add(store)
    (claimed,) = claim(store)
    store.cancel(event_id, "why", NOW)
    store.settle([settled(claimed, state)])
    event = store.get(event_id)
    assert event is not None
    assert event.state is state
    assert store.cancellations(HOST) == set()


@pytest.mark.parametrize("state", [State.PENDING, State.QUARANTINED])
def test_cancellation_wins_over_waiting_again(store: Store, state: State) -> None:
    """No retry, no next occurrence and no quarantine follows a cancellation."""
    store.join(a_host())
    event_id = add(store)
    (claimed,) = claim(store)
    store.cancel(event_id, "not wanted", NOW)
    store.settle([settled(claimed, state, due=NOW + SECOND, reason="later")])
    event = store.get(event_id)
    assert event is not None
    assert (event.state, event.due, event.reason) == (State.CANCELLED, None, "not wanted")
    assert event.last_outcome is Outcome.SUCCEEDED
    assert claim(store, now=NOW + 9 * SECOND) == []


# -- pause


def test_a_paused_event_is_not_claimed_until_resumed(store: Store) -> None:
    """Pausing takes it out of reach, and resuming puts it back with its due time."""
    store.join(a_host())
    event_id = add(store)
    assert store.pause(event_id, True)
    assert claim(store) == []
    assert store.events({"paused": True}, 10, 0).total == 1
    assert store.pause(event_id, False)
    assert [one.due for one in claim(store)] == [NOW]


def test_a_running_event_that_is_paused_finishes(store: Store) -> None:
    """Its outcome counts; only its next occurrence is not claimed."""
    store.join(a_host())
    event_id = add(store)
    (claimed,) = claim(store)
    assert store.pause(event_id, True)
    assert store.settle([again(claimed, NOW + SECOND)]) == set()
    assert claim(store, now=NOW + SECOND) == []
    store.pause(event_id, False)
    assert len(claim(store, now=NOW + SECOND)) == 1


@pytest.mark.parametrize("state", OVER)
def test_what_is_over_cannot_be_paused(store: Store, state: State) -> None:
    """The answer says so."""
    event_id = add(store)
    end_in(store, event_id, state)
    assert not store.pause(event_id, True)
    assert not store.pause(event_id, False)


# -- run now


def test_run_now_brings_an_occurrence_forward(store: Store) -> None:
    """It is due, and its nominal time, now: so the one after it stays."""
    store.join(a_host())
    event_id = add(store, due=NOW + 9 * SECOND)
    assert store.run_now(event_id, NOW)
    (claimed,) = claim(store)
    assert (claimed.due, claimed.occurrence) == (NOW, NOW)


def test_run_now_leaves_an_overdue_occurrence_what_it_is(store: Store) -> None:
    """A late occurrence keeps its nominal time."""
    store.join(a_host())
    event_id = add(store, due=NOW)
    assert store.run_now(event_id, NOW + SECOND)
    (claimed,) = claim(store, now=NOW + SECOND)
    assert (claimed.due, claimed.occurrence) == (NOW + SECOND, NOW)


def test_run_now_takes_an_event_out_of_quarantine(store: Store) -> None:
    """It starts afresh: no reason, no interruptions, not paused."""
    store.join(a_host())
    event_id = add(store)
    (claimed,) = claim(store)
    store.settle(
        [
            settled(
                claimed, State.QUARANTINED, due=NOW, interruptions=2, reason="broken", settled=None
            )
        ]
    )
    store.pause(event_id, True)
    assert store.run_now(event_id, NOW)
    event = store.get(event_id)
    assert event is not None
    assert (event.state, event.reason, event.paused) == (State.PENDING, None, False)
    assert [one.interruptions for one in claim(store)] == [0]


@pytest.mark.parametrize("state", [*OVER, State.RUNNING])
def test_run_now_is_for_pending_and_quarantined_events(store: Store, state: State) -> None:
    """In any other state it changes nothing and says so."""
    event_id = add(store)
    if state is State.RUNNING:
        store.join(a_host())
        claim(store)
    else:
        end_in(store, event_id, state)
    before = store.get(event_id)
    assert not store.run_now(event_id, NOW)
    assert store.get(event_id) == before
