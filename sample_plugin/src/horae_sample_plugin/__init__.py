"""HTTP uptime probes: a horae plugin to copy.

The event type, the bot action and the hooks are here; what the job does is in ``probe``, where it
can be used and tested without a host.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
from attrs.validators import deep_iterable, ge, gt, le, optional

from horae_hookspecs import (
    ActivationContext,
    BotFactoryRegistryWrapper,
    BotView,
    Resource,
    Retry,
    RunContext,
    ScheduledEventJob,
    ScheduledEventTracker,
    hookimpl,
)
from horae_sample_plugin import probe

LONGEST_TIMEOUT: Final = 300.0
"""The longest time limit of a probe, in seconds."""

events = BotFactoryRegistryWrapper()
sites: Final[list[Resource]] = []
"""What the plugin's settings name, while it is loaded."""


def _check_site(_settings: object, _field: object, site: Mapping[str, Any]) -> None:
    if not isinstance(site.get("url"), str):
        raise ValueError(f"a site needs a 'url', and {dict(site)!r} has none")
    probe.parse_url(site["url"])


@attrs.frozen
class Settings:
    """The plugin's settings: each site has a ``url`` and whatever fields bots choose it by."""

    sites: tuple[Mapping[str, Any], ...] = attrs.field(
        default=(), validator=deep_iterable(_check_site)
    )


def _check_url(_job: object, _field: "attrs.Attribute[str]", value: str) -> None:
    probe.parse_url(value)


# A probe is not tried again: its failure is the news, and the next occurrence asks anew. The
# type's timeout is there for what a probe cannot limit itself, such as a hanging name look-up.
@events.register(
    "sample.http_probe", version=1, retry=Retry(attempts=1), timeout=LONGEST_TIMEOUT + 60
)
@attrs.frozen
class HttpProbe(ScheduledEventJob):
    """Ask one URL for an answer; the run fails unless it is the expected one, and in time.

    ``timeout`` limits the whole request, ``latency_limit`` what still counts as healthy; both
    are in seconds.
    """

    url: str = attrs.field(validator=_check_url)
    expected_status: int = 200
    timeout: float = attrs.field(default=10.0, validator=[gt(0), le(LONGEST_TIMEOUT)])
    latency_limit: float | None = attrs.field(default=None, validator=optional(gt(0)))

    def run(self, context: RunContext) -> dict[str, Any]:
        """The answer's status and latency in seconds. Raises ProbeFailed on any other answer."""
        answer = probe.probe(self.url, timeout=self.timeout, headers=_headers(context))
        if complaint := self._complaint(answer):
            raise probe.ProbeFailed(self.url, complaint, answer.status, answer.latency)
        return {"url": self.url, "status": answer.status, "latency": answer.latency, "ok": True}

    def _complaint(self, answer: probe.Answer) -> str | None:
        if answer.status != self.expected_status:
            return f"expected status {self.expected_status}, got {answer.status}"
        limit = self.latency_limit
        if limit is not None and answer.latency > limit:
            return f"expected an answer within {limit:g} s, got one after {answer.latency:g} s"
        return None


@attrs.frozen
class ProbeSettings:
    """How a bot has its sites probed; the last two are those of ``HttpProbe``."""

    minutes: int = attrs.field(default=5, validator=ge(1))
    expected_status: int = 200
    timeout: float = attrs.field(default=10.0, validator=[gt(0), le(LONGEST_TIMEOUT)])


@events.action(
    "sample.action.probe_sites",
    name="Probe sites",
    description="Keep a recurring probe for each site that matches.",
    bulk_action=True,
    settings=ProbeSettings,
)
def probe_sites(bot: BotView, settings: ProbeSettings, matches: Sequence[Resource]) -> None:
    """One unit of work: probes for sites that are new, and none any more for those that have left.

    Each round says the same again. The key keeps a site's first probe in place, and
    ``cancel_missing`` cancels what the bot has pending for any site that is not named.
    """
    arguments = {"expected_status": settings.expected_status, "timeout": settings.timeout}
    with ScheduledEventTracker(bot.origin, cancel_missing=True) as tracker:
        for site in matches:
            tracker.schedule(
                "sample.http_probe",
                {"url": site.id, **arguments},
                f"every {settings.minutes}m",
                key=f"probe:{site.id}",
                resource=site.id,
                description=f"Probe {site.id} for bot {bot.name}.",
            )


@hookimpl
def horae_event_types() -> BotFactoryRegistryWrapper:
    """Contribute the event type and the bot action of this plugin."""
    return events


@hookimpl
def horae_settings() -> type[Settings]:
    """Have the settings checked when the plugin is loaded."""
    return Settings


@hookimpl
def horae_bot_resources(kind: str) -> list[Resource] | None:
    """The sites, for bots on resources of the kind ``site``."""
    return sites if kind == "site" else None


@hookimpl
def horae_activate(context: ActivationContext) -> None:
    """Name the sites in the settings, until the plugin is unloaded."""
    context.undo(sites.clear)
    sites.extend(Resource(site["url"], site) for site in context.settings.sites)


def _headers(context: RunContext) -> dict[str, str]:
    """What tells the probes of one event from all others in the server's log."""
    return {
        "User-Agent": "horae-sample-plugin",
        "Idempotency-Key": context.idempotency_key,
        "X-Horae-Event": str(context.event_id),
    }
