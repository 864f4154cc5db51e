"""Listings of every store: filters, order, cursors, totals, and what they count."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horae.stores.base import Store
from horae.stores.factory import create_store
from horae.stores.records import Progress
from horae_hookspecs import Cause, Outcome, Page, State
from stores.samples import HOST, NOW, SECOND, a_host, add, again, claim, settled

Listing = Callable[..., Page[Any]]


@pytest.fixture(autouse=True)
def _on_record(store: Store) -> None:
    store.join(a_host())


@pytest.fixture
def history(store: Store) -> Store:
    """Six events of two types, four of which have run: one failed, one timed out, one runs."""
    details: list[dict[str, Any]] = [
        {"key": "k", "origin": "bot", "user": "ann"},
        {"resource": "pier", "origin": "bot"},
        {"resource": "pier", "user": "bob"},
        {"event_type": "moon.rise", "priority": 0},
        {"event_type": "moon.rise", "created": NOW + SECOND, "due": NOW + SECOND},
        {"event_type": "moon.rise", "created": NOW + 2 * SECOND, "due": NOW + 9 * SECOND},
    ]
    for one in details:
        add(store, **one)
    for one in claim(store, limit=3):  # 4, 1, 2
        if one.event_id == 1:
            failed = {"outcome": Outcome.FAILED, "cause": Cause.ERROR, "error": "no water"}
            store.settle([settled(one, State.FAILED, **failed)])
        elif one.event_id == 2:
            store.settle([again(one, NOW + SECOND, outcome=Outcome.TIMEOUT, cause=Cause.TIMEOUT)])
        else:
            store.settle([settled(one)])
    assert [one.event_id for one in claim(store)] == [3]
    store.cancel(6, "ebb", NOW + SECOND)
    store.pause(5, True)
    return store


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"id": 3}, [3]),
        ({"id": [3, 5, 99]}, [3, 5]),
        ({"event_type": "moon.rise"}, [4, 5, 6]),
        ({"event_type": ["moon.rise", "no.type"]}, [4, 5, 6]),
        ({"event_type": "no.type"}, []),
        ({"state": "pending"}, [2, 5]),
        ({"state": [State.RUNNING, State.CANCELLED]}, [3, 6]),
        ({"state": ["finished", "failed"]}, [1, 4]),
        ({"state": []}, []),
        ({"paused": True}, [5]),
        ({"paused": False, "state": "pending"}, [2]),
        ({"key": "k"}, [1]),
        ({"key": None, "event_type": "tide.mark"}, [2, 3]),
        ({"resource": "pier"}, [2, 3]),
        ({"origin": "bot", "state": "pending"}, [2]),
        ({"user": ["ann", "bob"]}, [1, 3]),
        ({"user": ["ann", None]}, [1, 2, 4, 5, 6]),
        ({"priority": 0}, [4]),
        ({"priority": [0, 1]}, [1, 2, 3, 4, 5, 6]),
        ({"last_outcome": "succeeded"}, [4]),
        ({"last_outcome": [Outcome.FAILED, Outcome.TIMEOUT]}, [1, 2]),
        ({"blocked": "resource:pier"}, []),
        ({"since": NOW + SECOND}, [5, 6]),
        ({"until": NOW + SECOND}, [1, 2, 3, 4]),
        ({"since": NOW, "until": NOW}, []),
        ({"due_since": NOW + SECOND}, [2, 5]),
        ({"due_until": NOW + SECOND}, [3]),
        ({"due_until": NOW + 2 * SECOND, "state": "pending", "event_type": "moon.rise"}, [5]),
    ],
)
def test_events_are_filtered(history: Store, filters: dict[str, Any], ids: list[int]) -> None:
    """By each field, a list of values, a missing value, and by bounds whose end is excluded."""
    assert [event.id for event in history.events(filters, 10)] == ids
    backwards = history.events(filters, 10, newest_first=True)
    assert [event.id for event in backwards] == ids[::-1]
    assert backwards.total == len(ids)


@pytest.mark.parametrize(
    ("filters", "event_ids"),
    [
        ({}, [4, 1, 2, 3]),
        ({"id": [1, 3]}, [4, 2]),
        ({"event_id": 2}, [2]),
        ({"event_id": [1, 2, 77]}, [1, 2]),
        ({"event_id": 1, "claim": 1}, [1]),
        ({"event_type": "tide.mark"}, [1, 2, 3]),
        ({"event_type": "tide.mark", "outcome": "failed"}, [1]),
        ({"outcome": ["failed", Outcome.TIMEOUT]}, [1, 2]),
        ({"outcome": "succeeded"}, [4]),
        ({"outcome": None}, [3]),
        ({"outcome": [None, "succeeded"]}, [4, 3]),
        ({"event_type": "tide.mark", "outcome": [None, "failed"]}, [1, 3]),
        ({"cause": "error"}, [1]),
        ({"cause": None}, [4, 3]),
        ({"resource": "pier"}, [2, 3]),
        ({"resource": "pier", "outcome": "timeout"}, [2]),
        ({"origin": "bot"}, [1, 2]),
        ({"origin": None}, [4, 3]),
        ({"user": "bob", "outcome": None}, [3]),
        ({"user": "bob", "outcome": "failed"}, []),
        ({"host": "tide", "plugin": "tides"}, [4, 1, 2, 3]),
        ({"host": "ebb"}, []),
        ({"since": NOW}, [4, 1, 2, 3]),
        ({"until": NOW}, []),
    ],
)
def test_runs_are_filtered(history: Store, filters: dict[str, Any], event_ids: list[int]) -> None:
    """The fields of their events count as theirs, and those under way are found like others."""
    assert [run.event_id for run in history.runs(filters, 10)] == event_ids
    backwards = history.runs(filters, 10, newest_first=True)
    assert [run.event_id for run in backwards] == event_ids[::-1]
    assert backwards.total == len(event_ids)


def test_a_run_says_whose_it_is(history: Store) -> None:
    """Resource, origin and user stand in it, as its event has them."""
    runs = {run.event_id: (run.resource, run.origin, run.user) for run in history.runs({}, 10)}
    assert runs == {
        1: (None, "bot", "ann"),
        2: ("pier", "bot", None),
        3: ("pier", None, "bob"),
        4: (None, None, None),
    }


@pytest.mark.parametrize("listing", ["events", "runs"])
def test_an_unknown_filter_is_refused(store: Store, listing: str) -> None:
    """The message has all names that there are."""
    with pytest.raises(TypeError, match=r"no filter 'colour'; there are id, .*, since, until"):
        getattr(store, listing)({"colour": "red"}, 10)


def test_runs_are_counted_by_outcome(history: Store) -> None:
    """Those under way have none yet."""
    assert history.outcomes() == {
        ("tide.mark", Outcome.FAILED): 1,
        ("tide.mark", Outcome.TIMEOUT): 1,
        ("moon.rise", Outcome.SUCCEEDED): 1,
    }


def pages(listing: Listing, filters: dict[str, Any], limit: int, newest: bool) -> Iterator[Any]:
    """One page after the other."""
    after: int | None = 0
    while after is not None:
        page = listing(filters, limit, after, newest_first=newest)
        assert len(page) <= limit
        yield page
        after = page.next


@given(
    stored=st.lists(st.sampled_from(["tide.mark", "moon.rise"]), max_size=12),
    coming=st.lists(st.sampled_from(["tide.mark", "moon.rise"]), max_size=4),
    filters=st.fixed_dictionaries(
        {},
        optional={
            "event_type": st.sampled_from(["tide.mark", "moon.rise"]),
            "since": st.sampled_from([NOW, NOW + 4]),
            "origin": st.sampled_from(["bot", None]),
        },
    ),
    limit=st.integers(1, 5),
    newest=st.booleans(),
    listing=st.sampled_from(["events", "runs"]),
)
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_all_pages_together_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    store_url: str,
    stored: list[str],
    coming: list[str],
    filters: dict[str, Any],
    limit: int,
    newest: bool,
    listing: str,
) -> None:
    """Each row that was there is on one page, and none on two, while others are added."""
    folder = tmp_path_factory.mktemp("pages")
    store = create_store(store_url.replace("events.db", f"{folder.name}.db"))
    store.open()
    store.join(a_host())

    def fill(types: list[str]) -> None:
        for n, name in enumerate(types):
            add(store, name, created=NOW + n, origin="bot" if n % 3 else None)
        for n, one in enumerate(claim(store)):
            store.settle([settled(one, started=NOW + n)] if n % 4 else [])

    fill(stored)
    whole = list(getattr(store, listing)(filters, 1000, newest_first=newest))
    seen: list[Any] = []
    for page in pages(getattr(store, listing), filters, limit, newest):
        seen += page
        assert page.total == getattr(store, listing)(filters, 1000).total
        fill(coming[:1])
        del coming[:1]
    ids = [row.id for row in seen]
    assert ids == sorted(ids, reverse=newest)
    assert len(set(ids)) == len(ids)
    assert set(ids) >= {row.id for row in whole}
    store.close()


# -- progress


def test_progress_of_a_run_under_way_is_shown(store: Store) -> None:
    """The last word stands, and outlives the end of the run."""
    event_id = add(store)
    (one,) = claim(store)
    store.progress([Progress(event_id, 1, 0.25, "a quarter")])
    store.progress([Progress(event_id, 1, 0.5, "")])
    (run,) = store.runs({}, 10)
    assert (run.progress, run.progress_text) == (0.5, None)
    store.settle([settled(one)])
    (run,) = store.runs({}, 10)
    assert run.progress == 0.5


def test_progress_after_the_end_changes_nothing(store: Store) -> None:
    """Nor does that of a claim that was lost, or never was."""
    event_id = add(store)
    store.settle([settled(one) for one in claim(store)])
    store.progress([Progress(event_id, 1, 0.5, "late"), Progress(77, 1, 0.5, "whose")])
    (run,) = store.runs({}, 10)
    assert run.progress is None
    lost = add(store)
    claim(store)
    store.rescue(HOST, "gone", NOW, Cause.HOST_LOST)
    store.progress([Progress(lost, 1, 0.5, "late")])
    assert all(run.progress is None for run in store.runs({}, 10))
