"""Cron on the clocks of a time zone: the instants that a cron expression means.

The rule is that of Vixie cron as Debian ships it (cron(8), on local time changes). A *fixed-time*
entry, none of whose second, minute and hour fields begins with ``*``, fires exactly once per
local day: in a gap at the first valid instant after it, in a repeated hour at the first of the
two. Every other entry follows elapsed time: nothing in a gap, both passes of a repeated hour.
Debian limits the rule to changes under three hours and has no seconds field; here it holds for
changes of any length, a skipped day included, and for 5 and 6 fields alike.

cronsim finds the matching local times. It is given naive ones only: with aware ones it goes
back in time within a repeated hour and exempts expressions with seconds from the rule.
"""

from bisect import bisect_left
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import attrs
from cronsim import CronSim, CronSimError

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
_SECOND: Final = timedelta(seconds=1)
_HORIZON_YEARS: Final = 50
"""Where cronsim gives up, and so do we. The rarest day there is, a 29 February on a given weekday,
comes after 40 years at most (2072 to 2112)."""


@attrs.frozen
class WallClock:
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
        if next(self._matches(_ANY_DAY), None) is None:
            raise ScheduleError(
                f"The cron expression {self.expression!r} never fires: no day in the calendar "
                "matches it.",
                value=self.expression,
            )

    def explain(self) -> str:
        """The expression in English, without the zone: ``At 02:30 on Monday through Friday``."""
        return self._matcher.explain()

    def next_after(self, instant: datetime) -> datetime | None:
        """The first instant strictly after ``instant``, both in UTC, at which this fires."""
        try:
            return self._fixed_after(instant) if self._is_fixed else self._elapsed_after(instant)
        except OverflowError:  # the calendar of datetime ends with the year 9999
            return None

    @property
    def _is_fixed(self) -> bool:
        return not any(field.startswith("*") for field in self._matcher.parts[:3])

    def _matches(self, local: datetime) -> CronSim:
        """The matching local times strictly after ``local``, naive, in order."""
        # A copy, since a CronSim is its own iterator; a new one would parse the text again.
        matches = copy(self._matcher)
        matches.dt = local.replace(tzinfo=None, microsecond=0)
        return matches

    def _fixed_after(self, instant: datetime) -> datetime | None:
        # Due times come in the order of their local times, so the first one that fits is next.
        for local in self._matches(instant.astimezone(self.zone)):
            before, after = _readings(local, self.zone)
            due = before if before <= after else _change(after, before, self.zone)
            if due > instant:
                return due
        return None

    def _elapsed_after(self, instant: datetime) -> datetime | None:
        here = instant.astimezone(self.zone)
        due = self._first_valid(here, instant)
        first, second = _readings(here, self.zone)
        if here.fold == 1 or first >= second:
            return due
        # The clocks are about to be put back: local times that are over come once more.
        change = _change(first, second, self.zone)
        if due is not None and due < change:
            return due
        return self._first_valid(change.astimezone(self.zone) - _SECOND, change - _SECOND)

    def _first_valid(self, local: datetime, instant: datetime) -> datetime | None:
        """The first instant after ``instant`` whose local time matches and is after ``local``."""
        for match in self._matches(local):
            if match.year > local.year + _HORIZON_YEARS:
                break  # it has fallen into the same gap every year
            before, after = _readings(match, self.zone)
            if before <= after and after > instant:
                return before if before > instant else after
        return None


def _readings(local: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """``local`` in UTC, read with the clocks as before and as after a change near it (PEP 495).

    Without a change the two are equal. In a repeated hour the first is the earlier one and both
    are valid; in a gap the first is the later one and neither is.
    """
    before = local.replace(tzinfo=zone, fold=0)
    return before.astimezone(UTC), before.replace(fold=1).astimezone(UTC)


def _change(earlier: datetime, later: datetime, zone: ZoneInfo) -> datetime:
    """The instant after ``earlier``, at most ``later``, at which clocks in ``zone`` change."""
    offset = later.astimezone(zone).utcoffset()
    seconds = range(round((later - earlier).total_seconds()))

    def is_changed(second: int) -> bool:
        return (earlier + timedelta(seconds=second)).astimezone(zone).utcoffset() == offset

    return earlier + timedelta(seconds=bisect_left(seconds, True, key=is_changed))
