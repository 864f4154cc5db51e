"""How event types are collected. Nothing here knows a host: importing a plugin changes nothing."""

import inspect
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal, TypeVar, get_origin

import attrs

from horae_hookspecs.abc import MultiResourceScheduledEventJob
from horae_hookspecs.errors import RegistrationError
from horae_hookspecs.models import Absent, Concurrency, Missed, Retry

Target = TypeVar("Target", bound=Callable[..., Any])

IMPLICIT_WRAPPER: Final = "__horae_events__"
"""The module attribute in which ``ScheduledEventManager.register`` collects."""

_UID: Final = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*")


def _duration(value: timedelta | float | None) -> timedelta | None:
    return timedelta(seconds=value) if isinstance(value, (int, float)) else value


def check_absent(_owner: object, _field: object, value: object) -> None:
    """Raise ValueError for what is no ``Absent``."""
    if not (value in ("hold", "skip") or (isinstance(value, timedelta) and value > timedelta(0))):
        raise ValueError(f"absent={value!r} is none of 'hold', 'skip' and a positive timedelta")


def _missed(value: Missed | str) -> Missed:
    return Missed.of(value)


def _concurrency(value: Concurrency | int | None) -> Concurrency:
    return Concurrency.of(value)


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"aliases={value!r} is one text; give a list of them")
    return tuple(value)  # type: ignore[arg-type]


def _check_names(_owner: object, _field: object, value: tuple[object, ...]) -> None:
    for name in value:
        if not isinstance(name, str) or not _UID.fullmatch(name):
            raise ValueError(f"alias {name!r} is no event type")


@attrs.frozen(kw_only=True)
class Policy:
    """How the runs of a type are treated; the keyword arguments of ``register``.

    ``version`` is the schema version of the arguments, a positive integer that grows. ``timeout``
    is in seconds or a timedelta. ``executor`` names one: ``thread``, ``inline``, ``process``, or a
    plugin's own; a job with ``async def run`` goes to ``async`` in place of the first two.
    ``process`` runs the job in a child process, which ends at its timeout whatever it does; there
    the plugin is imported, and not activated, and ``context.host`` is out of reach. ``interrupted``
    says what becomes of an occurrence whose host was lost in the middle of it. ``missed`` is a
    ``Missed`` or the name of its policy, ``absent`` see ``Absent``; both can be overruled for a
    single event. ``exclusive`` types never have two runs for one resource, not even two of such
    types. ``concurrency`` is a ``Concurrency``, or a limit on the type. Neither ``exclusive`` nor a
    limit per resource goes with a ``MultiResourceScheduledEventJob``. Events stored under a name in
    ``aliases`` are this type's too: they go through ``upgrade`` from the version that they have, so
    ``version`` goes on counting from that of the old type.
    """

    version: int = attrs.field(
        default=1, validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)]
    )
    retry: Retry = attrs.field(factory=Retry, validator=attrs.validators.instance_of(Retry))
    timeout: timedelta | None = attrs.field(
        default=None,
        converter=_duration,
        validator=attrs.validators.optional(attrs.validators.gt(timedelta(0))),
    )
    executor: str | None = None
    interrupted: Literal["retry", "fail"] = attrs.field(
        default="retry", validator=attrs.validators.in_(("retry", "fail"))
    )
    missed: Missed = attrs.field(
        factory=Missed, converter=_missed, validator=attrs.validators.instance_of(Missed)
    )
    absent: Absent = attrs.field(default="hold", validator=check_absent)
    exclusive: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    concurrency: Concurrency = attrs.field(
        factory=Concurrency,
        converter=_concurrency,
        validator=attrs.validators.instance_of(Concurrency),
    )
    aliases: tuple[str, ...] = attrs.field(default=(), converter=_names, validator=_check_names)


@attrs.frozen
class Registration:
    """One event type as its plugin declared it: a job class or a function, and its policy."""

    event_type: str
    target: Callable[..., Any]
    policy: Policy


class ScheduledEventRegistryWrapper:
    """Collects a plugin's event types; the host publishes and withdraws them all at once.

    ::

        events = ScheduledEventRegistryWrapper()

        @events.register("acme.ping")
        def ping(context: RunContext, url: str, timeout: float = 5.0) -> object: ...

        @hookimpl
        def horae_event_types() -> ScheduledEventRegistryWrapper:
            return events

    A plugin with module-level ``load()`` and ``unload()`` functions that call
    ``events.load()`` and ``events.unload()`` needs no hook.
    """

    def __init__(self) -> None:
        self._registrations: dict[str, Registration] = {}
        self.loaded = False

    def register(self, uid: str, **policy: Any) -> Callable[[Target], Target]:
        """A decorator that registers a job class or a function under ``uid``.

        The keyword arguments are those of ``Policy``. Raises RegistrationError when the uid is
        malformed or taken in this wrapper, the target can be no job, or the policy does not go
        with such a job.
        """
        if not isinstance(uid, str) or not _UID.fullmatch(uid) or len(uid) > 200:
            raise RegistrationError(
                f"{uid!r} is no event type: give up to 200 letters, digits, '_' and '-', in parts "
                "joined by dots, such as 'acme.start_resource'.",
                event_type=str(uid),
            )
        try:
            parsed = Policy(**policy)
        except (TypeError, ValueError) as error:
            raise RegistrationError(
                f"The policy given for event type {uid!r} is wrong: {error}. "
                f"It takes {', '.join(field.name for field in attrs.fields(Policy))}.",
                event_type=uid,
            ) from None

        def collect(target: Target) -> Target:
            if uid in self._registrations:
                raise RegistrationError(
                    f"Event type {uid!r} is registered twice: as "
                    f"{_name(self._registrations[uid].target)} and as {_name(target)}.",
                    event_type=uid,
                )
            _check_target(uid, target)
            _check_gates(uid, target, parsed)
            self._registrations[uid] = Registration(uid, target, parsed)
            return target

        return collect

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """What was registered, in order."""
        return tuple(self._registrations.values())

    def discard(self, uid: str) -> None:
        """Forget what was registered under ``uid``; harmless when nothing was."""
        self._registrations.pop(uid, None)

    def load(self) -> None:
        """Offer these types to the host that is loading the plugin; may be called again."""
        self.loaded = True

    def unload(self) -> None:
        """Take the offer back. The host withdraws the types itself, called or not."""
        self.loaded = False


class ScheduledEventManager:
    """``@ScheduledEventManager.register("uid")``: the class form, without a wrapper of one's own.

    It collects into a wrapper that belongs to the module of the decorated class or function.
    """

    @classmethod
    def register(cls, uid: str, **policy: Any) -> Callable[[Target], Target]:
        """A decorator like ``ScheduledEventRegistryWrapper.register``, with the same errors."""

        def collect(target: Target) -> Target:
            module = vars(sys.modules[target.__module__])
            wrapper = module.setdefault(IMPLICIT_WRAPPER, ScheduledEventRegistryWrapper())
            wrapper.load()
            decorate: Callable[[Target], Target] = wrapper.register(uid, **policy)
            return decorate(target)

        return collect


def _check_target(uid: str, target: Callable[..., Any]) -> None:
    if not callable(target):
        raise RegistrationError(
            f"{target!r} cannot be registered as {uid!r}: give a class or a function.",
            event_type=uid,
        )
    if inspect.isclass(target):
        _check_class(uid, target)
    elif not _leading_parameter(target):
        raise RegistrationError(
            f"{_name(target)} cannot be registered as {uid!r}: its first parameter is the run "
            f"context, so write def {getattr(target, '__name__', 'job')}(context, ...).",
            event_type=uid,
        )


def _check_class(uid: str, target: type) -> None:
    if not callable(getattr(target, "run", None)):
        raise RegistrationError(
            f"{_name(target)} cannot be registered as {uid!r}: it has no run(self, context).",
            event_type=uid,
        )
    own = [
        name
        for name, annotation in vars(target).get("__annotations__", {}).items()
        if get_origin(annotation) is not ClassVar and annotation is not ClassVar
    ]
    if own and "__attrs_attrs__" not in vars(target):
        raise RegistrationError(
            f"{_name(target)} has fields ({', '.join(own)}) that attrs has not seen. Decorators "
            f"work from the bottom up, so write:\n\n    @events.register({uid!r})\n"
            f"    @attrs.frozen\n    class {target.__name__}(ScheduledEventJob): ...",
            event_type=uid,
        )


def _check_gates(uid: str, target: Callable[..., Any], policy: Policy) -> None:
    """An event passes the gate of one resource; one with several would go round all of them."""
    if not (inspect.isclass(target) and issubclass(target, MultiResourceScheduledEventJob)):
        return
    per_resource = policy.concurrency.per == "resource"
    if policy.exclusive or per_resource:
        given = "exclusive" if policy.exclusive else "concurrency per resource"
        raise RegistrationError(
            f"{_name(target)} cannot be registered as {uid!r} with {given}: its events have "
            "several resources, and only an event with one can wait for it. Derive it from "
            "ScheduledEventJob and schedule one event for each resource=..., or leave that out.",
            event_type=uid,
        )


def _leading_parameter(target: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(target).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return bool(parameters) and parameters[0].kind in positional


def _name(target: Callable[..., Any]) -> str:
    return f"{target.__module__}.{getattr(target, '__qualname__', type(target).__qualname__)}"
