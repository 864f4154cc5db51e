"""The generations that went: whether they are really gone, and that they do not come back."""

from typing import Final

from horae import logs
from horae.plugins.guard import Guard
from horae.plugins.leaks import Remains
from horae_hookspecs import LeakReport

UNASKED: Final = 2
"""How many generations may go by upgrades, which cannot wait for a collection, until it is asked
whether they are gone.
"""


class Past:
    """Keeps what is left of earlier generations until nothing is."""

    def __init__(self) -> None:
        self._guard = Guard()
        self._remains: dict[str, list[Remains]] = {}

    def add(self, remains: Remains) -> None:
        """A generation was taken out: its code must not import itself back."""
        info = remains.info
        self._remains.setdefault(info.name, []).append(remains)
        self._guard.keep(info.name, info.generation, remains.names)

    def remove(self, remains: Remains) -> None:
        """Nothing is left of it, or it was put back; harmless when it is not here."""
        name = remains.info.name
        self._guard.drop(name, remains.info.generation)
        others = [one for one in self._remains.get(name, ()) if one is not remains]
        self._remains[name] = others
        if not others:
            del self._remains[name]

    def verdict(self, remains: Remains) -> LeakReport | None:
        """What is left of it; None when nothing is."""
        report = remains.verdict()
        if report is None or report.collected:
            self.remove(remains)
        return report

    def leaks(self, plugin: str) -> list[LeakReport]:
        """What is left of the generations of ``plugin``, the oldest first; looks once more."""
        reports = [self.verdict(one) for one in list(self._remains.get(plugin, ()))]
        return [report for report in reports if report is not None]

    def is_gone(self, plugin: str) -> bool:
        """Whether by now nothing is left, as far as that is known without a collection."""
        for one in list(self._remains.get(plugin, ())):
            if one.gone:
                self.remove(one)
        return plugin not in self._remains

    def settle(self, plugin: str) -> None:
        """After an upgrade: see that no more generations than usual are on their way out."""
        if not self.is_gone(plugin) and len(self._remains[plugin]) > UNASKED:
            for report in self.leaks(plugin):
                logs.get().warning("plugin.leaking", phase="upgrade", **in_words(report))

    def close(self) -> None:
        """Forget all; the guard goes with the host."""
        self._guard.close()
        self._remains.clear()


def in_words(report: LeakReport) -> dict[str, object]:
    """What the log has of a report."""
    return {
        "plugin": report.plugin,
        "version": report.version,
        "generation": report.generation,
        "survivors": report.total,
        "holders": [str(one) for one in report.survivors],
        "threads": [str(one) for one in report.threads],
        "changes": [str(one) for one in report.changes],
    }
