"""What bots are and what is done with them; ``bots`` is the public face of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final, Literal, Protocol

import attrs

from horae_hookspecs import (
    EventTypeInfo,
    Page,
    ScheduledEvent,
    ScheduleLike,
    State,
    Tracker,
)
from horae_hookspecs.bots import origin_of

ACTIVE: Final = (State.PENDING, State.RUNNING, State.QUARANTINED)
"""The states of events that are not over."""

Action = tuple[str, Mapping[str, Any]]
"""What an action is called, and its settings."""


class BotHost(Protocol):
    """What is asked of a host here."""

    def tracker(self, origin: str | None = None) -> AbstractContextManager[Tracker]:
        """A unit of work for an origin."""

    def events(self, **filters: Any) -> Page[ScheduledEvent]:
        """Stored events."""

    def event_types(self) -> Sequence[EventTypeInfo]:
        """Every type that any plugin ever provided."""

    def cancel(self, event_id: int, reason: str = "") -> bool:
        """Cancel an event; False when it was over already."""

    def cancel_all(self, reason: str = "", **filters: Any) -> int:
        """Cancel all events that are not over; how many there were."""


class BotExists(ValueError):
    """There is a bot of this name already."""


def _actions(value: Iterable[Action | str]) -> tuple[Action, ...]:
    return tuple((one, {}) if isinstance(one, str) else (one[0], dict(one[1])) for one in value)


def _once_each(bot: "Bot", _field: object, actions: tuple[Action, ...]) -> None:
    uids = [uid for uid, _ in actions]
    twice = sorted({uid for uid in uids if uids.count(uid) > 1})
    if twice or not uids:
        said = f"has {', '.join(twice)} more than once" if twice else "has no action"
        raise ValueError(f"Bot {bot.name!r} {said}; a bot has one action or more, and each once.")


@attrs.frozen
class Bot:
    """What a bot does: to resources of which kind, which of them, how, and when.

    ``resources`` is a kind that a plugin lists in the hook ``horae_bot_resources``. ``filter``
    maps fields of a resource to what they must be: a value, a list of values of which one must do,
    ``{"matches": regex}`` for the whole of a text, ``{"not": condition}``; see
    ``horae_hookspecs.filters``. ``actions`` are pairs of what an action is called and its
    settings, or its name alone. ``schedule`` is anything that ``Host.schedule`` takes.
    """

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    resources: str
    actions: tuple[Action, ...] = attrs.field(converter=_actions, validator=_once_each)
    schedule: ScheduleLike
    filter: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def origin(self) -> str:
        """The origin of its rounds, and of what they schedule."""
        return origin_of(self.name)


@attrs.frozen
class ActiveBot:
    """A bot as the store has it, told from its rounds.

    ``schedule`` is the stored form, ``due`` when its next round is. ``waiting`` names the actions
    that are not loaded anywhere; ``paused`` says that no round is to be made.
    """

    name: str
    resources: str
    actions: tuple[Action, ...]
    schedule: Mapping[str, Any]
    filter: Mapping[str, Any]
    due: datetime | None
    paused: bool
    waiting: tuple[str, ...]


def create(host: BotHost, bot: Bot) -> Sequence[int]:
    """Store the rounds of a new bot, all or none; the ids of their events, in order of its actions.

    Raises BotExists, and what ``Host.schedule`` raises for unknown actions, for settings that do
    not fit an action's and for a filter that is none.
    """
    if any(_is_round(event) for event in _active(host, origin=bot.origin)):
        raise BotExists(
            f"There is a bot {bot.name!r} already. Change it with reconfigure(host, bot), or "
            f"archive(host, {bot.name!r}) it first."
        )
    return _store(host, bot, "error")


def archive(host: BotHost, name: str) -> int:
    """End a bot: cancel its rounds and all that they have scheduled; how many events that was.

    What has run stays in the history. A bot that is not there is an archive of nothing.
    """
    return host.cancel_all(f"bot {name!r} was archived", origin=origin_of(name))


def reconfigure(
    host: BotHost, bot: Bot, drop: Literal["all", "rounds", "none"] = "all"
) -> Sequence[int]:
    """Make a bot what ``bot`` says, from its next round on; the ids of its rounds.

    ``drop`` says what becomes of its events that are not over. ``"all"``: what its rounds have
    scheduled under the old configuration is cancelled, and so are rounds of actions that it no
    longer has. ``"rounds"``: only the latter. ``"none"``: neither. Where the new configuration is
    refused, as by ``create``, nothing is changed.
    """
    if drop not in ("all", "rounds", "none"):
        raise ValueError(f"drop={drop!r} is none of 'all', 'rounds' and 'none'.")
    ids = _store(host, bot, "replace")
    for event in () if drop == "none" else _active(host, origin=bot.origin):
        if event.id not in ids and (drop == "all" or _is_round(event)):
            host.cancel(event.id, f"bot {bot.name!r} was reconfigured")
    return ids


def bots(host: BotHost) -> list[ActiveBot]:
    """The bots that are not archived, by name."""
    loaded = {one.event_type: one.loaded for one in host.event_types()}
    # A round's key is its action's name, so that none of the many other events is looked at.
    rounds: dict[str, list[ScheduledEvent]] = {}
    for event in _active(host, key=list(loaded)) if loaded else ():
        if _is_round(event):
            rounds.setdefault(event.arguments["bot"], []).append(event)
    return [_active_bot(name, rounds[name], loaded) for name in sorted(rounds)]


def _active_bot(
    name: str, rounds: Sequence[ScheduledEvent], loaded: Mapping[str, bool]
) -> ActiveBot:
    first = rounds[0]
    return ActiveBot(
        name=name,
        resources=first.arguments["resources"],
        actions=tuple((event.event_type, event.arguments.get("settings", {})) for event in rounds),
        schedule=first.schedule,
        filter=first.arguments.get("filter", {}),
        due=min((event.due for event in rounds if event.due is not None), default=None),
        paused=all(event.paused for event in rounds),
        waiting=tuple(event.event_type for event in rounds if not loaded.get(event.event_type)),
    )


def _store(host: BotHost, bot: Bot, on_conflict: Literal["error", "replace"]) -> Sequence[int]:
    with host.tracker(bot.origin) as tracker:
        for uid, settings in bot.actions:
            given = {"settings": settings} if settings else {}
            tracker.schedule(
                uid,
                {"bot": bot.name, "resources": bot.resources, "filter": bot.filter, **given},
                bot.schedule,
                key=uid,
                on_conflict=on_conflict,
                description=f"Round of bot {bot.name}.",
            )
    return tracker.ids


def _active(host: BotHost, **filters: Any) -> Iterator[ScheduledEvent]:
    """The events that are not over, a page at a time."""
    after: int | None = 0
    while after is not None:
        page = host.events(state=ACTIVE, after=after, **filters)
        yield from page
        after = page.next


def _is_round(event: ScheduledEvent) -> bool:
    """Whether this is a bot's own event, and none that one of its rounds has scheduled."""
    bot = event.arguments.get("bot")
    return event.key is not None and bot is not None and event.origin == origin_of(bot)
