"""``horae plugin list`` and ``info``: what the hosts report, joined with what is installed here."""

import difflib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import attrs
import click

from horae.cli.groups import Command
from horae.cli.output import Row, json_option, listing, print_json, record
from horae.cli.session import client
from horae.errors import PluginNotFound
from horae.host import Host
from horae.plugins import dependencies, trust
from horae.plugins.discovery import BUILTIN_DISTRIBUTION, Candidate, discover
from horae.stores.records import PluginRow
from horae_hookspecs import PluginState, State

COLUMNS: Final = "name state host version installed distribution event_types reason"
HOST_COLUMNS: Final = "host state version generation desired event_types reason"
TYPE_COLUMNS: Final = "event_type schema_version loaded pending waiting"


@click.command("list", cls=Command)
@json_option
def list_plugins(as_json: bool) -> None:
    """List the plugins that are installed here or known to a host, and how they stand."""
    with client() as host:
        rows = _rows(host, discover())
    listing(rows, COLUMNS, as_json=as_json, empty="No plugin is installed.")


@click.command(cls=Command)
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> None:
    """Show everything known of one plugin: its hosts, its types and their events."""
    installed = discover()
    with client() as host:
        rows = [row for row in _rows(host, installed) if row["name"] == name]
        types = _type_rows(host, name)
        schema = _settings_schema(host, name)
    if not rows and not types:
        near = difflib.get_close_matches(name, installed, n=1)
        raise PluginNotFound(name, sorted(installed), near[0] if near else None)
    about = {**_about(name, installed), "settings_schema": schema}
    hosts = [
        {column: row[column] for column in HOST_COLUMNS.split()} for row in rows if row["host"]
    ]
    if as_json:
        print_json({**about, "hosts": hosts, "event_types": types})
        return
    record(about, as_json=False)
    click.echo()
    listing(hosts, HOST_COLUMNS, as_json=False, empty="No host was ever asked to load it.")
    click.echo()
    listing(types, TYPE_COLUMNS, as_json=False, empty="It has provided no event type so far.")


def _rows(host: Host, installed: Mapping[str, Candidate]) -> list[Row]:
    living = {one.name for one in host.hosts()}
    reported = host.store.plugin_rows()
    known = {row.plugin for row in reported}
    rows = [_reported(row, installed.get(row.plugin), row.host in living) for row in reported]
    rows += [_installed(one) for one in installed.values() if one.name not in known]
    return sorted(rows, key=lambda row: (row["name"], row["host"] or ""))


def _reported(row: PluginRow, candidate: Candidate | None, living: bool) -> Row:
    """What a host says of a plugin; what a stopped host said last is no news of today."""
    state = str(row.state) if living else "host stopped"
    return {
        "name": row.plugin,
        "state": f"{row.action} requested" if row.requested > row.done else state,
        "host": row.host,
        "version": row.version,
        "installed": candidate and candidate.version,
        "distribution": row.distribution or (candidate and candidate.distribution),
        "generation": row.generation,
        "desired": row.desired,
        "event_types": list(row.event_types),
        "reason": row.reason,
    }


def _installed(candidate: Candidate) -> Row:
    builtin = candidate.distribution == BUILTIN_DISTRIBUTION
    rivals = ", ".join(candidate.rivals)
    return {
        "name": candidate.name,
        "state": "built-in" if builtin else str(PluginState.DISCOVERED),
        "host": None,
        "version": None,
        "installed": candidate.version,
        "distribution": candidate.distribution,
        "generation": 0,
        "desired": None,
        "event_types": [],
        "reason": f"also provided by {rivals}; uninstall all but one" if rivals else None,
    }


def _about(name: str, installed: Mapping[str, Candidate]) -> Row:
    candidate = installed.get(name)
    needs = {one: dependencies.needs(of, installed.values()) for one, of in installed.items()}
    return {
        "name": name,
        "distribution": candidate and candidate.distribution,
        "installed": candidate and candidate.version,
        "entry_point": candidate and candidate.value,
        "contents": candidate and (trust.contents_of(candidate.distribution) or None),
        "requires": list(needs.get(name, ())),
        "required_by": [one for one, needed in needs.items() if name in needed],
    }


def _settings_schema(host: Host, plugin: str) -> Mapping[str, Any] | None:
    """What a host has last said of the plugin's settings: a client imports none of it."""
    schemas = (row.settings_schema for row in host.store.plugin_rows() if row.plugin == plugin)
    return next(filter(None, schemas), None)


def _type_rows(host: Host, plugin: str) -> list[Row]:
    """The types that the plugin provides or last did, and how many of their events wait."""
    counts = host.overview()
    waiting = Counter[str]()
    for one in host.waiting():
        waiting[one.event_type] += one.pending
    return [
        {
            **attrs.asdict(one),
            "pending": counts[one.event_type].get(State.PENDING, 0)
            if one.event_type in counts
            else 0,
            "waiting": waiting[one.event_type],
        }
        for one in host.event_types()
        if one.plugin == plugin
    ]
