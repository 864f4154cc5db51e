"""The real ``horae`` command, and hosts that it serves, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from horae import Host
from horae_hookspecs import State
from kit.hosts import until
from kit.wheels import build_wheel, unpack

TIDE: Final = """
import pathlib
import time

import click

from horae_hookspecs import ScheduledEventRegistryWrapper, hookimpl

events = ScheduledEventRegistryWrapper()


@events.register("tide.mark")
def mark(context, place: str = "quay") -> str:
    return place


@events.register("tide.fail")
def fail(context) -> None:
    raise ValueError("the tide\\nis out")


@events.register("tide.hold")
def hold(context, gate: str) -> None:
    while not pathlib.Path(gate).exists():
        time.sleep(0.01)


@hookimpl
def horae_event_types():
    return events


@click.command()
def tide():
    click.echo("high water")


@hookimpl
def horae_commands():
    return [tide]
"""
"""A plugin whose runs succeed, fail, or hold until a file is there; with a command ``tide``."""


def _given_path() -> list[str]:
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [os.path.abspath(entry) for entry in entries if entry]


class Command:
    """Runs ``horae`` in ``folder``; what lies in ``folder/site`` is installed as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "site").mkdir()
        self.url = f"sqlite:///{folder}/events.db"
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in ("HORAE_STORE", "HORAE_CONFIG")},
            # Behind it what is on the path already, so that a checkout tests its own command.
            "PYTHONPATH": os.pathsep.join([str(folder / "site"), *_given_path()]),
        }

    def install(
        self, name: str, source: str, version: str = "1.0", requires: Sequence[str] = ()
    ) -> None:
        """Put a plugin where this command finds it, as pip would."""
        wheel = build_wheel(
            self.folder / "wheels",
            f"{name}-plugin",
            version,
            {f"{name}_plugin/__init__.py": source},
            {name: f"{name}_plugin"},
            requires,
        )
        unpack(wheel, self.folder / "site")

    def line(self, *args: object) -> list[str]:
        """The command line for ``args``."""
        return [sys.executable, "-m", "horae", *map(str, args)]

    def __call__(
        self, *args: object, code: int = 0, stdin: str = "", store: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, and check the exit code."""
        done = subprocess.run(
            self.line("--store", store or self.url, *args),
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=60,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def client(self) -> "closing[Host]":
        """A host in this process that is not started, on the same store."""
        return closing(Host(self.url))

    def json(self, *args: object, code: int = 0, stdin: str = "") -> Any:
        """Run with --json, and read the answer."""
        return json.loads(self(*args, "--json", code=code, stdin=stdin).stdout)

    @contextmanager
    def serving(self, *options: object) -> Iterator["Server"]:
        """A host process that is ready; it is ended with the block, if it has not ended."""
        log = self.folder / "serve.log"
        with (
            log.open("w") as stderr,
            subprocess.Popen(
                self.line("serve", "--store", self.url, *options),
                stderr=stderr,
                cwd=self.folder,
                env=self.environment,
            ) as process,
        ):
            try:
                server = Server(process, log)
                until(lambda: process.poll() is not None or "host.started" in server.log())
                assert process.poll() is None, server.log()
                yield server
            finally:
                process.kill()


class Server:
    """A running ``horae serve``."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    def log(self) -> str:
        """All it has logged so far."""
        return self._log.read_text()

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def exit_code(self, seconds: float = 20.0) -> int:
        """Its exit code, once it has ended; negative for the signal that ended it."""
        return self.process.wait(seconds)


def state_of(client: Host, event_id: int) -> str:
    """The state of an event, read from the store."""
    event = client.get(event_id)
    assert event is not None
    return str(event.state)


def is_running(client: Host, event_id: int) -> bool:
    """Whether a host is at work on the event."""
    return state_of(client, event_id) == State.RUNNING
