"""A started host in a process of its own, told what to do line by line: see ``Child``."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from benchmarks import plugin, quiet
from horae import Host
from horae_hookspecs import Outcome

ROOT = Path(__file__).parents[1]


class Child:
    """The parent's end. Raises RuntimeError when the child ends before its answer."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self._answer()
        return self

    def usage(self) -> dict[str, float]:
        """``cpu`` seconds and peak ``rss`` in KiB so far, and the time ``at`` which."""
        return self._ask("usage")

    def settled(self, count: int) -> dict[str, float]:
        """The usage at the moment when ``count`` runs have succeeded and nothing is left."""
        return self._ask(f"settled {count}")

    def _ask(self, command: str) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The host process ended with code {self._process.wait()}.")
        answer: dict[str, float] = json.loads(line)
        return answer

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def _usage() -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss, "at": time.time()}


def _settled(host: Host, count: int) -> dict[str, float]:
    while True:
        host.run_until_idle(timeout=300)
        usage = _usage()  # before the count, which is no part of what is measured
        if host.runs(outcome=Outcome.SUCCEEDED, limit=1).total >= count:
            return usage
        time.sleep(0.01)


def _serve(url: str) -> None:
    with Host(url) as host:
        host.load_plugin(plugin)
        print(json.dumps(_usage()), flush=True)
        for line in sys.stdin:
            command, *count = line.split()
            answer = _usage() if command == "usage" else _settled(host, int(count[0]))
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    quiet()
    _serve(sys.argv[1])
