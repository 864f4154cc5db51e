"""A load that fails, wherever it does, leaves the process as it was."""

import gc
import logging
import multiprocessing
import signal
import sys
import threading
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from horae import Host, PluginLoadFailed
from horae.plugins.interpreter import Interpreter
from horae_hookspecs import PluginState
from kit.hosts import answer_of, plugin_of, until
from kit.sites import Site, answering, plugin

# All that a plugin can change of the interpreter and can be taken back, from its first line on.
GREEDY = """
    import gc, logging, signal, sys, threading, typing, warnings
    import journal
    import acme_plugin.part
    from acme_plugin.finder import Finder
    from horae.scheduling.executors import ThreadExecutor

    class Handler(logging.Handler):
        def emit(self, record): pass

    sys.path.insert(0, "/acme/on/the/path")
    sys.meta_path.append(Finder())
    sys.path_hooks.append(Finder)
    gc.callbacks.append(lambda *_: None)
    warnings.simplefilter("always", category=type("AcmeWarning", (UserWarning,), {}))
    sys.excepthook = threading.excepthook = lambda *_: None
    for name in (None, "horae", "acme", "a.new.logger"):
        logging.getLogger(name).addHandler(Handler())
        logging.getLogger(name).addFilter(lambda record: True)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR2, lambda *_: None)

    class Threads(ThreadExecutor):
        def _serve(self, queue):
            threading.current_thread().name = "acme-thread"
            super()._serve(queue)

    @events.register("acme.ask")
    @journal.watch
    @attrs.frozen
    class Ask(ScheduledEventJob):
        parts: typing.List[int] = attrs.field(factory=list)

        def run(self, context):
            return "answer"

    typing.get_type_hints(Ask)
    typing.List[Ask]

    class Sometimes(Schedule):
        kind = "acme.sometimes"
        next_after = first_from = to_json = from_json = __str__ = lambda *_: None

    @hookimpl
    def horae_schedule_kinds():
        return [Sometimes]

    @hookimpl
    def horae_executors():
        return {"acme": Threads(2)}

    @hookimpl
    def horae_plugin_changed(plugin):
        journal.lines.append(plugin.name)

    @hookimpl(optionalhook=True)
    def horae_of_tomorrow(plugin):
        pass

    @hookimpl
    def horae_deactivate(context):
        pass
"""
SETTINGS = """
    @attrs.frozen
    class Wanted:
        token: str

    @hookimpl
    def horae_settings():
        return Wanted
"""

# phase -> what is added to the plugin to have it fail there
PHASES: Mapping[str, str] = {
    "import": "raise LookupError('import')",
    "registration": "@hookimpl\n    def horae_run_started(event): pass",
    "settings": SETTINGS,
    "collection": "events.register('acme.ask2')(lambda context, many: int = 'x': 1)".replace(
        "lambda context, many: int = 'x': 1", "lambda context, *many: 1"
    ),
    "activation": "@hookimpl\n    def horae_activate(context):\n"
    "        sys.path.append('/acme/activated')\n        raise OSError('activation')",
    "publish": "events.register('first.ask')(lambda context: 1)",
}
PLACES: Mapping[str, str] = {
    "trust": "",
    "requirements": "",
    "preflight": "raise LookupError('preflight')",
    **PHASES,
}
FINDER = """\
class Finder:
    def __init__(self, path=None):
        if path is not None:
            raise ImportError
    def find_spec(self, *_):
        return None
"""


def install(site: Site, addition: str = "", **details: Any) -> None:
    """The greedy plugin with something added."""
    files = {
        "acme_plugin/__init__.py": plugin(f"{GREEDY}\n    {addition}"),
        "acme_plugin/part.py": "",
        "acme_plugin/finder.py": FINDER,
    }
    site.install(files, **details)


def picture(host: Host) -> dict[str, Any]:
    """What there is in this process, as far as a plugin may have changed it."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    snapshot = host.registry.snapshot
    manager = host._lifecycle._phases._manager
    return {
        "modules": {name for name in sys.modules if name.startswith("acme")},
        "path": list(sys.path),
        "finders": [id(one) for one in (*sys.meta_path, *sys.path_hooks)],
        "callbacks": [*gc.callbacks, *map(id, warnings.filters)],
        "hooks": [sys.excepthook, threading.excepthook],
        "logging": [
            part
            for logger in loggers
            if isinstance(logger, logging.Logger)
            for part in (*logger.handlers, *logger.filters)
        ],
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "threads": {one.name for one in threading.enumerate() if "acme" in one.name},
        "children": multiprocessing.active_children(),
        "types": {name for name in snapshot.types if not name.startswith("horae.")},
        "kinds": set(snapshot.kinds),
        "executors": set(snapshot.executors),
        "observers": {hook: len(found) for hook, found in snapshot.observers.items()},
        "callers": {
            name: [one.plugin_name for one in caller.get_hookimpls()]
            for name, caller in vars(manager.hook).items()
        },
        "registered": [name for name, _ in manager.list_name_plugin()],
    }


def fail(host: Host, phase: str) -> None:
    """Have the load of acme fail at ``phase``."""
    with pytest.raises(PluginLoadFailed) as caught:
        host.load_plugin("acme")
    assert caught.value.phase == phase, caught.value


@pytest.fixture
def settled(host_on: Callable[..., Host], site: Site, journal: Any) -> Callable[..., Host]:
    """A host with another plugin loaded, whose import has brought in what acme imports too."""

    def start(phase: str) -> Host:
        import horae.scheduling.executors
        from horae import Trust

        site.install(answering("first", "first.ask"), plugin="first")
        rules = Trust(block={"acme-plugin": "not today"}) if phase == "trust" else Trust()
        host = host_on(name="test", trust=rules).start()
        host.load_plugin("first")
        requires = ["horae>=99"] if phase == "requirements" else []
        install(site, PLACES[phase], requires=requires)
        assert horae.scheduling.executors
        return host

    return start


@pytest.mark.parametrize("phase", [phase for phase in PLACES if phase != "preflight"])
def test_a_load_that_fails_at_any_phase_leaves_the_process_as_it_was(
    settled: Callable[..., Host], journal: Any, phase: str
) -> None:
    """No module, path entry, finder, hook, handler, signal, type, kind, executor, caller, thread
    or child is there that was not before, and no class is kept by a cache of typing's.
    """
    host = settled(phase)
    logging.getLogger("a.new.logger")
    before = picture(host)
    fail(host, phase)
    until(lambda: not picture(host)["threads"])
    assert picture(host) == before
    gc.collect()
    assert [ref() for ref in journal.refs] in ([], [None])
    assert answer_of(host, "first.ask") == "first"


def test_a_load_that_fails_at_the_preflight_touches_nothing(
    host_on: Callable[..., Host], site: Site
) -> None:
    """The child process has it all, and is gone."""
    host = host_on(name="test", preflight=10).start()
    install(site, PLACES["preflight"])
    before = picture(host)
    fail(host, "preflight")
    assert picture(host) == before


@pytest.mark.parametrize("phase", PHASES)
def test_an_upgrade_that_fails_at_any_phase_leaves_the_old_version_as_it_was(
    settled: Callable[..., Host], site: Site, phase: str
) -> None:
    """Modules, hooks, handlers and types of the old version are those of before."""
    host = settled(phase)
    site.install(answering("old"), version="0.9")
    host.load_plugin("acme")
    before, module = picture(host), sys.modules["acme_plugin"]
    install(site, PLACES[phase])
    with pytest.raises(PluginLoadFailed) as caught:
        host.upgrade_plugin("acme")
    assert caught.value.phase == phase
    until(lambda: not picture(host)["threads"])
    assert picture(host) == before
    assert sys.modules["acme_plugin"] is module
    assert answer_of(host) == "old"
    assert plugin_of(host).state is PluginState.ACTIVE


def test_what_the_failing_cases_add_is_what_fails_them(host: Host, site: Site) -> None:
    """Alone, the greedy plugin loads, and changes all that is looked at."""
    interpreter = Interpreter()
    before = picture(host)
    install(site)
    try:
        assert host.load_plugin("acme").state is PluginState.ACTIVE
        after = picture(host)
        unchanged = {key for key in before if before[key] == after[key]}
        assert unchanged == {"children"}
        assert "horae_of_tomorrow" in after["callers"]
    finally:
        host.unload_plugin("acme")
        interpreter.put_back()


# -- what is refused, beyond what test_load_failures has

REFUSED = {
    "a default of another type": (
        "@events.register('acme.x')\n    def x(context, count: int = 'many'): pass",
        "the default of count, 'many', is none that can be stored: expected int, got str 'many'",
    ),
    "a default that is no JSON": (
        "@events.register('acme.x')\n    def x(context, what=object): pass",
        "the default of what",
    ),
    "a default that is no number": (
        "@events.register('acme.x')\n    def x(context, much: float = float('nan')): pass",
        "the default of much",
    ),
    "None where none is expected": (
        "@events.register('acme.x')\n    def x(context, name: str = None): pass",
        "the default of name, None",
    ),
    "an abstract schedule kind": (
        "class Half(Schedule):\n        kind = 'acme.half'\n"
        "    @hookimpl\n    def horae_schedule_kinds(): return [Half]",
        "schedule class Half lacks",
    ),
    "a schedule kind twice": (
        "@hookimpl\n    def horae_schedule_kinds(): return [Sometimes, Sometimes]",
        "'acme.sometimes' is offered twice",
    ),
    "the name of an own executor": (
        "@hookimpl\n    def horae_executors(): return {'thread': Threads(1)}",
        "an executor cannot be called 'thread'",
    ),
    "an executor without a name": (
        "@hookimpl\n    def horae_executors(): return {'': Threads(1)}",
        "an executor cannot be called ''",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_fail_later_is_refused_at_the_load(host: Host, site: Site, case: str) -> None:
    """Collected, it is looked at; nothing is published of which a part could not work."""
    addition, text = REFUSED[case]
    install(site, addition)
    with pytest.raises(PluginLoadFailed) as caught:
        host.load_plugin("acme")
    assert caught.value.phase == "collection"
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "default",
    [
        "items: list[int] | None = None",
        "ratio: float = 1",
        "what=(1, 2)",
        "tags: dict = attrs.NOTHING",
    ],
)
def test_a_default_that_comes_back_is_fine(host: Host, site: Site, default: str) -> None:
    """As does whatever an annotation takes; without one, what is JSON."""
    site.install(plugin(f"@events.register('acme.ask')\ndef ask(context, {default}): return 1\n"))
    host.load_plugin("acme")
    assert "acme.ask" in plugin_of(host).event_types


INCOMPATIBLE = {
    "horae": {"requires": ["horae>=99"]},
    "the part that plugins import": {"requires": ["horae-hookspecs<0.0.1"]},
    "in another spelling": {"requires": ["Horae_Hookspecs (<0.0.1)"]},
    "Python": {"python": ">=4"},
}


@pytest.mark.parametrize("case", INCOMPATIBLE)
def test_a_plugin_for_another_horae_or_python_is_incompatible(
    host: Host, site: Site, journal: Any, case: str
) -> None:
    """It is told apart from what fails, and not imported."""
    details = dict(INCOMPATIBLE[case])
    python = details.pop("python", None)
    site.install("import journal; journal.lines.append('imported')\n", **details)  # type: ignore[arg-type]
    if python is not None:
        metadata = site.folder / "acme_plugin-1.0.dist-info" / "METADATA"
        metadata.write_text(f"{metadata.read_text()}Requires-Python: {python}\n")
    with pytest.raises(PluginLoadFailed, match="install a version of the plugin that fits"):
        host.load_plugin("acme")
    assert plugin_of(host).state is PluginState.INCOMPATIBLE
    assert journal.lines == []


@pytest.mark.parametrize(
    "requirement", ["horae>=0.0.1", "horaeology>=99", "horae-of-others>=99; extra == 'x'"]
)
def test_other_requirements_are_pips_business(host: Host, site: Site, requirement: str) -> None:
    """A name that only begins like horae's says nothing of horae."""
    site.install(answering(1), requires=[requirement])
    assert host.load_plugin("acme").state is PluginState.ACTIVE


def test_typing_caches_are_looked_into(journal: Any) -> None:
    """The case that the others rest on: a subscripted class is held by typing alone."""
    typing.List[journal.watch(type("Held", (), {}))]  # noqa: UP006
    gc.collect()
    assert journal.refs[0]() is not None
