"""Whether a distribution may bring plugins: one decision, for every path that installs, imports
or enables.

Within the host's process no plugin is held back from anything, so this is where to say no.
"""

import base64
import csv
import functools
import hashlib
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import attrs
import importlib_metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from horae.errors import PluginBlocked
from horae.plugins.discovery import BUILTIN_DISTRIBUTION, Candidate
from horae.settings import Trust

INSTALLERS: Final = ("INSTALLER", "REQUESTED", "RECORD", "RECORD.jws", "direct_url.json")
"""What an installer writes beside what the wheel brought."""


@attrs.frozen
class Decision:
    """Whether a distribution is allowed; ``by`` is the rule that says so, and where it stands."""

    allowed: bool
    reason: str
    by: str


def decide(
    policy: Trust,
    distribution: str,
    version: str | None,
    digest: str | Callable[[], str] | None,
) -> Decision:
    """Whether ``policy`` allows this version of a distribution.

    What is not known yet, None, speaks against nothing: a version before it is looked for, the
    ``digest`` of the contents before they are fetched. That may be a function that makes it, which
    is called for a pinned distribution alone.
    """
    if canonicalize_name(distribution) == BUILTIN_DISTRIBUTION:
        return Decision(True, "it is a part of horae", "horae")
    blocks = (text for text in policy.block if version or not Requirement(text).specifier)
    rule = next((text for text in blocks if _names(text, distribution, version)), None)
    if rule is not None:
        return _denied(policy, f"block[{rule!r}]", f"{policy.block[rule]}; take that rule out")
    pins = [text for text in policy.pins if _names(text, distribution, None)]
    if pins:
        return _pinned(policy, pins, version, digest)
    rule = next((text for text in policy.allow or () if _names(text, distribution, version)), None)
    if rule is not None:
        return _allowed(policy, f"allow has {rule!r}")
    if policy.default == "allow":
        return _allowed(policy, "default")
    named = "allow" if policy.allow is not None else "default"
    return _denied(policy, named, f"it is not named; put {distribution!r} into trust.allow")


def _allowed(policy: Trust, rule: str) -> Decision:
    return Decision(True, "nothing is said against it", f"trust.{rule}, in {policy.source}")


def _denied(policy: Trust, rule: str, reason: str) -> Decision:
    return Decision(False, f"{reason} to change it", f"trust.{rule}, in {policy.source}")


def _pinned(
    policy: Trust, pins: Sequence[str], version: str | None, digest: str | Callable[[], str] | None
) -> Decision:
    """A pin allows one version with its files, and denies every other."""
    pin = next((text for text in pins if _names(text, Requirement(text).name, version)), None)
    if pin is None:
        return _denied(policy, "pins", f"only {', '.join(pins)} is allowed; pin {version} too")
    found = digest() if callable(digest) else digest
    if version is None or found is None or found == policy.pins[pin][-64:]:
        return _allowed(policy, f"pins[{pin!r}]")
    are = f"have the SHA-256 {found}" if found else "are not those of its RECORD"
    return _denied(policy, f"pins[{pin!r}]", f"its contents {are}; pin what is right")


def pin(policy: Trust, distribution: str, version: str) -> str | None:
    """The digest that a version's contents must have; None where it is not pinned."""
    pins = (pin for text, pin in policy.pins.items() if _names(text, distribution, version))
    return next((pin[-64:] for pin in pins), None)


def _names(rule: str, distribution: str, version: str | None) -> bool:
    requirement = Requirement(rule)
    if canonicalize_name(requirement.name) != canonicalize_name(distribution):
        return False
    return version is None or requirement.specifier.contains(version, prereleases=True)


def require(policy: Trust, candidate: Candidate) -> None:
    """Raise PluginBlocked unless ``policy`` allows what is installed."""
    distribution = candidate.distribution
    contents = functools.partial(contents_of, distribution)
    demand(policy, candidate.name, distribution, candidate.version, contents)


def demand(
    policy: Trust,
    plugin: str,
    distribution: str,
    version: str | None,
    digest: str | Callable[[], str] | None = None,
) -> None:
    """Raise PluginBlocked unless ``policy`` allows it, as ``decide`` does."""
    decision = decide(policy, distribution, version, digest)
    if not decision.allowed:
        raise PluginBlocked(plugin, distribution, reason=decision.reason, by=decision.by)


def for_dependencies(policy: Trust) -> Trust:
    """What holds for distributions that bring no plugin: they need be on no list."""
    return attrs.evolve(policy, allow=None, default="allow")


# -- what a pin is compared with


def contents_of(distribution: str) -> str:
    """The digest of an installed distribution's contents; empty where a file is not as its RECORD
    says, or where its files are elsewhere, as those of an editable install.
    """
    found = importlib_metadata.distribution(distribution)
    if getattr(getattr(found.origin, "dir_info", None), "editable", False):
        return ""
    record = found.read_text("RECORD") or ""
    files = list(_files(record))
    intact = all(_hash(Path(str(found.locate_file(path)))) == sha for path, sha in files)
    return _digest(files) if files and intact else ""


def contents_of_wheel(wheel: Path) -> str:
    """The digest of a wheel's contents: what ``contents_of`` gives once it is installed."""
    with zipfile.ZipFile(wheel) as archive:
        (record,) = (n for n in archive.namelist() if n.endswith(".dist-info/RECORD"))
        return _digest(_files(archive.read(record).decode()))


def _files(record: str) -> Iterable[tuple[str, str]]:
    """Path and hash of what the wheel brought into site-packages: no scripts, no bytecode."""
    for row in csv.reader(record.splitlines()):
        path = PurePosixPath(row[0])
        foreign = path.is_absolute() or path.parts[0] == ".." or ".data" in path.parts[0]
        written = path.name in INSTALLERS and path.parent.suffix == ".dist-info"
        if not (foreign or written or path.suffix == ".pyc") and len(row) > 1:
            yield str(path), row[1]


def _hash(file: Path) -> str:
    try:
        raw = hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return "unreadable"
    return "sha256=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(files: Iterable[tuple[str, str]]) -> str:
    lines = sorted(f"{path},{sha}\n" for path, sha in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
