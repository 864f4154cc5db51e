"""The program that imports a plugin ahead of its host: see ``horae.plugins.preflight``."""

import faulthandler
import json
import os
import resource
from collections.abc import Callable
from typing import Any

from horae.errors import locate, summarise
from horae.plugins import editable, loader, modules
from horae.plugins.discovery import Candidate, find
from horae.registry import Generation


def main(answers: int, plugin: str, distribution: str, record: str | None, seconds: float) -> None:
    """Tell on ``answers`` that we begin, then what was found; and end, whatever threads run."""
    os.set_inheritable(answers, False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    candidate = find(plugin, distribution)
    os.write(answers, b"ready\n")
    # From a thread that needs nothing of Python, so that a hang in C code is told too.
    faulthandler.enable()
    faulthandler.dump_traceback_later(seconds, exit=True)
    same = candidate is not None and candidate.record == record
    problem = _try(candidate) if same and candidate else "other files are installed by now"
    os.write(answers, json.dumps({"problem": problem}).encode() + b"\n")
    os._exit(0)


def _try(candidate: Candidate) -> str | None:
    """Go through the phases of a load that the plugin can fail at without a host."""
    found: Any = None
    manager = loader.new_manager()
    generation = Generation(candidate.name, 1, candidate.distribution, candidate.version)

    def load() -> None:
        nonlocal found
        editable.process(candidate)
        found = loader.import_plugin(candidate)

    def collect() -> None:
        own = modules.owned(candidate.files, candidate.module)
        loader.collect(manager, found, generation, own)

    phases: dict[str, Callable[[], None]] = {
        "import": load,
        "registration": lambda: loader.register(manager, found, candidate.name),
        "collection": collect,
    }
    for phase, step in phases.items():
        try:
            step()
        except loader.Refused as error:
            return f"its {phase} failed: {error}"
        except BaseException as error:
            return f"its {phase} failed: {summarise(error)} (raised in {locate(error)})"
    return None
