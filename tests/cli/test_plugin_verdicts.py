"""What the commands print of an unload."""

import attrs

from horae.cli.plugin_commands import unloaded
from horae_hookspecs import LeakReport, LeftChange, LeftThread, Survivor, UnloadReport


def test_what_is_left_of_a_plugin_is_printed_with_who_holds_it() -> None:
    """The survivors with their holders, the threads with their top, and changes of the process."""
    held = Survivor(kind="class", name="acme.Held", holders=("list", "kept in module keeper"))
    leaks = LeakReport(
        plugin="acme",
        version="1.0",
        generation=1,
        total=1,
        survivors=(held,),
        threads=(LeftThread(name="tide", stack=("wait (threading.py:1)", "forever (a.py:2)")),),
        changes=(LeftChange(where="atexit", what="acme.bye"),),
    )
    report = UnloadReport(
        plugin="acme",
        finished=1,
        returned=0,
        abandoned=0,
        collected=False,
        holders=(str(held),),
        leaks=leaks,
    )
    assert list(unloaded(**attrs.asdict(report))) == [
        "runs: 1 finished, 0 returned, 0 abandoned",
        "its code is still held:",
        "  class acme.Held <- list <- kept in module keeper",
        "  thread 'tide' runs it: wait (threading.py:1)",
        "  it changed atexit: acme.bye",
    ]
