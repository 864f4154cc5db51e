"""``journal_host.py URL JOURNAL [WORKERS]``: a host whose jobs write down that they ran.

A program to be killed. Each run appends one line to the journal before it does anything else, in
a single write, so that the file is the judge of what ran and how often.
"""

import os
import sys
import threading
import time
from pathlib import Path

from horae import Host, Settings, logs
from horae_hookspecs import RunContext


def note(journal: Path, context: RunContext) -> None:
    """Append one line: event, idempotency key, process, time."""
    line = f"{context.event_id} {context.idempotency_key} {os.getpid()} {time.time_ns()}\n"
    file = os.open(journal, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(file, line.encode())
    os.close(file)


def register(host: Host, journal: Path) -> None:
    """The types: work of some milliseconds, work that lasts while the file JOURNAL.hold is
    there, the same not to be repeated, and work that kills its host; and work that has its
    resource to itself, with a note at its end as well, or while the file is there.
    """
    hold = journal.with_suffix(".hold")

    @host.register("journal.note")
    def work(context: RunContext, ms: float = 0) -> None:
        note(journal, context)
        time.sleep(ms / 1000)

    @host.register("journal.hold")
    def held(context: RunContext) -> None:
        note(journal, context)
        while hold.exists() and not context.cancelled:
            time.sleep(0.005)

    host.register("journal.hold_once", interrupted="fail")(held)
    host.register("journal.hold_alone", exclusive=True)(held)

    @host.register("journal.alone", exclusive=True)
    def alone(context: RunContext, ms: float = 2) -> None:
        note(journal, context)
        time.sleep(ms / 1000)
        note(journal, context)

    host.register("journal.alone_too", exclusive=True)(alone)

    @host.register("journal.crash")
    def crash(context: RunContext) -> None:
        note(journal, context)
        os._exit(3)


def main(url: str, journal: str, workers: str = "4") -> None:
    """Say ``running`` once the host is, and run until a signal."""
    logs.configure()
    host = Host(Settings(url=url, workers=int(workers)))
    register(host, Path(journal))

    def announce() -> None:
        while not host.running:
            time.sleep(0.002)
        print("running")  # noqa: T201 (the tests wait for it)

    threading.Thread(target=announce, daemon=True).start()
    host.run_forever()
    host.close()
    print("stopped")  # noqa: T201 (like above)


if __name__ == "__main__":
    main(*sys.argv[1:])
