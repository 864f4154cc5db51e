"""Which plugins need which: told from what their distributions require of one another.

A plugin needs all the plugins of every distribution that its own one requires. What came with
horae itself is always there, and not counted.
"""

import graphlib
from collections.abc import Iterable, Mapping

from packaging.utils import canonicalize_name

from horae.plugins.discovery import BUILTIN_DISTRIBUTION, Candidate
from horae.plugins.loader import Refused


def needs(candidate: Candidate, installed: Iterable[Candidate]) -> tuple[str, ...]:
    """The names of the installed plugins that ``candidate`` needs directly, sorted."""
    return tuple(
        sorted(
            one.name
            for one in installed
            if canonicalize_name(one.distribution) in candidate.depends
            and one.distribution not in (candidate.distribution, BUILTIN_DISTRIBUTION)
        )
    )


def load_order(name: str, installed: Mapping[str, Candidate]) -> list[str]:
    """The plugin ``name`` and all that it needs, each after what it needs itself.

    Raises Refused when some of them need each other in a circle.
    """
    graph: dict[str, tuple[str, ...]] = {}
    open_names = [name]
    while open_names:
        one = open_names.pop()
        if one not in graph:
            graph[one] = needs(installed[one], installed.values())
            open_names += graph[one]
    try:
        return list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        circle = " needs ".join(reversed(error.args[1]))
        raise Refused(
            f"plugins need each other in a circle, so none can be the first: {circle}; "
            "one of their distributions must do without the other"
        ) from None


def dependents(name: str, needed: Mapping[str, Iterable[str]]) -> list[str]:
    """Those that need ``name``, directly or through others, in the order of ``needed``: the
    loaded plugins with what each needs directly, in the order in which they were loaded.
    """
    found = {name}
    for one, direct in needed.items():
        if not found.isdisjoint(direct):
            found.add(one)
    return [one for one in needed if one in found and one != name]
