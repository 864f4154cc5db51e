"""Unload leaves no trace, or says exactly what is left and who holds it."""

import contextvars
import gc
import sys
import threading
from typing import Any

import pytest

from horae import Host
from kit.hosts import answer_of, types_of
from kit.sites import Site, answering, plugin


def test_all_modules_of_the_distribution_go(host: Host, site: Site) -> None:
    """Submodules, those imported late by a run, and other top-level modules of it."""
    site.install(
        {
            "acme_plugin/__init__.py": plugin(
                """
                import acme_plugin.deep.er
                import acme_helper

                @events.register("acme.ask")
                def ask(context):
                    import acme_plugin.late
                """
            ),
            "acme_plugin/deep/__init__.py": "",
            "acme_plugin/deep/er.py": "",
            "acme_plugin/late.py": "",
            "acme_helper.py": "",
        }
    )
    host.load_plugin("acme")
    answer_of(host)
    assert {"acme_plugin.deep.er", "acme_plugin.late", "acme_helper"} < site.modules()
    assert host.unload_plugin("acme").collected
    assert site.modules() == set()


def test_a_plugin_in_a_single_module_goes(host: Host, site: Site) -> None:
    """A distribution need not be a package."""
    site.install({"acme.py": answering(1)}, value="acme")
    host.load_plugin("acme")
    assert host.unload_plugin("acme").collected
    assert site.modules() == set()


def test_other_parts_of_a_namespace_package_stay(host: Host, site: Site) -> None:
    """The shared parent loses the attribute of what was unloaded, and nothing else."""
    for name in ("one", "two"):
        files = {f"acme_ns/{name}/__init__.py": answering(name, f"{name}.ask")}
        site.install(files, plugin=name, value=f"acme_ns.{name}")
        host.load_plugin(name)
    parent = sys.modules["acme_ns"]
    assert host.unload_plugin("one").collected
    assert (hasattr(parent, "one"), hasattr(parent, "two")) == (False, True)
    assert site.modules() == {"acme_ns.two"}
    assert answer_of(host, "two.ask") == "two"
    host.unload_plugin("two")
    del sys.modules["acme_ns"]


def test_old_code_that_still_runs_finds_its_own_parts(host: Host, site: Site) -> None:
    """Only parents that stay lose an attribute; an abandoned run still needs the others."""
    parts = """
    from acme_plugin import part

    @events.register("acme.ask")
    def ask(context):
        return part.value
    """
    site.install({"acme_plugin/__init__.py": plugin(parts), "acme_plugin/part.py": "value = 7\n"})
    host.load_plugin("acme")
    sys.modules["acme_plugin"] = package = sys.modules.pop("acme_plugin")  # after its part, now
    host.unload_plugin("acme")
    assert package.ask(None) == 7


def test_dependencies_of_a_plugin_stay(host: Host, site: Site) -> None:
    """What it imported from another distribution is not its own."""
    site.install({"shared.py": "value = 1\n"}, plugin="shared", value="shared")
    site.install(plugin("import shared"))
    host.load_plugin("acme")
    host.unload_plugin("acme")
    assert site.modules() == {"shared"}


def test_context_variables_set_at_import_do_not_reach_the_host(
    host: Host, site: Site, journal: Any
) -> None:
    """The import happens in a context of its own, which goes with it."""
    journal.variable = contextvars.ContextVar("journal.variable", default="untouched")
    site.install(plugin("import journal; journal.variable.set(events)"))
    host.load_plugin("acme")
    assert journal.variable.get() == "untouched"
    assert host.unload_plugin("acme").collected


def test_context_variables_set_by_a_run_do_not_reach_the_next(
    host: Host, site: Site, journal: Any
) -> None:
    """Threads are reused, and contexts are not."""
    journal.variable = contextvars.ContextVar("journal.variable", default=0)
    site.install(
        plugin(
            """
            import journal

            @events.register("acme.ask")
            def ask(context):
                journal.variable.set(journal.variable.get() + 1)
                return journal.variable.get()
            """
        )
    )
    host.load_plugin("acme")
    assert [answer_of(host) for _ in range(8)] == [1] * 8


CYCLE = plugin(
    """
    import typing

    @events.register("acme.ask")
    @attrs.frozen
    class Ask(ScheduledEventJob):
        text: str = "text"

        def run(self, context):
            from acme_plugin import late
            return late.answer(self.text)

    @events.register("acme.later")
    async def later(context, names: typing.List[str] = []):
        return names

    @hookimpl
    def horae_run_finished(run):
        pass

    @hookimpl(wrapper=True)
    def horae_run(run):
        return (yield)

    @hookimpl
    def horae_activate(context):
        context.undo(lambda: Ask)
    """
)


def test_thirty_lives_leave_nothing(host: Host, site: Site) -> None:
    """Load, run, unload, again and again: types, modules, threads and objects stay flat."""
    late = "def answer(text): return text.upper()\n"
    site.install({"acme_plugin/__init__.py": CYCLE, "acme_plugin/late.py": late})

    def live() -> tuple[list[str], int, int, int]:
        host.load_plugin("acme")
        assert answer_of(host) == "TEXT"
        assert answer_of(host, "acme.later", names=["a"]) == ["a"]
        report = host.unload_plugin("acme")
        assert report.collected, report.holders
        types = [info.event_type for info in types_of(host)]
        return types, len(sys.modules), threading.active_count(), len(gc.get_objects())

    for _ in range(5):
        live()
    *before, objects = live()
    for _ in range(24):
        *after, objects_after = live()
    assert after == before
    # 24 lives of a plugin with 20 functions would show as thousands.
    assert objects_after - objects < 500


# Verdicts

TYPED = "from typing import *\n@events.register('acme.ask')\nclass Ask(ScheduledEventJob):\n"
CLEANED = {
    "classes in typing's caches": f"{TYPED}    def run(self, context): pass\n"
    "def own(asks: List[Ask], one: Optional[Ask]) -> Dict[str, Ask]: pass\nget_type_hints(own)\n",
    "a structlog logger": "import structlog\nlog = structlog.get_logger()\nlog.info('loaded')\n",
    "a stdlib logger": "import logging\nlogging.getLogger(__name__).info('loaded')\n",
    "an lru_cache of its own": "import functools\n@functools.lru_cache\ndef cached(x): return x\n"
    "cached(cached)\n",
    "a generator that stands still": "def one():\n    yield one\nstill = one()\nnext(still)\n",
    "an enum and a dataclass": "import enum, dataclasses\nclass E(enum.Enum):\n    A = 1\n"
    "@dataclasses.dataclass(slots=True)\nclass D:\n    e: E = E.A\n",
    "an abstract base and its caches": "import abc\nclass A(abc.ABC): pass\nclass B(A): pass\n"
    "isinstance(B(), A)\n",
    "an error it raised and caught": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n"
    "    caught = e\n",
    "a thread pool that is idle": "from concurrent.futures import ThreadPoolExecutor\n"
    "pool = ThreadPoolExecutor(1)\npool.submit(len, '').result()\n",
    "a thread that ends by itself": "import threading\nthread = threading.Thread(target=len, "
    "args=('',))\nthread.start()\n",
}
HELD = {
    "a thread that never ends": (
        "import threading, journal\ndef forever():\n    journal.go.wait(60)\n"
        "threading.Thread(target=forever, daemon=True, name='acme').start()\n",
        "function acme_plugin.forever",
        "thread 'acme'",
    ),
    "a class in a list of somebody else": (
        "import journal\nclass Held: pass\njournal.kept.append(Held)\n",
        "class acme_plugin.Held",
        "module journal",
    ),
    "an instance in a dict of somebody else": (
        "import journal\nclass Held: pass\njournal.instances = {'one': Held()}\n",
        "class acme_plugin.Held",
        "module journal",
    ),
    "a function for the end of the process": (
        "import atexit\ndef bye(): pass\natexit.register(bye)\n"
        "import journal\njournal.bye = lambda f=atexit.unregister, g=bye: f(g)\n",
        "function acme_plugin.bye",
        "atexit: acme_plugin.bye",
    ),
    "a handler on a shared logger": (
        "import logging, journal\nclass Handler(logging.Handler):\n"
        "    def emit(self, record): pass\n"
        "logging.getLogger('journal').addHandler(Handler())\n",
        "class acme_plugin.Handler",
        "logger 'journal': handler acme_plugin.Handler",
    ),
}


@pytest.mark.parametrize("case", CLEANED)
def test_what_needs_no_cleaning_up_is_no_false_alarm(host: Host, site: Site, case: str) -> None:
    """Everyday things at module level are gone after the unload, and the verdict says so."""
    site.install(plugin(CLEANED[case]))
    host.load_plugin("acme")
    report = host.unload_plugin("acme")
    assert (report.collected, report.holders) == (True, ())


@pytest.mark.parametrize("case", HELD)
def test_what_is_held_is_told_with_its_holder(
    host: Host, site: Site, journal: Any, case: str
) -> None:
    """The verdict names what is left of the plugin, and the module through which it is held."""
    source, left, holder = HELD[case]
    site.install(plugin(source))
    host.load_plugin("acme")
    report = host.unload_plugin("acme")
    assert not report.collected
    (line,) = [line for line in report.holders if line.startswith(left)]
    assert holder in line.removeprefix(left)
    assert "module acme_plugin" not in line
    assert site.modules() == set()
    if hasattr(journal, "bye"):
        journal.bye()
