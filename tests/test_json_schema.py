"""JSON Schemas of arguments: made from fields, and as strict about arguments as the class is."""

import enum
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, TypedDict

import attrs
import jsonschema
import pytest
from attrs import validators
from hypothesis import given, settings
from hypothesis import strategies as st

from horae import InvalidArguments
from horae.json_schema import complaints
from horae.payloads import JobType
from horae_hookspecs import RunContext, ScheduledEventJob, ScheduledEventRegistryWrapper


class Tide(enum.Enum):
    """A value with a text for it."""

    HIGH = "high"
    LOW = "low"


class Level(enum.IntEnum):
    """A value with a number for it."""

    ONE = 1
    TWO = 2


class Access(enum.IntFlag):
    """Values that add up to others."""

    READ = 1
    WRITE = 2


class Loose(TypedDict):
    """Nothing that a schema is made for."""

    a: int


@attrs.frozen
class Berth:
    """A value within a value."""

    pier: str
    number: int = attrs.field(default=0, validator=validators.ge(0))
    beside: "list[Berth]" = attrs.field(factory=list)


@attrs.frozen
class Ship:
    """Told from a berth by its name."""

    name: str


def job_type(target: Any) -> JobType:
    """The codec of a job class or function."""
    events = ScheduledEventRegistryWrapper()
    events.register("tide.mark")(target)
    return JobType(events.registrations[0])


def taking(annotation: Any, **field: Any) -> JobType:
    """A job with one argument, ``value``."""

    def run(self: Any, context: RunContext) -> None:
        """Nothing."""

    fields = {"value": attrs.field(type=annotation, **field)}
    return job_type(attrs.make_class("Job", fields, (ScheduledEventJob,), class_body={"run": run}))


def schema_of(annotation: Any, **field: Any) -> Any:
    """The schema of that argument."""
    return taking(annotation, **field).schema["properties"]["value"]


def test_a_schema_says_what_a_class_takes() -> None:
    """Names, types, defaults, what is required and that there is no more, with the docstrings."""

    @attrs.frozen
    class Mark(ScheduledEventJob):
        """Mark the tide."""

        place: str = attrs.field(metadata={"title": "Where", "description": "A quay."})
        berth: Berth | None = None
        levels: list[int] = attrs.field(factory=list)

        def run(self, context: RunContext) -> None: ...

    assert job_type(Mark).schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tide.mark",
        "description": "Mark the tide.",
        "type": "object",
        "properties": {
            "place": {"type": "string", "title": "Where", "description": "A quay."},
            "berth": {"anyOf": [{"$ref": "#/$defs/Berth"}, {"type": "null"}], "default": None},
            "levels": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["place"],
        "additionalProperties": False,
        "$defs": {
            "Berth": {
                "description": "A value within a value.",
                "type": "object",
                "properties": {
                    "pier": {"type": "string"},
                    "number": {"type": "integer", "minimum": 0, "default": 0},
                    "beside": {"type": "array", "items": {"$ref": "#/$defs/Berth"}},
                },
                "required": ["pier"],
                "additionalProperties": False,
            }
        },
    }


def test_a_function_has_a_schema_too() -> None:
    """Its parameters after the context, and its docstring; without any, nothing is taken."""

    def ping(context: RunContext, url: str, timeout: float = 5.0) -> None:
        """Knock."""

    schema = job_type(ping).schema
    assert schema["description"] == "Knock."
    assert schema["properties"] == {
        "url": {"type": "string"},
        "timeout": {"type": "number", "default": 5.0},
    }
    assert job_type(lambda context: None).schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tide.mark",
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


V = validators


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (Any, {}),
        (object, {}),
        (Any | None, {}),
        (datetime, {"type": "string", "format": "date-time"}),
        (date, {"type": "string", "format": "date"}),
        (timedelta, {"type": "number", "description": "a length of time in seconds"}),
        (Tide, {"type": "string", "enum": ["high", "low"]}),
        (Level, {"type": "integer", "enum": [1, 2]}),
        (Access, {"type": "integer"}),
        (Literal["a", 1, None], {"type": ["integer", "null", "string"], "enum": ["a", 1, None]}),
        (list, {"type": "array"}),
        (Sequence[int], {"type": "array", "items": {"type": "integer"}}),
        (frozenset[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (dict, {"type": "object"}),
        (
            Mapping[Tide, int],
            {
                "type": "object",
                "propertyNames": {"type": "string", "enum": ["high", "low"]},
                "additionalProperties": {"type": "integer"},
            },
        ),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (Loose, {}),
        (list[Loose], {}),
    ],
)
def test_each_annotation_has_its_schema(annotation: Any, schema: Any) -> None:
    """What cannot be said of a field's type leaves the field, and no other, open."""
    assert schema_of(annotation) == schema


@pytest.mark.parametrize(
    ("annotation", "validator", "limits"),
    [
        (int, V.ge(1), {"minimum": 1}),
        (int, [V.gt(1), V.lt(9)], {"exclusiveMinimum": 1, "exclusiveMaximum": 9}),
        (float, V.and_(V.le(2.5), V.le(3)), {"maximum": 2.5, "allOf": [{"maximum": 3}]}),
        (timedelta, V.gt(timedelta(minutes=1)), {"exclusiveMinimum": 60.0}),
        (datetime, V.gt(datetime(2026, 1, 1, tzinfo=UTC)), {}),
        (str, [V.min_len(1), V.max_len(5)], {"minLength": 1, "maxLength": 5}),
        (list[int], V.min_len(1), {"minItems": 1}),
        (dict[str, int], V.max_len(2), {"maxProperties": 2}),
        (str, V.matches_re("a|b"), {"pattern": "^(?:a|b)$"}),
        (str, V.matches_re("a", func=re.match), {"pattern": "^(?:a)"}),
        (str, V.matches_re("a", func=re.search), {"pattern": "a"}),
        (str, V.matches_re("a", re.IGNORECASE), {}),
        (str, V.in_(["a", "b"]), {"enum": ["a", "b"]}),
        (str, V.in_("abc"), {}),
        (int, V.in_(range(10_000)), {}),
        (int | None, V.optional(V.in_([1])), {"enum": [1, None]}),
        (int | None, V.optional([V.ge(0)]), {"minimum": 0}),
        (Tide, V.in_([Tide.HIGH]), {"allOf": [{"enum": ["high"]}]}),
        (int, lambda *_: None, {}),
    ],
)
def test_validators_of_attrs_are_in_the_schema(
    annotation: Any, validator: Any, limits: dict[str, Any]
) -> None:
    """Bounds, lengths, patterns and options; others are left to the class."""
    assert schema_of(annotation, validator=validator) == {**schema_of(annotation), **limits}


def test_two_classes_of_one_name_are_two_definitions() -> None:
    """Neither takes the other's place."""
    other = attrs.make_class("Berth", {"depth": attrs.field(type=float)})
    schema = taking(tuple[Berth, other]).schema  # type: ignore[valid-type]
    refs = [one["$ref"] for one in schema["properties"]["value"]["prefixItems"]]
    assert refs == ["#/$defs/Berth", "#/$defs/Berth2"]
    assert list(schema["$defs"]["Berth2"]["properties"]) == ["depth"]


# -- as strict as the class


@attrs.frozen
class Everything(ScheduledEventJob):
    """One field of every kind that a schema can say."""

    text: str = "x"
    number: int = 0
    fraction: float = 0.0
    flag: bool = False
    perhaps: int | None = None
    either: int | str | list[int] = 0
    words: list[str] = attrs.field(factory=list)
    pair: tuple[int, str] = (0, "")
    marks: frozenset[int] = frozenset()
    table: dict[str, list[int]] = attrs.field(factory=dict)
    berth: Berth = attrs.field(default=Berth("east"))
    thing: Berth | Ship | None = None
    tide: Tide = Tide.HIGH
    tides: dict[Tide, int] = attrs.field(factory=dict)
    level: Level | None = None
    mode: Literal["a", 1] = "a"
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    day: date = date(2026, 1, 1)
    anything: Any = None
    small: int = attrs.field(default=1, validator=[V.ge(1), V.lt(10)])
    short: str = attrs.field(default="a", validator=V.max_len(3))
    few: list[int] = attrs.field(default=[1], validator=V.min_len(1))
    coloured: str = attrs.field(default="red", validator=V.in_(["red", "blue"]))
    coded: str = attrs.field(default="a1", validator=V.matches_re("[a-z][0-9]?"))

    def run(self, context: RunContext) -> None: ...


EVERYTHING = job_type(Everything)
SCHEMA = json.dumps(EVERYTHING.schema)

whole = st.integers(-(2**53), 2**53)
finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=4) | st.sampled_from(["high", "a", "red", "a1", "2026-01-01", "x\0"])
scalars = st.none() | st.booleans() | whole | st.integers(-1, 12) | finite | texts
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.sampled_from(["pier", "number", "name", "beside"]), inner)
    ),
    max_leaves=8,
)
berths: Any = st.fixed_dictionaries(
    {"pier": texts}, optional={"number": st.integers(-1, 3), "beside": st.just([])}
)
fitting: dict[str, Any] = {
    "either": whole | texts | st.lists(whole, max_size=2),
    "words": st.lists(texts, max_size=2),
    "pair": st.tuples(whole, texts).map(list),
    "marks": st.lists(st.integers(0, 3), max_size=3),
    "table": st.dictionaries(texts, st.lists(whole, max_size=1), max_size=2),
    "berth": berths,
    "thing": berths | st.fixed_dictionaries({"name": texts}),
    "tides": st.dictionaries(st.sampled_from(["high", "low", "mid"]), whole),
    "level": st.integers(0, 3),
    "mode": st.sampled_from(["a", 1, True, 1.0]),
    "at": st.datetimes(timezones=st.none() | st.just(UTC)).map(datetime.isoformat),
    "day": st.dates().map(date.isoformat),
    "small": st.integers(0, 11),
    "few": st.lists(whole, max_size=2),
    "coded": st.from_regex("[a-z][0-9]?", fullmatch=True),
}
candidates = st.fixed_dictionaries(
    {}, optional={f.name: fitting.get(f.name, scalars) for f in attrs.fields(Everything)}
)


def refused(check: Callable[[], object]) -> bool:
    """Whether a check raises InvalidArguments."""
    try:
        check()
    except InvalidArguments:
        return True
    return False


@settings(max_examples=200, deadline=None)
@given(candidates, st.sampled_from([f.name for f in attrs.fields(Everything)]), anything)
def test_a_schema_refuses_what_the_class_refuses(
    arguments: dict[str, Any], name: str, value: Any
) -> None:
    """And accepts what it accepts: fitting, nearly fitting and wild values alike."""
    for candidate in (arguments, {name: value}, {**arguments, name: value}):
        by_class = refused(lambda candidate=candidate: EVERYTHING.validate(candidate))  # type: ignore[misc]
        assert bool(complaints(SCHEMA, candidate)) == by_class, candidate


def test_a_schema_is_one() -> None:
    """It is valid by the draft that it names."""
    jsonschema.Draft202012Validator.check_schema(EVERYTHING.schema)


def test_all_complaints_come_at_once() -> None:
    """Each with its path, those within a union's only fitting member too, none of them long."""
    found = complaints(
        SCHEMA,
        {
            "number": "5",
            "berth": {"number": -1},
            "thing": 5,
            "perhaps": "x" * 1000,
            "at": "2026-01-01T00:00:00",
            "few": [],
            "more": 1,
        },
    )
    assert len(found) == 8
    listed = "\n".join(found)
    for path in ("number", "berth", "berth.number", "thing", "perhaps", "at", "few"):
        assert f" @ $.{path}\n" in f"{listed}\n"
    assert "'more' was unexpected" in listed
    assert max(map(len, found)) < 350


def test_a_union_complains_about_the_member_that_was_meant() -> None:
    """Of an optional class, about its fields and not about the union."""
    kind = taking(Ship | None)
    assert complaints(json.dumps(kind.schema), {"value": {"name": 5}}) == [
        "5 is not of type 'string' @ $.value.name"
    ]
