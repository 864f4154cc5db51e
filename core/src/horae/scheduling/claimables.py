"""What a host can claim for each of its executors, and how much of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import attrs

from horae.registry import Entry, hook_failed
from horae.scheduling.runner import Desk, Room, RunnerWork
from horae.stores.records import Claim, Lane, Provider
from horae_hookspecs import Executor

NO_ROOM: Final = -(2**31)
"""Of an executor that cannot say how much it has: nothing is queued ahead for it either."""


@attrs.frozen(eq=False)
class Claimable:
    """The lanes that one executor can run, as things are loaded now."""

    executor: Executor
    entries: Mapping[int, tuple[Lane, Entry]]
    providers: Mapping[int, Provider] = attrs.field(init=False)
    room: Room = attrs.field(init=False)
    spare_room: Room = attrs.field(init=False)
    lone: bool = attrs.field(init=False)
    """Whether all the lanes are those of a single type, which needs no room beside itself."""

    def __attrs_post_init__(self) -> None:
        providers = {lane_id: _provider(entry) for lane_id, (_, entry) in self.entries.items()}
        object.__setattr__(self, "providers", providers)
        object.__setattr__(self, "room", Room(self.executor))
        object.__setattr__(self, "spare_room", Room(self.executor, spare=True))
        types = {entry.event_type for _, entry in self.entries.values()}
        object.__setattr__(self, "lone", len(types) == 1)

    def left(self, outstanding: Mapping[Room, int]) -> int:
        """How many more runs can begin at once."""
        return self._asked(self.executor.capacity) - outstanding[self.room]

    def spare_left(self, outstanding: Mapping[Room, int]) -> int:
        """The same in the room that is kept for types that have nothing under way."""
        if self.lone:
            return 0
        return self._asked(self.executor.spare) - outstanding[self.spare_room]

    def idle(self, works: Iterable[RunnerWork]) -> Mapping[int, Provider]:
        """The lanes of types that have none of ``works``, which are all that is under way."""
        busy = {work.entry.event_type for work in works if work.room.executor is self.executor}
        return {
            lane_id: self.providers[lane_id]
            for lane_id, (_, entry) in self.entries.items()
            if entry.event_type not in busy
        }

    def work(self, desk: Desk, claim: Claim, *, spare: bool = False) -> RunnerWork:
        """The run of an event that was claimed."""
        room = self.spare_room if spare else self.room
        return RunnerWork(desk, claim, *self.entries[claim.lane], room)

    def _asked(self, size: Callable[[], int]) -> int:
        try:
            return size()
        except BaseException as error:
            _, entry = next(iter(self.entries.values()))
            hook_failed(entry.generation.plugin, "horae_executors", error)
            return NO_ROOM


def _provider(entry: Entry) -> Provider:
    code, policy = entry.generation, entry.policy
    return Provider(
        code.plugin,
        code.version,
        code.number,
        policy.exclusive,
        policy.concurrency,
        entry.event_type,
    )
