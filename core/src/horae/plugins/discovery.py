"""Which plugins are installed, from entry points alone: no plugin code is imported."""

import hashlib
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import importlib_metadata
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from horae import logs

GROUP: Final = "horae"
BUILTIN_DISTRIBUTION: Final = "horae-builtin-plugins"
NATIVE: Final = (".so", ".pyd")
OWN: Final = re.compile(r"horae([-_.]+(hookspecs|builtin[-_.]+plugins))?(?![-_.\w])", re.IGNORECASE)
"""How a requirement of horae itself, or of its parts that a plugin may import, begins."""


@attrs.frozen
class Candidate:
    """An installed plugin: an entry point and the distribution that has it.

    ``rivals`` are other distributions with an entry point of the same name, ``requires`` what the
    distribution asks of horae's own and ``requires_python`` of Python, ``depends`` the normalised
    names of all distributions that it asks for, ``record`` the digest of its RECORD. ``native`` has
    the digest of each compiled file by its path, ``pth`` the paths of the files that ``site`` reads
    at the start of an interpreter.
    """

    name: str
    value: str
    distribution: str
    version: str
    files: frozenset[str] = attrs.field(repr=False)
    rivals: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    depends: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    requires_python: str | None = None
    record: str | None = None
    native: Mapping[str, str] = attrs.field(factory=dict, repr=False, eq=False)
    pth: tuple[str, ...] = ()

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
    for distribution in distributions():
        for candidate in _candidates(distribution):
            first = found.setdefault(candidate.name, candidate)
            if first is not candidate:
                rivals = (*first.rivals, candidate.distribution)
                found[candidate.name] = attrs.evolve(first, rivals=rivals)
    return found


def in_folder(folder: Path) -> list[Candidate]:
    """The plugins that lie in one folder of distributions, on the path or not."""
    return [one for found in distributions(path=[str(folder)]) for one in _candidates(found)]


def find(plugin: str, distribution: str) -> Candidate | None:
    """One plugin of one distribution, as the disk has it now; much quicker than all of them."""
    importlib.invalidate_caches()
    found = (c for one in distributions(name=distribution) for c in _candidates(one))
    return next((candidate for candidate in found if candidate.name == plugin), None)


def _candidates(distribution: importlib_metadata.Distribution) -> list[Candidate]:
    """The plugins of one distribution; damaged metadata have none, and hide nobody else's."""
    try:
        return [
            Candidate(
                entry.name,
                entry.value,
                distribution.metadata["Name"],
                distribution.version,
                files_of(distribution),
                requires=_of_horae(distribution.requires or ()),
                depends=_depends(distribution.requires or ()),
                requires_python=distribution.metadata.get("Requires-Python"),
                record=_record(distribution),
                native=native_of(distribution),
                pth=_pth(distribution),
            )
            for entry in distribution.entry_points
            if entry.group == GROUP and distribution.name and distribution.version
        ]
    except Exception as error:
        logs.get().debug("plugin.unreadable_distribution", error=str(error))
        return []


def _of_horae(requirements: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in requirements if OWN.match(text))


def _depends(requirements: Iterable[str]) -> frozenset[str]:
    """The distributions that are needed here; what only an extra needs is not among them."""
    found = set()
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # pip has told about it
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found.add(canonicalize_name(requirement.name))
    return frozenset(found)


def _record(distribution: importlib_metadata.Distribution) -> str | None:
    """Tells two installations of a distribution apart, also where the version is the same."""
    text = distribution.read_text("RECORD")
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def files_of(distribution: importlib_metadata.Distribution) -> frozenset[str]:
    """The real paths of what the distribution installed, from its RECORD.

    None for an editable install: its sources are elsewhere, and the RECORD lists what leads there.
    """
    if getattr(getattr(distribution.origin, "dir_info", None), "editable", False):
        return frozenset()
    return frozenset(
        _real(distribution, file)
        for file in distribution.files or ()
        if file.suffix in (".py", *NATIVE)
    )


def native_of(distribution: importlib_metadata.Distribution) -> dict[str, str]:
    """The compiled files of a distribution by their real paths, with the digests that its RECORD
    has of them.
    """
    return {
        _real(distribution, file): file.hash.value
        for file in distribution.files or ()
        if file.suffix in NATIVE and file.hash is not None
    }


def _pth(distribution: importlib_metadata.Distribution) -> tuple[str, ...]:
    files = (file for file in distribution.files or () if file.suffix == ".pth")
    return tuple(_real(distribution, file) for file in files)


def _real(
    distribution: importlib_metadata.Distribution, file: importlib_metadata.PackagePath
) -> str:
    return str(Path(str(distribution.locate_file(file))).resolve())


def distributions(**only: Any) -> Iterator[importlib_metadata.Distribution]:
    """One of each name, the first on the path; what pip left half done is passed over."""
    seen = set()
    distribution: importlib_metadata.Distribution
    for distribution in importlib_metadata.distributions(**only):  # type: ignore[assignment]
        # Told from the folder: to parse the metadata of all that is installed takes ten times as
        # long. pip renames what it is replacing to ~ame-1.0.dist-info, and a killed pip leaves it.
        name = distribution._normalized_name
        if name not in seen and not name.startswith("~") and _has_metadata(distribution):
            seen.add(name)
            yield distribution


def _has_metadata(distribution: importlib_metadata.Distribution) -> bool:
    try:
        return bool(distribution.read_text("METADATA") or distribution.read_text("PKG-INFO"))
    except ValueError:
        return False
