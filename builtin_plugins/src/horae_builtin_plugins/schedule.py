"""The schedule kinds ``once``, ``interval``, ``cron`` and ``calendar``; this module is the plugin.

Every kind is a frozen value. The recurring ones take ``start``, ``until``, ``count`` and
``spread``; those that name local times, ``zone`` and ``exclude`` as well. A datetime without a
time zone is refused wherever it is given.
"""

from collections.abc import Iterable

from horae_builtin_plugins._calendar import Calendar as Calendar
from horae_builtin_plugins._cron import Cron as Cron
from horae_builtin_plugins._interval import Interval as Interval
from horae_builtin_plugins._once import Once as Once
from horae_builtin_plugins._once import hours_from_now as hours_from_now
from horae_hookspecs import Schedule, hookimpl


@hookimpl
def horae_schedule_kinds() -> Iterable[type[Schedule]]:
    """The kinds of this module."""
    return (Once, Interval, Cron, Calendar)
