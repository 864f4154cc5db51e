"""Why runs did not succeed, as every store keeps and counts it; a part of the suite."""

import pytest

from horae.stores.base import Store
from horae.stores.records import MAX_INTERRUPTIONS, Claim
from horae_hookspecs import Cause, Outcome, Run, State
from stores.samples import HOST, NOW, SECOND, a_host, add, again, claim, settled

LATER = NOW + 10 * SECOND


@pytest.fixture(autouse=True)
def _on_record(store: Store) -> None:
    store.join(a_host())


def only(claims: list[Claim]) -> Claim:
    """The claim, which is the only one."""
    (one,) = claims
    return one


def last(store: Store, event_id: int) -> Run:
    """The event's last run."""
    run = store.last_run(event_id)
    assert run is not None
    return run


def test_causes_are_counted(store: Store) -> None:
    """Of one event, of one type, or of all; runs without a cause count for nothing."""
    marks, rise = [add(store), add(store)], add(store, "moon.rise")
    for one in claim(store):
        store.settle([again(one, NOW, cause=Cause.ERROR)])
    for one in claim(store):
        cause = Cause.TIMEOUT if one.event_id == marks[0] else Cause.ERROR
        store.settle([settled(one, State.FAILED, outcome=Outcome.FAILED, cause=cause)])
    add(store)
    store.settle([settled(only(claim(store)))])
    assert store.causes({}) == {Cause.ERROR: 5, Cause.TIMEOUT: 1}
    assert store.causes({"event_id": marks[0]}) == {Cause.ERROR: 1, Cause.TIMEOUT: 1}
    assert store.causes({"event_type": "moon.rise"}) == {Cause.ERROR: 2}
    assert store.causes({"event_id": rise, "outcome": Outcome.SUCCEEDED}) == {}
    with pytest.raises(TypeError, match="There is no filter 'colour'"):
        store.causes({"colour": "red"})


@pytest.mark.parametrize("cause", [Cause.HOST_LOST, Cause.LEASE_LOST, Cause.SHUTDOWN])
def test_a_rescue_says_why(store: Store, cause: Cause) -> None:
    """Each run of the lost host has the cause."""
    event_id = add(store)
    claim(store)
    store.rescue(HOST, "gone", NOW, cause)
    run = last(store, event_id)
    assert (run.outcome, run.cause, run.will_retry) == (Outcome.INTERRUPTED, cause, True)


def test_what_is_quarantined_or_cancelled_is_not_tried_again(store: Store) -> None:
    """And its last run does not say that it will be."""
    event_id = add(store)
    told = []
    for _ in range(MAX_INTERRUPTIONS):
        claim(store, now=LATER)
        store.rescue(HOST, "gone", NOW)
        store.join(a_host())
        told.append(last(store, event_id).will_retry)
    assert told == [True, True, False]
    cancelled = add(store)
    claim(store)
    store.cancel(cancelled, "why", NOW)
    store.rescue(HOST, "gone", NOW)
    assert not last(store, cancelled).will_retry


def test_a_failure_of_a_cancelled_event_is_not_tried_again(store: Store) -> None:
    """The host that settled could not know; the store does."""
    event_id = add(store)
    one = only(claim(store))
    store.cancel(event_id, "why", NOW)
    store.settle([again(one, NOW)])
    run = last(store, event_id)
    assert (run.outcome, run.will_retry) == (Outcome.FAILED, False)
