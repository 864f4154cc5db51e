"""What is left of a plugin while some of its types are suspended, and how long that lasts."""

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from horae.registry import Contribution
from horae.stores.records import PluginRow, Suspension
from horae_hookspecs import PluginInfo, PluginState

ALL: Final = "*"
"""Stands for every type of a plugin."""


def kept(rows: Iterable[PluginRow], info: PluginInfo) -> dict[str, str]:
    """What of a plugin was suspended before and still is: of another version, nothing."""
    found = next((row.suspended for row in rows if row.plugin == info.name), None)
    return dict(found.types) if found is not None and found.version == info.version else {}


def named(reasons: Mapping[str, str], contribution: Contribution) -> dict[str, str]:
    """The reasons by each name of each type that they are for."""
    return {
        name: reasons[key]
        for key in reasons
        for name in (contribution.types if key == ALL else (key,))
        if name in contribution.types
    }


def without(contribution: Contribution, suspended: Mapping[str, str]) -> Contribution:
    """All that the plugin brings but the suspended types."""
    types = {name: one for name, one in contribution.types.items() if name not in suspended}
    return attrs.evolve(contribution, types=types) if suspended else contribution


def standing(
    contribution: Contribution | None, suspended: Mapping[str, str]
) -> tuple[PluginState, str | None]:
    """The state of a loaded plugin, and the reason for it."""
    types = contribution.types if contribution else {}
    reasons = {suspended[name]: name for name in sorted(types, reverse=True) if name in suspended}
    text = "; ".join(f"{name} is suspended: {why}" for why, name in reasons.items()) or None
    every = bool(types) and types.keys() <= suspended.keys()
    return (PluginState.SUSPENDED if every else PluginState.ACTIVE), text


def recorded(version: str | None, suspended: Mapping[str, str]) -> Suspension | None:
    """As the store keeps it."""
    return Suspension(version, dict(suspended)) if suspended else None
