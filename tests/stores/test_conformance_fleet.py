"""What every store remembers of hosts, types and plugins; a part of the suite."""

import attrs
import pytest

from horae.stores.base import Store
from horae.stores.records import CatalogueEntry, PluginRow, Suspension
from horae_hookspecs import PluginState
from stores.samples import HOST, NOW, SECOND, a_host, add

ENTRY = CatalogueEntry("tide.mark", 1, "tides", "tides-plugin", "1.0", NOW, None)


def row(store: Store) -> PluginRow:
    """The only plugin that the store knows of."""
    (found,) = store.plugin_rows()
    return found


# -- hosts


def test_a_host_that_joined_is_on_record(store: Store) -> None:
    """Every field of it comes back."""
    host = a_host(event_types={"tide.mark": 2}, kinds=("once", "cron"), pid=7, identity="b/n/7/9")
    store.join(host)
    (found,) = store.hosts()
    assert attrs.evolve(found, kinds=tuple(found.kinds)) == host


def test_a_beat_renews_and_counts(store: Store) -> None:
    """The counter grows by one each time; time and what is loaded are the new ones."""
    store.join(a_host())
    for n in (1, 2, 3):
        assert store.beat(a_host(event_types={"moon.rise": n}, kinds=["cron"]), NOW + n)
    (found,) = store.hosts()
    assert (found.beat, found.beaten) == (3, NOW + 3)
    assert (dict(found.event_types), list(found.kinds)) == ({"moon.rise": 3}, ["cron"])


def test_a_beat_without_a_record_is_refused(store: Store) -> None:
    """False tells a host that it was declared dead; it is not put back."""
    assert not store.beat(a_host(), NOW)
    store.join(a_host())
    store.rescue(HOST, "gone", NOW)
    assert not store.beat(a_host(), NOW)
    assert store.hosts() == []


# -- catalogue


def test_what_was_published_is_remembered(store: Store) -> None:
    """By type name, also after the type was withdrawn."""
    other = attrs.evolve(ENTRY, event_type="moon.rise", distribution=None, version=None)
    store.publish([ENTRY, other])
    assert store.catalogue() == {"tide.mark": ENTRY, "moon.rise": other}
    store.withdraw(["tide.mark"], NOW + SECOND)
    assert store.catalogue()["tide.mark"] == attrs.evolve(ENTRY, withdrawn=NOW + SECOND)
    assert store.catalogue()["moon.rise"].withdrawn is None


def test_publishing_again_replaces(store: Store) -> None:
    """The latest provider is told; the type is back, and how long it was away is kept."""
    store.publish([ENTRY])
    store.withdraw(["tide.mark"], NOW + 1)
    newer = attrs.evolve(ENTRY, schema_version=2, version="2.0", published=NOW + 2)
    store.publish([newer])
    absence = {"absent_from": NOW + 1, "absent_until": NOW + 2}
    assert store.catalogue() == {"tide.mark": attrs.evolve(newer, **absence)}


def test_withdrawing_what_nobody_published_is_harmless(store: Store) -> None:
    """It leaves no trace, and what stands beside it is withdrawn all the same."""
    store.publish([ENTRY])
    store.withdraw(["never.seen", "tide.mark"], NOW)
    assert {name: entry.withdrawn for name, entry in store.catalogue().items()} == {
        "tide.mark": NOW
    }


def test_publishing_touches_no_event(store: Store) -> None:
    """Types come and go in the catalogue; what is pending stays as it is."""
    before = store.get(add(store))
    store.publish([ENTRY])
    store.withdraw(["tide.mark"], NOW)
    assert store.get(1) == before


# -- plugins


@pytest.mark.parametrize(
    ("action", "desired"),
    [("load", "loaded"), ("unload", "unloaded"), ("upgrade", "loaded"), ("resume", "loaded")],
)
def test_a_request_is_kept_for_its_host(store: Store, action: str, desired: str) -> None:
    """It says what shall be done, what is wanted afterwards, and that nobody did it yet."""
    assert store.request_plugin("tide", "acme", action, 2.5) == 1  # type: ignore[arg-type]
    found = row(store)
    assert (found.host, found.plugin, found.action, found.desired) == (
        "tide",
        "acme",
        action,
        desired,
    )
    assert (found.drain, found.requested, found.done) == (2.5, 1, 0)
    assert (found.state, found.ok, found.report) == (PluginState.DISCOVERED, True, None)


def test_an_answer_closes_its_request(store: Store) -> None:
    """Everything that the host reports is told, and the request counts as done."""
    number = store.request_plugin("tide", "acme", "load", include_dependents=True)
    assert row(store).include_dependents
    answer = attrs.evolve(
        row(store),
        done=number,
        state=PluginState.ACTIVE,
        reason="why not",
        distribution="acme-plugin",
        version="1.0",
        generation=3,
        event_types=("acme.ping",),
        report={"finished": 1},
        ok=False,
        settings_schema={"type": "object"},
        record="5e1f",
        suspended=Suspension("1.0", {"acme.ping": "it crashes"}),
    )
    store.report_plugin(answer)
    found = row(store)
    assert attrs.evolve(found, event_types=tuple(found.event_types)) == answer


def test_a_newer_request_stays_open(store: Store) -> None:
    """A request that came while the last one was carried out is not closed by its answer."""
    store.request_plugin("tide", "acme", "load")
    seen = row(store)
    store.request_plugin("tide", "acme", "unload", 9.0)
    store.report_plugin(attrs.evolve(seen, done=seen.requested, state=PluginState.ACTIVE))
    found = row(store)
    assert (found.requested, found.done) == (2, 1)
    assert (found.desired, found.action, found.drain) == ("unloaded", "unload", 9.0)
    assert found.state is PluginState.ACTIVE


def test_request_numbers_grow_over_answers(store: Store) -> None:
    """An answer never makes a later request look done already."""
    first = store.request_plugin("tide", "acme", "load")
    store.report_plugin(PluginRow(host="tide", plugin="acme", done=first))
    assert store.request_plugin("tide", "acme", "upgrade") == first + 1
    assert row(store).requested > row(store).done


def test_a_report_without_a_request_is_kept(store: Store) -> None:
    """What the application itself did stands there for the next start, with nothing open."""
    store.report_plugin(PluginRow(host="tide", plugin="acme", state=PluginState.ACTIVE))
    found = row(store)
    assert (found.desired, found.state) == ("loaded", PluginState.ACTIVE)
    assert found.requested == found.done == 0
    store.report_plugin(attrs.evolve(found, desired="unloaded", state=PluginState.UNLOADED))
    assert (row(store).desired, row(store).state) == ("unloaded", PluginState.UNLOADED)


def test_plugins_are_listed_by_name_and_host(store: Store) -> None:
    """Of one host, or of all; each host has requests of its own."""
    for host, plugin in [("tide", "moon"), ("tide", "acme"), ("pier", "moon")]:
        assert store.request_plugin(host, plugin, "load") == 1
    assert [(one.plugin, one.host) for one in store.plugin_rows()] == [
        ("acme", "tide"),
        ("moon", "pier"),
        ("moon", "tide"),
    ]
    assert [one.plugin for one in store.plugin_rows("tide")] == ["acme", "moon"]
    assert store.plugin_rows("nobody") == []
