"""``horae serve``: a host in the foreground."""

import logging
import os
from typing import Any

import attrs
import click

from horae.cli.groups import Command
from horae.cli.session import configure_logs, settings
from horae.host import Host


@click.command(cls=Command)
@click.option("--name", help="Keys the desired plugins; left out, it is the machine's name.")
@click.option("--workers", type=click.IntRange(min=1), show_default="16", help="Threads for jobs.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    show_default=f"{os.cpu_count() or 1}, one for each processor",
    help="Child processes for jobs that ask for one.",
)
@click.option(
    "--drain",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    show_default="30",
    help="How long a stop waits for what runs.",
)
@click.option(
    "--autoload",
    is_flag=True,
    default=None,
    help="Load every installed plugin that is not unwanted.",
)
@click.option(
    "--watch",
    type=click.Choice(["off", "propose", "apply"]),
    show_default="propose",
    help="What becomes of plugins that others install, upgrade or uninstall.",
)
def serve(**given: Any) -> None:
    """Run a host until SIGTERM or SIGINT.

    It claims nothing more then, and waits for what runs; a second signal gives everything back at
    once. What is given back runs again later. Logs go to standard error: readable on a terminal,
    JSON lines elsewhere; host.started says that it is ready.

    What is not given here is taken from the file of --config, which may have every setting of a
    host, such as workers = 8, and tables such as [trust], [plugins.NAME] and [retention."*"].
    """
    configure_logs(logging.INFO)
    chosen = {name: value for name, value in given.items() if value is not None}
    host = Host(attrs.evolve(settings(), **chosen))
    try:
        host.run_forever()
    finally:
        host.close()
