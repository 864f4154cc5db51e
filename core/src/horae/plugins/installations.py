"""What a host can install: the part of its face that changes the disk, and what others ask for."""

import time
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import attrs

from horae import logs
from horae.errors import HostError, HostNotRunning, WaitTimeout, describe, summarise
from horae.plugins.installer import Installer, Tell, Wish, silent
from horae.plugins.operations import PluginOperations
from horae.plugins.pip import Sources
from horae.plugins.watch import DiskChange, Watch
from horae.stores.records import Installation
from horae_hookspecs import PluginInfo, UnloadReport

STEP: Final = 0.05
"""Seconds between looks at how far the others are."""


class InstallOperations(PluginOperations):
    """Install and uninstall plugins, here or on all running hosts."""

    _installer: Installer
    _watch: Watch

    def install_plugin(
        self,
        requirement: str,
        *,
        upgrade: bool = False,
        find_links: Sequence[str] = (),
        index: str | None = None,
        offline: bool = False,
        drain: float | None = None,
        include_dependents: bool = False,
        tell: Tell = silent,
    ) -> PluginInfo:
        """Have pip install what ``requirement`` asks for, and load its plugin, or upgrade it.

        What satisfies the requirement stays, unless ``upgrade`` asks for the newest that does. pip
        looks where it is configured to, in ``find_links`` too, at another ``index``, or at none
        when ``offline``. The runs of a loaded plugin have ``drain`` seconds to end. ``tell`` is
        called with what is being done.

        Raises PluginBlocked when ``Settings.trust`` denies it, InstallFailed when pip cannot,
        RestartRequired when this process could not run it, and what ``load_plugin`` and
        ``upgrade_plugin`` raise; then disk and memory are as they were.
        """
        seconds = self.settings.drain if drain is None else drain
        sources = Sources(tuple(find_links), index, offline)
        wish = Wish(requirement, seconds, upgrade, sources, include_dependents)
        info = self._installer.install(wish, tell)
        self._record_loaded(info)
        return info

    def uninstall_plugin(
        self,
        name: str,
        drain: float | None = None,
        *,
        include_dependents: bool = False,
        tell: Tell = silent,
    ) -> UnloadReport | None:
        """Unload a plugin if it is loaded, and have pip uninstall its distribution.

        The report is that of ``unload_plugin``. Raises PluginNotFound, what ``unload_plugin``
        raises, and InstallFailed when pip cannot; the plugin is then loaded as before.
        """
        seconds = self.settings.drain if drain is None else drain
        reports = self._installer.uninstall(
            name, seconds, include_dependents=include_dependents, tell=tell
        )
        for report in reports.values():
            for one in (*report.dependents, report):
                self._record(self._info(one.plugin), "unloaded", attrs.asdict(one))
        return reports.get(name)

    def command_installation(
        self,
        action: Literal["install", "uninstall"],
        what: str,
        *,
        timeout: float = 600.0,
        upgrade: bool = False,
        find_links: Sequence[str] = (),
        index: str | None = None,
        offline: bool = False,
        drain: float | None = None,
        include_dependents: bool = False,
    ) -> Iterator[Installation]:
        """Ask every running host through the store; how far each is, and its answer, as it comes.

        ``find_links`` and a path in ``what`` are those of the hosts' machines. Raises
        HostNotRunning when there is none, and WaitTimeout when an answer is missing after
        ``timeout`` seconds; the request then stays open.
        """
        living = [host.name for host in self.hosts()]
        if not living:
            raise HostNotRunning(
                f"No host is running on {self.store.url}, so nothing was changed. Start one (horae "
                "serve), or use pip: what is installed is found by every host."
            )
        wanted = Installation(
            host="",
            action=action,
            what=what,
            asked=self.clock.micros(),
            upgrade=upgrade,
            find_links=tuple(find_links),
            index=index,
            offline=offline,
            drain=drain,
            include_dependents=include_dependents,
        )
        asked = {
            self.store.request_installation(attrs.evolve(wanted, host=host)): host
            for host in living
        }
        return self._answers(asked, timeout)

    def _answers(self, asked: dict[int, str], timeout: float) -> Iterator[Installation]:
        until = time.monotonic() + timeout
        told: dict[int, str | None] = {}
        while asked:
            for one in self.store.installations():
                if one.id in asked and (one.done or one.progress != told.get(one.id)):
                    told[one.id] = one.progress
                    yield one
                    if one.done:
                        del asked[one.id]
            if asked and time.monotonic() > until:
                raise WaitTimeout(
                    f"No answer yet from {', '.join(asked.values())}; the request stays open."
                )
            time.sleep(STEP)

    # -- what others install

    def _follow_disk(self) -> None:
        """Tell what others have changed on disk, and take it over where the operator wants it."""
        if self.settings.watch == "off":
            return
        for change in self._watch.changes():
            logs.get().info(
                "plugin.changed_on_disk",
                plugin=change.plugin,
                change=change.change,
                loaded=change.loaded,
                installed=change.installed,
                remedy=change.remedy,
            )
            if change.change != "new":
                self._record(self._lifecycle.remark(change.plugin, change.text), "loaded")
            if self.settings.watch == "apply" and not change.builtin:
                self._take_over(change)

    def _take_over(self, change: DiskChange) -> None:
        """Do what a change on disk suggests: a new plugin is loaded if it is wanted here."""
        try:
            if change.change == "changed":
                self.upgrade_plugin(change.plugin)
            elif change.change == "gone":
                # Wanted still: it is loaded again once it is back.
                report = self._lifecycle.unload(change.plugin, self.settings.drain)
                self._record(self._info(change.plugin), "loaded", attrs.asdict(report))
            elif self._is_wanted(change.plugin):
                self.load_plugin(change.plugin)
        except HostError as error:
            logs.get().error("plugin.change_not_applied", plugin=change.plugin, error=str(error))

    def _is_wanted(self, plugin: str) -> bool:
        rows = (row for row in self.store.plugin_rows(self.name) if row.plugin == plugin)
        desired = next((row.desired for row in rows), None)
        return desired == "loaded" or (desired is None and self.settings.autoload)

    # -- what others ask for

    def _carry_out_installations(self) -> None:
        """Do what was asked of this host since the last call, and answer."""
        for one in self.store.installations(self.name):
            if not one.done:
                done = attrs.evolve(self._install_as_asked(one), done=True, progress=None)
                self.store.report_installation(done)

    def _install_as_asked(self, asked: Installation) -> Installation:
        def tell(doing: str) -> None:
            self.store.report_installation(attrs.evolve(asked, progress=doing))

        try:
            if asked.action == "uninstall":
                return self._uninstall_as_asked(asked, tell)
            info = self.install_plugin(
                asked.what,
                upgrade=asked.upgrade,
                find_links=asked.find_links,
                index=asked.index,
                offline=asked.offline,
                drain=asked.drain,
                include_dependents=asked.include_dependents,
                tell=tell,
            )
            return attrs.evolve(asked, plugin=info.name, version=info.version)
        except HostError as error:
            return attrs.evolve(asked, ok=False, reason=str(error))
        except Exception as error:  # an answer is owed, whatever went wrong
            logs.get().error("plugin.install_failed", what=asked.what, error=describe(error))
            return attrs.evolve(asked, ok=False, reason=summarise(error))

    def _uninstall_as_asked(self, asked: Installation, tell: Tell) -> Installation:
        report = self.uninstall_plugin(
            asked.what, asked.drain, include_dependents=asked.include_dependents, tell=tell
        )
        told = None if report is None else attrs.asdict(report)
        return attrs.evolve(asked, plugin=asked.what, report=told)
