"""Which resources a bot means: a JSON mapping of fields to what they must be.

A condition is a value, a list of values of which one must do, ``{"matches": regex}`` for the whole
of a text, or ``{"not": condition}``. A field that is not there is null, and ``tags.owner`` is the
field ``owner`` in the field ``tags``.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

Condition = Callable[[Any], bool]


def compile_filter(conditions: Mapping[str, Any]) -> Condition:
    """A function that tells whether the fields of a resource meet all conditions.

    Raises ValueError that names everything that is wrong with them.
    """
    errors: list[str] = []
    compiled = {name: _compile(name, wanted, errors) for name, wanted in conditions.items()}
    if errors:
        raise ValueError("; ".join(errors))
    return lambda fields: all(meets(field(fields, name)) for name, meets in compiled.items())


def field(fields: Mapping[str, Any], path: str) -> Any:
    """The field at a dotted path; None where there is none."""
    if path in fields:
        return fields[path]
    first, _, rest = path.partition(".")
    inner = fields.get(first)
    return field(inner, rest) if rest and isinstance(inner, Mapping) else None


def _compile(name: str, wanted: Any, errors: list[str]) -> Condition:
    if isinstance(wanted, Mapping):
        return _operator(name, wanted, errors)
    if isinstance(wanted, list):
        return _any_of([_compile(name, one, errors) for one in wanted])
    return _equals(wanted)


def _operator(name: str, wanted: Mapping[str, Any], errors: list[str]) -> Condition:
    match dict(wanted):
        case {"not": condition, **rest} if not rest:
            refused = _compile(name, condition, errors)
            return lambda value: not refused(value)
        case {"matches": str(pattern), **rest} if not rest:
            try:
                whole = re.compile(pattern).fullmatch
            except re.error as error:
                errors.append(f"{pattern!r} for {name} is no regular expression: {error}")
            else:
                return lambda value: isinstance(value, str) and whole(value) is not None
        case _:
            errors.append(
                f"{dict(wanted)!r} for {name} is no condition: give a value, a list of values, "
                '{"matches": regex} or {"not": condition}'
            )
    return lambda _: False


def _any_of(conditions: list[Condition]) -> Condition:
    return lambda value: any(meets(value) for meets in conditions)


def _equals(wanted: Any) -> Condition:
    # To Python, True is 1; to JSON it is not.
    return lambda value: value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
