"""Export and import: what was in one store is in another, of whatever kind, or nothing is."""

import json
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis.stateful import rule

from horae.errors import ImportRefused
from horae.stores.base import Store
from horae.stores.factory import create_store
from horae.stores.records import CatalogueEntry, Change, Progress, Provider
from horae.stores.transfer import EXPORTED_RUNNING
from horae_hookspecs import Cause, Outcome, State
from stores.samples import HOST, NOW, SECOND, a_host, add, again, an_event, claim, settled
from stores.test_equivalence import Histories

LATER = NOW + 60 * SECOND
KINDS = ("memory", "sqlite")


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    """Makes an empty store of a kind."""
    stores: list[Store] = []

    def make(kind: str) -> Store:
        url = f"sqlite:///{tmp_path}/{len(stores)}.db?synchronous=NORMAL"
        store = create_store("memory://" if kind == "memory" else url)
        store.open()
        stores.append(store)
        return store

    yield make
    for store in stores:
        store.close()


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, new_store: Callable[[str], Store]) -> Store:
    """A store to export, with a host on record."""
    store = new_store(request.param)
    store.join(a_host())
    return store


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, new_store: Callable[[str], Store]) -> Store:
    """An empty store to import into."""
    return new_store(request.param)


def seen(store: Store) -> dict[str, Any]:
    """All that can be read of what is exported."""
    return {
        "events": list(store.events({}, 10_000)),
        "runs": list(store.runs({}, 10_000)),
        "pauses": store.pauses(),
        "catalogue": store.catalogue(),
        "planned": [
            one._replace(claim=one.claim._replace(lane=0)) for one in store.earliest(10_000)
        ],
    }


def lines_of(store: Store) -> list[str]:
    """What is exported of it."""
    return list(store.export_lines(LATER))


def fill(store: Store) -> None:
    """Events that have been through something, types, and rules."""
    store.publish([CatalogueEntry("tide.mark", 2, "tides", "tides-dist", "1.0", NOW, schema="{}")])
    store.withdraw(["tide.mark"], LATER)
    store.add_pause("origin", "bot", NOW + 1)
    for number, state in enumerate([State.FINISHED, State.FAILED, State.QUARANTINED]):
        add(store, key="k", priority=number)
        (one,) = claim(store)
        due = NOW if state is State.QUARANTINED else None
        details = {
            "result": '{"a":[1.5,null]}',
            "error": "é\n",
            "cause": Cause.TIMEOUT,
            "covers": 3,
        }
        store.settle([settled(one, state, due=due, reason="why", **details)])
    add(store, resources='["a","b"]', missed='{"policy":"skip"}', absent=5, user="me")
    (one,) = claim(store)
    done = '{"a":{"outcome":"succeeded"}}'
    store.progress([Progress(one.event_id, one.claim, 0.5, "half")])
    store.settle([again(one, LATER, resources=done, resource_outcomes=done, covered=NOW + 7)])
    add(store, origin="bot", resource="pier", description='A "text" with ☃', key="k", recurs=False)
    store.pause(add(store, schema_version=3, kind="cron"), True)
    store.cancel(add(store, "moon.rise"), "no moon", NOW)


def test_everything_comes_along(source: Store, target: Store) -> None:
    """Whatever both kinds of store can tell of events, runs, types and rules is the same."""
    fill(source)
    counts = target.import_lines(lines_of(source))
    assert counts == {"event": 7, "run": 4, "event_type": 1, "pause": 1}
    assert seen(target) == seen(source)
    assert target.catalogue()["tide.mark"].schema == "{}"


def test_lines_are_tagged_records_with_values(source: Store) -> None:
    """The first says the format and the last how many; JSON is no text, and NULL is left out."""
    add(source, arguments='{"level":[3]}')
    first, event, last = map(json.loads, lines_of(source))
    assert first == {"horae": 1, "exported": LATER}
    assert last == {"end": {"event": 1}}
    assert event["event"]["arguments"] == {"level": [3]}
    assert event["event"]["due"] == NOW
    assert event["event"]["event_type"] == "tide.mark"
    assert not {"key", "host", "blocked", "lane"} & event["event"].keys()


def test_what_comes_back_from_sqlite_is_the_same_text(new_store: Callable[[str], Store]) -> None:
    """What was imported is exported as it was, line for line: no column is lost."""
    stores = [new_store("sqlite"), new_store("sqlite")]
    stores[0].join(a_host())
    fill(stores[0])
    stores[1].import_lines(lines_of(stores[0]))
    assert lines_of(stores[1]) == lines_of(stores[0])


def test_what_was_running_is_tried_again(source: Store, target: Store) -> None:
    """Its run is recorded as interrupted, under a higher claim it runs again, and it is not held
    against it: no host was lost.
    """
    event_id = add(source)
    for _ in range(2):
        claim(source, now=LATER)
        source.rescue(HOST, "gone", NOW)
        source.join(a_host())
    (lost,) = claim(source, now=LATER)
    target.import_lines(lines_of(source))
    run = target.last_run(event_id)
    assert run is not None
    assert (run.outcome, run.cause, run.error) == (
        Outcome.INTERRUPTED,
        Cause.HOST_LOST,
        EXPORTED_RUNNING,
    )
    assert run.will_retry
    target.join(a_host())
    (one,) = claim(target, now=LATER + 9 * SECOND)
    assert (one.event_id, one.claim, one.interruptions) == (event_id, lost.claim + 1, 2)
    assert target.settle([settled(lost)]) == {(event_id, lost.claim)}


def test_what_was_asked_of_a_run_still_holds(source: Store, target: Store) -> None:
    """One that was to end ends, and one that was rescheduled waits for that."""
    ends, moves = add(source), add(source)
    claim(source)
    source.cancel(ends, "enough", NOW)
    source.change(moves, Change(schedule="{}", kind="x", occurrence=LATER, due=LATER, recurs=True))
    target.import_lines(lines_of(source))
    assert [(event.state, event.reason) for event in target.events({}, 9)] == [
        (State.CANCELLED, "enough"),
        (State.PENDING, None),
    ]
    assert [one.claim.due for one in target.earliest(9)] == [LATER]
    assert [run.will_retry for run in target.runs({}, 9)] == [False, False]


def test_nobody_waits_at_a_gate_of_the_old_store(source: Store, target: Store) -> None:
    """Who was inside is not exported, and so is nobody blocked by them."""
    for _ in range(2):
        add(source, resource="pier")
    lanes = {lane.id: Provider("tides", "1.0", 1, exclusive=True) for lane in source.lanes()}
    source.claim(HOST, lanes, NOW, 9)
    assert [event.blocked is None for event in source.events({}, 9)] == [True, False]
    target.import_lines(lines_of(source))
    assert [event.blocked for event in target.events({}, 9)] == [None, None]
    target.cancel(1, "enough", NOW)
    target.join(a_host())
    assert [one.event_id for one in claim(target)] == [2]


def test_ids_are_never_given_again(source: Store, target: Store) -> None:
    """Those in the export are the only ones that were; what was deleted was older."""
    claim_first = [add(source)], claim(source)
    source.settle([settled(one) for one in claim_first[1]])
    header, event, run, end = map(json.loads, lines_of(source))
    event["event"]["id"] = run["run"]["event"] = run["run"]["id"] = 70
    target.import_lines(map(json.dumps, (header, event, run, end)))
    target.join(a_host())
    assert add(target) == 71
    claim(target)
    assert [run.id for run in target.runs({}, 9)] == [70, 71]


def test_rules_of_both_stores_hold(source: Store, target: Store) -> None:
    """One that comes along holds for events to come; one that was there, for those that come."""
    add(source, origin="bot")
    add(source, resource="pier")
    source.add_pause("resource", "pier", NOW)
    target.add_pause("origin", "bot", NOW)
    target.import_lines(lines_of(source))
    add(target, resource="pier")
    assert [event.paused for event in target.events({}, 9)] == [True, True, True]
    target.remove_pause("origin", "bot")
    assert [event.paused for event in target.events({}, 9)] == [False, True, True]


def test_a_rule_that_is_nowhere_holds_nothing(source: Store, target: Store) -> None:
    """What an event says of rules is not believed; that it is paused itself, is."""
    add(source)
    source.pause(add(source), True)
    lines = lines_of(source)
    record(1, paused=6)(lines)
    record(2, paused=7)(lines)
    target.import_lines(lines)
    target.pause(2, False)
    assert [event.paused for event in target.events({}, 9)] == [False, False]


def test_what_is_known_here_of_a_type_stays(source: Store, target: Store) -> None:
    """Who provides it here is not overruled by who did elsewhere."""
    source.publish([CatalogueEntry("tide.mark", 1, "old", None, "1.0", NOW)])
    target.publish([CatalogueEntry("tide.mark", 2, "new", None, "2.0", NOW)])
    target.import_lines(lines_of(source))
    assert target.catalogue()["tide.mark"].plugin == "new"


def test_what_comes_is_seen_by_a_store_that_looked_before(source: Store, target: Store) -> None:
    """Nothing that it remembers of having been empty stays in the way."""
    target.join(a_host())
    assert not target.lanes()
    assert not claim(target)
    add(source)
    source.add_pause("origin", "bot", NOW)
    target.import_lines(lines_of(source))
    assert len(claim(target)) == 1
    assert target.add([an_event(origin="bot")])[0].paused


def test_where_events_of_other_days_were_is_forgotten(
    new_store: Callable[[str], Store], tmp_path: Path
) -> None:
    """A store that had others of these ids once finds those that came by their own time."""
    target, source = new_store("sqlite"), new_store("memory")
    with closing(sqlite3.connect(tmp_path / "0.db")) as file, file:
        file.execute("INSERT INTO horae_span VALUES ('event', 0, 1, 2)")
    add(source)
    target.import_lines(lines_of(source))
    assert [event.id for event in target.events({"since": NOW - 1}, 9)] == [1]


def test_an_export_is_the_store_at_one_instant(source: Store) -> None:
    """What is stored, claimed and settled meanwhile is not in it."""
    first = add(source)
    exporting = source.export_lines(LATER)
    next(exporting)
    add(source)
    source.settle([settled(one) for one in claim(source)])
    _, *_, end = lines = list(exporting)
    assert json.loads(end) == {"end": {"event": 1}}
    assert json.loads(lines[0])["event"]["id"] == first
    assert json.loads(lines[0])["event"]["state"] == "pending"


def test_neither_way_holds_it_in_memory(new_store: Callable[[str], Store]) -> None:
    """What 4 MB of lines need is a fraction of that, in the store that is kept in a file."""
    stores = [new_store("sqlite"), new_store("sqlite")]
    text = json.dumps({"text": "x" * 2000})
    stores[0].add([an_event(arguments=text) for _ in range(2000)])
    tracemalloc.start()
    try:
        stores[1].import_lines(stores[0].export_lines(LATER))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert stores[1].events({}, 1).total == 2000
    assert peak < 1_000_000


# -- refusals


def record(number: int, **changes: Any) -> Callable[[list[str]], None]:
    """Changes columns of the record in a line."""

    def change(lines: list[str]) -> None:
        ((tag, columns),) = json.loads(lines[number]).items()
        lines[number] = json.dumps({tag: columns | changes})

    return change


def line(number: int, text: str) -> Callable[[list[str]], None]:
    """Replaces a line."""

    def change(lines: list[str]) -> None:
        lines[number] = text

    return change


def copy(source: int, to: int) -> Callable[[list[str]], None]:
    """Repeats a line in the place of another."""

    def change(lines: list[str]) -> None:
        lines[to] = lines[source]

    return change


# Lines: header, event 1 (finished, key k), 2 (running), 3 (pending, key k), runs 1 and 2, end.
WRONG: dict[str, tuple[Callable[[list[str]], None], int, str]] = {
    "no JSON": (line(2, "{"), 3, "no JSON"),
    "no object": (line(2, "[]"), 3, "no JSON object"),
    "no UTF-8": (lambda lines: lines.__setitem__(2, b"\xff"), 3, "utf-8"),  # type: ignore[call-overload]
    "NaN": (line(2, '{"event":{"id":NaN}}'), 3, "NaN is no JSON"),
    "deep": (line(2, "[" * 100_000), 3, "recursion"),
    "no header": (lambda lines: lines.pop(0), 1, "no export of a horae store"),
    "newer format": (line(0, '{"horae":2}'), 1, "pip install --upgrade horae"),
    "header without a time": (line(0, '{"horae":1}'), 1, "exported"),
    "unknown tag": (line(2, '{"host":{}}'), 3, "no record 'host'"),
    "two tags": (line(2, '{"event":{},"run":{}}'), 3, "line of its own"),
    "unknown column": (record(2, colour="red"), 3, "no column 'colour'"),
    "no record": (line(2, '{"event":[]}'), 3, "must be a JSON object"),
    "missing column": (record(2, created=None), 3, "lacks its created"),
    "wrong type": (record(2, due="soon"), 3, "due of event cannot be 'soon'"),
    "truth for a number": (record(2, attempt=True), 3, "attempt"),
    "arguments as text": (record(2, arguments="{}"), 3, "arguments"),
    "unknown state": (record(2, state="asleep"), 3, "state of event is none of pending"),
    "unknown outcome": (record(4, outcome="odd"), 5, "outcome"),
    "unknown priority": (record(2, priority=4), 3, "priority"),
    "no instant": (record(2, due=10**18), 3, "out of range"),
    "strange absent": (record(2, absent="maybe"), 3, "absent"),
    "infinite": (line(4, '{"run":{"id":1,"progress":1e999}}'), 5, "lacks its|out of range"),
    "pending without due": (record(3, due=None), 4, "due does not fit"),
    "over with due": (record(1, due=NOW), 2, "due does not fit"),
    "half of what follows": (record(2, next_due=NOW), 3, "next_occurrence"),
    "the same id again": (copy(1, 2), 3, "event 1 comes after event 1"),
    "key taken": (record(2, key="k"), 4, "event 3 is taken|horae_event_key"),
    "the same claim again": (record(5, event=1), 6, "event does not run under it"),
    "claim taken": (record(5, event=1, outcome="failed"), 6, "already|horae_run.event"),
    "claim never had": (record(4, claim=2), 5, "never had"),
    "run of another claim": (record(5, claim=9), 6, "does not run under it"),
    "run is missing": (lambda lines: lines.pop(5), 6, "are here"),
    "cut short": (lambda lines: lines.pop(), 6, "cut short"),
    "nothing": (lambda lines: lines.clear(), 1, "cut short"),
    "more after the end": (lambda lines: lines.append(lines[1]), 8, "none after the end"),
}


@pytest.mark.parametrize(("change", "number", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_line_is_named_and_nothing_is_imported(
    target: Store,
    new_store: Callable[[str], Store],
    change: Callable[[list[str]], Any],
    number: int,
    message: str,
) -> None:
    """Not even what was right before it."""
    source = new_store("sqlite")
    source.join(a_host())
    for due in (NOW, NOW + 1):
        add(source, key=None if due > NOW else "k", due=due)
    (first, _) = claim(source, now=NOW + 1)
    source.settle([settled(first)])
    add(source, key="k", due=LATER)
    lines = lines_of(source)
    change(lines)
    with pytest.raises(ImportRefused, match=message) as refused:
        target.import_lines(lines)
    assert refused.value.line == number
    assert f"Line {number}: " in str(refused.value)
    assert not any(seen(target).values())
    assert not target.lanes()
    assert add(target) == 1


def test_a_run_that_is_not_there_is_missed(target: Store, source: Store) -> None:
    """Also where the last line does not count it."""
    add(source)
    claim(source)
    *lines, _run, _end = lines_of(source)
    with pytest.raises(ImportRefused, match="event 1 runs, and its run is not here"):
        target.import_lines([*lines, '{"end":{"event":1}}'])


def test_a_store_with_events_is_left_alone(source: Store, target: Store) -> None:
    """The ids could be those of others; the message says where to import instead."""
    add(target)
    before = seen(target)
    with pytest.raises(ImportRefused, match="Import into a new store") as refused:
        target.import_lines(lines_of(source))
    assert refused.value.line is None
    assert seen(target) == before


# -- random histories


class Moves(Histories):
    """The histories of the equivalence test, whose stores change places now and then."""

    moves = 0

    @rule()
    def move(self) -> None:
        """Each store is imported into one of the other kind, and everything goes on there."""
        self.moves += 1
        url = f"sqlite:///{self.folder}/moved-{self.moves}.db?synchronous=NORMAL"
        moved = [create_store(url), create_store("memory://")]
        for old, new in zip(self.stores, reversed(moved), strict=True):
            new.open()
            new.import_lines(old.export_lines(self.now))
            came_along(old, new)
            old.close()
            new.join(a_host())
        self.stores = moved


def came_along(old: Store, new: Store) -> None:
    """What was not running is as it was, but that nothing is blocked."""
    for before, after in zip(old.events({}, 1000), new.events({}, 1000), strict=True):
        if before.state is State.RUNNING:
            assert after.state in (State.PENDING, State.CANCELLED)
            assert after.last_outcome is Outcome.INTERRUPTED
        else:
            assert after == attrs.evolve(before, blocked=None)
            assert new.planned(after.id) is None or old.planned(before.id) is not None
    for was, run in zip(old.runs({}, 1000), new.runs({}, 1000), strict=True):
        assert run == was if was.outcome else run.outcome is Outcome.INTERRUPTED
    assert old.pauses() == new.pauses()


Moves.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, database=None, derandomize=True
)
TestMoves = Moves.TestCase
