"""How every store passes on what hosts are to install; a part of the suite."""

import attrs

from horae.stores.base import Store
from horae.stores.records import FORGOTTEN, Installation
from stores.samples import NOW

WANTED = Installation(
    host="tide",
    action="install",
    what="acme-plugin>=2",
    asked=NOW,
    upgrade=True,
    find_links=("/wheels", "https://wheels.example"),
    index="https://index.example",
    offline=True,
    drain=2.5,
    include_dependents=True,
)


def test_a_request_reaches_its_host(store: Store) -> None:
    """Every field of it, with an id; other hosts have their own."""
    first = store.request_installation(WANTED)
    second = store.request_installation(attrs.evolve(WANTED, host="moon", action="uninstall"))
    assert store.installations("tide") == [attrs.evolve(WANTED, id=first)]
    assert [one.id for one in store.installations()] == [first, second]
    assert store.installations("sun") == []


def test_an_answer_comes_back(store: Store) -> None:
    """How far it is, then what came of it."""
    asked = attrs.evolve(WANTED, id=store.request_installation(WANTED))
    other = store.request_installation(WANTED)
    store.report_installation(attrs.evolve(asked, progress="planning"))
    assert [one.progress for one in store.installations()] == ["planning", None]
    done = attrs.evolve(
        asked,
        done=True,
        ok=False,
        reason="no such version",
        plugin="acme",
        version="2.0",
        report={"errors": []},
    )
    store.report_installation(done)
    assert store.installations() == [done, attrs.evolve(WANTED, id=other)]


def test_what_is_done_is_forgotten_after_a_day(store: Store) -> None:
    """With the next request; what is open stays, and an answer to what is forgotten is no error."""
    done = attrs.evolve(WANTED, id=store.request_installation(WANTED), done=True)
    store.report_installation(done)
    waiting = store.request_installation(WANTED)
    store.request_installation(attrs.evolve(WANTED, asked=NOW + FORGOTTEN))
    assert done in store.installations()
    last = store.request_installation(attrs.evolve(WANTED, asked=NOW + FORGOTTEN + 1))
    assert done not in store.installations()
    ids = [one.id for one in store.installations()]
    assert (ids[0], ids[-1], len(ids)) == (waiting, last, 3)
    store.report_installation(done)
    assert len(store.installations()) == 3
