"""``horae type show``: who provides a type, and what its arguments must be."""

from horae_hookspecs import RunContext
from kit.commands import Command


def test_a_type_is_shown_with_its_schema(horae: Command) -> None:
    """People read the record and then the schema; programs get all of it as one object."""

    def mark(context: RunContext, place: str, level: int = 0) -> None:
        """Mark the tide."""

    with horae.client() as client:
        client.register("tide.mark", version=3)(mark)
    shown = horae.json("type", "show", "tide.mark")
    assert (shown["event_type"], shown["schema_version"]) == ("tide.mark", 3)
    assert (shown["plugin"], shown["loaded"]) == ("application", False)
    assert shown["schema"]["required"] == ["place"]
    assert shown["schema"]["properties"]["level"] == {"type": "integer", "default": 0}
    text = horae("type", "show", "tide.mark").stdout
    assert "schema version" in text
    assert '"description": "Mark the tide."' in text


def test_a_type_that_nobody_knows_is_no_type(horae: Command) -> None:
    """The error names the nearest one."""
    with horae.client() as client:
        client.register("tide.mark")(lambda context: None)
    assert "Did you mean 'tide.mark'?" in horae("type", "show", "tide.mork", code=1).stderr


def test_arguments_are_checked_by_the_schema(horae: Command) -> None:
    """The command needs no plugin to tell all that is wrong with them."""

    def mark(context: RunContext, place: str, level: int = 0) -> None:
        """Nothing."""

    with horae.client() as client:
        client.register("tide.mark")(mark)
    wrong = '{"level": "high", "more": 1}'
    done = horae("event", "schedule", "tide.mark", "--args", wrong, code=1)
    for part in ("'place' is a required", "'more' was unexpected", "@ $.level"):
        assert part in done.stderr
