"""Which distributions may bring plugins: one decision, on every path that takes code in."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from horae import Host, PluginBlocked, PluginLoadFailed, Settings, SettingsError, Trust
from horae.plugins import trust
from horae_hookspecs import PluginState
from kit.hosts import answer_of, plugin_of, until
from kit.sites import Site, answering, plugin
from kit.wheels import build_wheel, unpack

DIGEST = "0" * 64

# policy, version that is asked about, what the deciding rule is; with "not", it denies
DECISIONS: Mapping[str, tuple[Trust, str | None, str]] = {
    "nothing is said": (Trust(), "1.0", "trust.default"),
    "denied by default": (Trust(default="deny"), "1.0", "not trust.default"),
    "on the list": (Trust(allow=["acme-plugin"]), "1.0", "trust.allow has 'acme-plugin'"),
    "in another spelling": (Trust(allow=["Acme_Plugin"]), "1.0", "trust.allow has 'Acme_Plugin'"),
    "another is on the list": (Trust(allow=["other"]), "1.0", "not trust.allow"),
    "an empty list": (Trust(allow=[]), "1.0", "not trust.allow"),
    "on the list in time": (Trust(allow=["acme-plugin>=2"]), "2.1", "trust.allow has"),
    "on the list too late": (Trust(allow=["acme-plugin>=2"]), "1.9", "not trust.allow"),
    "listed, version unknown": (Trust(allow=["acme-plugin>=2"]), None, "trust.allow has"),
    "blocked": (Trust(block={"acme-plugin": "bad"}), "1.0", "not trust.block['acme-plugin']"),
    "blocked and listed": (
        Trust(allow=["acme-plugin"], block={"acme-plugin<2": "bad"}),
        "1.0",
        "not trust.block['acme-plugin<2']",
    ),
    "another version blocked": (Trust(block={"acme-plugin<2": "bad"}), "2.0", "trust.default"),
    "a pre-release of it blocked": (
        Trust(block={"acme-plugin<2": "bad"}),
        "1.5rc1",
        "not trust.block['acme-plugin<2']",
    ),
    "some version blocked": (Trust(block={"acme-plugin<2": "bad"}), None, "trust.default"),
    "blocked, version unknown": (Trust(block={"acme-plugin": "bad"}), None, "not trust.block"),
    "pinned": (Trust(pins={"acme-plugin==1.0": DIGEST}), "1.0", "trust.pins['acme-plugin==1.0']"),
    "pinned with its algorithm": (
        Trust(pins={"acme-plugin==1.0": f"sha256:{DIGEST}"}),
        "1.0",
        "trust.pins['acme-plugin==1.0']",
    ),
    "pinned, all else denied": (
        Trust(pins={"acme-plugin==1.0": DIGEST}, default="deny"),
        "1.0",
        "trust.pins['acme-plugin==1.0']",
    ),
    "pinned to other contents": (
        Trust(pins={"acme-plugin==1.0": "1" * 64}),
        "1.0",
        "not trust.pins['acme-plugin==1.0']",
    ),
    "pinned to another version": (
        Trust(pins={"acme-plugin==1.0": DIGEST}),
        "1.1",
        "not trust.pins",
    ),
    "pinned in two versions": (
        Trust(pins={"acme-plugin==1.0": "1" * 64, "acme-plugin==1.1": DIGEST}),
        "1.1",
        "trust.pins['acme-plugin==1.1']",
    ),
    "pinned and blocked": (
        Trust(pins={"acme-plugin==1.0": DIGEST}, block={"acme-plugin": "bad"}),
        "1.0",
        "not trust.block",
    ),
    "pinned, version unknown": (
        Trust(pins={"acme-plugin==1.0": DIGEST}),
        None,
        "trust.pins['acme-plugin==1.0']",
    ),
}


@pytest.mark.parametrize("case", DECISIONS)
def test_one_rule_decides_and_is_named(case: str) -> None:
    """Block list, pins, allow list, default: the first that knows the distribution decides."""
    policy, version, expected = DECISIONS[case]
    decision = trust.decide(policy, "acme-plugin", version, DIGEST)
    assert decision.allowed == (not expected.startswith("not "))
    assert decision.by.startswith(expected.removeprefix("not "))
    assert decision.by.endswith("in Settings(trust=...)")


def test_what_came_with_horae_is_on_no_list() -> None:
    """A host without schedules would be none, so its own part needs no rule."""
    nothing = Trust(default="deny", block={"horae-builtin-plugins": "?"})
    assert trust.decide(nothing, "horae_builtin_plugins", "1.0", None).allowed


@pytest.mark.parametrize(
    "wrong",
    [
        {"allow": ["acme plugin"]},
        {"allow": ["acme; python_version > '3'"]},
        {"allow": ["acme[extra]"]},
        {"block": {"": "?"}},
        {"block": {"acme": 5}},
        {"pins": {"acme": DIGEST}},
        {"pins": {"acme>=1": DIGEST}},
        {"pins": {"acme==1.*": DIGEST}},
        {"pins": {"acme==1.0": "5"}},
        {"default": "maybe"},
        {"allow": ["acme"], "default": "allow"},
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """A rule that could never hold, or that would hold for too much, is an error at once."""
    with pytest.raises(SettingsError, match="trust"):
        Trust(**wrong)


@pytest.fixture
def blocking(site: Site, host_on: Callable[..., Host]) -> Host:
    """A started host that blocks version 2 of acme."""
    block = {"acme-plugin==2.*": "it loses events"}
    return host_on(name="test", trust=Trust(block=block, source="horae.toml")).start()


NOTED = f"import journal; journal.lines.append('imported')\n{answering(2)}"


def test_a_blocked_plugin_is_not_imported_and_the_refusal_says_who_decided(
    blocking: Host, site: Site, journal: Any
) -> None:
    """Nothing of it runs; the state, the rule, its place and the way out are told."""
    site.install(NOTED, version="2.0")
    with pytest.raises(PluginBlocked) as caught:
        blocking.load_plugin("acme")
    assert journal.lines == []
    assert site.modules() == set()
    error = caught.value
    assert (error.phase, error.distribution) == ("trust", "acme-plugin")
    assert error.by == "trust.block['acme-plugin==2.*'], in horae.toml"
    assert "it loses events; take that rule out to change it" in str(error)
    info = plugin_of(blocking)
    assert (info.state, info.phase, info.reason) == (PluginState.BLOCKED, "trust", str(error))
    site.install(answering(1))
    assert blocking.load_plugin("acme").state is PluginState.ACTIVE


def test_an_upgrade_to_a_blocked_version_leaves_the_old_one(
    blocking: Host, site: Site, journal: Any
) -> None:
    """The old version answers; that of the disk was not imported."""
    site.install(answering(1))
    blocking.load_plugin("acme")
    site.install(NOTED, version="2.0")
    with pytest.raises(PluginBlocked):
        blocking.upgrade_plugin("acme")
    assert journal.lines == []
    assert answer_of(blocking) == 1
    info = plugin_of(blocking)
    assert (info.state, info.version) == (PluginState.ACTIVE, "1.0")
    assert "still 1.0" in str(info.reason)


def test_a_wanted_plugin_that_is_blocked_by_now_stays_out_at_the_next_start(
    site: Site, host_on: Callable[..., Host]
) -> None:
    """It is shown as blocked; the host and its other plugins start."""
    site.install(answering(1))
    site.install(answering(3, "other.ask"), plugin="other")
    with host_on(name="test") as host:
        host.load_plugin("acme")
        host.load_plugin("other")
    with host_on(name="test", trust=Trust(allow=["other-plugin"])) as host:
        assert plugin_of(host).state is PluginState.BLOCKED
        assert answer_of(host, "other.ask") == 3


def test_what_is_denied_is_not_loaded_by_autoload(site: Site, host_on: Callable[..., Host]) -> None:
    """Deny by default holds for whatever is merely installed."""
    site.install(answering(1))
    with host_on(name="test", autoload=True, trust=Trust(default="deny")) as host:
        assert plugin_of(host).state is PluginState.BLOCKED
        assert host.schedule("acme.ask", allow_unknown=True).id


def test_an_applications_own_plugin_is_no_distributions(
    host_on: Callable[..., Host], journal: Any
) -> None:
    """What the application hands over is its own code: it is on no list."""
    with host_on(name="test", trust=Trust(default="deny")) as host:
        assert host.load_plugin(journal).state is PluginState.ACTIVE


# -- pins


def test_a_pin_holds_for_the_wheel_and_for_what_any_installer_makes_of_it(
    site: Site, tmp_path: Path
) -> None:
    """The digest of a wheel is that of its contents on disk, with bytecode and all beside them."""
    files = {"acme_plugin.py": "x = 1\n", "acme_plugin-1.0.data/scripts/acme": "#!python\n"}
    wheel = build_wheel(tmp_path / "built", "acme-plugin", "1.0", files, {"acme": "acme"})
    unpack(wheel, site.folder)
    info = site.folder / "acme_plugin-1.0.dist-info"
    (info / "INSTALLER").write_text("pip\n")
    lines = (info / "RECORD").read_text().splitlines(keepends=True)
    (info / "RECORD").write_text("".join(line for line in lines if ".data/" not in line))
    with (info / "RECORD").open("a") as record:
        record.write("acme_plugin-1.0.dist-info/INSTALLER,sha256=zu,4\n")
        record.write("acme_plugin-1.0.dist-info/REQUESTED,sha256=47,0\n")
        record.write("__pycache__/acme_plugin.cpython-311.pyc,,\n../../../bin/acme,sha256=x,5\n")
    assert trust.contents_of("acme-plugin") == trust.contents_of_wheel(wheel)


def test_a_pinned_plugin_is_loaded_as_long_as_its_files_are_the_same(
    site: Site, host_on: Callable[..., Host]
) -> None:
    """A file that was changed after the installation is found, RECORD or not."""
    site.install(answering(1))
    pinned = Trust(pins={"acme-plugin==1.0": trust.contents_of("acme-plugin")})
    with host_on(name="test", trust=pinned) as host:
        host.load_plugin("acme")
        host.unload_plugin("acme")
        source = site.folder / "acme_plugin" / "__init__.py"
        source.write_text(source.read_text() + "# changed\n")
        with pytest.raises(PluginBlocked, match="are not those of its RECORD"):
            host.load_plugin("acme")
        site.install(answering(2))
        with pytest.raises(PluginBlocked, match="have the SHA-256"):
            host.load_plugin("acme")


def test_an_event_of_a_pinned_type_runs_in_a_child_process_while_its_files_are_the_same(
    site: Site, host_on: Callable[..., Host], logs: list[Any]
) -> None:
    """The child imports what the host was allowed to, and nothing else."""
    site.install(plugin("@events.register('acme.ask', executor='process')\ndef a(c): return 1\n"))
    pinned = Trust(pins={"acme-plugin==1.0": trust.contents_of("acme-plugin")}, default="deny")
    with host_on(name="test", trust=pinned) as host:
        host.load_plugin("acme")
        assert answer_of(host) == 1
    source = site.folder / "acme_plugin" / "__init__.py"
    with host_on(name="test", trust=pinned) as host:
        source.write_text(source.read_text().replace("return 1", "return 2"))
        event = host.schedule("acme.ask")
        until(lambda: [one for one in logs if "its files have changed" in str(one)])
        assert not [run for run in host.runs(event_id=event.id) if run.result == 2]


def test_what_is_denied_is_shown_before_anybody_loads_it(
    site: Site, host_on: Callable[..., Host]
) -> None:
    """Among what is installed, with the rule."""
    site.install(answering(1))
    host = host_on(name="test", trust=Trust(default="deny"))
    (info,) = [info for info in host.discover() if info.name == "acme"]
    assert info.state is PluginState.BLOCKED
    assert "trust.default" in str(info.reason)


def test_events_that_wait_for_a_blocked_plugin_say_so(
    site: Site, host_on: Callable[..., Host]
) -> None:
    """The reason names the rule, so that nobody looks for a fault in the plugin."""
    site.install(answering(1))
    with host_on(name="test") as host:
        host.load_plugin("acme")
    with host_on(name="test", trust=Trust(block={"acme-plugin": "it lies"})) as host:
        host.schedule("acme.ask")
        (waiting,) = host.waiting()
    assert "trust.block['acme-plugin']" in waiting.reason
    assert "it lies" in waiting.reason


def test_a_refusal_is_never_late(site: Site, host_on: Callable[..., Host], journal: Any) -> None:
    """However many ask at once, none gets past the decision."""
    site.install(NOTED)
    host = host_on(name="test", trust=Trust(default="deny")).start()

    def ask() -> None:
        with pytest.raises(PluginLoadFailed):
            host.load_plugin("acme")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.lines == []


def test_settings_take_a_trust_alone() -> None:
    """A mapping in its place would be looked into by nobody."""
    with pytest.raises(TypeError):
        Settings(trust={"default": "deny"})  # type: ignore[arg-type]
