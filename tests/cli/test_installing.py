"""``horae plugin install`` and ``uninstall`` on a host in a real environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.commands import Command
from kit.environments import make_venv
from kit.sites import answering, plugin
from kit.wheels import build_wheel


class Installed(Command):
    """The command in a virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.python = make_venv(folder / "venv")

    def line(self, *args: object) -> list[str]:
        """With that environment's interpreter."""
        return [str(self.python), *super().line(*args)[1:]]

    def wheel(self, version: int, source: str) -> None:
        """A wheel of acme in the folder ``wheels``."""
        files = {"acme_plugin/__init__.py": source}
        build_wheel(
            self.folder / "wheels",
            "acme-plugin",
            f"{version}.0",
            files,
            {"acme": "acme_plugin"},
        )


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    """The command, and wheels to come."""
    return Installed(tmp_path)


def test_a_plugin_is_installed_and_uninstalled_on_a_running_host(installed: Installed) -> None:
    """Steps are told as they are taken; what fails is told with its reason, by exit code 1."""
    place = ("--no-index", "--find-links", "wheels")
    installed.wheel(1, answering(1))
    with installed.serving("--name", "quay"), installed.client() as client:
        done = installed("plugin", "install", "acme-plugin", *place)
        assert done.stdout == "quay: acme 1.0 is loaded\n"
        assert "quay: installing acme-plugin 1.0" in done.stderr
        run = client.wait(client.schedule("acme.ask").id, timeout=20)
        assert run is not None
        assert run.result == 1

        failing = "@hookimpl\ndef horae_activate(context): raise LookupError('two')"
        installed.wheel(2, plugin(failing))
        failed = installed("plugin", "install", "--upgrade", "acme-plugin", *place, code=1)
        assert "LookupError: two" in failed.stdout
        assert "quay: putting back what was installed" in failed.stderr

        (row,) = [one for one in installed.json("plugin", "list") if one["name"] == "acme"]
        assert (row["state"], row["version"], row["installed"]) == ("active", "1.0", "1.0")

        (gone,) = installed.json("plugin", "uninstall", "acme")
        assert (gone["ok"], gone["report"]["collected"]) == (True, True)
        listed = {one["name"]: one for one in installed.json("plugin", "list")}
        assert (listed["acme"]["installed"], listed["acme"]["desired"]) == (None, "unloaded")


def test_without_a_host_nothing_is_installed(horae: Command) -> None:
    """Exit code 4, and what to do instead."""
    done = horae("plugin", "install", "acme-plugin", code=4)
    assert "nothing was changed" in done.stderr
