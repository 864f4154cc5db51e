"""What a host can do with plugins: the part of its face that the plugin floor owns."""

import json
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import attrs

from horae import logs
from horae.clock import Clock, from_micros
from horae.errors import HostNotRunning, WaitTimeout
from horae.plugins import provenance, trust
from horae.plugins.budgets import Budgets
from horae.plugins.desired import Desired
from horae.plugins.discovery import Candidate, discover
from horae.plugins.lifecycle import Lifecycle
from horae.plugins.loader import Refused, types_of
from horae.registry import Contribution, Generation, Registry
from horae.settings import Settings
from horae.stores.base import Store
from horae.stores.records import HostRecord, PluginAction, PluginRow
from horae_hookspecs import (
    EventTypeInfo,
    LeakReport,
    PluginInfo,
    PluginState,
    RegistrationError,
    ScheduledEventRegistryWrapper,
    UnloadReport,
    WaitingType,
)

APPLICATION: Final = "application"
"""The plugin name of the types that an application registers on its host itself."""


class PluginOperations:
    """Load, unload, upgrade and look at plugins, and tell what waits for one."""

    settings: Settings
    store: Store
    clock: Clock
    registry: Registry
    _lifecycle: Lifecycle
    _desired: Desired
    _budgets: Budgets
    _application: ScheduledEventRegistryWrapper
    _application_generation: Generation

    @property
    @abstractmethod
    def name(self) -> str:
        """What keys the desired state; stable over restarts."""

    @property
    @abstractmethod
    def _on_record(self) -> bool:
        """Whether this host is started: what it does with plugins is kept over a restart."""

    @abstractmethod
    def hosts(self) -> list[HostRecord]:
        """The living hosts; this one as it is now."""

    def load_plugin(self, name_or_module: str | object) -> PluginInfo:
        """Load a plugin: an entry point's name, or a module or object already imported.

        The plugins that it needs are loaded before it; an active one is left as it is. Raises
        PluginNotFound, or PluginLoadFailed with the phase that failed; then nothing of the plugin
        is left behind.
        """
        info = self._lifecycle.load(name_or_module)
        self._record_loaded(info)
        return info

    def unload_plugin(
        self, name: str, drain: float | None = None, *, include_dependents: bool = False
    ) -> UnloadReport:
        """Take a plugin out; its pending events wait, and none is touched.

        Its runs have ``drain`` seconds to end. Raises PluginError when it is not loaded, and
        PluginNeeded when others need it, unless these are to be taken out before it.
        """
        seconds = self.settings.drain if drain is None else drain
        report = self._lifecycle.unload(name, seconds, include_dependents=include_dependents)
        for one in (*report.dependents, report):
            self._record(self._info(one.plugin), "unloaded", attrs.asdict(one))
        return report

    def upgrade_plugin(
        self, name: str, drain: float | None = None, *, include_dependents: bool = False
    ) -> PluginInfo:
        """Replace a plugin by what pip put on disk, or leave everything as it was.

        Raises PluginBusy when its runs did not end within ``drain`` seconds, PluginLoadFailed
        when the new version does not load; the old one goes on in both cases. Raises PluginNeeded
        when others need it, unless these are to be unloaded before and loaded after it.
        """
        seconds = self.settings.drain if drain is None else drain
        info = self._lifecycle.upgrade(name, seconds, include_dependents=include_dependents)
        self._record_loaded(info)
        return info

    def resume_plugin(self, name: str) -> PluginInfo:
        """Run the suspended types of a plugin again; one that is not loaded is loaded for it.

        Their events, which waited, are treated like those of a type that was absent.
        """
        info = self._lifecycle.resume(name)
        self._record_loaded(info)
        return info

    def _suspend_over_budget(self) -> None:
        """Suspend what has failed too often since the last call."""
        for generation, reasons in self._budgets.take().items():
            info = self._lifecycle.suspend(generation, reasons)
            if info is not None:
                self._record(info, "loaded")

    def _info(self, name: str) -> PluginInfo:
        return next(info for info in self._lifecycle.plugins() if info.name == name)

    def _record_loaded(self, info: PluginInfo) -> None:
        for name in (*self._lifecycle.needed_by(info.name), info.name):
            self._record(self._info(name), "loaded")

    def plugin_leaks(self, name: str) -> list[LeakReport]:
        """What is left in this process of earlier generations of a plugin, the oldest first.

        Looks anew, which stalls the process for some milliseconds, and for up to a few seconds when
        code is left. A plugin that was leaking and has gone since becomes collected.
        """
        return self._lifecycle.leaks(name)

    def ask(self, hook: str, **arguments: object) -> list[Any]:
        """What every loaded plugin answers to a hook; one that raises is logged and left out."""
        return self.registry.ask(hook, **arguments)

    def plugins(self) -> list[PluginInfo]:
        """The plugins and how they stand: on this host, or for a client on every host."""
        own = self._lifecycle.plugins()
        # A client has the built-in ones once it has read a schedule, and is still a client.
        if self._on_record or not all(self._lifecycle.is_builtin(info.name) for info in own):
            return own
        return [_info(row) for row in self.store.plugin_rows()]

    def discover(self) -> list[PluginInfo]:
        """The plugins that are installed, loaded or not; imports nothing of them."""
        known = {info.name: info for info in self.plugins() if self._lifecycle.is_loaded(info.name)}
        return [known.get(one.name) or self._discovered(one) for one in discover().values()]

    def _discovered(self, candidate: Candidate) -> PluginInfo:
        """As what is not loaded stands, before its files are looked at."""
        distribution, version = candidate.distribution, candidate.version
        decision = trust.decide(self.settings.trust, distribution, version, None)
        state = PluginState.DISCOVERED if decision.allowed else PluginState.BLOCKED
        reason = None if decision.allowed else f"by {decision.by}: {decision.reason}"
        return PluginInfo(
            name=candidate.name,
            distribution=distribution,
            version=version,
            state=state,
            reason=reason,
        )

    def event_types(self) -> list[EventTypeInfo]:
        """Every type that any plugin ever provided on this store, and whether it is loaded."""
        loaded = {name for host in self.hosts() for name in host.event_types}
        return [
            EventTypeInfo(
                event_type=entry.event_type,
                schema_version=entry.schema_version,
                plugin=entry.plugin,
                distribution=entry.distribution,
                version=entry.version,
                published=from_micros(entry.published),
                withdrawn=_instant(entry.withdrawn),
                loaded=entry.event_type in loaded,
                schema=None if entry.schema is None else json.loads(entry.schema),
                absent_from=_instant(entry.absent_from),
                absent_until=_instant(entry.absent_until),
            )
            for _, entry in sorted(self.store.catalogue().items())
        ]

    def register(self, uid: str, **policy: Any) -> Callable[[Any], Any]:
        """A decorator for an application's own types; see ScheduledEventRegistryWrapper.register.

        The type is there at once, and as long as this process. Raises RegistrationError, and
        TypeTaken when a plugin owns it.
        """
        collect = self._application.register(uid, **policy)

        def register(target: Any) -> Any:
            registered = collect(target)
            try:
                self._publish_own(self._application, self._application_generation)
            except BaseException as error:
                self._application.discard(uid)
                if isinstance(error, Refused):
                    raise RegistrationError(str(error), event_type=uid) from None
                raise
            return registered

        return register

    def command_plugin(
        self,
        action: PluginAction,
        name: str,
        *,
        drain: float | None = None,
        include_dependents: bool = False,
        timeout: float = 60.0,
    ) -> Iterator[PluginRow]:
        """Ask every running host through the store, and give each one's answer as it comes.

        Raises HostNotRunning when there is none: the request is kept for the next start. Raises
        WaitTimeout when an answer is missing after ``timeout`` seconds beyond the drain.
        """
        living = {host.name for host in self.hosts()}
        known = living or {row.host for row in self.store.plugin_rows()} or {self.name}
        asked = {
            host: self.store.request_plugin(
                host, name, action, drain, include_dependents=include_dependents
            )
            for host in known
        }
        if not living:
            raise HostNotRunning(
                f"No host is running on {self.store.url}. The request is kept: "
                f"{' and '.join(sorted(known))} will carry it out when started (horae serve)."
            )
        until = time.monotonic() + timeout + (self.settings.drain if drain is None else drain)
        while asked:
            for row in self.store.plugin_rows():
                if row.plugin == name and row.done >= asked.get(row.host, row.done + 1):
                    del asked[row.host]
                    yield row
            if asked and time.monotonic() > until:
                raise WaitTimeout(f"No answer yet from {', '.join(asked)}; the request stays open.")
            time.sleep(0.02)

    def waiting(self) -> list[WaitingType]:
        """The types with pending events that no living host can run: how many, since when, why,
        and what brings the type back. Most overdue first.
        """
        return provenance.waiting(self.store.backlog(self.clock.micros()), self._circumstances())

    def _circumstances(self) -> provenance.Circumstances:
        return provenance.Circumstances(
            url=self.store.url,
            living=self.hosts(),
            catalogue=self.store.catalogue(),
            rows=self.store.plugin_rows(),
            installed=frozenset(discover()),
        )

    def _announce_waiting(self, info: PluginInfo) -> None:
        """Tell which types of a plugin nobody has any more, now that it was withdrawn."""
        only = frozenset(info.event_types)
        backlog = self.store.backlog(self.clock.micros())
        for waiting in provenance.waiting(backlog, self._circumstances(), only):
            logs.get().info(
                "type.waiting",
                event_type=waiting.event_type,
                pending=waiting.pending,
                overdue=waiting.overdue,
                remedy=waiting.remedy,
            )
            self.registry.observe("horae_type_waiting", waiting=waiting)

    def _record(
        self,
        info: PluginInfo,
        desired: Literal["loaded", "unloaded"],
        report: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep what was done over a restart; an application's own plugin cannot be loaded again
        by its name, and what came with horae is always loaded.
        """
        if self._on_record and info.distribution and not self._lifecycle.is_builtin(info.name):
            self._desired.record(info.name, desired, report)

    def _publish_own(self, types: ScheduledEventRegistryWrapper, generation: Generation) -> None:
        """Publish types that come from no plugin: the application's, or those of horae itself."""
        contribution = Contribution(generation, types=types_of([types], generation))
        now = self.clock.micros()
        absences = provenance.absences(self.store.catalogue(), now)
        self.registry.publish(contribution.with_absences(absences))
        self.store.publish(provenance.catalogued(contribution, now))


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _info(row: PluginRow) -> PluginInfo:
    return PluginInfo(
        name=row.plugin,
        distribution=row.distribution,
        version=row.version,
        state=row.state,
        reason=row.reason,
        generation=row.generation,
        event_types=tuple(row.event_types),
        host=row.host,
    )
