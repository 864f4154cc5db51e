"""What code can change of the interpreter as it is imported and activated, beside its modules:
noted before a load, and put back when the load fails.

What was added in between counts as the plugin's, whoever added it: nothing tells the owner of a
path entry. What nobody can take back is not here: threads, ``atexit``, audit and fork hooks.
"""

import contextlib
import gc
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, MutableSequence
from typing import Any, Final

LISTS: Final[tuple[Callable[[], Any], ...]] = (
    lambda: sys.path,
    lambda: sys.meta_path,
    lambda: sys.path_hooks,
    lambda: gc.callbacks,
    lambda: warnings.filters,
)
SIGNALS: Final = tuple(signal.valid_signals())
HOOKS: Final = (
    (sys, "excepthook"),
    (sys, "unraisablehook"),
    (sys, "displayhook"),
    (sys, "breakpointhook"),
    (threading, "excepthook"),
)


class Interpreter:
    """The interpreter as it was when this was made."""

    def __init__(self) -> None:
        self._lists = [list(get()) for get in LISTS]
        self._hooks = [getattr(module, name) for module, name in HOOKS]
        self._logging = {
            id(part): (part, list(part)) for logger in _loggers() for part in _parts(logger)
        }
        self._signals = {number: signal.getsignal(number) for number in SIGNALS}

    def put_back(self) -> None:
        """Take out what was added since, and put back what was replaced."""
        for get, before in zip(LISTS, self._lists, strict=True):
            _take_out(get(), before)
        warnings._filters_mutated()  # type: ignore[attr-defined]
        for (module, name), hook in zip(HOOKS, self._hooks, strict=True):
            setattr(module, name, hook)
        for logger in _loggers():
            for part in _parts(logger):
                _, before = self._logging.get(id(part), (part, []))
                _take_out(part, before)
        for number, handler in self._signals.items():
            if signal.getsignal(number) is not handler:
                # Only the main thread could have set it, and only there can it be put back.
                with contextlib.suppress(ValueError):
                    signal.signal(number, handler)


def _take_out(now: MutableSequence[Any], before: list[Any]) -> None:
    kept = {id(one) for one in before}
    if any(id(one) not in kept for one in now):
        now[:] = [one for one in now if id(one) in kept]


def _loggers() -> Iterator[logging.Logger]:
    yield logging.getLogger()
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield logger


def _parts(logger: logging.Logger) -> tuple[list[Any], list[Any]]:
    return logger.handlers, logger.filters
