"""Cron expressions on the clocks of a time zone; cronsim finds the matching local times.

A *fixed-time* entry, none of whose second, minute and hour fields begins with ``*``, fires once
per local day; every other one follows elapsed time; for 5 and 6 fields alike. cronsim is given
naive times only: with aware ones it goes back in time within a repeated hour and exempts
expressions with seconds from the rule.
"""

from collections.abc import Iterator
from copy import copy
from datetime import datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import attrs
from cronsim import CronSim, CronSimError

from horae_builtin_plugins._wallclock import WallClock
from horae_hookspecs import ScheduleError

ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_ANY_DAY: Final = datetime(2000, 1, 1)  # noqa: DTZ001 (local times are naive on purpose)


@attrs.frozen
class CronClock(WallClock):
    """A cron expression and the zone whose clocks it is read on.

    Raises ScheduleError when the expression cannot be read, or matches no day of the calendar.
    """

    expression: str
    zone: ZoneInfo
    _matcher: CronSim = attrs.field(init=False, eq=False, repr=False)

    @_matcher.default
    def _read(self) -> CronSim:
        try:
            return CronSim(ALIASES.get(self.expression.lower(), self.expression), _ANY_DAY)
        except (CronSimError, ValueError) as error:
            raise ScheduleError(
                f"{self.expression!r} is no cron expression: {error}. Write minute, hour, day, "
                "month and weekday, as in '30 2 * * mon-fri', with seconds first if they matter; "
                f"or one of {', '.join(ALIASES)}.",
                value=self.expression,
            ) from error

    @_matcher.validator
    def _check_fires(self, _attribute: object, _matcher: CronSim) -> None:
        if next(self.matches(_ANY_DAY), None) is None:
            raise ScheduleError(
                f"The cron expression {self.expression!r} never fires: no day in the calendar "
                "matches it.",
                value=self.expression,
            )

    def explain(self) -> str:
        """The expression in English, without the zone: ``At 02:30 on Monday through Friday``."""
        return self._matcher.explain()

    @property
    def is_fixed(self) -> bool:
        """True if no second, minute or hour begins with a star."""
        return not any(field.startswith("*") for field in self._matcher.parts[:3])

    def matches(self, local: datetime) -> Iterator[datetime]:
        """What cronsim finds; it gives up after 50 years."""
        # A copy, since a CronSim is its own iterator; a new one would parse the text again.
        matches = copy(self._matcher)
        matches.dt = local
        return matches


@lru_cache(maxsize=1024)
def cron_clock(expression: str, zone: str) -> CronClock:
    """The clock of ``expression``: shared, since a host reads a schedule anew at every settle."""
    return CronClock(expression, ZoneInfo(zone))
