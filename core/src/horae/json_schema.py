"""JSON Schema (draft 2020-12) of arguments: made from the fields of a job class, and asked about
arguments where that class is away.

What a schema cannot say, it leaves out: validators that are none of attrs' own and whatever a
class checks after its fields are set, the order of dates, the range of a float or timedelta. Then
it accepts more than the class does, never less.
"""

import enum
import functools
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from types import NoneType
from typing import Any, Final, get_args, get_origin

import attrs
import cattrs

from horae.converter import (
    ANYTHING,
    JSON_TYPES,
    choices,
    has_open_ends,
    is_choice,
    is_listlike,
    is_object,
    is_pair,
    is_union,
    plain,
    read_date,
    read_datetime,
)

Schema = dict[str, Any]

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

_PLAIN: Final[Mapping[Any, Schema]] = {
    NoneType: {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: {"type": "string", "contentEncoding": "base85"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    timedelta: {"type": "number", "description": "a length of time in seconds"},
}
_TOLD: Final = ("title", "description")
MAX_OPTIONS: Final = 1000
MAX_TEXT: Final = 300
_BOUNDS: Final = {
    ">=": "minimum",
    ">": "exclusiveMinimum",
    "<=": "maximum",
    "<": "exclusiveMaximum",
}
_LENGTHS: Final = {"string": "Length", "array": "Items", "object": "Properties"}


def schema_of(job_class: Any, event_type: str, converter: cattrs.Converter) -> Schema:
    """The schema of the arguments of ``job_class``; a field that none can be made for takes {}."""
    return _Maker(converter).whole(job_class, event_type)


class _Maker:
    """Makes one schema; classes within it are defined once each, so that they may refer to
    themselves.
    """

    def __init__(self, converter: cattrs.Converter) -> None:
        self._converter = converter
        self._names: dict[Any, str] = {}
        self._definitions: dict[str, Schema] = {}

    def whole(self, job_class: Any, event_type: str) -> Schema:
        """The schema of a job class."""
        body = {"type": "object", "properties": {}, "additionalProperties": False}
        if attrs.has(job_class):
            body = self._class(job_class)
        schema = {"$schema": DRAFT, "title": event_type, **body}
        return schema | ({"$defs": self._definitions} if self._definitions else {})

    def _class(self, kind: Any) -> Schema:
        fields = [field for field in attrs.fields(kind) if field.init]
        described = inspect.cleandoc(vars(kind).get("__doc__") or "")
        required = [field.name for field in fields if field.default is attrs.NOTHING]
        return {
            **({"description": described} if described else {}),
            "type": "object",
            "properties": {field.name: self._field(field) for field in fields},
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    def _field(self, field: "attrs.Attribute[Any]") -> Schema:
        told = {key: str(field.metadata[key]) for key in _TOLD if key in field.metadata}
        try:
            schema = self._annotation(field.type)
            for limit in self._limits(field.validator, field, schema):
                schema = _both(schema, limit)
            json.dumps(schema, allow_nan=False)
        except Exception:
            schema = {}
        return {**schema, **told, **self._values(field)}

    def _values(self, field: "attrs.Attribute[Any]") -> Schema:
        default = [] if field.default is attrs.NOTHING else self._json(field.default)
        examples = self._json(field.metadata["example"]) if "example" in field.metadata else []
        return {
            **({"default": default[0]} if default else {}),
            **({"examples": examples} if examples else {}),
        }

    def _json(self, value: object) -> list[Any]:
        """The value as it is in JSON, alone in a list; none for a factory, or what is no JSON."""
        try:
            found = self._converter.unstructure(value)
            json.dumps(found, allow_nan=False)
        except Exception:
            return []
        return [found]

    def _annotation(self, annotation: Any) -> Schema:
        kind = plain(annotation)
        arguments = get_args(kind)
        if kind in (*ANYTHING, None):
            return {}
        if is_choice(kind):
            return _choice(kind)
        if is_union(kind):
            members = [self._annotation(member) for member in arguments]
            return {"anyOf": members} if {} not in members else {}
        if is_pair(kind):
            return self._pair(arguments)
        if is_listlike(kind):
            distinct = (
                {"uniqueItems": True} if (get_origin(kind) or kind) in (set, frozenset) else {}
            )
            return {"type": "array", **self._inner("items", arguments[:1]), **distinct}
        if is_object(kind):
            names = self._inner("propertyNames", arguments[:1]) if arguments[:1] != (str,) else {}
            return {"type": "object", **names, **self._inner("additionalProperties", arguments[1:])}
        if attrs.has(kind):
            return {"$ref": f"#/$defs/{self._defined(kind)}"}
        return dict(_PLAIN[kind])

    def _inner(self, keyword: str, annotation: Sequence[Any]) -> Schema:
        return {keyword: self._annotation(annotation[0])} if annotation else {}

    def _pair(self, elements: Sequence[Any]) -> Schema:
        return {
            "type": "array",
            "prefixItems": [self._annotation(element) for element in elements],
            "minItems": len(elements),
            "maxItems": len(elements),
        }

    def _defined(self, kind: Any) -> str:
        if kind not in self._names:
            taken = [other.__name__ for other in self._names].count(kind.__name__)
            name = self._names[kind] = f"{kind.__name__}{taken + 1 if taken else ''}"
            self._definitions[name] = self._class(kind)
        return self._names[kind]

    def _limits(self, validator: Any, field: Any, schema: Schema) -> Iterator[Schema]:
        """What attrs' own validators say; their classes are private, and told by their names."""
        match type(validator).__name__:
            case "_AndValidator":
                for one in validator._validators:
                    yield from self._limits(one, field, schema)
            case "_OptionalValidator":
                for limit in self._limits(validator.validator, field, schema):
                    yield {**limit, "enum": [*limit["enum"], None]} if "enum" in limit else limit
            case "_NumberValidator":
                bound = self._converter.unstructure(validator.bound)
                if type(bound) in (int, float):
                    yield {_BOUNDS[validator.compare_op]: bound}
            case "_MinLengthValidator":
                yield _length("min", validator.min_length, schema)
            case "_MaxLengthValidator":
                yield _length("max", validator.max_length, schema)
            case "_MatchesReValidator":
                yield from _pattern(validator)
            case "_InValidator":
                yield from _options(validator.options)


def _choice(kind: Any) -> Schema:
    values = [value for value, _ in choices(kind)]
    types = sorted({JSON_TYPES[type(value)] for value in values})
    named = {"type": types[0] if len(types) == 1 else types}
    return named if has_open_ends(kind) else {**named, "enum": values}


def _length(end: str, length: int, schema: Schema) -> Schema:
    noun = _LENGTHS.get(str(schema.get("type")))
    return {} if noun is None or "contentEncoding" in schema else {f"{end}{noun}": length}


def _pattern(validator: Any) -> Iterator[Schema]:
    pattern = validator.pattern
    if isinstance(pattern.pattern, str) and pattern.flags == re.UNICODE:
        forms = {"fullmatch": "^(?:{})$", "match": "^(?:{})", "search": "{}"}
        text = forms[validator.match_func.__name__].format(pattern.pattern)
        re.compile(text)
        yield {"pattern": text}


def _options(options: Any) -> Iterator[Schema]:
    if isinstance(options, str) or len(options) > MAX_OPTIONS:
        return  # of a text, the parts are options too
    values = [one.value if isinstance(one, enum.Enum) else one for one in options]
    if all(type(value) in (str, int, float, bool, NoneType) for value in values):
        yield {"enum": values}


def _both(schema: Schema, limit: Schema) -> Schema:
    if schema.keys() & limit.keys():
        return {**schema, "allOf": [*schema.get("allOf", ()), limit]}
    return {**schema, **limit}


# -- asked about arguments


def complaints(schema: str, arguments: Mapping[str, Any]) -> list[str]:
    """All that a schema, given as JSON text, has against JSON arguments, each with its path."""
    return [text for error in _validator(schema).iter_errors(arguments) for text in _told(error)]


@functools.lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    import jsonschema  # only who schedules for an absent plugin needs it, and it is slow to import

    draft = jsonschema.Draft202012Validator
    # JSON knows one kind of number, and calls 5.0 an integer. A job that wants an int refuses it.
    types = draft.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    extend: Any = jsonschema.validators.extend
    exact = extend(draft, type_checker=types)
    formats = jsonschema.FormatChecker(formats=())
    for name, read in (("date-time", read_datetime), ("date", read_date)):
        formats.checks(name, raises=TypeError)(_reads(read))
    return exact(json.loads(schema), format_checker=formats)


def _reads(read: Callable[[Any, Any], Any]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        return not isinstance(value, str) or read(value, None) is not None

    return check


def _told(error: Any) -> Iterator[str]:
    """One text for an error; of a union, those of the only member that takes such a value."""
    members: dict[int, list[Any]] = {}
    for inner in error.context if error.validator == "anyOf" else ():
        members.setdefault(inner.schema_path[0], []).append(inner)
    meant = [found for found in members.values() if not any(map(_of_other_type, found))]
    if len(meant) == 1:
        for inner in meant[0]:
            yield from _told(inner)
        return
    text = error.message
    yield f"{text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + '...'} @ {error.json_path}"


def _of_other_type(error: Any) -> bool:
    return error.validator == "type" and not error.relative_path
