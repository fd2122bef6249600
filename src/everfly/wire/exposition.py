"""Turn numbers into the text that Prometheus reads (exposition format 0.0.4).

Rules: what a metric means stands in one table of `Family`, of which each has a name with its unit
last; a sample names its family, so nothing undeclared can be exported; label values are escaped,
whatever a stranger has put into them.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
_NO_TEXT: Final = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
"""Bytes that are no text arrive as these, and no encoder takes them."""


class Kind(Enum):
    """What a number does over time."""

    COUNTER = "counter"
    """Only grows, from the start of the process."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, what it is, and the labels that tell its samples apart."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    def head(self) -> str:
        """Return the two lines that go before all samples."""
        return f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind.value}\n"

    def sample(self, value: float, *labels: str) -> str:
        """Return one line; `labels` in the order of the family's."""
        return f"{self.name}{self._shown(labels)} {_number(value)}\n"

    def buckets(self, histogram: "Histogram", *labels: str) -> str:
        """Return the lines of one histogram."""
        lines = []
        seen = 0
        for limit, count in zip((*histogram.limits, float("inf")), histogram.counts, strict=True):
            seen += count
            shown = self._shown(labels, f'le="{_number(limit)}"')
            lines.append(f"{self.name}_bucket{shown} {seen}\n")
        shown = self._shown(labels)
        lines.append(f"{self.name}_sum{shown} {_number(histogram.sum)}\n")
        lines.append(f"{self.name}_count{shown} {seen}\n")
        return "".join(lines)

    def sample_names(self) -> tuple[str, ...]:
        """Return the names under which samples appear."""
        if self.kind is not Kind.HISTOGRAM:
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))

    def _shown(self, values: tuple[str, ...], extra: str = "") -> str:
        words = [
            f'{label}="{escape_label(value)}"'
            for label, value in zip(self.labels, values, strict=True)
        ]
        if extra:
            words.append(extra)
        return "{" + ",".join(words) + "}" if words else ""


@dataclass(slots=True)
class Histogram:
    """How often a value was at most each of `limits`, which ascend."""

    limits: tuple[float, ...]
    counts: list[int] = field(init=False)
    """One for each limit, and one for what is above all."""
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.limits) + 1)

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.limits, value)] += 1
        self.sum += value


def escape_label(value: str) -> str:
    """Return a label's value as it stands between quotes."""
    return "".join(_ESCAPES.get(char, char) for char in value.translate(_NO_TEXT))


def block(family: Family, lines: Iterable[str]) -> str:
    """Return a family with its samples; nothing when it has none."""
    text = "".join(lines)
    return family.head() + text if text else ""


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
