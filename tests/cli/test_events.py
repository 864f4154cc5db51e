"""``horae event``, on the store alone: no host runs, and no plugin is loaded."""

import json
import os
import pty
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from horae import Host, SettableClock
from horae_hookspecs import MultiResourceScheduledEventJob, Retry, RunContext
from kit.commands import Command

DUE = "2030-01-01T00:00:00+00:00"


@pytest.fixture
def event_id(horae: Command) -> int:
    """An event of a type that nobody knows, due in some years."""
    with horae.client() as client:
        return client.schedule("tide.mark", None, f"at {DUE}", allow_unknown=True).id


def test_schedule_stores_what_was_asked(horae: Command) -> None:
    """Every option ends up in the stored event, which JSON shows with instants in UTC."""
    event = horae.json(
        *["event", "schedule", "tide.mark", "--args", '{"place": "quay"}', "--allow-unknown"],
        *["--at", "at 2030-01-01T02:00+02:00", "--key", "k", "--resource", "r", "--origin", "o"],
        *["--description", "Mark it.", "--priority", "0"],
    )
    expected = {
        "id": 1,
        "event_type": "tide.mark",
        "arguments": {"place": "quay"},
        "due": DUE,
        "state": "pending",
        "key": "k",
        "resource": "r",
        "origin": "o",
        "description": "Mark it.",
        "priority": 0,
    }
    assert expected.items() <= event.items()
    assert horae.json("event", "show", 1) == {**event, "causes": {}, "runs": []}


@pytest.mark.parametrize("source", ["@arguments.json", "-"])
def test_arguments_come_from_files_and_pipes(horae: Command, source: str) -> None:
    """``--args`` reads a file behind @, and standard input for a dash."""
    text = '{"place": "Büsum"}'
    (horae.folder / "arguments.json").write_text(text, encoding="utf-8")
    arguments = ["event", "schedule", "tide.mark", "--allow-unknown", "--args", source]
    assert horae.json(*arguments, stdin=text)["arguments"] == {"place": "Büsum"}


def test_an_event_can_be_about_several_resources(horae: Command) -> None:
    """The option is repeated; in lines of JSON there is a list."""
    words = ["event", "schedule", "tide.mark", "--allow-unknown", "--resource", "a"]
    assert horae.json(*words)["resource"] == "a"
    event = horae.json(*words, "--resource", "b")
    assert (event["resource"], event["resources"]) == (None, ["a", "b"])
    line = {"event_type": "tide.mark", "resources": ["c", "d"], "allow_unknown": True}
    horae("event", "schedule", "--many", "-", stdin=json.dumps(line))
    assert horae.json("event", "show", 3)["resources"] == ["c", "d"]


def test_show_tells_of_each_resource(horae: Command) -> None:
    """What it gave, or the last line of what went wrong; JSON has all of it."""

    class Mark(MultiResourceScheduledEventJob):
        def run_resource(self, context: RunContext, resource: str) -> object:
            return {"a": 1}[resource]

    with horae.client() as host:
        host.register("tide.mark")(Mark)
        host.schedule("tide.mark", resources=["a", "b"])
        host.run_until_idle(20)
    shown = horae("event", "show", 1).stdout
    assert "Resources of run 1:" in shown
    assert "a\tsucceeded\t1\t-\nb\tfailed\t-\tKeyError: 'b'\n" in shown
    (run,) = horae.json("event", "show", 1)["runs"]
    assert run["resources"]["a"] == {"outcome": "succeeded", "result": 1}


def test_show_counts_why_runs_did_not_succeed(horae: Command) -> None:
    """And tells for each run its cause, and how many occurrences it stands for."""
    with horae.client() as host:

        @host.register("tide.mark", retry=Retry(attempts=2, first=timedelta(0)))
        def mark(context: RunContext) -> None:
            raise OSError

        host.schedule("tide.mark")
        host.run_until_idle(20)
    shown = horae.json("event", "show", 1)
    assert shown["causes"] == {"error": 2}
    assert [(run["cause"], run["covers"]) for run in shown["runs"]] == [("error", 1)] * 2
    assert '{"error": 2}' in horae("event", "show", 1).stdout


def test_an_event_can_be_left_out_when_it_is_late(horae: Command) -> None:
    """``--missed`` and ``--absent`` overrule the type."""
    late = ["event", "schedule", "tide.mark", "--allow-unknown", "--at", "at 2026-01-01T00:00Z"]
    horae(*late, "--missed", "skip", "--absent", "hold")
    with horae.client() as host:
        host.register("tide.mark")(lambda context: None)
        host.run_until_idle(20)
    shown = horae.json("event", "show", 1)
    assert shown["state"] == "expired"
    assert "(missed='skip')" in shown["reason"]


def test_unknown_type_is_refused(horae: Command) -> None:
    """A type that nobody knows is exit code 1; only with --verbose there is a traceback."""
    done = horae("event", "schedule", "tide.mark", code=1)
    assert "No plugin provides event type 'tide.mark'" in done.stderr
    assert "Traceback" not in done.stderr
    done = horae("event", "schedule", "tide.mark", "--verbose", code=1)
    assert "Traceback" in done.stderr


def test_taken_key_follows_on_conflict(horae: Command) -> None:
    """A second event with the key is the first one, or an error, as asked."""
    arguments = ["event", "schedule", "tide.mark", "--allow-unknown", "--at", DUE, "--key", "k"]
    first = horae.json(*arguments)
    assert horae.json(*arguments) == first
    assert "belongs to event 1" in horae(*arguments, "--on-conflict", "error", code=1).stderr


def test_listing_filters_and_pages(horae: Command) -> None:
    """Filters narrow the list; a page tells how to get the next."""
    with horae.client() as host:
        for number in range(5):
            host.schedule("tide.mark", None, "in 1h", resource=f"r{number}", allow_unknown=True)
        host.cancel(2)
    assert [event["id"] for event in horae.json("event", "list", "--state", "pending")] == [
        1,
        3,
        4,
        5,
    ]
    assert [event["id"] for event in horae.json("event", "list", "--resource", "r3")] == [4]
    page = horae("event", "list", "--limit", "2", "--after", "1")
    assert [line.split("\t")[0] for line in page.stdout.splitlines()] == ["id", "2", "3"]
    assert "--after 3" in page.stderr


def test_verbs_change_events_one_by_one(horae: Command, event_id: int) -> None:
    """Each verb says what it did; an event that is over or unknown makes exit code 1 only."""
    assert horae("event", "pause", event_id).stdout == "Event 1 is paused.\n"
    assert horae.json("event", "show", event_id)["paused"] is True
    assert horae("event", "resume", event_id).stdout == "Event 1 may run again.\n"
    assert horae("event", "run-now", event_id).stdout == "Event 1 is due now.\n"
    done = horae("event", "cancel", 77, event_id, "--reason", "ebb", code=1)
    assert "There is no event 77" in done.stderr
    assert done.stdout == "Event 1 is cancelled.\n"
    assert horae.json("event", "show", event_id)["reason"] == "ebb"
    assert "is cancelled, so nothing" in horae("event", "pause", event_id, code=1).stderr


def test_show_of_unknown_event_fails(horae: Command) -> None:
    """An unknown id is exit code 1."""
    assert "There is no event 7" in horae("event", "show", 7, code=1).stderr


def lines(count: int) -> list[str]:
    request = {"event_type": "tide.mark", "schedule": f"at {DUE}", "allow_unknown": True}
    return [json.dumps({**request, "key": str(number)}) for number in range(count)]


def test_many_are_stored_from_a_pipe(horae: Command) -> None:
    """Each line becomes an event, blank ones aside, and JSON gives the ids."""
    assert horae.json("event", "schedule", "--many", "-", stdin="\n\n".join(lines(3))) == [1, 2, 3]


def test_bad_line_is_named_and_takes_its_batch_along(horae: Command) -> None:
    """A wrong line is named by its number; only the full batches before it are stored."""
    requests = lines(2500)
    requests[2344] = '{"event_type": "tide.mark", "when": "now"}'
    (horae.folder / "many").write_text("\n".join(requests))
    done = horae("event", "schedule", "--many", "many", code=1)
    assert "Line 2345: there is no field 'when'" in done.stderr
    assert "lines 1 to 2000 are" in done.stderr
    with horae.client() as host:
        assert host.events().total == 2000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[", "no JSON"),
        ("[]", "no JSON object with an event_type"),
        ('{"event_type": 7}', "event_type must be str, not 7"),
        ('{"event_type": "a", "priority": true}', "priority must be int, not True"),
        ('{"event_type": "a"}', "No plugin provides event type 'a'"),
        ('{"event_type": "a", "allow_unknown": true, "schedule": "soon"}', "'soon' is no schedule"),
    ],
)
def test_every_kind_of_bad_line_is_explained(horae: Command, line: str, expected: str) -> None:
    """Whatever is wrong with a line, the message names the line and the reason."""
    done = horae("event", "schedule", "--many", "-", stdin=f"{lines(1)[0]}\n{line}\n", code=1)
    assert done.stderr.count("Line 2: ") == 1
    assert expected in done.stderr
    with horae.client() as client:
        assert client.events().total == 0


def test_store_may_stand_anywhere(horae: Command) -> None:
    """The end of the line comes before its beginning, and that before the environment."""
    urls = {name: f"sqlite:///{horae.folder}/{name}.db" for name in ("end", "begin", "env")}
    horae.environment["HORAE_STORE"] = urls["env"]
    shown = horae.json("store", "migrate", "--store", urls["end"])
    assert shown["store"] == urls["end"]
    assert horae.json("store", "migrate")["store"] == horae.url
    done = subprocess.run(
        horae.line("store", "migrate", "--json"), capture_output=True, env=horae.environment
    )
    assert json.loads(done.stdout)["store"] == urls["env"]


def test_new_store_is_told(horae: Command) -> None:
    """A file that was not there is made, and said to be new, once."""
    assert "a new one was made" in horae("event", "list").stderr
    assert "a new one was made" not in horae("event", "list").stderr


def test_store_that_cannot_be_opened_is_exit_code_3(horae: Command) -> None:
    """A damaged file and a missing folder end every command alike, and are left alone."""
    damaged = horae.folder / "damaged.db"
    damaged.write_bytes(b"no database " * 1000)
    for command in (["event", "list"], ["store", "check"], ["doctor"], ["serve"]):
        done = horae(*command, code=3, store=f"sqlite:///{damaged}")
        assert "restore it from a backup" in done.stderr
    assert "mkdir -p" in horae("event", "list", code=3, store="sqlite:////no/such/x.db").stderr
    assert damaged.read_bytes() == b"no database " * 1000
    assert horae("event", "list", code=2, store="ftp://x").stdout == ""


def test_check_of_sound_store(horae: Command) -> None:
    """A sound store has no findings, and an empty list is JSON too."""
    assert horae.json("store", "check") == []


def test_piped_listing_is_one_plain_line_for_each_row(horae: Command) -> None:
    """A pipe gets tabs and neither boxes, colours nor line breaks, whatever a text holds."""
    evil = "red \x1b[31m\ttab\nbreak \u202e"
    with horae.client() as host:
        host.schedule("tide.mark", None, "in 1h", description=evil * 50, allow_unknown=True)
    header, row = horae("event", "list").stdout.splitlines()
    assert len(header.split("\t")) == len(row.split("\t"))
    assert row.endswith("red \\x1b[31m\\ttab\\nbreak \\u202e")
    assert "\x1b" not in row


def test_closed_pipe_is_no_traceback(horae: Command) -> None:
    """A reader that has seen enough ends the command quietly."""
    with horae.client() as host:
        host.schedule_many(
            {"event_type": "tide.mark", "schedule": "in 1h", "allow_unknown": True}
            for _ in range(5000)
        )
    for form in ([], ["--json"]):
        with subprocess.Popen(
            horae.line("event", "list", "--store", horae.url, "--limit", 5000, *form),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""


def on_terminal(horae: Command, *args: object, columns: int) -> str:
    """What a person sees of a command on a terminal of this width."""
    ours, theirs = pty.openpty()
    environment = {**horae.environment, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(
        horae.line("--store", horae.url, *args), stdout=theirs, stderr=theirs, env=environment
    ):
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def test_terminal_gets_a_table(horae: Command, event_id: int) -> None:
    """A person sees a table, without the columns that are empty in every row."""
    shown = on_terminal(horae, "event", "list", columns=120)
    assert "───" in shown
    assert "2030-01-01T00:00:00Z" in shown
    assert "resource" not in shown


def test_narrow_terminal_gets_rows_below_each_other(horae: Command, event_id: int) -> None:
    """Where a table would be folded to pieces, each value has a line of its own."""
    shown = on_terminal(horae, "type", "waiting", columns=60)
    assert "───" not in shown
    assert "install the plugin that provides it, then: horae plugin load NAME" in shown


def test_overdue_and_waiting_are_counted(horae: Command, event_id: int) -> None:
    """``type waiting`` counts, ages and explains; nothing waiting is an empty list."""
    horae("event", "run-now", event_id)
    (waiting,) = horae.json("type", "waiting")
    assert waiting["pending"] == waiting["overdue"] == 1
    assert waiting["age"] >= 0
    assert datetime.fromisoformat(waiting["oldest_due"]) <= datetime.now(UTC)
    horae("event", "cancel", event_id)
    assert horae.json("type", "waiting") == []
    assert horae("type", "waiting").stderr == "No event waits for its type.\n"


@pytest.fixture
def three_days(horae: Command) -> Command:
    """A run of ``tide.mark`` on each of three days, the second of which failed half way."""
    clock = SettableClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    with closing(Host(horae.url, clock=clock)) as host:

        @host.register("tide.mark")
        def mark(context: RunContext, fails: bool = False) -> None:
            context.progress(0.5, "half of it")
            if fails:
                raise OSError("no water")
            context.progress(1.0)

        host.register("moon.rise")(lambda context: None)
        for day in range(3):
            host.schedule("tide.mark", {"fails": day == 1}, user="ann" if day else None)
            host.run_until_idle(20)
            clock.advance(timedelta(days=1))
        host.schedule("moon.rise", None, "in 1h")
    return horae


def test_history_is_of_a_time(three_days: Command) -> None:
    """``--since`` is in it and ``--until`` is not, in whatever zone they are."""

    def listed(*options: str) -> list[int]:
        return [run["event_id"] for run in three_days.json("event", "history", *options)]

    assert listed("--since", "2026-03-02T12:00Z") == [2, 3]
    assert listed("--until", "2026-03-02T13:00+01:00") == [1]
    assert listed("--since", "2026-03-01T13:00Z", "--until", "2026-03-03T12:00Z") == [2]
    assert listed("--since", "2026-03-02T12:00Z", "--user", "ann", "--outcome", "failed") == [2]


def test_newest_first_pages_downwards(three_days: Command) -> None:
    """And the hint goes on from there."""
    newest = ["event", "history", "--newest-first", "--limit", "2"]
    assert [run["event_id"] for run in three_days.json(*newest)] == [3, 2]
    assert "These are 2 of 3; the same command with --after 2" in three_days(*newest).stderr
    assert [run["event_id"] for run in three_days.json(*newest, "--after", "2")] == [1]
    listed = three_days.json("event", "list", "--newest-first", "--until", "2026-03-03T12:00Z")
    assert [event["id"] for event in listed] == [2, 1]
    due = three_days.json("event", "list", "--due-since", "2026-03-04T13:00Z")
    assert [event["id"] for event in due] == [4]


@pytest.mark.parametrize(
    ("instant", "expected"),
    [("yesterday", "is no instant"), ("2026-03-01T12:00", "names no zone")],
)
def test_a_time_that_is_not_clear_is_refused(horae: Command, instant: str, expected: str) -> None:
    """Before the store is looked at; with what to write instead."""
    for option in ("--since", "--until"):
        assert expected in horae("event", "history", option, instant, code=2).stderr


def test_overview_counts_states_and_outcomes(three_days: Command) -> None:
    """A line for each type; columns that are empty everywhere are left out."""
    assert three_days.json("event", "overview") == {
        "moon.rise": {"states": {"pending": 1}, "outcomes": {}},
        "tide.mark": {
            "states": {"failed": 1, "finished": 2},
            "outcomes": {"failed": 1, "succeeded": 2},
        },
    }
    assert three_days("event", "overview").stdout.splitlines() == [
        "event_type\tpending\tfinished\tfailed\truns_succeeded\truns_failed",
        "moon.rise\t1\t0\t0\t0\t0",
        "tide.mark\t0\t2\t1\t2\t1",
    ]


def test_overview_of_nothing(horae: Command) -> None:
    """Is an empty object, and a sentence for people."""
    assert horae.json("event", "overview") == {}
    assert "There is no event." in horae("event", "overview").stderr


def test_show_tells_how_far_a_run_came(three_days: Command) -> None:
    """The last that the job told, with its text."""
    (run,) = three_days.json("event", "show", 2)["runs"]
    assert (run["progress"], run["progress_text"]) == (0.5, "half of it")
    assert "\t0.5\thalf of it\t" in three_days("event", "show", 2).stdout
    (run,) = three_days.json("event", "show", 1)["runs"]
    assert (run["progress"], run["progress_text"]) == (1.0, None)
    assert [run["progress"] for run in three_days.json("event", "history")] == [1.0, 0.5, 1.0]
