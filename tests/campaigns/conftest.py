"""What the campaigns share: processes to kill, and chance that can be repeated."""

import os
import random

import pytest


@pytest.fixture
def chance() -> random.Random:
    """The campaign's dice. A failed one is repeated with ``HORAE_SEED`` set to what it printed."""
    seed = os.environ.get("HORAE_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"HORAE_SEED={seed}")  # noqa: T201 (shown when the test fails)
    return random.Random(seed)
