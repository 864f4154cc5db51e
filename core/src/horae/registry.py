"""What is loaded right now: the one place where plugins and scheduling meet.

The lifecycle publishes and withdraws, the engine reads. A reader takes ``registry.snapshot`` once
and works with it; a writer makes a new one and stores it in a single attribute, so nobody ever
sees half a plugin.
"""

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from horae import logs
from horae.errors import TypeTaken, describe
from horae.payloads import JobType
from horae_hookspecs import Executor, Policy, Schedule


@attrs.frozen
class Source:
    """Where another process finds a generation's code: ``value`` is what its entry point names,
    or a module's name; ``record`` the digest of its distribution's RECORD, where it has one, and
    ``contents`` that of its files, where it was pinned.
    """

    value: str
    record: str | None = None
    contents: str | None = None


class Generation:
    """One loaded incarnation of a plugin, and how many calls into its code are under way.

    One without a ``source`` is code that this process was given, not loaded.
    """

    def __init__(
        self,
        plugin: str,
        number: int,
        distribution: str | None = None,
        version: str | None = None,
        source: Source | None = None,
    ) -> None:
        self.plugin = plugin
        self.number = number
        self.distribution = distribution
        self.version = version
        self.source = source
        self._inflight = 0
        # Counted without the condition, whose methods are written in Python, and told only to
        # who waits: this is done twice for each run.
        self._counting = threading.Lock()
        self._idle = threading.Condition(self._counting)
        self._waiting = 0

    def enter(self) -> None:
        """Count a call in. Check *afterwards* that the code is still published, then call."""
        with self._counting:
            self._inflight += 1

    def leave(self) -> None:
        """Count a call out."""
        with self._counting:
            self._inflight -= 1
            if self._waiting and not self._inflight:
                self._idle.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no call is under way; False when ``timeout`` seconds were not enough."""
        with self._idle:
            self._waiting += 1
            try:
                return self._idle.wait_for(lambda: not self._inflight, timeout)
            finally:
                self._waiting -= 1


@attrs.frozen
class Drained:
    """What became of the runs under way when a generation, or the whole host, went away."""

    finished: int = 0
    returned: int = 0
    abandoned: int = 0


@attrs.frozen
class Absence:
    """When no living host had a type, in microseconds: from its withdrawal to its next publication.

    ``returning`` says that this host is the one that brings it back.
    """

    began: int
    ended: int
    returning: bool


@attrs.frozen(eq=False)
class Entry:
    """One loaded event type; ``absence`` is the last time that it was absent.

    A contribution has one under each of its ``names``, so that what is stored or scheduled under an
    alias finds the same code; each name has an absence of its own. ``target`` is ``module:name`` of
    what was registered, where another process may need it.
    """

    event_type: str
    job: JobType
    policy: Policy
    generation: Generation
    absence: Absence | None = None
    target: str | None = None
    never_late: bool = attrs.field(init=False)
    """Whether its occurrences are run however late they are, unless an event says otherwise."""

    @never_late.default
    def _runs_whatever_is_late(self) -> bool:
        missed = self.policy.missed
        return self.absence is None and missed.policy == "run_once" and missed.grace is None

    @property
    def names(self) -> tuple[str, ...]:
        """The type's own name, then those that it adopts."""
        return self.event_type, *self.policy.aliases


@attrs.frozen(eq=False)
class Observer:
    """One plugin's implementation of a hook; called with the arguments that it names."""

    plugin: str
    function: Callable[..., Any]
    argnames: tuple[str, ...]

    def __call__(self, arguments: Mapping[str, object]) -> Any:
        """Call it; ``arguments`` are all that the hook has, by name."""
        return self.function(*[arguments[name] for name in self.argnames])


@attrs.frozen(eq=False)
class Contribution:
    """All that one generation brings; published and withdrawn as a whole."""

    generation: Generation
    types: Mapping[str, Entry] = attrs.field(factory=dict)
    kinds: Mapping[str, type[Schedule]] = attrs.field(factory=dict)
    executors: Mapping[str, Executor] = attrs.field(factory=dict)
    observers: Mapping[str, tuple[Observer, ...]] = attrs.field(factory=dict)

    def with_absences(self, absences: Mapping[str, Absence]) -> "Contribution":
        """The same, with what is known of its types' absence."""
        types = {
            name: attrs.evolve(entry, absence=absences.get(name))
            for name, entry in self.types.items()
        }
        return attrs.evolve(self, types=types)


@attrs.frozen(eq=False)
class Snapshot:
    """What is loaded at one moment; never changes."""

    contributions: tuple[Contribution, ...] = ()
    types: Mapping[str, Entry] = MappingProxyType({})
    kinds: Mapping[str, type[Schedule]] = MappingProxyType({})
    executors: Mapping[str, Executor] = MappingProxyType({})
    observers: Mapping[str, tuple[Observer, ...]] = MappingProxyType({})

    @classmethod
    def of(cls, contributions: tuple[Contribution, ...]) -> "Snapshot":
        """The union of ``contributions``. Raises TypeTaken when two of them want one name."""
        observers: dict[str, tuple[Observer, ...]] = {}
        for contribution in contributions:
            for hook, found in contribution.observers.items():
                observers[hook] = observers.get(hook, ()) + found
        return cls(
            contributions,
            _union(contributions, "event type", lambda c: c.types),
            _union(contributions, "schedule kind", lambda c: c.kinds),
            _union(contributions, "executor", lambda c: c.executors),
            MappingProxyType(observers),
        )


class Registry:
    """Holds the current snapshot; ``on_change`` is called after each swap."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.snapshot = Snapshot()
        self.on_change = on_change
        self._writing = threading.Lock()

    def publish(self, new: Contribution) -> None:
        """Make ``new`` visible in one step, in place of what its generation had before.

        Raises TypeTaken and changes nothing when another plugin owns one of its names.
        """
        self._swap(new.generation, new)

    def withdraw(self, generation: Generation) -> None:
        """Make all of ``generation`` invisible, in one step; harmless when it already is."""
        self._swap(generation)

    def ask(self, hook: str, **arguments: object) -> list[Any]:
        """What each implementation of ``hook`` answers; one that raises is logged and left out."""
        answers = []
        for observer in self.snapshot.observers.get(hook, ()):
            try:
                answers.append(observer(arguments))
            except BaseException as error:
                hook_failed(observer.plugin, hook, error)
        return answers

    def observe(self, hook: str, **arguments: object) -> None:
        """Tell every observer of ``hook``; one that raises is logged and stops nobody."""
        self.ask(hook, **arguments)

    def _swap(self, old: Generation, *new: Contribution) -> None:
        with self._writing:
            kept = tuple(c for c in self.snapshot.contributions if c.generation is not old)
            self.snapshot = Snapshot.of(kept + new)
        self.on_change()


def hook_failed(plugin: str, hook: str, error: BaseException) -> None:
    """Log what a plugin's hook raised, under the plugin's name and as text."""
    logs.get().error("plugin.hook_failed", plugin=plugin, hook=hook, error=describe(error))


def _union(
    contributions: tuple[Contribution, ...],
    what: str,
    part: Callable[[Contribution], Mapping[str, Any]],
) -> Mapping[str, Any]:
    union: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for contribution in contributions:
        for name, value in part(contribution).items():
            if name in union:
                raise TypeTaken(contribution.generation.plugin, what, name, owners[name])
            union[name] = value
            owners[name] = contribution.generation.plugin
    return MappingProxyType(union)
