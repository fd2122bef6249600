"""Turn what a person types into seeds and limits."""

from collections.abc import Iterator
from dataclasses import dataclass

from everfly.errors import SettingsError

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


def parse_commit(text: str) -> int:
    """Turn a commit hash into the first seed of a run, so that each commit tries fresh worlds."""
    try:
        return int(text[:12], 16)
    except ValueError:
        raise SettingsError(f"{text!r} is no commit hash") from None
