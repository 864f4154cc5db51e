"""The kind ``cron``."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

import attrs

from horae_builtin_plugins._cronclock import CronClock, cron_clock
from horae_builtin_plugins._recurring import OnClock
from horae_builtin_plugins._text import (
    first_word,
    one_blank,
    plain_exclusions,
    read_date,
    read_limits,
    split_clauses,
    split_list,
    zone_name,
)
from horae_hookspecs import ScheduleError


@attrs.frozen
class Cron(OnClock):
    """At the local times of ``zone`` that a cron expression names, as in Debian's Vixie cron.

    ``expression`` has 5 fields, or 6 with seconds first, in cronsim's spelling (names, ``L``,
    ``LW``, ``5#2``), or is an alias such as ``@daily``. A fixed-time entry fires exactly once per
    local day over changes of the clocks; one whose second, minute or hour begins with ``*``
    follows elapsed time. Raises ScheduleError for an unknown expression or zone,
    and for a rule that can never fire.
    """

    kind: ClassVar[str] = "cron"
    expression: str = attrs.field(converter=one_blank)
    zone: str = attrs.field(default="UTC", converter=zone_name)

    @property
    def clock(self) -> CronClock:
        """The expression on the clocks of the zone."""
        return cron_clock(self.expression, self.zone)

    def anchored(self, now: datetime) -> Self:
        """This schedule with ``start`` set to ``now`` if there is a ``count`` and no start."""
        if self.count is None or self.start is not None:
            return self
        return attrs.evolve(self, start=now)

    def to_json(self) -> dict[str, Any]:
        """``{"expression": text, "zone": IANA name}`` and the limits where they are given."""
        return {"expression": self.expression, "zone": self.zone} | self._stored_limits()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The schedule that ``to_json`` gave. Raises ScheduleError telling what is wrong."""
        fields = cls._read_stored(data, {"expression": str})
        if "expression" not in fields:
            raise ScheduleError("A stored cron needs an expression.", value=data)
        return cls(**fields)

    @classmethod
    def parse(cls, value: datetime | timedelta | str) -> Self | None:
        """``cron 0 9 * * mon-fri`` or ``@daily``; either may go on as in ``@daily except
        2026-12-25 in Europe/Berlin spread 10m``.
        """
        word, rest = first_word(value)
        if word != "cron" and not word.startswith("@"):
            return None
        text = rest if word == "cron" else f"{word} {rest}"
        example = "cron 0 9 * * mon-fri except 2026-12-25 in Europe/Berlin"
        expression, clauses = split_clauses(text, "except in", example=example)
        excluded = split_list(clauses.get("except", ""))
        return cls(
            expression,
            clauses.get("in", "UTC"),
            exclude=[read_date(day, example=example) for day in excluded],
            **read_limits(clauses),
        )

    def __str__(self) -> str:
        """``at 02:30 on Monday through Friday, Europe/Berlin time``."""
        text = self.clock.explain()
        return (
            f"{text[:1].lower()}{text[1:]}{plain_exclusions(self.exclude)}, {self.zone} time"
            f"{self._plain_limits()}"
        )
