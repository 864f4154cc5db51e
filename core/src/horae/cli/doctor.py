"""``horae doctor``: everything that keeps events from running, each with what to do."""

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import attrs
import click

from horae.cli.failures import fail
from horae.cli.groups import Command
from horae.cli.output import Row, age, json_option, listing, one_line, print_json, record, since
from horae.cli.session import client
from horae.clock import from_micros, to_micros
from horae.host import Host
from horae.stores.records import HostRecord
from horae_hookspecs import Page, ScheduledEvent, State

LATE: Final = timedelta(minutes=1)
"""An event of a loaded type that waits longer than this finds no free worker, or no engine."""

SHOWN_IDS: Final = 5


@attrs.frozen
class Finding:
    """Something that is not as it should be, and what changes it."""

    subject: str
    finding: str
    remedy: str


@click.command(cls=Command)
@json_option
def doctor(as_json: bool) -> None:
    """Look for what keeps events from running, and say what to do; exit code 1 on findings."""
    with client() as host:
        now, hosts = host.clock.now(), host.hosts()
        about = _about(host)
        rows = [_host_row(one, now) for one in hosts]
        findings = [attrs.asdict(finding) for finding in _examine(host, hosts, now)]
    if as_json:
        print_json({**about, "hosts": rows, "findings": findings})
    else:
        record(about, as_json=False)
        click.echo()
        listing(rows, "host process last_beat", as_json=False, empty="No host is running.")
        click.echo()
        listing(findings, "subject finding remedy", as_json=False, empty="All is well.")
    if findings:
        fail()


def _about(host: Host) -> Row:
    return {
        "store": host.store.url,
        "schema": host.store.schema(),
        "sqlite": sqlite3.sqlite_version,
        "events": sum(sum(counts.values()) for counts in host.overview().values()),
    }


def _host_row(host: HostRecord, now: datetime) -> Row:
    beaten = from_micros(host.beaten)
    return {
        "host": host.name,
        "process": host.pid,
        "beaten": beaten,
        "last_beat": max(now - beaten, timedelta(0)),
        "event_types": sorted(host.event_types),
    }


def _examine(host: Host, hosts: list[HostRecord], now: datetime) -> Iterator[Finding]:
    yield from _damage(host)
    yield from _silence(host, hosts, now)
    yield from _plugins(host, hosts)
    yield from _waiting(host)
    yield from _quarantined(host)
    yield from _paused(host)
    yield from _late(host, now)


def _damage(host: Host) -> Iterator[Finding]:
    for finding in host.store.check():
        yield Finding("store", one_line(finding), "restore the store from a backup")


def _silence(host: Host, hosts: list[HostRecord], now: datetime) -> Iterator[Finding]:
    if not hosts:
        yield Finding("hosts", "no host is running", f"horae serve --store {host.store.url}")
    for one in hosts:
        silent = now - from_micros(one.beaten)
        if silent > timedelta(seconds=host.settings.lease):
            yield Finding(
                f"host {one.name}",
                f"process {one.pid} is there, but has shown no sign of life for {age(silent)}",
                "look at its log; stop it if it hangs, and others take over its runs",
            )


def _plugins(host: Host, hosts: list[HostRecord]) -> Iterator[Finding]:
    living = {one.name for one in hosts}
    for row in host.store.plugin_rows():
        failed = row.state.is_failure or not row.ok
        if failed and row.desired == "loaded" and row.host in living:
            yield Finding(
                f"plugin {row.plugin}",
                f"{row.state} on {row.host}: {row.reason}",
                f"mend or reinstall it and try again: horae plugin {row.action} {row.plugin}; "
                f"or give it up: horae plugin unload {row.plugin}",
            )


def _waiting(host: Host) -> Iterator[Finding]:
    for one in host.waiting():
        late = since(one.oldest_due)
        oldest = f", the oldest for {age(late)}" if late else ""
        yield Finding(
            f"type {one.event_type}",
            f"{one.pending:,} waiting, {one.overdue:,} overdue{oldest}: {one.reason}",
            one.remedy,
        )


def _quarantined(host: Host) -> Iterator[Finding]:
    page = host.events(state=State.QUARANTINED, limit=SHOWN_IDS)
    if page.total:
        yield Finding(
            "events",
            f"{page.total:,} quarantined: {_ids(page)}",
            "horae event show ID tells why; then horae event run-now ID, or horae event cancel ID",
        )


def _paused(host: Host) -> Iterator[Finding]:
    live = [State.PENDING, State.RUNNING]
    rules = host.pauses()
    for rule in rules:
        subject = rule.field.removeprefix("event_")
        filters: dict[str, Any] = {rule.field: rule.value, "state": live}
        held = host.events(limit=1, **filters).total
        yield Finding(
            f"{subject} {rule.value}",
            f"paused since {one_line(rule.since)}, {held:,} held back",
            f"horae event resume --{subject} {rule.value}",
        )
    page = host.events(paused=True, state=live, limit=SHOWN_IDS)
    if page.total:
        others = ", where no rule above holds it back" if rules else ""
        remedy = f"horae event resume ID{others}"
        yield Finding("events", f"{page.total:,} paused: {_ids(page)}", remedy)


def _late(host: Host, now: datetime) -> Iterator[Finding]:
    waiting = {one.event_type for one in host.waiting()}
    for lane in host.store.backlog(to_micros(now)):
        name, late = lane.lane.event_type, now - from_micros(lane.oldest_due)
        if name in waiting or late < LATE:
            continue
        paused = host.events(event_type=name, state=State.PENDING, paused=True, limit=1).total
        if lane.blocked:
            yield Finding(
                f"type {name}",
                f"{lane.blocked:,} wait for what others have in use, the oldest of the type for "
                f"{age(late)}",
                "horae event show ID names what it is blocked by; look at what runs so long",
            )
        if lane.overdue > paused + lane.blocked:
            yield Finding(
                f"type {name}",
                f"{lane.overdue:,} overdue, the oldest for {age(late)}, though the type is loaded",
                "give the hosts more workers (horae serve --workers), or look at their logs",
            )


def _ids(page: Page[ScheduledEvent]) -> str:
    more = ", ..." if page.next else ""
    return ", ".join(str(event.id) for event in page) + more
