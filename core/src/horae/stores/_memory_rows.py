"""What the dictionary store holds."""

import attrs

from horae.stores.records import (
    CatalogueEntry,
    Claim,
    HostRecord,
    Installation,
    Lane,
    NewEvent,
    PluginRow,
)
from horae_hookspecs import Outcome, PauseField, Run, State


@attrs.define
class Event:
    """What a row of ``horae_event`` holds; ``following`` are next_due and next_occurrence."""

    id: int
    lane: Lane
    new: NewEvent
    due: int | None
    occurrence: int | None
    state: State = State.PENDING
    paused: int = 0
    blocked: str | None = None
    settled: int | None = None
    covered: int | None = None
    claim: int = 0
    attempt: int = 0
    interruptions: int = 0
    host: str | None = None
    cancel_requested: bool = False
    resource_outcomes: str | None = None
    following: tuple[int, int] | None = None
    last_outcome: Outcome | None = None
    reason: str | None = None
    ended: int | None = None


@attrs.define
class Data:
    """Everything; copied at the start of a transaction so that it can be put back."""

    events: dict[int, Event] = attrs.field(factory=dict)
    runs: dict[tuple[int, int], Run] = attrs.field(factory=dict)
    lanes: dict[tuple[str, int, str], Lane] = attrs.field(factory=dict)
    hosts: dict[str, HostRecord] = attrs.field(factory=dict)
    catalogue: dict[str, CatalogueEntry] = attrs.field(factory=dict)
    plugins: dict[tuple[str, str], PluginRow] = attrs.field(factory=dict)
    installations: dict[int, Installation] = attrs.field(factory=dict)
    holds: dict[tuple[str, int, int], str | None] = attrs.field(factory=dict)
    pauses: dict[tuple[PauseField, str], int] = attrs.field(factory=dict)
    last_event: int = 0
    last_run: int = 0


def claim_of(event: Event) -> Claim:
    """A claimed event as it is handed out."""
    assert event.due is not None
    assert event.occurrence is not None
    return Claim(
        event_id=event.id,
        claim=event.claim,
        lane=event.lane.id,
        arguments=event.new.arguments,
        schedule=event.new.schedule,
        due=event.due,
        occurrence=event.occurrence,
        attempt=event.attempt,
        interruptions=event.interruptions,
        settled=event.settled,
        covered=event.covered,
        recurs=event.new.recurs,
        priority=event.new.priority,
        resource=event.new.resource,
        origin=event.new.origin,
        description=event.new.description,
        created=event.new.created,
        user=event.new.user,
        resources=event.new.resources,
        resource_outcomes=event.resource_outcomes,
        missed=event.new.missed,
        absent=event.new.absent,
    )
