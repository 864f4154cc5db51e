"""``python -m benchmarks``: run the rows and print one table."""

import json
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import claiming, comings, footprint, punctuality, quiet, throughput
from benchmarks.harness import FULL, QUICK, Bench, Line, Row, fsync_median
from horae.stores._sqlite_open import file_system

ROWS: dict[str, Row] = {
    "schedule": throughput.schedule,
    "bulk": throughput.bulk,
    "drain": throughput.drain,
    "lateness": punctuality.lateness,
    "claim": claiming.claim,
    "pause": comings.pause,
    "memory": footprint.memory,
    "idle": footprint.idle,
    "start": punctuality.start,
    "help": footprint.command,
    "unknown": comings.unknown,
}
IN_MEMORY = ("tmpfs", "ramfs")
PIPED = 200
"""Columns of the table where there is no terminal to fit it into."""
MET = {True: "yes", False: "no", None: ""}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick/--full", default=True, help="Under 90 seconds, or with a million events.")
@click.option("--only", multiple=True, type=click.Choice(list(ROWS)), help="A row; repeatable.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
def main(quick: bool, only: tuple[str, ...], target: Path | None, folder: Path | None) -> None:
    """Measure horae, each figure beside bare sqlite3 in the same run. Nothing fails: it reports."""
    quiet()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="horae-bench-", dir=folder or _disk()) as place:
        machine = _machine(Path(place))
        lines: list[Line] = []
        for name in only or ROWS:
            with console.status(f"{name} ..."):
                lines += _measure(name, Bench(QUICK if quick else FULL, Path(place)))
    _show(lines, machine)
    if target is not None:
        figures = [attrs.asdict(line) | {"ratio": line.ratio} for line in lines]
        target.write_text(json.dumps({"machine": machine, "rows": figures}, indent=2) + "\n")


def _measure(name: str, bench: Bench) -> Iterator[Line]:
    try:
        yield from ROWS[name](bench)
    except Exception as error:
        yield Line(name, "", None, note=f"n/a: {type(error).__name__}: {error}")
    for file in bench.folder.iterdir():
        file.unlink()


def _disk() -> Path:
    """A folder for temporary files that does not live in memory: there, a commit costs nothing."""
    places = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd())
    mounts = Path("/proc/mounts")
    return next((p for p in places if file_system(p, mounts) not in IN_MEMORY), places[0])


def _machine(folder: Path) -> str:
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, fsync {fsync_median(folder) * 1e3:.2f} ms (median)"
    )


def _show(lines: Iterable[Line], machine: str) -> None:
    plain = not sys.stdout.isatty()
    console = Console(width=PIPED if plain else None)
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("row", "horae", "unit", "bare", "ratio", "target", "met", "note"):
        numeric = heading in ("horae", "bare", "ratio")
        table.add_column(heading, justify="right" if numeric else "left")
    for line in lines:
        table.add_row(*_cells(line))
    console.print(table)
    console.print(machine, style="dim", highlight=False)


def _cells(line: Line) -> tuple[str, ...]:
    horae, bare, ratio = map(_number, (line.horae, line.bare, line.ratio))
    return line.row, horae, line.unit, bare, ratio, line.target, MET[line.met], line.note


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
