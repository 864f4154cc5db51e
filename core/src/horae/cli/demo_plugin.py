"""The demo's plugin: the sample plugin's own source, built as it is and as its next version."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import click

DISTRIBUTION: Final = "horae-sample-plugin"
NEXT_VERSION: Final = "0.2.0"

CHANGES: Final = (
    ("version=1,", "version=2,"),
    (
        "    url: str = attrs.field(validator=_check_url)\n",
        "    url: str = attrs.field(validator=_check_url)\n    method: str\n",
    ),
    ("probe.probe(self.url, ", "probe.probe(self.url, method=self.method, "),
    (
        "    def run(self, context",
        "    @classmethod\n"
        "    def upgrade(cls, arguments, version):\n"
        '        """Probes stored by version 1 asked with GET."""\n'
        '        return {"method": "GET", **arguments}\n\n'
        "    def run(self, context",
    ),
)
"""What the next version changes: one more argument, and how stored events get it."""


def build_wheel(source: Path, folder: Path) -> Path:
    """The wheel of the plugin in ``source``, built by pip."""
    before = set(folder.glob("*.whl"))
    # With the build backend here already, pip need not fetch it into an environment of its own.
    here = importlib.util.find_spec("hatchling") is not None
    options = ["--no-build-isolation"] if here else []
    pip("wheel", "--no-deps", *options, "--wheel-dir", str(folder), str(source))
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel


def next_version(source: Path, folder: Path) -> Path:
    """A copy of the source with a raised version and one more argument."""
    copy = folder / "next" / source.name
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy.parent / "_version.py").write_text(f'__version__ = "{NEXT_VERSION}"\n')
    module = copy / "src" / "horae_sample_plugin" / "__init__.py"
    text = module.read_text(encoding="utf-8")
    for old, new in CHANGES:
        if text.count(old) != 1:
            raise click.ClickException(f"{module} was expected to have {old!r} exactly once.")
        text = text.replace(old, new)
    module.write_text(text, encoding="utf-8")
    return copy


def pip(*arguments: str) -> None:
    """Run pip for the interpreter that runs this; its own words are shown when it fails."""
    command = [sys.executable, "-m", "pip", "--quiet", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 (our own words)
    if done.returncode:
        raise click.ClickException(f"pip {' '.join(arguments)} failed:\n{done.stderr.strip()}")
