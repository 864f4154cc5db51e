"""The way of a plugin into memory and out of it, phase by phase.

A load that fails anywhere takes back what it did; a plugin that is taken down is taken down,
whatever it raises. Its errors are kept as text: an exception object would hold its frames, and they
its code.
"""

import contextvars
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from horae import logs
from horae.clock import Clock
from horae.errors import (
    PluginBlocked,
    PluginIncompatible,
    PluginLoadFailed,
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
    provenance,
    suspensions,
    trust,
)
from horae.plugins.activation import Activation, farewell
from horae.plugins.discovery import Candidate, discover
from horae.plugins.globals import Footprint
from horae.plugins.interpreter import Interpreter
from horae.plugins.preflight import Preflight
from horae.plugins.roster import Loaded, Roster
from horae.registry import Registry, Source
from horae.settings import Settings
from horae.stores.base import Store
from horae_hookspecs import HostView, PluginInfo, PluginState
from horae_hookspecs._current import acting_for

Step = Callable[[Loaded], None]
"""One phase of a plugin's way."""


class Phases:
    """Takes plugins through their phases; ``load`` is asked for the plugins that one needs."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        host: HostView,
        settings: Settings,
        roster: Roster,
        load: Callable[[str], object],
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._host = host
        self._settings = settings
        self._roster = roster
        self._load = load
        self._manager = loader.new_manager()
        self._preflight = Preflight(store, host, settings.preflight)

    # -- before anything of it is in this process

    def of(self, candidate: Candidate) -> Loaded:
        """A generation of what is installed, of which nothing is loaded yet."""
        return self._roster.new(
            candidate.name,
            candidate.distribution,
            candidate.version,
            Source(candidate.value, candidate.record, self._pin(candidate)),
            candidate=candidate,
        )

    def _pin(self, candidate: Candidate) -> str | None:
        return trust.pin(self._settings.trust, candidate.distribution, candidate.version)

    def plan(self, loaded: Loaded) -> None:
        """See from what this process has loaded whether it can load this as well."""
        if loaded.candidate is not None:
            try:
                inplace.check(loaded.candidate)
            except RestartRequired as error:
                self.refuse(error, loaded)
                raise

    def refuse(self, error: RestartRequired, wanted: Loaded | None = None) -> None:
        """Show why a plugin cannot be replaced here; what is loaded of it goes on."""
        shown = self._roster.loaded.get(error.plugin, wanted)
        if shown is not None:
            self._roster.move(shown.info, PluginState.RESTART_REQUIRED, "plan", error.detail)

    def admit(self, loaded: Loaded) -> None:
        """Find what speaks against a plugin before anything of it is in this process."""
        self._roster.begin()
        self._go_through(
            loaded,
            {"trust": self._decide, "requirements": self._check, "preflight": self._try_elsewhere},
            self._nothing,
        )

    @staticmethod
    def _nothing(_: Loaded) -> None:
        """What there is to take back of an admission."""

    def rehearse(self, candidate: Candidate, folder: Path) -> None:
        """The same of a plugin that is not installed yet, but lies in a folder."""
        self._roster.begin()
        steps: dict[str, Step] = {
            "requirements": lambda _: loader.check_requirements(candidate),
            "preflight": lambda _: self._preflight.check(candidate, folder),
        }
        self._go_through(self.of(candidate), steps, self._nothing)

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
                self._load(one)
            except PluginLoadFailed as error:
                raise loader.Refused(f"it needs plugin {one!r}. {error}") from None
        loaded.needs = dependencies.needs(loaded.candidate, installed.values())

    def _try_elsewhere(self, loaded: Loaded) -> None:
        if loaded.candidate is not None:
            self._preflight.check(loaded.candidate)

    # -- in

    def bring_up(self, loaded: Loaded) -> PluginInfo:
        """Import it, have it take part, and show what it brings. Raises PluginLoadFailed."""
        name = loaded.info.name
        self._roster.count(loaded.generation)
        self._roster.begin()
        loaded.footprint = Footprint()
        before = Interpreter()

        def take_back(_: Loaded) -> None:
            self.take_down(loaded)
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
        self._roster.loaded[name] = loaded
        types = tuple(sorted(loaded.contribution.types)) if loaded.contribution else ()
        loaded.info = attrs.evolve(loaded.info, event_types=types)
        self._roster.stand(loaded, "publish")
        if loaded.candidate is not None:
            inplace.note(loaded.candidate, loaded.modules())
            self._preflight.note(loaded.candidate)
        return loaded.info

    def _go_through(
        self,
        loaded: Loaded,
        phases: Mapping[str, Step],
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
            self._roster.move(loaded.info, _state_after(failure), failure.phase, str(failure))
            raise failure

    def _try(self, phase: str, step: Step, loaded: Loaded) -> PluginLoadFailed | None:
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
        rows = self._store.plugin_rows(self._host.name)
        self.show(loaded, suspensions.kept(rows, loaded.info))

    def show(self, loaded: Loaded, suspended: Mapping[str, str]) -> None:
        """Publish all that a plugin brings, but for the types that are suspended."""
        assert loaded.contribution is not None
        now = self._clock.micros()
        # The registry first: it refuses a type that another plugin owns. Until the catalogue has
        # a new type too, no other process can schedule it; after a crash between the two, the
        # next start publishes both again. Runs may begin at once, and must know of the absence.
        absences = provenance.absences(self._store.catalogue(), now)
        loaded.contribution = loaded.contribution.with_absences(absences)
        running = suspensions.without(loaded.contribution, suspended)
        self._registry.publish(running)
        loaded.suspended = suspended
        if running.types:  # else a client would write where it only schedules
            self._store.publish(provenance.catalogued(running, now))

    # -- out

    def take_down(self, loaded: Loaded) -> list[str]:
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


def _state_after(failure: PluginLoadFailed) -> PluginState:
    states = {PluginBlocked: PluginState.BLOCKED, PluginIncompatible: PluginState.INCOMPATIBLE}
    return states.get(type(failure), PluginState.FAILED)
