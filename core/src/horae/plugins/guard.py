"""Keeps unloaded code from importing itself back.

A function of an unloaded plugin that still runs somewhere may say ``from . import late``. That
would bring the plugin back into ``sys.modules``, or mix its next version into it. The application,
and the plugin's next generation, may of course import it: the two are told apart by who asks.
Code is old when the module that it stands in is not, or no longer, the one of that name in
``sys.modules``. What is in ``sys.modules`` already, no import system asks anybody about.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType

IMPORTERS = ("importlib", "importlib._bootstrap", "importlib._bootstrap_external")


class Guard:
    """A finder that finds nothing, and refuses old code its own modules.

    It stands first on ``sys.meta_path`` while there is any generation to guard against.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], frozenset[str]] = {}

    def keep(self, plugin: str, generation: int, modules: Iterable[str]) -> None:
        """Guard against the code of ``modules``, which were taken out."""
        if names := frozenset(modules):
            self._names = {**self._names, (plugin, generation): names}
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)

    def drop(self, plugin: str, generation: int) -> None:
        """None of that code is left, or it is back in its place; harmless when it was not kept."""
        self._names = {
            key: names for key, names in self._names.items() if key != (plugin, generation)
        }
        if not self._names and self in sys.meta_path:
            sys.meta_path.remove(self)

    def close(self) -> None:
        """Guard against nothing more."""
        for plugin, generation in list(self._names):
            self.drop(plugin, generation)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None, so that the others look. Raises ModuleNotFoundError to what is old code."""
        for (plugin, _), names in self._names.items():
            if _is_within(name, names) and _is_old(_importer(), names):
                raise ModuleNotFoundError(
                    f"Plugin {plugin!r} was unloaded, and this is its old code that still runs: it "
                    f"cannot import {name!r}, which would bring the plugin back.",
                    name=name,
                )
        return None


def _is_within(name: str, names: frozenset[str]) -> bool:
    """Whether ``name`` is one of ``names`` or below one of them."""
    while name:
        if name in names:
            return True
        name = name.rpartition(".")[0]
    return False


def _importer() -> FrameType | None:
    """The frame that the import statement stands in."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (
        frame.f_globals is globals() or frame.f_globals.get("__name__") in IMPORTERS
    ):
        frame = frame.f_back
    return frame


def _is_old(frame: FrameType | None, names: frozenset[str]) -> bool:
    if frame is None:
        return False
    name = frame.f_globals.get("__name__")
    if not isinstance(name, str) or not _is_within(name, names):
        return False
    module = sys.modules.get(name)
    return module is None or vars(module) is not frame.f_globals
