"""Who holds an object: the referrers of referrers, out to a name that somebody can look at.

Each layer takes one pass over all objects of the process, so this is for failed probes only.
"""

import gc
from collections.abc import Callable, Mapping
from typing import Any, Final

from horae.plugins.leaks import links
from horae.plugins.leaks.ownership import Ownership

DEPTH: Final = 12
MAX_LAYER: Final = 300
"""Objects; a wider layer means that the search has got lost in the application's own data. Each of
them is compared with every reference of the process."""


class Search:
    """Looks outwards from some survivors of the code ``own``.

    ``marks`` are names by the id of what is held where the garbage collector cannot look, such as
    a thread's stack.
    """

    def __init__(self, own: Ownership, marks: Mapping[int, str]) -> None:
        self._own = own
        self._marks = marks
        self._nodes: dict[int, Any] = {}
        self._up: dict[int, list[int]] = {}
        self._ends: dict[int, str] = {}

    def chains(self, survivors: list[Any]) -> list[tuple[str, ...]]:
        """For each of ``survivors`` the links that hold it, from it to the one that has an end."""
        self._nodes = {id(one): one for one in survivors}
        for one in survivors:
            self._note_end(one, None)
        layer = list(survivors)
        for _ in range(DEPTH):
            if not layer or len(layer) > MAX_LAYER:
                break
            layer = self._wider(layer, survivors)
            if all(self._path(id(one)) for one in survivors):
                break
        chains = [self._links(one) for one in survivors]
        self._nodes.clear()
        return chains

    def _wider(self, layer: list[Any], survivors: list[Any]) -> list[Any]:
        """The objects that refer to those of ``layer`` and were not seen before."""
        ids = {id(one) for one in layer}
        # Not by way of gc.get_objects and gc.get_referents: to ask everything there is for what it
        # refers to, one by one, has crashed CPython 3.12.
        found = gc.get_referrers(*layer)
        aside = {id(one) for one in (layer, survivors, found, self._nodes)}
        wider: list[Any] = []
        aside.add(id(wider))
        for referrer in found:
            if id(referrer) in aside or links.is_passing(referrer):
                continue
            held = [id(one) for one in gc.get_referents(referrer) if id(one) in ids]
            if not held:
                continue
            for one in held:
                self._up.setdefault(one, []).append(id(referrer))
            if id(referrer) not in self._nodes:
                self._nodes[id(referrer)] = referrer
                if not self._note_end(referrer, self._nodes[held[0]]):
                    wider.append(referrer)
        return wider

    def _note_end(self, value: Any, held: Any) -> bool:
        """Whether the search ends at ``value``, since that has a name."""
        end = self._marks.get(id(value))
        if end is None and not self._is_own(value):
            end = links.end(value, held)
        if end is not None:
            self._ends[id(value)] = end
        return end is not None

    def _path(self, start: int) -> list[int]:
        """The ids from ``start`` to the nearest end; empty without one."""
        return self._nearest(start, lambda one: one in self._ends)

    def _dead_end(self, start: int) -> list[int]:
        """The ids from ``start`` to the nearest foreign object that nothing visible refers to."""
        return self._nearest(start, self._stands_alone) or [start]

    def _stands_alone(self, one: int) -> bool:
        return one not in self._up and not self._is_own(self._nodes[one])

    def _nearest(self, start: int, is_it: Callable[[int], bool]) -> list[int]:
        paths, seen = [[start]], {start}
        for path in paths:  # grows as it goes
            if is_it(path[-1]):
                return path
            for above in self._up.get(path[-1], ()):
                if above not in seen:
                    seen.add(above)
                    paths.append([*path, above])
        return []

    def _links(self, survivor: Any) -> tuple[str, ...]:
        path = self._path(id(survivor)) or self._dead_end(id(survivor))
        end = self._ends.get(path[-1], links.UNSEEN)
        inner = path[1:-1] if path[-1] in self._ends else path[1:]
        # Of the plugin's own code only the outermost: that is what somebody else holds.
        own = [n for n, one in enumerate(inner) if self._is_own(self._nodes[one])]
        outermost = inner[own[-1] :] if own else inner
        values = [self._nodes[one] for one in outermost]
        named = [links.link(value) for value in values if not self._own.globals_of(value)]
        return (*filter(None, named), end)

    def _is_own(self, value: Any) -> bool:
        return self._own.has(value) or self._own.globals_of(value)
