"""The bot action without a host: what it schedules for which sites, and where those come from."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

import horae_sample_plugin
from horae_hookspecs import ActivationContext, BotView, Resource
from horae_sample_plugin import (
    ProbeSettings,
    Settings,
    horae_activate,
    horae_bot_resources,
    probe_sites,
)


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is scheduled, by a stand-in for the tracker that only a run has."""
    calls: list[tuple[Any, ...]] = []

    @contextmanager
    def tracker(*arguments: object, **options: object) -> Iterator[SimpleNamespace]:
        calls.append((arguments, options))
        yield SimpleNamespace(schedule=lambda *given, **more: calls.append((given, more)))

    monkeypatch.setattr(horae_sample_plugin, "ScheduledEventTracker", tracker)
    return calls


def activate(settings: Settings) -> list[Any]:
    """Load the plugin with these settings; what is to be done at its unload."""
    undo: list[Any] = []
    context = SimpleNamespace(settings=settings, undo=undo.append)
    horae_activate(cast(ActivationContext, context))
    return undo


def test_each_match_is_kept_a_probe(scheduled: list[tuple[Any, ...]]) -> None:
    """In one unit that cancels what is missing, under a key that makes the next round no second."""
    probe_sites(BotView("shop"), ProbeSettings(minutes=7, timeout=2.0), [Resource("http://a/")])
    assert scheduled == [
        (("bot:shop",), {"cancel_missing": True}),
        (
            (
                "sample.http_probe",
                {"url": "http://a/", "expected_status": 200, "timeout": 2.0},
                "every 7m",
            ),
            {
                "key": "probe:http://a/",
                "resource": "http://a/",
                "description": "Probe http://a/ for bot shop.",
            },
        ),
    ]


def test_no_match_is_told_too(scheduled: list[tuple[Any, ...]]) -> None:
    """An empty unit is what cancels the last probes."""
    probe_sites(BotView("shop"), ProbeSettings(), [])
    assert scheduled == [(("bot:shop",), {"cancel_missing": True})]


@pytest.mark.parametrize("settings", [{"minutes": 0}, {"timeout": 0.0}, {"timeout": 1000.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    """By the class, and so when the bot is made."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        ProbeSettings(**settings)


def test_sites_come_from_the_settings() -> None:
    """With all their fields, until the plugin is unloaded; other kinds are none of ours."""
    [undo] = activate(Settings(sites=({"url": "http://a/", "team": "web"},)))
    assert horae_bot_resources("site") == [
        Resource("http://a/", {"url": "http://a/", "team": "web"})
    ]
    assert horae_bot_resources("machine") is None
    undo()
    assert horae_bot_resources("site") == []


def test_a_site_that_cannot_be_probed_is_refused_in_the_settings() -> None:
    """And so fails the load, rather than each of its probes."""
    with pytest.raises(ValueError, match="cannot be probed"):
        Settings(sites=({"url": "ftp://a/"},))
    with pytest.raises(ValueError, match="needs a 'url'"):
        Settings(sites=({"team": "web"},))
