"""Turn the small programs of this folder into commands that run, built once outside the checkout.

Each program is a client library, unchanged, in its own language: `PROGRAM calls|follow NAME PORTS`.
It prints lines of JSON with `phase` and `protocol`: `calls` (what it read out of each reply),
`writes` and `reads` (the instance that it is at, with the value there, once a second and at each
change), `error`.

A build goes to the user's cache folder under a name that says its sources, so it happens once; the
packages come through the ordinary clients, in the versions that are pinned beside the programs.
Where a toolchain or a package is missing, `Missing` says which and what to do.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from processes import Child

SOURCES: Final = Path(__file__).parent
BUILD_S: Final = 100.0
"""A first build downloads some megabytes; below the time-out of one test."""

ERROR_CHARS: Final = 400
DEPENDENCY_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:2.8"
JAVA_OPTIONS: Final = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""A small heap and a quick start: the programs live for seconds."""


class Missing(Exception):  # noqa: N818 - it names a state, not a fault
    """A program cannot be built here. The message says what is missing."""


@dataclass(frozen=True)
class Program:
    """One client library. `sources` is a folder beside this file."""

    name: str
    sources: str
    tools: tuple[str, ...]
    build: Callable[[Path], None]
    """Turns a folder with a copy of the sources into one that `command` runs in."""
    command: Callable[[Path], list[str]]
    protocols: tuple[int, ...] = (2, 3)
    reads_replicas: bool = True

    def built(self) -> Path:
        """Return the folder of the finished build, after building it if need be. Raise Missing."""
        for tool in self.tools:
            if shutil.which(tool) is None:
                raise Missing(f"{self.name} needs {tool}, which is not on PATH")
        source = SOURCES / self.sources
        files = sorted(path for path in source.iterdir() if path.is_file())
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        folder = _cache() / f"{self.sources}-{digest.hexdigest()[:16]}"
        done = folder / ".built"
        with _lock(folder.with_suffix(".lock")):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                for path in files:
                    shutil.copy(path, folder)
                self.build(folder)
                done.touch()
        return folder

    def start(self, mode: str, name: str, ports: list[int], log: Path) -> Child:
        """Start the program; it writes into `log`. Raise Missing."""
        folder = self.built()
        words = [*self.command(folder), mode, name, ",".join(map(str, ports))]
        return Child(words, log, directory=folder)


def lines_of(log: Path) -> list[dict[str, object]]:
    """Return what a program has said so far. Lines of other kinds (warnings) are left out."""
    text = log.read_text(errors="replace") if log.exists() else ""
    # The last piece is a line that is not finished yet, or empty.
    return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{")]


def _cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "everfly" / "compat-clients"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the file locked: two test runs must not build into one folder."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(folder: Path, *command: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Missing(f"`{' '.join(command[:2])}` took more than {BUILD_S:g} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-ERROR_CHARS:]
        raise Missing(f"`{' '.join(command[:2])}` failed in {folder}: {said}")


def _build_node(folder: Path) -> None:
    _run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def _build_go(folder: Path) -> None:
    _run(folder, "go", "build", "-mod=readonly", "-o", "clients", ".")


def _build_java(folder: Path) -> None:
    # Maven brings the libraries; javac alone compiles, which spares Maven's own plugins for it.
    _run(
        folder,
        "mvn",
        f"{DEPENDENCY_PLUGIN}:copy-dependencies",
        "--batch-mode",
        "--quiet",
        "-DoutputDirectory=lib",
    )
    sources = sorted(path.name for path in folder.glob("*.java"))
    _run(folder, "javac", "-cp", "lib/*", "-d", "classes", *sources)


def _build_python(folder: Path) -> None:
    _run(folder, sys.executable, "-m", "venv", "environment")
    pip = ("environment/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(folder, *pip, "install", "--no-deps", "-r", "requirements.txt")


def _node(name: str) -> Program:
    return Program(name, "node", ("node", "npm"), _build_node, lambda _: ["node", f"{name}.mjs"])


def _java(name: str, main: str, *, reads_replicas: bool) -> Program:
    command = ["java", *JAVA_OPTIONS, "-cp", "classes:lib/*", main]
    tools = ("java", "javac", "mvn")
    return Program(
        name, "java", tools, _build_java, lambda _: command, reads_replicas=reads_replicas
    )


PROGRAMS: Final = (
    Program(
        "coredis",
        "python",
        (),
        _build_python,
        lambda folder: [str(folder / "environment/bin/python"), "coredis_program.py"],
        protocols=(3,),
    ),
    _node("ioredis"),
    _node("node-redis"),
    Program("go-redis", "go", ("go",), _build_go, lambda folder: [str(folder / "clients")]),
    _java("jedis", "JedisProgram", reads_replicas=False),
    _java("lettuce", "LettuceProgram", reads_replicas=True),
)
