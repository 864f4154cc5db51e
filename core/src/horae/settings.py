"""What an operator can set, and the store URLs horae understands."""

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import attrs
import cattrs
from attrs import validators
from packaging.requirements import InvalidRequirement, Requirement

from horae.converter import explain, strict_converter
from horae.errors import HostError, SettingsError


@attrs.frozen
class Retention:
    """How long history is kept: an event for ``age`` after it was over, and no more than the newest
    ``count`` of its type that are over.

    Of an event that is not over, the same holds for its runs; the last one is always kept, and so
    are the newest event and the one that ran last. None is no bound.
    """

    age: timedelta | None = attrs.field(default=timedelta(days=30))
    count: int | None = attrs.field(default=None)

    @age.validator
    def _check_age(self, _field: object, age: object) -> None:
        if age is not None and not (isinstance(age, timedelta) and age >= timedelta(0)):
            raise SettingsError(f"age={age!r} is neither None nor a timedelta from 0 on.")

    @count.validator
    def _check_count(self, _field: object, count: object) -> None:
        if count is not None and not (type(count) is int and count >= 0):
            raise SettingsError(f"count={count!r} is neither None nor a number from 0 on.")


def _limit(default: int | None = None) -> Any:
    wanted = [validators.instance_of(int), validators.ge(0)]
    return attrs.field(default=default, validator=validators.optional(wanted))


@attrs.frozen(kw_only=True)
class Budget:
    """When a host stops running a type of a plugin, until somebody resumes the plugin.

    ``crashes`` is after how many runs in a row whose child process ended by itself, killed by a
    signal or by an exit. ``lost_hosts`` is after how many hosts that ended without a word while
    they had runs of it in hand, with no success between. ``failures`` is after how many runs in a
    row that failed or ran out of time, in whatever way; ``plugin_failures`` how many such runs of
    all its types within ``window`` suspend a plugin as a whole. None, like 0, is no limit. By
    default only crashes count: a failure is often the news that a job is for, and an event that
    has lost its host three times is set aside by itself.
    """

    crashes: int | None = _limit(3)
    lost_hosts: int | None = _limit()
    failures: int | None = _limit()
    plugin_failures: int | None = _limit()
    window: timedelta = attrs.field(
        default=timedelta(hours=1), validator=validators.gt(timedelta(0))
    )

    @property
    def window_micros(self) -> int:
        """The window in microseconds."""
        return self.window // timedelta(microseconds=1)


def _requirement(text: object, where: str) -> Requirement:
    try:
        found = Requirement(text if isinstance(text, str) else "")
    except InvalidRequirement:
        found = None
    if found is None or found.extras or found.marker or found.url:
        raise SettingsError(
            f"{where} has {text!r}, which is no distribution such as 'acme-plugin', "
            "'acme-plugin<2' or 'acme-plugin==1.4'."
        )
    return found


@attrs.frozen(kw_only=True)
class Trust:
    """Which distributions may bring plugins. Asked before anything of one is imported.

    ``allow`` names those that may, and then no other may; None names none. ``block`` names those
    that may not, whatever else is said, each with the reason that is shown. Both take a name or a
    name with versions, ``acme-plugin<2``. ``pins`` allows exactly what is named: it maps
    ``distribution==version`` to the SHA-256 of its contents (``horae plugin info`` shows it); no
    other version of a pinned distribution may be loaded, and no other files. ``default`` is what
    holds for all that is not named; "deny" where there is an ``allow``, else "allow".
    ``source`` is where this was written, for whoever wants to change it.

    Code that is allowed runs with all the rights of the host's process.
    """

    allow: tuple[str, ...] | None = attrs.field(
        default=None, converter=attrs.converters.optional(tuple)
    )
    block: Mapping[str, str] = attrs.field(factory=dict)
    pins: Mapping[str, str] = attrs.field(factory=dict)
    default: Literal["allow", "deny"] = attrs.field(
        default=attrs.Factory(lambda self: "allow" if self.allow is None else "deny", True)
    )
    source: str = "Settings(trust=...)"

    @allow.validator
    def _check_allow(self, _field: object, allow: object) -> None:
        for text in self.allow or ():
            _requirement(text, "trust.allow")

    @block.validator
    def _check_block(self, _field: object, block: object) -> None:
        for text, reason in self.block.items():
            _requirement(text, "trust.block")
            if not isinstance(reason, str):
                raise SettingsError(f"trust.block needs the reason against {text!r} as a text.")

    @pins.validator
    def _check_pins(self, _field: object, pins: object) -> None:
        for text, digest in self.pins.items():
            versions = [one.operator for one in _requirement(text, "trust.pins").specifier]
            if versions != ["=="] or "*" in text:
                raise SettingsError(f"trust.pins has {text!r}; write distribution==version.")
            if not re.fullmatch("(sha256[:=])?[0-9a-f]{64}", str(digest)):
                raise SettingsError(
                    f"trust.pins has {digest!r} for {text}, which is no SHA-256 in 64 hex digits."
                )

    @default.validator
    def _check_default(self, _field: object, default: object) -> None:
        if default not in ("allow", "deny"):
            raise SettingsError(f"trust.default={default!r} is neither 'allow' nor 'deny'.")
        if default == "allow" and self.allow is not None:
            raise SettingsError(
                "trust.default='allow' would allow also what trust.allow does not name; leave out "
                "one of the two."
            )


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of a host. Durations are in seconds.

    ``name`` keys the desired set of plugins, so it should stay the same over restarts; left out,
    it is the machine's name, with a number when another living host has that. ``workers`` is the
    number of threads that run jobs, ``processes`` that of child processes for types that ask for
    the executor ``process``; a quarter as many more are kept for types that would find all of them
    taken by others. ``beat`` and ``lease``: a host shows that it lives every
    ``beat``; others take over its runs when it has not for ``lease``. ``poll`` is how often a
    host looks for what other processes wrote. ``reentry_rate`` is how many events per second of a
    type that was absent a host takes on, until what fell due in its absence is worked off; None is
    as many as it can. ``preflight`` is how long a child process has to import a plugin that this
    host has not seen before, ahead of the host itself; 0 does without. ``trust`` says which
    distributions may bring plugins. ``watch`` is what becomes of changes on disk that this host did
    not make: they are told and shown beside the plugin (``propose``), or ``apply`` upgrades,
    unloads, and loads what is wanted. ``deactivate`` is how long each thing may take that a plugin
    does at its end; what takes longer is left behind and reported. ``plugins`` holds settings by
    plugin name. ``retention`` says by event type how long history is kept; the key ``*`` stands for
    all other types, and without it theirs is kept for ever. ``budget`` says how often runs may fail
    before their type is suspended.
    """

    url: str = attrs.field(default="sqlite:///horae.db", validator=validators.instance_of(str))
    name: str | None = None
    workers: int = attrs.field(default=16, validator=validators.ge(1))
    processes: int = attrs.field(factory=lambda: os.cpu_count() or 1, validator=validators.ge(1))
    drain: float = attrs.field(default=30.0, validator=validators.ge(0))
    deactivate: float = attrs.field(default=10.0, validator=validators.gt(0))
    autoload: bool = False
    beat: float = attrs.field(default=5.0, validator=validators.gt(0))
    lease: float = attrs.field(default=30.0, validator=validators.gt(0))
    poll: float = attrs.field(default=0.04, validator=validators.gt(0))
    reentry_rate: float | None = attrs.field(
        default=None, validator=validators.optional(validators.gt(0))
    )
    preflight: float = attrs.field(default=10.0, validator=validators.ge(0))
    trust: Trust = attrs.field(factory=Trust, validator=validators.instance_of(Trust))
    watch: Literal["off", "propose", "apply"] = attrs.field(
        default="propose", validator=validators.in_(("off", "propose", "apply"))
    )
    plugins: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    retention: Mapping[str, Retention] = attrs.field(
        factory=lambda: {"*": Retention()},
        validator=validators.deep_mapping(
            validators.instance_of(str), validators.instance_of(Retention)
        ),
    )

    budget: Budget = attrs.field(factory=Budget, validator=validators.instance_of(Budget))

    @classmethod
    def read(cls, file: str | os.PathLike[str]) -> Self:
        """The settings in a TOML file, whose keys are the names here: ``workers = 8``, and tables
        such as ``[trust]``, ``[plugins.acme]`` and ``[retention."*"]``. Lengths of time are in
        seconds.

        Raises SettingsError with everything that is wrong in it, each with its place.
        """
        try:
            found = tomllib.loads(Path(file).read_text())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{os.fspath(file)} cannot be read: {error}.") from None
        if isinstance(found.get("trust"), dict):
            found["trust"]["source"] = str(Path(file).absolute())
        try:
            return strict_converter().structure(found, cls)
        except (cattrs.BaseValidationError, SettingsError) as error:
            wrong = cattrs.transform_error(error, format_exception=_explain)
            listed = "".join(f"\n  - {one}" for one in wrong)
            raise SettingsError(
                f"{os.fspath(file)} has settings that make no sense:{listed}"
            ) from None

    def __attrs_post_init__(self) -> None:
        if self.lease < 2 * self.beat:
            raise SettingsError(
                f"lease={self.lease} s leaves room for fewer than two beats of {self.beat} s, so "
                "one late beat would look like a dead host; make it at least twice the beat."
            )


def _explain(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, HostError) else explain(error, kind)


@attrs.frozen
class SqliteUrl:
    """``sqlite:///file.db``, four slashes for an absolute path, and options after ``?``."""

    path: str
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    max_page_count: int | None = None


def parse_sqlite_url(url: str) -> SqliteUrl:
    """The parts of a SQLite URL. Raises SettingsError, saying what is wrong with it."""
    parts = urlsplit(url)
    if parts.netloc or parts.path.strip("/") in ("", ":memory:"):
        raise SettingsError(
            f"{url!r} names no database file. Write sqlite:///events.db for a file in this folder "
            "or sqlite:////var/lib/app/events.db for an absolute path; what lives in memory alone "
            "would not survive the process."
        )
    options = dict(parse_qsl(parts.query))
    synchronous = options.pop("synchronous", "FULL").upper()
    pages = options.pop("max_page_count", None)
    if options or synchronous not in ("FULL", "NORMAL") or not (pages or "1").isdigit():
        raise SettingsError(
            f"{url!r} has options that make no sense. Known are synchronous=FULL|NORMAL and "
            "max_page_count=NUMBER."
        )
    return SqliteUrl(
        parts.path[1:],
        "FULL" if synchronous == "FULL" else "NORMAL",
        int(pages) if pages else None,
    )
