"""What every store does with runs: claim, settle, fence, rescue; a part of the suite."""

import threading
from typing import Any

import attrs
import pytest

from horae.clock import from_micros
from horae.stores.base import Store
from horae.stores.records import MAX_INTERRUPTIONS, Claim, NewEvent, Provider, last_chance
from horae_hookspecs import Outcome, ScheduledEvent, State
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

LATER = NOW + 10 * SECOND
"""When every event that waits for its last chance is due."""


@pytest.fixture(autouse=True)
def _on_record(store: Store) -> None:
    store.join(a_host())


def stored(store: Store, event_id: int) -> ScheduledEvent:
    """The event, which is there."""
    event = store.get(event_id)
    assert event is not None
    return event


def taken(store: Store, now: int = NOW, **details: int) -> Claim:
    """Store one event and claim it."""
    event_id = add(store, **details)
    return next(one for one in claim(store, now=now) if one.event_id == event_id)


def lose(store: Store, now: int = NOW) -> int:
    """Lose the host with all that it claimed, and put another in its place."""
    freed = store.rescue(HOST, "host tide is gone", now)
    store.join(a_host())
    return freed


# -- claim


def test_a_claim_brings_all_that_a_run_needs(store: Store) -> None:
    """The claim holds what was stored, so that a run reads nothing more."""
    details: dict[str, Any] = {
        "resource": "pier",
        "origin": "bot",
        "description": "",
        "priority": 2,
    }
    event_id = add(store, due=NOW - 1, **details)
    (lane,) = store.lanes()
    assert claim(store) == [
        Claim(
            event_id=event_id,
            claim=1,
            lane=lane.id,
            arguments='{"level":3}',
            schedule='{"kind":"once"}',
            due=NOW - 1,
            occurrence=NOW - 1,
            attempt=0,
            interruptions=0,
            settled=None,
            covered=None,
            recurs=True,
            created=NOW,
            **details,
        )
    ]
    assert stored(store, event_id).state is State.RUNNING


def test_only_loaded_lanes_are_claimed(store: Store) -> None:
    """What the claim does not name stays as it is: type, schema version and kind count."""
    add(store, "tide.mark")
    add(store, "tide.mark", schema_version=2)
    add(store, "tide.mark", kind="cron")
    add(store, "moon.rise")
    before = [stored(store, event_id) for event_id in (2, 3, 4)]
    first_lane = {store.lanes()[0].id: Provider("tides", None, 1)}
    claimed = store.claim(HOST, first_lane, NOW, 10)
    assert claimed is not None
    assert [one.event_id for one in claimed.claims] == [1]
    assert [stored(store, event_id) for event_id in (2, 3, 4)] == before


def test_no_lanes_no_claims(store: Store) -> None:
    """A host that has nothing loaded gets nothing and waits for nothing."""
    add(store)
    claimed = store.claim(HOST, {}, NOW, 10)
    assert claimed is not None
    assert (list(claimed.claims), claimed.next_due) == ([], None)


@pytest.mark.parametrize("limit", [1, 1000])
def test_claims_go_by_priority_then_by_due_time(store: Store, limit: int) -> None:
    """Priority 0 comes first, whatever is due longer; equals go in the order of their ids. Only
    each tenth of the picks that leave others behind goes to the longest overdue.
    """
    store.add(
        [
            an_event(priority=priority, due=NOW - late * SECOND, event_type=event_type)
            for priority in (3, 0, 2, 1)
            for late in (1, 3, 2)
            for event_type in ("tide.mark", "moon.rise")
        ]
    )
    order: list[tuple[int, int, int]] = []
    while claims := claim(store, limit=limit):
        order += [(one.priority, one.due, one.event_id) for one in claims]
    assert len(order) == 24
    if limit == 1:
        assert order.pop(19)[0] == 3
        assert order.pop(9)[0] == 3
    assert order == sorted(order)


def test_the_limit_is_respected(store: Store) -> None:
    """No claim brings more than asked for; what is left comes with the next ones."""
    store.add([an_event(priority=n % 4) for n in range(10)])
    brought = [len(claim(store, limit=limit)) for limit in (0, 3, 7, 5)]
    assert brought == [0, 3, 7, 0]


def test_what_is_not_due_is_not_claimed(store: Store) -> None:
    """Due means not after now, to the microsecond."""
    add(store, due=NOW)
    add(store, due=NOW + 1)
    assert [one.event_id for one in claim(store, now=NOW - 1)] == []
    assert [one.event_id for one in claim(store, now=NOW)] == [1]
    assert [one.event_id for one in claim(store, now=NOW + 1)] == [2]


def test_claim_numbers_grow(store: Store) -> None:
    """Over retries and rescues, each claim has a higher number than any before it."""
    numbers = []
    add(store)
    for _ in range(3):
        numbers += [one.claim for one in claim(store)]
        lose(store)
        (claimed,) = claim(store)
        numbers.append(claimed.claim)
        store.settle([again(claimed, NOW)])
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_each_claim_writes_a_run(store: Store) -> None:
    """The run is on record before anything happens: provider, host, occurrence, attempt."""
    claimed = taken(store, now=NOW + 5, due=NOW)
    run = store.last_run(claimed.event_id)
    assert run is not None
    assert (run.event_id, run.claim, run.event_type) == (claimed.event_id, 1, "tide.mark")
    assert (run.occurrence, run.started) == (from_micros(NOW), from_micros(NOW + 5))
    assert (run.attempt, run.finished, run.outcome) == (1, None, None)
    assert (run.host, run.plugin, run.version, run.generation) == ("tide", "tides", "1.0", 1)


def test_a_host_off_the_record_gets_none(store: Store) -> None:
    """None tells it to join again, while an empty claim says that nothing is due."""
    add(store)
    assert store.claim("stranger", providers(store), NOW, 10) is None
    lose(store)
    assert store.rescue(HOST, "gone", NOW) == 0
    assert store.claim(HOST, providers(store), NOW, 10) is None
    assert stored(store, 1).state is State.PENDING


def test_next_due_is_that_of_the_asked_lanes(store: Store) -> None:
    """It looks at pending, unpaused events of the lanes that were named, and no others."""
    add(store, "tide.mark", due=NOW + 9)
    add(store, "tide.mark", due=NOW + 7)
    add(store, "tide.mark", due=NOW + 8, priority=3)
    add(store, "moon.rise", due=NOW + 1)
    store.pause(2, True)

    def next_due(types: list[str]) -> int | None:
        claimed = store.claim(HOST, providers(store, types), NOW, 10)
        return claimed.next_due if claimed else -1

    assert next_due(["tide.mark"]) == NOW + 8
    assert next_due(["tide.mark", "moon.rise"]) == NOW + 1
    assert next_due([]) is None


def test_next_due_knows_what_a_claim_left_behind(store: Store) -> None:
    """After a claim, the rest of the same lane and priority still says when it is due."""
    add(store, due=NOW)
    add(store, due=NOW + 5)
    claimed = store.claim(HOST, providers(store), NOW, 10)
    assert claimed is not None
    assert (len(claimed.claims), claimed.next_due) == (1, NOW + 5)
    add(store, due=NOW + 3)
    cut = store.claim(HOST, providers(store), NOW + 5, 1)
    assert cut is not None
    assert (len(cut.claims), cut.next_due) == (1, NOW + 5)


def test_next_due_follows_what_is_settled_paused_and_cancelled(store: Store) -> None:
    """Every verb that moves a due time is seen by the next claim."""
    first = taken(store)
    add(store, due=NOW + 9)
    store.settle([again(first, NOW + 4)])

    def next_due() -> int | None:
        claimed = store.claim(HOST, providers(store), NOW, 0)
        return claimed.next_due if claimed else -1

    assert next_due() == NOW + 4
    store.pause(first.event_id, True)
    assert next_due() == NOW + 9
    store.pause(first.event_id, False)
    assert next_due() == NOW + 4
    store.run_now(2, NOW + 2)
    assert next_due() == NOW + 2


def test_threads_never_claim_one_event_twice(store: Store) -> None:
    """Four threads that claim at once share the events out between them."""
    store.add([an_event() for _ in range(60)])
    found: list[int] = []

    def work() -> None:
        while claims := claim(store, limit=3):
            found.extend(one.event_id for one in claims)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 61))


# -- settle


def test_a_settlement_ends_the_run_and_the_event(store: Store) -> None:
    """The run keeps outcome, times and result; the event its state and last outcome."""
    claimed = taken(store)
    store.settle([settled(claimed, result='{"level": 4}', started=NOW + 1, finished=NOW + 2)])
    run, event = store.last_run(claimed.event_id), stored(store, claimed.event_id)
    assert run is not None
    assert (run.outcome, run.result, run.will_retry) == (Outcome.SUCCEEDED, {"level": 4}, False)
    assert (run.started, run.finished) == (from_micros(NOW + 1), from_micros(NOW + 2))
    assert (event.state, event.due, event.last_outcome) == (
        State.FINISHED,
        None,
        Outcome.SUCCEEDED,
    )


def test_an_event_that_waits_again_keeps_its_account(store: Store) -> None:
    """Occurrence, attempt, interruptions, settled and covered come back with the next claim."""
    claimed = taken(store)
    store.settle(
        [again(claimed, NOW + 3, attempt=2, interruptions=1, settled=NOW - 9, covered=NOW + 1)]
    )
    assert claim(store, now=NOW + 2) == []
    (second,) = claim(store, now=NOW + 3)
    assert (second.claim, second.due, second.occurrence) == (2, NOW + 3, NOW)
    assert (second.attempt, second.interruptions) == (2, 1)
    assert (second.settled, second.covered) == (NOW - 9, NOW + 1)
    first_run = store.runs({"claim": 1}, 1, 0).items[0]
    assert (first_run.error, first_run.will_retry) == ("no water", True)
    assert store.runs({"claim": 2}, 1, 0).items[0].attempt == 3


def test_a_problem_with_a_result_is_kept(store: Store) -> None:
    """Why a result is missing stands beside the outcome."""
    claimed = taken(store)
    store.settle([settled(claimed, result_error="too large", reason="for a reason")])
    run = store.last_run(claimed.event_id)
    assert run is not None
    assert (run.result, run.result_error) == (None, "too large")
    assert stored(store, claimed.event_id).reason == "for a reason"


def test_a_second_settlement_is_fenced(store: Store) -> None:
    """The first outcome counts; the same claim settled again changes nothing."""
    claimed = taken(store)
    assert store.settle([settled(claimed)]) == set()
    before = (stored(store, claimed.event_id), store.last_run(claimed.event_id))
    late = settled(claimed, State.FAILED, outcome=Outcome.FAILED, error="late")
    assert store.settle([late]) == {(claimed.event_id, claimed.claim)}
    assert (stored(store, claimed.event_id), store.last_run(claimed.event_id)) == before


def test_an_old_claim_is_fenced_while_a_newer_one_runs(store: Store) -> None:
    """A late answer of a lost host neither ends nor disturbs the run that took its place."""
    lost = taken(store)
    lose(store)
    (current,) = claim(store)
    assert store.settle([settled(lost)]) == {(lost.event_id, lost.claim)}
    assert stored(store, lost.event_id).state is State.RUNNING
    assert store.settle([settled(current)]) == set()
    assert [run.outcome for run in store.runs({}, 9, 0)] == ["interrupted", "succeeded"]


def test_an_answer_after_the_rescue_is_fenced(store: Store) -> None:
    """A rescued event that nobody has claimed again is not touched by its old run."""
    lost = taken(store)
    lose(store)
    before = stored(store, lost.event_id)
    assert store.settle([settled(lost)]) == {(lost.event_id, lost.claim)}
    assert stored(store, lost.event_id) == before


def test_one_fenced_settlement_holds_up_no_other(store: Store) -> None:
    """In a group, those in time count and those too late are named."""
    store.add([an_event() for _ in range(3)])
    first, second, third = claim(store)
    store.settle([settled(second)])
    stranger = attrs.evolve(settled(second), event_id=99)
    group = [settled(first), settled(second), stranger, settled(third)]
    assert store.settle(group) == {(second.event_id, second.claim), (99, second.claim)}
    assert store.overview() == {("tide.mark", State.FINISHED): 3}


def test_settling_nothing_is_nothing(store: Store) -> None:
    """An empty group is no error."""
    assert store.settle([]) == set()


def test_follow_ups_are_stored_with_the_outcome(store: Store) -> None:
    """They are there when the outcome is, and obey keys like all others."""
    claimed = taken(store)
    add(store, key="k")
    follow_ups = [an_event("moon.rise", resource="pier"), an_event("moon.rise", key="k")]
    store.settle([settled(claimed, follow_ups=follow_ups)])
    found = store.events({"event_type": "moon.rise"}, 9, 0)
    assert [event.resource for event in found] == ["pier"]


def test_follow_ups_of_a_fenced_answer_are_not_stored(store: Store) -> None:
    """What a retired run planned goes with its answer."""
    claimed = taken(store)
    lose(store)
    store.settle([settled(claimed, follow_ups=[an_event("moon.rise")])])
    assert store.events({"event_type": "moon.rise"}, 9, 0).total == 0


def test_follow_ups_fall_with_a_failed_transaction(store: Store) -> None:
    """Outcome and follow-ups are one: neither is there without the other."""
    claimed = taken(store)
    with rolled_back(store):
        store.settle([settled(claimed, follow_ups=[an_event("moon.rise")])])
    assert stored(store, claimed.event_id).state is State.RUNNING
    assert store.events({}, 9, 0).total == 1


def test_what_a_settlement_frees_is_claimed_in_the_same_transaction(store: Store) -> None:
    """Settling and the next claim may share a transaction, with follow-ups in between."""
    claimed = taken(store)
    with store.transaction():
        store.settle([settled(claimed, follow_ups=[an_event("tide.mark")])])
        (second,) = claim(store)
    assert second.event_id != claimed.event_id


# -- rescue


def test_a_rescued_run_is_recorded_as_interrupted(store: Store) -> None:
    """Every run of the lost host gets an outcome and the reason; the number is told."""
    store.add([an_event(), an_event()])
    claim(store)
    assert lose(store, now=NOW + 7) == 2
    for run in store.runs({}, 9, 0):
        assert (run.outcome, run.error) == (Outcome.INTERRUPTED, "host tide is gone")
        assert (run.finished, run.will_retry) == (from_micros(NOW + 7), True)


def test_an_interruption_burns_no_attempt(store: Store) -> None:
    """The event waits again as it did before its host was lost, and counts the interruption."""
    first = taken(store)
    store.settle([again(first, NOW, attempt=1, covered=NOW)])
    (lost,) = claim(store)
    lose(store)
    event = stored(store, lost.event_id)
    assert (event.state, event.last_outcome) == (State.PENDING, Outcome.INTERRUPTED)
    (second,) = claim(store)
    assert (second.attempt, second.interruptions) == (1, 1)
    assert (second.due, second.occurrence, second.covered) == (NOW, NOW, NOW)


def test_a_rescue_frees_only_the_lost_host(store: Store) -> None:
    """What others run goes on."""
    store.join(a_host("moon-1", name="moon"))
    store.add([an_event(), an_event()])
    mine, other = claim(store, limit=1), claim(store, limit=1, host="moon-1")
    assert lose(store) == 1
    assert stored(store, mine[0].event_id).state is State.PENDING
    assert stored(store, other[0].event_id).state is State.RUNNING
    assert {host.name for host in store.hosts()} == {"moon", "tide"}


def test_a_host_is_rescued_once(store: Store) -> None:
    """A second rescue of the same host, or of a stranger, frees nothing."""
    taken(store)
    assert store.rescue(HOST, "gone", NOW) == 1
    assert store.rescue(HOST, "gone", NOW) == 0
    assert store.rescue("stranger", "gone", NOW) == 0


def test_an_event_that_loses_its_host_again_and_again_is_quarantined(store: Store) -> None:
    """The third interruption in a row sets it aside, with a reason that tells the last one."""
    event_id = add(store)
    for _ in range(MAX_INTERRUPTIONS):
        assert len(claim(store, now=LATER)) == 1
        lose(store)
    event = stored(store, event_id)
    assert event.state is State.QUARANTINED
    assert event.reason == "interrupted 3 times in a row: host tide is gone"
    assert claim(store) == []


def test_an_event_waits_for_its_last_chance(store: Store) -> None:
    """After the second interruption events wait, and not all for the same time."""
    ids = [add(store) for _ in range(40)]
    assert len(claim(store)) == 40
    lose(store)
    assert len(claim(store)) == 40
    lose(store)
    assert claim(store) == []
    due = [stored(store, event_id).due for event_id in ids]
    assert due == [from_micros(last_chance(event_id, NOW)) for event_id in ids]
    assert len(set(due)) > 10
    assert len(claim(store, now=LATER)) == 40


def test_a_settlement_ends_the_row_of_interruptions(store: Store) -> None:
    """Only interruptions without an outcome between them count together."""
    event_id = add(store)
    for _ in range(MAX_INTERRUPTIONS):
        for _ in range(MAX_INTERRUPTIONS - 1):
            claim(store, now=LATER)
            lose(store)
        (claimed,) = claim(store, now=LATER)
        assert claimed.interruptions == MAX_INTERRUPTIONS - 1
        store.settle([again(claimed, NOW)])
    assert stored(store, event_id).state is State.PENDING


def test_an_event_cancelled_while_its_host_was_lost_is_cancelled(store: Store) -> None:
    """The rescue ends it, for the reason of the cancellation, and its run as interrupted."""
    claimed = taken(store)
    store.cancel(claimed.event_id, "not wanted", NOW)
    lose(store)
    event, run = stored(store, claimed.event_id), store.last_run(claimed.event_id)
    assert (event.state, event.due, event.reason) == (State.CANCELLED, None, "not wanted")
    assert run is not None
    assert run.outcome is Outcome.INTERRUPTED
    assert claim(store) == []


def test_last_run_is_that_of_the_highest_claim(store: Store) -> None:
    """However many runs there were, the newest is told."""
    claimed = taken(store)
    store.settle([again(claimed, NOW)])
    claim(store)
    run = store.last_run(claimed.event_id)
    assert run is not None
    assert (run.claim, run.outcome) == (2, None)


@pytest.mark.parametrize("follow_up", [an_event(), an_event(key="k"), an_event("moon.rise")])
def test_ids_are_never_reused(store: Store, follow_up: NewEvent) -> None:
    """Whatever became of the events before, a new one gets a new id."""
    ids = [add(store) for _ in range(3)]
    store.cancel(ids[-1], "why", NOW)
    claimed = claim(store)
    store.settle([settled(one, follow_ups=[follow_up]) for one in claimed])
    listed = [event.id for event in store.events({}, 99, 0)]
    assert listed == sorted(set(listed))
    assert listed[:3] == ids
    assert add(store) > max(listed)
