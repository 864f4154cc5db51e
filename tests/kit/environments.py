"""Real virtual environments and real pip, without network."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


def make_venv(folder: Path, *, bare: bool = False) -> Path:
    """The interpreter of a new virtual environment that sees all that the running one sees.

    ``--system-site-packages`` would show the base interpreter's packages, not those of the
    environment that runs the tests, so a ``.pth`` file adds these; ``addsitedir`` also reads the
    ``.pth`` files in them, which is what editable installs live from. pip comes along that way,
    and installs into the new environment. A ``bare`` one has nothing but a pip of its own.
    """
    venv.create(folder, with_pip=bare)
    if not bare:
        packages = sysconfig.get_path("purelib")
        pth = site_packages(folder) / "zz_running_interpreter.pth"
        pth.write_text(f"import site; site.addsitedir({packages!r})\n")
    return folder / "bin" / "python"


def site_packages(folder: Path) -> Path:
    """Where the virtual environment in ``folder`` has its distributions."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))


def pip_install(python: Path, *what: Path | str) -> None:
    """Install wheels or folders, without network and without dependencies."""
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall"]
    pip(python, "install", *options, *what)


def pip_uninstall(python: Path, name: str) -> None:
    """Take a distribution out."""
    pip(python, "uninstall", "--yes", name)


def pip(python: Path, *arguments: Path | str) -> None:
    """Run pip to its end. Raises AssertionError with all that it said when it fails."""
    command = [python, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=python.parent)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"


RUNNING = Path(sys.executable)
"""The interpreter that runs the tests."""
