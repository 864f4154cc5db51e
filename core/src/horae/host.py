"""The host: the composition root, the only file that knows everybody.

A ``Host`` that is not started is a client: it schedules, reads and commands. Started, it runs
what is due, and takes plugins in and out while it does.
"""

import os
import socket
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Final, Self

import attrs

from horae import logs
from horae.clock import Clock, SystemClock
from horae.errors import (
    StoreError,
    WaitTimeout,
)
from horae.plugins.budgets import Budgets
from horae.plugins.desired import Desired
from horae.plugins.installations import InstallOperations
from horae.plugins.installer import Installer
from horae.plugins.lifecycle import Lifecycle
from horae.plugins.operations import APPLICATION
from horae.plugins.watch import Watch
from horae.processes import StopSignals, process_gone
from horae.registry import Drained, Generation, Registry
from horae.scheduling.engine import Engine
from horae.scheduling.leases import Lease
from horae.scheduling.operations import EventOperations
from horae.scheduling.requests import Planner
from horae.scheduling.retention import Caretaker
from horae.settings import Settings
from horae.stores.factory import create_store
from horae.stores.records import HostRecord
from horae_hookspecs import (
    PluginInfo,
    PluginState,
    Run,
    Schedule,
    ScheduledEventRegistryWrapper,
)

_LIVE: "Final[weakref.WeakSet[Host]]" = weakref.WeakSet()
_FORKING: "Final[list[Host]]" = []


LOOK_BACK: Final = 1000
"""How many of a type's last runs are looked at when hosts were lost."""


class Host(EventOperations, InstallOperations):
    """Runs scheduled events of types that come from plugins, on a store.

    ::

        with Host("sqlite:///events.db") as host:
            host.load_plugin("acme")
            event = host.schedule("acme.ping", {"url": "http://localhost"}, "in 10m")
            host.wait(event.id, timeout=900)

    ``clock`` decides what is due; tests give a ``SettableClock``. Raises SettingsError for a URL
    that makes no sense and a StoreError, with the remedy, for a store that cannot be opened.
    """

    def __init__(self, url_or_settings: str | Settings, *, clock: Clock | None = None) -> None:
        settings = url_or_settings
        self.settings = settings if isinstance(settings, Settings) else Settings(url=settings)
        self.clock: Clock = clock or SystemClock()
        self.store = create_store(self.settings.url)
        self.registry = Registry(self._changed)
        self._planner = Planner(self.store, self.registry, self.clock, self._kinds)
        self._lifecycle = Lifecycle(
            self.store,
            self.registry,
            self.clock,
            self,
            self.settings,
            self._drain,
            self._plugin_changed,
            self._announce_waiting,
        )
        self._installer = Installer(self._lifecycle, self.settings.trust)
        self._watch = Watch(self._lifecycle)
        self._desired = Desired(self.store, self._lifecycle, lambda: self.name, self.settings.drain)
        self._application = ScheduledEventRegistryWrapper()
        self._application_generation = Generation(APPLICATION, 1)
        self._own_generation = Generation("horae", 1)
        self._caretaker = Caretaker(
            self.store,
            self.clock,
            self.settings.retention,
            self._planner,
            lambda types: self._publish_own(types, self._own_generation),
        )
        self._engine: Engine | None = None
        self._lease: Lease | None = None
        self._control: threading.Thread | None = None
        self._control_wake = threading.Event()
        self._rescues = 0
        self._budgets = Budgets(self.settings.budget, self.clock, self._control_wake.set)
        self.store.open()
        _LIVE.add(self)

    # -- life

    @property
    def name(self) -> str:
        """What keys the desired state; stable over restarts."""
        return self._lease.name if self._lease else self.settings.name or socket.gethostname()

    @property
    def id(self) -> str | None:
        """What keys the claims: random for each start; None for a client."""
        return self._lease.id if self._lease else None

    @property
    def _on_record(self) -> bool:
        return self._lease is not None

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._engine is not None

    def start(self) -> Self:
        """Take a place among the living, load the built-in plugins and the desired ones, and run.

        Raises HostNameTaken; a plugin that fails to load is shown by ``plugins()`` and stops
        nobody. No signal handler is installed: see ``run_forever``.
        """
        if self._engine is not None:
            return self
        self.store.open()
        lease = Lease(
            self.store, self.clock, self.settings, self._loaded, self._wake, self._look_after
        )
        lease.start()
        self._lease = lease
        try:
            self._lifecycle.load_builtins()
            for info in self._lifecycle.plugins():
                if self._lifecycle.is_loaded(info.name):  # loaded before the start; others were not
                    self._record(info, "loaded")
            self._desired.restore(autoload=self.settings.autoload)
            self._mind_budgets()
            self._caretaker.look()
        except BaseException:
            self._lease = None
            lease.stop()
            raise
        self._engine = Engine(
            self.store,
            self.registry,
            self.clock,
            self.settings,
            lease,
            self,
            self._planner,
            self._control_wake.set,
            self._budgets,
        )
        self._engine.start()
        self._control = threading.Thread(
            target=self._serve_requests, args=(self._engine,), name="horae-control", daemon=True
        )
        self._control.start()
        self._control_wake.set()
        logs.get().info("host.started", name=self.name, id=self.id, store=self.store.url)
        self.registry.observe("horae_host_started", host=self)
        return self

    def stop(self, drain: float | None = None) -> None:
        """Claim nothing more, wait up to ``drain`` seconds for what runs, and leave.

        Runs that do not end in time are recorded as interrupted and run again elsewhere or later;
        that burns no attempt. The plugins stay loaded in this process, and wanted by this host.
        """
        engine, lease = self._engine, self._lease
        if engine is None or lease is None:
            return
        drained = engine.stop(self.settings.drain if drain is None else drain)
        self._engine = None
        self._control_wake.set()
        if self._control is not threading.current_thread() and self._control is not None:
            self._control.join(timeout=5)
        try:
            lease.stop()
        except StoreError as error:
            logs.get().error("host.stop_failed", error=str(error))
        self._lease = None
        logs.get().info("host.stopped", name=lease.name, **attrs.asdict(drained))
        self.registry.observe("horae_host_stopped", host=self)

    def close(self) -> None:
        """Stop, take the plugins down, and let go of the store's connections."""
        self.stop()
        self._lifecycle.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def run_forever(self) -> None:
        """Start, and run until SIGTERM or SIGINT; a second signal gives everything back at once.

        Only for the main thread, and the only thing here that installs signal handlers; they are
        put back at the end. Raises what ended the engine, such as StoreCorrupt.
        """
        with StopSignals() as signals:
            self.start()
            engine = self._engine
            assert engine is not None
            while not signals.received and engine.failure is None and self.running:
                signals.wait(0.5)
            stopping = threading.Thread(target=self.stop, name="horae-stop")
            stopping.start()
            while stopping.is_alive():
                signals.wait(0.05)
                if len(signals.received) > 1:
                    engine.give_back()
        if engine.failure is not None:
            raise engine.failure

    def run_until_idle(self, timeout: float | None = None) -> None:
        """Run everything that is due by the clock, then return; starts the host for it if needed.

        Raises WaitTimeout after ``timeout`` seconds with work still under way.
        """
        started_here = self._engine is None
        engine = self.start()._engine
        assert engine is not None
        try:
            if not engine.wait_idle(timeout):
                raise WaitTimeout(f"Work was still due or under way after {timeout} s.")
        finally:
            if started_here:
                self.stop()
        if engine.failure is not None:
            raise engine.failure

    def hosts(self) -> list[HostRecord]:
        """The living hosts; this one as it is now."""
        living = [
            host
            for host in self.store.hosts()
            if host.id != self.id
            and not process_gone(host.identity, one_kernel=self.store.one_kernel)
        ]
        if self._lease is not None:
            living.append(self._lease.record())
        return living

    # -- inside

    def _loaded(self) -> tuple[dict[str, int], list[str]]:
        snapshot = self.registry.snapshot
        types = {name: entry.job.version for name, entry in snapshot.types.items()}
        return types, sorted(snapshot.kinds)

    def _kinds(self) -> Mapping[str, type[Schedule]]:
        # A client loads them when they are first asked for, be other plugins loaded or not.
        if not self._lifecycle.has_builtins:
            self._lifecycle.load_builtins()
        return self.registry.snapshot.kinds

    def _changed(self) -> None:
        """What is loaded has changed: the engine looks again, and the others are told."""
        self._wake()
        if self._lease is not None:
            self._lease.changed()

    def _look_after(self) -> None:
        """What is seen to with every tick, once this host is complete."""
        if self._engine is not None and self._caretaker.look():
            self._wake()
        if self._lease is not None and self._lease.rescues != self._rescues:
            self._control_wake.set()
        if self.settings.watch != "off" and self._watch.look():
            self._control_wake.set()
        self._lifecycle.look_again()

    def _drain(self, generation: Generation, timeout: float, reason: str) -> Drained:
        drained = self._engine.drain(generation, timeout, reason) if self._engine else Drained()
        if self._lease is not None:
            self._lease.tell()  # the last host to withdraw a type must be able to see that it is
        return drained

    def _mind_budgets(self) -> None:
        """Suspend what is over its budget; after hosts were lost, by the record of their runs."""
        rescues = self._lease.rescues if self._lease else 0
        if rescues != self._rescues:
            self._rescues = rescues
            self._budgets.look_back(self.registry.snapshot.types.values(), self._last_runs)
        self._suspend_over_budget()

    def _last_runs(self, event_type: str) -> Iterable[Run]:
        return self.runs(event_type=event_type, newest_first=True, limit=LOOK_BACK)

    def _plugin_changed(self, info: PluginInfo) -> None:
        if info.state is PluginState.COLLECTED:
            self._control_wake.set()  # the store may still say that it is leaking
        self.registry.observe("horae_plugin_changed", plugin=info)

    def _serve_requests(self, engine: Engine) -> None:
        """Carry out what commands ask of this host, in a thread of its own: a plugin may take
        long to import, and the engine must not wait for it.
        """
        while self._engine is engine:
            self._control_wake.wait()
            self._control_wake.clear()
            if self._engine is not engine:
                return
            try:
                self._desired.reconcile()
                self._carry_out_installations()
                self._follow_disk()
                self._mind_budgets()
            except StoreError as error:
                logs.get().error("host.requests_failed", error=str(error))

    def _become_client(self) -> None:
        """In a forked child: the threads did not come along, and connections must not be shared."""
        self._engine = self._lease = self._control = None
        self.store.after_fork_in_child()


def _before_fork() -> None:
    _FORKING.extend(_LIVE)
    for host in _FORKING:
        host.store.before_fork()


def _after_fork_in_parent() -> None:
    while _FORKING:
        _FORKING.pop().store.after_fork_in_parent()


def _after_fork_in_child() -> None:
    while _FORKING:
        _FORKING.pop()._become_client()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
