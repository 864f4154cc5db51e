"""``horae serve``: a host in the foreground."""

import logging
import os

import click

from horae.cli.groups import Command
from horae.cli.session import configure_logs, store_url
from horae.host import Host
from horae.settings import Settings


@click.command(cls=Command)
@click.option("--name", help="Keys the desired plugins; left out, it is the machine's name.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=16, show_default=True, help="Threads for jobs."
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=lambda: os.cpu_count() or 1,
    show_default="one for each processor",
    help="Child processes for jobs that ask for one.",
)
@click.option(
    "--drain",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    help="How long a stop waits for what runs.",
)
@click.option("--autoload", is_flag=True, help="Load every installed plugin that is not unwanted.")
def serve(name: str | None, workers: int, processes: int, drain: float, autoload: bool) -> None:
    """Run a host until SIGTERM or SIGINT.

    It claims nothing more then, and waits for what runs; a second signal gives everything back at
    once. What is given back runs again later. Logs go to standard error: readable on a terminal,
    JSON lines elsewhere; host.started says that it is ready.
    """
    configure_logs(logging.INFO)
    host = Host(
        Settings(
            url=store_url(),
            name=name,
            workers=workers,
            processes=processes,
            drain=drain,
            autoload=autoload,
        )
    )
    try:
        host.run_forever()
    finally:
        host.close()
