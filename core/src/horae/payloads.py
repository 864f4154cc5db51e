"""Arguments and results: plain JSON in the store, checked job instances in memory.

A stored event names its type and the version of its arguments' schema; the class itself is looked
up when the event runs, so that code can change under stored events and is never held by them.
"""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import cattrs

from horae import json_schema
from horae.converter import Unreadable, explain, strict_converter
from horae.errors import InvalidArguments
from horae_hookspecs import (
    MultiResourceScheduledEventJob,
    Registration,
    RegistrationError,
    ScheduledEventJob,
)

MAX_ARGUMENTS: Final = 256 * 1024
MAX_RESULT: Final = 64 * 1024

FACTORY: Final[type] = type(attrs.Factory(list))

encode: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
"""Strict, compact JSON; json.dumps with the same arguments would make an encoder for each call."""


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
        self.is_multi = issubclass(self.job_class, MultiResourceScheduledEventJob)
        self.is_async = inspect.iscoroutinefunction(_work(target))
        self._fields = attrs.has(self.job_class) and bool(attrs.fields(self.job_class))
        self._converter = strict_converter()
        if self._fields:
            self._check_annotations()

    @functools.cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return json_schema.schema_of(self.job_class, self.event_type, self._converter)

    def validate(self, arguments: Mapping[str, Any]) -> str:
        """``arguments`` as JSON text, after a strict check. Raises InvalidArguments."""
        text = to_json(arguments, self.event_type)
        self._structure(_parsed(text))
        return text

    def dump(self, job: object) -> str:
        """The arguments of a job instance as JSON text. Raises InvalidArguments."""
        return self.validate(self._converter.unstructure(job) if self._fields else {})

    def build(self, text: str, version: int) -> Any:
        """The job instance for stored arguments, upgraded from ``version``.

        Raises InvalidArguments, or whatever the plugin's ``upgrade`` raises.
        """
        arguments = _parsed(text)
        if version < self.version and hasattr(self.job_class, "upgrade"):
            arguments = self.job_class.upgrade(arguments, version)
        return self._structure(arguments)

    def check_defaults(self) -> None:
        """Raise RegistrationError for a default that would not come back from a store as what the
        annotation says: a job that has it could be scheduled in no way but without it.
        """
        for field in attrs.fields(self.job_class) if self._fields else ():
            default = field.default
            if field.init and default is not attrs.NOTHING and not isinstance(default, FACTORY):
                try:
                    text = encode(self._converter.unstructure(default))
                    if field.type is not None:
                        self._converter.structure(json.loads(text), field.type)
                except Exception as error:
                    raise RegistrationError(
                        f"{self.job_class.__qualname__} cannot be registered as "
                        f"{self.event_type!r}: the default of {field.name}, {default!r}, is none "
                        f"that can be stored: {explain(error, None)}.",
                        event_type=self.event_type,
                    ) from None

    def _check_annotations(self) -> None:
        try:
            self._converter.get_structure_hook(self.job_class)
        except (Unreadable, NameError) as error:
            raise RegistrationError(
                f"{self.job_class.__qualname__} cannot be registered as {self.event_type!r}: its "
                f"arguments could not be read from JSON: {error}.",
                event_type=self.event_type,
            ) from None

    def _structure(self, arguments: Any) -> Any:
        if not self._fields:
            if arguments:
                names = ", ".join(map(str, arguments))
                raise InvalidArguments(self.event_type, [f"takes no arguments, got {names} @ $"])
            return self.job_class()
        try:
            return self._converter.structure(arguments, self.job_class)
        except cattrs.BaseValidationError as error:
            found = cattrs.transform_error(error, format_exception=explain)
            raise InvalidArguments(self.event_type, found) from None


def _parsed(text: str) -> Any:
    return {} if text == "{}" else json.loads(text)  # so many have none that it pays to look


def to_json(arguments: Mapping[str, Any], event_type: str) -> str:
    """Arguments as JSON text, unchecked against a type. Raises InvalidArguments."""
    if not isinstance(arguments, (dict, Mapping)):  # dict first: to ask a Mapping takes longer
        raise InvalidArguments(
            event_type, [f"expected a mapping of names to values, got {arguments!r} @ $"]
        )
    if not arguments:
        return "{}"
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


def check_by_schema(schema: str | None, text: str, event_type: str) -> None:
    """Check arguments as JSON text against a stored schema, if there is one: for types whose code
    is not here. Raises InvalidArguments.
    """
    found = [] if schema is None else json_schema.complaints(schema, json.loads(text))
    if found:
        raise InvalidArguments(event_type, found)


@attrs.frozen
class Unkept:
    """Stands for a job's return value that another process did not hand over."""

    reason: str


def dump_result(value: object) -> tuple[str | None, str | None]:
    """A job's return value as (JSON text, why it was not kept).

    Work is not repeated for its return value, so a bad one never fails a run.
    """
    if value is None:
        return None, None
    if isinstance(value, Unkept):
        return None, value.reason
    try:
        text = encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        return None, f"the result is no JSON: {error}"
    if len(text) > MAX_RESULT:
        return None, f"the result has {len(text):,} bytes, more than {MAX_RESULT:,}"
    return text, None


def _work(target: Any) -> Any:
    """The code that decides whether a job is asynchronous."""
    run = getattr(target, "run", target)
    return target.run_resource if run is MultiResourceScheduledEventJob.run else run


def _job_class(function: Callable[..., Any]) -> type:
    """An attrs class whose fields are the function's parameters after the first."""
    _, *parameters = inspect.signature(function, eval_str=True).parameters.values()
    fields = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise RegistrationError(
                f"{function.__qualname__} cannot be registered: a job function's parameters are "
                f"its schema, so name them, no *{parameter.name}."
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
