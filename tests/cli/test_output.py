"""How values are written for people."""

from datetime import UTC, datetime, timedelta

import pytest

from horae.cli.output import age, many_lines, one_line


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (timedelta(days=3, hours=4, minutes=5), "3 d 4 h"),
        (timedelta(days=3, minutes=5), "3 d"),
        (timedelta(hours=1, seconds=59), "1 h"),
        (timedelta(seconds=61), "1 min 1 s"),
        (timedelta(milliseconds=10.1), "0.0101 s"),
        (timedelta(0), "0 s"),
    ],
)
def test_ages_have_two_units(length: timedelta, expected: str) -> None:
    """The two largest units say enough."""
    assert age(length) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        ([], "-"),
        (True, "yes"),
        (0, "0"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (["a", "b"], "a, b"),
        ({"a": "ü"}, '{"a": "ü"}'),
        ("\ud800\x00", "\\ud800\\x00"),
    ],
)
def test_values_in_one_line(value: object, expected: str) -> None:
    """Every plain value has a form for a cell."""
    assert one_line(value) == expected


def test_texts_in_full_keep_their_lines() -> None:
    """Lines are kept and indented, blank ones too; control characters are shown."""
    assert many_lines("a\n\nb\x1b", indent=2) == "a\n  \n  b\\x1b"
