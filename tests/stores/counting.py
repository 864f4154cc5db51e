"""What a statement costs, whatever else the machine does."""

from collections.abc import Iterator
from contextlib import contextmanager

from horae.stores._sqlite_connections import Access


@contextmanager
def steps(access: Access) -> Iterator[list[int]]:
    """Counts the hundreds of virtual machine steps that a store's connection takes."""
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    with access as connection:
        connection.set_progress_handler(count, 100)
    yield counted
    with access as connection:
        connection.set_progress_handler(None, 0)
