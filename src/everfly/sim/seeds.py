"""Turn what a person types, a commit, or a file of known seeds into seeds and limits."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError

GIT_S: Final = 10.0
"""git answers within milliseconds."""

_UNITS_S = {"s": 1, "m": 60, "h": 3_600}


@dataclass(frozen=True, slots=True)
class Seeds:
    """Which worlds to run, and for how long at most."""

    first: int
    end: int | None
    """Not run any more; None: until time is up."""
    limit_s: float | None

    def __iter__(self) -> Iterator[int]:
        seed = self.first
        while self.end is None or seed < self.end:
            yield seed
            seed += 1


@dataclass(frozen=True, slots=True)
class KnownSeed:
    """A world that once broke a rule."""

    seed: int
    why: str
    """What it showed."""


def read_known(path: Path) -> list[KnownSeed]:
    """Read a file of seeds: `SEED what it showed` a line; `#` begins a comment.

    Raises SettingsError that names the line.
    """
    found: dict[int, KnownSeed] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"seeds file {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        text, _, why = line.strip().partition(" ")
        if not (text.isdecimal() and why.strip()):
            raise SettingsError(f"{path}, line {number}: write `SEED what it showed`, not {line!r}")
        if int(text) in found:
            raise SettingsError(f"{path}, line {number}: seed {text} stands there twice")
        found[int(text)] = KnownSeed(int(text), why.strip())
    return list(found.values())


def parse_range(text: str) -> tuple[int, int]:
    """Read `A..B` (B is not included)."""
    first, dots, end = text.partition("..")
    if not (dots and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise SettingsError(f"{text!r} is no range of seeds; write it as 0..1000")
    return int(first), int(end)


def parse_duration(text: str) -> float:
    """Read `90`, `90s`, `5m` or `1h`; in seconds."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS_S else (text, "s")
    if not number.isdecimal() or int(number) == 0:
        raise SettingsError(f"{text!r} is no duration; write it as 90s, 5m or 1h")
    return float(int(number) * _UNITS_S[unit])


def head_commit() -> str:
    """Return the commit that is checked out here. Raises SettingsError where there is none."""
    line = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            line, capture_output=True, text=True, timeout=GIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SettingsError(
            "no commit is checked out here, as git says; give one: --commit HASH"
        ) from error
    return done.stdout.strip()


def parse_commit(text: str) -> int:
    """Turn a commit hash into the first seed of a run, so that each commit tries fresh worlds."""
    try:
        return int(text[:12], 16)
    except ValueError:
        raise SettingsError(f"{text!r} is no commit hash") from None
