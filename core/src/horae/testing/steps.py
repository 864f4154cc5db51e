"""What ``horae plugin check`` and its exercise tell each other."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import attrs

GRADES: Final = {
    "A": "goes through its whole life, and leaves nothing behind",
    "B": "works; see the notes",
    "C": "works, but something of it stays in the process after an unload",
    "D": "loads, and something of its life fails",
    "E": "cannot be installed or loaded",
}
"""What each grade says, best first."""


class Verdict(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    NOTED = "noted"
    SKIPPED = "skipped"
    FAILED = "failed"


@attrs.frozen
class Step:
    """One step, in seconds; ``grade`` is the best that the plugin can get after it. One without a
    ``verdict`` has only begun, and its grade is for the case that it fails.
    """

    name: str
    verdict: Verdict | None = None
    detail: str = ""
    seconds: float = 0.0
    grade: str = "A"


@attrs.frozen(kw_only=True)
class Request:
    """What the exercise is to do: ``plugins`` come from ``wheel``, whose ``version`` is installed
    unless ``previous`` is, which is to be upgraded then. ``folder`` is for its store.
    """

    folder: str
    plugins: Sequence[str]
    wheel: str
    version: str
    previous: str | None = None
    examples: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    use: bool = True


def grade(steps: Iterable[Step]) -> str:
    """The worst of the grades that the steps leave."""
    return max((step.grade for step in steps), default="E")
