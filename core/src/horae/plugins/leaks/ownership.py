"""Which objects are of a plugin's code, and not of the code that took its place."""

import functools
import sys
from collections.abc import Iterable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final


class Ownership:
    """Tells what belongs to some modules that were taken out of the interpreter."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    def has(self, value: object) -> bool:
        """Whether ``value`` is code of it, an instance of a class of it, or wraps such a thing."""
        return any(self._is_code(one) for one in _parts(value))

    def globals_of(self, value: object) -> bool:
        """Whether ``value`` is what the functions of one of its modules see as their globals.

        attrs gives the methods that it writes a copy with the same name in it.
        """
        if type(value) is not dict or "__builtins__" not in value:
            return False
        return _among(value.get("__name__"), self.names) and not _is_live(value)

    def _is_code(self, value: Any) -> bool:
        if is_a(value, FunctionType):
            return self.globals_of(value.__globals__)
        if is_a(value, ModuleType):
            name = vars(value).get("__name__")
            return _among(name, self.names) and sys.modules.get(name) is not value
        kind = value if is_a(value, type) else type(value)
        return _among(vars(kind).get("__module__"), self.names) and not _is_live_class(kind)


def is_a(value: object, kinds: type | tuple[type, ...]) -> bool:
    """``isinstance`` without asking ``value``: a proxy would answer for what it stands for."""
    return issubclass(type(value), kinds)


def _among(name: object, names: frozenset[str]) -> bool:
    return isinstance(name, str) and name in names


def _parts(value: object) -> Iterator[object]:
    yield value
    if type(value) is tuple:
        yield from value
    if type(value) in _WRAPPERS:
        names = ("__func__", "__self__", "func", "__wrapped__")
        yield from (getattr(value, name) for name in names if hasattr(value, name))


_WRAPPERS: Final = (
    MethodType,
    functools.partial,
    functools._lru_cache_wrapper,
    staticmethod,
    classmethod,
)


def _is_live(variables: dict[str, Any]) -> bool:
    module = sys.modules.get(variables["__name__"])
    return module is not None and vars(module) is variables


def _is_live_class(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    found: Any = module
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind
