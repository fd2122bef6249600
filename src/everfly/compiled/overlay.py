"""Find the compiled modules that belong to the sources here, and have Python import from them.

    ~/.cache/everfly/compiled/<key>/everfly/core/machine.cpython-311-x86_64-linux-gnu.so
                                   /everfly/sim/world.cpython-311-x86_64-linux-gnu.so
                                   /<name>__mypyc.cpython-311-x86_64-linux-gnu.so   all the code

The key is a hash of the sources and of the interpreter, so what is found is never out of date. The
folders of `everfly.core` and `everfly.sim` there are looked at before those of the package: a
module that is not compiled is still found where it always is.

Rules: the switch comes before the first module of these packages is imported, or not at all (two
classes of one name would not know each other); never where a tracer runs, which sees nothing inside
machine code; never from a folder that somebody else may write to.
"""

import hashlib
import os
import stat
import sys
import sysconfig
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

SWITCH: Final = "EVERFLY_COMPILED"
"""0: plain Python; 1: say so where nothing is compiled; otherwise: compiled, if it is there."""

PARTS: Final = ("core", "sim")
"""Packages with compiled modules."""
_SOURCES: Final = ("core", "wire", "engines", "sim", "compiled")
"""Packages whose text decides what is compiled, and how: compiled code relies on types."""

_PACKAGE: Final = Path(__file__).resolve().parent.parent


def home() -> Path:
    """Where compiled modules are kept, a folder for each key."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "everfly" / "compiled"


def key(package: Path = _PACKAGE) -> str:
    """Return what names the compiled modules of these sources and this interpreter."""
    digest = hashlib.sha256(f"{sysconfig.get_config_var('SOABI')} {sys.version}".encode())
    for path in _texts(package):
        text = path.read_bytes()
        digest.update(f"\0{path.relative_to(package)}\0{len(text)}\0".encode())
        digest.update(text)
    return digest.hexdigest()[:20]


def _texts(package: Path) -> Iterator[Path]:
    yield package / "errors.py"
    for name in _SOURCES:
        yield from sorted((package / name).glob("**/*.py"))


def find() -> Path | None:
    """Return the folder that belongs to the sources here, or None where none was built."""
    try:
        folder = home() / key()
        found = folder.stat()
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        return None
    is_ours = found.st_uid in (os.geteuid(), 0)
    is_shared = bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    return folder if stat.S_ISDIR(found.st_mode) and is_ours and not is_shared else None


def use() -> Path | None:
    """Import compiled modules from now on, where they are there and wanted.

    Call it before anything of `everfly.core` is imported; later it does nothing, and so it does
    where a tracer or profiler runs. Returns their folder; None: plain Python. Says on stderr what
    is missing where they were asked for (`EVERFLY_COMPILED=1`).
    """
    wish = os.environ.get(SWITCH, "")
    if wish == "0" or sys.gettrace() or sys.getprofile():
        return None
    folder = find()
    if folder is None:
        if wish == "1":
            what = f"{SWITCH}=1, but nothing in {home()} was made of the sources here"
            print(f"{what}: plain Python runs. Build it: make compiled", file=sys.stderr)  # noqa: T201
        return None
    if any(name in sys.modules for name in modules(folder)):
        return None
    enter(folder)
    return folder


def modules(folder: Path) -> list[str]:
    """Return the full names of the modules that are compiled there."""
    ending = f".{sysconfig.get_config_var('SOABI')}.so"
    return [
        f"everfly.{part}.{path.name.removesuffix(ending)}"
        for part in PARTS
        for path in sorted((folder / "everfly" / part).glob(f"*{ending}"))
    ]


def enter(folder: Path) -> None:
    """Import from a folder that `use` returned: in this process, or in one that it started."""
    if used() is not None:
        return
    sys.path.append(str(folder))  # for the library with all the code, which has a name of its own
    for part in PARTS:
        import_module(f"everfly.{part}").__path__.insert(0, str(folder / "everfly" / part))


def used() -> Path | None:
    """Return the folder that this process imports compiled modules from, or None."""
    first = Path(import_module("everfly.core").__path__[0])
    return None if first == _PACKAGE / "core" else first.parent.parent
