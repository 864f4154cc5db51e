"""Tiny real wheels, written file by file: no build backend, no network, a millisecond each."""

import base64
import hashlib
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

GROUP: Final = "horae"


def build_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str | bytes],
    entry_points: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
) -> Path:
    """A wheel of the distribution ``name`` in ``folder``, as any installer takes it.

    ``files`` are sources, or bytes of what is none, by path; ``entry_points`` are those of
    the group ``horae``, by name; ``requires`` what it says it needs.
    """
    info = f"{_escaped(name)}-{version}.dist-info"
    contents: dict[str, str | bytes] = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {one}\n" for one in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": _entry_points(entry_points or {}),
    }
    record = [f"{path},{_digest(data)},{len(_raw(data))}" for path, data in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{_escaped(name)}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in contents.items():
            archive.writestr(path, data)
    return wheel


def unpack(wheel: Path, folder: Path) -> None:
    """Install a pure wheel without pip: what its format prescribes is to unpack it.

    A distribution of the same name that is there is taken out first, as pip does.
    """
    take_out(wheel.name.split("-")[0], folder)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


def take_out(name: str, folder: Path) -> None:
    """Uninstall what ``unpack`` installed: all files of its RECORD, and what was compiled."""
    for info in folder.glob(f"{_escaped(name)}-*.dist-info"):
        for line in (info / "RECORD").read_text().splitlines():
            file = folder / line.split(",")[0]
            file.unlink()
            shutil.rmtree(file.parent / "__pycache__", ignore_errors=True)
        info.rmdir()


def _entry_points(named: Mapping[str, str]) -> str:
    return "\n".join([f"[{GROUP}]", *(f"{name} = {value}" for name, value in named.items()), ""])


def _escaped(name: str) -> str:
    return name.replace("-", "_")


def _raw(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _digest(data: str | bytes) -> str:
    raw = hashlib.sha256(_raw(data)).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
