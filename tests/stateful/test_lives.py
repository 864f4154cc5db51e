"""Random lives of a host: whatever happens, nothing is lost, nothing succeeds twice, every attempt
is on record, nobody is kept at a gate or squeezed in; and the machine that checks it finds the bugs
that are planted for it.
"""

import os
from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from horae.errors import WaitTimeout
from horae.stores import _statements as sql
from horae.stores._gates import Gates
from horae.stores._sqlite_gates import SqliteGates
from horae.stores.sqlite import SqliteStore
from stateful.lives import Lives
from stateful.world import World

CAMPAIGN: Final = bool(os.environ.get("HORAE_CAMPAIGN"))
RANDOM: Final = settings(
    max_examples=300 if CAMPAIGN else 15,
    stateful_step_count=60 if CAMPAIGN else 20,
    deadline=None,
    database=None,
    derandomize=not CAMPAIGN,  # the same lives each time; the campaign throws the dice
    suppress_health_check=list(HealthCheck),
)
Lives.TestCase.settings = RANDOM
TestLives = pytest.mark.timeout(3600)(Lives.TestCase)
if CAMPAIGN:
    TestLives = pytest.mark.campaign(TestLives)


FOUND: Final = (AssertionError, WaitTimeout, Flaky, BaseExceptionGroup, ExceptionGroup)
"""How the machine ends that finds a bug: an invariant is broken, or what shall come never does."""


# -- bugs, planted to see whether the machine finds them


def bury(store: SqliteStore, statement: str) -> None:
    """Do to the file what the bug does."""
    with store.transaction():
        assert store._writer.connection is not None
        store._writer.connection.execute(statement)


Verb = Callable[..., Any]


def claims_what_is_paused(claim: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """The pause is overlooked."""
    bury(store, "UPDATE horae_event SET paused = 0 WHERE state = 'pending'")
    store._heads.forget()
    return claim(store, *arguments)


def claims_off_the_record(claim: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """The run row is not written."""
    claimed = claim(store, *arguments)
    bury(store, "DELETE FROM horae_run WHERE outcome IS NULL")
    return claimed


def settles_without_a_due_time(settle: Verb, store: SqliteStore, settlements: Any) -> Any:
    """Where the event goes on is forgotten."""
    return settle(store, [attrs.evolve(one, due=None) for one in settlements])


def settles_all_but_the_last(settle: Verb, store: SqliteStore, settlements: Any) -> Any:
    """One of a group is dropped."""
    return settle(store, settlements[:-1])


def rescues_for_nothing(rescue: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """What the lost host had in hand is over instead of due again."""
    freed = rescue(store, *arguments)
    bury(
        store,
        "UPDATE horae_event SET state = 'finished', due = NULL "
        "WHERE state = 'pending' AND last_outcome = 'interrupted'",
    )
    return freed


def rescues_in_silence(rescue: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """The runs of the lost host never get an outcome."""
    freed = rescue(store, *arguments)
    bury(store, "DELETE FROM horae_run WHERE outcome = 'interrupted'")
    return freed


def withdraws_the_events_too(withdraw: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """Events of a type that is away are taken for failed."""
    withdraw(store, *arguments)
    bury(store, "UPDATE horae_event SET state = 'failed', due = NULL WHERE state = 'pending'")


def withdraws_an_attempt(withdraw: Verb, store: SqliteStore, *arguments: Any) -> Any:
    """Absence burns an attempt."""
    withdraw(store, *arguments)
    bury(store, "UPDATE horae_event SET attempt = attempt + 1 WHERE state = 'pending'")


def leaves_without_a_word(_: Verb, __: SqliteGates, writer: Any, settlements: Any) -> None:
    """Nobody is let go when there is room again."""
    writer.executemany(sql.LEAVE, [one.key for one in settlements])


def leaves_too_much(leave: Verb, gates: SqliteGates, writer: Any, settlements: Any) -> None:
    """With one run everybody is taken to have left."""
    leave(gates, writer, settlements)
    writer.execute("DELETE FROM horae_hold")


def enters_unseen(_: Verb, __: SqliteGates, *arguments: Any) -> None:
    """Nobody writes down who is inside."""


def outlives_its_host(_: Verb, __: SqliteGates, *arguments: Any) -> None:
    """What a lost host ran is inside for ever."""


def passes_whatever_the_room(_: Verb, __: Gates, row: Any) -> bool:
    """The gate is never looked at."""
    return True


BUGS: Final[dict[tuple[type, str], list[Verb]]] = {
    (SqliteStore, "claim"): [claims_what_is_paused, claims_off_the_record],
    (SqliteStore, "settle"): [settles_without_a_due_time, settles_all_but_the_last],
    (SqliteStore, "rescue"): [rescues_for_nothing, rescues_in_silence],
    (SqliteStore, "withdraw"): [withdraws_the_events_too, withdraws_an_attempt],
    (SqliteGates, "leave"): [leaves_without_a_word, leaves_too_much],
    (SqliteGates, "enter"): [enters_unseen],
    (SqliteGates, "leave_host"): [outlives_its_host],
    (Gates, "passes"): [passes_whatever_the_room],
}


@pytest.mark.parametrize(
    ("where", "bug"),
    [pytest.param(where, bug, id=bug.__name__) for where, bugs in BUGS.items() for bug in bugs],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, where: tuple[type, str], bug: Verb
) -> None:
    """A machine that finds nothing would prove nothing."""
    sound = getattr(*where)

    def planted(self: Any, *arguments: Any) -> Any:
        return bug(sound, self, *arguments)

    monkeypatch.setattr(*where, planted)
    monkeypatch.setattr(World, "patience", 1)
    with pytest.raises(BaseException) as found:  # noqa: PT011 (which invariant breaks is chance)
        run_state_machine_as_test(
            Lives,
            settings=settings(
                RANDOM, max_examples=100, phases=[Phase.generate], report_multiple_bugs=False
            ),
        )
    assert issubclass(found.type, FOUND), found
