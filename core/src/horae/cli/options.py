"""Where ``click.Context.meta`` keeps the common options; commands of plugins may look there."""

from typing import Final

STORE: Final = "horae.store"
CONFIG: Final = "horae.config"
VERBOSE: Final = "horae.verbose"
