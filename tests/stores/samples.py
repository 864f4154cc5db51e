"""Events, hosts and outcomes to test stores with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from horae.clock import to_micros
from horae.stores.base import Store
from horae.stores.records import Claim, HostRecord, NewEvent, Provider, Settlement
from horae_hookspecs import Outcome, State

NOW = to_micros(datetime(2026, 1, 1, tzinfo=UTC))
SECOND = 1_000_000
HOST = "tide-1"


def an_event(event_type: str = "tide.mark", *, due: int = NOW, **details: Any) -> NewEvent:
    """An event that is to be stored."""
    defaults: dict[str, Any] = {
        "schema_version": 1,
        "kind": "once",
        "arguments": '{"level":3}',
        "schedule": '{"kind":"once"}',
        "created": NOW,
    }
    return NewEvent(event_type=event_type, due=due, **(defaults | details))


def add(store: Store, *args: Any, **details: Any) -> int:
    """Store one event; its id."""
    (added,) = store.add([an_event(*args, **details)])
    return added.id


def a_host(host_id: str = HOST, **details: Any) -> HostRecord:
    """A host for the record."""
    defaults: dict[str, Any] = {
        "name": "tide",
        "identity": "boot/namespace/1/1",
        "pid": 1,
        "beat": 0,
        "beaten": NOW,
        "event_types": {"tide.mark": 1},
        "kinds": ("once",),
    }
    return HostRecord(id=host_id, **(defaults | details))


def providers(store: Store, types: Sequence[str] | None = None) -> Mapping[int, Provider]:
    """Everything that is needed to claim from the lanes of ``types``, or from all."""
    return {
        lane.id: Provider("tides", "1.0", 1)
        for lane in store.lanes()
        if types is None or lane.event_type in types
    }


def claim(
    store: Store,
    *,
    now: int = NOW,
    limit: int = 1000,
    host: str = HOST,
    types: Sequence[str] | None = None,
) -> list[Claim]:
    """What a host that is on record gets."""
    claimed = store.claim(host, providers(store, types), now, limit)
    assert claimed is not None
    return list(claimed.claims)


def settled(claim: Claim, state: State = State.FINISHED, **details: Any) -> Settlement:
    """How ``claim`` ended: well and for good, unless ``details`` say otherwise."""
    defaults: dict[str, Any] = {
        "outcome": Outcome.SUCCEEDED,
        "started": NOW,
        "finished": NOW + SECOND,
        "due": None,
        "occurrence": claim.occurrence,
        "attempt": 0,
        "interruptions": 0,
        "settled": claim.occurrence,
    }
    return Settlement(
        claim.event_id, claim.claim, claim.lane, claim.priority, state=state, **(defaults | details)
    )


@contextmanager
def rolled_back(store: Store) -> Iterator[None]:
    """A transaction that fails at its end."""
    with suppress(ZeroDivisionError), store.transaction():
        yield
        raise ZeroDivisionError


def again(claim: Claim, due: int, **details: Any) -> Settlement:
    """``claim`` failed, and its event waits for another try at ``due``."""
    defaults: dict[str, Any] = {
        "outcome": Outcome.FAILED,
        "due": due,
        "attempt": claim.attempt + 1,
        "settled": claim.settled,
        "will_retry": True,
        "error": "no water",
    }
    return settled(claim, State.PENDING, **(defaults | details))
