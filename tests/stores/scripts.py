"""Small programs that tests run as processes of their own, and waiting for what comes of them."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import dedent
from typing import Any, Final

QUIET: Final = """
import structlog
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
"""


def command(script: str, *arguments: object) -> list[str]:
    """How to run ``script`` with this interpreter; what horae logs is not printed."""
    return [sys.executable, "-c", QUIET + dedent(script), *map(str, arguments)]


def run(script: str, *arguments: object, prefix: Sequence[str] = ()) -> str:
    """Run ``script`` to its end, which must be a good one; what it printed."""
    done = subprocess.run(
        [*prefix, *command(script, *arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def started(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """``script`` in the background, with its output to read; killed at the end of the block."""
    with subprocess.Popen(
        command(script, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that ``process`` prints."""
    assert process.stdout is not None
    text = process.stdout.readline().strip()
    assert text, process.stderr and process.stderr.read()
    return text


def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What ``condition`` gives once it is true; a failure when it never is."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)
    return value
