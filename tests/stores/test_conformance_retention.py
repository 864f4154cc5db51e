"""What goes of the history in every store, what stays, and how much goes at once."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horae.stores.base import Store
from horae.stores.records import Provider, Pruned, Stale
from horae_hookspecs import Outcome, State
from stores.samples import HOST, NOW, SECOND, a_host, add, claim, settled

LATER = NOW + 100 * SECOND


@pytest.fixture(autouse=True)
def _on_record(store: Store) -> None:
    store.join(a_host())


def over(store: Store, event_type: str = "tide.mark", *, ended: int = NOW, **details: Any) -> int:
    """An event that has run once and is over; its id."""
    event_id = add(store, event_type, **details)
    (one,) = claim(store, types=[event_type])
    store.settle([settled(one, finished=ended)])
    return event_id


def recurring(store: Store, runs: int, event_type: str = "tide.mark") -> int:
    """An event that has run so often, a second apart, and waits for what comes next; its id."""
    event_id = add(store, event_type)
    for n in range(runs):
        (one,) = claim(store, now=LATER, types=[event_type])
        due = LATER + (n == runs - 1)
        times = {"finished": NOW + n * SECOND, "due": due, "occurrence": due}
        store.settle([settled(one, State.PENDING, **times)])
    return event_id


def prune(store: Store, limit: int = 100, **stale: Any) -> tuple[int, int]:
    """Prune until all was looked at; how many events and runs went."""
    events, runs, after = 0, 0, 0
    wanted = Stale(stale.pop("event_type", "tide.mark"), **stale)
    while after is not None:
        expected = store.prunable(wanted, after, limit)
        batch = store.prune(wanted, after, limit)
        assert batch == expected
        assert batch.events + batch.runs <= limit
        events, runs, after = events + batch.events, runs + batch.runs, batch.next
    return events, runs


def left(store: Store) -> list[int]:
    """The ids of the events that are left; what is left of runs is theirs."""
    ids = [event.id for event in store.events({}, 1000)]
    assert {run.event_id for run in store.runs({}, 1000)} <= set(ids)
    return ids


def claims_left(store: Store, event_id: int) -> list[int]:
    """The claim numbers of the event's runs."""
    return [run.claim for run in store.runs({"event_id": event_id}, 1000)]


def test_what_ended_long_ago_goes_with_its_runs(store: Store) -> None:
    """The bound itself is not before it."""
    over(store, ended=NOW - 1)
    young = over(store, ended=NOW)
    assert prune(store, before=NOW) == (1, 1)
    assert left(store) == [young]
    assert claims_left(store, young) == [1]


@pytest.mark.parametrize("state", [State.FINISHED, State.FAILED, State.EXPIRED])
def test_every_event_that_is_over_goes(store: Store, state: State) -> None:
    """However it ended; and a cancelled one goes that never ran."""
    add(store)
    (one,) = claim(store)
    store.settle([settled(one, state, finished=NOW)])
    store.cancel(add(store), "ebb", NOW)
    newest = over(store, "moon.rise")
    assert prune(store, before=NOW + 1) == (2, 1)
    assert left(store) == [newest]


def test_the_newest_event_stays_and_that_of_the_newest_run(store: Store) -> None:
    """With the run: then SQLite gives neither id again."""
    gone, ran, newest = over(store), add(store), add(store)
    (one, _) = claim(store, limit=1), store.cancel(newest, "ebb", NOW)
    store.settle([settled(one[0], finished=NOW)])
    assert prune(store, before=LATER, upto=newest) == (1, 1)
    assert left(store) == [ran, newest]
    assert store.get(gone) is None
    later = over(store)
    assert later == newest + 1
    assert [run.id for run in store.runs({}, 10)] == [2, 3]
    assert prune(store, before=LATER) == (2, 1)
    assert left(store) == [later]


def test_what_is_not_over_stays(store: Store) -> None:
    """Pending, paused, running and quarantined events, however old they are."""
    add(store)
    (one,) = claim(store)
    store.settle([settled(one, State.QUARANTINED, due=NOW)])
    running, pending, paused = add(store), add(store, due=LATER), add(store, due=LATER)
    claim(store)
    store.pause(paused, True)
    assert prune(store, before=LATER, upto=99, runs=0) == (0, 0)
    assert left(store) == [one.event_id, running, pending, paused]
    assert len(store.runs({}, 10)) == 2


def test_only_the_named_type_is_pruned(store: Store) -> None:
    """In all its versions and with all its kinds of schedule; a type without events has none."""
    over(store)
    over(store, schema_version=2)
    over(store, kind="cron")
    other = over(store, "moon.rise")
    assert prune(store, before=LATER) == (3, 3)
    assert left(store) == [other]
    assert prune(store, event_type="no.type", before=LATER) == (0, 0)
    assert store.surplus("no.type", 0) is None


def test_the_newest_of_a_type_are_kept(store: Store) -> None:
    """Those that are not over count for nothing, nor do other types'."""
    first, second = over(store), over(store, schema_version=2)
    waits = add(store, due=LATER)
    third, fourth = over(store), over(store)
    for _ in range(3):
        over(store, "moon.rise")
    assert store.surplus("tide.mark", 4) is None
    assert store.surplus("tide.mark", 3) == first
    assert store.surplus("tide.mark", 2) == second
    assert store.surplus("tide.mark", 0) == fourth
    assert prune(store, upto=store.surplus("tide.mark", 2)) == (2, 2)
    assert left(store)[:3] == [waits, third, fourth]


def test_of_a_living_event_the_old_runs_go(store: Store) -> None:
    """And never the last one."""
    event_id = recurring(store, 5)
    assert prune(store, before=NOW) == (0, 0)
    assert prune(store, before=NOW + 2 * SECOND) == (0, 2)
    assert claims_left(store, event_id) == [3, 4, 5]
    assert prune(store, before=LATER) == (0, 2)
    assert claims_left(store, event_id) == [5]
    last = store.last_run(event_id)
    assert last is not None
    assert last.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(("keep", "claims"), [(0, [5]), (1, [5]), (3, [3, 4, 5]), (9, None)])
def test_of_a_living_event_the_newest_runs_are_kept(
    store: Store, keep: int, claims: list[int] | None
) -> None:
    """As many as are asked for, and one at least."""
    event_id = recurring(store, 5)
    prune(store, runs=keep)
    assert claims_left(store, event_id) == (claims or [1, 2, 3, 4, 5])


def test_of_two_runs_of_a_living_event_the_first_goes(store: Store) -> None:
    """Two are enough for one to be old."""
    event_id = recurring(store, 2)
    assert prune(store, before=LATER) == (0, 1)
    assert claims_left(store, event_id) == [2]


def test_an_event_that_ended_of_late_has_all_of_its_runs(store: Store) -> None:
    """They go with it, and none before it, however old they are."""
    event_id = recurring(store, 3)
    store.cancel(event_id, "ebb", LATER)
    over(store, "moon.rise")
    assert prune(store, before=LATER, runs=1) == (0, 0)
    assert claims_left(store, event_id) == [1, 2, 3]
    assert prune(store, before=LATER + 1) == (1, 3)


def test_a_run_under_way_stays(store: Store) -> None:
    """While its event's old runs go."""
    event_id = recurring(store, 3)
    claim(store, now=LATER + 1)
    assert prune(store, before=LATER) == (0, 3)
    assert claims_left(store, event_id) == [4]
    assert prune(store, before=LATER, runs=0) == (0, 0)


def test_an_event_whose_code_still_runs_stays(store: Store) -> None:
    """It occupies its gate, for others to wait at, until that code has ended."""
    event_id = add(store, resource="pier")
    lanes = {lane.id: Provider("tides", "1.0", 1, exclusive=True) for lane in store.lanes()}
    claimed = store.claim(HOST, lanes, NOW, 1)
    assert claimed is not None
    store.settle([settled(claimed.claims[0], State.FAILED, finished=NOW, keeps_hold=True)])
    over(store, "moon.rise")
    assert prune(store, before=LATER, upto=event_id) == (0, 0)
    store.release(event_id, 1)
    assert prune(store, before=LATER) == (1, 1)


def test_a_batch_is_bounded(store: Store) -> None:
    """By rows that go, also in the middle of an event, and by events that are looked at."""
    long = recurring(store, 6)
    store.cancel(long, "ebb", NOW)
    others = [over(store) for _ in range(3)]
    waiting = [add(store, due=LATER) for _ in range(5)]
    newest = over(store, "moon.rise")
    stale = Stale("tide.mark", before=LATER)
    assert store.prune(stale, 0, 4) == Pruned(0, 4, long - 1)
    assert claims_left(store, long) == [5, 6]
    assert store.prune(stale, 0, 4) == Pruned(1, 3, long)
    assert store.prune(stale, long, 4) == Pruned(2, 2, others[1])
    assert store.prune(stale, others[1], 4) == Pruned(1, 0, waiting[2])
    assert store.prune(stale, waiting[2], 4) == Pruned(0, 0, None)
    assert left(store) == [*waiting, newest]


def test_a_late_answer_for_what_is_gone_is_fenced(store: Store) -> None:
    """It changes nothing."""
    add(store)
    (one,) = claim(store)
    store.settle([settled(one, finished=NOW)])
    over(store, "moon.rise")
    prune(store, before=LATER)
    assert store.settle([settled(one)]) == {(one.event_id, one.claim)}
    assert store.get(one.event_id) is None


@given(
    ends=st.lists(st.integers(0, 5), max_size=8),
    before=st.none() | st.integers(-1, 7),
    keep=st.none() | st.integers(0, 9),
    limit=st.integers(1, 9),
)
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_batches_of_any_size_come_to_the_same(
    store: Store,
    ends: list[int],
    before: int | None,
    keep: int | None,
    limit: int,
) -> None:
    """The history that is left is what the rule says, and a second time nothing goes."""
    prune(store, upto=10**9)
    ids = [over(store, ended=NOW + end * SECOND, created=NOW + end) for end in ends]
    over(store, "moon.rise")
    bound = None if before is None else NOW + before * SECOND
    stale = {"before": bound, "upto": None if keep is None else store.surplus("tide.mark", keep)}
    prune(store, limit, **stale)
    kept = ids if keep is None else ids[len(ids) - min(keep, len(ids)) :]
    expected = [
        one
        for one, end in zip(ids, ends, strict=True)
        if one in kept and (before is None or end >= before)
    ]
    assert [event.id for event in store.events({"event_type": "tide.mark"}, 99)] == expected
    assert prune(store, limit, **stale) == (0, 0)


def test_what_is_left_is_listed_as_before(store: Store) -> None:
    """By time as well, though whole blocks of ids are gone."""
    for n in range(3):
        over(store, created=NOW + n, ended=NOW + n)
    prune(store, before=NOW + 2)
    assert [event.id for event in store.events({"since": NOW}, 10)] == left(store) == [3]
