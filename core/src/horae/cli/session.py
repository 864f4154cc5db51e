"""What every command begins with: the store that was named, and a host that is a client of it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import click

from horae import logs
from horae.cli.options import CONFIG, STORE, VERBOSE
from horae.host import Host
from horae.settings import Settings, parse_sqlite_url


def settings() -> Settings:
    """Those of the file that the command line or the environment names, or the defaults; the store
    may be named there too, which goes before the file. Raises SettingsError.
    """
    meta = click.get_current_context().meta
    file = meta.get(CONFIG) or os.environ.get("HORAE_CONFIG")
    read = Settings.read(file) if file else Settings()
    return attrs.evolve(read, url=meta.get(STORE) or os.environ.get("HORAE_STORE") or read.url)


def store_url() -> str:
    """The store that the command line, the environment or the file of settings names, or the
    default.
    """
    return settings().url


def configure_logs(level: int = logging.WARNING) -> None:
    """Log from ``level`` on to standard error, or everything with --verbose."""
    verbose = click.get_current_context().meta.get(VERBOSE, False)
    logs.configure(level=logging.DEBUG if verbose else level)


@contextmanager
def client() -> Iterator[Host]:
    """A host that only schedules, reads and commands. Raises SettingsError and StoreError."""
    configure_logs()
    chosen = settings()
    url = chosen.url
    new = _is_new(url)
    host = Host(chosen)
    if new:
        # An empty listing may come from a mistyped path.
        click.echo(f"There was no store {url}; a new one was made.", err=True)
    try:
        yield host
    finally:
        host.close()


def _is_new(url: str) -> bool:
    return url.startswith("sqlite:") and not Path(parse_sqlite_url(url).path).exists()
