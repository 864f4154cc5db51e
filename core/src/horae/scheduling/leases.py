"""Who is alive: a host's own heartbeat, and the rescue of what lost hosts had in hand.

The lease of all claims of a host is its one row in the store. Whoever finds a host lost takes it
off the record and frees its runs. A host is lost when its process is known to be gone, or when
its beat has stood still for a whole lease by the watcher's own monotonic clock, so that a step of
anybody's wall clock makes nobody look dead.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from horae import logs
from horae.clock import Clock
from horae.errors import HostNameTaken, StoreError
from horae.processes import process_gone, process_identity
from horae.settings import Settings
from horae.stores.base import Store
from horae.stores.records import HostRecord
from horae_hookspecs import Cause

TICK: Final = 1.0
"""Seconds between looks at the other hosts' processes; the beat is slower."""

Loaded = Callable[[], tuple[dict[str, int], Sequence[str]]]
"""What is loaded: event types with their schema versions, and schedule kinds."""


class Lease:
    """This host's place among the living; ``id`` is new for each start and each rejoining.

    ``rescues`` counts the hosts that were found lost. ``look_after`` is called with every tick, for
    what one living host at least is to see to.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        loaded: Loaded,
        wake_engine: Callable[[], None],
        look_after: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._loaded = loaded
        self._wake_engine = wake_engine
        self._look_after = look_after
        self._seen: dict[str, tuple[int, float]] = {}
        self._beaten = 0.0
        self.rescues = 0
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._keep, name="horae-lease", daemon=True)
        self.name = settings.name or socket.gethostname()
        self.id = ""

    def start(self) -> None:
        """Free what dead hosts left, take a name and a place on the record, keep it.

        Raises HostNameTaken when the name from the settings belongs to a living host.
        """
        self.rescue_lost()
        self.name = self._free_name({host.name: host for host in self._store.hosts()})
        self._join()
        self._thread.start()

    def stop(self) -> None:
        """Leave the record. Runs that were never settled are freed with it."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        reason = f"host {self.name} stopped"
        self._store.rescue(self.id, reason, self._clock.micros(), Cause.SHUTDOWN)

    def changed(self) -> None:
        """What is loaded has changed, or the host is off the record: see to it with a beat."""
        self._beaten = 0.0
        self._wake.set()

    def tell(self) -> None:
        """What is loaded stands on the record once this returns, for others that look."""
        self._store.beat(self.record(), self._clock.micros())

    def rescue_lost(self) -> None:
        """Take over from every host that is known or believed to be dead."""
        for host in self._store.hosts():
            if host.id != self.id and (lost := self._lost(host)):
                reason, cause = lost
                freed = self._store.rescue(host.id, reason, self._clock.micros(), cause)
                self.rescues += 1
                logs.get().warning("host.lost", host=host.name, reason=reason, interrupted=freed)
                self._wake_engine()

    def record(self) -> HostRecord:
        """This host as it stands in the store."""
        types, kinds = self._loaded()
        return HostRecord(
            id=self.id,
            name=self.name,
            identity=process_identity(),
            pid=os.getpid(),
            beat=0,
            beaten=self._clock.micros(),
            event_types=types,
            kinds=tuple(kinds),
        )

    def _keep(self) -> None:
        while not self._stopping:
            try:
                self._beat_if_due()
                self.rescue_lost()
                self._look_after()
            except StoreError as error:
                logs.get().error("host.beat_failed", error=str(error))
            self._wake.wait(min(TICK, self._settings.beat))
            self._wake.clear()

    def _beat_if_due(self) -> None:
        if time.monotonic() - self._beaten >= self._settings.beat:
            self._beaten = time.monotonic()  # first, so that a change during the beat asks again
            if not self._store.beat(self.record(), self._clock.micros()):
                lost_id = self.id
                self._join()
                logs.get().warning("host.rejoined", name=self.name, lost_id=lost_id, id=self.id)

    def _join(self) -> None:
        """Go on the record under a new id; only then is it used, since claims need the record."""
        record = attrs.evolve(self.record(), id=f"{self.name}-{secrets.token_hex(4)}")
        self._store.join(record)
        self.id = record.id
        self._wake_engine()

    def _lost(self, host: HostRecord) -> tuple[str, Cause] | None:
        who = f"host {host.name} (process {host.pid})"
        if process_gone(host.identity, one_kernel=self._store.one_kernel):
            return f"{who} is gone", Cause.HOST_LOST
        beat, since = self._seen.get(host.id, (None, 0.0))
        if beat != host.beat:
            self._seen[host.id] = (host.beat, time.monotonic())
            return None
        still = time.monotonic() - since
        if still < self._settings.lease:
            return None
        return f"{who} showed no sign of life for {still:.0f} s", Cause.LEASE_LOST

    def _free_name(self, living: dict[str, HostRecord]) -> str:
        if self.name not in living:
            return self.name
        if self._settings.name:
            raise HostNameTaken(self.name, living[self.name].pid)
        return next(
            name for i in range(2, len(living) + 3) if (name := f"{self.name}-{i}") not in living
        )
