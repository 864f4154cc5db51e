"""Claims and schedules to try the pure functions of scheduling with."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import attrs

from horae.clock import to_micros
from horae.scheduling.recurrence import dump_schedule
from horae.stores.records import Claim
from horae_builtin_plugins.schedule import Cron, Interval, Once
from horae_hookspecs import Schedule

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
NOW: Final = to_micros(START)
EVERY_MINUTE: Final = Interval(minutes=1, start=START)


@attrs.frozen
class Spread(Schedule):
    """Every minute, and each event twenty seconds later than that."""

    kind = "spread"
    spread = timedelta(seconds=21)

    def next_after(self, instant: datetime) -> datetime | None:
        """On the minute."""
        return EVERY_MINUTE.next_after(instant)

    def offset(self, event_id: int) -> timedelta:
        """The same for every event, so that tests can tell it."""
        return timedelta(seconds=20)

    def to_json(self) -> dict[str, Any]:
        """Nothing to store."""
        return {}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Nothing to read."""
        return cls()

    def __str__(self) -> str:
        return "every minute, spread"


KINDS: Final[Mapping[str, type[Schedule]]] = {
    kind.kind: kind for kind in (Once, Interval, Cron, Spread)
}


def a_claim(schedule: Schedule = EVERY_MINUTE, **details: Any) -> Claim:
    """A claim of an event's first occurrence."""
    defaults: dict[str, Any] = {
        "event_id": 1,
        "claim": 1,
        "lane": 1,
        "arguments": "{}",
        "schedule": dump_schedule(schedule),
        "due": NOW,
        "occurrence": NOW,
        "attempt": 0,
        "interruptions": 0,
        "settled": None,
        "covered": None,
        "recurs": True,
        "priority": 1,
        "resource": None,
        "origin": None,
        "description": None,
        "created": NOW,
    }
    return Claim(**(defaults | details))
