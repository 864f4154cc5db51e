"""What others do to the environment, pip above all: noticed by a look at the folders of the path,
and told once they are quiet.

The look is a stat for each folder, and while something is going on, for the metadata in it too.
Only when nobody has changed anything for a while, they are read: while pip is at work they show
two versions, or none.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import Final, Literal

import attrs

from horae.plugins import pip
from horae.plugins.discovery import BUILTIN_DISTRIBUTION, Candidate, discover
from horae.plugins.lifecycle import Lifecycle

QUIET: Final = 2.0
"""Seconds without a change until the disk is read."""


@attrs.frozen
class DiskChange:
    """How the disk differs from what is loaded of a plugin; ``loaded`` and ``installed`` are
    versions.
    """

    plugin: str
    change: Literal["new", "changed", "gone"]
    loaded: str | None
    installed: str | None
    builtin: bool = False

    @property
    def remedy(self) -> str:
        """The command that takes it over."""
        if self.builtin:
            return "restart the host"
        verb = {"new": "load", "changed": "upgrade", "gone": "unload"}[self.change]
        return f"horae plugin {verb} {self.plugin}"

    @property
    def text(self) -> str:
        """What there is to know, in words."""
        if self.change == "gone":
            return f"not installed any more: {self.remedy}"
        same = self.loaded == self.installed
        files = "other files of " if same else ""
        return f"{files}{self.installed} is installed: {self.remedy}"


class Watch:
    """Watches the disk for one host. ``now`` gives seconds that only grow."""

    def __init__(self, lifecycle: Lifecycle, now: Callable[[], float] = time.monotonic) -> None:
        self._lifecycle = lifecycle
        self._now = now
        self._stamp: tuple[tuple[str, int | None], ...] = ()
        self._metadata: frozenset[tuple[str, int | None]] = frozenset()
        self._moved: float | None = None
        self._ripe = True  # the first reading tells what there was
        self._known: dict[str, str | None] | None = None
        self._told: dict[str, tuple[DiskChange, str | None]] = {}

    def look(self) -> bool:
        """Whether there is something to read; costs some microseconds."""
        stamp = tuple((entry, _modified(entry)) for entry in sys.path)
        metadata = self._metadata if stamp == self._stamp and self._moved is None else _metadata()
        if (stamp, metadata) != (self._stamp, self._metadata):
            self._stamp, self._metadata, self._moved = stamp, metadata, self._now()
        elif self._moved is not None and self._now() - self._moved >= QUIET:
            if pip.at_work():
                self._moved = self._now()
            else:
                self._ripe, self._moved = True, None
        return self._ripe

    def changes(self) -> list[DiskChange]:
        """What is different and was not told before; nothing, and nothing read, unless ``look``
        has found something.
        """
        if not self._ripe:
            return []
        self._ripe = False
        found = discover()
        known, self._known = self._known, {name: one.record for name, one in found.items()}
        changes = self._differences(found)
        if known is not None:
            changes += _new(found, known, self._lifecycle.loaded_candidates())
        told = self._told
        self._told = {one.plugin: (one, self._known.get(one.plugin)) for one in changes}
        for one, _ in told.values():
            if one.plugin not in self._told:
                self._lifecycle.remark(one.plugin, None, instead_of=one.text)
        return [one for one in changes if told.get(one.plugin) != self._told[one.plugin]]

    def _differences(self, found: dict[str, Candidate]) -> list[DiskChange]:
        """Between the disk and what is loaded."""
        changes = []
        for name, loaded in self._lifecycle.loaded_candidates().items():
            builtin = loaded.distribution == BUILTIN_DISTRIBUTION
            here = found.get(name)
            if here is None:
                changes.append(DiskChange(name, "gone", loaded.version, None, builtin))
            elif (here.version, here.record) != (loaded.version, loaded.record):
                changes.append(DiskChange(name, "changed", loaded.version, here.version, builtin))
        return changes


def _new(
    found: dict[str, Candidate], known: dict[str, str | None], loaded: dict[str, Candidate]
) -> list[DiskChange]:
    """What is not loaded and was not there, or not so, at the last reading."""
    return [
        DiskChange(name, "new", None, one.version)
        for name, one in found.items()
        if name not in loaded and (name not in known or known[name] != one.record)
    ]


def _metadata() -> frozenset[tuple[str, int | None]]:
    """The folders of metadata on the path, with their times: into these pip writes last."""
    found = []
    for folder in sys.path:
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            found += [
                (one.path, _modified(one.path)) for one in entries if ".dist-info" in one.name
            ]
    return frozenset(found)


def _modified(folder: str) -> int | None:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return None
