"""From JSON values to Python values of exactly the annotated type, or errors that say where."""

import base64
import enum
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from types import GenericAlias, NoneType
from typing import Any, Final, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import is_mapping, list_structure_factory, mapping_structure_factory
from cattrs.disambiguators import create_default_dis_func
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.preconf.json import make_converter
from cattrs.v import format_exception

from horae_hookspecs import NaiveDatetimeError, require_aware

Structure = Callable[[Any, Any], Any]

CONTAINERS: Final[Mapping[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    Sequence: tuple,
    Iterable: tuple,
}
"""What a JSON list becomes, by the annotation's origin."""

ANYTHING: Final = (Any, object)
"""The annotations that take every JSON value as it is."""

JSON_TYPES: Final = {
    NoneType: "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
"""The Python types of what a JSON text holds, and what JSON calls them."""

_SCALARS: Final[Mapping[Any, frozenset[type]]] = {
    NoneType: frozenset({NoneType}),
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({float, int}),
    timedelta: frozenset({float, int}),
    str: frozenset({str}),
    bytes: frozenset({str}),
    datetime: frozenset({str}),
    date: frozenset({str}),
}


class Unreadable(Exception):
    """No JSON value can be read as what an annotation says; the text says why."""


def strict_converter() -> cattrs.Converter:
    """A converter that guesses nothing: no text for a number, no number for a truth value.

    cattrs is lenient where it calls the type itself (``int("5")``); these hooks check instead. An
    int is fine for a float, since JSON writers drop the ``.0``. Asking for the hook of a type that
    it cannot read raises Unreadable.
    """
    converter = make_converter(forbid_extra_keys=True, structure_fallback_factory=_unsupported)
    enums: dict[Any, Structure] = {}
    for kind, read in _READERS.items():
        converter.register_structure_hook(kind, _or_enum(read, converter, enums))
    converter.register_unstructure_hook(timedelta, timedelta.total_seconds)
    converter.register_structure_hook_func(lambda kind: kind in ANYTHING, lambda value, _: value)
    converter.register_structure_hook_factory(_is_class, _from_class)
    converter.register_structure_hook_factory(is_object, _from_mapping)
    converter.register_structure_hook_factory(is_listlike, _from_list)
    converter.register_structure_hook_factory(is_pair, _from_pair)
    converter.register_structure_hook_factory(is_choice, _from_choice)
    converter.register_structure_hook_factory(is_union, _from_union)
    return converter


def explain(error: BaseException, kind: type | None) -> str:
    """What is wrong with a value, without its path; for ``cattrs.transform_error``."""
    message = error.args[0] if error.args else None
    # Validators of attrs put the attribute and the value behind the message.
    if isinstance(error, (TypeError, ValueError)) and isinstance(message, str):
        return message
    return format_exception(error, kind)


# -- what an annotation is


def plain(annotation: Any) -> Any:
    """The annotation without what makes no difference to its values."""
    while True:
        if get_origin(annotation) in (typing.Annotated, typing.Final):
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # Python 3.12: type X = ...
            annotation = annotation.__value__
        else:
            return annotation


def is_listlike(kind: Any) -> bool:
    """Whether it is a list, set or sequence of any length."""
    origin = get_origin(kind) or kind
    return origin in CONTAINERS and not is_pair(kind)


def is_pair(kind: Any) -> bool:
    """Whether it is a tuple of a fixed length, such as a pair."""
    return get_origin(kind) is tuple and get_args(kind)[1:] != (...,)


def is_choice(kind: Any) -> bool:
    """Whether it names its values: an enum or a Literal."""
    return _is_literal(kind) or (isinstance(kind, type) and issubclass(kind, enum.Enum))


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def is_union(kind: Any) -> bool:
    """Whether it is a union, in either spelling."""
    return get_origin(kind) in (types.UnionType, typing.Union)


def is_object(kind: Any) -> bool:
    """Whether it is a mapping of any names."""
    return bool(is_mapping(kind)) and not typing.is_typeddict(kind)


def choices(kind: Any) -> list[tuple[Any, Any]]:
    """What a choice accepts, and what that becomes. Raises Unreadable when nothing is JSON."""
    members = get_args(kind) if _is_literal(kind) else tuple(kind)
    pairs = [(one.value if isinstance(one, enum.Enum) else one, one) for one in members]
    readable = [pair for pair in pairs if type(pair[0]) in (str, int, float, bool, NoneType)]
    if not readable:
        raise Unreadable(f"no value of {kind!r} is JSON")
    return readable


def has_open_ends(kind: Any) -> bool:
    """Whether an enum makes members of values that it does not name, as flags do."""
    bases = () if get_args(kind) else kind.__mro__
    return any("_missing_" in vars(base) for base in bases if base is not enum.Enum)


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type) and attrs.has(kind)


def _json_types(annotation: Any) -> frozenset[type]:
    """The Python types of the JSON values that an annotation may accept."""
    kind = plain(annotation)
    if is_choice(kind):
        found = {type(value) for value, _ in choices(kind)}
        return frozenset(found | {int} if float in found else found)
    if is_listlike(kind) or is_pair(kind):
        return frozenset({list})
    return _SCALARS.get(kind, frozenset({dict}))


# -- hooks


def _unsupported(kind: Any) -> Structure:
    raise Unreadable(f"no JSON value is a {getattr(kind, '__qualname__', kind)}")


def _or_enum(
    read: Structure, converter: cattrs.Converter, enums: dict[Any, Structure]
) -> Structure:
    """``read``, but for enums whose members are texts or numbers themselves: cattrs takes the hook
    of a class for its subclasses, before it asks any predicate.
    """

    def check(value: Any, kind: Any) -> Any:
        if kind in _READERS or not is_choice(kind):
            return read(value, kind)
        if kind not in enums:
            enums[kind] = _from_choice(kind, converter)
        return enums[kind](value, kind)

    return check


def _exactly(kind: type) -> Structure:
    def check(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(_mismatch(kind.__name__, value))
        return value

    return check


def _float(value: Any, _: Any) -> float:
    try:
        if type(value) in (float, int) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise TypeError(_mismatch("float", value))


def _bytes(value: Any, _: Any) -> bytes:
    # b85decode takes some texts that no b85encode gives.
    try:
        found = base64.b85decode(value)
        if base64.b85encode(found).decode() == value:
            return found
    except (TypeError, ValueError):
        pass
    raise TypeError(_mismatch("base85 text", value))


def read_datetime(value: Any, _: Any) -> datetime:
    """An instant from ISO 8601 text with a time zone. Raises TypeError."""
    try:
        return require_aware(datetime.fromisoformat(value), "the datetime")
    except NaiveDatetimeError:
        raise TypeError(_mismatch("datetime with a time zone", value)) from None
    except (TypeError, ValueError, OverflowError):
        raise TypeError(_mismatch("ISO 8601 datetime", value)) from None


def read_date(value: Any, _: Any) -> date:
    """A date from ISO 8601 text. Raises TypeError."""
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise TypeError(_mismatch("ISO 8601 date", value)) from None


def _timedelta(value: Any, _: Any) -> timedelta:
    try:
        return timedelta(seconds=_float(value, None))
    except OverflowError:
        raise TypeError(_mismatch("a number of seconds within 2,739,726 years", value)) from None


_READERS: Final[Mapping[type, Structure]] = {
    **{kind: _exactly(kind) for kind in (NoneType, str, bool, int)},
    float: _float,
    bytes: _bytes,
    datetime: read_datetime,
    date: read_date,
    timedelta: _timedelta,
}


def _from_list(kind: Any, converter: cattrs.Converter) -> Structure:
    # cattrs iterates whatever it is given, and a text iterates: "ab" would pass for ["a", "b"].
    element: Any = (get_args(kind) or (Any,))[0]
    of_element: Any = GenericAlias(list, (element,))
    structure = list_structure_factory(of_element, converter)
    container = CONTAINERS[get_origin(kind) or kind]

    def check(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(_mismatch("list", value))
        found = container(structure(value, kind))
        if len(found) != len(value):
            raise TypeError(_mismatch("list of different values", value))
        return found

    return check


def _from_pair(kind: Any, converter: cattrs.Converter) -> Structure:
    elements = get_args(kind)
    hooks = [converter.get_structure_hook(element) for element in elements]

    def check(value: Any, _: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(hooks):
            raise TypeError(_mismatch(f"list of {len(hooks)} values", value))
        found, errors = [], []
        for index, (hook, element) in enumerate(zip(hooks, elements, strict=True)):
            try:
                found.append(hook(value[index], element))
            except Exception as error:
                error.add_note(IterableValidationNote(f"At index {index}", index, element))
                errors.append(error)
        if errors:
            raise cattrs.IterableValidationError(f"While structuring {kind}", errors, kind)
        return tuple(found)

    return check


def _from_mapping(kind: Any, converter: cattrs.Converter) -> Structure:
    key: Any = (get_args(kind) or (str,))[0]
    if key not in ANYTHING and str not in _json_types(key):
        raise Unreadable(f"the names in a JSON object are text, and {kind} wants others")
    structure = mapping_structure_factory(kind, converter)

    def check(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(_mismatch("object", value))
        return structure(value, kind)

    return check


def _from_choice(kind: Any, _: cattrs.Converter) -> Structure:
    table = choices(kind)
    # By type too: to Python, 1 and True are the same key.
    exact = {(int, value): one for value, one in table if type(value) is float}
    exact |= {(type(value), value): one for value, one in table}
    accepted = {of for of, _ in exact}
    shown = ", ".join(repr(value) for value, _ in table)

    def check(value: Any, _: Any) -> Any:
        if type(value) in accepted and (type(value), value) in exact:
            return exact[type(value), value]
        if type(value) in accepted and has_open_ends(kind):
            return kind(value)
        raise TypeError(_mismatch(f"one of {shown}", value))

    return check


def _from_union(kind: Any, converter: cattrs.Converter) -> Structure:
    members = get_args(kind)
    if any(member in ANYTHING for member in members):
        return lambda value, _: value
    by_type: dict[type, list[Any]] = {}
    for member in members:
        for of in _json_types(member):
            by_type.setdefault(of, []).append(member)
    hooks = {of: _from_rivals(of, found, converter) for of, found in by_type.items()}
    real = [member for member in members if member is not NoneType]
    # What is no member at all is explained by the only one there is, if there is only one.
    otherwise = converter.get_structure_hook(real[0]) if len(real) == 1 else None
    shown = " | ".join(sorted(JSON_TYPES[of] for of in hooks))

    def check(value: Any, _: Any) -> Any:
        hook = hooks.get(type(value), otherwise)
        if hook is None:
            raise TypeError(_mismatch(shown, value))
        return hook(value, real[0])

    return check


def _from_rivals(of: type, members: Sequence[Any], converter: cattrs.Converter) -> Structure:
    """One hook for those members of a union that all take JSON values of a type."""
    if of in members:
        # A Literal beside its type is a hint to people, and an int is no float where there is int.
        members = [one for one in members if one is of or not (_is_literal(one) or one is float)]
    elif all(map(_is_literal, members)):
        members = [Literal[tuple(value for one in members for value in get_args(one))]]
    if len(members) == 1:
        hook, (member,) = converter.get_structure_hook(members[0]), members
        return lambda value, _: hook(value, member)
    names = " and ".join(getattr(member, "__name__", str(member)) for member in members)
    if not all(map(_is_class, members)):
        raise Unreadable(
            f"{names} in one union are all a JSON {JSON_TYPES[of]}; no value tells which is meant"
        )
    try:
        tell = create_default_dis_func(converter, *members)
    except TypeError:
        raise Unreadable(
            f"{names} in one union cannot be told apart: give each a required field that the "
            "others have not, or one of the same name that is a Literal"
        ) from None
    classes = {member: converter.get_structure_hook(member) for member in members}

    def check(value: Any, _: Any) -> Any:
        try:
            member: Any = tell(value)
            hook = classes[member]
        except (KeyError, TypeError, ValueError):
            raise TypeError(_mismatch(f"one of {names}", value)) from None
        return hook(value, member)

    return check


def _from_class(kind: Any, converter: cattrs.Converter) -> Structure:
    structure = converter.gen_structure_attrs_fromdict(kind)

    def check(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(_mismatch(f"the fields of {kind.__name__}", value))
        try:
            return structure(value, kind)
        except cattrs.ClassValidationError as error:
            raise _with_paths(error, kind, value, converter) from None

    return check


def _with_paths(
    error: cattrs.ClassValidationError, kind: Any, value: Mapping[str, Any], converter: Any
) -> cattrs.ClassValidationError:
    """The error with all that validators have against the fields, each under its field.

    A class stops at its first validator and does not say whose it was, and asks none while a field
    is ill-fitting. So they are asked again, one by one, on an instance that nobody sees.
    """
    try:
        refused = _refusals(error, kind, value, converter)
    except Exception:  # a class of an unusual make: what it said itself will do
        return error
    if not refused:
        return error
    extra = [e for e in error.exceptions if isinstance(e, cattrs.ForbiddenExtraKeysError)]
    ill = [one for one, _ in error.group_exceptions()[0]]
    return cattrs.ClassValidationError(error.message, [*ill, *extra, *refused], kind)


def _refusals(
    error: cattrs.ClassValidationError, kind: Any, value: Mapping[str, Any], converter: Any
) -> list[Exception]:
    bad = {note.name for _, note in error.group_exceptions()[0]}
    fields = [f for f in attrs.fields(kind) if f.init and f.name not in bad and not f.converter]
    instance = kind.__new__(kind)
    for field in fields:
        if field.name in value:
            given = converter.structure(value[field.name], field.type)
            object.__setattr__(instance, field.name, given)
    refused = []
    for field in fields:
        refusal = _refusal(instance, field) if field.name in value else None
        if refusal is not None:
            note = f"Checking {kind.__name__}.{field.name}"
            refusal.add_note(AttributeValidationNote(note, field.name, field.type))
            refused.append(refusal)
    return refused


def _refusal(instance: Any, field: "attrs.Attribute[Any]") -> Exception | None:
    try:
        if field.validator is not None:
            field.validator(instance, field, getattr(instance, field.name))
    except (TypeError, ValueError) as refusal:
        return refusal
    except Exception:
        return None  # it looks at a field that is not there; it will be asked again
    return None


def _mismatch(expected: str, value: object) -> str:
    shown = repr(value)
    return f"expected {expected}, got {type(value).__name__} {shown[:60]}"
