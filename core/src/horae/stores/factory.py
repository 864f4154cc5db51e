"""From a URL to a store."""

from urllib.parse import urlsplit

from horae.errors import SettingsError
from horae.settings import parse_sqlite_url
from horae.stores.base import Store
from horae.stores.memory import MemoryStore
from horae.stores.sqlite import SqliteStore


def create_store(url: str) -> Store:
    """The store behind ``url``, not opened yet. Raises SettingsError."""
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        return SqliteStore(url, parse_sqlite_url(url))
    if scheme == "memory":
        return MemoryStore()
    raise SettingsError(
        f"{url!r} is no store URL that horae knows. Write sqlite:///events.db for a file in this "
        "folder, sqlite:////var/lib/app/events.db for an absolute path, or memory:// in tests."
    )
