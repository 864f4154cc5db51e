"""horae: scheduled events whose types come from plugins that come and go while the host runs.

``Host`` is the way in; ``horae_hookspecs`` is what plugins import.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from horae.clock import SettableClock as SettableClock
    from horae.clock import SystemClock as SystemClock
    from horae.errors import EventNotFound as EventNotFound
    from horae.errors import HostError as HostError
    from horae.errors import HostNameTaken as HostNameTaken
    from horae.errors import HostNotRunning as HostNotRunning
    from horae.errors import InstallFailed as InstallFailed
    from horae.errors import InvalidArguments as InvalidArguments
    from horae.errors import KeyTaken as KeyTaken
    from horae.errors import PluginBlocked as PluginBlocked
    from horae.errors import PluginBusy as PluginBusy
    from horae.errors import PluginError as PluginError
    from horae.errors import PluginIncompatible as PluginIncompatible
    from horae.errors import PluginLoadFailed as PluginLoadFailed
    from horae.errors import PluginNeeded as PluginNeeded
    from horae.errors import PluginNotFound as PluginNotFound
    from horae.errors import RestartRequired as RestartRequired
    from horae.errors import SettingsError as SettingsError
    from horae.errors import StoreBusy as StoreBusy
    from horae.errors import StoreCorrupt as StoreCorrupt
    from horae.errors import StoreError as StoreError
    from horae.errors import StoreFull as StoreFull
    from horae.errors import StoreTooNew as StoreTooNew
    from horae.errors import StoreUnsupported as StoreUnsupported
    from horae.errors import TypeTaken as TypeTaken
    from horae.errors import UnknownEventType as UnknownEventType
    from horae.errors import UnknownSchedule as UnknownSchedule
    from horae.errors import WaitTimeout as WaitTimeout
    from horae.host import Host as Host
    from horae.settings import Budget as Budget
    from horae.settings import Retention as Retention
    from horae.settings import Settings as Settings
    from horae.settings import Trust as Trust
else:
    # The host alone takes longer to import than `horae --help` may run, so each name is looked
    # up when it is first used. A type checker must not see this: to it, any name would exist.
    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
        return globals().setdefault(name, value)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


_HOMES = {
    "Budget": "settings",
    "Host": "host",
    "Retention": "settings",
    "SettableClock": "clock",
    "Settings": "settings",
    "SystemClock": "clock",
    "Trust": "settings",
}
"""The modules of the names that are no errors."""

__all__ = [
    "Budget",
    "EventNotFound",
    "Host",
    "HostError",
    "HostNameTaken",
    "HostNotRunning",
    "InstallFailed",
    "InvalidArguments",
    "KeyTaken",
    "PluginBlocked",
    "PluginBusy",
    "PluginError",
    "PluginIncompatible",
    "PluginLoadFailed",
    "PluginNeeded",
    "PluginNotFound",
    "RestartRequired",
    "Retention",
    "SettableClock",
    "Settings",
    "SettingsError",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreTooNew",
    "StoreUnsupported",
    "SystemClock",
    "Trust",
    "TypeTaken",
    "UnknownEventType",
    "UnknownSchedule",
    "WaitTimeout",
]
