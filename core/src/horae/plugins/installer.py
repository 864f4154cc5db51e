"""Plugins installed, upgraded and uninstalled while the host runs: disk and memory as one.

First comes the plan, what pip would change, held against what is loaded; what could not be
replaced is refused before anything is touched. Then the new wheels are fetched and the old
distributions secured, so that all that follows needs no network. Only then pip changes the disk,
while the plugin's events wait, and whatever fails from there on puts the old wheel back.
"""

import contextlib
import csv
import functools
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from configparser import ConfigParser
from pathlib import Path
from typing import Self

import attrs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename

from horae import logs
from horae.errors import InstallFailed, PluginError, PluginNotFound, RestartRequired, describe
from horae.plugins import inplace, pip, securing, trust
from horae.plugins.discovery import (
    BUILTIN_DISTRIBUTION,
    GROUP,
    NATIVE,
    Candidate,
    discover,
    distributions,
    find,
    in_folder,
)
from horae.plugins.lifecycle import Lifecycle
from horae.plugins.pip import Change, Sources
from horae.settings import Trust
from horae_hookspecs import PluginInfo, UnloadReport

Tell = Callable[[str], None]
"""Is told what is being done, in a few words."""

Vouch = Callable[[], None]
"""Says of what is installed now that it was tried."""


def silent(_doing: str) -> None:
    """Where nobody wants to know."""


@attrs.frozen
class Wish:
    """What is to be installed and how; ``drain`` is in seconds."""

    requirement: str
    drain: float
    upgrade: bool = False
    sources: Sources = attrs.field(factory=Sources)
    include_dependents: bool = False


@attrs.frozen
class Plan:
    """What an installation changes on disk: ``target`` is the distribution that was asked for."""

    target: NormalizedName
    changes: tuple[Change, ...]

    @property
    def touches_target(self) -> bool:
        """Whether the distribution itself would be another one."""
        return any(change.key == self.target for change in self.changes)


class Installer:
    """Changes the environment of this process, and the plugins of one host with it."""

    def __init__(self, lifecycle: Lifecycle, policy: Trust) -> None:
        self._lifecycle = lifecycle
        self._policy = policy

    # -- installing

    def install(self, wish: Wish, tell: Tell = silent) -> PluginInfo:
        """Install what a requirement asks for, with what it needs, and load or upgrade its plugin.

        Nothing is reinstalled that satisfies the requirement; with ``upgrade`` it is replaced by
        the newest that does. Raises PluginBlocked when the policy denies it, InstallFailed when
        pip cannot, RestartRequired when this process could not run it, and what load and upgrade
        raise: disk and memory are then as they were.
        """
        self._admit_name(wish.requirement)
        with self._alone(tell), tempfile.TemporaryDirectory(prefix="horae-") as folder:
            tell("planning")
            plan = self._plan(wish)
            tell("fetching " + _listed(plan.changes))
            new = Path(folder, "new")
            wheels = pip.fetch(plan.changes, new, *wish.sources.options())
            names = self._names(plan, wheels)
            self._admit(wheels)
            self._refuse_native(names, wheels)
            tell("trying " + _listed(plan.changes))
            tried = self._rehearse(names, wheels, Path(folder, "tried"))
            disk = Disk(plan.changes, new, Path(folder, "old"), tell, tried)
            return self._bring_in(names, plan, wish, disk)

    @contextlib.contextmanager
    def _alone(self, tell: Tell) -> Iterator[None]:
        tell("waiting for pip")
        try:
            with pip.exclusive():
                yield
        except OSError as error:
            raise InstallFailed("pip", f"This environment cannot be changed: {error}") from None

    def _plan(self, wish: Wish) -> Plan:
        """What pip would do. Where it would replace what others have loaded, another way is
        looked for; an upgrade is to the newest there is, or refused.
        """
        options = [*wish.sources.options(), *(["--upgrade"] if wish.upgrade else [])]
        plan = _planned(wish.requirement, options)
        shared = _shared(plan)
        if shared and not wish.upgrade:
            with contextlib.suppress(InstallFailed), _constraints(plan.target) as file:
                return _planned(wish.requirement, [*options, "--constraint", str(file)])
        if shared:
            self._refuse(
                self._loaded_of(plan.target) or [plan.target],
                f"it needs {_listed(shared)}, and this process has loaded another version; stop "
                f"the host, run: python -m pip install {wish.requirement!r}, and start it",
            )
        return plan

    def _admit_name(self, requirement: str) -> None:
        """Deny what is not allowed in any version before pip, or a build of it, sees it."""
        with contextlib.suppress(InvalidRequirement):
            name = Requirement(requirement).name
            trust.demand(self._policy, name, name, None)

    def _admit(self, wheels: Sequence[Path]) -> None:
        """Deny distributions by their versions and contents; those without plugins need be on no
        list.
        """
        for wheel in wheels:
            name, version, *_ = parse_wheel_filename(wheel.name)
            plugins = _plugins_in(wheel)
            policy = self._policy if plugins else trust.for_dependencies(self._policy)
            contents = functools.partial(trust.contents_of_wheel, wheel)
            trust.demand(policy, (plugins or [name])[0], name, str(version), contents)

    def _names(self, plan: Plan, wheels: Sequence[Path]) -> list[str]:
        """The plugins to bring in: those of the distribution that are loaded, else all it has."""
        loaded = self._loaded_of(plan.target)
        if loaded:
            return loaded
        wheel = next((one for one in wheels if _key(one) == plan.target), None)
        names = _plugins_of(plan.target) if wheel is None else _plugins_in(wheel)
        if not names:
            raise InstallFailed(
                plan.target,
                f"{plan.target} has no plugin (entry point group {GROUP!r}); nothing was changed. "
                "What is no plugin is installed with pip.",
            )
        return names

    def _refuse_native(self, names: Sequence[str], wheels: Sequence[Path]) -> None:
        native = [file for wheel in wheels for file in inplace.stale_native(_native_in(wheel))]
        if native:
            self._refuse(
                names,
                f"it has native code, {', '.join(native)}, of which this process has loaded "
                "another version; stop the host, install it with pip, and start the host",
            )

    def _rehearse(self, names: Sequence[str], wheels: Sequence[Path], folder: Path) -> Vouch:
        """Have the plugins imported elsewhere, while nothing waits and nothing is touched; what
        vouches for them once they are installed.
        """
        folder.mkdir()
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                if any(".data/" in name.partition("/")[0] + "/" for name in archive.namelist()):
                    return lambda: None  # only an installer knows where its parts belong
                archive.extractall(folder)
        tried = [one for one in in_folder(folder) if one.name in names]
        for candidate in tried:
            self._lifecycle.rehearse(candidate, folder)

        def vouch() -> None:
            for one in tried:
                installed = find(one.name, one.distribution)
                if installed is not None:
                    self._lifecycle.vouch(installed)

        return vouch

    def _refuse(self, names: Sequence[str], reason: str) -> None:
        error = RestartRequired(names[0], reason)
        self._lifecycle.refuse(error)
        raise error

    def _bring_in(self, names: Sequence[str], plan: Plan, wish: Wish, disk: "Disk") -> PluginInfo:
        loaded = self._lifecycle.loaded_candidates()
        if names[0] in loaded and not plan.touches_target:
            with disk:
                return self._follow(names, wish, loaded)
        done: list[PluginInfo] = []
        try:
            for name in names:
                done.append(self._upgrade(name, wish, None if done else disk))
        except BaseException:
            if done:
                disk.put_back()
                for info in done:
                    self._restore(info.name, wish, loaded)
            raise
        return done[0]

    def _follow(
        self, names: Sequence[str], wish: Wish, loaded: Mapping[str, Candidate]
    ) -> PluginInfo:
        """Take over what another host, or pip itself, has put on disk meanwhile."""
        installed = discover()
        for name in names:
            if installed.get(name) != loaded[name]:
                self._upgrade(name, wish, None)
        return self._lifecycle.load(names[0])

    def _upgrade(self, name: str, wish: Wish, disk: "Disk | None") -> PluginInfo:
        return self._lifecycle.upgrade(
            name, wish.drain, include_dependents=wish.include_dependents, disk=disk
        )

    def _restore(self, name: str, wish: Wish, before: Mapping[str, Candidate]) -> None:
        """Have a plugin as it was, after another of its distribution has failed."""
        try:
            if name in before:
                self._upgrade(name, wish, None)
            else:
                self._lifecycle.unload(name, wish.drain)
        except PluginError as error:
            logs.get().error("plugin.not_put_back", plugin=name, error=str(error))

    # -- uninstalling

    def uninstall(
        self, name: str, drain: float, *, include_dependents: bool = False, tell: Tell = silent
    ) -> dict[str, UnloadReport]:
        """Unload a plugin, with the others of its distribution, and take that off the disk.

        The reports are those of the plugins that were loaded. Raises PluginNotFound, what unload
        raises, and InstallFailed when pip cannot: they are then loaded again.
        """
        with self._alone(tell):
            candidate = self._lifecycle.loaded_candidates().get(name) or discover().get(name)
            if candidate is None:
                raise PluginNotFound(name, sorted(discover()), None)
            if candidate.distribution == BUILTIN_DISTRIBUTION:
                raise PluginError(f"Plugin {name!r} came with horae; it stays.", plugin=name)
            return self._uninstall(candidate, drain, include_dependents, tell)

    def _uninstall(
        self, candidate: Candidate, drain: float, include_dependents: bool, tell: Tell
    ) -> dict[str, UnloadReport]:
        names = self._loaded_of(canonicalize_name(candidate.distribution))
        reports = {}
        for name in names:
            tell(f"unloading {name}")
            reports[name] = self._lifecycle.unload(
                name, drain, include_dependents=include_dependents
            )
        tell(f"uninstalling {candidate.distribution}")
        try:
            pip.uninstall(candidate.distribution)
        except InstallFailed:
            for name in names:
                self._lifecycle.load(name)
            raise
        return reports

    def _loaded_of(self, distribution: str) -> list[str]:
        loaded = self._lifecycle.loaded_candidates()
        return [name for name, one in loaded.items() if _of(one, distribution)]


class Disk:
    """Entered, it has pip change the disk; left with an error, it puts back what was there."""

    def __init__(
        self, changes: Sequence[Change], new: Path, old: Path, tell: Tell, vouch: Vouch
    ) -> None:
        self._changes = changes
        self._vouch = vouch
        self._new = new
        self._tell = tell
        self._kept = {change.name: securing.secure(change.name, old) for change in changes}

    def __enter__(self) -> Self:
        try:
            if self._changes:
                self._tell("installing " + _listed(self._changes))
                pip.install(self._new, {one.name: one.version for one in self._changes})
                self._vouch()
        except BaseException:
            self.put_back()
            raise
        self._tell("loading")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.put_back()

    def put_back(self) -> None:
        """Have the disk as it was; what cannot be put back is logged, and stops nothing else."""
        if self._changes:
            self._tell("putting back what was installed")
        actions = [one.put_back for one in self._kept.values() if one is not None]
        added = [name for name, one in self._kept.items() if one is None]
        if added:
            actions.append(lambda: pip.uninstall(*added))
        for action in actions:
            try:
                action()
            except (InstallFailed, OSError) as error:
                logs.get().error("plugin.disk_not_put_back", error=describe(error))


def _planned(requirement: str, options: Sequence[str]) -> Plan:
    changes = pip.plan(requirement, *options)
    asked = next((change.key for change in changes if change.requested), None)
    return Plan(asked or _named(requirement), tuple(changes))


def _named(requirement: str) -> NormalizedName:
    """The distribution that is meant by what is installed already."""
    with contextlib.suppress(InvalidRequirement):
        return canonicalize_name(Requirement(requirement).name)
    return _key(Path(requirement))


def _key(wheel: Path) -> NormalizedName:
    return parse_wheel_filename(wheel.name)[0]


def _shared(plan: Plan) -> list[Change]:
    """The changes of what is loaded and is not the plugin's own distribution."""
    return [
        change
        for change in plan.changes
        if change.key != plan.target
        and any(inplace.is_loaded(one) for one in distributions(name=change.name))
    ]


@contextlib.contextmanager
def _constraints(target: NormalizedName) -> Iterator[Path]:
    """A file that has pip leave alone whatever is loaded, but for ``target``."""
    loaded = (one for one in distributions() if one._normalized_name != target)
    pins = [f"{one.name}=={one.version}" for one in loaded if inplace.is_loaded(one)]
    with tempfile.TemporaryDirectory(prefix="horae-") as folder:
        file = Path(folder, "loaded.txt")
        file.write_text("\n".join([*pins, ""]))
        yield file


def _of(candidate: Candidate, distribution: str) -> bool:
    return canonicalize_name(candidate.distribution) == distribution


def _plugins_of(distribution: str) -> list[str]:
    return [name for name, one in discover().items() if _of(one, distribution)]


def _plugins_in(wheel: Path) -> list[str]:
    """The names of the plugins in a wheel."""
    parser = ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(_text_in(wheel, "entry_points.txt"))
    return list(parser[GROUP]) if parser.has_section(GROUP) else []


def _native_in(wheel: Path) -> Mapping[str, str]:
    """The native files that a wheel puts on disk, by their paths there, with their digests."""
    root = Path(sysconfig.get_path("platlib")).resolve()
    return {
        str(root / name): digest.partition("=")[2]
        for name, digest, *_ in csv.reader(_text_in(wheel, "RECORD").splitlines())
        if name.endswith(NATIVE)
    }


def _text_in(wheel: Path, name: str) -> str:
    """A file of a wheel's metadata; empty where there is none."""
    with zipfile.ZipFile(wheel) as archive:
        found = (one for one in archive.namelist() if one.endswith(f".dist-info/{name}"))
        return "".join(archive.read(one).decode() for one in found)


def _listed(changes: Sequence[Change]) -> str:
    return ", ".join(f"{change.name} {change.version}" for change in changes) or "nothing"
