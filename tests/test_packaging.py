"""The four distributions as pip sees them: what is in the wheels, and that they install."""

import email
import re
import shutil
import subprocess
import zipfile
from configparser import ConfigParser
from email.message import Message
from pathlib import Path
from typing import Final

import attrs
import pytest

from horae.testing.project import FILES
from kit.environments import RUNNING, make_venv, pip, pip_install, site_packages

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = {
    "hookspecs": "horae_hookspecs",
    "core": "horae",
    "builtin_plugins": "horae_builtin_plugins",
    "sample_plugin": "horae_sample_plugin",
}
KEPT_OUT: Final = ("__pycache__", ".hypothesis", ".pytest_cache", ".mypy_cache", ".venv")

IMPORTS: Final = """
import horae, horae_builtin_plugins.schedule, horae_hookspecs, horae_sample_plugin
from importlib_metadata import entry_points, version
with horae.Host("sqlite:///installed.db") as host:
    host.load_plugin("sample")
    print(*sorted(info.name for info in host.discover()))
print(version("horae"), horae.__file__)
"""


@attrs.frozen
class Built:
    """What a wheel says of itself, and what is in it."""

    wheel: Path
    metadata: Message
    files: frozenset[str]

    def read(self, name: str) -> str:
        """The text of the file that ends so."""
        (path,) = [file for file in self.files if file.endswith(name)]
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.read(path).decode()


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's distributions, so that no build writes into it."""
    pytest.importorskip("hatchling", reason="the dependency group 'test' is not installed")
    copy = tmp_path_factory.mktemp("sources")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns(*KEPT_OUT))
    shutil.copy(ROOT / "_version.py", copy)
    return copy


@pytest.fixture(scope="session")
def wheels(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """All four built by pip in one go, by folder."""
    out = tmp_path_factory.mktemp("wheels")
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", out)
    pip(RUNNING, "wheel", *options, *(sources / folder for folder in FOLDERS))
    return {folder: _read(next(out.glob(f"{name}-*.whl"))) for folder, name in FOLDERS.items()}


def _read(wheel: Path) -> Built:
    with zipfile.ZipFile(wheel) as archive:
        files = frozenset(archive.namelist())
        (path,) = [file for file in files if file.endswith(".dist-info/METADATA")]
        return Built(wheel, email.message_from_bytes(archive.read(path)), files)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_wheel_has_the_package_with_its_types_and_nothing_else(
    wheels: dict[str, Built], folder: str
) -> None:
    """All sources and ``py.typed`` are in it; tests and what stands beside the package are not."""
    package = FOLDERS[folder]
    source = ROOT / folder / "src"
    expected = {
        str(file.relative_to(source))
        for file in (source / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    built = {file for file in wheels[folder].files if ".dist-info/" not in file}
    assert built == expected
    assert f"{package}/py.typed" in built


def test_the_host_brings_its_migrations(wheels: dict[str, Built]) -> None:
    """Without its SQL files it could not make a store."""
    assert "horae/stores/migrations/0001_first.sql" in wheels["core"].files


def test_all_four_have_the_one_version(wheels: dict[str, Built]) -> None:
    """It is written down once, in the workspace."""
    text = (ROOT / "_version.py").read_text()
    (version,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert {built.metadata["Version"] for built in wheels.values()} == {version}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_wheel_says_what_it_is(wheels: dict[str, Built], folder: str) -> None:
    """License, Python versions, a summary and a readme stand in its metadata."""
    metadata = wheels[folder].metadata
    assert metadata["Name"] == FOLDERS[folder].replace("_", "-")
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Summary"]
    assert f"# {metadata['Name']}" in str(metadata.get_payload())


@pytest.mark.parametrize(
    ("folder", "horae"),
    [
        ("hookspecs", set()),
        ("core", {"horae-hookspecs", "horae-builtin-plugins"}),
        ("builtin_plugins", {"horae-hookspecs"}),
        ("sample_plugin", {"horae-hookspecs"}),
    ],
)
def test_requirements_point_down_only(
    wheels: dict[str, Built], folder: str, horae: set[str]
) -> None:
    """A plugin needs the hookspecs alone; the host brings the built-in plugins along."""
    required = wheels[folder].metadata.get_all("Requires-Dist", [])
    names = {re.split(r"[ ;<>=\[]", requirement)[0] for requirement in required}
    assert {name for name in names if name.startswith("horae")} == horae


def test_plugins_are_found_by_entry_point(wheels: dict[str, Built]) -> None:
    """Ours too; the command is the host's."""
    found = {}
    for folder in ("core", "builtin_plugins", "sample_plugin"):
        parser = ConfigParser()
        parser.read_string(wheels[folder].read("entry_points.txt"))
        found[folder] = {name: dict(parser[name]) for name in parser.sections()}
    assert found["core"] == {
        "console_scripts": {"horae": "horae.__main__:main"},
        "pytest11": {"horae": "horae.pytest_plugin"},
    }
    assert found["builtin_plugins"]["horae"]["schedules"] == "horae_builtin_plugins.schedule"
    assert found["builtin_plugins"]["horae"]["bots"] == "horae_builtin_plugins.bots"
    assert found["sample_plugin"]["horae"] == {"sample": "horae_sample_plugin"}


def _use(python: Path, elsewhere: Path) -> tuple[str, Path]:
    """Import everything and start a host with the sample plugin, in a folder of its own."""
    command = [str(python), "-c", IMPORTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    (discovered,) = [line for line in done.stdout.splitlines() if line.endswith(" schedules")]
    return discovered, Path(done.stdout.split()[-1])


def test_the_wheels_install_together(wheels: dict[str, Built], tmp_path: Path) -> None:
    """One pip command, a fresh environment, another folder: everything imports and runs."""
    python = make_venv(tmp_path / "venv")
    pip_install(python, *(built.wheel for built in wheels.values()))
    discovered, file = _use(python, tmp_path)
    assert discovered == "bots sample schedules"
    assert file.is_relative_to(site_packages(tmp_path / "venv"))
    assert (tmp_path / "venv" / "bin" / "horae").exists()


def test_the_folders_install_together_editable(sources: Path, tmp_path: Path) -> None:
    """The same with ``-e``: the code that runs is the code that is edited."""
    python = make_venv(tmp_path / "venv")
    pip_install(python, *(f"--editable={sources / folder}" for folder in FOLDERS))
    discovered, file = _use(python, tmp_path)
    assert discovered == "bots sample schedules"
    assert file.is_relative_to(sources)


def test_the_sample_plugin_is_tested_in_its_own_folder(sources: Path) -> None:
    """Whoever copies the folder has its tests running at once."""
    command = [str(RUNNING), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, cwd=sources / "sample_plugin"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_templates_of_new_plugins_are_in_the_wheel(wheels: dict[str, Built]) -> None:
    """Whatever ``horae plugin new`` makes a file of."""
    packed = {name.rpartition("/")[2] for name in wheels["core"].files if "/template/" in name}
    assert packed == set(FILES)
