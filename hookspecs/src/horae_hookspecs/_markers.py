"""The two pluggy markers; the project name in them is what ties a plugin to horae."""

from typing import Final

import pluggy

PROJECT: Final = "horae"

hookspec: Final[pluggy.HookspecMarker] = pluggy.HookspecMarker(PROJECT)
hookimpl: Final[pluggy.HookimplMarker] = pluggy.HookimplMarker(PROJECT)
