"""Rows as sqlite3 takes them at once: NULL in the statement, and of the rest only plain values.

For whatever is not exactly an int, a float, a str or bytes, sqlite3 asks for an adapter before it
binds it: for None, a bool, a member of an enumeration. That takes 0.3 microseconds each, several
times the binding, and most columns of most rows are NULL: half the price of storing an event.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from horae.stores._sqlite_connections import Db

Row = Sequence[Any]
"""The values of a statement's ``?`` in their order."""


def write_all(db: Db, statement: str, rows: Iterable[Row]) -> None:
    """Execute the statement for each of ``rows``, in their order."""
    for nulls, alike in groupby(rows, _nulls):
        spelled, values = _spelled(statement, nulls)
        db.executemany(spelled, map(values, alike))


def write_one(db: Db, statement: str, row: Row) -> int:
    """Execute the statement for one row; gives the id of what it inserted."""
    spelled, values = _spelled(statement, _nulls(row))
    inserted = db.execute(spelled, values(row)).lastrowid
    assert inserted is not None
    return inserted


def _nulls(row: Row) -> tuple[bool, ...]:
    return tuple([value is None for value in row])  # a list's comprehension is twice as quick


@lru_cache(maxsize=256)
def _spelled(statement: str, nulls: tuple[bool, ...]) -> tuple[str, Callable[[Row], Row]]:
    """The statement with NULL in some places, and what takes the other places' values of a row."""
    head, *tails = statement.split("?")
    marks = ["NULL" if null else "?" for null in nulls]
    text = head + "".join(mark + tail for mark, tail in zip(marks, tails, strict=True))
    left = [place for place, null in enumerate(nulls) if not null]
    return text, itemgetter(slice(0, 0)) if not left else itemgetter(*left)
