"""Which loaded modules belong to a plugin, and how they leave without a trace."""

import contextlib
import functools
import importlib
import inspect
import linecache
import sys
import typing
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path, PurePath
from types import ModuleType


def owned(files: frozenset[str], top: str) -> dict[str, ModuleType]:
    """The loaded modules that came from ``files``; without any, those of the package around
    ``top``.
    """
    loaded = list(sys.modules.items())
    if files:
        return {name: module for name, module in loaded if file_of(module) in files}
    package = _outermost(top)
    return {name: module for name, module in loaded if f"{name}.".startswith(f"{package}.")}


def _outermost(module: str) -> str:
    """The outermost package around ``module`` that is no namespace shared with others."""
    names = list(accumulate(module.split("."), "{}.{}".format))
    regular = (name for name in names if name not in sys.modules or file_of(sys.modules[name]))
    return next(regular, module)


def file_of(module: ModuleType) -> str | None:
    """The real path of the file that a module came from, if it came from one."""
    try:
        path = module.__file__
        return _real(path) if path else None
    except (AttributeError, OSError, TypeError, ValueError):
        return None


def loaded_from(file: PurePath) -> bool:
    """Whether a module is loaded from ``file``, which is relative to a folder of the path."""
    if file.suffix not in (".py", ".so", ".pyd") or ".." in file.parts:
        return False
    *packages, last = file.parts
    own = [] if last.startswith("__init__.") else [last.partition(".")[0]]
    module = sys.modules.get(".".join([*packages, *own]))
    found = getattr(module, "__file__", None)
    return isinstance(found, str) and Path(found).as_posix().endswith(f"/{file.as_posix()}")


@functools.lru_cache(maxsize=4096)
def _real(path: str) -> str:
    return str(Path(path).resolve())


def purge(modules: Mapping[str, ModuleType]) -> None:
    """Take modules out of the interpreter, with the attributes that their parents have on them."""
    for name, module in modules.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
        parent, _, child = name.rpartition(".")
        # Only on parents that stay: old code that still runs looks for the others in theirs.
        stays = parent in sys.modules and parent not in modules
        if stays and vars(sys.modules[parent]).get(child) is module:
            delattr(sys.modules[parent], child)
    forget_caches()


def restore(modules: Mapping[str, ModuleType]) -> None:
    """Put purged modules back as they were."""
    sys.modules.update(modules)
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent in sys.modules:
            # Only where it is missing: ``from acme.ping import ping`` puts a function under the
            # name of its module, and that is what the package had.
            vars(sys.modules[parent]).setdefault(child, module)
    forget_caches()


def forget_caches() -> None:
    """Empty what would keep old code, old listings or old source lines alive."""
    importlib.invalidate_caches()
    linecache.checkcache()
    # typing caches every subscripted class: List[C] keeps C. CPython's own tests clear it so.
    cleanups: Iterable[typing.Any] = getattr(typing, "_cleanups", ())
    # Python 3.12 keeps the bases of each class that inspect.getattr_static looks at, as pluggy has
    # it do; others keep weak references.
    shadowed = getattr(inspect, "_shadowed_dict_from_mro_tuple", None)
    for cleanup in (*cleanups, getattr(shadowed, "cache_clear", lambda: None)):
        with contextlib.suppress(Exception):
            cleanup()
