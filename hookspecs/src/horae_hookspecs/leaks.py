"""What is left of an unloaded plugin: plain text about it, nothing that would hold it."""

import attrs


@attrs.frozen(kw_only=True)
class Survivor:
    """A class or function that is still alive, and from it outwards what holds it.

    The last link of ``holders`` is what has to let go: a name in a module, a thread, an exception.
    """

    kind: str
    name: str
    holders: tuple[str, ...]

    def __str__(self) -> str:
        return " <- ".join((f"{self.kind} {self.name}", *self.holders))


@attrs.frozen(kw_only=True)
class LeftThread:
    """A thread in whose stack the plugin's code is; ``stack`` as text, the innermost call first."""

    name: str
    stack: tuple[str, ...]

    def __str__(self) -> str:
        return f"thread {self.name!r} in {', called by '.join(self.stack)}"


@attrs.frozen(kw_only=True)
class LeftChange:
    """A change of something that the whole process shares; ``where`` is what was changed."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@attrs.frozen(kw_only=True)
class LeakReport:
    """What one generation of a plugin left behind.

    It is leaking when there are ``survivors``; ``total`` counts them all, of which the first few
    are described. ``changes`` alone hold no code, and are worth knowing.
    """

    plugin: str
    version: str | None
    generation: int
    total: int = 0
    survivors: tuple[Survivor, ...] = ()
    threads: tuple[LeftThread, ...] = ()
    changes: tuple[LeftChange, ...] = ()

    @property
    def collected(self) -> bool:
        """Whether all of its classes and functions are gone."""
        return not self.total

    def __str__(self) -> str:
        title = f"{self.plugin} {self.version or ''}".rstrip() + f", generation {self.generation}"
        count = f"{self.total} classes and functions are still alive" if self.total else "is gone"
        lines = [f"{title}: {count}", *(f"  {one}" for one in self.survivors)]
        if self.threads:
            lines += ["threads that run its code", *(f"  {one}" for one in self.threads)]
        if self.changes:
            lines += ["what it changed in the process", *(f"  {one}" for one in self.changes)]
        return "\n".join(lines)
