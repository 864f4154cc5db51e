# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""The project's tasks. ``nox -s demo`` shows what horae does, ``nox -s tests`` proves it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

SUPPORTED = ("3.11", "3.12", "3.13")
PYPROJECT = nox.project.load_toml("pyproject.toml")
HOST = ("./hookspecs", "./builtin_plugins", "./core")
EVERYTHING = (*HOST, "./sample_plugin")

nox.needs_version = ">=2025.2.9"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "architecture", "tests"]


def interpreters() -> list[str]:
    """The supported Pythons on this machine; a name on the path that does not run is none."""
    os.environ["PATH"] += os.pathsep + str(Path(sys.executable).resolve().parent)
    _open_pyenv()
    found = [version for version in SUPPORTED if _runs(f"python{version}")]
    if "tests" in " ".join(sys.argv) and len(found) < len(SUPPORTED):
        missing = ", ".join(version for version in SUPPORTED if version not in found)
        print(f"Testing on Python {', '.join(found)}; not on this machine: {missing}.")
    return found


def _open_pyenv() -> None:
    # pyenv's python3.12 on the path refuses to run unless that version is switched on.
    if "PYENV_VERSION" in os.environ or not shutil.which("pyenv"):
        return
    listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True)
    versions = [v for v in listed.stdout.split() if v.rpartition(".")[0] in SUPPORTED]
    here = ".".join(map(str, sys.version_info[:3]))
    versions.sort(key=lambda version: version != here)
    if versions:
        os.environ["PYENV_VERSION"] = ":".join(versions)


def _runs(program: str) -> bool:
    path = shutil.which(program)
    return path is not None and not subprocess.run([path, "-c", ""], capture_output=True).returncode


def install(session: nox.Session, *groups: str, packages: tuple[str, ...] = EVERYTHING) -> None:
    """Install dependency groups, then the distributions in one command."""
    session.install("hatchling>=1.27", *nox.project.dependency_groups(PYPROJECT, *groups))
    session.install("--no-build-isolation", *packages)


@nox.session(python=interpreters())
def tests(session: nox.Session) -> None:
    """Run the tests, the shortened campaigns included; arguments go to pytest."""
    install(session, "test")
    session.run("pytest", "-n", "2", *(session.posargs or ["-q"]))


@nox.session
def demo(session: nox.Session) -> None:
    """Do the main job on real input and say what it proves."""
    # The sample plugin is left out: the demo installs it into this very environment while its
    # host runs.
    install(session, packages=HOST)
    session.run("horae", "demo", "--source", "sample_plugin", *session.posargs)


@nox.session
def campaigns(session: nox.Session) -> None:
    """The long forms: fifty rounds of kill -9 and the like."""
    install(session, "test")
    session.run("pytest", "-q", "-m", "campaign", *session.posargs, env={"HORAE_CAMPAIGN": "1"})


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure speed as ratios to bare sqlite3 in the same run; --full for the large sizes."""
    install(session)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install(session, "types")
    session.install("nox")
    session.run("mypy")


@nox.session
def architecture(session: nox.Session) -> None:
    """Check that every import points down the floors."""
    install(session, "architecture")
    session.run("lint-imports")
