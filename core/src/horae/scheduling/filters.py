"""What callers filter listings by, as a store takes it."""

from typing import Any, Final

from horae.clock import to_micros
from horae_hookspecs import require_aware

INSTANTS: Final = ("since", "until", "due_since", "due_until")
"""The filters that are instants."""


def instants(filters: dict[str, Any]) -> dict[str, Any]:
    """The filters with instants in microseconds, without bounds that are None.

    Raises NaiveDatetimeError.
    """
    for name in INSTANTS:
        bound = filters.pop(name, None)
        if bound is not None:
            filters[name] = to_micros(require_aware(bound, name))
    return filters
