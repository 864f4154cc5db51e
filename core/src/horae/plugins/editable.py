"""Editable installs in a running host: their ``.pth`` files are read, and undone at unload.

The interpreter reads ``.pth`` files when it starts. What is installed later is found, since its
metadata are there, but cannot be imported until somebody reads them.
"""

import importlib
import site
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from horae.plugins.discovery import Candidate


class Additions:
    """What the ``.pth`` files of one distribution added to the import system."""

    def __init__(self, wanted: frozenset[str] = frozenset()) -> None:
        self._wanted = wanted
        self._path: list[str] = []
        self._finders: list[Any] = []
        self._hooks: list[Any] = []
        self._modules: dict[str, ModuleType] = {}
        self._there = False

    def note(self, before: "_Before") -> None:
        """Everything that was not there ``before`` is of this distribution."""
        self._path = [entry for entry in sys.path if entry not in before.path]
        self._finders = [one for one in sys.meta_path if id(one) not in before.ids]
        self._hooks = [one for one in sys.path_hooks if id(one) not in before.ids]
        self._modules = {
            name: module
            for name, module in list(sys.modules.items())
            if name.startswith("__editable__") and name not in before.modules
        }
        self._there = True
        _LIVE.append(self)

    def undo(self) -> None:
        """Take all of it out again; harmless when it is out.

        A folder that another plugin's ``.pth`` names too stays, and goes with that one.
        """
        if not self._there:
            return
        self._there = False
        _LIVE.remove(self)
        for entry in self._path:
            heir = next((other for other in _LIVE if entry in other._wanted), None)
            if heir is not None:
                heir._path.append(entry)
            elif entry in sys.path:
                sys.path.remove(entry)
                sys.path_importer_cache.pop(entry, None)
        _take_out(sys.meta_path, self._finders)
        _take_out(sys.path_hooks, self._hooks)
        for name, module in self._modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        importlib.invalidate_caches()

    def redo(self) -> None:
        """Put back what ``undo`` took out; harmless when it is there."""
        if self._there:
            return
        self._path = [entry for entry in self._path if entry not in sys.path]
        sys.path += self._path
        sys.meta_path += self._finders
        sys.path_hooks += self._hooks
        sys.modules.update(self._modules)
        self._there = True
        _LIVE.append(self)
        importlib.invalidate_caches()


_LIVE: Final[list[Additions]] = []


def _take_out(there: list[Any], mine: list[Any]) -> None:
    there[:] = [one for one in there if not any(one is other for other in mine)]


class _Before:
    """The import system before a ``.pth`` file was read."""

    def __init__(self) -> None:
        self.path = frozenset(sys.path)
        self.ids = frozenset(map(id, (*sys.meta_path, *sys.path_hooks)))
        self.modules = frozenset(sys.modules)


def process(candidate: Candidate) -> Additions:
    """Read the ``.pth`` files of a distribution, as at the start of the interpreter.

    What is there already is not added twice. Whatever a line of them raises comes through, if
    ``site`` does not tell it on standard error; then nothing is left of the lines before it.
    """
    additions = Additions(frozenset(_folders(candidate)))
    if candidate.pth:
        before = _Before()
        try:
            for file in map(Path, candidate.pth):
                site.addpackage(str(file.parent), file.name, None)
        except BaseException:
            additions.note(before)
            additions.undo()
            raise
        additions.note(before)
        importlib.invalidate_caches()
    return additions


def _folders(candidate: Candidate) -> list[str]:
    """The folders that the lines name, as ``site`` puts them on the path."""
    folders = []
    for file in map(Path, candidate.pth):
        for line in file.read_text("utf-8", "replace").splitlines():
            if line.strip() and not line.startswith(("#", "import ", "import\t")):
                folders.append(site.makepath(str(file.parent), line.rstrip())[0])
    return folders


def forget_compiled(own: dict[str, ModuleType]) -> None:
    """Delete what was compiled of these modules.

    A source that is edited within the second, to the same size, would not be compiled again.
    """
    for module in own.values():
        compiled = getattr(module, "__cached__", None)
        if isinstance(compiled, str):
            Path(compiled).unlink(missing_ok=True)
