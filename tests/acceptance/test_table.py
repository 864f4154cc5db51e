"""The table in ``docs/acceptance.md`` names the tests that there are, and they are all in it."""

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = (HERE.parents[1] / "docs" / "acceptance.md").read_text()


def test_every_row_has_its_test_or_says_when() -> None:
    """Rows 1 to 74, each with a test of its own number, or left to a later time by name."""
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|", TABLE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 75))
    for number, test in rows:
        assert f"test_row_{int(number):02}_" in test or "later: " in test or "campaigns/" in test


def test_the_table_and_the_tests_name_the_same() -> None:
    """No test is missing from the table, and none that it names is missing here."""
    written = {
        name
        for file in HERE.glob("test_*.py")
        for name in re.findall(r"^def (test_row_\d+_\w+)", file.read_text(), re.MULTILINE)
    }
    assert set(re.findall(r"`(test_row_\w+)`", TABLE)) == written
