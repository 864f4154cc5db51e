"""What a plugin holds while it is live, and how all of it is let go."""

import contextvars
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import structlog

from horae.errors import summarise
from horae.registry import Generation
from horae_hookspecs import HostView

T = TypeVar("T")


class Activation:
    """See ``horae_hookspecs.ActivationContext``; ``close`` is the host's side of it."""

    def __init__(self, generation: Generation, host: HostView, settings: Any) -> None:
        self.plugin = generation.plugin
        self.host = host
        self.settings = settings
        self._generation = generation
        self._undo: list[Callable[[], object]] = []

    @property
    def log(self) -> Any:
        """Bound with plugin, version and generation."""
        return structlog.get_logger("horae.plugin").bind(
            plugin=self.plugin,
            version=self._generation.version,
            generation=self._generation.number,
        )

    def enter(self, manager: AbstractContextManager[T]) -> T:
        """Enter now, leave at unload."""
        value = manager.__enter__()
        self.undo(lambda: manager.__exit__(None, None, None))
        return value

    def undo(self, action: Callable[[], object]) -> None:
        """Call at unload."""
        self._undo.append(action)

    def close(self, patience: float, context: contextvars.Context) -> list[str]:
        """Undo everything in reverse; what fails, or takes longer than ``patience`` seconds, is
        told and does not stop the rest. ``context`` is the one that it was done in.
        """
        errors: list[str] = []
        while self._undo:
            action = self._undo.pop()
            what = f"undoing {getattr(action, '__qualname__', type(action).__name__)}"
            errors += farewell(what, action, patience, context)
        return errors


def farewell(
    what: str, action: Callable[[], object], patience: float, context: contextvars.Context
) -> list[str]:
    """Let a plugin do something at its end; its failure as text, or that it takes too long.

    It has ``patience`` seconds, in a thread of its own and in the plugin's ``context``: one that
    hangs is left there, and the host goes on.
    """
    errors: list[str] = []
    try:
        context.run(str)
    except RuntimeError:  # one that hangs is still in it
        context = context.copy()
    thread = threading.Thread(
        target=context.run, args=(_tried, what, action, errors), name=f"horae-{what}", daemon=True
    )
    thread.start()
    del action, context  # or this frame would hold them when the leak verdict looks
    thread.join(patience)
    if not thread.is_alive():
        return errors
    frame = sys._current_frames().get(thread.ident or 0)
    stack = traceback.extract_stack(frame, limit=None)
    place = f"{stack[-1].filename}:{stack[-1].lineno} in {stack[-1].name}" if frame else "its end"
    return [f"{what} did not return within {patience:g} s, and was left at {place}"]


def _tried(what: str, action: Callable[[], object], errors: list[str]) -> None:
    try:
        action()
    except BaseException as error:
        errors.append(f"{what}: {summarise(error)}")
