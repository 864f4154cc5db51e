"""What may be left of one generation, asked once after its unload and again whenever wanted."""

import functools
import gc
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, Final

from horae.plugins.globals import Footprint, Item
from horae.plugins.leaks.ownership import Ownership, is_a
from horae.plugins.leaks.search import Search
from horae.plugins.leaks.threads import Running, running_in
from horae_hookspecs import LeakReport, LeftChange, PluginInfo, Survivor

MAX_SURVIVORS: Final = 10
_WRAPPERS: Final = (
    FunctionType,
    functools._lru_cache_wrapper,
    functools.cached_property,
    staticmethod,
    classmethod,
    property,
)
_INNER: Final = ("__wrapped__", "__func__", "func", "fget", "fset", "fdel")
GRACE: Final = 0.2
"""Seconds until survivors count: a thread that was told to end needs a moment to let go."""


class Remains:
    """Weak references on all that a generation defined, and what it changed in the process.

    Classes that exist only inside of functions are told by the functions around them.
    """

    def __init__(
        self, info: PluginInfo, modules: Mapping[str, ModuleType], footprint: Footprint | None
    ) -> None:
        self.info = info
        self.names = frozenset(modules)
        self._footprint = footprint
        self._own = Ownership(modules)
        self._probes = {
            id(value): (kind, f"{value.__module__}.{value.__qualname__}", weakref.ref(value))
            for module in modules.values()
            for kind, value in _defined(vars(module).values(), self.names)
        }

    @property
    def gone(self) -> bool:
        """Whether nothing of it is alive. Collects nothing for that, so it costs little."""
        return all(probe() is None for _, _, probe in self._probes.values())

    def verdict(self) -> LeakReport | None:
        """What is left; None when nothing is.

        Stalls the process for some milliseconds; when code is left, for up to a few seconds.
        """
        self._let_go()
        total = sum(probe() is not None for _, _, probe in self._probes.values())
        changes = [] if self._footprint is None else self._footprint.left(self._own.has)
        running = list(running_in(self._own)) if total else []
        report = LeakReport(
            plugin=self.info.name,
            version=self.info.version,
            generation=self.info.generation,
            total=total,
            survivors=self._survivors(changes, running) if total else (),
            threads=tuple(one.as_left() for one in running),
            changes=tuple(LeftChange(where=item.where, what=item.what) for item in changes),
        )
        return report if report.total or report.changes else None

    def _let_go(self) -> None:
        """Collect, and once more after a moment if need be."""
        until = time.monotonic() + GRACE
        gc.collect()
        while not self.gone and time.monotonic() < until:
            time.sleep(GRACE / 5)
            gc.collect()

    def _survivors(self, changes: list[Item], running: list[Running]) -> tuple[Survivor, ...]:
        """The first ones, and who holds them."""
        marks = {id(item.value): f"{item.where}: {item.what}" for item in changes}
        marks |= {id(one.own.f_globals): one.mark for one in running}
        alive = [(kind, name, probe()) for kind, name, probe in self._probes.values()]
        found = [one for one in alive if one[2] is not None][:MAX_SURVIVORS]
        del alive
        chains = Search(self._own, marks).chains([value for _, _, value in found])
        return tuple(
            Survivor(kind=kind, name=name, holders=chain)
            for (kind, name, _), chain in zip(found, chains, strict=True)
        )


def _defined(values: Iterable[Any], names: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """The classes and functions among ``values`` that are of the modules ``names``, and those in
    the classes; a function that is wrapped is found in its wrapper.
    """
    for value in list(values):
        if is_a(value, type) and value.__module__ in names:
            yield "class", value
            within = f"{value.__qualname__}."
            parts = [one for one in vars(value).values() if not _is_elsewhere(one, within)]
            yield from _defined(parts, names)
        elif is_a(value, FunctionType) and value.__globals__.get("__name__") in names:
            # Not by its __module__: attrs 26 writes a class's over that of a function of its own.
            yield "function", value
        elif is_a(value, _WRAPPERS):
            inner = [getattr(value, name, None) for name in _INNER]
            yield from _defined([one for one in inner if is_a(one, FunctionType)], names)


def _is_elsewhere(value: Any, within: str) -> bool:
    """Whether a class stands in another as a mere attribute; that way may lead in circles."""
    return is_a(value, type) and not value.__qualname__.startswith(within)
