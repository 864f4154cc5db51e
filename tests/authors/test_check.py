"""``horae plugin check``: a life in a scratch environment, with real pip, and its grade."""

from pathlib import Path
from typing import Any

import pytest

from horae.errors import ProjectRefused
from horae.testing.check import Wishes, check
from horae.testing.project import write_project
from horae.testing.steps import Step, Verdict, grade
from kit.commands import Command
from kit.sites import Site, answering, plugin
from kit.wheels import build_wheel

DESCRIBED = ["horae-hookspecs"]


def wheel_of(folder: Path, source: str, version: str = "1.0") -> Path:
    """The wheel of a plugin ``acme``; it has no description, which costs it the top grade."""
    files = {"acme_plugin/__init__.py": source}
    entry = {"acme": "acme_plugin"}
    return build_wheel(folder / "built", "acme-plugin", version, files, entry, DESCRIBED)


def checked(target: Path | str, **wishes: Any) -> dict[str, Step]:
    """The steps by their names."""
    return {step.name: step for step in check(str(target), Wishes(**wishes))}


def failed(steps: dict[str, Step]) -> list[str]:
    """The names of those that failed."""
    return [name for name, step in steps.items() if step.verdict is Verdict.FAILED]


def test_a_new_plugin_gets_the_top_grade(tmp_path: Path) -> None:
    """From its folder, by the command; every step has passed."""
    horae = Command(tmp_path)
    write_project("fresh", tmp_path / "fresh")
    told = horae.json("plugin", "check", "fresh")
    assert told["grade"] == "A", told
    assert [step["name"] for step in told["steps"]] == [
        "build",
        "metadata",
        "install",
        "preflight fresh",
        "load fresh",
        "use fresh.hello",
        "unload fresh",
        "load fresh again",
        "upgrade fresh",
        "roll back fresh",
        "unload fresh at the end",
    ]
    assert {step["verdict"] for step in told["steps"]} == {"passed"}


def test_an_upgrade_from_an_earlier_wheel_is_tried(tmp_path: Path) -> None:
    """The earlier one is installed and used first; examples stand for arguments."""
    source = plugin("""
        @events.register("acme.ask")
        @attrs.frozen
        class Ask(ScheduledEventJob):
            '''Ask.'''
            what: str

            def run(self, context):
                if self.what != "this":
                    raise ValueError(self.what)
    """)
    old, new = wheel_of(tmp_path, source), wheel_of(tmp_path, source, "2.0")
    steps = checked(new, previous=old, examples={"acme.ask": {"what": "this"}})
    assert steps["upgrade acme"].detail == "1.0 to 2.0"
    assert steps["use acme.ask"].verdict is Verdict.PASSED
    assert failed(steps) == []
    assert steps["metadata"].detail == "add a description, a readme, requires-python"
    assert grade(steps.values()) == "B"


def test_a_plugin_that_stays_gets_a_c_and_its_holder_named(tmp_path: Path) -> None:
    """Its class hangs on a module that is not its own."""
    source = answering(1, "acme.ask") + "\nimport json\njson.kept = [ask]\n"
    steps = checked(wheel_of(tmp_path, source))
    assert failed(steps) == ["unload acme"]
    assert "acme_plugin.ask" in steps["unload acme"].detail
    assert grade(steps.values()) == "C"


def test_what_a_plugin_leaves_changed_is_found_too(tmp_path: Path) -> None:
    """Though nothing holds its code."""
    source = answering(1, "acme.ask") + "\nimport sys\nsys.path.append('/left/behind')\n"
    steps = checked(wheel_of(tmp_path, source))
    assert "unload acme" in failed(steps)
    assert "/left/behind" in steps["unload acme"].detail
    assert grade(steps.values()) == "C"


@pytest.mark.parametrize(
    ("source", "step", "told", "given"),
    [
        ("import os; os.abort()", "preflight acme", "SIGABRT", "E"),
        (answering(1).replace("return 1", "__import__('os')._exit(3)"), "use", "exit code 3", "D"),
    ],
    ids=["dies at import", "dies in a run"],
)
def test_a_plugin_that_ends_its_process_is_found_out(
    tmp_path: Path, source: str, step: str, told: str, given: str
) -> None:
    """The check goes on to its grade."""
    steps = checked(wheel_of(tmp_path, source))
    (name,) = failed(steps)
    assert name.startswith(step)
    assert told in steps[name].detail
    assert grade(steps.values()) == given


def test_an_installed_plugin_is_checked_by_its_name(tmp_path: Path, site: Site) -> None:
    """From the files that it has installed, which are not touched."""
    site.install(answering(1), requires=DESCRIBED)
    source = (site.folder / "acme_plugin" / "__init__.py").read_bytes()
    steps = checked("acme", use=False)
    assert failed(steps) == []
    assert steps["use acme.ask"].verdict is Verdict.SKIPPED
    assert (site.folder / "acme_plugin" / "__init__.py").read_bytes() == source


def test_what_cannot_be_built_or_is_no_plugin_gets_an_e(tmp_path: Path) -> None:
    """With pip's words, or with what is missing."""
    (tmp_path / "pyproject.toml").write_text("[project")
    steps = checked(tmp_path)
    assert list(steps) == ["build"]
    assert steps["build"].detail.startswith("pip wheel")
    assert grade(steps.values()) == "E"
    bare = build_wheel(tmp_path, "bare", "1.0", {"bare.py": ""})
    steps = checked(bare)
    assert "no entry point" in steps["metadata"].detail
    assert grade(steps.values()) == "E"


def test_a_target_that_is_nothing_is_refused() -> None:
    """Neither a folder, nor a wheel, nor installed."""
    with pytest.raises(ProjectRefused, match="no installed plugin"):
        checked("nothing-of-this-name")
