"""What a full disk, a damaged file, kill -9, rivals and forks do to the store: nothing is lost."""

import json
import random
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from horae import Host, StoreCorrupt, StoreFull
from horae_hookspecs import Outcome, RunContext, State
from stores import scripts
from stores.samples import an_event

SETTINGS = ["FULL", "NORMAL"]
LARGE = {"text": "x" * 20_000}


def fill(host: Host) -> list[int]:
    """Schedule until the store is full; the ids of what was stored."""
    ids = []
    for _ in range(10_000):
        try:
            ids.append(host.schedule("tide.mark", LARGE, "in 1h", allow_unknown=True).id)
        except StoreFull:
            return ids
    raise AssertionError("the store never was full")


def stored(path: Path) -> set[int]:
    """The ids that another connection finds in the file, which must be in order."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {row[0] for row in connection.execute("SELECT id FROM horae_event")}


# -- a full disk


def test_a_full_store_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    """schedule() raises StoreFull; all that was stored before is there."""
    path = tmp_path / "events.db"
    host = Host(f"sqlite:///{path}?max_page_count=100")
    ids = fill(host)
    with pytest.raises(StoreFull, match="nothing that was stored is lost; free space"):
        host.schedule_many([{"event_type": "tide.mark", "arguments": LARGE, "allow_unknown": True}])
    assert [event.id for event in host.events()] == ids
    host.close()
    assert stored(path) == set(ids)


def test_a_full_store_takes_many_events_or_none(tmp_path: Path) -> None:
    """When the space ends in the middle of schedule_many, none of it is stored."""
    host = Host(f"sqlite:///{tmp_path}/events.db?max_page_count=100")
    request = {"event_type": "tide.mark", "arguments": LARGE, "allow_unknown": True}
    with pytest.raises(StoreFull):
        host.schedule_many([request] * 500)
    assert host.events().total == 0
    host.schedule_many([request])
    assert host.events().total == 1
    host.close()


@pytest.fixture
def ballast(tmp_path: Path) -> Iterator[Callable[[bool], None]]:
    """Takes all the space that max_page_count=120 leaves in events.db, or gives it back."""
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:

        def load(full: bool) -> None:
            connection.execute("DROP TABLE IF EXISTS ballast")
            if full:
                connection.execute("CREATE TABLE ballast (weight BLOB)")
                connection.execute("INSERT INTO ballast VALUES (zeroblob(120 * 4096))")
            connection.commit()

        yield load


def test_a_running_host_keeps_outcomes_until_there_is_space(
    tmp_path: Path,
    host_on: Callable[..., Host],
    ballast: Callable[[bool], None],
    logs: list[MutableMapping[str, Any]],
) -> None:
    """On a full disk settles are kept and retried, and nothing more is claimed meanwhile."""
    host = host_on(url=f"sqlite:///{tmp_path}/events.db?max_page_count=120", workers=1)
    begun, ended = threading.Event(), threading.Event()

    @host.register("tide.measure")
    def measure(context: RunContext) -> object:
        begun.set()
        ended.wait(30)
        return LARGE

    with host:
        first, second = host.schedule("tide.measure"), host.schedule("tide.measure")
        assert begun.wait(10)
        ballast(True)
        with pytest.raises(StoreFull):
            host.schedule("tide.measure", schedule="in 1h", description="x" * 20_000)
        ended.set()
        refused = scripts.eventually(
            lambda: [log for log in logs if log["event"] == "engine.refused"][1:]
        )
        assert refused[-1]["kept"] == 1
        unsettled = host.store.last_run(first.id)
        assert unsettled is not None
        assert unsettled.outcome is None
        assert host.runs(event_id=second.id).total == 0
        ballast(False)
        for event in (first, second):
            run = host.wait(event.id, timeout=20)
            assert run is not None
            assert (run.claim, run.outcome, run.result) == (1, Outcome.SUCCEEDED, LARGE)


SMALL_DISK = """
import json, os, sys
from horae import Host, StoreFull

folder = sys.argv[1]
host = Host(f"sqlite:///{folder}/events.db")

def fill():
    ids = []
    try:
        while len(ids) < 1000:
            ids.append(host.schedule("tide.mark", {"x": "x" * 9000}, allow_unknown=True).id)
    except StoreFull:
        return ids

with open(f"{folder}/ballast", "wb") as ballast:
    ballast.write(bytes(400_000))
before = fill()
os.remove(f"{folder}/ballast")
after = fill()
found = [event.id for event in host.events(limit=10_000)]
print(json.dumps([before, after, found, host.store.check()]))
"""


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """On a file system without space, and after space was made, every event is accounted for."""
    mount = f"mount -t tmpfs -o size=2m tmpfs '{tmp_path}'"
    namespace = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    try:
        subprocess.run([*namespace, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a small file system takes root and unshare: {error}")
    before, after, found, damage = json.loads(scripts.run(SMALL_DISK, tmp_path, prefix=namespace))
    assert before
    assert after
    assert found == before + after
    assert damage == []


# -- a damaged file

SERVING = """
import sys
from horae import Host

host = Host(sys.argv[1])
host.register("tide.mark")(lambda context, text: None)
host.start()
print(host.id, flush=True)
host.run_forever()
"""


def test_damage_under_a_running_host_ends_it_with_an_error(tmp_path: Path) -> None:
    """run_forever raises StoreCorrupt, so the process exits non-zero; the file is not remade."""
    path = tmp_path / "events.db"
    with closing(Host(f"sqlite:///{path}")) as client:
        for _ in range(50):
            client.schedule("tide.mark", LARGE, "in 2s", allow_unknown=True)
    pages = path.stat().st_size // 4096
    with scripts.started(SERVING, f"sqlite:///{path}") as process:
        assert scripts.line(process)
        with path.open("r+b") as file:
            file.seek(4096 * 40)
            file.write(b"\xa5" * 4096 * (pages - 40))
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "StoreCorrupt" in said
    assert "restore it from a backup" in said
    content = path.read_bytes()
    assert content[4096 * 40 : 4096 * pages] == b"\xa5" * 4096 * (pages - 40)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT max(version) FROM horae_schema").fetchone()[0] >= 1


def test_damage_is_found_by_check_and_by_readers(tmp_path: Path) -> None:
    """A client that meets a broken page says so, and leaves the page."""
    path = tmp_path / "events.db"
    with closing(Host(f"sqlite:///{path}")) as client:
        fine = client.schedule("tide.mark", allow_unknown=True)
        for _ in range(50):
            client.schedule("tide.mark", LARGE, allow_unknown=True)
    size = path.stat().st_size
    broken = path.read_bytes()[: 4096 * 60] + b"\xa5" * (size - 4096 * 60)
    path.write_bytes(broken)
    with closing(Host(f"sqlite:///{path}")) as client:
        assert client.store.check()
        with pytest.raises(StoreCorrupt, match=r"events\.db is damaged"):
            client.events(limit=1000)
        assert client.get(fine.id) == fine
    assert path.read_bytes() == broken


# -- kill -9

SCHEDULING = """
import sys
from horae import Host

with Host(sys.argv[1]) as host:
    host.register("tide.mark")(lambda context: None)
    while True:
        print(host.schedule("tide.mark").id, flush=True)
"""


@pytest.mark.parametrize("synchronous", SETTINGS)
def test_kill_9_loses_nothing(tmp_path: Path, synchronous: str) -> None:
    """Whenever it strikes, every event whose schedule() had returned is there and runs once."""
    path = tmp_path / "events.db"
    url = f"sqlite:///{path}?synchronous={synchronous}"
    promised: set[int] = set()
    for _ in range(3):
        with scripts.started(SCHEDULING, url) as process:
            for _ in range(random.randint(1, 120)):
                promised.add(int(scripts.line(process)))
            process.kill()
            said, _ = process.communicate(timeout=10)
            promised |= {
                int(number) for number in said.splitlines(keepends=True) if number[-1] == "\n"
            }
    assert promised <= stored(path)
    with Host(url) as survivor:
        survivor.register("tide.mark")(lambda context: None)
        # One that was struck twice waits a moment for its last chance.
        while survivor.events(state=[State.PENDING, State.RUNNING], limit=1).total:
            survivor.run_until_idle(timeout=30)
        finished = {event.id for event in survivor.events(state=State.FINISHED, limit=10_000)}
        successes = [run.event_id for run in survivor.runs(outcome="succeeded", limit=10_000)]
        assert promised <= finished
        assert len(successes) == len(set(successes))
        assert survivor.runs(outcome=None).total == 0


# -- rivals

CLAIMING = """
import sys
from stores.samples import a_host, claim, settled
from horae.stores.factory import create_store

store = create_store(sys.argv[1])
store.open()
store.join(a_host(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
while claims := claim(store, limit=4, host=sys.argv[2]):
    assert store.settle([settled(one) for one in claims]) == set()
    print(*[one.event_id for one in claims], flush=True)
"""


def test_processes_share_the_events_out_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four processes that claim and settle at once never get the same event."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    url = f"sqlite:///{tmp_path}/events.db"
    with closing(Host(url)) as client:
        client.store.add([an_event(priority=n % 4) for n in range(300)])
        with (
            scripts.started(CLAIMING, url, "a") as a,
            scripts.started(CLAIMING, url, "b") as b,
            scripts.started(CLAIMING, url, "c") as c,
            scripts.started(CLAIMING, url, "d") as d,
        ):
            processes = (a, b, c, d)
            assert [scripts.line(process) for process in processes] == ["ready"] * 4
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            ended = [process.communicate(timeout=60) for process in processes]
        assert [process.returncode for process in processes] == [0] * 4, ended
        claimed = [int(number) for said, _ in ended for number in said.split()]
        assert sorted(claimed) == list(range(1, 301))
        assert client.runs().total == client.runs(outcome="succeeded").total == 300


# -- forks

FORKING = """
import json, os, sys
from horae import Host

host = Host(sys.argv[1])
host.register("tide.mark")(lambda context: None)

def connections():
    names = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return sum(name.endswith("events.db") for name in names)

def schedule(origin):
    for _ in range(20):
        host.schedule("tide.mark", schedule="in 1h", origin=origin)

with host:
    first = host.schedule("tide.mark", schedule="in 1h").id
    host.run_until_idle(timeout=20)
    inherited = connections()
    child = os.fork()
    if not child:
        try:
            assert not host.running
            assert connections() > inherited
            assert host.get(first) is not None
            schedule("child")
            host.close()
            os._exit(0)
        finally:
            os._exit(1)
    schedule("parent")
    _, status = os.waitpid(child, 0)
    last = host.wait(host.schedule("tide.mark").id, timeout=20)
    print(json.dumps([status, last.outcome, len(host.hosts())]))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc shows the connections")
def test_a_forked_child_is_a_client_of_its_own(tmp_path: Path) -> None:
    """Child and parent schedule at the same time, the parent goes on running, and all is there."""
    url = f"sqlite:///{tmp_path}/events.db"
    assert json.loads(scripts.run(FORKING, url)) == [0, "succeeded", 1]
    with closing(Host(url)) as client:
        assert client.events(origin="child").total == 20
        assert client.events(origin="parent").total == 20
    assert len(stored(tmp_path / "events.db")) == 42
