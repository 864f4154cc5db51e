"""What is refused at open, in words that say what to do, and without touching the file."""

import sqlite3
from pathlib import Path

import pytest

from horae import Host, SettingsError, StoreCorrupt, StoreTooNew, StoreUnsupported
from horae.settings import parse_sqlite_url
from horae.stores.factory import create_store
from horae.stores.sqlite import SqliteStore


def store_at(path: Path, mounts: str) -> SqliteStore:
    """A store on a machine with this table of mounts."""
    table = path.parent / "mounts"
    table.write_text(mounts)
    url = f"sqlite:///{path}"
    return SqliteStore(url, parse_sqlite_url(url), mounts=table)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite://events.db",
        "sqlite:///:memory:",
        "sqlite:///events.db?synchronous=OFF",
        "sqlite:///events.db?max_page_count=many",
        "sqlite:///events.db?cache=shared",
        "mysql://localhost/events",
        "events.db",
        "",
    ],
)
def test_a_url_that_makes_no_sense_is_refused(url: str) -> None:
    """The error says how a good one looks; no file is made."""
    with pytest.raises(SettingsError, match=r"sqlite:////|synchronous=FULL\|NORMAL"):
        create_store(url)


def test_memory_and_files_are_told_apart_by_the_url(tmp_path: Path) -> None:
    """Both forms give a store that opens, and knows its URL."""
    for url in ("memory://", f"sqlite:///{tmp_path}/events.db"):
        store = create_store(url)
        store.open()
        assert store.url == url
        store.close()


def test_a_relative_path_is_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three slashes name a file here."""
    monkeypatch.chdir(tmp_path)
    Host("sqlite:///events.db").close()
    assert (tmp_path / "events.db").is_file()


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    """A typing error must not become a new store in a new place."""
    with pytest.raises(StoreUnsupported, match=r"mkdir -p .*/no/such"):
        Host(f"sqlite:///{tmp_path}/no/such/events.db")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("content", [b"no database, but a letter\n" * 500, b"SQLite format 3"])
def test_what_is_no_database_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """A file that SQLite does not know is refused, and keeps every byte."""
    path = tmp_path / "events.db"
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match=r"leaves it as it is.*backup"):
        Host(f"sqlite:///{path}")
    assert path.read_bytes() == content
    assert {entry.name for entry in tmp_path.iterdir()} == {"events.db"}


def test_a_broken_header_is_left_as_it_is(tmp_path: Path) -> None:
    """A store that was fine and lost its first bytes is refused, and not begun anew."""
    path = tmp_path / "events.db"
    Host(f"sqlite:///{path}").close()
    content = b"\0" * 64 + path.read_bytes()[64:]
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt):
        Host(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """The error has both versions, and the store stays as the newer horae wrote it."""
    path = tmp_path / "events.db"
    Host(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO horae_schema VALUES (999)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match="pip install --upgrade horae") as caught:
        Host(f"sqlite:///{path}")
    store = create_store(f"sqlite:///{path}")
    for _ in range(2):  # a store that could not be opened is not half open
        with pytest.raises(StoreTooNew):
            store.open()
    assert caught.value.found == 999
    assert caught.value.known < 999
    assert path.read_bytes() == before


def test_the_tables_live_beside_those_of_an_application(tmp_path: Path) -> None:
    """Opening an application's database adds tables whose names begin with horae_, no others."""
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.execute("CREATE TABLE boats (name TEXT)")
    connection.close()
    Host(f"sqlite:///{tmp_path}/app.db").close()
    connection = sqlite3.connect(tmp_path / "app.db")
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema")]
    connection.close()
    ours = [name for name in names if "horae_" in name]
    assert {"boats"} == set(names) - set(ours)
    assert len(ours) > 6


def test_opening_again_migrates_nothing(tmp_path: Path) -> None:
    """What was stored is there after a second open, and after a second close."""
    host = Host(f"sqlite:///{tmp_path}/events.db")
    event = host.schedule("tide.mark", allow_unknown=True)
    host.close()
    host.store.open()
    assert host.get(event.id) == event
    host.close()
    host.close()
    with pytest.raises(StoreUnsupported, match="is closed"):
        host.get(event.id)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    """The error names the file system and the way out, and no file is made there."""
    store = store_at(
        tmp_path / "events.db", f"/dev/sda / ext4 rw\nserver:/x {tmp_path} {kind} rw\n"
    )
    with pytest.raises(StoreUnsupported, match=rf"network file system \({kind}\).*local disk"):
        store.open()
    assert not (tmp_path / "events.db").exists()


def test_the_nearest_mount_decides(tmp_path: Path) -> None:
    """A local disk mounted inside a network file system is fine, and a network share elsewhere."""
    local, mounts = tmp_path / "a disk", "server:/x {0} nfs4 rw\n/dev/sdb {1} ext4 rw\n"
    local.mkdir()
    escaped = str(local).replace(" ", "\\040")
    store = store_at(local / "events.db", mounts.format(tmp_path, escaped) + "s:/y /other nfs rw\n")
    store.open()
    store.close()


def test_without_a_table_of_mounts_nothing_is_refused(tmp_path: Path) -> None:
    """Systems that have no such table are not locked out."""
    url = f"sqlite:///{tmp_path}/events.db"
    store = SqliteStore(url, parse_sqlite_url(url), mounts=tmp_path / "missing")
    store.open()
    store.close()
