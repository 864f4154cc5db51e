"""How plugins declare event types: wrappers, policies, the class form, and errors that help."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest

from horae import Host, PluginLoadFailed
from horae_hookspecs import (
    Concurrency,
    MultiResourceScheduledEventJob,
    Outcome,
    RegistrationError,
    Retry,
    RunContext,
    ScheduledEventJob,
    ScheduledEventManager,
    ScheduledEventRegistryWrapper,
)
from horae_hookspecs.registration import IMPLICIT_WRAPPER
from kit.hosts import types_of
from kit.sites import Site, plugin


@pytest.fixture
def events() -> ScheduledEventRegistryWrapper:
    """A wrapper with nothing in it."""
    return ScheduledEventRegistryWrapper()


def mark(context: RunContext, level: int = 0) -> int:
    """A job."""
    return level


@attrs.frozen
class Mark(ScheduledEventJob):
    """A job as a class."""

    level: int = 0

    def run(self, context: RunContext) -> object:
        """Give the level back."""
        return self.level


# -- collecting


@pytest.mark.parametrize("target", [mark, Mark])
def test_a_wrapper_collects_and_leaves_the_target_alone(
    events: ScheduledEventRegistryWrapper, target: Any
) -> None:
    """The decorator gives back what it got, and the registration names all of it."""
    assert events.register("tide.mark", version=2)(target) is target
    (found,) = events.registrations
    assert (found.event_type, found.target, found.policy.version) == ("tide.mark", target, 2)


def test_registrations_come_in_order(events: ScheduledEventRegistryWrapper) -> None:
    """As they were made, and one target may stand behind several types."""
    for uid in ("b.two", "a.one", "c.three"):
        events.register(uid)(mark)
    assert [found.event_type for found in events.registrations] == ["b.two", "a.one", "c.three"]


def test_registering_touches_no_host(events: ScheduledEventRegistryWrapper, host: Host) -> None:
    """Importing a plugin changes nothing: only a host that loads it does."""
    events.register("tide.mark")(mark)
    assert host.event_types() == []
    assert host.registry.snapshot.types == {}


def test_an_offer_can_be_made_and_taken_back(events: ScheduledEventRegistryWrapper) -> None:
    """load() and unload() may be called again and again; what was collected stays."""
    events.register("tide.mark")(mark)
    for _ in range(2):
        events.load()
        events.load()
        assert events.loaded
        events.unload()
        events.unload()
        assert not events.loaded
    assert len(events.registrations) == 1


def test_a_uid_is_registered_once(events: ScheduledEventRegistryWrapper) -> None:
    """The error names both targets; the first one stays."""
    events.register("tide.mark")(mark)
    with pytest.raises(RegistrationError, match=r"twice: as .*mark and as .*Mark") as caught:
        events.register("tide.mark")(Mark)
    assert caught.value.event_type == "tide.mark"
    assert [found.target for found in events.registrations] == [mark]


@pytest.mark.parametrize("uid", ["mark", "tide.mark", "a.b-c.d_e", "_x", "Tide.Märk9", "a" * 200])
def test_a_good_uid_is_taken(events: ScheduledEventRegistryWrapper, uid: str) -> None:
    """Letters, digits, '_' and '-', in parts joined by dots."""
    events.register(uid)(mark)
    assert events.registrations[0].event_type == uid


@pytest.mark.parametrize(
    "uid", ["", ".", "a.", ".a", "a..b", "a b", "9a", "a/b", "-a", "a\n", "a" * 201, 5, None]
)
def test_a_malformed_uid_is_refused(events: ScheduledEventRegistryWrapper, uid: Any) -> None:
    """The error shows a good one."""
    with pytest.raises(RegistrationError, match=r"such as 'acme\.start_resource'"):
        events.register(uid)


# -- policies


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"version": 0}, "version"),
        ({"version": "2"}, "version"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "30s"}, "timedelta"),
        ({"retry": 3}, "retry"),
        ({"interrupted": "perhaps"}, "interrupted"),
        ({"retries": 3}, "retries"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(
    events: ScheduledEventRegistryWrapper, policy: dict[str, Any], said: str
) -> None:
    """At once, at the decorator's line, with what is wrong and what there is."""
    with pytest.raises(RegistrationError) as caught:
        events.register("tide.mark", **policy)
    text = str(caught.value)
    assert text.startswith("The policy given for event type 'tide.mark' is wrong: ")
    assert said in text
    assert "It takes version, retry, timeout, executor, interrupted, missed, absent," in text


def test_a_policy_is_kept(events: ScheduledEventRegistryWrapper) -> None:
    """Seconds become a timedelta; what is left out has its default."""
    retry = Retry(attempts=3)
    events.register("tide.mark", timeout=1.5, retry=retry, executor="inline")(mark)
    events.register("tide.late", timeout=timedelta(minutes=1), interrupted="fail")(mark)
    first, second = (found.policy for found in events.registrations)
    assert (first.timeout, first.retry, first.executor) == (
        timedelta(seconds=1.5),
        retry,
        "inline",
    )
    assert (first.version, first.interrupted) == (1, "retry")
    assert (second.timeout, second.interrupted) == (timedelta(minutes=1), "fail")
    assert second.retry.attempts == 1


@pytest.mark.parametrize(
    "retry", [{"attempts": 0}, {"factor": 0.5}, {"jitter": 1.5}, {"jitter": -0.1}]
)
def test_a_retry_that_makes_no_sense_is_refused(retry: dict[str, Any]) -> None:
    """At least one attempt, no shrinking waits, a jitter between none and all."""
    with pytest.raises(ValueError, match=next(iter(retry))):
        Retry(**retry)


# -- targets


def test_the_order_of_decorators_is_shown(events: ScheduledEventRegistryWrapper) -> None:
    """A class that attrs has not seen yet is refused with the form that works."""
    with pytest.raises(RegistrationError) as caught:

        @attrs.frozen
        @events.register("tide.mark")
        class Wrong(ScheduledEventJob):
            level: int
            name: str

            def run(self, context: RunContext) -> None: ...

    text = str(caught.value)
    assert "has fields (level, name) that attrs has not seen" in text
    assert (
        "    @events.register('tide.mark')\n"
        "    @attrs.frozen\n"
        "    class Wrong(ScheduledEventJob): ..." in text
    )


def test_fields_of_the_class_itself_are_no_arguments(
    events: ScheduledEventRegistryWrapper,
) -> None:
    """ClassVar annotations, and no annotations at all, need no attrs."""

    class Plain(ScheduledEventJob):
        limit: ClassVar[int] = 5
        every: ClassVar = 6

        def run(self, context: RunContext) -> None: ...

    events.register("tide.mark")(Plain)
    assert len(events.registrations) == 1


def test_a_class_that_adds_nothing_to_a_job_is_taken(
    events: ScheduledEventRegistryWrapper,
) -> None:
    """Its fields are those of the class it comes from."""

    class Special(Mark):
        pass

    events.register("tide.mark")(Special)
    assert len(events.registrations) == 1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (5, "give a class or a function"),
        ("mark", "give a class or a function"),
        (int, r"no run\(self, context\)"),
        (lambda: None, r"write def <lambda>\(context, \.\.\.\)"),
        (lambda *, context: None, "first parameter is the run context"),
    ],
)
def test_what_can_be_no_job_is_refused(
    events: ScheduledEventRegistryWrapper, target: Any, said: str
) -> None:
    """With what is missing; nothing was collected."""
    with pytest.raises(RegistrationError, match=said) as caught:
        events.register("tide.mark")(target)
    assert caught.value.event_type == "tide.mark"
    assert events.registrations == ()


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"exclusive": True}, "with exclusive"),
        ({"concurrency": Concurrency(2, per="resource")}, "with concurrency per resource"),
    ],
)
def test_a_gate_of_each_resource_is_refused_for_a_job_with_several(
    events: ScheduledEventRegistryWrapper, policy: dict[str, Any], said: str
) -> None:
    """Its events would go round that; other limits are as good for it as for any."""

    class Several(MultiResourceScheduledEventJob):
        def run_resource(self, context: RunContext, resource: str) -> None: ...

    with pytest.raises(RegistrationError, match=said) as caught:
        events.register("tide.mark", **policy)(Several)
    assert caught.value.event_type == "tide.mark"
    assert events.registrations == ()
    events.register("tide.mark", concurrency=Concurrency(2, per="origin"))(Several)
    assert len(events.registrations) == 1


def test_a_plugin_with_such_a_type_is_not_loaded(site: Site, host: Host) -> None:
    """What it says is why."""
    site.install(
        plugin(
            """
            @events.register("acme.tend", exclusive=True)
            class Tend(MultiResourceScheduledEventJob):
                def run_resource(self, context, resource): ...
            """
        )
    )
    with pytest.raises(PluginLoadFailed, match=r"'acme\.tend' with exclusive"):
        host.load_plugin("acme")


def test_a_job_without_run_says_so() -> None:
    """The base class names the class that forgot it."""

    class Lazy(ScheduledEventJob):
        pass

    with pytest.raises(NotImplementedError, match=r"Lazy has no run\(self, context\) method"):
        Lazy().run(None)  # type: ignore[arg-type]


# -- the class form


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A module of a plugin, as an import leaves it."""
    module = ModuleType("tide_plugin")
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


DECLARING = """
from horae_hookspecs import ScheduledEventManager

@ScheduledEventManager.register("tide.mark", version=2)
def mark(context, level: int = 0):
    return level

@ScheduledEventManager.register("tide.fall")
class Fall:
    def run(self, context):
        return "fallen"

def load():
    pass

def unload():
    pass
"""


def test_the_class_form_collects_for_its_module(module: ModuleType) -> None:
    """The types go to a wrapper of the module in which they stand, which is offered at once."""
    exec(DECLARING, vars(module))
    wrapper = vars(module)[IMPLICIT_WRAPPER]
    assert [found.event_type for found in wrapper.registrations] == ["tide.mark", "tide.fall"]
    assert wrapper.loaded
    assert not hasattr(sys.modules[__name__], IMPLICIT_WRAPPER)


def test_the_class_form_has_the_same_errors(module: ModuleType) -> None:
    """Malformed and doubled uids, policies and targets are refused alike."""
    exec(DECLARING, vars(module))
    with pytest.raises(RegistrationError, match="registered twice"):
        ScheduledEventManager.register("tide.mark")(vars(module)["mark"])
    with pytest.raises(RegistrationError, match="is no event type"):
        ScheduledEventManager.register("no type")(vars(module)["mark"])


def test_a_plugin_in_the_class_form_loads_and_runs(module: ModuleType, host: Host) -> None:
    """The facade is a full way to write a plugin."""
    exec(DECLARING, vars(module))
    with host:
        assert host.load_plugin(module).event_types == ("tide.fall", "tide.mark")
        marked = host.wait(host.schedule("tide.mark", {"level": 3}).id, timeout=20)
        fallen = host.wait(host.schedule("tide.fall").id, timeout=20)
        assert marked is not None
        assert fallen is not None
        assert (marked.outcome, marked.result) == (Outcome.SUCCEEDED, 3)
        assert (fallen.outcome, fallen.result) == (Outcome.SUCCEEDED, "fallen")
        host.unload_plugin("tide_plugin")
        assert [known.loaded for known in types_of(host)] == [False, False]


# -- an application's own types


def test_an_application_registers_on_its_host(host: Host) -> None:
    """The decorator of a host publishes at once, with the same checks."""

    @host.register("tide.mark", version=3)
    def mark(context: RunContext, level: int) -> int:
        return level + 1

    (known,) = types_of(host)
    assert (known.event_type, known.schema_version, known.plugin) == ("tide.mark", 3, "application")
    with pytest.raises(RegistrationError, match="registered twice"):
        host.register("tide.mark")(Mark)
    with host:
        run = host.wait(host.schedule("tide.mark", {"level": 3}).id, timeout=20)
    assert run is not None
    assert (run.result, run.plugin, run.generation) == (4, "application", 1)


def test_a_job_instance_can_be_scheduled(host: Host) -> None:
    """Instead of a name and a mapping: the instance brings both."""
    host.register("tide.mark")(Mark)
    event = host.schedule(Mark(level=7))
    assert (event.event_type, event.arguments) == ("tide.mark", {"level": 7})
