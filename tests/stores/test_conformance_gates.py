"""What every store does with gates: exclusive resources, limits, and who goes next; a part of
the suite.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from horae.stores.base import Store
from horae.stores.records import Change, Claim, Provider
from horae_hookspecs import Concurrency, State
from stores.samples import HOST, NOW, SECOND, a_host, add, again, rolled_back, settled

EXCLUSIVE = {"exclusive": True}
OTHER = "tide-2"


@pytest.fixture(autouse=True)
def _on_record(store: Store) -> None:
    store.join(a_host())
    store.join(a_host(OTHER))


def gated(store: Store, **policy: Any) -> Mapping[int, Provider]:
    """Providers of all lanes with this policy."""
    return {
        lane.id: Provider("tides", "1.0", 1, event_type=lane.event_type, **policy)
        for lane in store.lanes()
    }


def take(
    store: Store,
    *,
    limit: int = 1000,
    host: str = HOST,
    now: int = NOW,
    types: Sequence[str] | None = None,
    **policy: Any,
) -> list[Claim]:
    """What a host gets of the types, all of which have this policy."""
    lanes = {
        lane.id: gated(store, **policy)[lane.id]
        for lane in store.lanes()
        if types is None or lane.event_type in types
    }
    claimed = store.claim(host, lanes, now, limit)
    assert claimed is not None
    return list(claimed.claims)


def next_due(store: Store, host: str = HOST, **policy: Any) -> int | None:
    """When the next claim of all types is worth while, with no room for one now."""
    claimed = store.claim(host, gated(store, **policy), NOW, 0)
    assert claimed is not None
    return claimed.next_due


def ids(claims: Sequence[Claim]) -> list[int]:
    """Whose claims these are."""
    return [one.event_id for one in claims]


def blocked(store: Store) -> dict[int, str]:
    """What is set aside, and at which gate."""
    return {e.id: e.blocked for e in store.events({}, 1000, 0) if e.blocked is not None}


# -- exclusive resources


def test_one_resource_has_one_run(store: Store) -> None:
    """Of two types, three priorities and two hosts, one event of a resource runs at a time."""
    late = add(store, "tide.mark", resource="pier", priority=2)
    first = add(store, "moon.rise", resource="pier", priority=0)
    middle = add(store, "tide.mark", resource="pier", priority=1)
    free = add(store, "tide.mark", resource="quay", priority=3)
    claims = take(store, **EXCLUSIVE)
    assert ids(claims) == [first, free]
    assert blocked(store) == {late: "resource:pier", middle: "resource:pier"}
    assert take(store, host=OTHER, **EXCLUSIVE) == []
    store.settle([settled(one) for one in claims])
    (second,) = take(store, host=OTHER, **EXCLUSIVE)
    assert second.event_id == middle
    assert take(store, **EXCLUSIVE) == []
    store.settle([settled(second)])
    assert ids(take(store, **EXCLUSIVE)) == [late]
    assert blocked(store) == {}


def test_without_a_resource_there_is_no_gate(store: Store) -> None:
    """Exclusive events about nothing in particular do not wait for each other."""
    events = [add(store), add(store)]
    assert ids(take(store, **EXCLUSIVE)) == events


def test_types_that_are_not_exclusive_pass_by(store: Store) -> None:
    """They neither wait for a resource nor occupy it."""
    add(store, resource="pier")
    add(store, resource="pier")
    assert len(take(store, **EXCLUSIVE)) == 1
    passing = [add(store, "moon.rise", resource="pier"), add(store, "moon.rise", resource="pier")]
    assert ids(take(store, types=["moon.rise"])) == passing


def test_a_blocked_event_does_not_keep_anybody_awake(store: Store) -> None:
    """Next due is what can be claimed, not what waits at a gate."""
    add(store, resource="pier")
    add(store, resource="pier")
    add(store, resource="pier", due=NOW + SECOND)
    take(store, **EXCLUSIVE)
    assert next_due(store, **EXCLUSIVE) == NOW + SECOND


def test_a_try_that_fails_leaves_the_gate(store: Store) -> None:
    """Between two tries others have the resource, and the second try waits for them."""
    tried = add(store, resource="pier")
    other = add(store, resource="pier")
    (one,) = take(store, **EXCLUSIVE)
    store.settle([again(one, NOW + SECOND)])
    (two,) = take(store, **EXCLUSIVE)
    assert (one.event_id, two.event_id) == (tried, other)
    assert take(store, now=NOW + SECOND, **EXCLUSIVE) == []
    assert blocked(store) == {tried: "resource:pier"}
    store.settle([settled(two)])
    assert ids(take(store, now=NOW + SECOND, **EXCLUSIVE)) == [tried]


def test_a_lost_host_leaves_every_gate(store: Store) -> None:
    """What it ran is due again, what waited is too, and one of them goes in."""
    lost = add(store, resource="pier")
    waiting = add(store, resource="pier")
    take(store, host=OTHER, **EXCLUSIVE)
    take(store, **EXCLUSIVE)
    assert blocked(store) == {waiting: "resource:pier"}
    store.rescue(OTHER, "gone", NOW)
    assert ids(take(store, **EXCLUSIVE)) == [lost]
    assert blocked(store) == {waiting: "resource:pier"}


def test_a_run_that_was_given_up_keeps_its_gate_until_it_is_released(store: Store) -> None:
    """Its own next try waits like everybody else; a release comes once and counts once."""
    stuck = add(store, resource="pier")
    (one,) = take(store, **EXCLUSIVE)
    store.settle([again(one, NOW, keeps_hold=True)])
    other = add(store, resource="pier")
    assert take(store, **EXCLUSIVE) == []
    assert blocked(store) == {stuck: "resource:pier", other: "resource:pier"}
    for _ in range(2):
        store.release(one.event_id, one.claim)
    (two,) = take(store, **EXCLUSIVE)
    assert two.event_id == stuck
    store.release(one.event_id, one.claim)
    assert take(store, **EXCLUSIVE) == []
    store.settle([settled(two)])
    assert ids(take(store, **EXCLUSIVE)) == [other]


def test_a_kept_gate_is_left_with_its_host(store: Store) -> None:
    """Nobody is left to release it."""
    add(store, resource="pier")
    (one,) = take(store, host=OTHER, **EXCLUSIVE)
    store.settle([settled(one, keeps_hold=True)])
    other = add(store, resource="pier")
    assert take(store, **EXCLUSIVE) == []
    store.rescue(OTHER, "gone", NOW)
    assert ids(take(store, **EXCLUSIVE)) == [other]


def test_a_late_settlement_leaves_no_gate(store: Store) -> None:
    """What is fenced changes nothing for those who are inside now."""
    add(store, resource="pier")
    add(store, resource="pier")
    (lost,) = take(store, host=OTHER, **EXCLUSIVE)
    store.rescue(OTHER, "gone", NOW)
    take(store, **EXCLUSIVE)
    assert store.settle([settled(lost)]) == {(lost.event_id, lost.claim)}
    assert take(store, **EXCLUSIVE) == []


def test_a_claim_that_is_rolled_back_was_never_inside(store: Store) -> None:
    """Neither holds nor blocks are left of it."""
    event_id = add(store, resource="pier")
    add(store, resource="pier")
    with rolled_back(store):
        take(store, **EXCLUSIVE)
    assert blocked(store) == {}
    assert ids(take(store, **EXCLUSIVE)) == [event_id]


# -- whoever was let go and does not come


@pytest.mark.parametrize("verb", ["cancel", "pause"])
@pytest.mark.parametrize("when", ["blocked", "let go"])
def test_an_event_taken_out_of_the_queue_strands_nobody(store: Store, verb: str, when: str) -> None:
    """Those behind it go in its place, whether it waited or was about to go in."""
    add(store, resource="pier")
    taken_out, behind = add(store, resource="pier"), add(store, resource="pier")
    (one,) = take(store, **EXCLUSIVE)
    take(store, **EXCLUSIVE)
    if when == "let go":
        store.settle([settled(one)])
    if verb == "cancel":
        assert store.cancel(taken_out, "why", NOW)
    else:
        assert store.pause(taken_out, True)
    if when == "blocked":
        store.settle([settled(one)])
    assert taken_out not in blocked(store)
    (two,) = take(store, **EXCLUSIVE)
    assert two.event_id == behind
    store.settle([settled(two)])
    store.pause(taken_out, False)
    assert ids(take(store, **EXCLUSIVE)) == ([taken_out] if verb == "pause" else [])


@pytest.mark.parametrize("verb", ["cancel", "pause", "replace", "reschedule", "update"])
def test_nobody_gives_way_who_is_inside(store: Store, verb: str) -> None:
    """Who was let go and went in lets the next one go when it leaves, whatever it is told before
    that: nobody tries the gate in vain.
    """
    add(store, resource="pier")
    inside, behind = add(store, resource="pier", key="k"), add(store, resource="pier")
    (one,) = take(store, **EXCLUSIVE)
    store.settle([settled(one)])
    (two,) = take(store, **EXCLUSIVE)
    assert two.event_id == inside
    if verb == "cancel":
        store.cancel(inside, "why", NOW)
    elif verb == "pause":
        store.pause(inside, True)
    elif verb == "replace":
        add(store, key="k", on_conflict="replace", due=NOW + SECOND)
    elif verb == "reschedule":
        later = NOW + SECOND
        store.change(inside, Change(schedule='{"kind":"once"}', due=later, occurrence=later))
    else:
        store.change(inside, Change(arguments="{}", event_type="moon.rise", schema_version=1))
    assert blocked(store) == {behind: "resource:pier"}
    store.settle([settled(two)])
    assert ids(take(store, **EXCLUSIVE)) == [behind]


@pytest.mark.parametrize("changed", ["let go", "blocked"])
def test_an_event_of_another_lane_now_strands_nobody(store: Store, changed: str) -> None:
    """Of two types, one of which nobody can run, each has somebody in front of its gate though
    one event goes over from the one to the other.
    """
    add(store, "moon.rise", due=NOW + SECOND)
    events = [add(store, resource="pier") for _ in range(3)]
    (one,) = take(store, **EXCLUSIVE)
    store.settle([settled(one)])
    goes_over, stays = events[1:] if changed == "let go" else (events[2], events[1])
    store.change(goes_over, Change(arguments="{}", event_type="moon.rise", schema_version=1))
    types, runs = (["tide.mark"], stays) if changed == "let go" else (["moon.rise"], goes_over)
    assert ids(take(store, types=types, **EXCLUSIVE)) == [runs]


@pytest.mark.parametrize(
    ("absent", "present"), [("tide.mark", "moon.rise"), ("moon.rise", "tide.mark")]
)
def test_a_type_that_nobody_can_run_stands_in_nobodys_way(
    store: Store, absent: str, present: str
) -> None:
    """One event of each type is let go, since any host may lack any of them."""
    add(store, "tide.mark", resource="pier")
    away = [add(store, absent, resource="pier") for _ in range(2)]
    here = add(store, present, resource="pier")
    (one,) = take(store, **EXCLUSIVE)
    store.settle([settled(one)])
    (two,) = take(store, types=[present], **EXCLUSIVE)
    assert two.event_id == here
    store.settle([settled(two)])
    (three,) = take(store, **EXCLUSIVE)
    store.settle([settled(three)])
    assert ids([three, *take(store, **EXCLUSIVE)]) == away


def test_a_type_that_gives_up_its_gates_strands_nobody(store: Store) -> None:
    """What waits at a gate that its type has no more goes on all the same."""
    events = [add(store, resource="pier") for _ in range(4)]
    claims = take(store, **EXCLUSIVE)
    done = []
    while claims:
        done += ids(claims)
        store.settle([settled(one) for one in claims])
        claims = take(store)
    assert done == events


def test_a_gate_that_becomes_wider_is_used_in_full(store: Store) -> None:
    """Those who wait go in, as many as there is room for now."""
    for _ in range(5):
        add(store, resource="pier")
    narrow = Concurrency(per="resource", each=1)
    wide = Concurrency(per="resource", each=3)
    (one,) = take(store, concurrency=narrow)
    store.settle([settled(one)])
    inside = take(store, concurrency=wide)
    while more := take(store, concurrency=wide):
        inside += more
    assert len(inside) == 3


# -- limits


def test_a_type_has_as_many_runs_as_its_limit_on_all_hosts(store: Store) -> None:
    """A lane without room is left alone, wakes nobody, and is claimed as soon as there is some."""
    events = [add(store, kind=kind) for kind in ("once", "cron") for _ in range(3)]
    policy = {"concurrency": Concurrency(3)}
    claims = take(store, limit=2, **policy)
    (third,) = take(store, host=OTHER, **policy)
    assert ids([*claims, third]) == events[:3]
    assert take(store, **policy) == []
    assert next_due(store, **policy) is None
    assert blocked(store) == {}
    store.settle([settled(third)])
    assert next_due(store, **policy) == NOW
    assert ids(take(store, **policy)) == events[3:4]


def test_other_types_are_not_counted(store: Store) -> None:
    """Each type has its own limit, and one at its limit holds up nobody else."""
    add(store)
    add(store)
    other = add(store, "moon.rise")
    limited = gated(store, concurrency=Concurrency(1))
    claimed = store.claim(HOST, limited, NOW, 1000)
    assert claimed is not None
    assert ids(claimed.claims) == [1, other]


@pytest.mark.parametrize("per", ["resource", "origin"])
def test_so_many_runs_of_each(store: Store, per: str) -> None:
    """Of one resource or origin there are as many runs as ``each`` says; of none, any number."""
    busy = [add(store, **{per: "pier"}) for _ in range(4)]
    quiet = [add(store, **{per: "quay"}), add(store), add(store), add(store)]
    policy = {"concurrency": Concurrency(per=per, each=2)}  # type: ignore[arg-type]
    claims = take(store, **policy)
    assert ids(claims) == [*busy[:2], *quiet]
    assert set(blocked(store).values()) == {f"tide.mark:{per}:pier"}
    store.settle([settled(claims[0])])
    assert ids(take(store, host=OTHER, **policy)) == [busy[2]]
    assert blocked(store) == {busy[3]: f"tide.mark:{per}:pier"}


def test_all_gates_count_together(store: Store) -> None:
    """An exclusive type with limits passes every one of its gates, or none."""
    add(store, resource="pier", origin="bot")
    same_origin = add(store, resource="quay", origin="bot")
    free = add(store, resource="dock", origin="man")
    add(store, resource="mole", origin="girl")
    policy = {"exclusive": True, "concurrency": Concurrency(2, per="origin")}
    claims = take(store, **policy)
    assert ids(claims) == [1, free]
    assert blocked(store) == {same_origin: "tide.mark:origin:bot"}
    # The quay is free: it was not occupied by the event that could not get past the other gate.
    quay = add(store, "moon.rise", resource="quay")
    assert ids(take(store, types=["moon.rise"], **EXCLUSIVE)) == [quay]


def test_the_backlog_counts_what_is_blocked(store: Store) -> None:
    """As pending, and apart."""
    for _ in range(3):
        add(store, resource="pier")
    take(store, **EXCLUSIVE)
    (one,) = store.backlog(NOW)
    assert (one.pending, one.overdue, one.blocked) == (2, 2, 2)
    assert [e.state for e in store.events({"state": "pending"}, 10, 0)] == [State.PENDING] * 2


# -- priorities


def test_a_flood_of_high_priority_starves_nobody(store: Store) -> None:
    """With n events longer overdue, an event is claimed within 10 * (n + 1) picks, though new
    ones of priority 0 come all the time.
    """
    longer = [add(store, due=NOW - 2, priority=0) for _ in range(3)]
    patient = add(store, due=NOW - 1, priority=3)
    picks = 0
    while True:
        for _ in range(3):
            add(store, priority=0)
        claims = take(store, limit=2)
        picks += len(claims)
        store.settle([settled(one) for one in claims])
        if patient in ids(claims):
            break
        assert picks < 10 * (len(longer) + 1)
