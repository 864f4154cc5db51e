"""A hook that raises harms nobody else, whichever hook it is, and the error is shown."""

import inspect
from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any, Final

import pytest

from horae import Host, PluginLoadFailed, SettableClock
from horae_hookspecs import Outcome, PluginState, specs
from kit.hosts import answer_of, plugin_of, until
from kit.sites import HEAD, Site, answering

HOOKS: Final = [name for name in vars(specs) if name.startswith("horae_")]

WHILE_LOADING: Final = {
    "horae_event_types",
    "horae_schedule_kinds",
    "horae_executors",
    "horae_settings",
    "horae_activate",
}
WHILE_UNLOADING: Final = {"horae_deactivate"}
NOT_THE_HOSTS: Final = {"horae_commands"}
"""Asked for by the command line alone. Every hook in none of these sets is an observer, whose
errors are logged: a new hook must be called by ``something_of_everything``, or fails here."""


def raising(hook: str, error: str) -> str:
    """The source of a plugin that has only this hook, which raises ``error``."""
    if hook == "horae_run":
        return f"{HEAD}@hookimpl(wrapper=True)\ndef horae_run(run):\n    raise {error}\n    yield\n"
    parameters = ", ".join(inspect.signature(getattr(specs, hook)).parameters)
    return f"{HEAD}@hookimpl\ndef {hook}({parameters}):\n    raise {error}\n"


def something_of_everything(host: Host, clock: SettableClock, site: Site) -> None:
    """Give every observer cause to be called; all of it must go well."""
    hourly = host.schedule("good.ask", schedule="every 1h")
    clock.advance(timedelta(hours=5))
    until(lambda: host.runs(event_id=hourly.id, outcome="succeeded").total)
    assert answer_of(host, "good.ask") == "good"
    assert host.ask("horae_bot_resources", kind="machine") == []
    site.install(answering(3, "third.ask"), plugin="third")
    host.load_plugin("third")
    host.schedule("third.ask", schedule=timedelta(days=300))
    host.unload_plugin("third")
    host.stop()
    host.start()


@pytest.mark.parametrize("error", ["RuntimeError('broken')", "SystemExit('broken')"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_raising_hook_stops_nobody_and_is_shown(
    host: Host,
    clock: SettableClock,
    site: Site,
    logs: list[MutableMapping[str, Any]],
    hook: str,
    error: str,
) -> None:
    """The host stays up, the events of other plugins run, and the error is shown by name."""
    site.install(answering("good", "good.ask"), plugin="good")
    site.install(raising(hook, error))
    host.load_plugin("good")

    if hook in WHILE_LOADING:
        with pytest.raises(PluginLoadFailed, match="broken"):
            host.load_plugin("acme")
        assert plugin_of(host).state is PluginState.FAILED
        assert "broken" in str(plugin_of(host).reason)
    else:
        assert host.load_plugin("acme").state is PluginState.ACTIVE
    something_of_everything(host, clock, site)

    shown = [entry for entry in logs if "broken" in str(entry)]
    if hook in WHILE_UNLOADING:
        assert "broken" in host.unload_plugin("acme").errors[0]
        assert "broken" in str(plugin_of(host).reason)
    elif hook not in WHILE_LOADING | NOT_THE_HOSTS:
        until(lambda: [entry for entry in logs if entry.get("hook") == hook])
        assert {entry["plugin"] for entry in logs if entry.get("hook") == hook} == {"acme"}
        host.unload_plugin("acme")
    assert hook not in NOT_THE_HOSTS or not shown
    assert answer_of(host, "good.ask") == "good"


def test_a_job_that_raises_in_a_broken_wrapper_keeps_its_own_error(host: Host, site: Site) -> None:
    """What a wrapper raises on top of a failing job does not hide the job's error."""
    site.install(
        "from horae_hookspecs import hookimpl\n@hookimpl(wrapper=True)\ndef horae_run(run):\n"
        "    try:\n        return (yield)\n    except ValueError:\n        raise KeyError(0)\n",
        plugin="wrapping",
    )
    site.install(answering(1).replace("return 1", "raise ValueError('the job')"))
    host.load_plugin("wrapping")
    host.load_plugin("acme")
    run = host.wait(host.schedule("acme.ask").id, timeout=20)
    assert run is not None
    assert run.outcome is Outcome.FAILED
    assert "the job" in str(run.error)
