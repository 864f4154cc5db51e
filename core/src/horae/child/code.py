"""The code that a worker runs: what the host has loaded, and nothing else."""

from collections.abc import Mapping
from typing import Any

from horae.payloads import JobType
from horae.plugins import editable, loader, modules, trust
from horae.plugins.discovery import Candidate, find
from horae.registry import Entry, Generation, Source
from horae_hookspecs import Policy, Registration, Retry


class OtherCode(Exception):
    """What is installed is not what the host has loaded."""


class Code:
    """The event types of one generation, as this process has them.

    ``origin`` tells which: plugin, number, distribution, version, and as value, record and contents
    its source. Without a source, each type is imported when it is first run.
    """

    def __init__(self, origin: Mapping[str, Any]) -> None:
        value, record = origin["value"], origin["record"]
        source = None if value is None else Source(value, record, origin["contents"])
        self.generation = Generation(
            origin["plugin"],
            origin["number"],
            origin["distribution"],
            origin["version"],
            source,
        )
        self.types: dict[str, Entry] = {} if source is None else self._collect(source)

    def entry(self, run: Mapping[str, Any]) -> Entry:
        """The type of a run."""
        event_type = run["event_type"]
        if run["target"] is not None and event_type not in self.types:
            self.types[event_type] = self._import(event_type, run)
        if event_type not in self.types:
            raise LookupError(
                f"In a child process, plugin {self.generation.plugin} registers no event type "
                f"{event_type!r}; register it whenever the plugin is imported."
            )
        return self.types[event_type]

    def _collect(self, source: Source) -> dict[str, Entry]:
        """As the lifecycle does it, up to what a plugin is activated for."""
        candidate = self._candidate(source)
        if candidate is not None:
            editable.process(candidate)
        plugin = loader.import_plugin(candidate) if candidate else loader.import_value(source.value)
        manager = loader.new_manager()
        loader.register(manager, plugin, self.generation.plugin)
        seeds = loader.seed_hooks(plugin)
        if seeds:
            seeds[0]()
        own = modules.owned(candidate.files, candidate.module) if candidate else {}
        return loader.event_types(manager, plugin, self.generation, own)

    def _candidate(self, source: Source) -> Candidate | None:
        """The installed plugin, if it is one. Raises OtherCode when it is another by now."""
        generation = self.generation
        if generation.distribution is None:
            return None
        found = find(generation.plugin, generation.distribution)
        if found is None or (found.value, found.record) != (source.value, source.record):
            here = f"{found.distribution} {found.version}" if found else "nothing"
            raise OtherCode(
                f"the host has loaded plugin {generation.plugin} from {generation.distribution} "
                f"{generation.version}, and installed is {here}, with other files"
            )
        if source.contents and source.contents != trust.contents_of(found.distribution):
            raise OtherCode(f"{generation.distribution} is pinned, and its files have changed")
        return found

    def _import(self, event_type: str, run: Mapping[str, Any]) -> Entry:
        policy = Policy(
            version=run["version"],
            retry=Retry(
                on=tuple(map(loader.import_value, run["on"])),
                never=tuple(map(loader.import_value, run["never"])),
            ),
        )
        registration = Registration(event_type, loader.import_value(run["target"]), policy)
        return Entry(event_type, JobType(registration), policy, self.generation)
