"""``horae plugin new``: a plugin's project, ready to be tested, checked and published."""

import keyword
import re
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

from importlib_metadata import version

from horae.errors import ProjectRefused

NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")

FILES: Final = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "gitignore.in": ".gitignore",
    "plugin.py.in": "src/{module}/__init__.py",
    "test_plugin.py.in": "tests/test_{module}.py",
}
"""The templates, and what is made of each."""


def write_project(name: str, folder: Path) -> list[Path]:
    """Write the project of a plugin called ``name`` into ``folder``; the files, in order.

    Raises ProjectRefused when the name is no plugin's, or the folder has something in it.
    """
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ProjectRefused(
            f"{name!r} is no name for a plugin: give small letters and digits, in parts joined by "
            "'-' or '_', such as 'acme' or 'acme-backup'."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProjectRefused(f"{folder} is there already, and not empty; name another --folder.")
    module = f"{name.replace('-', '_')}_plugin"
    values = {
        "name": name,
        "module": module,
        "distribution": f"{name.replace('_', '-')}-plugin",
        "hookspecs": version("horae-hookspecs"),
    }
    written = []
    for template, path in FILES.items():
        text = resources.files("horae.testing").joinpath("template", template).read_text("utf-8")
        target = folder / path.format(module=module)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(text).substitute(values), "utf-8")
        written.append(target)
    (folder / "src" / module / "py.typed").touch()
    return [*written, folder / "src" / module / "py.typed"]
