"""The sample plugin's bot action on a host: what its README says."""

from collections.abc import Callable
from datetime import timedelta

from horae import Host, SettableClock
from horae_builtin_plugins import bots
from horae_hookspecs import State
from kit.events import LONG

HOUR = timedelta(hours=1)


def test_a_bot_keeps_a_probe_for_each_site(
    host_on: Callable[..., Host], clock: SettableClock
) -> None:
    """One for each that matches, also after the next round, and none once the bot wants no more."""
    sites = [{"url": f"http://127.0.0.1:1/{team}", "team": team} for team in ("shop", "web")]
    host = host_on(plugins={"sample": {"sites": sites}})
    host.load_plugin("sample")
    bot = bots.Bot(
        name="shop",
        resources="site",
        filter={"team": "shop"},
        actions=[("sample.action.probe_sites", {"minutes": 6000})],
        schedule="every 1h",
    )
    bots.create(host, bot)
    for _ in range(2):
        clock.advance(HOUR)
        host.run_until_idle(timeout=LONG)
    (probe,) = host.events(event_type="sample.http_probe")
    assert (probe.resource, probe.state) == ("http://127.0.0.1:1/shop", State.PENDING)
    assert host.runs(event_type="sample.action.probe_sites").items[-1].result == {
        "matches": 1,
        "non_matches": 1,
    }
    bots.archive(host, "shop")
    assert [event.state for event in host.events()] == [State.CANCELLED] * 2
