"""Arguments and results: a strict check, errors with paths, and what comes back from the store."""

import enum
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal, NewType

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horae import Host, InvalidArguments
from horae.payloads import MAX_ARGUMENTS, MAX_RESULT, JobType, dump_result
from horae_hookspecs import (
    Outcome,
    RegistrationError,
    RunContext,
    ScheduledEventJob,
    ScheduledEventRegistryWrapper,
)


class Tide(enum.Enum):
    """A value with a text for it."""

    HIGH = "high"
    LOW = "low"


@attrs.frozen
class Berth:
    """A value within a value."""

    pier: str
    number: int = 0


@attrs.frozen
class Ship:
    """Told from a berth by its name."""

    name: str


@attrs.frozen
class Sail:
    """Told from an oar by what it says it is."""

    by: Literal["sail"]
    count: int


@attrs.frozen
class Oar:
    """Told from a sail by what it says it is."""

    by: Literal["oar"]
    count: int


class Level(enum.IntEnum):
    """A value that is a number."""

    ONE = 1
    TWO = 2


class Shape(enum.Enum):
    """Values that no JSON text holds."""

    POINT = (0, 0)


@attrs.frozen
class Pier:
    """Not told from a berth by anything."""

    pier: str


@attrs.frozen
class Node:
    """A value that has others of its kind."""

    name: str
    children: "list[Node]" = attrs.field(factory=list)


class Access(enum.Flag):
    """Values that add up to others."""

    READ = 1
    WRITE = 2


def job_type(target: Any, **policy: Any) -> JobType:
    """The codec of a job class or function."""
    events = ScheduledEventRegistryWrapper()
    events.register("tide.mark", **policy)(target)
    (registration,) = events.registrations
    return JobType(registration)


def taking(annotation: Any) -> JobType:
    """A job with one argument, ``value``, of this type."""

    def run(self: Any, context: RunContext) -> None:
        """Nothing."""

    fields = {"value": attrs.field(type=annotation)}
    return job_type(attrs.make_class("Job", fields, (ScheduledEventJob,), class_body={"run": run}))


def built(kind: JobType, value: Any) -> Any:
    """What the job gets for ``value`` after a trip through the store."""
    return kind.build(kind.validate({"value": value}), 1).value


def errors_of(kind: JobType, arguments: Any) -> list[str]:
    """Everything that is wrong with ``arguments``."""
    with pytest.raises(InvalidArguments) as caught:
        kind.validate(arguments)
    return list(caught.value.errors)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 5, 5),
        (int, -(10**30), -(10**30)),
        (bool, True, True),
        (str, "5", "5"),
        (float, 2.5, 2.5),
        (float, 2, 2.0),
        (Any, {"a": [1, None]}, {"a": [1, None]}),
        (int | None, None, None),
        (int | None, 5, 5),
        (list[int], [1, 2], [1, 2]),
        (list[list[str]], [["a"], []], [["a"], []]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[str], ["a", "b"], {"a", "b"}),
        (frozenset[int], [1], frozenset({1})),
        (Sequence[int], [1, 2], (1, 2)),
        (Iterable[int], [1, 2], (1, 2)),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Berth, {"pier": "east"}, Berth("east")),
        (list[Berth], [{"pier": "east", "number": 2}], [Berth("east", 2)]),
        (Tide, "high", Tide.HIGH),
        (Level, 1, Level.ONE),
        (Level | None, 2, Level.TWO),
        (Access, 3, Access.READ | Access.WRITE),
        (dict[Tide, int], {"low": 1}, {Tide.LOW: 1}),
        (Literal[1, "a"], 1, 1),
        (str | Literal["a"], "b", "b"),
        (Tide | int, "low", Tide.LOW),
        (Literal["a"] | Literal["b"], "b", "b"),
        (Literal[1, True], True, True),
        (int | float | Literal[3], 3, 3),
        (Berth | Ship, {"name": "Rose"}, Ship("Rose")),
        (Berth | Ship | None, {"pier": "east"}, Berth("east")),
        (Sail | Oar, {"by": "oar", "count": 2}, Oar("oar", 2)),
        (Berth | list[Berth], [{"pier": "east"}], [Berth("east")]),
        (list[int | None], [1, None], [1, None]),
        (Annotated[int, "a note"], 1, 1),
        (NewType("Depth", float), 2, 2.0),
        (bytes, "VPX", b"ab"),
        (object, [1], [1]),
        (Literal["a", "b"], "a", "a"),
        (datetime, "2026-01-01T12:00:00+00:00", NOON),
        (datetime, "2026-01-01T13:00:00+01:00", NOON),
        (datetime, "2026-01-01T12:00:00Z", NOON),
        (date, "2026-01-01", date(2026, 1, 1)),
        (timedelta, 90, timedelta(seconds=90)),
        (timedelta, 0.5, timedelta(milliseconds=500)),
    ],
)
def test_a_fitting_value_is_taken(annotation: Any, value: Any, expected: Any) -> None:
    """JSON values become what the annotation says, of exactly that type."""
    found = built(taking(annotation), value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "error"),
    [
        (int, "5", "expected int, got str '5' @ $.value"),
        (int, 5.0, "expected int, got float 5.0 @ $.value"),
        (int, True, "expected int, got bool True @ $.value"),
        (int, None, "expected int, got NoneType None @ $.value"),
        (str, 5, "expected str, got int 5 @ $.value"),
        (str, ["a"], "expected str, got list ['a'] @ $.value"),
        (bool, 1, "expected bool, got int 1 @ $.value"),
        (bool, "true", "expected bool, got str 'true' @ $.value"),
        (float, "2.5", "expected float, got str '2.5' @ $.value"),
        (float, True, "expected float, got bool True @ $.value"),
        (int | None, "5", "expected int, got str '5' @ $.value"),
        (list[str], "ab", "expected list, got str 'ab' @ $.value"),
        (list[int], {"a": 1}, "expected list, got dict {'a': 1} @ $.value"),
        (list[int], [1, "2"], "expected int, got str '2' @ $.value[1]"),
        (list[list[int]], [[], ["x"]], "expected int, got str 'x' @ $.value[1][0]"),
        (tuple[int, ...], "12", "expected list, got str '12' @ $.value"),
        (set[str], "ab", "expected list, got str 'ab' @ $.value"),
        (Sequence[str], "ab", "expected list, got str 'ab' @ $.value"),
        (dict[str, int], {"a": "1"}, "expected int, got str '1' @ $.value['a']"),
        (Berth, {"pier": 1}, "expected str, got int 1 @ $.value.pier"),
        (list[Berth], [{"pier": "a"}, {"pier": 2}], "expected str, got int 2 @ $.value[1].pier"),
        (datetime, "2026-01-01T12:00:00", "expected datetime with a time zone"),
        (datetime, "noon", "expected ISO 8601 datetime, got str 'noon' @ $.value"),
        (datetime, 0, "expected ISO 8601 datetime, got int 0 @ $.value"),
        (date, "soon", "expected ISO 8601 date, got str 'soon' @ $.value"),
        (timedelta, "90s", "expected float, got str '90s' @ $.value"),
        (timedelta, 1e300, "expected a number of seconds within 2,739,726 years"),
        (float, 10**400, "expected float, got int 1000"),
        (datetime, "0001-01-01T00:00:00+14:00", "expected ISO 8601 datetime"),
        (Tide, "middle", "expected one of 'high', 'low', got str 'middle' @ $.value"),
        (Level, True, "expected one of 1, 2, got bool True @ $.value"),
        (Level | None, 0, "expected one of 1, 2, got int 0 @ $.value"),
        (Literal[1], True, "expected one of 1, got bool True @ $.value"),
        (Literal["a"] | None, 1.0, "expected one of 'a', got float 1.0 @ $.value"),
        (set[int], [1, 1], "expected list of different values, got list [1, 1] @ $.value"),
        (tuple[int, str], {"a": 1, "b": 2}, "expected list of 2 values, got dict"),
        (tuple[int, str], [1, 2], "expected str, got int 2 @ $.value[1]"),
        (dict[str, int], [1], "expected object, got list [1] @ $.value"),
        (bytes, "a", "expected base85 text, got str 'a' @ $.value"),
        (Berth, "east", "expected the fields of Berth, got str 'east' @ $.value"),
        (Berth | Ship, {"name": 5}, "expected str, got int 5 @ $.value.name"),
        (Berth | Ship, {"depth": 5}, "expected one of Berth and Ship, got dict {'depth': 5} @"),
        (Berth | int, "a", "expected integer | object, got str 'a' @ $.value"),
    ],
)
def test_an_ill_fitting_value_is_refused(annotation: Any, value: Any, error: str) -> None:
    """Nothing is guessed; the error says what was expected, what came, and where."""
    (found,) = errors_of(taking(annotation), {"value": value})
    assert found.startswith(error)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Tide, "middle"),
        (Literal["a", "b"], "c"),
        (tuple[int, str], [1]),
        (tuple[int, str], [1, "a", 2]),
        (tuple[int, str], "1a"),
        (dict[str, int], [["a", 1]]),
        (dict[str, int], "ab"),
        (Berth, {}),
        (Berth, "east"),
        (Berth, {"pier": "east", "colour": "red"}),
        (int | str, 2.5),
        (int | str, True),
        (int | float, True),
        (int | list[int], True),
        (bool | str, 1),
    ],
)
def test_what_is_no_member_is_refused(annotation: Any, value: Any) -> None:
    """Enums, literals, fixed tuples, mappings, values within values, and unions are strict too."""
    assert all("$.value" in error for error in errors_of(taking(annotation), {"value": value}))


@pytest.mark.parametrize("value", [5, "5", True, None])
def test_a_union_keeps_the_type_of_its_value(value: int | str | bool | None) -> None:
    """A text stays a text, a number a number, a truth value what it is."""
    found = built(taking(int | str | bool | None), value)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_json_number_is_refused(value: float) -> None:
    """NaN and infinities are no JSON, wherever they stand."""
    for annotation, given_value in ((float, value), (Any, [value]), (dict[str, Any], {"x": value})):
        (error,) = errors_of(taking(annotation), {"value": given_value})
        assert "not JSON compliant" in error


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, NOON, {(1, 2): 3}, Tide.HIGH])
def test_what_is_no_json_value_is_refused(value: Any) -> None:
    """A mapping of arguments is JSON; the error says how else to pass Python values."""
    (error,) = errors_of(taking(Any), {"value": value})
    assert "or pass a job instance instead" in error


def test_arguments_that_contain_themselves_are_refused() -> None:
    """A loop is an error, and no hang."""
    loop: list[Any] = []
    loop.append(loop)
    assert errors_of(taking(Any), {"value": loop})
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert errors_of(taking(Any), {"value": deep})


@pytest.mark.parametrize("arguments", [[1], "text", 5, [("value", 1)]])
def test_arguments_are_a_mapping(arguments: Any) -> None:
    """Anything else is refused, whatever the schema."""
    (error,) = errors_of(taking(int), arguments)
    assert error.startswith("expected a mapping of names to values, got")


def test_arguments_have_a_limit() -> None:
    """One byte too many is refused with the size and a way out."""
    kind = taking(str)
    fits = "x" * (MAX_ARGUMENTS - len('{"value":""}'))
    assert len(kind.validate({"value": fits})) == MAX_ARGUMENTS
    (error,) = errors_of(kind, {"value": fits + "x"})
    assert error == "262,145 bytes @ $, more than 262,144; store a reference instead"


def test_all_errors_come_at_once() -> None:
    """Missing, additional and wrong arguments are all named in one error, each with its path."""

    @attrs.frozen
    class Job(ScheduledEventJob):
        name: str
        berths: list[Berth]
        level: int = 0

        def run(self, context: RunContext) -> None: ...

    arguments = {"berths": [{"pier": 1}, {}, {"pier": "a", "number": "b"}], "level": "high", "x": 1}
    with pytest.raises(InvalidArguments) as caught:
        job_type(Job).validate(arguments)
    text = str(caught.value)
    assert text.startswith("The arguments do not fit event type 'tide.mark':\n  - ")
    assert len(caught.value.errors) == 6
    for part in (
        "name",
        "$.berths[0].pier",
        "$.berths[1]",
        "$.berths[2].number",
        "$.level",
        "x",
    ):
        assert part in text


def test_a_job_without_fields_takes_no_arguments() -> None:
    """Given some, the error names them."""

    class Job(ScheduledEventJob):
        def run(self, context: RunContext) -> None: ...

    kind = job_type(Job)
    assert isinstance(kind.build(kind.validate({}), 1), Job)
    assert errors_of(kind, {"a": 1, "b": 2}) == ["takes no arguments, got a, b @ $"]


def even(_job: object, field: "attrs.Attribute[int]", value: int) -> None:
    """A validator of one's own."""
    if value % 2:
        raise ValueError(f"{field.name} is odd")


def test_all_that_validators_refuse_comes_at_once() -> None:
    """Each with its path and in its own words, beside what does not fit at all."""

    @attrs.frozen
    class Job(ScheduledEventJob):
        name: str
        level: int = attrs.field(validator=attrs.validators.ge(0))
        colour: str = attrs.field(default="red", validator=attrs.validators.in_(["red"]))
        count: int = attrs.field(default=1, validator=even)
        code: str = attrs.field(default="a", converter=str.upper)

        def run(self, context: RunContext) -> None: ...

    kind = job_type(Job)
    wrong = {"level": -1, "colour": "blue", "count": 3}
    refused = [
        "'level' must be >= 0: -1 @ $.level",
        "'colour' must be in ['red'] (got 'blue') @ $.colour",
        "count is odd @ $.count",
    ]
    assert errors_of(kind, {"name": "a", **wrong}) == refused
    assert set(errors_of(kind, {**wrong, "name": 5, "more": 1})) == {
        "expected str, got int 5 @ $.name",
        "extra fields found (more) @ $",
        *refused,
    }


def test_what_a_class_checks_at_last_is_heard() -> None:
    """Also where a validator looks at other fields, which may not be there."""

    @attrs.frozen
    class Job(ScheduledEventJob):
        first: int
        last: int = attrs.field()

        @last.validator
        def _follows(self, field: "attrs.Attribute[int]", value: int) -> None:
            if value < self.first:
                raise ValueError("last comes before first")

        def __attrs_post_init__(self) -> None:
            if self.first == 13:
                raise ValueError("13 is refused")

        def run(self, context: RunContext) -> None: ...

    kind = job_type(Job)
    assert errors_of(kind, {"first": 2, "last": 1}) == ["last comes before first @ $.last"]
    assert errors_of(kind, {"first": "a", "last": 1}) == ["expected int, got str 'a' @ $.first"]
    assert errors_of(kind, {"first": 13, "last": 13}) == ["13 is refused @ $"]


def test_a_class_may_contain_itself() -> None:
    """A tree is built to its leaves, and an error in one has the whole path."""

    @attrs.frozen
    class Job(ScheduledEventJob):
        root: Node

        def run(self, context: RunContext) -> None: ...

    kind = job_type(Job)
    leaf = {"name": "b"}
    built_job = kind.build(kind.validate({"root": {"name": "a", "children": [leaf]}}), 1)
    assert built_job.root == Node("a", [Node("b")])
    assert errors_of(kind, {"root": {"name": "a", "children": [{"name": 5}]}}) == [
        "expected str, got int 5 @ $.root.children[0].name"
    ]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (Berth | Pier, "Berth and Pier in one union cannot be told apart: give each a required"),
        (datetime | str, "datetime and str in one union are all a JSON string"),
        (Tide | str, "Tide and str in one union are all a JSON string"),
        (Level | int, "Level and int in one union are all a JSON integer"),
        (timedelta | int, "timedelta and int in one union are all a JSON integer"),
        (list[int] | tuple[str, str], "are all a JSON array"),
        (Berth | dict[str, int], "are all a JSON object"),
        (dict[int, str], "the names in a JSON object are text"),
        (complex, "no JSON value is a complex"),
        (list[complex], "no JSON value is a complex"),
        (Callable[[], None], "no JSON value is a"),
        (Shape, "no value of <enum 'Shape'> is JSON"),
    ],
)
def test_what_no_argument_can_be_is_refused_at_once(
    host: Host, annotation: Any, reason: str
) -> None:
    """When it is registered, with the reason, and before anything is scheduled."""

    def run(self: Any, context: RunContext) -> None:
        """Nothing."""

    fields = {"value": attrs.field(type=annotation)}
    job = attrs.make_class("Job", fields, (ScheduledEventJob,), class_body={"run": run})
    with pytest.raises(RegistrationError, match=re.escape(reason)) as caught:
        host.register("tide.mark")(job)
    assert caught.value.event_type == "tide.mark"
    host.register("tide.mark")(lambda context: None)  # the name is free still


# -- functions


def test_a_function_is_its_schema() -> None:
    """Its parameters after the first are the arguments: names, types, defaults."""
    seen: list[Any] = []

    def ping(context: RunContext, url: str, timeout: float = 5.0, *, tries: int = 1) -> str:
        """Knock."""
        seen.append((context, url, timeout, tries))
        return "pong"

    kind = job_type(ping)
    assert kind.build(kind.validate({"url": "a"}), 1).run("the context") == "pong"
    kind.build(kind.validate({"url": "a", "timeout": 2, "tries": 3}), 1).run("the context")
    assert seen == [("the context", "a", 5.0, 1), ("the context", "a", 2.0, 3)]
    assert len(errors_of(kind, {"url": 1, "timeout": "2", "speed": 3})) == 3
    assert len(errors_of(kind, {})) == 1


def test_a_parameter_without_annotation_takes_any_json() -> None:
    """No type, no check."""
    kind = job_type(lambda context, value: None)
    assert built(kind, {"a": [1, "b"]}) == {"a": [1, "b"]}


@pytest.mark.parametrize(
    "function", [lambda context, *more: None, lambda context, **more: None], ids=["args", "kwargs"]
)
def test_a_function_without_a_schema_is_refused(function: Callable[..., Any]) -> None:
    """``*args`` and ``**kwargs`` say nothing that could be checked."""
    with pytest.raises(RegistrationError, match=r"parameters are its schema, so name them, no \*m"):
        job_type(function)


def test_an_async_function_is_an_async_job() -> None:
    """The engine is told to await it."""

    async def wait(context: RunContext, seconds: float) -> None:
        """Nothing."""

    def at_once(context: RunContext) -> None:
        """Nothing."""

    assert job_type(wait).is_async
    assert not job_type(at_once).is_async


# -- results


@pytest.mark.parametrize("value", [0, False, "", [], {"a": [1.5, None]}, "é☃"])
def test_a_json_result_is_kept(value: Any) -> None:
    """Also one that is false; it comes back equal."""
    text, problem = dump_result(value)
    assert problem is None
    assert text is not None
    assert json.loads(text) == value


def test_no_result_is_no_text() -> None:
    """Most jobs return nothing, and nothing is stored."""
    assert dump_result(None) == (None, None)


@pytest.mark.parametrize("value", [object(), {1}, b"x", math.nan, {"a": {2: object()}}])
def test_a_result_that_is_no_json_is_told(value: Any) -> None:
    """It is not kept, and the reason is."""
    text, problem = dump_result(value)
    assert text is None
    assert str(problem).startswith("the result is no JSON: ")


def test_a_result_has_a_limit() -> None:
    """What is too large is not kept, and the reason is."""
    assert dump_result("x" * (MAX_RESULT - 2)) == ('"' + "x" * (MAX_RESULT - 2) + '"', None)
    text, problem = dump_result("x" * MAX_RESULT)
    assert (text, problem) == (None, "the result has 65,538 bytes, more than 65,536")


@pytest.mark.parametrize(
    ("value", "problem"), [(object(), "is no JSON"), ("x" * MAX_RESULT, "more than 65,536")]
)
def test_work_is_not_repeated_for_its_result(host: Host, value: Any, problem: str) -> None:
    """A run with a bad result has succeeded, with ``result_error``."""
    host.register("tide.mark")(lambda context: value)
    with host:
        run = host.wait(host.schedule("tide.mark").id, timeout=20)
    assert run is not None
    assert (run.outcome, run.result) == (Outcome.SUCCEEDED, None)
    assert problem in str(run.result_error)


# -- versions


@attrs.frozen
class Versioned(ScheduledEventJob):
    """Version 1 had a ``name``; version 2 has ``names``; version 3 a ``level`` with a default."""

    names: list[str]
    level: int = 0

    def run(self, context: RunContext) -> object:
        """What it was built with."""
        return [*self.names, self.level]

    @classmethod
    def upgrade(cls, arguments: dict[str, Any], version: int) -> dict[str, Any]:
        """From any older version to today's."""
        return {"names": [arguments["name"]]} if version == 1 else arguments


def test_older_arguments_are_upgraded() -> None:
    """``upgrade`` sees the stored arguments and their version; today's are left alone."""
    kind = job_type(Versioned, version=3)
    assert kind.build('{"name":"a"}', 1) == Versioned(["a"])
    assert kind.build('{"names":["a"]}', 2) == Versioned(["a"])
    assert kind.build('{"names":["a"],"level":1}', 3) == Versioned(["a"], 1)


def test_upgraded_arguments_are_checked() -> None:
    """What ``upgrade`` gives must fit like everything else; what it raises comes through."""
    kind = job_type(Versioned, version=3)
    with pytest.raises(InvalidArguments, match="expected str, got int 7"):
        kind.build('{"name":7}', 1)
    with pytest.raises(KeyError):
        kind.build("{}", 1)


def test_an_event_that_no_upgrade_fits_is_set_aside(host: Host) -> None:
    """It is quarantined with the reason and no attempt is repeated; others of its type run."""
    host.store.open()
    broken = host.schedule("tide.mark", {"nonsense": 1}, allow_unknown=True)
    fine = host.schedule("tide.mark", {"name": "a"}, allow_unknown=True)
    host.register("tide.mark", version=2)(Versioned)
    with host:
        host.run_until_idle(timeout=20)
        after, runs = host.get(broken.id), list(host.runs(event_id=broken.id))
        assert host.runs(event_id=fine.id).items[0].result == ["a", 0]
    assert after is not None
    assert (after.state, len(runs)) == ("quarantined", 1)
    assert str(after.reason).startswith("its arguments do not fit schema version 2")


# -- there and back

finite = st.floats(allow_nan=False, allow_infinity=False)
zones = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8))]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@attrs.frozen
class Everything(ScheduledEventJob):
    """One field of every kind."""

    text: str
    number: int
    fraction: float
    flag: bool
    perhaps: int | None
    either: int | str
    words: list[str]
    pair: tuple[int, str]
    row: tuple[float, ...]
    marks: frozenset[int]
    table: dict[str, list[int]]
    berths: list[Berth]
    tide: Tide
    at: datetime
    day: date
    within: timedelta
    anything: Any


EVERYTHING = job_type(Everything)


@settings(max_examples=50)
@given(
    st.builds(
        Everything,
        text=st.text(),
        number=st.integers(),
        fraction=finite,
        flag=st.booleans(),
        perhaps=st.none() | st.integers(),
        either=st.integers() | st.text(),
        words=st.lists(st.text(), max_size=3),
        pair=st.tuples(st.integers(), st.text()),
        row=st.lists(finite, max_size=3).map(tuple),
        marks=st.frozensets(st.integers(), max_size=3),
        table=st.dictionaries(st.text(), st.lists(st.integers(), max_size=2), max_size=2),
        berths=st.lists(st.builds(Berth, st.text(), st.integers()), max_size=2),
        tide=st.sampled_from(Tide),
        at=st.datetimes(timezones=zones),
        day=st.dates(),
        within=st.timedeltas(timedelta(days=-1000), timedelta(days=1000)),
        anything=json_values,
    )
)
def test_a_job_instance_survives_the_trip(job: Everything) -> None:
    """An instance dumped to JSON and built again is equal, whatever it holds."""
    assert EVERYTHING.build(EVERYTHING.dump(job), 1) == job


def test_an_instance_with_a_wrong_value_is_refused() -> None:
    """Attrs does not check annotations; scheduling does."""
    with pytest.raises(InvalidArguments, match=r"expected str, got int 5 @ \$\.names\[0\]"):
        job_type(Versioned).dump(Versioned([5]))  # type: ignore[list-item]
