"""What a host lists and counts: every filter, both directions, times, and the overview."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from horae import Host, SettableClock, Settings
from horae_builtin_plugins.schedule import Interval
from horae_hookspecs import (
    CancelEvent,
    Cause,
    NaiveDatetimeError,
    Outcome,
    Page,
    RetryLater,
    RunContext,
    State,
)
from kit.events import LONG

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
LISTINGS = pytest.mark.parametrize("listing", ["events", "runs"])
WANTED: list[dict[str, Any]] = [
    {"event_type": "tide.mark", "origin": "bot", "user": "ann", "key": "k"},
    {"event_type": "tide.mark", "arguments": {"does": "badly"}, "resource": "pier"},
    {"event_type": "tide.mark", "arguments": {"does": "over"}, "user": "bob", "origin": "bot"},
    {"event_type": "tide.mark", "arguments": {"does": "later"}, "resource": "pier"},
    {"event_type": "moon.rise", "resource": "quay", "user": "ann", "priority": 0},
    {"event_type": "moon.rise", "schedule": HOUR, "origin": "bot"},
]


def mark(context: RunContext, does: str = "well") -> None:
    """End as the event says."""
    if does == "badly":
        raise ValueError("no water")
    if does == "over":
        raise CancelEvent("the pier is gone")
    if does == "later":
        raise RetryLater(3600)


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def history(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """Six events, a minute apart; the runs of the first five, in this order, have ended. For
    all tests that only look.
    """
    folder = tmp_path_factory.mktemp("history")
    url = "memory://" if request.param == "memory" else f"sqlite:///{folder}/events.db"
    clock = SettableClock(BEGUN)
    with closing(Host(Settings(url=url), clock=clock)) as host:
        host.register("tide.mark")(mark)
        host.register("moon.rise")(lambda context: None)
        for one in WANTED:
            host.schedule(**one)
            host.run_until_idle(LONG)
            clock.advance(MINUTE)
        yield host


def events_of(page: Page[Any]) -> list[int]:
    """The events that a page is about."""
    return [getattr(row, "event_id", row.id) for row in page]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"event_type": "tide.mark"}, [1, 2, 3, 4]),
        ({"event_type": ["tide.mark", "moon.rise"], "user": "ann"}, [1, 5]),
        ({"origin": "bot"}, [1, 3]),
        ({"origin": None}, [2, 4, 5]),
        ({"resource": "pier"}, [2, 4]),
        ({"resource": ["pier", "quay"]}, [2, 4, 5]),
        ({"user": "bob"}, [3]),
        ({"outcome": Outcome.SUCCEEDED}, [1, 5]),
        ({"outcome": ["failed", "snoozed"]}, [2, 4]),
        ({"outcome": "cancelled", "origin": "bot"}, [3]),
        ({"cause": Cause.ERROR}, [2]),
        ({"cause": "error", "resource": "quay"}, []),
        ({"event_id": 4, "claim": 1}, [4]),
    ],
)
def test_runs_by_what_they_were(history: Host, filters: dict[str, Any], ids: list[int]) -> None:
    """A run is found by what its event is for and by how it ended."""
    page = history.runs(**filters)
    assert events_of(page) == ids
    assert page.total == len(ids)
    assert events_of(history.runs(newest_first=True, **filters)) == ids[::-1]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"event_type": "moon.rise"}, [5, 6]),
        ({"origin": "bot"}, [1, 3, 6]),
        ({"origin": "bot", "state": State.PENDING}, [6]),
        ({"resource": ["pier", None], "state": "pending"}, [4, 6]),
        ({"user": "ann"}, [1, 5]),
        ({"key": "k"}, [1]),
        ({"priority": 0}, [5]),
        ({"state": ["failed", "cancelled"]}, [2, 3]),
        ({"last_outcome": Outcome.SNOOZED}, [4]),
        ({"last_outcome": "succeeded"}, [1, 5]),
        ({"paused": True}, []),
    ],
)
def test_events_by_what_they_are(history: Host, filters: dict[str, Any], ids: list[int]) -> None:
    """An event is found by what it is for and by where it stands."""
    page = history.events(**filters)
    assert events_of(page) == ids
    assert page.total == len(ids)
    assert events_of(history.events(newest_first=True, **filters)) == ids[::-1]


@LISTINGS
def test_time_bounds_leave_out_their_end(history: Host, listing: str) -> None:
    """Events by when they were created, runs by when they started."""
    listed = getattr(history, listing)
    third = BEGUN + 2 * MINUTE
    assert events_of(listed(since=third, until=third + 2 * MINUTE)) == [3, 4]
    assert events_of(listed(until=third)) == [1, 2]
    assert events_of(listed(since=third, until=None, user="ann")) == [5]
    assert events_of(listed(since=third, until=third)) == []


def test_due_bounds_leave_out_their_end(history: Host) -> None:
    """What is over is due no more."""
    due = BEGUN + 3 * MINUTE + HOUR  # of the one that snoozed
    assert events_of(history.events(due_since=due)) == [4, 6]
    assert events_of(history.events(due_until=due + 2 * MINUTE)) == [4]
    assert events_of(history.events(due_since=due, due_until=due)) == []


@pytest.mark.parametrize(
    ("listing", "name"),
    [
        ("events", "since"),
        ("events", "until"),
        ("events", "due_since"),
        ("events", "due_until"),
        ("runs", "since"),
        ("runs", "until"),
        ("causes", "since"),
    ],
)
def test_a_time_without_a_zone_is_refused(host: Host, listing: str, name: str) -> None:
    """It would be another instant on every machine; the message has the filter's name."""
    with pytest.raises(NaiveDatetimeError, match=name):
        getattr(host, listing)(**{name: datetime(2026, 1, 1)})


@pytest.mark.parametrize("listing", ["events", "runs", "causes"])
def test_an_unknown_filter_is_refused(host: Host, listing: str) -> None:
    """The message has the names that there are."""
    with pytest.raises(TypeError, match=r"no filter 'colour'; there are id, "):
        getattr(host, listing)(colour="red")


def walked(host: Host, listing: str, limit: int, **filters: Any) -> list[list[int]]:
    """The ids of every page, from one cursor to the next."""
    pages: list[list[int]] = []
    after: int | None = 0
    while after is not None:
        page = getattr(host, listing)(limit=limit, after=after, **filters)
        pages.append([row.id for row in page])
        after = page.next
    return pages


@LISTINGS
def test_pages_go_on_in_both_directions(history: Host, listing: str) -> None:
    """``next`` is the ``after`` of the page that follows, also where ids fall."""
    last = getattr(history, listing)().total
    forwards = walked(history, listing, 2)
    backwards = walked(history, listing, 2, newest_first=True)
    ids = list(range(1, last + 1))
    assert forwards == [ids[n : n + 2] for n in range(0, last, 2)]
    ids.reverse()
    assert backwards == [ids[n : n + 2] for n in range(0, last, 2)]
    assert walked(history, listing, 1, newest_first=True, origin="bot")[0] == [
        6 if listing == "events" else 3
    ]


@LISTINGS
def test_a_total_is_of_all_pages(history: Host, listing: str) -> None:
    """Whichever page is asked, in whichever direction."""
    listed = getattr(history, listing)
    pages = [
        listed(origin=None, limit=1, after=after, newest_first=newest)
        for after, newest in [(0, False), (2, False), (4, True), (0, True)]
    ]
    assert [len(page) for page in pages] == [1] * 4
    assert [page.total for page in pages] == [3] * 4


@LISTINGS
def test_a_total_is_counted_when_it_is_asked_for(
    host_on: Callable[..., Host], listing: str
) -> None:
    """Then it has what came after the page was read, and after that stays as it is."""
    host = host_on()
    host.register("moon.rise")(lambda context: None)

    def run_another() -> None:
        host.schedule("moon.rise")
        host.run_until_idle(LONG)

    for _ in range(2):
        run_another()
    page = getattr(host, listing)(limit=1)
    run_another()
    assert page.total == 3
    run_another()
    assert page.total == 3


def test_the_overview_counts_events_and_runs(history: Host) -> None:
    """Events by state, runs by outcome, for each type that has any."""
    counted = history.overview()
    assert list(counted) == ["moon.rise", "tide.mark"]
    assert counted["tide.mark"] == {
        State.FINISHED: 1,
        State.FAILED: 1,
        State.CANCELLED: 1,
        State.PENDING: 1,
    }
    assert counted["tide.mark"].outcomes == dict.fromkeys(
        [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.SNOOZED], 1
    )
    assert counted["moon.rise"] == {State.FINISHED: 1, State.PENDING: 1}
    assert counted["moon.rise"].outcomes == {Outcome.SUCCEEDED: 1}


def test_the_overview_is_what_sql_counts(
    host_on: Callable[..., Host], clock: SettableClock, tmp_path: Path
) -> None:
    """Other hands that count the same tables come to the same."""
    host = host_on()
    host.register("moon.rise")(lambda context: None)
    host.register("tide.mark")(mark)
    for n in range(3):
        host.schedule("moon.rise", None, n * MINUTE)
        host.schedule("sun.set", None, n * MINUTE, allow_unknown=True)
        host.schedule("tide.mark", {"does": "badly" if n else "well"})
    host.schedule("moon.rise", None, Interval(hours=1, start=BEGUN))  # in another lane
    host.run_until_idle(LONG)
    clock.advance(MINUTE)
    host.run_until_idle(LONG)
    counted = host.overview()
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        of_lane = "JOIN horae_lane ON horae_lane.id = lane"
        states = connection.execute(
            f"SELECT event_type, state, count(*) FROM horae_event {of_lane} GROUP BY 1, 2"
        ).fetchall()
        outcomes = connection.execute(
            f"SELECT event_type, outcome, count(*) FROM horae_run {of_lane} "
            "WHERE outcome IS NOT NULL GROUP BY 1, 2"
        ).fetchall()
    assert len(states) == 5
    assert len(outcomes) == 3
    assert {(name, *one) for name, counts in counted.items() for one in counts.items()} == {*states}
    runs = {name: counts.outcomes for name, counts in counted.items()}
    assert {(name, *one) for name, counts in runs.items() for one in counts.items()} == {*outcomes}
