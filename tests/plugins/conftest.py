"""Fixtures of the plugin tests: a place to install into, a started host, a journal."""

import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from weakref import ref

import pytest

from horae import Host
from kit.sites import Site


class Journal(ModuleType):
    """What plugins under test ``import journal`` for: to leave a note, and to be held up.

    ``entered`` counts the calls of ``hold``; they return once ``go`` is set.
    """

    def __init__(self) -> None:
        super().__init__("journal")
        self.lines: list[str] = []
        self.refs: list[ref[Any]] = []
        self.kept: list[Any] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()

    def watch(self, value: Any) -> Any:
        """Note a weak reference, to see later whether ``value`` is gone."""
        self.refs.append(ref(value))
        return value

    def hold(self) -> None:
        """Tell that a run got here, and wait for the test."""
        self.entered.release()
        assert self.go.wait(30)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    """The module ``journal``, which plugins under test write to."""
    journal = Journal()
    monkeypatch.setitem(sys.modules, "journal", journal)
    yield journal
    journal.go.set()


@pytest.fixture
def host(site: Site, journal: Journal, host_on: Callable[..., Host]) -> Host:
    """A started host, which sees what is installed in ``site``."""
    return host_on(name="test", workers=4).start()
