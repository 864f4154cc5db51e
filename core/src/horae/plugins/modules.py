"""Which loaded modules belong to a plugin, and how they leave without a trace."""

import contextlib
import importlib
import linecache
import sys
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType


def owned(files: frozenset[str], top: str) -> dict[str, ModuleType]:
    """The loaded modules that came from ``files``; without any, those under the name ``top``."""
    if not files:
        return {n: m for n, m in list(sys.modules.items()) if n == top or n.startswith(top + ".")}
    return {name: module for name, module in list(sys.modules.items()) if _file(module) in files}


def _file(module: ModuleType) -> str | None:
    try:
        path = module.__file__
        return str(Path(path).resolve()) if path else None
    except (AttributeError, OSError, TypeError, ValueError):
        return None


def purge(modules: Mapping[str, ModuleType]) -> None:
    """Take modules out of the interpreter, with the attributes that their parents have on them."""
    for name, module in modules.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
        parent, _, child = name.rpartition(".")
        if parent in sys.modules and vars(sys.modules[parent]).get(child) is module:
            delattr(sys.modules[parent], child)
    forget_caches()


def restore(modules: Mapping[str, ModuleType]) -> None:
    """Put purged modules back as they were."""
    sys.modules.update(modules)
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent in sys.modules:
            setattr(sys.modules[parent], child, module)
    forget_caches()


def forget_caches() -> None:
    """Empty what would keep old code, old listings or old source lines alive."""
    importlib.invalidate_caches()
    linecache.checkcache()
    # typing caches every subscripted class: List[C] keeps C. CPython's own tests clear it so.
    cleanups: Iterable[typing.Any] = getattr(typing, "_cleanups", ())
    for cleanup in cleanups:
        with contextlib.suppress(Exception):
            cleanup()
