"""``horae plugin check``: a plugin's whole life in a scratch environment, step by step."""

import email
import json
import queue
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping
from configparser import ConfigParser
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import attrs
from importlib_metadata import distribution
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from horae.errors import ProjectRefused
from horae.plugins.discovery import GROUP, Candidate, discover
from horae.plugins.securing import secure
from horae.testing.scratch import Scratch, environment
from horae.testing.steps import Request, Step, Verdict

LAST: Final = 8
"""How many of the last lines are shown of what a program wrote that ended before its time."""


@attrs.frozen(kw_only=True)
class Wishes:
    """How to check: ``previous`` is a wheel to upgrade from, ``examples`` are arguments by event
    type, ``settings`` those of plugins by name; ``timeout`` in seconds is for the exercise as a
    whole.
    """

    previous: Path | None = None
    examples: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    use: bool = True
    timeout: float = 300.0


def check(target: str, wishes: Wishes) -> Iterator[Step]:
    """Check a project's folder, a wheel, or an installed plugin by its name; each step as it ends.

    Raises ProjectRefused when there is nothing of that kind. The plugin's jobs are run, with
    examples or defaults for arguments; the environment that this runs in is not touched.
    """
    with tempfile.TemporaryDirectory(prefix="horae-check-") as name:
        folder = Path(name)
        scratch = Scratch(folder)
        source = _source(target)
        wheel = yield from _taken("build", lambda: _wheel(source, scratch))
        if wheel is None:
            return
        about = About.of(wheel)
        yield about.judge()
        first = wheel if wishes.previous is None else wishes.previous
        done = yield from _taken("install", lambda: _installed(first, scratch))
        if done is None or not about.plugins:
            return
        request = Request(
            folder=name,
            plugins=about.plugins,
            wheel=str(wheel),
            version=about.version,
            previous=None if wishes.previous is None else About.of(wishes.previous).version,
            examples=wishes.examples,
            settings=wishes.settings,
            use=wishes.use,
        )
        yield from _exercise(scratch, request, folder, wishes.timeout)


def _taken(name: str, action: Callable[[], Path]) -> Generator[Step, None, Path | None]:
    began, found = time.monotonic(), None
    try:
        found = action()
        step = Step(name, Verdict.PASSED, found.name)
    except ProjectRefused as error:
        step = Step(name, Verdict.FAILED, str(error), grade="E")
    yield attrs.evolve(step, seconds=round(time.monotonic() - began, 3))
    return found


def _installed(wheel: Path, scratch: Scratch) -> Path:
    scratch.install(wheel.resolve())
    return wheel


def _source(target: str) -> Path | Candidate:
    """A wheel, a project's folder, or what is installed."""
    path = Path(target).resolve()
    is_project = (path / "pyproject.toml").exists() or (path / "setup.py").exists()
    if is_project or (path.suffix == ".whl" and path.is_file()):
        return path
    named = [one for one in discover().values() if target in (one.name, one.distribution)]
    if not named:
        raise ProjectRefused(
            f"{target!r} is no folder with a pyproject.toml, no wheel, and no installed plugin."
        )
    origin = distribution(named[0].distribution).origin
    if not named[0].files and origin is not None:  # editable: its sources are elsewhere
        return Path(url2pathname(urlsplit(origin.url).path))
    return named[0]


def _wheel(source: Path | Candidate, scratch: Scratch) -> Path:
    if isinstance(source, Path):
        return source if source.suffix == ".whl" else scratch.build(source)
    secure(source.distribution, scratch.wheels)
    return next(scratch.wheels.glob("*.whl"))


@attrs.frozen
class About:
    """What a wheel says of itself."""

    metadata: Message
    plugins: tuple[str, ...]

    @classmethod
    def of(cls, wheel: Path) -> "About":
        """Read it."""
        with zipfile.ZipFile(wheel) as archive:
            info = {name.rpartition("/")[2]: name for name in archive.namelist() if _meta(name)}
            metadata = email.message_from_bytes(archive.read(info["METADATA"]))
            entries = ConfigParser(delimiters=("=",))
            if "entry_points.txt" in info:
                entries.read_string(archive.read(info["entry_points.txt"]).decode())
        found = tuple(entries[GROUP]) if entries.has_section(GROUP) else ()
        return cls(metadata, found)

    @property
    def version(self) -> str:
        """The distribution's version."""
        return str(self.metadata["Version"])

    def judge(self) -> Step:
        """Whether it says what people and programs want to know before they install it."""
        if not self.plugins:
            told = f"no entry point in the group {GROUP!r}: add [project.entry-points.{GROUP}]"
            return Step("metadata", Verdict.FAILED, told, grade="E")
        missing = [what for what, there in self._wanted() if not there]
        if missing:
            return Step("metadata", Verdict.NOTED, f"add {', '.join(missing)}", grade="B")
        return Step("metadata", Verdict.PASSED, f"plugins: {', '.join(self.plugins)}")

    def _wanted(self) -> Iterator[tuple[str, object]]:
        needed = map(Requirement, self.metadata.get_all("Requires-Dist", []))
        names = {canonicalize_name(one.name) for one in needed}
        yield "a description", self.metadata["Summary"]
        yield "a readme", self.metadata.get_payload() or self.metadata["Description"]
        yield "requires-python", self.metadata["Requires-Python"]
        yield "horae-hookspecs to the dependencies", "horae-hookspecs" in names


def _meta(name: str) -> bool:
    return name.count("/") == 1 and name.split("/")[0].endswith(".dist-info")


def _exercise(scratch: Scratch, request: Request, folder: Path, timeout: float) -> Iterator[Step]:
    """The steps of the program in the scratch environment; whatever ends it early is the last."""
    under_way, until = Step("exercise"), time.monotonic() + timeout
    with _program(scratch, request, folder / "said") as (process, lines):
        while True:
            try:
                line = lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                told = f"not over after {timeout:g} s in all"
                yield _ended(under_way, told)
                return
            if line is None:
                break
            step = Step(**json.loads(line))
            if step.verdict is None:
                under_way = step
            else:
                yield attrs.evolve(step, verdict=Verdict(step.verdict))
        code = process.wait()
    if code != 0:
        said = (folder / "said").read_text("utf-8", "replace").strip().splitlines()[-LAST:]
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        told = "\n".join([f"its process ended with {how}", *said])
        yield _ended(under_way, told)


def _ended(under_way: Step, told: str) -> Step:
    grade = max(under_way.grade, "D")
    return attrs.evolve(under_way, verdict=Verdict.FAILED, detail=told, grade=grade)


@contextmanager
def _program(
    scratch: Scratch, request: Request, said: Path
) -> "Iterator[tuple[subprocess.Popen[str], queue.SimpleQueue[str | None]]]":
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    with said.open("w") as errors:
        process = subprocess.Popen(  # noqa: S603
            [scratch.python, "-m", "horae.testing.exercise", json.dumps(attrs.asdict(request))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(),
            cwd=request.folder,
        )
        assert process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            yield process, lines
        finally:
            process.kill()
            process.wait()
            reader.join()
            process.stdout.close()


def _read(stream: Any, lines: "queue.SimpleQueue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
