"""When the next event of each (lane, priority) is due: what keeps an idle claim cheap.

A head is never later than the truth: it may be too early, which costs one empty look, and never
too late, which would leave an event lying. A pair that was looked up and has nothing has None.
"""

from collections.abc import Callable, Iterable

Pair = tuple[int, int]


class Heads:
    """Known heads by pair; guarded by the store's write lock."""

    def __init__(self) -> None:
        self._heads: dict[Pair, int | None] = {}

    def learn(
        self,
        lanes: Iterable[int],
        priorities: Iterable[int],
        look_up: Callable[[int, int], int | None],
    ) -> None:
        """Look up every pair of these lanes that is not known."""
        for lane in lanes:
            for priority in priorities:
                if (lane, priority) not in self._heads:
                    self._heads[lane, priority] = look_up(lane, priority)

    def lower(self, lane: int, priority: int, due: int) -> None:
        """An event was added; an unknown pair stays unknown and is looked up by the next claim."""
        if (lane, priority) in self._heads:
            known = self._heads[lane, priority]
            self._heads[lane, priority] = due if known is None else min(known, due)

    def due(self, lanes: Iterable[int], now: int) -> list[Pair]:
        """The pairs of these lanes that have something due."""
        wanted = set(lanes)
        return [
            pair
            for pair, head in self._heads.items()
            if head is not None and head <= now and pair[0] in wanted
        ]

    def earliest(self, lanes: Iterable[int]) -> int | None:
        """The earliest head of these lanes."""
        wanted = set(lanes)
        return min(
            (head for pair, head in self._heads.items() if head is not None and pair[0] in wanted),
            default=None,
        )

    def look_again(self, pairs: Iterable[Pair], look_up: Callable[[int, int], int | None]) -> None:
        """These pairs were claimed from, which moved their heads."""
        for pair in pairs:
            self._heads[pair] = look_up(*pair)

    def forget(self) -> None:
        """Something changed that nobody followed: look everything up again."""
        self._heads.clear()
