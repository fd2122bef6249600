"""Compile the core and the simulator with mypyc into a folder of the user's cache.

    python -m everfly.compiled.build        # or: make compiled

Needs a C compiler, and mypy and setuptools beside this package; takes a minute or two of a
processor. Exit status 0: it is there now, or was; 1: it could not be built, and plain Python runs
as before.

Rules: what is compiled is a rewritten copy, never the sources themselves; a folder appears whole or
not at all; only a few folders are kept.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from everfly.compiled import overlay
from everfly.compiled.rewriting import RewritingError, rewrite
from everfly.errors import SettingsError

PLAIN: Final = {
    # mypyc cannot make an Enum whose members are made by a constructor of its own.
    "core": {"notices"},
    # What meets people and files, starts processes, or is no part of a world: nothing to gain.
    "sim": {
        "commands", "many", "minimise", "page", "page_drawing", "page_style", "replay",
        "replay_text", "replay_words", "scale", "scale_records", "seeds", "showing", "story",
        "story_words", "worker",
    },
}  # fmt: skip
"""Modules that stay plain Python."""

KEPT: Final = 6
"""Folders, the newest ones: several checkouts share the cache."""
LIMIT_S: Final = 1_800
"""A busy machine takes five minutes."""
SCRATCH: Final = ".build-"
"""How folders begin in which somebody builds right now."""
TOLD: Final = 15
"""Last lines of what the compiler said, where it fails."""

_SETUP: Final = """\
import sys
import setuptools
from mypyc.build import mypycify
setuptools.setup(
    name="everfly-compiled",
    package_dir={"": "src"},
    ext_modules=mypycify(
        ["--explicit-package-bases", *sys.argv[1:]], opt_level="2", debug_level="0"
    ),
    script_args=["build_ext", "--build-lib", "out", "--build-temp", "objects"],
)
"""


class BuildError(SettingsError):
    """It cannot be compiled here; the message says why."""


def build() -> tuple[Path, bool]:
    """Return the folder of compiled modules, and whether it had to be made.

    Raises BuildError.
    """
    found = overlay.find()
    if found is not None:
        found.touch()
        return found, False
    lacking = [name for name in ("mypyc", "setuptools") if find_spec(name) is None]
    if lacking:
        raise BuildError(f"{' and '.join(lacking)} cannot be imported by {sys.executable}")
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        raise BuildError("there is no C compiler on PATH (cc, gcc, clang)")
    name = overlay.key()
    home = overlay.home()
    home.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=home) as scratch:
        work = Path(scratch)
        paths = rewritten(work / "src" / "everfly")
        _compile(work, [str(path.relative_to(work)) for path in paths])
        out = work / "out"
        out.chmod(0o755)
        if overlay.key() != name:
            raise BuildError("the sources changed meanwhile; build again")
        try:
            out.rename(home / name)
        except OSError as error:  # somebody else was faster, which is as good
            if not (home / name).is_dir():
                raise BuildError(f"{home / name} cannot be made: {error}") from error
    _tidy(home)
    return home / name, True


def rewritten(target: Path) -> list[Path]:
    """Copy the package to a new folder, and rewrite there what is to be compiled.

    Returns the paths of those modules. Raises BuildError.
    """
    source = Path(overlay.__file__).parent.parent
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    paths = {
        f"everfly.{part}.{path.stem}": path
        for part in overlay.PARTS
        for path in sorted((target / part).glob("*.py"))
        if path.stem != "__init__" and path.stem not in PLAIN[part]
    }
    try:
        texts = rewrite({name: path.read_text(encoding="utf-8") for name, path in paths.items()})
    except RewritingError as error:
        raise BuildError(str(error)) from error
    for name, text in texts.items():
        paths[name].write_text(text, encoding="utf-8")
    return list(paths.values())


def _compile(work: Path, paths: list[str]) -> None:
    (work / "setup.py").write_text(_SETUP, encoding="utf-8")
    line = [sys.executable, "setup.py", *paths]
    said = work / "said"
    with said.open("w", encoding="utf-8") as output:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and paths
            line,
            cwd=work,
            env={**os.environ, "MYPYPATH": "src"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            status = child.wait(LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"it took longer than {LIMIT_S} s") from error
        finally:
            if child.poll() is None:
                # The compiler is a child of the child, and would go on.
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    if status != 0:
        lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
        words = (": error:", ": fatal error:", "Error")
        wrong = [one for one in lines if any(word in one for word in words)]
        raise BuildError(
            "\n  ".join(["mypyc or the C compiler failed:", *(wrong or lines)[-TOLD:]])
        )


def _tidy(home: Path) -> None:
    """Remove what nobody has asked for in longest, and what builds that were killed left."""
    folders, scraps = [], []
    for one in home.iterdir():
        try:
            changed_at = one.stat().st_mtime
        except OSError:
            continue  # somebody else tidies up too
        if not one.name.startswith(SCRATCH):
            folders.append((changed_at, one))
        elif changed_at < time.time() - 2 * LIMIT_S:
            scraps.append(one)
    folders.sort(reverse=True)
    for old in (*scraps, *(one for _, one in folders[KEPT:])):
        shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    """Build, and say in one line what came of it."""
    # As with Ctrl-C: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        folder, is_new = build()
    except BuildError as error:
        text = f"the core and the simulator are not compiled, plain Python runs: {error}"
        print(text, file=sys.stderr)  # noqa: T201
        return 1
    print(f"{'compiled' if is_new else 'compiled before'}: {folder}", file=sys.stderr)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
