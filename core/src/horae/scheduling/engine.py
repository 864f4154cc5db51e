"""The loop: settle what ended, claim what is due, hand it over, wait.

One thread runs it. What was claimed is in the hands of ``UnderWay`` until it is settled.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from horae import logs
from horae.clock import Clock, from_micros
from horae.errors import StoreCorrupt, StoreError, describe
from horae.registry import Drained, Entry, Generation, Registry, Snapshot, hook_failed
from horae.scheduling.claimables import Claimable
from horae.scheduling.executors import AsyncExecutor, InlineExecutor, ThreadExecutor
from horae.scheduling.leases import Lease
from horae.scheduling.process_executor import AVAILABLE, ProcessExecutor
from horae.scheduling.recurrence import Result, load_schedule, settlement
from horae.scheduling.reentry import Reentries
from horae.scheduling.requests import Planner
from horae.scheduling.runner import RunnerWork
from horae.scheduling.under_way import Ended, UnderWay
from horae.settings import Settings
from horae.stores.base import Store
from horae.stores.records import Claimed, Lane, Provider, Settlement
from horae_hookspecs import Cause, Executor, HostView, Outcome, Work

MAX_BATCH: Final = 1000
"""The most that one turn claims ahead of the executors' capacity."""

LOOKAHEAD: Final = 0.02
"""Seconds of work to have queued, at the pace of the last turn."""

NEVER: Final = 2**63
"""Later than every due time."""

PATIENCE: Final = 1.0
"""Seconds that a claimed run waits for its executor; then it is given back, for whoever is free."""

PAUSES: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries while the store refuses; the last one repeats."""


class Accounts(Protocol):
    """Where it is kept how often runs of a type have failed."""

    in_trouble: bool
    """Whether any type has failed of late, so that its successes count too."""

    def account(self, entry: Entry, outcome: Outcome, error: str | None, *, crashed: bool) -> None:
        """Note how a run ended."""


class Engine:
    """See the module docstring; ``Desk`` in the runner is the part that runs see."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        settings: Settings,
        lease: Lease,
        host: HostView,
        planner: Planner,
        on_foreign_change: Callable[[], None],
        accounts: Accounts,
    ) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.host = host
        self.planner = planner
        self.failure: BaseException | None = None
        self._settings = settings
        self._lease = lease
        self._on_foreign_change = on_foreign_change
        self._accounts = accounts
        self._own_executors: dict[str, Executor] = {
            "thread": ThreadExecutor(settings.workers),
            "async": AsyncExecutor(),
            "inline": InlineExecutor(),
        }
        self._processes = ProcessExecutor(settings.processes)
        if AVAILABLE:
            self._own_executors["process"] = self._processes
        self._under_way = UnderWay()
        self._lookahead = 0
        self._looked = time.monotonic()
        self._reentries = Reentries(settings.reentry_rate, store.backlog)
        self._claimable: tuple[Claimable, ...] = ()
        self._basis: tuple[Snapshot, Sequence[Lane], frozenset[Generation]] | None = None
        self._next_due = NEVER
        self._troubles = 0
        self._closed = False
        self._stopping = False
        self._wake = threading.Event()
        self._turned = threading.Condition()
        self._turns = 0
        self._idle = False
        self._draining = 0
        self._thread = threading.Thread(target=self._loop, name="horae-engine", daemon=True)
        clock.on_change(self.wake)

    # -- life

    def start(self) -> None:
        """Start the executors and the loop."""
        for executor in self._own_executors.values():
            executor.start()
        self._thread.start()

    def stop(self, drain: float) -> Drained:
        """Claim nothing more, give back what has not begun, wait, abandon what is left."""
        self._closed = True
        drained = self._retire(lambda _: True, drain)
        self._stopping = True
        self.wake()
        self._thread.join()
        # A clock that outlives the host holds this engine, which must not hold plugins' code.
        self._basis, self._claimable = None, ()
        for executor in self._own_executors.values():
            executor.stop()
        return drained

    def give_back(self) -> None:
        """Give back at once whatever has not begun, and stop claiming; for an impatient stop."""
        self._closed = True
        self._under_way.give_back(lambda _: True)
        for work in self._under_way.running:
            self._abandon(work, "the host was told to stop at once")
        self.wake()

    def drain(self, generation: Generation, timeout: float, reason: str) -> Drained:
        """Let the runs of a withdrawn generation come to their end; those that do not within
        ``timeout`` seconds are recorded as interrupted, and their late answers are fenced.
        """
        return self._retire(lambda work: work.entry.generation is generation, timeout, reason)

    def wake(self) -> None:
        """Take a turn soon: something was scheduled, changed or finished."""
        self._wake.set()

    def scheduled(self, due: int) -> None:
        """Take a turn soon if an event that was added is due before all that are known."""
        if due < self._next_due:
            self._wake.set()

    def wait(self, condition: Callable[[], Any], timeout: float | None) -> bool:
        """Wait until ``condition`` holds at the end of a turn; False when time was up first."""
        with self._turned:
            return bool(self._turned.wait_for(condition, timeout))

    def wait_idle(self, timeout: float | None) -> bool:
        """Wait until a turn finds nothing due, nothing running and nothing to settle."""
        self._look_around()  # what other processes have stored until now counts too
        asked = self._turns
        self.wake()
        # The turn under way may have looked before the caller scheduled: only the next one counts.
        return self.wait(
            lambda: (self._turns > asked + 1 or self._nudge()) and (self._idle or self._stopping),
            timeout,
        )

    def _nudge(self) -> bool:
        self.wake()
        return self._stopping

    def cancel(self, event_id: int) -> None:
        """Tell a running job of this event that it is not wanted any more; one that was claimed
        and has not begun is given back, and never does.
        """
        if self._under_way.give_back(lambda work: work.event_id == event_id):
            self.wake()
        for work in self._under_way.running:
            if work.event_id == event_id:
                work.cancelled = True
                self._call_executor(work, work.room.executor.cancel)

    def cancel_marked(self) -> None:
        """Do so for every event here whose cancellation is on record."""
        if self._under_way:
            for event_id in self.store.cancellations(self._lease.id):
                self.cancel(event_id)

    def take_back(self, chosen: Callable[[RunnerWork], bool]) -> None:
        """Give back what was claimed and has not begun: its event was changed or paused."""
        if self._under_way.give_back(chosen):
            self.wake()

    # -- the desk of the runs

    def begin(self, work: RunnerWork) -> bool:
        """Either the run begins, or it was given back."""
        started, timeout = self.clock.micros(), work.entry.policy.timeout
        deadline = None if timeout is None else started + timeout // timedelta(microseconds=1)
        return self._under_way.begin(work, started, deadline)

    def report(self, work: RunnerWork, result: Result) -> bool:
        """The first outcome counts, a later one is fenced."""
        if not self._under_way.end(work, result):
            logs.get().info("run.fenced", event_id=work.event_id, claim=work.claim)
            self._under_way.end_late(work)
            self._wake.set()
            return False
        # While more is queued, results gather for one larger settle.
        gathered = self._draining or self._under_way.waiting <= self._lookahead // 4
        if gathered and not self._wake.is_set():  # to set it takes its lock, set or not
            self._wake.set()
        return True

    def progress(self, work: RunnerWork, fraction: float, text: str) -> None:
        """Noted, and stored by a turn to come."""
        self._under_way.note(work, fraction, text)

    # -- the loop

    def _loop(self) -> None:
        while not (self._stopping and not self._under_way) and self.failure is None:
            pause = self._try_turn()
            with self._turned:
                self._turns += 1
                self._turned.notify_all()
            if pause:
                time.sleep(pause)
            else:
                self._wait()
        with self._turned:
            self._stopping = True
            self._turned.notify_all()

    def _try_turn(self) -> float:
        """Take a turn; the seconds to pause if the store refused it."""
        try:
            self._turn()
        except StoreCorrupt as error:
            self.failure = error
            logs.get().critical("store.corrupt", error=str(error))
            return 0
        except Exception as error:
            self._idle = False
            self._troubles += 1
            text = str(error) if isinstance(error, StoreError) else describe(error)
            logs.get().error("engine.refused", error=text, kept=self._under_way.ended)
            if self._stopping and self._troubles > len(PAUSES):
                self._under_way.forget_done()
            return PAUSES[min(self._troubles, len(PAUSES)) - 1]
        self._troubles = 0
        return 0

    def _turn(self) -> None:
        now = self.clock.micros()
        self._next_due = NEVER  # whatever is scheduled from here on asks for another turn
        self._give_up_late(now)
        self._lose_patience()
        done, late, told = self._under_way.take()
        try:
            # Not in the transaction: a schedule may take its time to say what was missed.
            settlements = self._settlements(done)
            with self.store.transaction():
                if told:
                    self.store.progress(told)
                fenced = self.store.settle(settlements) if done else set()
                for key in late:
                    self.store.release(*key)
                works = self._claim(now)
        except BaseException:
            self._under_way.put_back(done, late, told)
            raise
        self._look_ahead(sum(work.started > 0 and not work.spare for work, _ in done), works)
        for work in works:
            self._hand_over(work)
        # Last: whatever goes wrong in it, nothing claimed is left.
        self._announce(done, settlements, fenced)
        due = self._next_due <= now
        self._idle = not (works or due or self._under_way)

    def _look_ahead(self, settled: int, works: Sequence[RunnerWork]) -> None:
        """Keep as much queued as is done in a moment: enough to keep the executors busy, and no
        more, since a kill interrupts whatever is claimed, and claims are not shared.

        What was interrupted before is only claimed to begin at once, so that its next
        interruption is one of a run, and counts rightly.
        """
        now = time.monotonic()
        moment = int(settled / max(now - self._looked, 1e-4) * LOOKAHEAD)
        suspicious = any(work.row.interruptions for work in works)
        self._lookahead = 0 if suspicious else min(MAX_BATCH, max(moment, self._lookahead // 2))
        self._looked = now

    def _lose_patience(self) -> None:
        """Give back what has been queued for long: the work was quick, and is not any more."""
        since = time.monotonic() - PATIENCE
        oldest = self._under_way.oldest_queued()
        if oldest is None or oldest >= since:
            return
        if self._under_way.give_back(lambda work: work.queued < since):
            self._lookahead = 0

    def _settlements(self, done: Ended) -> list[Settlement]:
        kinds = self.registry.snapshot.kinds
        return [settlement(work.row, result, work.entry.policy, kinds) for work, result in done]

    def _claim(self, now: int) -> list[RunnerWork]:
        works: list[RunnerWork] = []
        next_due = []
        if self._closed:
            return works
        for claimable in self._claimables(now):
            room = claimable.left(self._under_way.taken)
            claimed = self._claim_for(claimable.providers, now, room + self._lookahead)
            works += [claimable.work(self, claim) for claim in claimed.claims]
            if claimed.next_due is not None and room > 0:
                next_due.append(claimed.next_due)
            if room <= len(claimed.claims):
                next_due += self._claim_spare(claimable, now, works)
        self._next_due = min(next_due, default=NEVER)
        return works

    def _claim_spare(self, claimable: Claimable, now: int, works: list[RunnerWork]) -> list[int]:
        """While everything else is taken, add to ``works`` one run for each type that has none.

        When the next one of such a type is due, if there is room left for it.
        """
        for _ in range(claimable.spare_left(self._under_way.taken)):
            under_way = [*self._under_way.queued, *self._under_way.running, *works]
            idle = claimable.idle(under_way)
            claimed = self._claim_for(idle, now, 1) if idle else Claimed((), None)
            works += [claimable.work(self, claim, spare=True) for claim in claimed.claims]
            if not claimed.claims:
                return [] if claimed.next_due is None else [claimed.next_due]
        return []

    def _claim_for(self, lanes: Mapping[int, Provider], now: int, limit: int) -> Claimed:
        claimed = self._reentries.claim(
            lanes,
            now,
            max(limit, 0),
            lambda some, most: self.store.claim(self._lease.id, some, now, most),
        )
        if claimed is None:
            self._lease.changed()  # off the record: it joins again, and wakes this loop
        return claimed or Claimed((), None)

    def _claimables(self, now: int) -> tuple[Claimable, ...]:
        basis = (self.registry.snapshot, self.store.lanes(), self._processes.outdated)
        if self._basis is None or any(a is not b for a, b in zip(basis, self._basis, strict=True)):
            snapshot, lanes, _ = basis
            self._reentries.look(snapshot, lanes, now)
            self._processes.keep({entry.generation for entry in snapshot.types.values()})
            self._claimable = self._sort_lanes(snapshot, lanes)
            self._basis = basis
        return self._claimable

    def _sort_lanes(self, snapshot: Snapshot, lanes: Sequence[Lane]) -> tuple[Claimable, ...]:
        """Group what can be run completely by the executor that will: type loaded, schema not
        newer than the code, schedule kind and executor present, and for a child process the code.
        """
        sorted_lanes: dict[Executor, dict[int, tuple[Lane, Entry]]] = {}
        for lane in lanes:
            entry = snapshot.types.get(lane.event_type)
            if entry is None or lane.schema_version > entry.job.version:
                continue
            executor = self._executor(entry, snapshot)
            gone = executor is self._processes and entry.generation in self._processes.outdated
            if lane.kind in snapshot.kinds and executor is not None and not gone:
                sorted_lanes.setdefault(executor, {})[lane.id] = (lane, entry)
        return tuple(Claimable(executor, entries) for executor, entries in sorted_lanes.items())

    def _executor(self, entry: Entry, snapshot: Snapshot) -> Executor | None:
        name = entry.policy.executor or "thread"
        if entry.job.is_async and name in self._own_executors and name != "process":
            name = "async"  # only a loop can await it; a child process has one
        return self._own_executors.get(name) or snapshot.executors.get(name)

    def _hand_over(self, work: RunnerWork) -> None:
        self._under_way.queue(work)
        try:
            work.room.executor.submit(work)
        except BaseException as error:
            hook_failed(work.entry.generation.plugin, "horae_executors", error)
            failed = work.result(Outcome.FAILED, error=describe(error), cause=Cause.ERROR)
            self._under_way.end_unbegun(work, failed)

    def _announce(
        self,
        done: Ended,
        settlements: Sequence[Settlement],
        fenced: set[tuple[int, int]],
    ) -> None:
        observers = self.registry.snapshot.observers
        for (work, result), settled in zip(done, settlements, strict=True):
            if work.key in fenced:
                logs.get().info("run.fenced", event_id=work.event_id, claim=work.claim)
                continue
            if result.outcome is not Outcome.SUCCEEDED or self._accounts.in_trouble:
                self._account(work, result)
            if "horae_run_finished" in observers:
                filters = {"event_id": work.event_id, "claim": work.claim}
                for run in self.store.runs(filters, 1, 0):
                    self.registry.observe("horae_run_finished", run=run)
            if "horae_event_missed" in observers:
                self._announce_missed(work, settled, ran=result.left_out is None)

    def _account(self, work: RunnerWork, result: Result) -> None:
        if result.cause is not Cause.PERMISSION:
            self._accounts.account(work.entry, result.outcome, result.error, crashed=result.crashed)

    def _announce_missed(self, work: RunnerWork, settled: Settlement, *, ran: bool) -> None:
        """Tell of the occurrences that had no run to themselves: those that a run stood for
        beside its own one, or all that were left out.
        """
        skipped = settled.covers - ran
        if skipped < 1 or settled.settled != work.row.occurrence:
            return
        first: datetime | None = from_micros(work.row.occurrence)
        if ran:
            try:
                schedule = load_schedule(work.row.schedule, self.registry.snapshot.kinds)
                first = schedule.next_after(from_micros(work.row.occurrence)) if schedule else None
            except BaseException:
                return  # it could say a moment ago, and is asked again when it is due
        self.registry.observe(
            "horae_event_missed",
            event_id=work.event_id,
            event_type=work.event_type,
            occurrence=first,
            skipped=skipped,
        )

    def _wait(self) -> None:
        """Sleep until something is due or happens; look for other processes' changes meanwhile."""
        # The first look comes before the first sleep: who is woken all the time never sleeps.
        while not (self._look_around() or self._wake.is_set()):
            timeout = self._until_next()
            if timeout <= 0 or self._wake.wait(timeout) or self._under_way.ended:
                break
        self._wake.clear()

    def _until_next(self) -> float:
        moments = [work.deadline for work in self._under_way.running if work.deadline]
        until = min([*moments, self._next_due])
        oldest = self._under_way.oldest_queued()
        patience = PATIENCE if oldest is None else oldest + PATIENCE - time.monotonic()
        seconds = min(patience, self._under_way.until_note(), (until - self.clock.micros()) / 1e6)
        return min(self._settings.poll, seconds)

    def _look_around(self) -> bool:
        try:
            if not self.store.poll():
                return False
            self.cancel_marked()
        except StoreError:
            return True  # the turn meets the same trouble and deals with it
        self._on_foreign_change()
        return True

    # -- giving up and giving back

    def _give_up_late(self, now: int) -> None:
        for work in self._under_way.running:
            if work.deadline is not None and work.deadline <= now:
                limit = work.entry.policy.timeout
                reason = f"still running after its timeout of {limit}"
                self._abandon(work, reason, Outcome.TIMEOUT, Cause.TIMEOUT)

    def _abandon(
        self,
        work: RunnerWork,
        reason: str,
        outcome: Outcome = Outcome.INTERRUPTED,
        cause: Cause = Cause.SHUTDOWN,
    ) -> bool:
        """End a run without its consent: whatever it answers from now on is fenced."""
        place = work.place() if isinstance(work.room.executor, ThreadExecutor) else None
        result = work.result(
            outcome,
            error=f"{reason}, at {place}" if place else reason,
            final=outcome is Outcome.INTERRUPTED and work.entry.policy.interrupted == "fail",
            cause=cause,
            keeps_hold=True,
        )
        if not self._under_way.end(work, result):
            return False
        work.cancelled = True
        self._call_executor(work, work.room.executor.replace)
        if place:
            logs.get().warning(
                "run.thread_replaced",
                event_id=work.event_id,
                claim=work.claim,
                event_type=work.event_type,
                place=place,
            )
        return True

    def _call_executor(self, work: RunnerWork, method: Callable[[Work], None]) -> None:
        try:
            method(work)
        except BaseException as error:
            hook_failed(work.entry.generation.plugin, "horae_executors", error)

    def _retire(
        self,
        chosen: Callable[[RunnerWork], bool],
        timeout: float,
        reason: str = "the host stopped before the run came to its end",
    ) -> Drained:
        self._draining += 1
        try:
            self._turn_over()  # a claim that was under way has been handed over after this
            returned = self._under_way.give_back(chosen)
            running = [work for work in self._under_way.running if chosen(work)]
            self.wake()
            self.wait(lambda: self._ended(running), timeout)
            abandoned = sum(self._abandon(work, reason) for work in running)
            self._processes.wait_ended(running)
            self._turn_over()
        finally:
            self._draining -= 1
        return Drained(len(running) - abandoned, returned, abandoned)

    def _ended(self, works: Sequence[RunnerWork]) -> bool:
        return self._stopping or not any(map(self._under_way.runs, works))

    def _turn_over(self) -> None:
        """Wait for the end of a turn that began after now, but not for ever for a sick store."""
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            return
        target = self._turns + 1
        self.wake()
        self.wait(lambda: self._turns > target or self._nudge(), timeout=5.0)
