"""pip in a process of its own, one at a time in an environment: what horae asks of it, and how
it is understood.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import attrs
from packaging.utils import NormalizedName, canonicalize_name

from horae.errors import InstallFailed

try:
    import fcntl
except ImportError:  # another system; there, threads of one process alone are kept apart
    fcntl = None  # type: ignore[assignment]

LOCK: Final = ".horae-pip.lock"
LAST: Final = 12
"""How many lines of pip's last words are kept."""


@attrs.frozen
class Sources:
    """Where pip looks for distributions, beyond what its own configuration says.

    ``find_links`` are folders or pages with wheels, ``index`` the URL of an index instead of the
    configured one; ``offline`` means that no index is asked at all.
    """

    find_links: tuple[str, ...] = ()
    index: str | None = None
    offline: bool = False

    def options(self) -> list[str]:
        """As pip takes them."""
        links = [option for link in self.find_links for option in ("--find-links", link)]
        index = [] if self.index is None else ["--index-url", self.index]
        return [*links, *index, *(["--no-index"] if self.offline else [])]


@attrs.frozen
class Change:
    """One distribution that an installation would put on disk."""

    name: str
    version: str
    url: str
    requested: bool
    metadata: Mapping[str, Any] = attrs.field(repr=False, eq=False)

    @property
    def key(self) -> NormalizedName:
        """The name as it is compared."""
        return canonicalize_name(self.name)

    @property
    def wheel(self) -> Path | None:
        """The wheel itself, if it lies on this machine."""
        parts = urlsplit(self.url)
        if parts.scheme == "file" and parts.path.endswith(".whl"):
            return Path(url2pathname(parts.path))
        return None


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Keep every other horae in this environment from running pip, and wait for one that does."""
    with open(Path(sys.prefix) / LOCK, "w") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def at_work() -> bool:
    """Whether a horae runs pip in this environment right now."""
    lock = Path(sys.prefix) / LOCK
    if fcntl is None or not lock.exists():
        return False
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def plan(requirement: str, *options: str) -> list[Change]:
    """What installing ``requirement`` would put on disk; touches nothing.

    Raises InstallFailed with pip's words when it cannot be had.
    """
    report = run("install", "--dry-run", "--quiet", "--report", "-", *options, "--", requirement)
    return [
        Change(
            name=item["metadata"]["name"],
            version=item["metadata"]["version"],
            url=_url(**item["download_info"]),
            requested=item["requested"],
            metadata=item["metadata"],
        )
        for item in json.loads(report)["install"]
    ]


def _url(
    url: str, vcs_info: Mapping[str, str] | None = None, subdirectory: str = "", **_: object
) -> str:
    """Where pip found a distribution, as it takes it in a requirement."""
    inside = f"#subdirectory={subdirectory}" if subdirectory else ""
    if vcs_info is None:
        return url + inside
    return f"{vcs_info['vcs']}+{url}@{vcs_info['commit_id']}{inside}"


def fetch(changes: Sequence[Change], folder: Path, *options: str) -> list[Path]:
    """A wheel of each change in ``folder``: copied, downloaded or built. Raises InstallFailed."""
    folder.mkdir(parents=True, exist_ok=True)
    for change in changes:
        if change.wheel is not None:
            shutil.copy(change.wheel, folder)
    there = [f"{change.name} @ {change.url}" for change in changes if change.wheel is None]
    if there:
        run("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), *options, "--", *there)
    return sorted(folder.glob("*.whl"))


def install(folder: Path, versions: Mapping[str, str]) -> None:
    """Put just these versions on disk, from the wheels in ``folder``, whatever is there.

    pip keeps no origin of them. Raises InstallFailed; pip has then taken back what it did.
    """
    options = ("--quiet", "--no-deps", "--no-index", "--force-reinstall")
    pins = [f"{name}=={version}" for name, version in versions.items()]
    run("install", *options, "--find-links", str(folder), "--", *pins)


def uninstall(*names: str) -> None:
    """Take distributions out."""
    run("uninstall", "--quiet", "--yes", "--", *names)


def run(command: str, *arguments: str) -> str:
    """Run pip to its end; what it printed. Raises InstallFailed with its last words."""
    call = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", command]
    done = subprocess.run(  # noqa: S603
        [*call, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "NO_COLOR": "1", "PYTHONUTF8": "1"},
        check=False,
    )
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()][-LAST:]
        raise InstallFailed(
            arguments[-1], f"pip {command} {arguments[-1]} failed:", "\n".join(last)
        )
    return done.stdout
