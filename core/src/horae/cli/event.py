"""``horae event``: the commands, gathered; none of them needs the plugin of an event's type."""

import click

from horae.cli import (
    event_changing,
    event_outlook,
    event_reading,
    event_scheduling,
    event_verbs,
)
from horae.cli.groups import Group


@click.group(cls=Group)
def event() -> None:
    """Schedule, list and change events."""


for _command in (
    event_reading.list_events,
    event_reading.show,
    event_outlook.upcoming,
    event_scheduling.schedule,
    event_changing.update,
    event_changing.reschedule,
    event_verbs.cancel,
    event_verbs.pause,
    event_verbs.resume,
    event_outlook.pauses,
    event_verbs.run_now,
    event_reading.history,
    event_reading.overview,
):
    event.add_command(_command)
