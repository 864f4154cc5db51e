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
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Final, TypeAlias

from horae import Host, SettableClock, Settings, StoreCorrupt
from horae.stores.base import Store
from horae_hookspecs import RetryLater, RunContext
from kit.events import LONG
from kit.hosts import until
from kit.sites import Site, plugin

SOURCE: Final = """
import world_journal

class Job(ScheduledEventJob):
    def run(self, context):
        return world_journal.perform(context, self.way, {version})

policy = dict(version={version}, retry=Retry(attempts=3, jitter=0))

@events.register("acme.work", **policy)
@attrs.frozen
class Work(Job):
    way: str = "well"

@events.register("acme.last", **policy)
@attrs.frozen
class Last(ScheduledEventJob):
    def run(self, context):
        world_journal.begin(context.event_id, {version})

@events.register("acme.dock", exclusive=True, **policy)
@attrs.frozen
class Dock(Job):
    way: str = "well"

@events.register("acme.haul", exclusive=True, **policy)
@attrs.frozen
class Haul(Job):
    way: str = "well"

@events.register("acme.lift", concurrency=Concurrency(per="resource", each=2), **policy)
@attrs.frozen
class Lift(Job):
    way: str = "well"

@events.register("acme.tend", **policy)
@attrs.frozen
class Tend(MultiResourceScheduledEventJob):
    way: str = "well"

    def run(self, context):
        world_journal.begin(context.event_id, {version})
        return context.each(self.run_resource)

    def run_resource(self, context, resource):
        return world_journal.tend(context, resource, self.way)
"""

GATES: Final = {"acme.dock": "exclusive", "acme.haul": "exclusive", "acme.lift": "lift"}
"""Of each type that has a gate for each resource, which one it is."""

ROOM: Final = {"exclusive": 1, "lift": 2}
"""How many runs it has room for."""

Wanted: TypeAlias = tuple[str, str | None]
"""An event type and a resource."""

Gate: TypeAlias = tuple[str, str]
"""A name that has its room in ROOM, and a resource."""

_DEAD_PROCESS: Final = "UPDATE horae_host SET identity = 'another boot/x/1/1' WHERE id = ?"


class Journal(ModuleType):
    """What the plugin's jobs do, and write to, and what can hold them up."""

    def __init__(self) -> None:
        super().__init__("world_journal")
        self.begun: Counter[int] = Counter()
        self.held = 0
        self.versions: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.life = 0
        self.inside: defaultdict[int, Counter[Gate | None]] = defaultdict(Counter)
        self.crowded: list[Gate | None] = []
        self.tended: dict[int, Counter[tuple[datetime, str]]] = {}
        self._writing = threading.Lock()

    def perform(self, context: RunContext, way: str, version: int) -> int:
        """A run of a job that has at most one resource."""
        self.begin(context.event_id, version)
        with self.one_more_inside((context.event_type, context.resource)):
            if way == "held":
                self.hold()
            elif way == "badly":
                raise OSError("it went badly")
            elif way == "twice" and context.attempt == 1:
                raise OSError("it goes well the second time")
            elif way == "later" and self.first(context.event_id):
                raise RetryLater(30)
        return version

    def tend(self, context: RunContext, resource: str, way: str) -> None:
        """One resource's part of a run; only the pier makes any trouble."""
        if resource == "pier" and way == "badly":
            raise OSError("it went badly")
        if resource == "pier" and way == "twice" and context.attempt == 1:
            raise OSError("it goes well the second time")
        if resource == "pier" and way == "later" and self.first(context.event_id):
            raise RetryLater(30)
        done = self.tended.setdefault(context.event_id, Counter())
        done[context.occurrence, resource] += 1

    def begin(self, event_id: int, version: int) -> None:
        """A run has begun."""
        with self._writing:
            self.begun[event_id] += 1
            self.versions.append(version)

    @contextmanager
    def one_more_inside(self, wanted: Wanted) -> Iterator[None]:
        """Count the runs behind each gate. What a host that is believed to be dead still runs is
        in nobody's way, so it is counted apart.
        """
        gate = gate_of(wanted)
        inside = self.inside[self.life]
        with self._writing:
            inside[gate] += 1
            if inside[gate] > room_at(gate):
                self.crowded.append(gate)
        try:
            yield
        finally:
            with self._writing:
                inside[gate] -= 1

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

    patience: ClassVar[float] = LONG
    """Seconds after which what should happen has not."""

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
        # Without preflight: the journal that the plugin writes to is in this process alone.
        settings = Settings(url=self.url, name="world", workers=8, preflight=0, watch="off")
        return Host(settings, clock=self.clock).start()

    def install(self) -> None:
        """Put the plugin's present version on the disk."""
        source = plugin(SOURCE.format(version=self.version))
        self.site.install(source, version=f"{self.version}.0")

    def in_flight(self, wanted: Sequence[Wanted]) -> list[int]:
        """Schedule runs that go on until the gate is opened; see all of those begin that can, and
        nobody else, though what has a gate is wanted once more when it is occupied.
        """
        self.journal.gate.clear()
        before = self.journal.held
        again = [one for one in wanted if gate_of(one) is not None]
        ids = self._crowd(wanted)
        until(lambda: self.journal.held >= before + can_begin(wanted), self.patience)
        ids += self._crowd(again)
        until(lambda: self.journal.held >= before + can_begin([*wanted, *again]), self.patience)
        running = self.host.events(state="running")
        under_way = [(event.event_type, event.resource) for event in running]
        assert len(under_way) == can_begin(under_way), under_way
        return ids

    def _crowd(self, wanted: Sequence[Wanted]) -> list[int]:
        """Schedule these for now, and one for after them: once it has run, they had their chance
        to be claimed.
        """
        requests = [
            {"event_type": one, "resource": at, "arguments": {"way": "held"}, "priority": 0}
            for one, at in wanted
        ]
        *ids, last = self.host.schedule_many([*requests, {"event_type": "acme.last"}])
        assert self.host.wait(last, self.patience) is not None
        return ids

    def crash(self) -> None:
        """The host is gone in the middle of whatever it does; another one starts."""
        host, host_id = self.host, self.host.id
        refuse_everything(host.store)
        self.journal.life += 1
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
        self.journal.life += 1
        other = Host(self.url, clock=self.clock)
        other.store.rescue(lost, "showed no sign of life", self.clock.micros())
        other.close()
        self.journal.gate.set()
        until(lambda: self.host.id != lost, self.patience)

    def close(self) -> None:
        """Let go of everything."""
        self.journal.gate.set()
        self.host.close()
        self.site.close()
        del sys.modules["world_journal"]
        shutil.rmtree(self.folder, ignore_errors=True)


def gate_of(wanted: Wanted) -> Gate | None:
    """The gate that an event of this type and resource has to pass, if any."""
    event_type, resource = wanted
    if resource is None or event_type not in GATES:
        return None
    return GATES[event_type], resource


def room_at(gate: Gate | None) -> int:
    """How many runs have room behind it."""
    return sys.maxsize if gate is None else ROOM[gate[0]]


def can_begin(wanted: Iterable[Wanted]) -> int:
    """How many of these runs can be under way at once."""
    return sum(min(count, room_at(gate)) for gate, count in Counter(map(gate_of, wanted)).items())


def refuse_everything(store: Store) -> None:
    """From here on nothing is written: what a process that is no more can write."""

    def refuse(*_: object, **__: object) -> Any:
        raise StoreCorrupt("the host is no more")

    for verb in ("transaction", "settle", "claim", "rescue", "beat", "publish", "withdraw"):
        setattr(store, verb, refuse)
