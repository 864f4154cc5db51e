"""``horae.testing``: a host whose time the test moves, and what can be asserted of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from horae import SettableClock
from horae.testing import (
    PluginHost,
    assert_failed,
    assert_nothing_scheduled,
    assert_scheduled,
    assert_succeeded,
)
from horae_hookspecs import Outcome
from kit.sites import Site, plugin

SOURCE = """
    @events.register("acme.ask", retry=Retry(attempts=3, first=timedelta(minutes=1), jitter=0))
    def ask(context, fail: bool = False):
        if fail:
            raise ValueError("no answer")
        return context.occurrence.isoformat()

    @events.register("acme.first")
    def first(context):
        context.schedule("acme.ask", None, timedelta(minutes=5), resource="r")
"""


@pytest.fixture
def host(tmp_path: Path, site: Site) -> Iterator[PluginHost]:
    """The host of the fixture ``horae_host``, with a plugin."""
    site.install("from datetime import timedelta\n" + plugin(SOURCE))
    with PluginHost(tmp_path) as host:
        host.load_plugin("acme")
        yield host


def test_every_occurrence_gets_its_run_at_its_time(host: PluginHost) -> None:
    """The clock stops where something is due, and stands where it was to go at the end."""
    host.schedule("acme.ask", schedule="every 20m")
    began = host.clock.now()
    runs = host.run_due(timedelta(hours=1))
    assert assert_succeeded(*runs) == [
        (began + timedelta(minutes=minutes)).isoformat() for minutes in (20, 40, 60)
    ]
    assert host.clock.now() == began + timedelta(hours=1)
    assert host.run_due() == []
    assert len(host.run_due(1200.0)) == 1


def test_retries_run_at_their_time_too(host: PluginHost) -> None:
    """One minute after the first failure, two after the second."""
    host.schedule("acme.ask", {"fail": True})
    runs = host.run_due(timedelta(minutes=5))
    assert [run.attempt for run in runs] == [1, 2, 3]
    assert runs[2].started - runs[0].started == timedelta(minutes=3)
    assert "ValueError: no answer" in assert_failed(runs[2], "no ans")


def test_follow_ups_are_asserted_by_their_fields(host: PluginHost) -> None:
    """Some of the arguments will do; what there is instead is shown."""
    host.schedule("acme.first")
    assert_succeeded(*host.run_due())
    due = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
    event = assert_scheduled(host, "acme.ask", resource="r", due=due, arguments={})
    assert event.event_type == "acme.ask"
    assert_nothing_scheduled(host, "acme.first")
    with pytest.raises(AssertionError, match=r"(?s)0 pending events are .*acme\.ask \{\} due"):
        assert_scheduled(host, "acme.ask", resource="other")
    with pytest.raises(AssertionError, match=r"acme\.ask"):
        assert_nothing_scheduled(host)


def test_what_waits_for_its_type_holds_nobody_up(host: PluginHost) -> None:
    """It is overdue for ever, and the others run at their times."""
    host.schedule("other.type", allow_unknown=True)
    host.schedule("acme.ask", schedule="every 20m")
    assert len(host.run_due(timedelta(hours=1))) == 3


def test_an_endless_row_of_instants_is_told(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test must come to its end."""
    monkeypatch.setattr("horae.testing.host.MOST", 3)
    host.schedule("acme.ask", schedule="every 1s")
    with pytest.raises(AssertionError, match="More than 3 instants"):
        host.run_due(timedelta(hours=1))


def test_an_assertion_on_runs_shows_what_they_did(host: PluginHost) -> None:
    """The outcome, and the error with its text."""
    host.schedule("acme.ask", {"fail": True})
    (run,) = host.run_due()
    assert run.outcome is Outcome.FAILED
    with pytest.raises(AssertionError, match=r"(?s)acme\.ask.*failed.*no answer"):
        assert_succeeded(run)
    with pytest.raises(AssertionError, match="'else' is not found"):
        assert_failed(run, "else")
    with pytest.raises(AssertionError, match="no run"):
        assert_succeeded()


def test_modules_stay_when_the_host_is_closed_and_go_with_an_unload(
    tmp_path: Path, site: Site, clock: SettableClock
) -> None:
    """A test that has imported from the plugin has the very classes that the next host loads."""
    site.install(
        plugin(
            "@events.register('acme.ask')\n@attrs.frozen\nclass Ask:\n"
            "    def run(self, context):\n        return 1"
        )
    )
    with PluginHost(tmp_path, clock=clock) as host:
        host.load_plugin("acme")
    import acme_plugin

    with PluginHost(tmp_path, clock=clock) as host:
        host.load_plugin("acme")
        host.schedule(acme_plugin.Ask())
        assert assert_succeeded(*host.run_due()) == [1]
        del acme_plugin
        assert host.unload_plugin("acme").collected
    assert site.modules() == set()
