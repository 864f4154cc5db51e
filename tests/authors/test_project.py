"""``horae plugin new``: a project that is whole."""

import subprocess
from pathlib import Path

import pytest

from horae.errors import ProjectRefused
from horae.testing.project import write_project
from kit.commands import Command
from kit.environments import make_venv, pip_install

OWN_PYTEST = ["-p", "horae.pytest_plugin", "-p", "no:cacheprovider"]
"""The plugin by its module: the entry point is there only where horae itself is installed anew."""


def test_a_new_plugin_passes_its_own_tests(tmp_path: Path) -> None:
    """Installed by pip, with the fixtures that come with horae."""
    horae = Command(tmp_path)
    said = horae("plugin", "new", "acme-backup", "--folder", "mine").stdout
    assert "horae plugin check ." in said
    python = make_venv(tmp_path / "venv")
    pip_install(python, tmp_path / "mine")
    done = subprocess.run(
        [python, "-m", "pytest", "-q", *OWN_PYTEST],
        cwd=tmp_path / "mine",
        env={**horae.environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["Acme", "1acme", "acme.ping", "acme-", "class", ""])
def test_a_name_that_nothing_can_be_called_is_refused(tmp_path: Path, name: str) -> None:
    """It becomes a module, a distribution and the beginning of event types."""
    with pytest.raises(ProjectRefused, match="is no name for a plugin"):
        write_project(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A folder with something in it is left as it is."""
    (tmp_path / "notes").touch()
    with pytest.raises(ProjectRefused, match="not empty"):
        write_project("acme", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    """As after git init without anything else, or mkdir."""
    assert all(path.exists() for path in write_project("acme", tmp_path))
