"""From a candidate to a contribution: import, check, collect. Publishes nothing.

Each function is one phase and raises ``Refused`` or whatever the plugin raises; the lifecycle
takes back what was done until then.
"""

import difflib
import importlib
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import importlib_metadata
import pluggy
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from horae.errors import PluginIncompatible
from horae.payloads import JobType
from horae.plugins.discovery import Candidate
from horae.registry import Contribution, Entry, Generation, Observer
from horae_hookspecs import (
    Executor,
    Registration,
    RegistrationError,
    Schedule,
    ScheduledEventRegistryWrapper,
    specs,
)
from horae_hookspecs._markers import PROJECT
from horae_hookspecs.registration import IMPLICIT_WRAPPER

WRAPPED = "horae_run"
OWN_EXECUTORS = frozenset({"thread", "async", "inline", "process"})
"""The names of those that every host has, or may have."""

OBSERVED = (
    WRAPPED,
    "horae_authorize",
    "horae_bot_resources",
    "horae_host_started",
    "horae_host_stopped",
    "horae_event_scheduled",
    "horae_run_started",
    "horae_run_finished",
    "horae_event_missed",
    "horae_type_waiting",
    "horae_plugin_changed",
)


class Refused(Exception):
    """The plugin does what horae does not accept; the text says what, and how to mend it."""


def new_manager() -> pluggy.PluginManager:
    """A pluggy manager that knows the hooks of horae."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(specs)
    return manager


def check_requirements(candidate: Candidate) -> None:
    """Raise PluginIncompatible for a plugin that was made for another horae, or another Python,
    than this one; nothing of it is imported.
    """
    here = {"Python": platform.python_version()}
    needs = [("Python", candidate.requires_python or "")]
    for text in candidate.requires:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            here[requirement.name] = importlib_metadata.version(requirement.name)
            needs.append((requirement.name, str(requirement.specifier)))
    for name, versions in needs:
        if not SpecifierSet(versions).contains(here[name], prereleases=True):
            raise PluginIncompatible(
                candidate.name,
                f"{candidate.distribution} {candidate.version} needs {name} {versions}, and here "
                f"is {here[name]}; install a version of the plugin that fits, or upgrade {name}",
            )


def import_plugin(candidate: Candidate) -> Any:
    """Import the object that the entry point names."""
    if candidate.rivals:
        raise Refused(
            f"distributions {candidate.distribution} and {', '.join(candidate.rivals)} all have an "
            f"entry point {candidate.name!r}; uninstall all but one"
        )
    return import_value(candidate.value)


def import_value(value: str) -> Any:
    """The object that an entry point's value names: a module, or something in it."""
    module, _, attributes = value.partition("[")[0].partition(":")
    target: Any = importlib.import_module(module.strip())
    for attribute in filter(None, attributes.strip().split(".")):
        target = getattr(target, attribute)
    return target


def register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    """Register with pluggy, after checks that pluggy makes too late or for all plugins at once."""
    if _registered(manager, plugin) is not None:
        raise Refused("the same module is loaded already, under another name")
    known = [hook for hook in vars(specs) if hook.startswith("horae_")]
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            continue
        hook = options.get("specname") or attribute
        if hook not in known and not options.get("optionalhook"):
            near = difflib.get_close_matches(hook, known, n=1)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise Refused(f"there is no hook {hook}{guess} Known: {', '.join(known)}")
        if options["hookwrapper"] or options["wrapper"] != (hook == WRAPPED):
            form = "@hookimpl(wrapper=True)" if hook == WRAPPED else "a plain @hookimpl"
            raise Refused(f"{hook} must be {form}")
    try:
        manager.register(plugin if isinstance(plugin, ModuleType) else _Face(manager, plugin), name)
    except pluggy.PluginValidationError as error:
        # The error object holds the plugin, so only its text may leave this frame.
        raise Refused(str(error)) from None


class _Face:
    """The hooks of an object, for pluggy, which compares what it has with ``==``: an object may
    say that it equals every other.
    """

    def __init__(self, manager: pluggy.PluginManager, plugin: object) -> None:
        self.plugin = plugin
        for name in dir(plugin):
            if manager.parse_hookimpl_opts(plugin, name) is not None:
                setattr(self, name, getattr(plugin, name))


def _registered(manager: pluggy.PluginManager, plugin: object) -> object | None:
    """What pluggy has of a plugin; None where it has nothing."""
    known = (one for _, one in manager.list_name_plugin())
    return next(
        (one for one in known if plugin is (one.plugin if isinstance(one, _Face) else one)), None
    )


def unregister(manager: pluggy.PluginManager, plugin: object) -> None:
    """Take a plugin out of pluggy, and the callers that pluggy made for unknown hooks of it; it
    need not be registered.
    """
    registered = _registered(manager, plugin)
    if registered is not None:
        manager.unregister(registered)
    for name, caller in list(vars(manager.hook).items()):
        if not caller.has_spec() and not caller.get_hookimpls():
            delattr(manager.hook, name)


def call(
    manager: pluggy.PluginManager, plugin: object, hook: str, **arguments: object
) -> list[Any]:
    """Call this plugin's own implementations of a hook; whatever they raise comes through."""
    return [observer(arguments) for observer in _implementations(manager, plugin, hook, "")]


def _implementations(
    manager: pluggy.PluginManager, plugin: object, hook: str, name: str
) -> list[Observer]:
    registered = _registered(manager, plugin)
    return [
        Observer(name, implementation.function, tuple(implementation.argnames))
        for implementation in getattr(manager.hook, hook).get_hookimpls()
        if implementation.plugin is registered
    ]


def seed_hooks(plugin: object) -> tuple[Callable[[], object], Callable[[], object]] | None:
    """The module-level ``load`` and ``unload`` of a plugin that brings no hooks."""
    load, unload = getattr(plugin, "load", None), getattr(plugin, "unload", None)
    return (load, unload) if callable(load) and callable(unload) else None


def collect(
    manager: pluggy.PluginManager,
    plugin: object,
    generation: Generation,
    modules: Mapping[str, ModuleType],
) -> Contribution:
    """Ask the plugin for all that it contributes, and check it."""
    return Contribution(
        generation,
        types=event_types(manager, plugin, generation, modules),
        kinds=_kinds(call(manager, plugin, "horae_schedule_kinds")),
        executors=_executors(call(manager, plugin, "horae_executors")),
        observers={
            hook: tuple(found)
            for hook in OBSERVED
            if (found := _implementations(manager, plugin, hook, generation.plugin))
        },
    )


def event_types(
    manager: pluggy.PluginManager,
    plugin: object,
    generation: Generation,
    modules: Mapping[str, ModuleType],
) -> dict[str, Entry]:
    """The types that the plugin contributes; a child process needs nothing else of it."""
    return types_of(_wrappers(manager, plugin, modules), generation)


def _wrappers(
    manager: pluggy.PluginManager, plugin: object, modules: Mapping[str, ModuleType]
) -> list[ScheduledEventRegistryWrapper]:
    """Those that the hook returned, those offered by ``load()``, and the implicit ones."""
    offered: list[object] = []
    for result in call(manager, plugin, "horae_event_types"):
        offered += result if isinstance(result, Iterable) else [result]
    if seed_hooks(plugin):
        values = vars(plugin).values() if hasattr(plugin, "__dict__") else ()
        offered += [v for v in values if isinstance(v, ScheduledEventRegistryWrapper) and v.loaded]
    mine = [*modules.values(), *([plugin] if isinstance(plugin, ModuleType) else [])]
    offered += [m.__dict__[IMPLICIT_WRAPPER] for m in mine if IMPLICIT_WRAPPER in m.__dict__]
    wrappers: list[ScheduledEventRegistryWrapper] = []
    for wrapper in offered:
        if not isinstance(wrapper, ScheduledEventRegistryWrapper):
            raise Refused(
                f"horae_event_types returned {type(wrapper).__name__}; return a "
                "ScheduledEventRegistryWrapper or a list of them"
            )
        if not any(wrapper is other for other in wrappers):
            wrappers.append(wrapper)
    return wrappers


def types_of(
    wrappers: Iterable[ScheduledEventRegistryWrapper], generation: Generation
) -> dict[str, Entry]:
    """The loaded forms of all registrations, under each of their names."""
    types: dict[str, Entry] = {}
    for wrapper in wrappers:
        for registration in wrapper.registrations:
            entry = _make_entry(registration, generation)
            for name in entry.names:
                if name in types:
                    raise Refused(f"event type {name!r} is registered twice")
                types[name] = entry
    return types


def _make_entry(registration: Registration, generation: Generation) -> Entry:
    """The loaded form of one registration."""
    try:
        job = JobType(registration)
        job.check_defaults()
    except RegistrationError as error:
        raise Refused(str(error)) from None
    if registration.policy.executor == "async" and not job.is_async:
        raise Refused(
            f"event type {registration.event_type!r} asks for the async executor, but its run is "
            "no 'async def'"
        )
    isolated = registration.policy.executor == "process" and generation.source is None
    target = _importable(registration) if isolated else None
    return Entry(registration.event_type, job, registration.policy, generation, target=target)


def _importable(registration: Registration) -> str:
    """``module:name`` of a type that belongs to no plugin that a child process could load."""
    target: Any = registration.target
    module = sys.modules.get(getattr(target, "__module__", ""))
    name = getattr(target, "__qualname__", "<object>")
    if module is None or module.__name__ == "__main__" or module.__spec__ is None or "<" in name:
        raise Refused(
            f"event type {registration.event_type!r} cannot run in a child process: "
            "executor='process' needs an importable plugin, or a class or function at the top of "
            f"a module that can be imported by name, and {name} is none; "
            "move it into such a module, or choose executor='thread'"
        )
    return f"{module.__name__}:{name}"


def _kinds(results: Iterable[Any]) -> dict[str, type[Schedule]]:
    kinds: dict[str, type[Schedule]] = {}
    for kind in (kind for result in results for kind in result):
        if not (isinstance(kind, type) and issubclass(kind, Schedule)):
            raise Refused(f"horae_schedule_kinds returned {kind!r}, which is no Schedule class")
        tag = getattr(kind, "kind", None)
        if not (isinstance(tag, str) and tag):
            raise Refused(f"schedule class {kind.__qualname__} has no text in its 'kind'")
        missing = sorted(getattr(kind, "__abstractmethods__", ()))
        if missing:
            raise Refused(f"schedule class {kind.__qualname__} lacks {', '.join(missing)}")
        if tag in kinds:
            raise Refused(f"schedule kind {tag!r} is offered twice")
        kinds[tag] = kind
    return kinds


def _executors(results: Iterable[Any]) -> dict[str, Executor]:
    executors: dict[str, Executor] = {}
    for name, executor in (item for result in results for item in dict(result).items()):
        if not isinstance(executor, Executor):
            raise Refused(f"horae_executors gave {executor!r} as {name!r}, which is no Executor")
        if not (isinstance(name, str) and name) or name in OWN_EXECUTORS:
            raise Refused(f"an executor cannot be called {name!r}; give it a name of its own")
        if name in executors:
            raise Refused(f"executor {name!r} is offered twice")
        executors[name] = executor
    return executors
