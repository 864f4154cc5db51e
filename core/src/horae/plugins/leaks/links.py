"""The words for what holds something: links of a chain, and what a chain ends with."""

import contextvars
import encodings
import functools
import sys
import threading
from collections.abc import Callable, Mapping
from types import (
    AsyncGeneratorType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any, Final

from horae.plugins.leaks.ownership import is_a

UNSEEN: Final = (
    "something that Python does not show: a variable of a running function, "
    "an audit hook (sys.addaudithook), or C code"
)
_AT_FORK: Final = getattr(threading, "_after_fork", None)
_BETWEEN: Final = ("cell", "hamt", "hamt_bitmap_node", "hamt_array_node", "hamt_collision_node")
_SUSPENDED: Final = (GeneratorType, CoroutineType, AsyncGeneratorType)


def is_passing(value: object) -> bool:
    """Whether ``value`` holds only while code runs that is none of the plugin's business."""
    return isinstance(value, FrameType) and _is_running(value)


def _is_running(frame: FrameType) -> bool:
    running: FrameType | None = sys._getframe()
    while running is not None:
        if running is frame:
            return True
        running = running.f_back
    return False


def end(value: object, held: object) -> str | None:
    """What the search ends with at ``value``, which refers to ``held``; None to go on."""
    words = (describe(value, held) for describe in _ENDS)
    return next(filter(None, words), None)


def _variable(value: object, held: object) -> str | None:
    """The variables of a module that is loaded, or of one that was and is no plugin's."""
    if type(value) is not dict:
        return None
    if value is sys.modules:
        return f"sys.modules[{_key(value, held)!r}]"
    name = value.get("__name__")
    if not isinstance(name, str) or "__spec__" not in value:
        return None
    return f"{_key(value, held)} in module {name}"


def _key(variables: Mapping[Any, Any], held: object) -> object:
    return next((key for key, value in list(variables.items()) if value is held), "something")


def _module(value: Any, _: object) -> str | None:
    return f"module {value.__name__}" if is_a(value, ModuleType) else None


def _cache(value: Any, _: object) -> str | None:
    if not is_a(value, functools._lru_cache_wrapper):
        return None
    return f"lru_cache of {_named(value.__wrapped__)}"


def _thread(value: Any, _: object) -> str | None:
    return f"thread {value.name!r}" if is_a(value, threading.Thread) else None


def _context(value: Any, _: object) -> str | None:
    if not is_a(value, contextvars.Context):
        return None
    names = sorted(variable.name for variable in value)
    return f"a context, by one of its variables {', '.join(names)}"


def _unnamed_registry(value: object, _: object) -> str | None:
    """Lists and dicts of the interpreter itself, which no variable leads to."""
    if type(value) is list and any(one is encodings.search_function for one in value):
        return "codecs.register"
    if type(value) is dict and "xmlcharrefreplace" in value:
        return "codecs.register_error"
    if type(value) is list and any(one is _AT_FORK for one in value):
        return "os.register_at_fork"
    return None


_ENDS: Final[tuple[Callable[[object, object], str | None], ...]] = (
    _variable,
    _module,
    _cache,
    _thread,
    _context,
    _unnamed_registry,
)


def link(value: Any) -> str | None:
    """What a chain says of ``value`` between its two ends; None for what only carries."""
    kind = type(value)
    if kind.__name__ in _BETWEEN or is_a(value, TracebackType):
        return None
    if is_a(value, (FunctionType, MethodType)):
        return f"function {_named(value)}"
    if is_a(value, type):
        return f"class {_named(value)}"
    if is_a(value, FrameType):
        return f"stack frame of {value.f_code.co_qualname}"
    if is_a(value, BaseException):
        return f"exception {_named(kind)}"
    if is_a(value, _SUSPENDED):
        return f"{kind.__name__} {value.__qualname__}"
    return kind.__name__ if kind.__module__ == "builtins" else f"instance of {_named(kind)}"


def _named(value: Any) -> str:
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{getattr(value, '__module__', '?')}.{name}"
