"""A distribution as it is installed, kept so that it can be put back without network."""

import base64
import hashlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import attrs
import importlib_metadata
from packaging.tags import sys_tags

from horae.plugins import pip
from horae.plugins.discovery import distributions

BY_INSTALLER: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""The files of a ``.dist-info`` that no wheel has: whoever installs writes them."""


@attrs.frozen
class Secured:
    """An installed distribution in a folder of its own, as a wheel and what was added to it."""

    name: str
    version: str
    folder: Path
    info: Path
    added: dict[str, bytes | None]

    def put_back(self) -> None:
        """Install it again, to the byte. Raises InstallFailed."""
        pip.install(self.folder, {self.name: self.version})
        for name, content in self.added.items():
            if content is None:
                (self.info / name).unlink(missing_ok=True)
            else:
                (self.info / name).write_bytes(content)


def secure(name: str, folder: Path) -> Secured | None:
    """Keep what is installed of a distribution in ``folder``; None when it is not there.

    What its RECORD lists is packed into a wheel again, edited or not. Raises OSError where a file
    of it cannot be read.
    """
    distribution = next(distributions(name=name), None)
    if distribution is None:
        return None
    info = next(file for file in distribution.files or () if file.name == "METADATA").parent
    place = Path(str(distribution.locate_file(str(info))))
    folder.mkdir(parents=True, exist_ok=True)
    _pack(distribution, str(info), folder)
    added = {
        name: (place / name).read_bytes() if (place / name).exists() else None
        for name in BY_INSTALLER
    }
    return Secured(distribution.metadata["Name"], distribution.version, folder, place, added)


def _pack(distribution: importlib_metadata.Distribution, info: str, folder: Path) -> None:
    escaped = info.removesuffix(".dist-info")
    lines = []
    with zipfile.ZipFile(folder / f"{escaped}-{_tag(distribution)}.whl", "w") as wheel:
        for arcname, file in _contents(distribution, info, f"{escaped}.data"):
            content = file.read_bytes()
            wheel.write(file, arcname)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
            lines.append(f"{arcname},sha256={digest.rstrip('=')},{len(content)}")
        wheel.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,", ""]))


def _contents(
    distribution: importlib_metadata.Distribution, info: str, data: str
) -> Iterator[tuple[str, Path]]:
    """The files of the wheel by their names in it.

    What was compiled, and what the entry points have made, comes again at the installation.
    """
    made = {f"{info}/{name}" for name in BY_INSTALLER}
    scripts = {entry.name for entry in distribution.entry_points if entry.group.endswith("scripts")}
    for entry in distribution.files or ():
        name, file = entry.as_posix(), Path(str(distribution.locate_file(entry)))
        if name in made or entry.suffix == ".pyc" or not file.exists():
            continue
        if not name.startswith(("../", "/")):
            yield name, file
        elif entry.stem not in scripts:
            yield f"{data}/{_scheme(file)}", file


def _scheme(file: Path) -> str:
    """Where a file outside of site-packages belongs: a script, or data under the prefix."""
    inside = PurePosixPath(Path(file.parent.resolve(), file.name).relative_to(sys.prefix))
    beside = inside.parts[0] in ("bin", "Scripts")
    return str(PurePosixPath("scripts", *inside.parts[1:]) if beside else "data" / inside)


def _tag(distribution: importlib_metadata.Distribution) -> str:
    """The first of the wheel's tags that pip takes here."""
    wheel = distribution.read_text("WHEEL") or ""
    given = [line[5:].strip() for line in wheel.splitlines() if line.startswith("Tag: ")]
    known = set(map(str, sys_tags()))
    return next((tag for tag in given if tag in known), "py3-none-any")
