"""Arguments and results: plain JSON in the store, checked job instances in memory.

A stored event names its type and the version of its arguments' schema; the class itself is looked
up when the event runs, so that code can change under stored events and is never held by them.
"""

import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from types import GenericAlias
from typing import Any, Final, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import list_structure_factory
from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_union_passthrough
from cattrs.v import format_exception

from horae.errors import InvalidArguments
from horae_hookspecs import NaiveDatetimeError, Registration, ScheduledEventJob, require_aware

MAX_ARGUMENTS: Final = 256 * 1024
MAX_RESULT: Final = 64 * 1024

encode: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
"""Strict, compact JSON; json.dumps with the same arguments would make an encoder for each call."""

_CONTAINERS: Final[Mapping[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    Sequence: tuple,
    Iterable: tuple,
}


class JobType:
    """The class behind an event type and the codec of its arguments.

    One instance, with a converter of its own, belongs to one generation and goes with it, so that
    no cache of a library keeps an unloaded class alive.
    """

    def __init__(self, registration: Registration) -> None:
        self.event_type = registration.event_type
        self.version = registration.policy.version
        target = registration.target
        self.job_class: Any = target if inspect.isclass(target) else _job_class(target)
        self.is_async = inspect.iscoroutinefunction(getattr(target, "run", target))
        self._fields = attrs.has(self.job_class) and bool(attrs.fields(self.job_class))
        self._converter = strict_converter()

    def validate(self, arguments: Mapping[str, Any]) -> str:
        """``arguments`` as JSON text, after a strict check. Raises InvalidArguments."""
        text = to_json(arguments, self.event_type)
        self._structure(json.loads(text))
        return text

    def dump(self, job: object) -> str:
        """The arguments of a job instance as JSON text. Raises InvalidArguments."""
        return self.validate(self._converter.unstructure(job) if self._fields else {})

    def build(self, text: str, version: int) -> Any:
        """The job instance for stored arguments, upgraded from ``version``.

        Raises InvalidArguments, or whatever the plugin's ``upgrade`` raises.
        """
        arguments = json.loads(text)
        if version < self.version and hasattr(self.job_class, "upgrade"):
            arguments = self.job_class.upgrade(arguments, version)
        return self._structure(arguments)

    def _structure(self, arguments: Any) -> Any:
        if not self._fields:
            if arguments:
                names = ", ".join(map(str, arguments))
                raise InvalidArguments(self.event_type, [f"takes no arguments, got {names} @ $"])
            return self.job_class()
        try:
            return self._converter.structure(arguments, self.job_class)
        except cattrs.BaseValidationError as error:
            found = cattrs.transform_error(error, format_exception=_explain)
            raise InvalidArguments(self.event_type, found) from None


def to_json(arguments: Mapping[str, Any], event_type: str) -> str:
    """Arguments as JSON text, unchecked against a type. Raises InvalidArguments."""
    if not isinstance(arguments, Mapping):
        raise InvalidArguments(
            event_type, [f"expected a mapping of names to values, got {arguments!r} @ $"]
        )
    try:
        text = encode(dict(arguments))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArguments(
            event_type,
            [f"{error} @ $ (arguments are JSON: give text, or pass a job instance instead)"],
        ) from None
    if len(text) > MAX_ARGUMENTS:
        raise InvalidArguments(
            event_type,
            [f"{len(text):,} bytes @ $, more than {MAX_ARGUMENTS:,}; store a reference instead"],
        )
    return text


def dump_result(value: object) -> tuple[str | None, str | None]:
    """A job's return value as (JSON text, why it was not kept).

    Work is not repeated for its return value, so a bad one never fails a run.
    """
    if value is None:
        return None, None
    try:
        text = encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        return None, f"the result is no JSON: {error}"
    if len(text) > MAX_RESULT:
        return None, f"the result has {len(text):,} bytes, more than {MAX_RESULT:,}"
    return text, None


def strict_converter() -> cattrs.Converter:
    """A converter that guesses nothing: no text for a number, no number for a truth value.

    cattrs is lenient where it calls the type itself (``int("5")``); these hooks check instead. An
    int is fine for a float, since JSON writers drop the ``.0``.
    """
    converter = make_converter(forbid_extra_keys=True)
    # Once more without bool, which is an int to Python and would pass for one in a union.
    configure_union_passthrough(str | int | float | None, converter)
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook(datetime, _datetime)
    converter.register_structure_hook(date, _date)
    converter.register_structure_hook(timedelta, _timedelta)
    converter.register_unstructure_hook(timedelta, timedelta.total_seconds)
    converter.register_structure_hook_func(lambda kind: kind is Any, lambda value, _: value)
    converter.register_structure_hook_factory(_listlike, _from_list)
    return converter


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    def check(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(_mismatch(kind.__name__, value))
        return value

    return check


def _float(value: Any, _: Any) -> float:
    if type(value) not in (float, int) or not math.isfinite(value):
        raise TypeError(_mismatch("float", value))
    return float(value)


def _datetime(value: Any, _: Any) -> datetime:
    try:
        return require_aware(datetime.fromisoformat(value), "the datetime")
    except NaiveDatetimeError:
        raise TypeError(_mismatch("datetime with a time zone", value)) from None
    except (TypeError, ValueError):
        raise TypeError(_mismatch("ISO 8601 datetime", value)) from None


def _date(value: Any, _: Any) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise TypeError(_mismatch("ISO 8601 date", value)) from None


def _timedelta(value: Any, _: Any) -> timedelta:
    return timedelta(seconds=_float(value, None))


def _listlike(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return origin in _CONTAINERS and not (origin is tuple and get_args(kind)[1:] != (...,))


def _from_list(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    # cattrs iterates whatever it is given, and a text iterates: "ab" would pass for ["a", "b"].
    element: Any = (get_args(kind) or (Any,))[0]
    of_element: Any = GenericAlias(list, (element,))
    structure = list_structure_factory(of_element, converter)
    container = _CONTAINERS[get_origin(kind) or kind]

    def check(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(_mismatch("list", value))
        return container(structure(value, kind))

    return check


def _mismatch(expected: str, value: object) -> str:
    shown = repr(value)
    return f"expected {expected}, got {type(value).__name__} {shown[:60]}"


def _explain(error: BaseException, kind: type | None) -> str:
    if isinstance(error, TypeError) and str(error).startswith("expected "):
        return str(error)
    if isinstance(error, (TypeError, ValueError)) and error.args and kind is not None:
        return str(error)
    return format_exception(error, kind)


def _job_class(function: Callable[..., Any]) -> type:
    """An attrs class whose fields are the function's parameters after the first."""
    _, *parameters = inspect.signature(function, eval_str=True).parameters.values()
    fields = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidArguments(
                function.__qualname__,
                [f"a job function's parameters are its schema: name them, no *{parameter.name}"],
            )
        default = attrs.NOTHING if parameter.default is parameter.empty else parameter.default
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        fields[parameter.name] = attrs.field(default=default, type=kind, kw_only=True)
    names = tuple(fields)

    def run(self: Any, context: Any) -> Any:
        return function(context, **{name: getattr(self, name) for name in names})

    made: type = attrs.make_class(
        function.__name__.strip("<>"),  # a lambda's name is none that generated code can bear
        fields,
        bases=(ScheduledEventJob,),
        frozen=True,
        class_body={"run": run, "__doc__": function.__doc__, "__module__": function.__module__},
    )
    return made
