"""The state that a whole process shares, looked at before and after a plugin came.

Most of it has no way back that would know the plugin, and some of it (atexit, signals) is held
where the garbage collector cannot see; so it is listed, and what a plugin left is told.
"""

import atexit
import builtins
import contextlib
import copyreg
import gc
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
import structlog

SYS_HOOKS: Final = (
    "excepthook",
    "unraisablehook",
    "displayhook",
    "breakpointhook",
    "stdin",
    "stdout",
    "stderr",
)


@attrs.frozen
class Item:
    """One piece of shared state: ``key`` tells it from others, also from one of the same name."""

    where: str
    what: str
    value: Any = attrs.field(repr=False)

    @property
    def key(self) -> tuple[str, str, object]:
        """Holds nothing."""
        plain = isinstance(self.value, (str, int, float, type(None)))
        return self.where, self.what, hash(self.value) if plain else id(self.value)


class Footprint:
    """What a plugin changes while it loads, and what of that is there when it has gone."""

    def __init__(self) -> None:
        self._before = {item.key for item in look()}
        self._came: set[tuple[str, str, object]] = set()
        self._went: set[tuple[str, str, object]] = set()

    def loaded(self) -> None:
        """The load is over: what changes from now on may be anybody's."""
        now = {item.key for item in look()}
        self._came, self._went = now - self._before, self._before - now
        self._before = set()

    def left(self, owned: Callable[[object], bool]) -> list[Item]:
        """What came with the load and is still there, and all that is ``owned``; then what went
        with the load and is still missing, without its value.
        """
        items = list(look())
        stayed = [item for item in items if item.key in self._came or owned(item.value)]
        replaced = {(item.where, item.what) for item in items}
        gone = self._went - {item.key for item in items}
        missing = [
            Item(where, f"{what} is missing", None)
            for where, what, _ in sorted(gone, key=lambda key: key[:2])
            if (where, what) not in replaced
        ]
        return stayed + missing


def look() -> Iterator[Item]:
    """All of it, as it is now; takes about 0.2 ms."""
    for function in atexit_functions():
        # What a library does for itself when it is first used stays with the library.
        if not getattr(function, "__name__", "").startswith("_"):
            yield Item("atexit", _named(function), function)
    yield from _signals()
    yield from _logging()
    yield from _interpreter()
    yield from _libraries()
    for name, text in list(os.environ.items()):
        yield Item("os.environ", name, hash(text))
    with contextlib.suppress(OSError):
        yield Item("os", "working directory", os.getcwd())


def atexit_functions() -> list[Any]:
    """What is registered for the end of the process.

    The list cannot be read; but to unregister a function it is compared with each.
    """
    reader = _Reader()
    atexit.unregister(reader)  # type: ignore[arg-type]
    return reader.seen


class _Reader:
    """Equal to nothing, and remembers what it was compared with."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __eq__(self, other: object) -> bool:
        self.seen.append(other)
        return False


def _signals() -> Iterator[Item]:
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler):
            yield Item("signal", getattr(number, "name", str(number)), handler)


def _logging() -> Iterator[Item]:
    loggers = list(logging.Logger.manager.loggerDict.values())
    for logger in (logging.root, *loggers):
        if isinstance(logger, logging.Logger):
            where = f"logger {logger.name!r}"
            yield from (Item(where, f"handler {_named(one)}", one) for one in logger.handlers)
            yield from (Item(where, f"filter {_named(one)}", one) for one in logger.filters)
    yield Item("logger 'root'", "level", logging.root.level)
    yield Item("logging", "class of loggers", logging.getLoggerClass())
    yield Item("logging", "factory of records", logging.getLogRecordFactory())


def _interpreter() -> Iterator[Item]:
    yield from (Item("sys", name, getattr(sys, name)) for name in SYS_HOOKS)
    yield Item("threading", "excepthook", threading.excepthook)
    yield from (Item("sys.path", one, one) for one in list(sys.path))
    for name in ("meta_path", "path_hooks"):
        yield from (Item(f"sys.{name}", _named(one), one) for one in list(getattr(sys, name)))
    yield from (Item("gc.callbacks", _named(one), one) for one in list(gc.callbacks))
    yield from (Item("builtins", name, value) for name, value in list(vars(builtins).items()))
    yield from (Item("warnings.filters", _filter(one), one) for one in list(warnings.filters))
    yield Item("sys", "recursion limit", sys.getrecursionlimit())
    yield Item("sys", "switch interval", sys.getswitchinterval())


def _libraries() -> Iterator[Item]:
    for kind, reducer in list(copyreg.dispatch_table.items()):
        yield Item("copyreg", _named(kind), (kind, reducer))
    yield Item("socket", "default timeout", socket.getdefaulttimeout())
    for name, value in structlog.get_config().items():
        for one in value if isinstance(value, list) else [value]:
            yield Item(f"structlog {name}", _named(one), one)


def _filter(entry: tuple[Any, ...]) -> str:
    action, message, category, *_ = entry
    return f"{action} {getattr(category, '__name__', category)} {message or ''}".rstrip()


def _named(value: object) -> str:
    """A name in text, without asking ``value`` itself for its form."""
    kind = value if isinstance(value, type) else type(value)
    name = getattr(value, "__qualname__", None)
    module = getattr(value, "__module__", None)
    named = isinstance(name, str) and isinstance(module, str)
    return f"{module}.{name}" if named else f"{kind.__module__}.{kind.__qualname__}"
