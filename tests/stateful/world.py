"""A host's world that can be lived in at random: one file, one plugin, and hosts that come and go.

Nothing of horae is replaced. A crash is a store that takes nothing more, so that whatever the host
had in hand stays as a killed process leaves it; a lost lease is another host that declares this
one dead while it goes on.
"""

import shutil
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from horae import Host, SettableClock, Settings, StoreCorrupt
from horae.stores.base import Store
from kit.events import LONG
from kit.hosts import until
from kit.sites import Site, plugin

SOURCE: Final = """
import world_journal

@events.register("acme.work", version={version}, retry=Retry(attempts=3, jitter=0))
@attrs.frozen
class Work(ScheduledEventJob):
    way: str = "well"

    def run(self, context):
        world_journal.begin(context.event_id, context.occurrence, {version})
        if self.way == "held":
            world_journal.hold()
        elif self.way == "badly":
            raise OSError("it went badly")
        elif self.way == "twice" and context.attempt == 1:
            raise OSError("it goes well the second time")
        elif self.way == "later" and world_journal.first(context.event_id):
            raise RetryLater(30)
        return {version}
"""

_DEAD_PROCESS: Final = "UPDATE horae_host SET identity = 'another boot/x/1/1' WHERE id = ?"


class Journal(ModuleType):
    """What the plugin's job writes to, and what can hold it up."""

    def __init__(self) -> None:
        super().__init__("world_journal")
        self.begun: Counter[int] = Counter()
        self.held = 0
        self.versions: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self._writing = threading.Lock()

    def begin(self, event_id: int, occurrence: Any, version: int) -> None:
        """A run has begun."""
        with self._writing:
            self.begun[event_id] += 1
            self.versions.append(version)

    def first(self, event_id: int) -> bool:
        """Whether this is the first run of the event."""
        return self.begun[event_id] == 1

    def hold(self) -> None:
        """Wait for the gate."""
        if not self.gate.is_set():
            with self._writing:
                self.held += 1
            assert self.gate.wait(LONG)


class World:
    """Everything that a history happens in."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.journal = sys.modules["world_journal"] = Journal()
        self.clock = SettableClock()
        self.site = Site(self.folder / "site")
        self.version = 1
        self.install()
        self.host = self.begin()
        self.host.load_plugin("acme")

    @property
    def url(self) -> str:
        """Where the events are. NORMAL: no power fails here, and a history is soon told."""
        return f"sqlite:///{self.folder}/events.db?synchronous=NORMAL"

    def begin(self) -> Host:
        """A host that starts; it loads what the last one had."""
        return Host(Settings(url=self.url, name="world", workers=4), clock=self.clock).start()

    def install(self) -> None:
        """Put the plugin's present version on the disk."""
        source = plugin(SOURCE.format(version=self.version))
        self.site.install(source, version=f"{self.version}.0")

    def in_flight(self, count: int) -> list[int]:
        """Schedule ``count`` runs and see them begin; they end when the gate is opened."""
        self.journal.gate.clear()
        expected = self.journal.held + count
        request = {"event_type": "acme.work", "arguments": {"way": "held"}, "priority": 0}
        ids = self.host.schedule_many([request] * count)
        until(lambda: self.journal.held >= expected, LONG)
        return ids

    def crash(self) -> None:
        """The host is gone in the middle of whatever it does; another one starts."""
        host, host_id = self.host, self.host.id
        refuse_everything(host.store)
        self.journal.gate.set()
        host.stop(drain=0)
        with sqlite3.connect(self.folder / "events.db") as connection:
            connection.execute(_DEAD_PROCESS, (host_id,))
        connection.close()
        host._lifecycle.close()
        host.store.close()
        self.host = self.begin()

    def restart(self) -> None:
        """The host stops in good order, and starts again."""
        self.host.close()
        self.host = self.begin()

    def lose_the_lease(self) -> None:
        """Another host declares this one dead, whose runs go on, end, and are fenced."""
        lost = self.host.id
        assert lost is not None
        other = Host(self.url, clock=self.clock)
        other.store.rescue(lost, "showed no sign of life", self.clock.micros())
        other.close()
        self.journal.gate.set()
        until(lambda: self.host.id != lost, LONG)

    def close(self) -> None:
        """Let go of everything."""
        self.journal.gate.set()
        self.host.close()
        self.site.close()
        del sys.modules["world_journal"]
        shutil.rmtree(self.folder, ignore_errors=True)


def refuse_everything(store: Store) -> None:
    """From here on nothing is written: what a process that is no more can write."""

    def refuse(*_: object, **__: object) -> Any:
        raise StoreCorrupt("the host is no more")

    for verb in ("transaction", "settle", "claim", "rescue", "beat", "publish", "withdraw"):
        setattr(store, verb, refuse)
