"""Which plugins are installed, from entry points alone: no plugin code is imported."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import importlib_metadata

from horae import logs

GROUP: Final = "horae"
BUILTIN_DISTRIBUTION: Final = "horae-builtin-plugins"


@attrs.frozen
class Candidate:
    """An installed plugin: an entry point and the distribution that has it.

    ``rivals`` are other distributions with an entry point of the same name.
    """

    name: str
    value: str
    distribution: str
    version: str
    files: frozenset[str] = attrs.field(repr=False)
    rivals: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module to import."""
        return self.value.partition(":")[0].strip()


def discover() -> dict[str, Candidate]:
    """Every installed plugin by name, as the disk has it now."""
    # Both finders cache directory listings; the backport's hook on sys.meta_path makes this one
    # call reach the metadata as well as the modules.
    importlib.invalidate_caches()
    found: dict[str, Candidate] = {}
    for distribution in _distributions():
        for entry in distribution.entry_points:
            if entry.group != GROUP:
                continue
            candidate = Candidate(
                entry.name,
                entry.value,
                distribution.metadata["Name"],
                distribution.version,
                files_of(distribution),
            )
            first = found.setdefault(entry.name, candidate)
            if first is not candidate:
                rivals = (*first.rivals, candidate.distribution)
                found[entry.name] = attrs.evolve(first, rivals=rivals)
    return found


def files_of(distribution: importlib_metadata.Distribution) -> frozenset[str]:
    """The real paths of what the distribution installed, from its RECORD."""
    return frozenset(
        str(Path(str(distribution.locate_file(file))).resolve())
        for file in distribution.files or ()
        if file.suffix in (".py", ".so", ".pyd")
    )


def _distributions() -> Iterator[importlib_metadata.Distribution]:
    """One of each name, the first on the path; what pip left half done is passed over."""
    seen = set()
    distribution: importlib_metadata.Distribution
    for distribution in importlib_metadata.distributions():  # type: ignore[assignment]
        try:
            name = distribution.metadata["Name"]
            if not name or distribution.version is None:
                continue
            canonical = re.sub(r"[-_.]+", "-", name).lower()
            # pip renames what it is replacing to ~ame-1.0.dist-info, and a killed pip leaves it.
            folder = Path(str(getattr(distribution, "_path", ""))).name
            if canonical not in seen and not folder.startswith("~"):
                seen.add(canonical)
                yield distribution
        except Exception as error:
            logs.get().debug("plugin.unreadable_distribution", error=str(error))
