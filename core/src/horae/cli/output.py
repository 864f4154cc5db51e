"""How results are shown: tables for people, tab-separated lines for pipes, JSON for programs.

A row maps names to plain values: text, numbers, truth values, instants, lengths of time, and
lists of them. Every row of JSON has all names; people and pipes get the columns that are asked
for.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
import click

Row = Mapping[str, Any]

json_option: Final[Callable[[Callable[..., Any]], Callable[..., Any]]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; instants are ISO 8601 in UTC."
)

PADDING: Final = 3
"""What a table puts between two columns."""

TOO_WIDE: Final = 1.5
"""How many times wider than the terminal a table may be before folding spoils it."""

_COLOURS: Final = {
    "active": "green",
    "suspended": "yellow",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "timeout": "red",
    "interrupted": "yellow",
    "quarantined": "red",
}


def listing(rows: Iterable[Row], columns: str, *, as_json: bool, empty: str) -> None:
    """Show many rows; ``empty`` is what people read when there are none.

    ``columns`` are the names to show, separated by blanks.
    """
    rows, names = list(rows), columns.split()
    if as_json:
        print_json(rows)
        return
    if not rows:
        # A pipe gets the header alone, since a sentence would look like a row.
        click.echo(empty, err=not sys.stdout.isatty())
    if not sys.stdout.isatty():
        lines = [names, *([one_line(row[name]) for name in names] for row in rows)]
        click.echo("\n".join("\t".join(cells) for cells in lines))
    elif rows:
        _show_people(rows, [name for name in names if any(row[name] for row in rows)])


def record(row: Row, *, as_json: bool) -> None:
    """Show one thing: a line for each of its names, and texts in full."""
    if as_json:
        print_json(row)
        return
    width = max(map(len, row)) + 2
    for name, value in row.items():
        # click takes the style away where nobody could see it.
        label = click.style(_heading(name).ljust(width), bold=True)
        click.echo(label + many_lines(value, indent=width))


def print_json(value: object) -> None:
    """Print JSON of plain values; ASCII alone, so that every terminal and pipe can carry it."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def one_line(value: object) -> str:
    """A value as text that stays in its cell: control characters are shown, not obeyed."""
    return _visible(_text(value))


def many_lines(value: object, *, indent: int) -> str:
    """A value as text of several lines, all but the first indented."""
    lines = [_visible(line) for line in _text(value).splitlines()]
    return ("\n" + " " * indent).join(lines)


def since(instant: datetime | None) -> timedelta | None:
    """How long ago ``instant`` was; None when it is none, or still to come."""
    if instant is None or instant > (now := datetime.now(UTC)):
        return None
    return now - instant


def age(length: timedelta) -> str:
    """A length of time in its two largest units: ``3 d 4 h``."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.3g} s"
    parts: list[tuple[int, str]] = []
    rest = int(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def _text(value: object) -> str:
    match value:
        case None | "" | [] | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
        case timedelta():
            return age(value)
        case Mapping():
            return json.dumps(dict(value), ensure_ascii=False)
        case list() | tuple():
            return ", ".join(map(_text, value))
    return str(value)


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return dict(value)
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)  # type: ignore[arg-type]
    raise TypeError(f"{value!r} is no plain value")


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def _heading(name: str) -> str:
    return name.replace("_", " ")


def _show_people(rows: Sequence[Row], names: Sequence[str]) -> None:
    """A table, or where folding would make it unreadable, the rows one below the other."""
    from rich import box  # only people need it, and it is slow to import
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[one_line(row[name]) for name in names] for row in rows]
    console = Console()
    widths = [max(map(len, column)) + PADDING for column in zip(names, *cells, strict=True)]
    if sum(widths) > TOO_WIDE * console.width:
        _stack(rows, names)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(_heading(name), overflow="fold")
    for line in cells:
        table.add_row(*[Text(cell, style=_COLOURS.get(cell, "")) for cell in line])
    console.print(table)


def _stack(rows: Sequence[Row], names: Sequence[str]) -> None:
    for number, row in enumerate(rows):
        if number:
            click.echo()
        record({name: row[name] for name in names}, as_json=False)
