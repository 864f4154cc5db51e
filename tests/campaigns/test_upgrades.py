"""Upgrade after upgrade under load: every run is of one version, and no old one stays."""

import gc
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from horae import Host, SystemClock
from horae_hookspecs import Outcome, Run
from kit.sites import Site, plugin

UPGRADES = 300 if "HORAE_CAMPAIGN" in os.environ else 30
WORKERS = 3
BUSY = 3 * WORKERS
"""How many events there are to be run at any moment, so that none of the threads is idle."""

HEAD = plugin("""
    import time
    import acme_plugin.part
    VERSION = {version!r}
    over = []

    @events.register("tide.mark")
    def mark(context):
        time.sleep(0.002)  # so that upgrades find runs under way
        assert not over, "code that was taken down is called"
        return [VERSION, acme_plugin.part.VERSION]

    @hookimpl
    def horae_deactivate(context):
        over.append(True)
""")


def install(site: Site, number: int) -> str:
    """Put another version of the plugin on disk, each of whose modules knows which it is."""
    version = f"{number}.0"
    site.install(
        {
            "acme_plugin/__init__.py": HEAD.format(version=version),
            "acme_plugin/part.py": f"VERSION = {version!r}\n",
        },
        version=version,
    )
    return version


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """With the plugin's first version installed."""
    site = Site(tmp_path / "site")
    install(site, 1)
    yield site
    site.close()


@pytest.fixture
def host(host_on: Callable[..., Host], site: Site, tmp_path: Path) -> Host:
    """With the plugin loaded, and three threads to run it."""
    url = f"sqlite:///{tmp_path}/events.db?synchronous=NORMAL"
    host = host_on(url=url, clock=SystemClock(), workers=WORKERS).start()
    host.load_plugin("acme")
    return host


def keep_busy(host: Host, stop: threading.Event) -> None:
    """Schedule the next events whenever few are left."""
    while not stop.is_set():
        ids = host.schedule_many([{"event_type": "tide.mark"}] * BUSY)
        host.wait(ids[BUSY // 3])


def all_runs(host: Host) -> Iterator[Run]:
    """Every run on record."""
    after: int | None = 0
    while after is not None:
        page = host.runs(limit=1000, after=after)
        yield from page
        after = page.next


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_upgrades_under_load(host: Host, site: Site) -> None:
    """No result of two versions, no call into code that was taken down, no event run twice or not
    at all, and as many objects after the last upgrade as after the first ones.
    """
    stop = threading.Event()
    busy = threading.Thread(target=keep_busy, args=(host, stop))
    busy.start()
    objects: list[int] = []
    try:
        for number in range(2, UPGRADES + 2):
            version = install(site, number)
            assert host.upgrade_plugin("acme").version == version
            if number % (UPGRADES // 10) == 0:
                gc.collect()
                objects.append(len(gc.get_objects()))
    finally:
        stop.set()
        busy.join()
    host.run_until_idle(30)
    ended = Counter[int]()
    for run in all_runs(host):
        if run.outcome is Outcome.RETURNED:
            continue
        assert run.outcome is Outcome.SUCCEEDED, run.error
        assert run.result == [run.version] * 2
        ended[run.event_id] += 1
    assert set(ended.values()) == {1}
    assert len(ended) == host.events(limit=1).total
    assert len({run.version for run in all_runs(host)}) > UPGRADES / 2
    # A generation that stayed would be some hundreds of objects, for every upgrade.
    assert objects[-1] - objects[len(objects) // 2] < 20 * UPGRADES // 2, objects
