"""A host for tests: a store of its own, a clock that stands still, and a plugin to try."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from horae.clock import SettableClock, from_micros
from horae.host import Host
from horae.settings import Settings
from horae_hookspecs import Run

PATIENCE: Final = 60.0
"""Seconds that ``run_due`` waits for what is under way."""

ALL: Final = 1_000_000
"""More runs than a test has."""

MOST: Final = 10_000
"""How many instants ``run_due`` goes through at most; an endless loop would never be seen."""


class PluginHost(Host):
    """A started host on a SQLite file in ``folder``, whose ``clock`` only the test moves.

    When it is closed, the plugins' modules stay: tests that import from them go on with the very
    same classes. ``unload_plugin`` does the whole work, as in production.
    """

    clock: SettableClock

    def __init__(
        self,
        folder: Path,
        *,
        clock: SettableClock | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        url = f"sqlite:///{folder}/events.db?synchronous=NORMAL"
        chosen = Settings(
            url=url,
            name="testing",
            workers=4,
            drain=5.0,
            preflight=0,  # a child process for each test would take longer than the test
            plugins=settings or {},
        )
        super().__init__(chosen, clock=clock or SettableClock())
        self._told = 0

    def run_due(self, after: timedelta | float = 0.0) -> list[Run]:
        """Let the clock go on by a timedelta or a number of seconds, and run what falls due: the
        runs that ended since the last call, oldest first.

        What is scheduled for now may run before this is called; its run counts here.

        The clock stops at each due instant, so that every occurrence and every retry gets its run
        at its time. Raises WaitTimeout when a job takes more than a minute, AssertionError when
        there is no end of due instants.
        """
        until = self.clock.now() + (after if isinstance(after, timedelta) else _seconds(after))
        for _ in range(MOST):
            self.run_until_idle(PATIENCE)
            due = self._next_due()
            if due is None or due > until:
                break
            self.clock.set(due)
        else:
            raise AssertionError(f"More than {MOST} instants were due before {until}.")
        self.clock.set(until)
        self.run_until_idle(PATIENCE)
        return self._new_runs()

    def _next_due(self) -> datetime | None:
        """The first instant to come; what is overdue while nothing runs waits for its type."""
        waiting = sum(one.pending for one in self.waiting())
        now = self.clock.micros()
        due = [one.claim.due for one in self.store.earliest(waiting + 1) if one.claim.due > now]
        return from_micros(due[0]) if due else None

    def _new_runs(self) -> list[Run]:
        found = list(self.runs(after=self._told, limit=ALL))
        self._told = max((run.id for run in found), default=self._told)
        return [run for run in found if run.plugin != "horae"]

    def close(self) -> None:
        """Stop, take the plugins down, and let go of the store; their modules stay."""
        self.stop()
        self._lifecycle.close(keep_modules=True)
        self.store.close()


def _seconds(number: float) -> timedelta:
    return timedelta(seconds=number)
