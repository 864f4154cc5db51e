"""A folder on ``sys.path`` that stands for site-packages, and plugins to install into it."""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from kit.wheels import build_wheel, take_out, unpack

HEAD: Final = """\
import attrs
from horae_hookspecs import *
events = ScheduledEventRegistryWrapper()
"""
HOOK: Final = """\
@hookimpl
def horae_event_types():
    return events
"""


def plugin(body: str = "") -> str:
    """A plugin's source: ``body`` between the wrapper ``events`` and the hook that gives it."""
    return f"{HEAD}{textwrap.dedent(body)}\n{HOOK}"


def answering(answer: object, event_type: str = "acme.ask") -> str:
    """The source of a plugin with one type, whose runs succeed with ``answer``."""
    return plugin(f"@events.register({event_type!r})\ndef ask(context):\n    return {answer!r}\n")


class Site:
    """A place for distributions. Everything goes out again with ``close``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._wheels = folder.with_name("wheels")
        folder.mkdir()
        sys.path.insert(0, str(folder))

    def install(
        self,
        source: str | Mapping[str, str | bytes],
        *,
        version: str = "1.0",
        plugin: str = "acme",
        distribution: str | None = None,
        value: str | None = None,
        requires: Sequence[str] = (),
    ) -> None:
        """Install, or replace, the distribution of a plugin called ``plugin``.

        ``source`` is that of its package, or sources by path; ``value`` what its entry point
        names. Left out, they are named after the plugin. ``requires`` goes into its metadata.
        """
        package = f"{plugin}_plugin"
        files: Mapping[str, str | bytes] = (
            {f"{package}/__init__.py": source} if isinstance(source, str) else source
        )
        wheel = build_wheel(
            self._wheels,
            distribution or f"{plugin}-plugin",
            version,
            files,
            {plugin: value or package},
            requires,
        )
        unpack(wheel, self.folder)

    def uninstall(self, plugin: str = "acme") -> None:
        """Take the distribution of ``plugin`` out."""
        take_out(f"{plugin}-plugin", self.folder)

    def modules(self) -> set[str]:
        """The names of the loaded modules that came from here."""
        return {
            name
            for name, module in list(sys.modules.items())
            if str(getattr(module, "__file__", None)).startswith(str(self.folder))
        }

    def close(self) -> None:
        """Take this place off ``sys.path``, and what came from it out of the interpreter."""
        sys.path.remove(str(self.folder))
        for name in self.modules():
            del sys.modules[name]
