"""``horae demo``: the main job on real input, told as it goes.

A host process, a plugin that pip installs beside it, a web server whose log is the judge, and a
``kill -9`` in the middle.
"""

import importlib.metadata
import os
import pty
import random
import subprocess
import sys
import tempfile
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from horae.cli.demo_plugin import DISTRIBUTION, NEXT_VERSION, build_wheel, next_version, pip
from horae.cli.demo_server import PAGES, Log, web_server
from horae.cli.session import configure_logs
from horae.host import Host
from horae_hookspecs import Outcome, Run, State

TYPE: Final = "sample.http_probe"
RECURRING: Final = 5
PATIENCE: Final = 60.0
"""Seconds to wait for anything before giving up."""


@click.command()
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("sample_plugin"),
    show_default=True,
    help="The source folder of the sample plugin.",
)
@click.option("--probes", default=1000, show_default=True, help="How many single probes.")
@click.option("--seconds", default=14.0, show_default=True, help="Over how long they come due.")
def demo(source: Path, probes: int, seconds: float) -> None:
    """See events outlive their plugin, an upgrade and a kill -9; exit 1 if one is lost."""
    configure_logs()
    _refuse_installed()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="horae-demo-")))
        log = stack.enter_context(web_server())
        stage = Stage(folder, log, stack)
        stack.callback(lambda: pip("uninstall", "--yes", DISTRIBUTION))
        passed = _play(stage, source.resolve(), probes, seconds)
    raise SystemExit(0 if passed else 1)


def _refuse_installed() -> None:
    try:
        importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return
    raise click.ClickException(
        f"{DISTRIBUTION} is installed in this environment already, and the demo wants to install "
        "it itself while a host runs. Use an environment without it: python -m nox -s demo"
    )


def _play(stage: "Stage", source: Path, probes: int, seconds: float) -> bool:
    stage.say(f"A web server answers on {stage.log.url}: {', '.join(PAGES)}.")
    stage.say("A host starts on an empty SQLite file, in a process of its own.")
    stage.start_host()

    stage.say("pip installs the sample plugin beside the running host; the host loads it.")
    pip("install", "--no-deps", str(build_wheel(source, stage.folder)))
    stage.horae("plugin", "load", "sample")

    stage.say(f"{probes} probes over the next {seconds:g} s, and {RECURRING} every second.")
    single, recurring = stage.schedule(probes, seconds)
    stage.wait_for("some probes", lambda: len(stage.log.hits) > probes // 5)

    stage.say("The plugin is unloaded half way. Its events wait: none fails, none is lost.")
    stage.horae("plugin", "unload", "sample")
    asked = len(stage.log.hits)
    stage.wait_for("overdue probes", lambda: stage.overdue() > probes // 10)
    stage.horae("type", "waiting")
    stage.say(f"Requests while it was away: {len(stage.log.hits) - asked}. Now it is loaded again.")
    stage.horae("plugin", "load", "sample")

    stage.wait_for("runs in flight", lambda: stage.log.in_flight >= 3)
    stage.say(f"kill -9 for the host, with {stage.log.in_flight} requests in flight; a new start.")
    stage.kill_host()
    stage.start_host()

    stage.say("pip installs the next version, with one argument more, and the host upgrades to it:")
    stage.say("events stored by the old version are carried over as they run.")
    upgraded = build_wheel(next_version(source, stage.folder), stage.folder)
    pip("install", "--no-deps", str(upgraded))
    stage.horae("plugin", "upgrade", "sample")
    with_new = stage.schedule_with_new_argument()

    stage.wait_for("every probe to end", lambda: stage.pending(single | with_new) == 0)
    for event_id in recurring:
        stage.client.cancel(event_id, "the demo is over")
    stage.wait_for("the last runs", lambda: not stage.client.events(state=State.RUNNING).total)
    return _judge(stage, single | with_new, recurring)


def _judge(stage: "Stage", single: set[int], recurring: set[int]) -> bool:
    asked = stage.log.requests_of(single)
    again = stage.log.requests_of(recurring)
    runs = list(stage.all_runs())
    interrupted = {run.event_id for run in runs if run.outcome is Outcome.INTERRUPTED}
    twice = {key for key, count in (asked + again).items() if count > 1}
    unexplained = {key for key in twice if int(key.partition("-")[0]) not in interrupted}
    seen = {int(key.partition("-")[0]) for key in asked}
    waiting = sum(one.pending for one in stage.client.waiting())
    versions = Counter(run.version for run in runs)
    figures = [
        ("scheduled", len(single), True),
        ("run, by the server's log", len(seen), len(seen) == len(single)),
        ("lost", len(single - seen), single == seen),
        ("recurring occurrences run", len(again), bool(again)),
        ("interrupted by kill -9, and repeated", len(interrupted), bool(interrupted)),
        ("run twice", len(twice), True),
        ("run twice without an interruption to explain it", len(unexplained), not unexplained),
        ("waiting at the end", waiting, not waiting),
        (f"runs by version {NEXT_VERSION}", versions[NEXT_VERSION], bool(versions[NEXT_VERSION])),
    ]
    table = Table("", "events", "", title="What the web server and the history say")
    for name, figure, good in figures:
        table.add_row(name, str(figure), "ok" if good else "WRONG")
    stage.console.print(table)
    passed = all(good for _, _, good in figures)
    stage.say("Nothing was lost." if passed else "The figures are wrong: see above.")
    return passed


class Stage:
    """What the demo plays on: a store, a web server, and the host process of the moment."""

    def __init__(self, folder: Path, log: Log, stack: ExitStack) -> None:
        self.folder = folder
        self.log = log
        self.console = Console()
        self.url = f"sqlite:///{folder / 'demo.db'}"
        self.client = Host(self.url)
        self._host: subprocess.Popen[bytes] | None = None
        self._host_log = stack.enter_context((folder / "host.log").open("ab"))
        self._started = time.monotonic()
        stack.callback(self.kill_host)
        stack.callback(self.client.close)

    def say(self, text: str) -> None:
        """One sentence of the story, with the seconds since it began."""
        seconds = time.monotonic() - self._started
        self.console.print(
            f"{seconds:5.1f} s  {text}", style="bold", highlight=False, soft_wrap=True
        )

    def horae(self, *arguments: str) -> None:
        """Run the ``horae`` command as a person would, and show what it prints."""
        click.echo(f"         $ horae {' '.join(arguments)}")
        code, lines = _in_a_terminal([*self._command, *arguments])
        click.echo("".join(f"         {line}\n" for line in lines), nl=False)
        if code:
            raise click.ClickException(f"horae {' '.join(arguments)} ended with exit code {code}.")

    @property
    def _command(self) -> list[str]:
        return [sys.executable, "-m", "horae", "--store", self.url]

    def start_host(self) -> None:
        """Start ``horae serve`` and wait until it is among the living."""
        command = [*self._command, "serve"]
        self._host = subprocess.Popen(command, stderr=self._host_log)  # noqa: S603 (our own words)
        self.wait_for("the host", lambda: any(h.pid == self._pid for h in self.client.hosts()))

    @property
    def _pid(self) -> int | None:
        return self._host.pid if self._host else None

    def kill_host(self) -> None:
        """End the host as a power cut would."""
        if self._host is not None:
            self._host.kill()
            self._host.wait()
            self._host = None

    def schedule(self, probes: int, seconds: float) -> tuple[set[int], set[int]]:
        """The single probes, spread at random, and the recurring ones; their ids."""
        begin = datetime.now(UTC) + timedelta(seconds=0.5)
        chance = random.Random(7)  # noqa: S311 (no secret hangs on it)
        pages = [page for page in PAGES for _ in range(4 if page == "/good" else 1)]
        single = self.client.schedule_many(
            self._request(
                chance.choice(pages), begin + timedelta(seconds=chance.random() * seconds)
            )
            for _ in range(probes)
        )
        recurring = self.client.schedule_many(
            self._request("/good", "every 1s") for _ in range(RECURRING)
        )
        return set(single), set(recurring)

    def schedule_with_new_argument(self) -> set[int]:
        """Some probes that only the next version understands."""
        return set(
            self.client.schedule_many(
                self._request("/good", None, method="HEAD") for _ in range(20)
            )
        )

    def _request(self, page: str, schedule: Any, **arguments: str) -> dict[str, Any]:
        return {
            "event_type": TYPE,
            "arguments": {"url": self.log.url + page, **arguments},
            "schedule": schedule,
            "origin": "demo",
        }

    def overdue(self) -> int:
        """How many events of absent types are overdue."""
        return sum(one.overdue for one in self.client.waiting())

    def pending(self, event_ids: set[int]) -> int:
        """How many of these events are not over."""
        open_states = [State.PENDING, State.RUNNING]
        return sum(event.id in event_ids for event in self._all_events(open_states))

    def _all_events(self, states: list[State]) -> Iterator[Any]:
        after: int | None = 0
        while after is not None:
            page = self.client.events(state=states, limit=500, after=after)
            yield from page
            after = page.next

    def all_runs(self) -> Iterator[Run]:
        """The whole history."""
        after: int | None = 0
        while after is not None:
            page = self.client.runs(limit=500, after=after)
            yield from page
            after = page.next

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; the demo fails when it does not in time."""
        until = time.monotonic() + PATIENCE
        with self._spinning(what):
            while not condition():
                if time.monotonic() > until:
                    raise click.ClickException(f"Waited {PATIENCE:g} s for {what} in vain.")
                time.sleep(0.02)

    @contextmanager
    def _spinning(self, what: str) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        with self.console.status(f"waiting for {what}"):
            yield


def _in_a_terminal(command: list[str]) -> tuple[int, list[str]]:
    """Run a command on a terminal of its own, so that it prints what it prints for people."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (50, 110))
    environment = os.environ | {"NO_COLOR": "1", "TERM": "xterm"}
    # Not its errors too: what spins there while it waits would stand here frame by frame.
    with subprocess.Popen(  # noqa: S603 (our own words)
        command, stdout=its, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(its)
        printed = b"".join(iter(lambda: _read(ours), b""))
        assert process.stderr is not None
        complaints = process.stderr.read()
    os.close(ours)
    return process.returncode, (printed + complaints).decode(errors="replace").splitlines()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux says so when the other side has closed
        return b""
