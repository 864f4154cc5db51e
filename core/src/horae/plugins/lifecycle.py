"""The life of a plugin, from top to bottom: load, suspend, resume, unload, upgrade.

All structural changes happen one at a time, under one lock. A load that fails anywhere takes back
what it did; an unload goes on whatever the plugin raises and tells what is left; an upgrade that
fails leaves the old code at work. ``Phases`` has the phases that a plugin goes through, ``Roster``
who there is and how each stands.
"""

import difflib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs

from horae.clock import Clock
from horae.errors import (
    PluginBusy,
    PluginError,
    PluginNotFound,
    RestartRequired,
)
from horae.plugins import modules, suspensions
from horae.plugins.discovery import BUILTIN_DISTRIBUTION, Candidate, discover
from horae.plugins.leaks import Remains
from horae.plugins.past import Past, in_words
from horae.plugins.phases import Phases
from horae.plugins.roster import Loaded, Roster
from horae.processes import process_gone
from horae.registry import Drained, Generation, Registry, Source
from horae.settings import Settings
from horae.stores.base import Store
from horae.stores.records import Suspension
from horae_hookspecs import HostView, LeakReport, PluginInfo, PluginState, UnloadReport

Drain = Callable[[Generation, float, str], Drained]
"""Lets the runs of a withdrawn generation come to their end; the engine does it."""

SHOWN: Final = 3
"""How many survivors are named in the reason why a plugin is leaking; the report has more."""


class Lifecycle:
    """Loads, upgrades and unloads the plugins of one host."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        host: HostView,
        settings: Settings,
        drain: Drain,
        announce: Callable[[PluginInfo], None],
        withdrawn: Callable[[PluginInfo], None],
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._host = host
        self._drain = drain
        self._withdrawn = withdrawn
        self._past = Past()
        self._roster = Roster(lambda: host.name, announce)
        self._phases = Phases(store, registry, clock, host, settings, self._roster, self.load)
        self.has_builtins = False

    # -- what there is

    def plugins(self) -> list[PluginInfo]:
        """Every plugin that this host has dealt with, as it stands now."""
        self.look_again()
        return self._roster.infos()

    def loaded_candidates(self) -> dict[str, Candidate]:
        """What the loaded plugins were on disk when they were loaded, by their names."""
        return self._roster.candidates()

    def is_builtin(self, name: str) -> bool:
        """Whether the plugin came with horae itself."""
        return self._roster.is_builtin(name)

    def is_loaded(self, name: str) -> bool:
        """Whether the plugin is in memory, suspended or not."""
        return name in self._roster.loaded

    def needed_by(self, name: str) -> list[str]:
        """The loaded plugins that ``name`` needs, directly or not, in the order of loading."""
        return self._roster.needed_by(name)

    def record_of(self, name: str) -> str | None:
        """The digest of the RECORD that a plugin was loaded from; None when it is not loaded."""
        loaded = self._roster.loaded.get(name)
        return None if loaded is None or loaded.candidate is None else loaded.candidate.record

    def settings_schema(self, name: str) -> Mapping[str, Any] | None:
        """The JSON Schema of a loaded plugin's settings; None where it has no class for them."""
        loaded = self._roster.loaded.get(name)
        return None if loaded is None else loaded.settings_schema

    def suspension(self, name: str) -> Suspension | None:
        """What of a loaded plugin is suspended."""
        loaded = self._roster.loaded.get(name)
        if loaded is None:
            return None
        return suspensions.recorded(loaded.info.version, loaded.suspended)

    def remark(self, name: str, text: str | None, *, instead_of: str | None = None) -> PluginInfo:
        """Have ``text`` shown beside a plugin, or in the place of just that other text.

        It is no change of state.
        """
        with self._roster.changing:
            return self._roster.remark(name, text, instead_of=instead_of)

    # -- coming

    def load_builtins(self) -> None:
        """Load what came with horae; they are found like any other plugin."""
        for candidate in discover().values():
            if candidate.distribution == BUILTIN_DISTRIBUTION:
                self.load(candidate.name)
        self.has_builtins = True

    def load(self, name_or_plugin: str | object) -> PluginInfo:
        """Load a plugin by its entry point's name, or a module or object already imported.

        What it needs is loaded before it. Raises PluginNotFound, or PluginLoadFailed with the
        phase; then nothing of it is left.
        """
        with self._roster.changing:
            loaded = self._prepare(name_or_plugin)
            active = self._roster.loaded.get(loaded.info.name)
            if active is not None:
                return active.info
            self._phases.plan(loaded)
            self._phases.admit(loaded)
            return self._phases.bring_up(loaded)

    def _prepare(self, name_or_plugin: str | object) -> Loaded:
        if isinstance(name_or_plugin, str):
            active = self._roster.loaded.get(name_or_plugin)
            return active or self._phases.of(_find(name_or_plugin))
        name = getattr(name_or_plugin, "__name__", type(name_or_plugin).__name__)
        return self._roster.new(name, source=_module(name_or_plugin), plugin=name_or_plugin)

    def rehearse(self, candidate: Candidate, folder: Path) -> None:
        """Find what speaks against a plugin that is not installed yet, but lies in a folder.

        Raises PluginLoadFailed; what is loaded of the plugin goes on.
        """
        with self._roster.changing:
            old = self._roster.loaded.get(candidate.name)
            with nullcontext() if old is None else self._or_as_it_was(old):
                self._phases.rehearse(candidate, folder)

    def vouch(self, candidate: Candidate) -> None:
        """What is installed was rehearsed, or runs elsewhere: it needs no preflight."""
        self._phases.vouch(candidate)

    def refuse(self, error: RestartRequired) -> None:
        """Show why a plugin cannot be replaced here; what is loaded of it goes on."""
        self._phases.refuse(error)

    # -- standing aside

    def suspend(self, generation: Generation, reasons: Mapping[str, str]) -> PluginInfo | None:
        """Leave types of a plugin out of what this host runs, each with the reason; their events
        wait like those of an absent type. None when that generation is not the loaded one.
        """
        with self._roster.changing:
            loaded = self._roster.loaded.get(generation.plugin)
            if loaded is None or loaded.generation is not generation:
                return None
            assert loaded.contribution is not None
            fresh = suspensions.named(reasons, loaded.contribution)
            loaded.suspended = {**fresh, **loaded.suspended}
            self._registry.publish(suspensions.without(loaded.contribution, loaded.suspended))
            self._withdraw_from_catalogue(loaded)
            self._roster.begin()
            self._roster.stand(loaded, "suspension")
            self._withdrawn(loaded.info)
            return loaded.info

    def resume(self, name: str) -> PluginInfo:
        """Run all types of a plugin again; one that is not loaded is loaded for it. Raises what
        ``load`` raises.
        """
        with self._roster.changing:
            self.load(name)
            loaded = self._roster.loaded[name]
            if loaded.suspended:
                self._roster.begin()
                self._phases.show(loaded, {})
                self._roster.stand(loaded, "resumption")
            return loaded.info

    # -- going

    def unload(
        self,
        name: str,
        drain: float,
        *,
        include_builtin: bool = False,
        include_dependents: bool = False,
    ) -> UnloadReport:
        """Withdraw a plugin, let its runs end, take its code out, and tell what became of it.

        Pending events of its types are not touched: they wait. ``drain`` is in seconds, for each
        plugin. Raises PluginError when no such plugin is loaded, and PluginNeeded when others need
        it and are not to be unloaded before it.
        """
        with self._roster.changing:
            loaded = self._roster.loaded.get(name)
            if loaded is None:
                raise PluginError(
                    f"Plugin {name!r} is not loaded here, so there is nothing to unload. Loaded: "
                    f"{', '.join(sorted(self._roster.loaded)) or 'none'}.",
                    plugin=name,
                )
            if self._roster.is_builtin(name) and not include_builtin:
                raise PluginError(
                    f"Plugin {name!r} came with horae; without it no event could be scheduled.",
                    plugin=name,
                )
            dependents = self._roster.dependents(name, "unload", include=include_dependents)
            reports = [self._unload(one, drain) for one in (*reversed(dependents), loaded)]
            for one in (*dependents, loaded):
                self._withdrawn(one.info)
            return attrs.evolve(reports.pop(), dependents=tuple(reports))

    def _unload(self, loaded: Loaded, drain: float) -> UnloadReport:
        self._roster.begin()
        self._registry.withdraw(loaded.generation)
        self._roster.move(loaded.info, PluginState.DRAINING, "withdraw")
        reason = f"plugin {loaded.info.name} was unloaded before the run came to its end"
        drained = self._drain(loaded.generation, drain, reason)
        self._withdraw_from_catalogue(loaded)
        del self._roster.loaded[loaded.info.name]
        info = loaded.info
        remains = Remains(info, loaded.modules(), loaded.footprint)
        errors = self._phases.take_down(loaded)
        self._past.add(remains)
        self._roster.move(info, PluginState.UNLOADED, "purge", "; ".join(errors))
        leaks = self._verdict(remains, errors)
        return UnloadReport(
            plugin=info.name,
            finished=drained.finished,
            returned=drained.returned,
            abandoned=drained.abandoned,
            collected=leaks is None or leaks.collected,
            holders=tuple(map(str, leaks.survivors)) if leaks else (),
            errors=tuple(errors),
            leaks=leaks,
        )

    def _verdict(self, remains: Remains, errors: list[str]) -> LeakReport | None:
        leaks = self._past.verdict(remains)
        if leaks is None or leaks.collected:
            self._roster.move(remains.info, PluginState.COLLECTED, "verdict", "; ".join(errors))
        else:
            reason = "; ".join([*errors, *map(str, leaks.survivors[:SHOWN])])
            self._roster.move(
                remains.info, PluginState.LEAKING, "verdict", reason, **in_words(leaks)
            )
        return leaks

    def leaks(self, name: str) -> list[LeakReport]:
        """What is left of earlier generations of a plugin, oldest first; looks for it once more.

        One that was leaking and is gone by now becomes collected.
        """
        with self._roster.changing:
            reports = self._past.leaks(name)
            self.look_again()
            return reports

    def look_again(self) -> None:
        """What was leaking is collected once nothing is alive of it."""
        infos = self._roster.infos()
        leaking = [info for info in infos if info.state is PluginState.LEAKING]
        if leaking and self._roster.changing.acquire(blocking=False):
            try:
                for info in leaking:
                    if self._roster.stands(info) and self._past.is_gone(info.name):
                        self._roster.begin()
                        self._roster.move(info, PluginState.COLLECTED, "verdict")
            finally:
                self._roster.changing.release()

    def close(self, *, keep_modules: bool = False) -> None:
        """Take every plugin down with the host, the latest first; all are wanted again later.

        ``keep_modules`` is for tests, which have imported from the plugins, and go on.
        """
        with self._roster.changing:
            for loaded in reversed(list(self._roster.loaded.values())):
                if keep_modules or self.is_builtin(loaded.info.name):
                    # Its modules stay: applications import schedules from them, and the next
                    # host's kinds must be of the same classes.
                    loaded.candidate = None
                self._roster.begin()
                errors = self._phases.take_down(loaded)
                del self._roster.loaded[loaded.info.name]
                self._roster.move(loaded.info, PluginState.UNLOADED, "purge", "; ".join(errors))
            self._past.close()

    def _withdraw_from_catalogue(self, loaded: Loaded) -> None:
        """A type's absence begins when the last living host withdraws it; one that the plugin's
        next version still has is not absent.
        """
        mine = loaded.contribution.types if loaded.contribution else ()
        elsewhere = {
            event_type
            for host in self._store.hosts()
            if host.name != self._host.name
            and not process_gone(host.identity, one_kernel=self._store.one_kernel)
            for event_type in host.event_types
        }
        gone = set(mine) - elsewhere - set(self._registry.snapshot.types)
        self._store.withdraw(sorted(gone), self._clock.micros())

    # -- upgrading

    def upgrade(
        self,
        name: str,
        drain: float,
        *,
        include_dependents: bool = False,
        disk: AbstractContextManager[object] | None = None,
    ) -> PluginInfo:
        """Replace a loaded plugin by what is on disk now, or leave everything as it was.

        Plugins that need it hold its old code, so they are unloaded before and loaded after it,
        or this raises PluginNeeded. ``disk`` puts the new code there as it is entered, once the
        old is out of the way, and takes it back when it is left with an error. Raises PluginBusy
        when runs were still under way after ``drain`` seconds, RestartRequired when this process
        cannot run the new code, and PluginLoadFailed when that does not load; in each case the
        old code goes on.
        """
        with self._roster.changing:
            old = self._roster.loaded.get(name)
            if old is None:
                with disk or nullcontext():
                    return self.load(name)
            dependents = self._roster.dependents(name, "upgrade", include=include_dependents)
            with self._away(dependents, drain):
                return self._upgrade(old, drain, disk)

    @contextmanager
    def _away(self, dependents: list[Loaded], drain: float) -> Iterator[None]:
        """Have plugins unloaded meanwhile, and whatever comes of it, loaded again after it."""
        names = [one.info.name for one in dependents]
        for one in reversed(dependents):
            self._unload(one, drain)
        del dependents[:]
        try:
            yield
        finally:
            failures = [self._reload(name) for name in names]
        for failure in filter(None, failures):
            raise failure

    def _reload(self, name: str) -> PluginError | None:
        try:
            self.load(name)
        except PluginError as error:
            return error
        return None

    def _upgrade(
        self, old: Loaded, drain: float, disk: AbstractContextManager[object] | None
    ) -> PluginInfo:
        if old.candidate is None:
            raise PluginError(
                f"Plugin {old.info.name!r} belongs to the application itself; reload it there.",
                plugin=old.info.name,
            )
        new = None if disk else self._phases.of(_find(old.info.name))
        if new is not None:
            self._phases.plan(new)
        with self._or_as_it_was(old):
            if new is not None:
                self._phases.admit(new)
            with self._parked(old, drain), disk or nullcontext():
                if new is None:
                    new = self._phases.of(_find(old.info.name))
                    self._phases.admit(new)
                self._phases.bring_up(new)
        self._withdraw_from_catalogue(old)
        old.candidate = None  # its modules are gone; what has their names now is the new code
        self._phases.take_down(old)
        self._past.settle(old.info.name)
        self._withdrawn(old.info)
        return new.info

    @contextmanager
    def _parked(self, old: Loaded, drain: float) -> Iterator[None]:
        """Take the old code out of the way for the new; on any error, put it back to work.

        Its events wait meanwhile.
        """
        assert old.contribution is not None
        contribution, own = old.contribution, dict[str, ModuleType]()
        remains = Remains(old.info, old.modules(), old.footprint)
        self._registry.withdraw(old.generation)
        try:
            self._drain_or_refuse(old, drain)
            own = old.vacate()
            self._past.add(remains)
            yield
        except BaseException:
            old.additions.redo()
            modules.restore(own)
            self._past.remove(remains)
            self._registry.publish(suspensions.without(contribution, old.suspended))
            raise

    @contextmanager
    def _or_as_it_was(self, old: Loaded) -> Iterator[None]:
        """On any error, show the old code as what is loaded, and why it still is."""
        assert old.contribution is not None
        try:
            yield
        except BaseException as error:
            untouched = isinstance(error, PluginBusy) or not isinstance(error, PluginError)
            still = old.info.reason if untouched else f"still {old.info.version}, for {error}"
            state, _ = suspensions.standing(old.contribution, old.suspended)
            self._roster.move(old.info, state, "roll-back", still)
            raise

    def _drain_or_refuse(self, old: Loaded, drain: float) -> None:
        if not old.generation.wait_idle(drain):
            raise PluginBusy(
                f"Runs of plugin {old.info.name!r} were still under way after {drain:g} s, so "
                "nothing was changed. Give it more time (drain=...), or unload and load it.",
                plugin=old.info.name,
            )


def _find(name: str) -> Candidate:
    found = discover()
    if name in found:
        return found[name]
    near = difflib.get_close_matches(name, list(found), n=1)
    raise PluginNotFound(name, sorted(found), near[0] if near else None)


def _module(plugin: object) -> Source | None:
    """Where a plugin that was given as an object is found, if it is a module with a name that
    leads to it.
    """
    spec = getattr(plugin, "__spec__", None)
    found = isinstance(plugin, ModuleType) and sys.modules.get(plugin.__name__) is plugin
    return Source(spec.name) if found and spec is not None else None
