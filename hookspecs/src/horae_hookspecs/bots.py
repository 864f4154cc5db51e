"""Bot actions: event types whose runs are rounds over resources.

An action is registered like an event type, and is one: it is loaded, unloaded, waited for and
counted like all of them. A bot is one recurring event for each of its actions; what an event's
arguments say is which resources the round is over.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

import attrs

from horae_hookspecs.abc import RunContext, ScheduledEventJob
from horae_hookspecs.errors import (
    CancelEvent,
    HoraeError,
    RegistrationError,
    RetryLater,
    RunControl,
)
from horae_hookspecs.filters import compile_filter
from horae_hookspecs.registration import ScheduledEventRegistryWrapper

Action = TypeVar("Action", bound=Callable[..., Any])

NO_ANSWER: Final = timedelta(seconds=60)
"""How long a round waits for a plugin that lists the resources it is over."""


SHOWN: Final = 20
"""How many of the resources that an action failed for are told with their errors."""


@attrs.frozen
class Resource:
    """Something that a bot may act on: what it is called, and what is known of it.

    The fields can be read as attributes too: ``resource.region``.
    """

    id: str
    fields: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def resource_id(self) -> str:
        """The id, by the name that the seed systems have for it."""
        return self.id

    def __getattr__(self, name: str) -> Any:
        # Only for what is not found otherwise; never for the own fields of a half-made instance.
        if name.startswith("_") or name not in self.fields:
            raise AttributeError(f"Resource {self.id!r} has no field {name!r}.")
        return self.fields[name]


@attrs.frozen
class BotView:
    """The bot that an action acts for. All that it schedules has its ``origin``.

    So has what the bot's other actions schedule: a unit of work with ``cancel_missing`` must name
    the resources of those too, or it cancels their events.
    """

    name: str

    @property
    def origin(self) -> str:
        """The origin of the bot's rounds, and of what they schedule."""
        return origin_of(self.name)


@attrs.frozen
class BotEvent:
    """What an action that is called for each resource gets."""

    resource: Resource
    bot: BotView


class BotActionFailed(HoraeError):
    """An action that is called for each resource failed for some; for the others it was done."""

    def __init__(self, errors: Mapping[str, Exception], count: int) -> None:
        shown = list(errors.items())[:SHOWN]
        listed = "".join(f"\n  - {name}: {error!r}" for name, error in shown)
        more = f"\n  and {len(errors) - SHOWN:,} more" if len(errors) > SHOWN else ""
        super().__init__(f"The action failed for {len(errors)} of {count} resources:{listed}{more}")
        self.resources = tuple(errors)


@attrs.frozen
class NoSettings:
    """The settings of an action that takes none."""


class BotFactoryRegistryWrapper(ScheduledEventRegistryWrapper):
    """Collects a plugin's bot actions, beside event types of any other sort.

    ::

        registry = BotFactoryRegistryWrapper()

        @registry.action(uid="acme.action.start", bulk_action=True, accepts_complement=True)
        def start(bot, settings, matches, non_matches):
            with ScheduledEventTracker() as tracker:
                for resource in matches:
                    tracker.schedule_bot_event(bot=bot, resource=resource, ...)

        @hookimpl
        def horae_event_types() -> BotFactoryRegistryWrapper:
            return registry
    """

    def action(
        self,
        uid: str,
        *,
        name: str | None = None,
        description: str | None = None,
        bulk_action: bool = False,
        accepts_complement: bool = False,
        settings: type | None = None,
        run_when_result_is: bool = True,
        **policy: Any,
    ) -> Callable[[Action], Action]:
        """A decorator that registers a function as a bot action, an event type called ``uid``.

        A bulk action is called once a round, as ``function(bot, settings, matches)``, with
        ``accepts_complement`` as ``function(bot, settings, matches, non_matches)``. Any other is
        called for each match, as ``function(event, bot, settings)`` with a ``BotEvent``; it fails
        for one without harm to the others. With ``run_when_result_is=False`` it is the resources
        that the filter leaves out which are acted on.

        ``settings`` is the attrs class of the settings that a bot gives the action. The other
        keyword arguments are those of ``Policy``. Raises RegistrationError.
        """

        def collect(function: Action) -> Action:
            _check(uid, function, policy)
            action = _Action(function, bulk_action, accepts_complement, run_when_result_is)
            told = [text for text in (name, description or inspect.getdoc(function)) if text]
            job = _round_class(uid, action, settings or NoSettings, "\n\n".join(told))
            self.register(uid, **policy)(job)
            return function

        return collect


def origin_of(bot: str) -> str:
    """The origin of all that belongs to the bot of this name."""
    return f"bot:{bot}"


@attrs.frozen
class _Action:
    """What is called in a round, and how."""

    function: Callable[..., Any]
    bulk: bool
    accepts_complement: bool
    acts_on: bool

    def perform(
        self, bot: BotView, settings: Any, found: Mapping[bool, Sequence[Resource]]
    ) -> object:
        """Act on what was found to match, or not to."""
        matches, others = found[self.acts_on], found[not self.acts_on]
        if self.bulk:
            complement = (others,) if self.accepts_complement else ()
            return self.function(bot, settings, matches, *complement)
        self._for_each(bot, settings, matches)
        return None

    def _for_each(self, bot: BotView, settings: Any, matches: Sequence[Resource]) -> None:
        errors: dict[str, Exception] = {}
        for resource in matches:
            try:
                self.function(BotEvent(resource, bot), bot, settings)
            except RunControl:
                raise
            except Exception as error:
                errors[resource.id] = error
        if errors:
            raise BotActionFailed(errors, len(matches))


class _Round(ScheduledEventJob):
    """One round of a bot's action; its fields are those that ``_round_class`` gives it."""

    __slots__ = ()

    action: _Action
    bot: str
    resources: str
    filter: Mapping[str, Any]
    settings: Any

    def run(self, context: RunContext) -> dict[str, Any]:
        """Ask for the resources, tell the matches from the others, and act."""
        meets = compile_filter(self.filter)
        found: dict[bool, list[Resource]] = {True: [], False: []}
        for resource in _ask(context, self.resources):
            found[meets({"id": resource.id, **resource.fields})].append(resource)
        result = self.action.perform(BotView(self.bot), self.settings, found)
        if context.cancelled:
            raise CancelEvent("cancelled during the round: what it scheduled is not stored")
        counts = {"matches": len(found[True]), "non_matches": len(found[False])}
        return counts if result is None else {**counts, "result": result}


def _ask(context: RunContext, kind: str) -> Iterable[Resource]:
    answers = context.host.ask("horae_bot_resources", kind=kind)
    given = [answer for answer in answers if answer is not None]
    if not given:
        raise RetryLater(
            NO_ANSWER, f"No loaded plugin lists resources of kind {kind!r}; nothing was judged."
        )
    listed = (resource for answer in given for resource in answer)
    return {resource.id: resource for resource in listed}.values()


def _round_class(uid: str, action: _Action, settings: type, told: str) -> type:
    """The job class of an action; its module is that of the function, so that it goes with it."""
    if not attrs.has(settings):
        raise RegistrationError(
            f"The settings of action {uid!r} are described by {settings!r}, which is no attrs "
            "class: write @attrs.frozen above it.",
            event_type=uid,
        )
    needed = any(one.init and one.default is attrs.NOTHING for one in attrs.fields(settings))
    default: Any = attrs.NOTHING if needed else attrs.Factory(settings)
    fields = {
        "bot": attrs.field(type=str),
        "resources": attrs.field(type=str),
        "filter": attrs.field(type=dict[str, Any], factory=dict, validator=_check_filter),
        "settings": attrs.field(type=settings, default=default),
    }
    body = {"action": action, "__doc__": told, "__module__": action.function.__module__}
    return attrs.make_class(
        "Round", fields, bases=(_Round,), frozen=True, kw_only=True, class_body=body
    )


def _check_filter(_job: object, _field: object, value: Mapping[str, Any]) -> None:
    compile_filter(value)


def _check(uid: str, function: Callable[..., Any], policy: Mapping[str, Any]) -> None:
    if policy.get("executor") == "process":
        raise RegistrationError(
            f"Action {uid!r} cannot run in a child process: it has no host to ask for resources. "
            "Give that executor to the event types that it schedules.",
            event_type=uid,
        )
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise RegistrationError(
            f"{function!r} cannot be registered as action {uid!r}: give a plain function; what "
            "takes long belongs into the events that it schedules.",
            event_type=uid,
        )
