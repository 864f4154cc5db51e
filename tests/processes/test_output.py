"""What a job prints, in a process that talks with its host."""

import pytest

from horae import Host
from kit.hosts import answer_of


def test_printing_does_not_break_the_line_to_the_host(
    host: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    """Standard output goes to the host's standard error, whoever writes to it."""
    assert answer_of(host, "acme.print") == "said"
    out, err = capfd.readouterr()
    assert '["done", {}, null]' not in out
    assert err.count('["done", {}, null]') == 2
    assert "and aloud" in err
    assert "from a child of the child" in err
