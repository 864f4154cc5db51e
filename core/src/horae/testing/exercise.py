"""The life of a plugin, gone through once: the program that ``horae plugin check`` runs in a
scratch environment, in a process of its own, since nobody knows what the plugin does.

Each step is told as a line of JSON when it begins, and again with its verdict.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from horae import logs
from horae.errors import HostError, PluginLoadFailed, describe, summarise
from horae.plugins import preflight
from horae.plugins.discovery import Candidate, discover
from horae.testing.host import PluginHost
from horae.testing.steps import Request, Step, Verdict
from horae_hookspecs import EventTypeInfo, Outcome, PluginState, UnloadReport

PREFLIGHT: Final = 10.0
"""Seconds that a child process has to import the plugin."""

ROUND: Final = {"bot": "check", "resources": "check"}
"""The arguments of a bot action: a round over resources of a kind that nobody lists."""

BREAKAGE: Final = b"\n\nraise RuntimeError('broken on purpose by horae plugin check')\n"


class Noted(Exception):
    """Something to know that is no failure."""


class Skipped(Exception):
    """A step that cannot be taken."""


class Short(Exception):
    """What was promised did not come about."""


class Exercise:
    """Takes one plugin through its life on a host, and tells each step."""

    def __init__(
        self, host: PluginHost, name: str, request: Request, tell: Callable[[Step], None]
    ) -> None:
        self._host = host
        self._name = name
        self._request = request
        self._tell = tell
        self._usable: dict[str, Mapping[str, Any]] = {}

    def go(self) -> None:
        """All steps; those that cannot be taken after a failure are left out."""
        name = self._name
        if not self._step(f"preflight {name}", "E", lambda: _preflight(_candidate(name))):
            return
        if not self._step(f"load {name}", "E", self._load):
            return
        for info in self._types():
            self._step(f"use {info.event_type}", "D", partial(self._use_first, info))
        self._step(f"unload {name}", "C", self._unload)
        if not self._step(f"load {name} again", "D", self._load):
            return
        self._step(f"upgrade {name}", "D", self._upgrade)
        self._step(f"roll back {name}", "D", self._roll_back)
        self._step(f"unload {name} at the end", "C", self._unload)

    def _step(self, name: str, grade: str, action: Callable[[], str]) -> bool:
        began = time.monotonic()
        self._tell(Step(name, grade=grade))
        verdict, detail = Verdict.PASSED, ""
        try:
            detail = action()
        except Noted as noted:
            verdict, detail, grade = Verdict.NOTED, str(noted), "B"
        except Skipped as skipped:
            verdict, detail, grade = Verdict.SKIPPED, str(skipped), "B"
        except (Short, HostError) as error:
            verdict, detail = Verdict.FAILED, str(error)
        except Exception as error:
            verdict, detail, grade = Verdict.FAILED, describe(error), max(grade, "D")
        best = "A" if verdict is Verdict.PASSED else grade
        self._tell(Step(name, verdict, detail, round(time.monotonic() - began, 3), best))
        return verdict is not Verdict.FAILED

    def _load(self) -> str:
        info = self._host.load_plugin(self._name)
        strangers = [one for one in info.event_types if not one.startswith(f"{self._name}.")]
        if strangers:
            raise Noted(
                f"{', '.join(strangers)}: begin event types with the plugin's name, "
                f"{self._name}., so that no other plugin has the same"
            )
        return f"event types: {', '.join(info.event_types) or 'none'}"

    def _types(self) -> list[EventTypeInfo]:
        return [one for one in self._host.event_types() if one.plugin == self._name and one.loaded]

    def _use_first(self, info: EventTypeInfo) -> str:
        arguments = self._request.examples.get(info.event_type) or _examples(info)
        if not self._request.use:
            raise Skipped("not used, as was asked")
        self._usable[info.event_type] = arguments
        done = self._use(info.event_type)
        if not (info.schema or {}).get("description"):
            raise Noted(f"{done}; give its class or function a docstring, which people see")
        return done

    def _use(self, event_type: str) -> str:
        event = self._host.schedule(event_type, self._usable[event_type])
        self._host.run_due()
        run = next(iter(self._host.runs(event_id=event.id, newest_first=True)), None)
        self._host.cancel_all(event_type=event_type)
        if run is None or run.outcome is None:
            raise Short(f"event {event.id} was not run")
        if run.outcome in (Outcome.TIMEOUT, Outcome.INTERRUPTED):
            raise Short(f"{run.outcome}: {run.error}")
        if run.outcome is Outcome.FAILED:
            last = (run.error or "").rpartition("\n")[2]
            raise Noted(f"failed with {last}; --example gives it other arguments")
        return str(run.outcome)

    def _use_all(self) -> None:
        for event_type in self._usable:
            try:
                self._use(event_type)
            except Noted:
                pass  # told before

    def _unload(self) -> str:
        report = self._host.unload_plugin(self._name, include_dependents=True)
        for one in (*report.dependents, report):
            _judge(one)
        return "nothing is left"

    def _upgrade(self) -> str:
        """From the version before to this one, or to itself."""
        before = self._host.load_plugin(self._name)
        if self._request.previous is not None:
            _require(before.version == self._request.previous, f"{before.version} is loaded")
            info = self._host.install_plugin(
                self._request.wheel, upgrade=True, include_dependents=True
            )
        else:
            info = self._host.upgrade_plugin(self._name, include_dependents=True)
        _require(info.state is PluginState.ACTIVE, f"it is {info.state}: {info.reason}")
        _require(info.version == self._request.version, f"it is still {info.version}")
        self._use_all()
        return f"{before.version} to {info.version}"

    def _roll_back(self) -> str:
        """A version that raises at the end of its import must change nothing."""
        with _broken(_candidate(self._name)):
            try:
                self._host.upgrade_plugin(self._name, include_dependents=True)
            except PluginLoadFailed as error:
                if error.phase != "import":
                    raise
            else:
                raise Short("a version that raises when it is imported was loaded all the same")
        (info,) = [one for one in self._host.plugins() if one.name == self._name]
        _require(info.state is PluginState.ACTIVE, f"it is {info.state}: {info.reason}")
        self._use_all()
        return f"{info.version} goes on"


def _candidate(name: str) -> Candidate:
    found = discover()
    if name not in found:
        raise Short(f"no entry point {name!r} in the group 'horae'")
    return found[name]


def _preflight(candidate: Candidate) -> str:
    try:
        preflight.attempt(candidate, PREFLIGHT)
    except Exception as error:
        raise Short(str(error)) from None
    return "a child process can import it"


def _examples(info: EventTypeInfo) -> dict[str, Any]:
    """Arguments for a type: the examples that its fields give, and else their defaults."""
    schema = info.schema or {}
    fields = schema.get("properties", {})
    given = {name: one["examples"][0] for name, one in fields.items() if one.get("examples")}
    if schema.get("required", ())[:2] == list(ROUND):
        given = {**ROUND, **given}
    missing = [name for name in schema.get("required", ()) if name not in given]
    if missing:
        raise Skipped(
            f"not used for want of {', '.join(missing)}: give fields metadata={{'example': ...}}, "
            f"or this command --example {info.event_type} JSON"
        )
    return given


def _judge(report: UnloadReport) -> None:
    _require(report.abandoned == 0, f"{report.abandoned} runs had to be abandoned")
    _require(not report.errors, "; ".join(report.errors))
    # Also what is left where all code is gone: a handler, a changed hook, a path.
    _require(report.leaks is None, str(report.leaks))


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise Short(text)


@contextmanager
def _broken(candidate: Candidate) -> Iterator[None]:
    """While it lasts, the plugin on disk raises at the end of its import."""
    module = sys.modules.get(candidate.module)
    file = Path(getattr(module, "__file__", None) or "none")
    if file.suffix != ".py":
        raise Skipped(f"{candidate.module} is no Python source that could be broken for a trial")
    source = file.read_bytes()
    del module
    file.write_bytes(source + BREAKAGE)
    try:
        yield
    finally:
        file.write_bytes(source)


def main() -> None:
    """Read the request, and go through it for each of its plugins."""
    with open(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # whatever the plugin prints is no answer
        logs.configure()

        def tell(step: Step) -> None:
            print(json.dumps(attrs.asdict(step)), file=answers, flush=True)

        request = Request(**json.loads(sys.argv[1]))
        with PluginHost(Path(request.folder), settings=request.settings) as host:
            for name in request.plugins:
                Exercise(host, name, request, tell).go()


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        sys.exit(summarise(error))
