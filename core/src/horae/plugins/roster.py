"""Who is there: every plugin that a host has dealt with, what is loaded, and how each stands.

Every edge between two states passes through ``Roster.move``: noted, logged and told to others.
"""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

import attrs

from horae import logs
from horae.errors import PluginNeeded
from horae.plugins import dependencies, editable, modules, suspensions
from horae.plugins.activation import Activation
from horae.plugins.discovery import BUILTIN_DISTRIBUTION, Candidate
from horae.plugins.globals import Footprint
from horae.registry import Contribution, Generation, Source
from horae_hookspecs import PluginInfo, PluginState

MAX_REASON: Final = 2000
"""Characters of a reason that are kept."""


@attrs.define(eq=False)
class Loaded:
    """A plugin in memory, and all that is needed to take it out again."""

    info: PluginInfo
    generation: Generation
    candidate: Candidate | None = None
    plugin: Any = None
    contribution: Contribution | None = None
    activation: Activation | None = None
    needs: tuple[str, ...] = ()
    footprint: Footprint | None = None
    settings: Any = None
    settings_schema: Mapping[str, Any] | None = None
    additions: editable.Additions = attrs.field(factory=editable.Additions)
    suspended: Mapping[str, str] = attrs.field(factory=dict)
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    """Where its code runs as it comes and goes: what it sets there goes with it."""

    def modules(self) -> dict[str, ModuleType]:
        """The loaded modules that belong to it; none for an application's own plugin."""
        origin = self.candidate
        return {} if origin is None else modules.owned(origin.files, origin.module)

    def vacate(self) -> dict[str, ModuleType]:
        """Take its modules out of the interpreter, and what led to them; the modules."""
        own = self.modules()
        modules.purge(own)
        if self.candidate is not None and not self.candidate.files:
            editable.forget_compiled(own)
        self.additions.undo()
        return own


class Roster:
    """The plugins of one host. Whoever changes something holds ``changing``."""

    def __init__(self, host: Callable[[], str], announce: Callable[[PluginInfo], None]) -> None:
        self.loaded: dict[str, Loaded] = {}
        self.changing = threading.RLock()
        self._host = host
        self._announce = announce
        self._infos: dict[str, PluginInfo] = {}
        self._generations: dict[str, int] = {}
        self._edge_began = time.monotonic()

    # -- who there is

    def infos(self) -> list[PluginInfo]:
        """All that there ever were, as they stand now, by name."""
        infos = self._infos.copy()  # others may add to it meanwhile
        return [infos[name] for name in sorted(infos)]

    def stands(self, info: PluginInfo) -> bool:
        """Whether this is how a plugin stands, still."""
        return self._infos.get(info.name) is info

    def is_builtin(self, name: str) -> bool:
        """Whether the plugin came with horae itself."""
        info = self._infos.get(name)
        return info is not None and info.distribution == BUILTIN_DISTRIBUTION

    def candidates(self) -> dict[str, Candidate]:
        """What the loaded plugins were on disk when they were loaded, by their names."""
        found = {name: loaded.candidate for name, loaded in list(self.loaded.items())}
        return {name: candidate for name, candidate in found.items() if candidate is not None}

    def needed_by(self, name: str) -> list[str]:
        """The loaded plugins that ``name`` needs, directly or not, in the order of loading."""
        loaded = self.loaded.get(name)
        direct = () if loaded is None else loaded.needs
        found = {name for one in direct for name in (*self.needed_by(one), one)}
        return [one for one in self.loaded if one in found]

    def dependents(self, name: str, action: str, *, include: bool) -> list[Loaded]:
        """The loaded plugins that need ``name``, in the order of loading. Raises PluginNeeded when
        there are some, and they are not to be included.
        """
        needed = {one: loaded.needs for one, loaded in self.loaded.items()}
        found = dependencies.dependents(name, needed)
        if found and not include:
            raise PluginNeeded(name, action, found)
        return [self.loaded[one] for one in found]

    # -- who comes

    def new(
        self,
        name: str,
        distribution: str | None = None,
        version: str | None = None,
        source: Source | None = None,
        **origin: Any,
    ) -> Loaded:
        """The next generation of a plugin, of which nothing is loaded yet."""
        number = self._generations.get(name, 0) + 1
        return Loaded(
            info=PluginInfo(
                name=name,
                distribution=distribution,
                version=version,
                state=PluginState.DISCOVERED,
                generation=number,
                host=self._host(),
            ),
            generation=Generation(name, number, distribution, version, source),
            **origin,
        )

    def count(self, generation: Generation) -> None:
        """The generation's number is not given again, whatever becomes of it."""
        self._generations[generation.plugin] = generation.number

    # -- how they stand

    def begin(self) -> None:
        """A change of a plugin begins: the seconds of its first edge count from here."""
        self._edge_began = time.monotonic()

    def move(
        self,
        info: PluginInfo,
        state: PluginState,
        phase: str,
        reason: str | None = None,
        **details: object,
    ) -> PluginInfo:
        """An edge between two states; gives the plugin as it stands then.

        ``phase`` is what was done last, and is kept where it failed; the seconds that are logged
        are those since the edge before, or since this change of the plugin began.
        """
        failed = state.is_failure
        reason = _cut(reason) if reason else None
        info = attrs.evolve(info, state=state, reason=reason, phase=phase if failed else None)
        self._infos[info.name] = info
        now = time.monotonic()
        edge = {
            "plugin": info.name,
            "version": info.version,
            "generation": info.generation,
            "phase": phase,
            "reason": reason,
            "seconds": now - self._edge_began,
        }
        level = logging.ERROR if failed else logging.WARNING if details else logging.INFO
        logs.get().log(level, f"plugin.{state.name.lower()}", **(edge | details))
        self._edge_began = now
        self._announce(info)
        return info

    def stand(self, loaded: Loaded, phase: str) -> PluginInfo:
        """A loaded plugin is active, or suspended where all of its types are."""
        state, reason = suspensions.standing(loaded.contribution, loaded.suspended)
        loaded.info = self.move(loaded.info, state, phase, reason)
        return loaded.info

    def remark(self, name: str, text: str | None, *, instead_of: str | None = None) -> PluginInfo:
        """Have ``text`` shown beside a plugin, or in the place of just that other text.

        It is no change of state.
        """
        with self.changing:
            info = self._infos.get(name)
            assert info is not None
            if instead_of is None or info.reason == instead_of:
                info = self._infos[name] = attrs.evolve(info, reason=text)
                if name in self.loaded:
                    self.loaded[name].info = info
            return info


def _cut(text: str) -> str:
    return text if len(text) <= MAX_REASON else text[:MAX_REASON] + "..."
