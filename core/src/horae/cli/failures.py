"""What an error means for the one who called the command: an exit code."""

from typing import Final

import click

from horae.errors import HostNotRunning, SettingsError, StoreError, WaitTimeout
from horae_hookspecs import HoraeError

FAILED: Final = 1
DAMAGED: Final = 3

_CODES: Final[tuple[tuple[type[HoraeError], int], ...]] = (
    (SettingsError, 2),
    (StoreError, DAMAGED),
    (HostNotRunning, 4),
    (WaitTimeout, 5),
    (HoraeError, FAILED),
)


def exit_code(error: Exception) -> int | None:
    """The exit code for an error of horae's; None for any other, which is a bug."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)


def fail() -> None:
    """End the command with exit code 1; what failed has been told already."""
    click.get_current_context().exit(FAILED)
