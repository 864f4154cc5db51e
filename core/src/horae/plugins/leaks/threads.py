"""The threads that run a plugin's code, and where they are in it."""

import sys
import threading
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Final

import attrs

from horae.plugins.leaks.ownership import Ownership
from horae_hookspecs import LeftThread

MAX_STACK: Final = 6


@attrs.frozen
class Running:
    """A thread with code of the plugin in its stack: its innermost call, and the first of that."""

    name: str
    top: FrameType
    own: FrameType

    @property
    def mark(self) -> str:
        """What a chain of holders ends with."""
        return f"thread {self.name!r} that runs {_place(self.own)}"

    def as_left(self) -> LeftThread:
        """The same as text, which holds nothing."""
        # The lines are not looked up: the file may have other ones by now.
        walk = traceback.walk_stack(self.top)
        stack = traceback.StackSummary.extract(walk, lookup_lines=False)
        places = [f"{one.name} ({one.filename}:{one.lineno})" for one in stack]
        return LeftThread(name=self.name, stack=tuple(places[:MAX_STACK]))


def running_in(own: Ownership) -> Iterator[Running]:
    """Every thread that has code of it somewhere in its stack."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, top in sys._current_frames().items():
        frame: FrameType | None = top
        while frame is not None and not own.globals_of(frame.f_globals):
            frame = frame.f_back
        if frame is not None:
            yield Running(names.get(ident, f"number {ident}"), top, frame)


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
