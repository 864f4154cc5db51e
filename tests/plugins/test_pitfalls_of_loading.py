"""The pitfalls of loading that others fell into, each by its number in the research."""

import contextvars
import gc
import importlib
import sys
import weakref
from collections.abc import MutableMapping
from typing import Any

import pluggy
import pytest
import structlog

from horae import Host, PluginLoadFailed
from horae.plugins import loader
from horae_hookspecs import PluginState
from kit.hosts import answer_of, plugin_of, run_of
from kit.sites import HEAD, Site, answering, plugin


def test_p7_a_failed_import_leaves_no_submodule_for_the_retry(host: Host, site: Site) -> None:
    """Python forgets the package alone; the submodules that it had imported would stay, stale."""
    broken = "import acme_plugin.deep.part\nraise ValueError('broken')\n"
    files = {"acme_plugin/deep/__init__.py": "", "acme_plugin/deep/part.py": "PART = 'old'\n"}
    site.install({"acme_plugin/__init__.py": broken, **files})
    with pytest.raises(PluginLoadFailed):
        host.load_plugin("acme")
    assert site.modules() == set()
    mended = plugin(
        "import acme_plugin.deep.part\n@events.register('acme.ask')\ndef ask(context):\n"
        "    return acme_plugin.deep.part.PART\n"
    )
    files["acme_plugin/deep/part.py"] = "PART = 'the new one'\n"
    site.install({"acme_plugin/__init__.py": mended, **files})
    host.load_plugin("acme")
    assert answer_of(host) == "the new one"


@pytest.mark.parametrize("error", ["SystemExit(2)", "GeneratorExit", "asyncio.CancelledError"])
@pytest.mark.parametrize("where", ["import", "activation"])
def test_p8_what_is_no_exception_is_caught_as_well(
    host: Host, site: Site, error: str, where: str
) -> None:
    """``except Exception`` lets these through, and they would end the host's thread."""
    at_import = where == "import"
    source = plugin(
        f"import asyncio\n{'raise ' + error if at_import else ''}\n"
        f"@hookimpl\ndef horae_activate(context): raise {error}\n"
    )
    site.install(source)
    with pytest.raises(PluginLoadFailed) as caught:
        host.load_plugin("acme")
    assert caught.value.phase == where
    assert host.running
    site.install(answering(1))
    host.load_plugin("acme")
    assert answer_of(host) == 1


@pytest.mark.parametrize("when", ["import", "activation"])
def test_an_interrupt_is_the_hosts_and_leaves_nothing(host: Host, site: Site, when: str) -> None:
    """Ctrl-C comes through at any phase, after all was taken back."""
    body = "raise KeyboardInterrupt" if when == "import" else ""
    site.install(
        plugin(f"{body}\n@hookimpl\ndef horae_activate(context): raise KeyboardInterrupt\n")
    )
    with pytest.raises(KeyboardInterrupt):
        host.load_plugin("acme")
    assert site.modules() == set()
    assert host._lifecycle._phases._manager.get_plugins() == {
        one for one in host._lifecycle._phases._manager.get_plugins() if "acme" not in str(one)
    }


def test_p9_a_purged_submodule_does_not_stay_on_its_parent(host: Host, site: Site) -> None:
    """The attribute of a shared parent would be what a later ``from parent import it`` gets."""
    source = {"shared_ns/acme.py": answering("old"), "shared_ns/other.py": "raise ValueError"}
    site.install({"shared_ns/acme.py": source["shared_ns/acme.py"]}, value="shared_ns.acme")
    site.install({"shared_ns/other.py": "raise OSError"}, plugin="other", value="shared_ns.other")
    host.load_plugin("acme")
    with pytest.raises(PluginLoadFailed):
        host.load_plugin("other")
    parent = importlib.import_module("shared_ns")
    assert (hasattr(parent, "acme"), hasattr(parent, "other")) == (True, False)
    host.unload_plugin("acme")
    assert not hasattr(parent, "acme")
    del sys.modules["shared_ns"], parent


def test_p12_a_rejected_plugin_has_no_hook_in_pluggy(host: Host, site: Site) -> None:
    """Older versions of pluggy left what came before the bad one, and forgot only the first of two
    implementations of one hook.
    """
    hooks = "@hookimpl\ndef horae_plugin_changed(plugin): pass\n"
    second = "@hookimpl(specname='horae_plugin_changed')\ndef second(plugin): pass\n"
    bad = "@hookimpl\ndef horae_run_started(no_such_argument): pass\n"
    caller = host._lifecycle._phases._manager.hook.horae_plugin_changed
    before = len(caller.get_hookimpls())
    site.install(plugin(hooks + second + bad))
    with pytest.raises(PluginLoadFailed, match="no_such_argument"):
        host.load_plugin("acme")
    assert len(caller.get_hookimpls()) == before
    site.install(plugin(hooks + second))
    host.load_plugin("acme")
    assert len(caller.get_hookimpls()) == before + 2
    assert host.unload_plugin("acme").collected
    assert len(caller.get_hookimpls()) == before


@pytest.mark.parametrize("phase", ["import", "registration", "activation"])
def test_p16_a_kept_error_does_not_keep_the_plugin(
    host: Host, site: Site, journal: Any, phase: str
) -> None:
    """Neither the frames of its traceback, nor a cause, nor pluggy's ``.plugin`` come with it."""
    failing = {
        "import": "def fall():\n    try:\n        raise KeyError(Mine)\n    except KeyError as e:\n"
        "        raise RuntimeError(Mine) from e\nfall()",
        "registration": "@hookimpl\ndef horae_run_started(no_such_argument): pass",
        "activation": "@hookimpl\ndef horae_activate(context): raise LookupError(Mine)",
    }
    site.install(plugin(f"import journal\n@journal.watch\nclass Mine: pass\n{failing[phase]}\n"))
    with pytest.raises(PluginLoadFailed) as caught:
        host.load_plugin("acme")
    kept = caught.value
    assert (kept.phase, kept.__cause__, kept.__context__) == (phase, None, None)
    gc.collect()
    assert [ref() for ref in journal.refs] == [None]


def test_p17_what_a_plugin_sets_in_its_context_is_not_the_hosts(
    host: Host, site: Site, journal: Any
) -> None:
    """Nothing could take it out of the host's context again; and at its end the plugin finds its
    own as it left it.
    """
    journal.variable = contextvars.ContextVar("variable", default="unset")
    site.install(
        plugin(
            """
            import journal, structlog
            journal.variable.set("import")

            @events.register("acme.ask")
            def ask(context): return journal.variable.get()

            @hookimpl
            def horae_activate(context):
                journal.lines.append(journal.variable.get())
                context.enter(structlog.contextvars.bound_contextvars(plugin_of="acme"))
                token = journal.variable.set("activation")
                context.undo(lambda: journal.variable.reset(token))

            @hookimpl
            def horae_deactivate(context):
                journal.lines.append(journal.variable.get())
            """
        )
    )
    host.load_plugin("acme")
    assert journal.variable.get() == "unset"
    assert "plugin_of" not in structlog.contextvars.get_contextvars()
    assert answer_of(host) == "unset"
    report = host.unload_plugin("acme")
    assert (report.errors, report.collected) == ((), True)
    assert journal.lines == ["import", "activation"]


@pytest.mark.parametrize("ending", ["unload", "failed load"])
def test_p26_callers_of_unknown_hooks_do_not_stay_on_the_relay(
    host: Host, site: Site, ending: str
) -> None:
    """Pluggy makes one for each hook that no specification names, and never lets go of it."""
    failing = "@hookimpl\ndef horae_activate(context): raise ValueError\n"
    site.install(
        plugin(
            "@hookimpl(optionalhook=True)\ndef horae_of_tomorrow(plugin): pass\n"
            + (failing if ending == "failed load" else "")
        )
    )
    relay = host._lifecycle._phases._manager.hook
    before = set(vars(relay))
    if ending == "unload":
        host.load_plugin("acme")
        assert hasattr(relay, "horae_of_tomorrow")
        assert host.unload_plugin("acme").collected
    else:
        with pytest.raises(PluginLoadFailed):
            host.load_plugin("acme")
    assert set(vars(relay)) == before


def test_p26_a_caller_that_another_plugin_uses_stays() -> None:
    """It goes with the last of them."""
    manager = loader.new_manager()
    mark = pluggy.HookimplMarker("horae")

    def named(name: str) -> Any:
        class Plugin:
            @mark(optionalhook=True)
            def horae_of_tomorrow(self) -> str:
                return name

        return Plugin()

    first, second = named("first"), named("second")
    for one in (first, second):
        loader.register(manager, one, type(one).__name__ + str(id(one)))
    loader.unregister(manager, first)
    assert manager.hook.horae_of_tomorrow() == ["second"]
    loader.unregister(manager, second)
    assert not hasattr(manager.hook, "horae_of_tomorrow")
    loader.unregister(manager, second)


def test_p27_a_raising_implementation_hides_no_other(
    host: Host, site: Site, logs: list[MutableMapping[str, Any]], journal: Any
) -> None:
    """A hook's call ends at the first that raises; each of ours is called by itself, and what it
    raises has its plugin's name.
    """
    hook = "@hookimpl\ndef horae_run_finished(run): {0}\n"
    noting = "journal.lines.append(__name__)"
    for name, body in {"one": noting, "two": "raise SystemExit('hidden')", "three": noting}.items():
        site.install(f"{HEAD}import journal\n{hook.format(body)}", plugin=name)
        host.load_plugin(name)
    host.register("own.ask")(lambda context: 1)
    run_of(host, "own.ask")
    assert sorted(journal.lines) == ["one_plugin", "three_plugin"]
    assert {one["plugin"] for one in logs if one.get("hook") == "horae_run_finished"} == {"two"}


def test_a_plugin_object_that_says_it_equals_everything_confuses_nobody(
    host: Host, site: Site
) -> None:
    """Whatever its ``__eq__`` and ``__hash__`` say, another plugin is told from it."""
    site.install(
        plugin(
            """
            class Liar:
                def __eq__(self, other): return True
                __hash__ = None

                @hookimpl
                def horae_event_types(self): return events

            liar = Liar()
            @events.register("acme.ask")
            def ask(context): return 1
            """
        ).rpartition("@hookimpl")[0],
        value="acme_plugin:liar",
    )
    site.install(answering(2, "other.ask"), plugin="other")
    host.load_plugin("acme")
    host.load_plugin("other")
    assert (answer_of(host), answer_of(host, "other.ask")) == (1, 2)
    probe = weakref.ref(type(sys.modules["acme_plugin"].liar))
    assert host.unload_plugin("acme").collected
    assert probe() is None
    assert plugin_of(host, "other").state is PluginState.ACTIVE
    assert answer_of(host, "other.ask") == 2
