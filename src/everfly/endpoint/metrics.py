"""Turn what an endpoint knows of itself and its data plane into the text that Prometheus reads."""

import asyncio
import platform
import time
from collections import Counter
from typing import Final, Protocol

from everfly import __version__
from everfly.endpoint import metric_families as f
from everfly.endpoint.follow import Follower
from everfly.endpoint.plane import Plane, PlaneStats
from everfly.endpoint.switchover import Switchovers
from everfly.wire.exposition import Family, Histogram

STATES: Final = ("open", "holding", "no-primary", "stopped")
SECOND_US: Final = 1_000_000


class _Put(Protocol):
    """Adds one sample."""

    def __call__(self, family: Family, value: float, /, *labels: str) -> None:
        """Add it; `labels` in the order of the family's."""
        ...


class Beat:
    """Measures how late the event loop comes to what it should do. `run` until cancelled."""

    PERIOD_S: Final = 1.0

    def __init__(self) -> None:
        self.lag_s = 0.0

    async def run(self) -> None:
        """Beat once a second."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self.PERIOD_S
            await asyncio.sleep(self.PERIOD_S)
            self.lag_s = max(0.0, loop.time() - due)


class Metrics:
    """The text of one endpoint."""

    def __init__(
        self, group: str, plane: Plane, follower: Follower, switchovers: Switchovers, beat: Beat
    ) -> None:
        self._group = group
        self._plane = plane
        self._follower = follower
        self._switchovers = switchovers
        self._beat = beat
        self._started_at = time.time()
        self.notices: Counter[str] = Counter()
        """What the data plane noticed, by kind."""

    def text(self) -> str:
        """Return all metrics as of now."""
        lines: dict[str, list[str]] = {}

        def put(family: Family, value: float, *labels: str) -> None:
            lines.setdefault(family.name, []).append(family.sample(value, *labels))

        stats = self._plane.stats()
        self._put_own(put)
        state = str(stats.get("state", ""))
        for each in STATES:
            put(f.STATE, each == state, each)
        for key, family in f.OF_PLANE.items():
            value = stats.get(key)
            if isinstance(value, int):
                put(family, value)
        for key, family in (
            ("hold_ms_total", f.HOLD_SECONDS),
            ("hold_age_ms", f.HOLD_AGE),
            ("longest_hold_ms", f.LONGEST_HOLD),
        ):
            value = stats.get(key)
            if isinstance(value, int):
                put(family, value / 1000)
        histogram = latency_of(stats)
        if histogram is not None:
            lines[f.LATENCY.name] = [f.LATENCY.buckets(histogram)]
        return "".join(
            family.head() + "".join(lines[family.name])
            for family in f.FAMILIES
            if family.name in lines
        )

    def _put_own(self, put: _Put) -> None:
        follower = self._follower
        put(f.BUILD_INFO, 1, __version__, platform.python_version(), self._group)
        put(f.START_TIME, round(self._started_at, 3))
        if follower.accepted is not None:
            put(f.PRIMARY, 1, str(follower.accepted.primary))
            put(f.EPOCH, follower.accepted.epoch)
        put(f.SWITCHES, follower.switches)
        sentinels = follower.sentinels
        put(f.SENTINELS, len(sentinels))
        put(f.SENTINELS_ASKED, sum(not each.error for each in sentinels))
        put(f.SENTINELS_HEARD, sum(each.is_listening for each in sentinels))
        for state, count in self._switchovers.counts.items():
            if count:
                put(f.SWITCHOVERS, count, state.value)
        for kind, count in self.notices.items():
            put(f.NOTICES, count, kind)
        put(f.LOOP_LAG, round(self._beat.lag_s, 6))


def latency_of(stats: PlaneStats) -> Histogram | None:
    """Return the data plane's histogram in seconds, or None where it has none."""
    match stats.get("latency"):
        case {"bounds_us": list(bounds), "counts": list(counts), "sum_us": int(total)}:
            histogram = Histogram(tuple(bound / SECOND_US for bound in bounds))
            histogram.counts = list(counts)
            histogram.sum = total / SECOND_US
            return histogram
        case _:
            return None
