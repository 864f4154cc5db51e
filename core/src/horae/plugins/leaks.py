"""Whether unloaded code is really gone.

A module object usually dies while its functions, and through them everything, live on; so each
class and function that the plugin defined is watched with a weak reference of its own.
"""

import gc
import time
import weakref
from collections.abc import Iterable
from types import FrameType, FunctionType, ModuleType
from typing import Any, Final

MAX_HOLDERS: Final = 10
DEPTH: Final = 9
GRACE: Final = 0.5
"""Seconds until survivors count: a thread that was told to end needs a moment to let go."""


class Probes:
    """Weak references on all that some modules define."""

    def __init__(self, modules: Iterable[ModuleType]) -> None:
        modules = list(modules)
        self._names = {module.__name__ for module in modules}
        self._probes = [
            (f"{kind.__name__} {value.__module__}.{value.__qualname__}", weakref.ref(value))
            for module in modules
            for value, kind in _defined(module)
        ]

    def survivors(self) -> list[tuple[str, Any]]:
        """What is still alive after a collection, by name."""
        gc.collect()
        return [(name, value) for name, probe in self._probes if (value := probe()) is not None]

    def holders(self) -> tuple[str, ...]:
        """One line for each survivor: what it is and a chain of what holds it. None: all gone."""
        until = time.monotonic() + GRACE
        while (survivors := self.survivors()) and time.monotonic() < until:
            survivors.clear()
            time.sleep(GRACE / 10)
        del survivors[MAX_HOLDERS:]
        own = {id(survivors), id(self._probes), *map(id, survivors)}
        own |= {id(value) for _, value in survivors}
        lines = [f"{name} <- {_chain(value, own, self._names)}" for name, value in survivors]
        survivors.clear()
        return tuple(lines)


def _defined(module: ModuleType) -> Iterable[tuple[Any, type]]:
    for value in list(vars(module).values()):
        if isinstance(value, (FunctionType, type)) and value.__module__ == module.__name__:
            yield value, type if isinstance(value, type) else FunctionType


def _chain(start: Any, passed: set[int], own: set[str]) -> str:
    """From ``start`` outwards, breadth first, to the first module not its ``own`` that holds it."""
    seen = set(passed)
    layer: list[tuple[Any, str]] = [(start, "")]
    fallback = "nothing that the garbage collector can see"
    for _ in range(DEPTH):
        wider: list[tuple[Any, str]] = []
        seen |= {id(layer), id(wider), *map(id, layer)}
        for value, path in layer:
            for referrer in gc.get_referrers(value):
                if id(referrer) in seen or isinstance(referrer, FrameType):
                    continue
                seen.add(id(referrer))
                name = referrer.get("__name__") if isinstance(referrer, dict) else None
                if isinstance(name, str) and "__spec__" in referrer and name not in own:
                    return f"{path}module {name}"
                wider.append((referrer, f"{path}{type(referrer).__name__} <- "))
        if wider:
            fallback = wider[0][1].removesuffix(" <- ")
        layer = wider
    return fallback
