"""What hosts are asked to install, in memory."""

import attrs

from horae.stores._memory_data import MemoryData
from horae.stores.records import FORGOTTEN, Installation


class MemoryInstallations(MemoryData):
    """The part of ``MemoryStore`` that passes on what is to be installed."""

    def request_installation(self, wanted: Installation) -> int:
        """Under the next number."""
        with self._lock:
            kept = self._data.installations
            for one in list(kept.values()):
                if one.done and one.asked < wanted.asked - FORGOTTEN:
                    del kept[one.id]
            number = max(kept, default=0) + 1
            kept[number] = attrs.evolve(wanted, id=number)
            return number

    def report_installation(self, installation: Installation) -> None:
        """In its place."""
        with self._lock:
            if installation.id in self._data.installations:
                self._data.installations[installation.id] = installation

    def installations(self, host: str | None = None) -> list[Installation]:
        """By id."""
        with self._lock:
            return [one for one in self._data.installations.values() if host in (None, one.host)]
