"""A scratch environment: a virtual one that sees all that the running one sees, and in which pip
may do as it likes.
"""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from importlib_metadata import PackageNotFoundError, version
from packaging.requirements import InvalidRequirement, Requirement

from horae.errors import ProjectRefused

LAST: Final = 12
"""How many of pip's last lines are kept."""


class Scratch:
    """Made in ``folder``; nothing outside of it is written to."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "environment"
        self.wheels = folder / "wheels"
        venv.create(self._home, symlinks=os.name != "nt")
        ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        # addsitedir reads their .pth files too, which is what editable installs live from.
        lines = [f"import site; site.addsitedir({path!r})\n" for path in sorted(ours)]
        theirs = Path(sysconfig.get_path("purelib", vars={"base": str(self._home)}))
        (theirs / "zz_running_environment.pth").write_text("".join(lines), "utf-8")

    @property
    def python(self) -> Path:
        """Its interpreter."""
        scripts = Path(sysconfig.get_path("scripts", vars={"base": str(self._home)}))
        return scripts / Path(sys.executable).with_stem("python").name

    def build(self, project: Path) -> Path:
        """The wheel of a project's folder. Raises ProjectRefused with pip's words.

        The build is not isolated where this environment has all that it needs, so that it takes
        a moment, and no network.
        """
        here = _satisfied(_build_requires(project))
        options = ["--no-build-isolation", "--no-index"] if here else []
        self.pip("wheel", "--no-deps", *options, "--wheel-dir", self.wheels, project)
        return next(self.wheels.glob("*.whl"))

    def install(self, wheel: Path) -> None:
        """Put the wheel in, whatever the running environment has of it, and what it needs and
        nobody has. Raises ProjectRefused with pip's words.
        """
        self.pip("install", "--no-deps", "--ignore-installed", "--no-index", wheel)
        self.pip("install", wheel)

    def pip(self, *arguments: str | Path) -> None:
        """Run pip to its end."""
        done = subprocess.run(  # noqa: S603
            [self.python, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment(),
            check=False,
        )
        if done.returncode != 0:
            last = "\n".join(done.stdout.strip().splitlines()[-LAST:])
            raise ProjectRefused(f"pip {arguments[0]} {arguments[-1]} failed:\n{last}")


def environment() -> dict[str, str]:
    """The variables for programs there: what is on the path here is so in every folder."""
    entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in entries)
    own = {"NO_COLOR": "1", "PYTHONUTF8": "1"}
    return {**os.environ, **own, **({"PYTHONPATH": path} if path else {})}


def _build_requires(project: Path) -> list[str] | None:
    try:
        text = (project / "pyproject.toml").read_text("utf-8")
        found: list[str] | None = tomllib.loads(text)["build-system"]["requires"]
    except (OSError, ValueError, KeyError):
        return None
    return found


def _satisfied(requirements: Iterable[str] | None) -> bool:
    if requirements is None:
        return False
    try:
        needed = [Requirement(text) for text in requirements]
        return all(one.specifier.contains(version(one.name), prereleases=True) for one in needed)
    except (InvalidRequirement, PackageNotFoundError):
        return False
