"""Error budgets: which types have failed so often that their host had better leave them alone.

It only counts, and says who is over; the lifecycle suspends. Types that belong to no plugin, but to
the application, are its own affair.
"""

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import takewhile

from horae.clock import Clock
from horae.plugins.suspensions import ALL
from horae.registry import Entry, Generation
from horae.settings import Budget
from horae_hookspecs import Cause, Outcome, Run

Reasons = Mapping[str, str]
"""Event types, and why each is to be suspended."""


class Budgets:
    """The accounts of one host. ``account`` is called by the engine's thread, and never waits."""

    def __init__(self, budget: Budget, clock: Clock, tell: Callable[[], None]) -> None:
        self._budget = budget
        self._clock = clock
        self._tell = tell
        self._crashes = Counter[str]()
        self._failures = Counter[str]()
        self._recent: defaultdict[str, deque[int]] = defaultdict(deque)
        self._over: dict[Generation, dict[str, str]] = {}
        self._lock = threading.Lock()
        self.in_trouble = False

    def account(self, entry: Entry, outcome: Outcome, error: str | None, *, crashed: bool) -> None:
        """Note how a run ended; ``crashed`` says that its process ended before it did."""
        event_type = entry.event_type
        failed = outcome in (Outcome.FAILED, Outcome.TIMEOUT)
        if crashed:
            self._crashes[event_type] += 1
        elif outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
            self._crashes.pop(event_type, None)
        if failed:
            self._failures[event_type] += 1
            self._judge(entry, (error or "no error text").strip().rpartition("\n")[2])
        elif outcome is Outcome.SUCCEEDED:
            self._failures.pop(event_type, None)
        self.in_trouble = bool(self._crashes or self._failures)

    def _judge(self, entry: Entry, last: str) -> None:
        budget, event_type = self._budget, entry.event_type
        for limit, count, what in (
            (budget.crashes, self._crashes[event_type], "ended with a crash of their process"),
            (budget.failures, self._failures[event_type], "failed"),
        ):
            if limit and count >= limit:
                reason = f"{count} runs in a row {what}, the last one with: {last}"
                self._note(entry.generation, dict.fromkeys(entry.names, reason))
                return
        self._judge_plugin(entry.generation, last)

    def _judge_plugin(self, generation: Generation, last: str) -> None:
        limit = self._budget.plugin_failures
        if not limit:
            return
        now, recent = self._clock.micros(), self._recent[generation.plugin]
        recent.append(now)
        while recent[0] < now - self._budget.window_micros:
            recent.popleft()
        if len(recent) >= limit:
            recent.clear()
            reason = (
                f"{limit} runs of the plugin failed within {self._budget.window}, the last one "
                f"with: {last}"
            )
            self._note(generation, {ALL: reason})

    def _note(self, generation: Generation, reasons: Reasons) -> None:
        for name in reasons:
            self._crashes.pop(name, None)
            self._failures.pop(name, None)
        if generation.distribution is not None or generation.source is not None:
            with self._lock:
                self._over.setdefault(generation, {}).update(reasons)
            self._tell()

    def look_back(self, entries: Iterable[Entry], runs: Callable[[str], Iterable[Run]]) -> None:
        """After hosts were lost: judge types by what is on record of them; ``runs`` gives the
        runs of a type, the newest first.
        """
        limit = self._budget.lost_hosts
        if not limit:
            return
        for entry in {entry.event_type: entry for entry in entries}.values():
            # All runs of a host that is lost are ended at the same instant.
            unlucky = takewhile(partial(_is_no_success, entry), runs(entry.event_type))
            lost = {(one.host, one.finished) for one in unlucky if one.cause is Cause.HOST_LOST}
            if len(lost) >= limit:
                reason = f"{len(lost)} hosts in a row were lost that had runs of it in hand"
                self._note(entry.generation, dict.fromkeys(entry.names, reason))

    def take(self) -> Mapping[Generation, Reasons]:
        """Who has gone over the budget since the last call; ``*`` stands for all of its types."""
        with self._lock:
            over, self._over = self._over, {}
        return over


def _is_no_success(entry: Entry, run: Run) -> bool:
    """Whether a run of this very version has not succeeded."""
    return run.outcome is not Outcome.SUCCEEDED and run.version == entry.generation.version
