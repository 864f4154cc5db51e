"""What a plugin holds while it is live, and how all of it is let go."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import structlog

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

    def close(self) -> list[str]:
        """Undo everything in reverse; what fails is told and does not stop the rest."""
        errors = []
        while self._undo:
            action = self._undo.pop()
            try:
                action()
            except BaseException as error:
                errors.append(f"undoing {getattr(action, '__qualname__', action)}: {error!r}")
        return errors
