"""A plugin's settings: from the host's configuration into the attrs class that it brings."""

import json
from collections.abc import Mapping
from datetime import date, time
from typing import Any

import attrs
import cattrs

from horae import json_schema
from horae.converter import Unreadable, explain, strict_converter
from horae.plugins.loader import Refused

Schema = dict[str, Any]


def structure(kind: object, given: Mapping[str, Any], plugin: str) -> tuple[object, Schema]:
    """``given`` as an instance of ``kind``, and the JSON Schema of such settings.

    Read as strictly as the arguments of an event. Raises Refused, with the path of everything that
    does not fit. The converter goes with the call, so that no cache holds the class.
    """
    if not (isinstance(kind, type) and attrs.has(kind)):
        raise Refused(f"horae_settings returned {kind!r}; return a class made by attrs")
    converter = strict_converter()
    try:
        plain = json.loads(
            json.dumps(given, default=_text)
        )  # what a program gives is read like what a file says
        settings = converter.structure(plain, kind)
        schema = json_schema.schema_of(kind, f"settings of plugin {plugin}", converter)
    except cattrs.BaseValidationError as error:
        found = cattrs.transform_error(error, format_exception=explain)
        listed = "".join(f"\n  - {one}" for one in found)
        raise Refused(
            f"the settings of plugin {plugin!r} do not fit {kind.__qualname__}, so mend them where "
            f"the host has them from:{listed}"
        ) from None
    except (Unreadable, NameError) as error:
        raise Refused(f"{kind.__qualname__} cannot be read from JSON: {error}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"the settings of plugin {plugin!r} are no JSON: {error}") from None
    return settings, schema


def _text(value: object) -> str:
    """Dates and times in a TOML file have types of their own; JSON has texts."""
    if isinstance(value, (date, time)):
        return value.isoformat()
    raise TypeError(f"{value!r} is no JSON")
