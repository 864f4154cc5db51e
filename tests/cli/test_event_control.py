"""``horae event`` where it changes what is stored, and tells what is to come."""

from typing import Any

import pytest

from kit.commands import Command

DUE = "2030-01-01T00:00:00+00:00"


@pytest.fixture
def events(horae: Command) -> Command:
    """The command, on three events of two types, due in some years."""
    with horae.client() as client:
        for event_type, origin in [("tide.mark", "bot"), ("tide.mark", "me"), ("moon.rise", "bot")]:
            client.schedule(event_type, None, f"at {DUE}", origin=origin, allow_unknown=True)
    return horae


def states(horae: Command) -> list[str]:
    """How the events stand."""
    return [event["state"] for event in horae.json("event", "list")]


def test_cancel_takes_ids_or_what_events_have_in_common(events: Command) -> None:
    """Options narrow each other; without either nothing is cancelled."""
    assert "Give either IDs" in events("event", "cancel", code=2).stderr
    assert "Give either IDs" in events("event", "cancel", 1, "--type", "x", code=2).stderr
    done = events("event", "cancel", "--type", "tide.mark", "--origin", "bot", "--reason", "ebb")
    assert done.stdout == "Events cancelled: 1.\n"
    assert states(events) == ["cancelled", "pending", "pending"]
    assert events.json("event", "show", 1)["reason"] == "ebb"


def test_a_rule_is_set_listed_and_lifted(events: Command) -> None:
    """All events of a type are paused at once, and so shown."""
    one, two = ["--type", "tide.mark"], ["--type", "tide.mark", "--origin", "bot"]
    assert "each is its own rule" in events("event", "pause", *two, code=2).stderr
    assert events("event", "pause", *one).stdout == "All events of type tide.mark are paused.\n"
    assert "paused already" in events("event", "pause", *one).stdout
    (rule,) = events.json("event", "pauses")
    assert (rule["field"], rule["value"]) == ("event_type", "tide.mark")
    assert [event["paused"] for event in events.json("event", "list")] == [True, True, False]
    report = events.json("doctor", code=1)
    (found,) = [one for one in report["findings"] if "held back" in one["finding"]]
    assert found["subject"] == "type tide.mark"
    assert found["finding"].endswith(", 2 held back")
    assert found["remedy"] == "horae event resume --type tide.mark"
    assert "may run again" in events("event", "resume", *one).stdout
    assert "Nothing pauses" in events("event", "resume", *one, code=1).stderr
    assert events.json("event", "pauses") == []


def test_update_and_reschedule_say_when_it_is_due(events: Command) -> None:
    """Each changes only what it is told, in place."""
    assert "at least one" in events("event", "update", 1, code=2).stderr
    arguments = ["--args", '{"place": "pier"}', "--description", "Mark.", "--priority", 0]
    done = events("event", "update", 1, *arguments)
    assert done.stdout == "Event 1 is changed, and due 2030-01-01T00:00:00Z.\n"
    event = events.json("event", "reschedule", 1, "2031-01-01T00:00:00Z", "--new-phase")
    expected: dict[str, Any] = {
        "arguments": {"place": "pier"},
        "description": "Mark.",
        "priority": 0,
        "due": "2031-01-01T00:00:00+00:00",
    }
    assert expected.items() <= event.items()
    events("event", "cancel", 1)
    assert "is cancelled, so nothing" in events("event", "update", 1, *arguments, code=1).stderr
    assert "no event 77" in events("event", "reschedule", 77, "now", code=1).stderr


def test_upcoming_tells_occurrences_of_one_or_of_all(events: Command) -> None:
    """In order of time, as many as are asked for."""
    with events.client() as client:
        client.schedule("sun.set", None, "every 1h", allow_unknown=True)
    told = events.json("event", "upcoming", "-n", 3)
    assert [one["event_id"] for one in told] == [4, 4, 4]
    (only,) = events.json("event", "upcoming", 1)
    assert (only["due"], only["event_type"]) == (DUE, "tide.mark")
    assert "due\tevent_id" in events("event", "upcoming").stdout


def test_replacing_is_offered_for_a_taken_key(events: Command) -> None:
    """The second request takes the place of the first."""
    request = ["event", "schedule", "sun.set", "--allow-unknown", "--key", "k", "--at"]
    first = events.json(*request, DUE)
    second = events.json(*request, "in 1h", "--on-conflict", "replace")
    assert second["id"] == first["id"]
    assert second["due"] < first["due"]
