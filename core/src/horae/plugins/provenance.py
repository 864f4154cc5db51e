"""Who provides a type, why and since when events wait for it, and what brings it back: told from
the store and the disk alone.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence

import attrs

from horae.clock import from_micros
from horae.payloads import encode
from horae.registry import Absence, Contribution
from horae.stores.records import Backlog, CatalogueEntry, HostRecord, Lane, PluginRow
from horae_hookspecs import WaitingType


def catalogued(contribution: Contribution, now: int) -> list[CatalogueEntry]:
    """What the store is to remember of a contribution's types, under each of their names."""
    generation = contribution.generation
    return [
        CatalogueEntry(
            name,
            entry.job.version,
            generation.plugin,
            generation.distribution,
            generation.version,
            published=now,
            schema=encode(entry.job.schema),
        )
        for name, entry in contribution.types.items()
    ]


@attrs.frozen
class Circumstances:
    """What is known when the question is asked: the living, the remembered, the installed."""

    url: str
    living: Sequence[HostRecord]
    catalogue: Mapping[str, CatalogueEntry]
    rows: Sequence[PluginRow]
    installed: frozenset[str]

    def explain(self, lane: Lane) -> tuple[str, str] | None:
        """Why no living host can run a lane, and the command that changes it; None if one can."""
        if any(_runs(host, lane) for host in self.living):
            return None
        known = self.catalogue.get(lane.event_type)
        if known is None:
            return (
                "no plugin has ever provided this type here",
                "install the plugin that provides it, then: horae plugin load NAME",
            )
        if not self.living:
            return "no host is running", f"horae serve --store {shlex.quote(self.url)}"
        loaded = [host for host in self.living if lane.event_type in host.event_types]
        if any(host.event_types[lane.event_type] >= lane.schema_version for host in loaded):
            return (
                f"its schedule kind {lane.kind!r} is not loaded",
                "load the plugin that provides the kind: horae plugin list",
            )
        if loaded:
            newest = max(host.event_types[lane.event_type] for host in loaded)
            return (
                f"stored with schema version {lane.schema_version}, newer than the loaded {newest}",
                _pip(known, "--upgrade ") + f"horae plugin upgrade {known.plugin}",
            )
        return self._absent(known)

    def _absent(self, known: CatalogueEntry) -> tuple[str, str]:
        load = f"horae plugin load {known.plugin}"
        if known.distribution is None:
            return (
                "the application that registers it is not running",
                "start that application",
            )
        if known.plugin not in self.installed:
            return f"{known.distribution} is not installed here", _pip(known) + load
        for row in self.rows:
            if (
                row.plugin == known.plugin
                and row.suspended
                and known.event_type in (row.suspended.types)
            ):
                why = row.suspended.types[known.event_type]
                return f"suspended on {row.host}: {why}", f"horae plugin resume {known.plugin}"
            if row.plugin == known.plugin and row.state.is_failure:
                return f"plugin {known.plugin} failed to load on {row.host}: {row.reason}", load
        return f"plugin {known.plugin} is not loaded", load


def absences(catalogue: Mapping[str, CatalogueEntry], now: int) -> dict[str, Absence]:
    """The last absence of every type that has had one, if all of them are back ``now``."""
    found = {}
    for name, entry in catalogue.items():
        if entry.withdrawn is not None:
            found[name] = Absence(entry.withdrawn, now, returning=True)
        elif entry.absent_from is not None and entry.absent_until is not None:
            found[name] = Absence(entry.absent_from, entry.absent_until, returning=False)
    return found


def waiting(
    backlog: Iterable[Backlog], circumstances: Circumstances, only: frozenset[str] | None = None
) -> list[WaitingType]:
    """The types with pending events that no living host can run, most overdue first."""
    found: dict[tuple[str, str, str], list[Backlog]] = {}
    for lane in backlog:
        if only is None or lane.lane.event_type in only:
            why = circumstances.explain(lane.lane)
            if why is not None:
                found.setdefault((lane.lane.event_type, *why), []).append(lane)
    types = [_waiting_type(key, lanes, circumstances) for key, lanes in found.items()]
    return sorted(types, key=lambda one: (-one.overdue, -one.pending, one.event_type))


def _waiting_type(
    key: tuple[str, str, str], lanes: Sequence[Backlog], circumstances: Circumstances
) -> WaitingType:
    event_type, reason, remedy = key
    known = circumstances.catalogue.get(event_type)
    return WaitingType(
        event_type=event_type,
        pending=sum(lane.pending for lane in lanes),
        overdue=sum(lane.overdue for lane in lanes),
        oldest_due=from_micros(min(lane.oldest_due for lane in lanes)),
        plugin=known.plugin if known else None,
        distribution=known.distribution if known else None,
        version=known.version if known else None,
        reason=reason,
        remedy=remedy,
    )


def _runs(host: HostRecord, lane: Lane) -> bool:
    loaded = host.event_types.get(lane.event_type)
    return loaded is not None and loaded >= lane.schema_version and lane.kind in host.kinds


def _pip(known: CatalogueEntry, options: str = "") -> str:
    exactly = f"=={known.version}" if known.version and not options else ""
    return f"python -m pip install {options}{known.distribution}{exactly} && "
