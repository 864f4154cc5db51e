"""Desired state: which plugins this host shall have, as the store says, and what came of it.

A command writes a request and waits; a host carries out what is open and writes its answer. A
host that starts again loads what it had. The store is the only wire between the two.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from horae import logs
from horae.errors import HostError, PluginLoadFailed, describe, summarise
from horae.plugins.discovery import discover
from horae.plugins.lifecycle import Lifecycle
from horae.stores.base import Store
from horae.stores.records import PluginAction, PluginRow
from horae_hookspecs import PluginInfo, PluginState

Verdict = Mapping[str, Any] | None


class Desired:
    """Keeps one host's plugins as the store wants them."""

    def __init__(
        self, store: Store, lifecycle: Lifecycle, host: Callable[[], str], drain: float
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._host = host
        self._drain = drain

    def restore(self, *, autoload: bool) -> None:
        """Load what is wanted; a plugin that fails is reported, and stops nobody else."""
        wanted = {row.plugin: row for row in self._rows() if row.desired == "loaded"}
        if autoload:
            unwanted = {row.plugin for row in self._rows() if row.desired == "unloaded"}
            for name in discover():
                if name not in unwanted and not self._lifecycle.is_builtin(name):
                    wanted.setdefault(name, PluginRow(host=self._host(), plugin=name))
        for row in wanted.values():
            resumed = row.action == "resume" and row.requested > row.done
            action: PluginAction = "resume" if resumed else "load"
            self._answer(row, self._step(attrs.evolve(row, action=action)))
        for row in self._rows():
            if row.desired == "unloaded" and row.requested > row.done:
                # Asked for while the host was away: leaving the plugin out was all there is to do.
                out = attrs.evolve(row, done=row.requested, state=PluginState.UNLOADED, ok=True)
                self._store.report_plugin(out)

    def reconcile(self) -> None:
        """Carry out the requests that came since the last call, and answer each."""
        for row in self._rows():
            if row.requested > row.done:
                self._answer(row, self._step(row))
            elif row.state is PluginState.LEAKING and self._is_collected(row.plugin):
                late = attrs.evolve(row, state=PluginState.COLLECTED, reason=None)
                self._store.report_plugin(late)

    def _is_collected(self, name: str) -> bool:
        """Whether what held the plugin's code has let go of it."""
        infos = (info for info in self._lifecycle.plugins() if info.name == name)
        return any(info.state is PluginState.COLLECTED for info in infos)

    def _step(self, row: PluginRow) -> Callable[[str], Verdict]:
        drain = self._drain if row.drain is None else row.drain
        wide = row.include_dependents

        def step(name: str) -> Verdict:
            if row.action == "unload":
                report = self._lifecycle.unload(name, drain, include_dependents=wide)
                for one in report.dependents:
                    self.record(one.plugin, "unloaded", attrs.asdict(one))
                return attrs.asdict(report)
            if row.action == "upgrade":
                self._lifecycle.upgrade(name, drain, include_dependents=wide)
            elif row.action == "resume":
                self._lifecycle.resume(name)
            else:
                self._lifecycle.load(name)
            for needed in self._lifecycle.needed_by(name):
                self.record(needed, "loaded")
            return None

        return step

    def _answer(self, row: PluginRow, step: Callable[[str], Verdict]) -> None:
        report, problem = None, None
        try:
            report = step(row.plugin)
        except HostError as error:
            problem = str(error)
            if not isinstance(error, PluginLoadFailed):
                logs.get().error("plugin.request_failed", plugin=row.plugin, error=problem)
        except Exception as error:  # an answer is owed, whatever went wrong
            problem = summarise(error)
            logs.get().error("plugin.request_failed", plugin=row.plugin, error=describe(error))
        self._store.report_plugin(self._filled(row, report, problem))

    def record(
        self, name: str, desired: Literal["loaded", "unloaded"], report: Verdict = None
    ) -> None:
        """Note what the application itself did, so that a restart keeps it."""
        row = next(
            (row for row in self._rows() if row.plugin == name),
            PluginRow(host=self._host(), plugin=name),
        )
        wanted = attrs.evolve(row, desired=desired)
        self._store.report_plugin(self._filled(wanted, report, None))

    def _filled(self, row: PluginRow, report: Verdict, problem: str | None) -> PluginRow:
        """The row with this host's view of the plugin in it."""
        loaded = self._lifecycle.is_loaded(row.plugin)
        infos = {info.name: info for info in self._lifecycle.plugins()}
        info = infos.get(row.plugin) or PluginInfo(
            name=row.plugin,
            distribution=row.distribution,
            version=row.version,
            state=PluginState.FAILED if problem else row.state,
        )
        return attrs.evolve(
            row,
            done=row.requested,
            state=info.state,
            reason=problem or info.reason,
            distribution=info.distribution,
            version=info.version,
            generation=info.generation,
            event_types=info.event_types,
            report=report,
            ok=problem is None,
            settings_schema=self._lifecycle.settings_schema(row.plugin) or row.settings_schema,
            suspended=self._lifecycle.suspension(row.plugin) if loaded else row.suspended,
            desired="loaded" if problem and loaded else row.desired,
            record=self._lifecycle.record_of(row.plugin) or row.record,
        )

    def _rows(self) -> list[PluginRow]:
        return self._store.plugin_rows(self._host())
