"""The errors of the host; each message says what happened, where, and what to do next.

HostError
├── SettingsError         a setting or store URL that makes no sense
├── UnknownEventType      no plugin provides, or ever provided, the type
├── InvalidArguments      arguments that do not fit the type; lists every mismatch
├── UnknownSchedule       a schedule in no form that a loaded schedule kind reads
├── KeyTaken              the key belongs to another event
├── EventNotFound         no event has this id
├── ImportRefused         what was to be imported is wrong, or the store is not empty
├── ProjectRefused        a plugin's project cannot be written, or checked, as asked
├── WaitTimeout           what was waited for did not happen in time
├── HostNotRunning        only a started host can do this
├── HostNameTaken         a living host already has this name
├── ChildError            what a job raised in a child process
│   └── ChildGone         that process has ended, and how
├── StoreError
│   ├── StoreFull         the disk, or its quota, is full; nothing was lost
│   ├── StoreBusy         another process held the database for too long
│   ├── StoreCorrupt      the file is damaged or no database; it is never recreated
│   ├── StoreTooNew       a newer horae wrote it
│   └── StoreUnsupported  this SQLite, file system or connection cannot keep the promises
└── PluginError
    ├── PluginNotFound    no installed distribution has this entry point
    ├── PluginLoadFailed  the plugin failed in a named phase; nothing of it was left behind
    │   ├── TypeTaken     another plugin owns the type
    │   ├── RestartRequired  only a new process can run it; the old code goes on
    │   ├── PluginBlocked       the operator does not allow its distribution
    │   └── PluginIncompatible  it was made for another horae or Python
    ├── PluginNeeded      other loaded plugins need it; nothing was changed
    ├── InstallFailed     pip could not do it; the disk is as it was
    └── PluginBusy        runs were still under way at the deadline; nothing was changed
"""

import traceback
from collections.abc import Sequence
from typing import Final

from horae_hookspecs import HoraeError

CUT: Final = "[...]"
MAX_TEXT: Final = 16 * 1024
"""How many characters of a plugin's text are kept: of a traceback the last, else the first."""


def describe(error: BaseException) -> str:
    """An exception as text, with its traceback: what is kept of a plugin's error, since the
    object itself would hold the frames it went through, and they the plugin's code.
    """
    if isinstance(error, ChildError):
        return str(error)
    text = "".join(traceback.format_exception(error)).rstrip()
    return storable(text if len(text) <= MAX_TEXT else CUT + text[len(CUT) - MAX_TEXT :])


def summarise(error: BaseException) -> str:
    """An exception in a line or few; safe also where its own ``__str__`` raises."""
    if isinstance(error, ChildError):
        return str(error).rpartition("\n")[2]
    return storable("".join(traceback.format_exception_only(error)).strip())


def storable(value: object) -> str:
    """Whatever a plugin gave for a text, as one that every store can keep: no lone surrogates,
    as in undecodable file names, no NUL, and only the beginning of what is too long.
    """
    text = str(value).encode("utf-8", "replace").decode().replace("\0", "\N{SYMBOL FOR NULL}")
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - len(CUT)] + CUT


def locate(error: BaseException) -> str:
    """Where an exception was raised: file and line of the innermost frame."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "unknown"


class HostError(HoraeError):
    """The root of the errors that the host raises."""


class SettingsError(HostError):
    """A setting or a store URL makes no sense."""


class UnknownEventType(HostError):
    """No plugin that this store has ever seen provides the type."""

    def __init__(self, event_type: str, *, nearest: str | None, hint: str = "") -> None:
        guess = f" Did you mean {nearest!r}?{hint}" if nearest else ""
        super().__init__(
            f"No plugin provides event type {event_type!r}, and none ever has on this store."
            f"{guess} Load its plugin (horae plugin list shows what is installed), or pass "
            "allow_unknown=True (--allow-unknown) to store the event until one provides it."
        )
        self.event_type = event_type
        self.nearest = nearest


class InvalidArguments(HostError):
    """The arguments do not fit the event type; ``errors`` has one text with a path for each."""

    def __init__(self, event_type: str, errors: Sequence[str]) -> None:
        listed = "".join(f"\n  - {error}" for error in errors)
        super().__init__(f"The arguments do not fit event type {event_type!r}:{listed}")
        self.event_type = event_type
        self.errors = tuple(errors)


class UnknownSchedule(HostError):
    """No loaded schedule kind reads what was given as a schedule."""

    def __init__(self, value: object, kinds: Sequence[str]) -> None:
        super().__init__(
            f"{value!r} is no schedule that a loaded kind ({', '.join(kinds) or 'none'}) reads. "
            "Try 'every 5m', 'daily at 02:30 in Europe/Berlin', 'cron 0 9 * * mon-fri', "
            "'at 2026-12-24T18:00+01:00' or 'in 10m'."
        )
        self.value = value


class KeyTaken(HostError):
    """The key belongs to an event of the same origin that is not over, or not for long enough."""

    def __init__(self, key: str, origin: str | None, event_id: int) -> None:
        super().__init__(
            f"Key {key!r} (origin {origin!r}) belongs to event {event_id}. Cancel that one "
            "first if it is not over, or schedule with on_conflict='keep' to leave it in place, or "
            "with 'replace' to change it."
        )
        self.key = key
        self.origin = origin
        self.event_id = event_id


class EventNotFound(HostError):
    """No event has this id; ids are never reused, so it was never given or is past retention."""

    def __init__(self, event_id: int) -> None:
        super().__init__(f"There is no event {event_id}. horae event list shows those there are.")
        self.event_id = event_id


class ImportRefused(HostError):
    """An export cannot be imported, and nothing of it was; ``line`` is the one that is wrong."""

    def __init__(self, message: str, *, line: int | None) -> None:
        super().__init__(message)
        self.line = line


class ProjectRefused(HostError):
    """A plugin's project cannot be written there, or what is to be checked is none."""


class WaitTimeout(HostError, TimeoutError):
    """What was waited for did not happen in time."""


class HostNotRunning(HostError):
    """Only a started host can do this."""


class HostNameTaken(HostError):
    """A living host already has this name; names key desired state, so they must differ."""

    def __init__(self, name: str, pid: int) -> None:
        super().__init__(
            f"A living host (process {pid}) is already called {name!r}. Stop it, or give this one "
            "another name: Settings(name=...) or horae serve --name."
        )
        self.name = name
        self.pid = pid


class ChildError(HostError):
    """What a job raised in a child process; the text is all that comes of it.

    ``retryable`` says whether the type's ``retry`` has it tried again.
    """

    def __init__(self, text: str, *, retryable: bool = True) -> None:
        super().__init__(text)
        self.retryable = retryable


class ChildGone(ChildError):
    """The child process of a run has ended before its job did; the text says how."""


class StoreError(HostError):
    """The store cannot do what was asked."""


class StoreFull(StoreError):
    """The disk, or its quota, is full. Nothing was stored, nothing lost; free space and retry."""


class StoreBusy(StoreError):
    """Another process held the database for longer than the busy timeout; retry."""


class StoreCorrupt(StoreError):
    """The file is damaged or no database. horae never recreates it: restore it from a backup."""


class StoreTooNew(StoreError):
    """A newer horae wrote this store."""

    def __init__(self, where: str, found: int, known: int) -> None:
        super().__init__(
            f"{where} has schema {found}; this horae knows schemas up to {known}. "
            "Upgrade it: python -m pip install --upgrade horae"
        )
        self.found = found
        self.known = known


class StoreUnsupported(StoreError):
    """This SQLite library, file system or connection cannot keep the promises of the store."""


class PluginError(HostError):
    """A plugin cannot be found, loaded, unloaded or upgraded."""

    def __init__(self, message: str, *, plugin: str) -> None:
        super().__init__(message)
        self.plugin = plugin


class PluginNotFound(PluginError):
    """No installed distribution has an entry point of this name in the group ``horae``."""

    def __init__(self, plugin: str, known: Sequence[str], nearest: str | None) -> None:
        guess = f" Did you mean {nearest!r}?" if nearest else ""
        super().__init__(
            f"No installed distribution provides a plugin {plugin!r} (entry point group 'horae')."
            f"{guess} Installed: {', '.join(known) or 'none'}. Install it with pip into this "
            "environment and load it again; the host need not be restarted.",
            plugin=plugin,
        )
        self.known = tuple(known)


class PluginLoadFailed(PluginError):
    """The plugin failed in ``phase``; everything it had done until then was taken back."""

    def __init__(self, plugin: str, phase: str, detail: str) -> None:
        super().__init__(f"Plugin {plugin!r} failed at {phase}: {detail}", plugin=plugin)
        self.phase = phase
        self.detail = detail


class TypeTaken(PluginLoadFailed):
    """Another loaded plugin owns what this one wants to register."""

    def __init__(self, plugin: str, what: str, name: str, owner: str) -> None:
        super().__init__(
            plugin,
            "publish",
            f"{what} {name!r} belongs to plugin {owner!r}, and {plugin!r} wants it too. "
            f"Unload {owner!r} first, or rename it in one of the two.",
        )
        self.name = name
        self.owner = owner


class PluginNeeded(PluginError):
    """Other loaded plugins need this one: ``dependents``, in the order of their loading."""

    def __init__(self, plugin: str, action: str, dependents: Sequence[str]) -> None:
        super().__init__(
            f"Plugin {plugin!r} is needed by {', '.join(dependents)}, so nothing was changed. "
            f"To {action} it with them: include_dependents=True (--include-dependents).",
            plugin=plugin,
        )
        self.dependents = tuple(dependents)


class RestartRequired(PluginLoadFailed):
    """What is to be loaded cannot take the place of what this process has; ``detail`` says why.

    The code that is loaded goes on.
    """

    def __init__(self, plugin: str, reason: str) -> None:
        PluginError.__init__(
            self, f"Plugin {plugin!r} needs a restart of the host: {reason}.", plugin=plugin
        )
        self.phase = "plan"
        self.detail = reason


class InstallFailed(PluginError):
    """pip could not install or uninstall what was asked, and the disk is as it was.

    ``output`` is what pip said last.
    """

    def __init__(self, plugin: str, what: str, output: str = "") -> None:
        said = f"\n{output}" if output else ""
        super().__init__(f"{what}{said}", plugin=plugin)
        self.output = output


class PluginBlocked(PluginLoadFailed):
    """The operator's settings do not allow the distribution; nothing of it was imported.

    ``by`` is the rule that decided, and where it is written.
    """

    def __init__(self, plugin: str, distribution: str, *, reason: str, by: str) -> None:
        super().__init__(plugin, "trust", f"{distribution} is not allowed by {by}: {reason}")
        self.distribution = distribution
        self.reason = reason
        self.by = by


class PluginIncompatible(PluginLoadFailed):
    """The plugin was made for another horae or Python; nothing of it was imported."""

    def __init__(self, plugin: str, detail: str) -> None:
        super().__init__(plugin, "requirements", detail)


class PluginBusy(PluginError):
    """Runs of the plugin were still under way at the deadline, so nothing was changed."""
