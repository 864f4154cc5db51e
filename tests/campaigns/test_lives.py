"""The sample plugin comes, works and goes a thousand times; no verdict is a false alarm."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LONG_FORM = pytest.mark.skipif("HORAE_CAMPAIGN" not in os.environ, reason="for minutes")

# A process of its own: in that of the tests, others may have imported from the sample plugin.
LIVES = """
import gc, http.server, json, sys, threading
from horae import Host, Settings

class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_): pass

def live():
    host.load_plugin("sample")
    event = host.schedule("sample.http_probe", {"url": url})
    run = host.wait(event.id, timeout=30)
    report = host.unload_plugin("sample", drain=10)
    if not report.collected or report.leaks or report.errors:
        alarms.append(str(report))
    return run.outcome

alarms, sizes = [], []
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"
with Host(Settings(url=f"sqlite:///{sys.argv[2]}", name="lives", workers=2, preflight=0)) as host:
    outcomes = set()
    for _ in range(int(sys.argv[1])):
        outcomes.add(live())
        sizes.append((len(gc.get_objects()), len(sys.modules), threading.active_count()))
json.dump({"alarms": alarms, "sizes": sizes, "outcomes": sorted(outcomes)}, sys.stdout)
"""


def lives(cycles: int, folder: Path) -> dict[str, Any]:
    """What came of so many lives in a new process."""
    program = folder / "lives.py"
    program.write_text(
        "import structlog\nstructlog.configure(processors=[lambda *_: ''], "
        "logger_factory=structlog.ReturnLoggerFactory())\n" + LIVES
    )
    done = subprocess.run(
        [sys.executable, program, str(cycles), folder / "events.db"],
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=1700,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    "cycles",
    [
        50,
        pytest.param(1000, marks=[pytest.mark.campaign, pytest.mark.timeout(1800), LONG_FORM]),
    ],
)
def test_no_life_of_the_sample_plugin_raises_an_alarm(cycles: int, tmp_path: Path) -> None:
    """Loaded, one probe run, unloaded: collected each time, with nothing left; and no growth."""
    result = lives(cycles, tmp_path)
    assert result["alarms"] == []
    assert result["outcomes"] == ["succeeded"]
    objects, *others = zip(*result["sizes"][10:], strict=True)
    assert [len(set(one)) for one in others] == [1, 1]
    half = len(objects) // 2
    # The least of each half: the host's own work in between goes up and down. A life that stayed
    # would show as hundreds of objects.
    assert min(objects[half:]) - min(objects[:half]) < 2 * cycles
