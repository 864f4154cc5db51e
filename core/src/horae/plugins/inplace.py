"""Whether what is on disk can take the place of what this process has loaded, told from evidence.

Native code cannot: the dynamic loader knows a file by its path, and gives new Python code the old
library without a word. Nor can a distribution that others have imported as well: half of it would
be of one version and half of another. Both are noted as they are loaded, for the whole process.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Final

import importlib_metadata
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from horae.errors import RestartRequired
from horae.plugins import modules
from horae.plugins.discovery import BUILTIN_DISTRIBUTION, GROUP, Candidate, distributions

_NATIVE: Final[dict[str, str]] = {}
"""The digest of each native file that was loaded, by its path."""

_VERSIONS: Final[dict[str, str]] = {}
"""The version of each distribution that plugins need, as it was loaded."""


def note(candidate: Candidate, own: Mapping[str, ModuleType]) -> None:
    """Remember what came into the process with a plugin, and what it found there.

    Not of what came with horae itself, which stays as it is.
    """
    if candidate.distribution == BUILTIN_DISTRIBUTION:
        return
    for module in own.values():
        path = modules.file_of(module)
        if path in candidate.native:
            _NATIVE.setdefault(str(path), candidate.native[str(path)])
    for needed in needs(candidate.distribution):
        if needed._normalized_name not in _VERSIONS and is_loaded(needed):
            _VERSIONS[needed._normalized_name] = needed.version


def check(candidate: Candidate) -> None:
    """Raise RestartRequired when a plugin as it is on disk cannot run in this process."""
    if candidate.distribution == BUILTIN_DISTRIBUTION:
        return
    stale = stale_native(candidate.native)
    if stale:
        raise RestartRequired(
            candidate.name,
            f"{candidate.distribution} {candidate.version} has native code, {', '.join(stale)}, of "
            "which this process has loaded another version",
        )
    for needed in needs(candidate.distribution):
        loaded = _VERSIONS.get(needed._normalized_name)
        if loaded not in (None, needed.version) and is_loaded(needed):
            raise RestartRequired(
                candidate.name,
                f"{candidate.distribution} {candidate.version} needs {needed.name}, of which this "
                f"process has loaded {loaded} while {needed.version} is installed",
            )


def stale_native(native: Mapping[str, str]) -> list[str]:
    """The native files, given with their digests, that this process has with another content."""
    return sorted(path for path, digest in native.items() if _NATIVE.get(path, digest) != digest)


def is_loaded(distribution: importlib_metadata.Distribution) -> bool:
    """Whether a module that the distribution installed is loaded."""
    return any(modules.loaded_from(file) for file in distribution.files or ())


def needs(distribution: str) -> Iterator[importlib_metadata.Distribution]:
    """What is installed of all that a distribution needs, and that needs in turn.

    Distributions of plugins are left out: the lifecycle replaces those itself.
    """
    seen, left = {canonicalize_name(distribution)}, _installed(distribution)
    while left:
        for name in _required(left.pop()):
            if canonicalize_name(name) not in seen:
                seen.add(canonicalize_name(name))
                found = _installed(name)
                left += found
                yield from (one for one in found if not _has_plugins(one))


def _installed(name: str) -> list[importlib_metadata.Distribution]:
    """The distribution, if it is there; who imports what is missing will hear of it."""
    return list(itertools.islice(distributions(name=name), 1))


def _has_plugins(distribution: importlib_metadata.Distribution) -> bool:
    return any(entry.group == GROUP for entry in distribution.entry_points)


def _required(distribution: importlib_metadata.Distribution) -> Iterator[str]:
    for text in distribution.requires or ():
        with contextlib.suppress(InvalidRequirement):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                yield requirement.name
