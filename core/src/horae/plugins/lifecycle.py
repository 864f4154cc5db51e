"""The life of a plugin, from top to bottom: discover, load, publish ... withdraw, drain, purge.

All structural changes happen one at a time, under one lock. A load that fails anywhere takes back
what it did; an unload goes on whatever the plugin raises and tells what is left. Errors of a
plugin are kept as text: an exception object would hold its frames, and they its code.
"""

import contextvars
import difflib
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs

from horae import logs
from horae.clock import Clock
from horae.errors import (
    PluginBlocked,
    PluginBusy,
    PluginError,
    PluginIncompatible,
    PluginLoadFailed,
    PluginNeeded,
    PluginNotFound,
    RestartRequired,
    describe,
    locate,
    summarise,
)
from horae.plugins import (
    configuration,
    dependencies,
    editable,
    inplace,
    loader,
    modules,
    provenance,
    suspensions,
    trust,
)
from horae.plugins.activation import Activation, farewell
from horae.plugins.discovery import BUILTIN_DISTRIBUTION, Candidate, discover
from horae.plugins.globals import Footprint
from horae.plugins.interpreter import Interpreter
from horae.plugins.leaks import Remains
from horae.plugins.past import Past, in_words
from horae.plugins.preflight import Preflight
from horae.processes import process_gone
from horae.registry import Contribution, Drained, Generation, Registry, Source
from horae.settings import Settings
from horae.stores.base import Store, Suspension
from horae_hookspecs import HostView, LeakReport, PluginInfo, PluginState, UnloadReport
from horae_hookspecs._current import acting_for

Drain = Callable[[Generation, float, str], Drained]
"""Lets the runs of a withdrawn generation come to their end; the engine does it."""

MAX_REASON: Final = 2000
SHOWN: Final = 3
"""How many survivors are named in the reason why a plugin is leaking; the report has more."""


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
        self._settings = settings
        self._drain = drain
        self._announce = announce
        self._withdrawn = withdrawn
        self._manager = loader.new_manager()
        self._loaded: dict[str, Loaded] = {}
        self._infos: dict[str, PluginInfo] = {}
        self._generations: dict[str, int] = {}
        self._preflight = Preflight(store, host, settings.preflight)
        self._past = Past()
        self._changing = threading.RLock()
        self._edge_began = time.monotonic()
        self.has_builtins = False

    # -- what there is

    def plugins(self) -> list[PluginInfo]:
        """Every plugin that this host has dealt with, as it stands now."""
        self.look_again()
        return [self._infos[name] for name in sorted(self._infos)]

    def loaded_candidates(self) -> dict[str, Candidate]:
        """What the loaded plugins were on disk when they were loaded, by their names."""
        found = {name: loaded.candidate for name, loaded in list(self._loaded.items())}
        return {name: candidate for name, candidate in found.items() if candidate is not None}

    def is_builtin(self, name: str) -> bool:
        """Whether the plugin came with horae itself."""
        info = self._infos.get(name)
        return info is not None and info.distribution == BUILTIN_DISTRIBUTION

    def load_builtins(self) -> None:
        """Load what came with horae; they are found like any other plugin."""
        for candidate in discover().values():
            if candidate.distribution == BUILTIN_DISTRIBUTION:
                self.load(candidate.name)
        self.has_builtins = True

    # -- coming

    def load(self, name_or_plugin: str | object) -> PluginInfo:
        """Load a plugin by its entry point's name, or a module or object already imported.

        What it needs is loaded before it. Raises PluginNotFound, or PluginLoadFailed with the
        phase; then nothing of it is left.
        """
        with self._changing:
            loaded = self._prepare(name_or_plugin)
            active = self._loaded.get(loaded.info.name)
            if active is not None:
                return active.info
            self._plan(loaded)
            self._admit(loaded)
            return self._bring_up(loaded)

    def needed_by(self, name: str) -> list[str]:
        """The loaded plugins that ``name`` needs, directly or not, in the order of loading."""
        loaded = self._loaded.get(name)
        direct = () if loaded is None else loaded.needs
        found = {name for one in direct for name in (*self.needed_by(one), one)}
        return [one for one in self._loaded if one in found]

    def settings_schema(self, name: str) -> Mapping[str, Any] | None:
        """The JSON Schema of a loaded plugin's settings; None where it has no class for them."""
        loaded = self._loaded.get(name)
        return None if loaded is None else loaded.settings_schema

    def _prepare(self, name_or_plugin: str | object) -> Loaded:
        if isinstance(name_or_plugin, str):
            active = self._loaded.get(name_or_plugin)
            return active or self._from_candidate(_find(name_or_plugin))
        name = getattr(name_or_plugin, "__name__", type(name_or_plugin).__name__)
        return self._new(name, None, None, _module(name_or_plugin), plugin=name_or_plugin)

    def _from_candidate(self, candidate: Candidate) -> Loaded:
        return self._new(
            candidate.name,
            candidate.distribution,
            candidate.version,
            Source(candidate.value, candidate.record, self._pin(candidate)),
            candidate=candidate,
        )

    def _pin(self, candidate: Candidate) -> str | None:
        return trust.pin(self._settings.trust, candidate.distribution, candidate.version)

    def _new(
        self,
        name: str,
        distribution: str | None,
        version: str | None,
        source: Source | None,
        **origin: Any,
    ) -> Loaded:
        number = self._generations.get(name, 0) + 1
        return Loaded(
            info=PluginInfo(
                name=name,
                distribution=distribution,
                version=version,
                state=PluginState.DISCOVERED,
                generation=number,
                host=self._host.name,
            ),
            generation=Generation(name, number, distribution, version, source),
            **origin,
        )

    def _plan(self, loaded: Loaded) -> None:
        """See from what this process has loaded whether it can load this as well."""
        if loaded.candidate is not None:
            try:
                inplace.check(loaded.candidate)
            except RestartRequired as error:
                self.refuse(error, loaded)
                raise

    def refuse(self, error: RestartRequired, wanted: Loaded | None = None) -> None:
        """Show why a plugin cannot be replaced here; what is loaded of it goes on."""
        shown = self._loaded.get(error.plugin, wanted)
        if shown is not None:
            self._set(shown.info, PluginState.RESTART_REQUIRED, "plan", error.detail)

    def remark(self, name: str, text: str | None, *, instead_of: str | None = None) -> PluginInfo:
        """Have ``text`` shown beside a plugin, or in the place of just that other text.

        It is no change of state.
        """
        with self._changing:
            info = self._infos.get(name)
            assert info is not None
            if instead_of is None or info.reason == instead_of:
                info = self._infos[name] = attrs.evolve(info, reason=text)
                if name in self._loaded:
                    self._loaded[name].info = info
            return info

    def _admit(self, loaded: Loaded) -> None:
        """Find what speaks against a plugin before anything of it is in this process."""
        self._edge_began = time.monotonic()
        self._go_through(
            loaded,
            {"trust": self._decide, "requirements": self._check, "preflight": self._try_elsewhere},
            self._nothing,
        )

    @staticmethod
    def _nothing(_: Loaded) -> None:
        """What there is to take back of an admission."""

    def rehearse(self, candidate: Candidate, folder: Path) -> None:
        """Find what speaks against a plugin that is not installed yet, but lies in a folder.

        Raises PluginLoadFailed; what is loaded of the plugin goes on.
        """
        with self._changing:
            old = self._loaded.get(candidate.name)
            with nullcontext() if old is None else self._or_as_it_was(old):
                self._edge_began = time.monotonic()
                steps: dict[str, Callable[[Loaded], None]] = {
                    "requirements": lambda _: loader.check_requirements(candidate),
                    "preflight": lambda _: self._preflight.check(candidate, folder),
                }
                self._go_through(self._from_candidate(candidate), steps, self._nothing)

    def vouch(self, candidate: Candidate) -> None:
        """What is installed was rehearsed, or runs elsewhere: it needs no preflight."""
        self._preflight.note(candidate)

    def _decide(self, loaded: Loaded) -> None:
        if loaded.candidate is not None:
            trust.require(self._settings.trust, loaded.candidate)

    def _check(self, loaded: Loaded) -> None:
        if loaded.candidate is not None:
            loader.check_requirements(loaded.candidate)
            self._load_needed(loaded, discover())

    def _load_needed(self, loaded: Loaded, installed: Mapping[str, Candidate]) -> None:
        assert loaded.candidate is not None
        name = loaded.info.name
        *needed, _ = dependencies.load_order(name, {**installed, name: loaded.candidate})
        for one in needed:
            try:
                self.load(one)
            except PluginLoadFailed as error:
                raise loader.Refused(f"it needs plugin {one!r}. {error}") from None
        loaded.needs = dependencies.needs(loaded.candidate, installed.values())

    def _try_elsewhere(self, loaded: Loaded) -> None:
        if loaded.candidate is not None:
            self._preflight.check(loaded.candidate)

    def record_of(self, name: str) -> str | None:
        """The digest of the RECORD that a plugin was loaded from; None when it is not loaded."""
        loaded = self._loaded.get(name)
        return None if loaded is None or loaded.candidate is None else loaded.candidate.record

    def _bring_up(self, loaded: Loaded) -> PluginInfo:
        name = loaded.info.name
        self._generations[name] = loaded.generation.number
        self._edge_began = time.monotonic()
        loaded.footprint = Footprint()
        before = Interpreter()

        def take_back(_: Loaded) -> None:
            self._take_down(loaded)
            before.put_back()

        self._go_through(
            loaded,
            {
                "import": self._import,
                "registration": self._register,
                "settings": self._configure,
                "collection": self._collect,
                "activation": self._activate,
                "publish": self._publish,
            },
            take_back,
        )
        loaded.footprint.loaded()
        self._loaded[name] = loaded
        types = tuple(sorted(loaded.contribution.types)) if loaded.contribution else ()
        info = attrs.evolve(loaded.info, event_types=types)
        state, reason = suspensions.standing(loaded.contribution, loaded.suspended)
        loaded.info = self._set(info, state, "publish", reason)
        if loaded.candidate is not None:
            inplace.note(loaded.candidate, loaded.modules())
            self._preflight.note(loaded.candidate)
        return loaded.info

    def _go_through(
        self,
        loaded: Loaded,
        phases: Mapping[str, Callable[[Loaded], None]],
        take_back: Callable[[Loaded], object],
    ) -> None:
        """Take the steps of ``phases``; the first that fails has all of them taken back."""
        failures = (self._try(phase, step, loaded) for phase, step in phases.items())
        try:
            failure = next(filter(None, failures), None)
        except KeyboardInterrupt:
            take_back(loaded)
            raise
        if failure is not None:
            take_back(loaded)
            self._set(loaded.info, _state_after(failure), failure.phase, _cut(str(failure)))
            raise failure

    def _try(
        self, phase: str, step: Callable[[Loaded], None], loaded: Loaded
    ) -> PluginLoadFailed | None:
        """Take one step; its failure as an error without a traceback into the plugin."""
        try:
            loaded.context.run(step, loaded)
        except KeyboardInterrupt:
            raise
        except PluginLoadFailed as error:
            return error.with_traceback(None)
        except loader.Refused as error:
            return PluginLoadFailed(loaded.info.name, phase, str(error))
        except BaseException as error:
            logs.get().error("plugin.load_error", plugin=loaded.info.name, error=describe(error))
            detail = f"{summarise(error)} (raised in {locate(error)})"
            return PluginLoadFailed(loaded.info.name, phase, detail)
        return None

    def _import(self, loaded: Loaded) -> None:
        if loaded.candidate is not None:
            loaded.additions = editable.process(loaded.candidate)
            loaded.plugin = loader.import_plugin(loaded.candidate)

    def _register(self, loaded: Loaded) -> None:
        name = f"{loaded.info.name}#{loaded.generation.number}"
        loader.register(self._manager, loaded.plugin, name)

    def _configure(self, loaded: Loaded) -> None:
        given = self._settings.plugins.get(loaded.info.name, {})
        kinds = loader.call(self._manager, loaded.plugin, "horae_settings")
        if kinds:
            read = configuration.structure(kinds[0], given, loaded.info.name)
            loaded.settings, loaded.settings_schema = read
        else:
            loaded.settings = given

    def _collect(self, loaded: Loaded) -> None:
        seeds = loader.seed_hooks(loaded.plugin)
        if seeds:
            with acting_for(self._host):
                seeds[0]()
        loaded.contribution = loader.collect(
            self._manager, loaded.plugin, loaded.generation, loaded.modules()
        )

    def _activate(self, loaded: Loaded) -> None:
        loaded.activation = Activation(loaded.generation, self._host, loaded.settings)
        assert loaded.contribution is not None
        for executor in loaded.contribution.executors.values():
            executor.start()
            loaded.activation.undo(executor.stop)
        with acting_for(self._host):
            self._call(loaded, "horae_activate")

    def _publish(self, loaded: Loaded) -> None:
        assert loaded.contribution is not None
        now = self._clock.micros()
        # The registry first: it refuses a type that another plugin owns. Until the catalogue has
        # a new type too, no other process can schedule it; after a crash between the two, the
        # next start publishes both again. Runs may begin at once, and must know of the absence.
        absences = provenance.absences(self._store.catalogue(), now)
        loaded.contribution = loaded.contribution.with_absences(absences)
        loaded.suspended = suspensions.kept(self._store.plugin_rows(self._host.name), loaded.info)
        running = suspensions.without(loaded.contribution, loaded.suspended)
        self._registry.publish(running)
        if running.types:  # else a client would write where it only schedules
            self._store.publish(provenance.catalogued(running, now))

    # -- standing aside

    def suspend(self, generation: Generation, reasons: Mapping[str, str]) -> PluginInfo | None:
        """Leave types of a plugin out of what this host runs, each with the reason; their events
        wait like those of an absent type. None when that generation is not the loaded one.
        """
        with self._changing:
            loaded = self._loaded.get(generation.plugin)
            if loaded is None or loaded.generation is not generation:
                return None
            assert loaded.contribution is not None
            fresh = suspensions.named(reasons, loaded.contribution)
            loaded.suspended = {**fresh, **loaded.suspended}
            self._registry.publish(suspensions.without(loaded.contribution, loaded.suspended))
            self._withdraw_from_catalogue(loaded)
            self._stand(loaded, "suspension")
            self._withdrawn(loaded.info)
            return loaded.info

    def resume(self, name: str) -> PluginInfo:
        """Run all types of a plugin again; one that is not loaded is loaded for it. Raises what
        ``load`` raises.
        """
        with self._changing:
            self.load(name)
            loaded = self._loaded[name]
            assert loaded.contribution is not None
            if loaded.suspended:
                now = self._clock.micros()
                absences = provenance.absences(self._store.catalogue(), now)
                loaded.contribution = loaded.contribution.with_absences(absences)
                self._registry.publish(loaded.contribution)
                self._store.publish(provenance.catalogued(loaded.contribution, now))
                loaded.suspended = {}
                self._stand(loaded, "resumption")
            return loaded.info

    def suspension(self, name: str) -> Suspension | None:
        """What of a loaded plugin is suspended."""
        loaded = self._loaded.get(name)
        if loaded is None:
            return None
        return suspensions.recorded(loaded.info.version, loaded.suspended)

    def is_loaded(self, name: str) -> bool:
        """Whether the plugin is in memory, suspended or not."""
        return name in self._loaded

    def _stand(self, loaded: Loaded, phase: str) -> None:
        self._edge_began = time.monotonic()
        state, reason = suspensions.standing(loaded.contribution, loaded.suspended)
        loaded.info = self._set(loaded.info, state, phase, reason)

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
        with self._changing:
            loaded = self._loaded.get(name)
            if loaded is None:
                raise PluginError(
                    f"Plugin {name!r} is not loaded here, so there is nothing to unload. Loaded: "
                    f"{', '.join(sorted(self._loaded)) or 'none'}.",
                    plugin=name,
                )
            if self.is_builtin(name) and not include_builtin:
                raise PluginError(
                    f"Plugin {name!r} came with horae; without it no event could be scheduled.",
                    plugin=name,
                )
            dependents = self._dependents(name, "unload", include=include_dependents)
            reports = [self._unload(one, drain) for one in (*reversed(dependents), loaded)]
            for one in (*dependents, loaded):
                self._withdrawn(one.info)
            return attrs.evolve(reports.pop(), dependents=tuple(reports))

    def _dependents(self, name: str, action: str, *, include: bool) -> list[Loaded]:
        """The loaded plugins that need ``name``, in the order of loading. Raises PluginNeeded when
        there are some, and they are not to be included.
        """
        needed = {one: loaded.needs for one, loaded in self._loaded.items()}
        found = dependencies.dependents(name, needed)
        if found and not include:
            raise PluginNeeded(name, action, found)
        return [self._loaded[one] for one in found]

    def _unload(self, loaded: Loaded, drain: float) -> UnloadReport:
        self._edge_began = time.monotonic()
        self._registry.withdraw(loaded.generation)
        self._set(loaded.info, PluginState.DRAINING, "withdraw")
        reason = f"plugin {loaded.info.name} was unloaded before the run came to its end"
        drained = self._drain(loaded.generation, drain, reason)
        self._withdraw_from_catalogue(loaded)
        del self._loaded[loaded.info.name]
        info = loaded.info
        remains = Remains(info, loaded.modules(), loaded.footprint)
        errors = self._take_down(loaded)
        self._past.add(remains)
        self._set(info, PluginState.UNLOADED, "purge", "; ".join(errors) or None)
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
            self._set(remains.info, PluginState.COLLECTED, "verdict", "; ".join(errors) or None)
        else:
            reason = _cut("; ".join([*errors, *map(str, leaks.survivors[:SHOWN])]))
            self._set(remains.info, PluginState.LEAKING, "verdict", reason, **in_words(leaks))
        return leaks

    def leaks(self, name: str) -> list[LeakReport]:
        """What is left of earlier generations of a plugin, oldest first; looks for it once more.

        One that was leaking and is gone by now becomes collected.
        """
        with self._changing:
            reports = self._past.leaks(name)
            self.look_again()
            return reports

    def look_again(self) -> None:
        """What was leaking is collected once nothing is alive of it."""
        infos = list(self._infos.values())  # others may add to it meanwhile
        leaking = [info for info in infos if info.state is PluginState.LEAKING]
        if leaking and self._changing.acquire(blocking=False):
            try:
                for info in leaking:
                    if self._infos[info.name] is info and self._past.is_gone(info.name):
                        self._edge_began = time.monotonic()
                        self._set(info, PluginState.COLLECTED, "verdict")
            finally:
                self._changing.release()

    def close(self, *, keep_modules: bool = False) -> None:
        """Take every plugin down with the host, the latest first; all are wanted again later.

        ``keep_modules`` is for tests, which have imported from the plugins, and go on.
        """
        with self._changing:
            for loaded in reversed(list(self._loaded.values())):
                if keep_modules or self.is_builtin(loaded.info.name):
                    # Its modules stay: applications import schedules from them, and the next
                    # host's kinds must be of the same classes.
                    loaded.candidate = None
                errors = self._take_down(loaded)
                del self._loaded[loaded.info.name]
                self._set(loaded.info, PluginState.UNLOADED, "purge", "; ".join(errors) or None)
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

    def _take_down(self, loaded: Loaded) -> list[str]:
        """Undo whatever of the phases was done, last first; the plugin's errors as text."""
        if loaded.contribution is not None:
            self._registry.withdraw(loaded.generation)
        errors = self._take_leave(loaded)
        if loaded.plugin is not None:
            loader.unregister(self._manager, loaded.plugin)
        loaded.plugin = loaded.contribution = loaded.activation = loaded.settings = None
        loaded.context = contextvars.copy_context()
        loaded.vacate()
        for error in errors:
            logs.get().error("plugin.unload_error", plugin=loaded.info.name, error=error)
        return errors

    def _take_leave(self, loaded: Loaded) -> list[str]:
        """What the plugin itself has to do with it."""
        errors, patience = list[str](), self._settings.deactivate
        if loaded.activation is not None:
            deactivate = functools.partial(self._call, loaded, "horae_deactivate")
            errors += farewell("horae_deactivate", deactivate, patience, loaded.context)
            errors += loaded.activation.close(patience, loaded.context)
            del deactivate
        seeds = loaded.contribution is not None and loader.seed_hooks(loaded.plugin)
        if seeds:
            errors += farewell("unload()", seeds[1], patience, loaded.context)
            del seeds
        return errors

    def _call(self, loaded: Loaded, hook: str) -> None:
        loader.call(self._manager, loaded.plugin, hook, context=loaded.activation)

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
        with self._changing:
            old = self._loaded.get(name)
            if old is None:
                with disk or nullcontext():
                    return self.load(name)
            dependents = self._dependents(name, "upgrade", include=include_dependents)
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
        new = None if disk else self._from_candidate(_find(old.info.name))
        if new is not None:
            self._plan(new)
        with self._or_as_it_was(old):
            if new is not None:
                self._admit(new)
            with self._parked(old, drain), disk or nullcontext():
                if new is None:
                    new = self._from_candidate(_find(old.info.name))
                    self._admit(new)
                self._bring_up(new)
        self._withdraw_from_catalogue(old)
        old.candidate = None  # its modules are gone; what has their names now is the new code
        self._take_down(old)
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
            self._set(old.info, state, "roll-back", still and _cut(still))
            raise

    def _drain_or_refuse(self, old: Loaded, drain: float) -> None:
        if not old.generation.wait_idle(drain):
            raise PluginBusy(
                f"Runs of plugin {old.info.name!r} were still under way after {drain:g} s, so "
                "nothing was changed. Give it more time (drain=...), or unload and load it.",
                plugin=old.info.name,
            )

    # -- telling

    def _set(
        self,
        info: PluginInfo,
        state: PluginState,
        phase: str,
        reason: str | None = None,
        **details: object,
    ) -> PluginInfo:
        """Every edge between two states passes here: noted, logged and told to the observers.

        ``phase`` is what was done last, and is kept where it failed; the seconds that are logged
        are those since the edge before, or since this change of the plugin began.
        """
        failed = state.is_failure
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


def _state_after(failure: PluginLoadFailed) -> PluginState:
    states = {PluginBlocked: PluginState.BLOCKED, PluginIncompatible: PluginState.INCOMPATIBLE}
    return states.get(type(failure), PluginState.FAILED)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_REASON else text[:MAX_REASON] + "..."
