"""How far a run is: told by its job, seen by everybody while it is under way."""

import math
import threading
from collections.abc import Callable

import pytest

from horae import Host, SystemClock
from horae_hookspecs import Outcome, Run, RunContext
from kit.events import LONG, runs_of
from kit.hosts import until
from kit.processes import Processes

Told = tuple[float | None, str | None]


def told(run: Run) -> Told:
    """How far the run is."""
    return run.progress, run.progress_text


class Painting:
    """A job that goes on when it is told to, one word after the other."""

    def __init__(self, host: Host, *words: tuple[float, str]) -> None:
        self.host = host
        self._words = words
        self._go_on = threading.Semaphore(0)
        host.register("paint")(self.paint)
        self.event = host.start().schedule("paint")

    def paint(self, context: RunContext) -> None:
        """Run."""
        for fraction, text in self._words:
            context.progress(fraction, text)
            self._go_on.acquire(timeout=LONG)

    def go_on(self, words: int = 1) -> None:
        """Let it say that many more words."""
        self._go_on.release(words)

    def run(self, host: Host | None = None) -> Run | None:
        """Its run, as ``host`` sees it."""
        return next(iter(runs_of(host or self.host, self.event)), None)

    def shows(self, said: Told, host: Host | None = None) -> bool:
        """Whether ``host`` sees the run under way, that far."""
        run = self.run(host)
        return run is not None and run.outcome is None and told(run) == said


def test_it_is_seen_while_the_run_is_under_way(host: Host) -> None:
    """Each word takes the place of the one before, a text that is missing included."""
    painting = Painting(host, (0.25, "north"), (0.5, ""), (0.75, "south"))
    until(lambda: painting.shows((0.25, "north")))
    painting.go_on()
    until(lambda: painting.shows((0.5, None)))
    painting.go_on()
    until(lambda: painting.shows((0.75, "south")))
    painting.go_on()


def test_the_last_word_stays(host: Host) -> None:
    """Also the one that was said right before the end, whatever it was."""
    painting = Painting(host, (0.25, "north"), (1.0, "all"), (0.5, "half of it"))
    until(lambda: painting.shows((0.25, "north")))
    painting.go_on(3)
    run = host.wait(painting.event.id, LONG)
    assert run is not None
    assert (run.outcome, *told(run)) == (Outcome.SUCCEEDED, 0.5, "half of it")


def test_many_words_are_no_more_than_the_last(host: Host) -> None:
    """A job may tell as often as it likes."""

    @host.register("count")
    def count(context: RunContext) -> None:
        for n in range(1001):
            context.progress(n / 1000, f"{n} of 1000")

    run = host.start().wait(host.schedule("count").id, LONG)
    assert run is not None
    assert told(run) == (1.0, "1000 of 1000")


def test_each_run_has_its_own(host: Host) -> None:
    """Two that are under way at once, and a third that says nothing."""
    release = threading.Event()

    @host.register("paint")
    def paint(context: RunContext, fraction: float | None = None) -> None:
        if fraction is not None:
            context.progress(fraction, f"{fraction:.0%}")
        release.wait(LONG)

    host.start()
    for fraction in (0.25, 0.75, None):
        host.schedule("paint", {} if fraction is None else {"fraction": fraction})
    expected = [(0.25, "25%"), (0.75, "75%"), (None, None)]
    until(lambda: [told(run) for run in host.runs(outcome=None)] == expected)
    release.set()


def test_another_host_sees_it(host_on: Callable[..., Host]) -> None:
    """Through a connection of its own."""
    painting = Painting(host_on(), (0.25, "north"), (0.5, "south"))
    other = host_on()
    until(lambda: painting.shows((0.25, "north"), other))
    painting.go_on()
    until(lambda: painting.shows((0.5, "south"), other))
    painting.go_on()


LOOK = """
import sys
from horae import Host

host = Host(sys.argv[1])
(run,) = host.runs()
print(run.outcome, run.progress, run.progress_text)
"""


def test_another_process_sees_it(host_on: Callable[..., Host], processes: Processes) -> None:
    """It is in the file, not in the host."""
    painting = Painting(host_on(url=processes.url, clock=SystemClock()), (0.25, "north"))
    until(lambda: painting.shows((0.25, "north")))
    processes.start(LOOK, processes.url).expect("None 0.25 north")
    painting.go_on()


@pytest.mark.parametrize("fraction", [-0.01, 1.01, math.nan, math.inf, -math.inf])
def test_what_is_no_fraction_is_refused(host: Host, fraction: float) -> None:
    """In the job, by a ValueError; what it had said before stands."""
    refused: list[str] = []

    @host.register("paint")
    def paint(context: RunContext) -> None:
        context.progress(0.5, "half")
        try:
            context.progress(fraction, "no")
        except ValueError as error:
            refused.append(str(error))
            raise

    event = host.schedule("paint")
    host.run_until_idle(LONG)
    assert refused == [f"progress({fraction!r}): give a fraction from 0.0 to 1.0."]
    (run,) = runs_of(host, event)
    assert (run.outcome, *told(run)) == (Outcome.FAILED, 0.5, "half")


@pytest.mark.parametrize("fraction", [0, 1, 0.0, 1.0])
def test_the_ends_are_fractions(host: Host, fraction: float) -> None:
    """Nothing yet, and all."""
    host.register("paint")(lambda context: context.progress(fraction))
    run = host.start().wait(host.schedule("paint").id, LONG)
    assert run is not None
    assert (run.outcome, *told(run)) == (Outcome.SUCCEEDED, float(fraction), None)
