"""What every store does with resources: those no longer named, and those of interrupted runs."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from horae.stores.base import Store
from horae.stores.records import CancelMissing, Claim, Progress, Provider
from horae_hookspecs import Outcome, State
from stores.samples import HOST, NOW, SECOND, a_host, add, again, an_event, claim, settled

WHY = "resource no longer matches"


def missing(*named: str, origin: str = "bot") -> CancelMissing:
    """The origin wants nothing but these any more."""
    return CancelMissing(origin, frozenset(named), WHY)


def state_of(store: Store, event_id: int) -> State:
    """How the event stands."""
    event = store.get(event_id)
    assert event is not None
    return event.state


def resources_of(store: Store, event_id: int) -> Sequence[str] | None:
    """What a multi-resource event names."""
    event = store.get(event_id)
    assert event is not None
    return event.resources


def of_bot(store: Store, **details: Any) -> int:
    """An event that the bot wants."""
    return add(store, origin="bot", **details)


# Those that are not named any more


def test_pending_events_for_other_resources_are_cancelled(store: Store) -> None:
    """With the reason; those for named resources stay."""
    gone, kept = of_bot(store, resource="pier"), of_bot(store, resource="quay")
    assert store.cancel_missing(missing("quay"), NOW) == [gone]
    event = store.get(gone)
    assert event is not None
    assert (event.state, event.due, event.reason) == (State.CANCELLED, None, WHY)
    assert event.last_outcome is Outcome.CANCELLED
    assert state_of(store, kept) is State.PENDING


def test_a_cancelled_one_is_not_claimed(store: Store) -> None:
    """However long it was due."""
    store.join(a_host())
    of_bot(store, resource="pier")
    kept = of_bot(store, resource="quay")
    store.cancel_missing(missing("quay"), NOW)
    assert [one.event_id for one in claim(store)] == [kept]


def test_who_stood_behind_a_cancelled_one_at_a_gate_goes_next(store: Store) -> None:
    """An event that was let go and is wanted no more holds up nobody."""
    store.join(a_host())
    ids = [
        of_bot(store, resource="pier"),
        of_bot(store, resource="pier"),
        add(store, resource="pier"),
    ]
    lanes = {lane.id: Provider("tides", "1.0", 1, exclusive=True) for lane in store.lanes()}

    def take() -> list[Claim]:
        claimed = store.claim(HOST, lanes, NOW, 10)
        assert claimed is not None
        return list(claimed.claims)

    (first,) = take()
    store.settle([settled(first)])
    assert store.cancel_missing(missing(), NOW) == [ids[1]]
    assert [one.event_id for one in take()] == [ids[2]]


def test_where_nothing_is_named_all_are_cancelled(store: Store) -> None:
    """No resource matches any more."""
    ids = [of_bot(store, resource="pier"), of_bot(store, resources='["quay"]')]
    assert store.cancel_missing(missing(), NOW) == ids


@pytest.mark.parametrize(
    "details", [{"origin": "bot"}, {"resource": "pier"}, {"origin": "man", "resource": "pier"}]
)
def test_other_origins_and_events_without_a_resource_stay(
    store: Store, details: dict[str, str]
) -> None:
    """Only what the origin wanted for a resource is its own to cancel."""
    event_id = add(store, **details)
    assert store.cancel_missing(missing("quay"), NOW) == []
    assert state_of(store, event_id) is State.PENDING


def test_what_runs_or_is_over_stays(store: Store) -> None:
    """The run under way goes on, and nothing is written over what was."""
    store.join(a_host())
    done, running = of_bot(store, resource="pier"), of_bot(store, resource="pier")
    first, _ = claim(store)
    store.settle([settled(first)])
    assert store.cancel_missing(missing(), NOW) == []
    assert state_of(store, done) is State.FINISHED
    assert state_of(store, running) is State.RUNNING
    assert store.cancellations(HOST) == set()


def test_an_event_that_waits_for_its_retry_is_pending(store: Store) -> None:
    """It is not tried again for a resource that nobody wants any more."""
    store.join(a_host())
    event_id = of_bot(store, resource="pier")
    (one,) = claim(store)
    store.settle([again(one, NOW + SECOND)])
    assert store.cancel_missing(missing(), NOW) == [event_id]


def test_an_event_for_several_resources_is_narrowed(store: Store) -> None:
    """To those that are named, in their order; with none left it is cancelled."""
    some = of_bot(store, resources='["pier", "quay", "mole"]')
    none = of_bot(store, resources='["pier"]')
    same = of_bot(store, resources='["mole"]')
    assert store.cancel_missing(missing("mole", "quay"), NOW) == [none]
    assert resources_of(store, some) == ("quay", "mole")
    assert resources_of(store, same) == ("mole",)


def test_it_can_follow_a_run(store: Store) -> None:
    """In order: what is added before is looked at, what comes behind is not."""
    store.join(a_host())
    add(store)
    (one,) = claim(store)
    before = an_event(origin="bot", resource="pier")
    behind = an_event(origin="bot", resource="pier")
    store.settle([settled(one, follow_ups=[before, missing("quay"), behind])])
    states = [event.state for event in store.events({"origin": "bot"}, 10)]
    assert states == [State.CANCELLED, State.PENDING]


def test_it_falls_with_a_fenced_answer(store: Store) -> None:
    """What comes too late changes nothing."""
    store.join(a_host())
    add(store, due=NOW - SECOND)
    kept = of_bot(store, resource="pier", due=NOW + SECOND)
    (one,) = claim(store)
    store.rescue(HOST, "gone", NOW)
    store.settle([settled(one, follow_ups=[missing()])])
    assert state_of(store, kept) is State.PENDING


# Outcomes of resources


def claimed_again(store: Store) -> Claim:
    """The claim of the event that waits."""
    (one,) = claim(store, now=NOW + 9 * SECOND)
    return one


def test_outcomes_are_kept_between_attempts(store: Store) -> None:
    """The run's record has its own, and the next claim what it needs to know."""
    store.join(a_host())
    event_id = add(store, resources='["a", "b"]')
    (one,) = claim(store)
    assert (one.resources, one.resource_outcomes) == ('["a", "b"]', None)
    done, told = '{"a":{"outcome":"succeeded"}}', '{"b":{"outcome":"failed"}}'
    store.settle([again(one, NOW, resources=told, resource_outcomes=done)])
    (run,) = store.runs({"event_id": event_id}, 1)
    assert run.resources == json.loads(told)
    assert claimed_again(store).resource_outcomes == done


def test_a_rescue_keeps_what_was_shown(store: Store) -> None:
    """The next claim knows of it; how far the run is says nothing of resources by itself."""
    store.join(a_host())
    event_id = add(store, resources='["a", "b"]')
    claim(store)
    done = '{"a":{"outcome":"succeeded"}}'
    store.progress([Progress(event_id, 1, 0.5, "half", done), Progress(event_id, 1, 0.6, "")])
    (run,) = store.runs({"event_id": event_id}, 1)
    assert (run.progress, run.resources) == (0.6, json.loads(done))
    store.rescue(HOST, "gone", NOW)
    store.join(a_host())
    known = claimed_again(store).resource_outcomes
    assert known is not None
    assert json.loads(known) == json.loads(done)


def test_a_rescue_forgets_no_outcome(store: Store) -> None:
    """An attempt that showed nothing leaves what those before it had found out."""
    store.join(a_host())
    add(store, resources='["a", "b"]')
    (one,) = claim(store)
    done = '{"a":{"outcome":"succeeded"}}'
    store.settle([again(one, NOW, resource_outcomes=done)])
    claimed_again(store)
    store.rescue(HOST, "gone", NOW)
    store.join(a_host())
    assert claimed_again(store).resource_outcomes == done
