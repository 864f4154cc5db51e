"""A plugin that fails, in whatever phase: the error is shown, and nothing of it is left."""

import gc
import sys
import threading
from typing import Any

import pytest

from horae import Host, PluginLoadFailed, UnknownEventType
from horae_hookspecs import PluginState
from kit.hosts import answer_of, plugin_of, types_of
from kit.sites import Site, answering, plugin

# As much as a plugin can leave behind: a submodule, a class in typing's caches, a thread, hooks.
BUSY = """
    import threading, typing
    import journal
    from horae.scheduling.executors import ThreadExecutor
    import acme_plugin.part

    @events.register("acme.ask")
    @journal.watch
    @attrs.frozen
    class Ask(ScheduledEventJob):
        parts: typing.List[int] = attrs.field(factory=list)

        def run(self, context):
            return "answer"

    typing.get_type_hints(Ask)
    typing.List[Ask]

    class Threads(ThreadExecutor):
        def _serve(self, queue):
            threading.current_thread().name = "acme-thread"
            super()._serve(queue)

    @hookimpl
    def horae_executors():
        return {"acme": Threads(2)}

    @hookimpl
    def horae_plugin_changed(plugin):
        journal.lines.append(plugin.name)
"""
KIND = """
    class Kind(Schedule):
        kind = "once"
        next_after = first_from = to_json = from_json = __str__ = None

    @hookimpl
    def horae_schedule_kinds():
        return [Kind]
"""

# what is added to it -> phase, and what the error says
BROKEN = {
    "import raises": ("raise LookupError('no luck')", "import", "LookupError: no luck"),
    "import raises nothing to read": ("raise LookupError", "import", "LookupError"),
    "import exits": ("raise SystemExit(3)", "import", "SystemExit: 3"),
    "import raises a BaseException": (
        "class Stop(BaseException): pass\n    raise Stop('now')",
        "import",
        "Stop: now",
    ),
    "syntax error": ("def (", "import", "SyntaxError"),
    "missing dependency": ("import not_installed", "import", "No module named 'not_installed'"),
    "a type registered twice": (
        "events.register('acme.ask')(lambda context: 1)",
        "import",
        "registered twice",
    ),
    "unknown hook": (
        "@hookimpl\n    def horae_event_type(): return events",
        "registration",
        "no hook horae_event_type; did you mean horae_event_types?",
    ),
    "unknown argument of a hook": (
        "@hookimpl\n    def horae_run_started(event): pass",
        "registration",
        "event",
    ),
    "plain horae_run": (
        "@hookimpl\n    def horae_run(run): pass",
        "registration",
        "horae_run must be @hookimpl(wrapper=True)",
    ),
    "old-style wrapper": (
        "@hookimpl(hookwrapper=True)\n    def horae_run(run): yield",
        "registration",
        "horae_run must be @hookimpl(wrapper=True)",
    ),
    "wrapper that is no generator": (
        "@hookimpl(wrapper=True)\n    def horae_run(run): return 1",
        "registration",
        "generator",
    ),
    "wrapper for another hook": (
        "@hookimpl(wrapper=True)\n    def horae_run_started(run): yield",
        "registration",
        "horae_run_started must be a plain @hookimpl",
    ),
    "old-style wrapper for another hook": (
        "@hookimpl(hookwrapper=True)\n    def horae_run_started(run): yield",
        "registration",
        "horae_run_started must be a plain @hookimpl",
    ),
    "horae_event_types raises": (
        "@hookimpl\n    def horae_event_types(): raise LookupError('no types')",
        "collection",
        "LookupError: no types",
    ),
    "horae_event_types gives None": (
        "@hookimpl\n    def horae_event_types(): pass",
        "collection",
        "horae_event_types returned NoneType",
    ),
    "horae_event_types gives a list of rubbish": (
        "@hookimpl\n    def horae_event_types(): return [events, 'acme.ask']",
        "collection",
        "horae_event_types returned str",
    ),
    "a type in two wrappers": (
        "more = ScheduledEventRegistryWrapper()\n"
        "    more.register('acme.ask')(lambda context: 1)\n"
        "    @hookimpl\n    def horae_event_types(): return [events, more]",
        "collection",
        "'acme.ask' is registered twice",
    ),
    "a job with a wild signature": (
        "events.register('acme.wild')(lambda context, *rest: 1)",
        "collection",
        "no *rest",
    ),
    "kinds are no list": (
        "@hookimpl\n    def horae_schedule_kinds(): return 5",
        "collection",
        "not iterable",
    ),
    "kinds are rubbish": (
        "@hookimpl\n    def horae_schedule_kinds(): return [str, 'daily']",
        "collection",
        "which is no Schedule class",
    ),
    "a kind without a tag": (
        "@hookimpl\n    def horae_schedule_kinds(): return [Schedule]",
        "collection",
        "has no text in its 'kind'",
    ),
    "executors are no mapping": (
        "@hookimpl\n    def horae_executors(): return 5",
        "collection",
        "not iterable",
    ),
    "executors are rubbish": (
        "@hookimpl\n    def horae_executors(): return {'acme': threading.Thread}",
        "collection",
        "which is no Executor",
    ),
    "load() of the seeds raises": (
        "def load(): raise LookupError('not today')\n    def unload(): pass",
        "collection",
        "LookupError: not today",
    ),
    "horae_activate raises": (
        "@hookimpl\n    def horae_activate(context): raise LookupError('no service')",
        "activation",
        "LookupError: no service",
    ),
    "horae_activate exits": (
        "@hookimpl\n    def horae_activate(context): raise SystemExit('bye')",
        "activation",
        "SystemExit: bye",
    ),
    "an executor does not start": (
        "Threads.start = lambda self: 1 / 0",
        "activation",
        "ZeroDivisionError",
    ),
    "a taken type": (
        "events.register('first.ask')(lambda context: 1)",
        "publish",
        "event type 'first.ask' belongs to plugin 'first'",
    ),
    "a taken schedule kind": (
        KIND,
        "publish",
        "schedule kind 'once' belongs to plugin 'schedules'",
    ),
}


def install(site: Site, addition: str, part: str = "part = 'old'\n") -> None:
    """The busy plugin with something added, and its submodule."""
    source = plugin(f"{BUSY}\n    {addition}")
    if "horae_event_types" in addition:
        # ``plugin`` ends every source with a hook that would replace the added one.
        source = source.rpartition("@hookimpl")[0]
    site.install({"acme_plugin/__init__.py": source, "acme_plugin/part.py": part})


def plugin_threads() -> list[str]:
    """The threads of the busy plugin that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name == "acme-thread"]


@pytest.mark.parametrize("case", BROKEN)
def test_a_failed_load_leaves_nothing_behind(
    host: Host, site: Site, journal: Any, case: str
) -> None:
    """No module, type, hook, thread or class of it stays, even while the error is held; other
    plugins work on, and the error is shown with its phase.
    """
    addition, phase, text = BROKEN[case]
    site.install(answering("first", "first.ask"), plugin="first")
    host.load_plugin("first")
    install(site, addition)

    with pytest.raises(PluginLoadFailed) as caught:
        host.load_plugin("acme")

    assert caught.value.phase == phase
    assert text in str(caught.value)
    info = plugin_of(host)
    assert (info.state, info.event_types) == (PluginState.FAILED, ())
    assert text in str(info.reason)
    assert site.modules() == {"first_plugin"}
    assert [info.event_type for info in types_of(host) if info.loaded] == ["first.ask"]
    with pytest.raises(UnknownEventType):
        host.schedule("acme.ask")
    journal.lines.clear()
    assert answer_of(host, "first.ask") == "first"
    host.unload_plugin("first")
    assert journal.lines == []
    for thread in threading.enumerate():
        if thread.name == "acme-thread":
            thread.join(10)
    assert plugin_threads() == []
    gc.collect()
    assert [ref() for ref in journal.refs] in ([None], [])


def test_the_busy_plugin_is_not_broken_by_itself(host: Host, site: Site, journal: Any) -> None:
    """What the failing cases add is what fails them: alone it loads, runs, and goes."""
    install(site, "")
    host.load_plugin("acme")
    assert answer_of(host) == "answer"
    assert plugin_threads() == ["acme-thread"] * 3  # two workers and a spare one
    assert journal.lines == ["acme"]
    assert host.unload_plugin("acme").collected


def test_an_interrupt_at_import_comes_through_and_leaves_nothing(host: Host, site: Site) -> None:
    """Ctrl-C while a plugin is imported is the host's, not the plugin's."""
    install(site, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        host.load_plugin("acme")
    assert site.modules() == set()
    install(site, "")
    assert host.load_plugin("acme").state is PluginState.ACTIVE


@pytest.mark.parametrize("case", ["import raises", "horae_activate raises", "unknown hook"])
def test_a_retry_after_a_fix_on_disk_uses_no_stale_submodule(
    host: Host, site: Site, case: str
) -> None:
    """The submodules of the failed attempt are imported anew."""
    install(site, BROKEN[case][0])
    with pytest.raises(PluginLoadFailed):
        host.load_plugin("acme")
    install(site, "events.register('acme.part')(lambda c: acme_plugin.part.part)", "part = 'new'\n")
    assert host.load_plugin("acme").reason is None
    assert answer_of(host, "acme.part") == "new"


def test_a_failed_load_takes_its_name_off_a_shared_parent(host: Host, site: Site) -> None:
    """In a namespace package, the parent stays with its other parts and loses the failed one."""
    for name, source in {"one": answering(1, "one.ask"), "two": "raise ValueError"}.items():
        site.install({f"acme_ns/{name}.py": source}, plugin=name, value=f"acme_ns.{name}")
    host.load_plugin("one")
    with pytest.raises(PluginLoadFailed):
        host.load_plugin("two")
    parent = sys.modules["acme_ns"]
    assert not hasattr(parent, "two")
    assert hasattr(parent, "one")
    host.unload_plugin("one")
    assert not hasattr(parent, "one")
    del sys.modules["acme_ns"]


def test_an_error_longer_than_a_page_is_cut(host: Host, site: Site) -> None:
    """What is shown of a failure has its beginning, and an end."""
    site.install("raise ValueError('long ' * 10_000)")
    with pytest.raises(PluginLoadFailed):
        host.load_plugin("acme")
    reason = str(plugin_of(host).reason)
    assert reason.startswith("Plugin 'acme' failed at import: ValueError: long long")
    assert len(reason) < 3000
