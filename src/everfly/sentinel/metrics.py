"""Turn the state of a Sentinel and its counts into the text that Prometheus scrapes.

Rules: read-only; what is dear (a picture of each group) is made once for each scrape, and the event
loop has its turn between groups, because a scrape must not delay a PING.
"""

import asyncio
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from everfly import __version__
from everfly.core.model import GroupName, RunId
from everfly.core.snapshot import GroupView, InstanceView, PeerView
from everfly.runtime.driver import Driver
from everfly.runtime.executor import Executor
from everfly.runtime.http import HttpServer
from everfly.runtime.link import LinkPool
from everfly.runtime.listener import Listener
from everfly.runtime.webhooks import WebhookQueue
from everfly.sentinel import metric_families as f
from everfly.sentinel.tally import GroupTally, Tally
from everfly.sentinel.why import Timeline
from everfly.wire.exposition import Family

GROUPS_A_TURN: Final = 2
"""Groups written down before others have their turn. Each takes about a millisecond."""


class ScriptQueue(Protocol):
    """Scripts as they are counted. Implemented by `sentinel.scripts.Scripts`."""

    @property
    def queued(self) -> int:
        """How many run or wait."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """What there is to read."""

    me: RunId
    driver: Driver
    executor: Executor
    links: LinkPool
    listener: Listener
    scripts: ScriptQueue


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
    """The text of one Sentinel. `http` and `webhooks` may come to it later."""

    def __init__(self, sources: Sources, tally: Tally, timeline: Timeline, beat: Beat) -> None:
        self._sources = sources
        self._tally = tally
        self._timeline = timeline
        self._beat = beat
        self._started_at = time.time()
        self.http: HttpServer | None = None
        self.webhooks: Sequence[WebhookQueue] = ()

    async def text(self) -> str:
        """Return all metrics as of now."""
        lines: dict[str, list[str]] = {family.name: [] for family in f.FAMILIES}

        def put(family: Family, value: float, *labels: str) -> None:
            lines[family.name].append(family.sample(value, *labels))

        self._put_process(put)
        self._put_outlets(put)
        lines[f.PEER_PINGS.name].append(f.PEER_PINGS.buckets(self._tally.peer_pings))
        driver = self._sources.driver
        for number, name in enumerate(driver.group_names(), 1):
            view = driver.group_view(name)
            if view is not None:
                _put_group(put, view)
                tally = self._tally.groups.get(name) or GroupTally()
                _put_tally(put, name, tally)
                lines[f.PINGS.name].append(f.PINGS.buckets(tally.pings, name))
                lines[f.PHASES.name] += (
                    f.PHASES.buckets(histogram, name, phase)
                    for phase, histogram in tally.phases.items()
                )
            if number % GROUPS_A_TURN == 0:
                await asyncio.sleep(0)
        return "".join(
            family.head() + "".join(lines[family.name])
            for family in f.FAMILIES
            if lines[family.name]
        )

    def _put_process(self, put: "Put") -> None:
        sources = self._sources
        driver, executor = sources.driver, sources.executor
        put(f.BUILD_INFO, 1, __version__, platform.python_version(), str(sources.me))
        put(f.START_TIME, round(self._started_at, 3))
        put(f.EPOCH, driver.current_epoch)
        put(f.GROUPS, len(driver.group_names()))
        put(f.TILT, driver.tilt_for is not None)
        put(f.LOOP_LAG, round(self._beat.lag_s, 6))
        for event, count in self._tally.notices.items():
            put(f.NOTICES, count, event)
        put(f.WRITES, executor.writes)
        put(f.WRITE_FAILURES, executor.write_failures)
        put(f.EFFECTS_WAITING, executor.waiting)
        put(f.EFFECTS_SHED, executor.shed)
        put(f.FACTS_WAITING, driver.queued)
        put(f.FACTS_DROPPED, driver.dropped)

    def _put_outlets(self, put: "Put") -> None:
        sources = self._sources
        traffic = sources.listener.traffic
        put(f.LINKS, len(sources.links))
        put(f.MALFORMED, sources.links.malformed_hellos)
        put(f.CLIENTS, len(sources.listener.clients))
        put(f.CONNECTIONS, traffic.connections)
        put(f.REJECTED, traffic.rejected)
        put(f.COMMANDS, traffic.commands)
        put(f.COMMAND_ERRORS, traffic.errors)
        put(f.SCRIPTS, sources.scripts.queued)
        put(f.TIMELINE, len(self._timeline))
        for queue in self.webhooks:
            name, counts = queue.webhook.name, queue.counts
            put(f.WEBHOOK_QUEUED, queue.queued, name)
            put(f.WEBHOOK_MESSAGES, counts.delivered, name, "delivered")
            put(f.WEBHOOK_MESSAGES, counts.failed, name, "failed")
            put(f.WEBHOOK_MESSAGES, counts.dropped, name, "dropped")
            put(f.WEBHOOK_RETRIES, counts.retries, name)
        if self.http is not None:
            put(f.HTTP_REQUESTS, self.http.requests)
            put(f.HTTP_REFUSED, self.http.refused)


class Put(Protocol):
    """Adds one sample."""

    def __call__(self, family: Family, value: float, /, *labels: str) -> None:
        """Add it; `labels` in the order of the family's."""
        ...


def _put_tally(put: Put, name: GroupName, tally: GroupTally) -> None:
    for outcome, count in tally.outcomes.items():
        put(f.FAILOVERS, count, name, outcome)
    for led_by, count in tally.switches.items():
        put(f.SWITCHES, count, name, led_by)
    for given_to, count in tally.votes.items():
        put(f.VOTES, count, name, given_to)


def _put_group(put: Put, view: GroupView) -> None:
    name = view.name
    put(f.CONFIG_EPOCH, view.config_epoch, name)
    put(f.O_DOWN, view.primary.o_down_for is not None, name)
    put(f.FAILING_OVER, view.failover_state is not None, name)
    put(f.QUORUM, view.settings.quorum, name)
    put(f.USABLE, view.usable_sentinels, name)
    put(f.KNOWN, len(view.peers) + 1, name)
    put(f.CAN_AGREE, view.can_reach_quorum, name)
    put(f.CAN_AUTHORIZE, view.can_authorize, name)
    put(f.REPLICAS, len(view.replicas), name)
    put(f.GOOD_REPLICAS, sum(is_good_replica(replica) for replica in view.replicas), name)
    put(f.DOWN_AFTER, view.settings.down_after / 1000, name)
    _put_instance(put, name, view.primary, "primary")
    for replica in view.replicas:
        _put_instance(put, name, replica, "replica")
        lag = lag_of(view.primary, replica)
        if lag is not None:
            put(f.LAG, lag, name, str(replica.address), "replica")
        put(
            f.REPLICATION_UP,
            replica.report.primary_link_up,
            name,
            str(replica.address),
            "replica",
        )
    for peer in view.peers:
        _put_peer(put, name, peer)


def _put_instance(put: Put, name: GroupName, instance: InstanceView, role: str) -> None:
    labels = (name, str(instance.address), role)
    put(f.S_DOWN, instance.s_down_for is not None, *labels)
    put(f.CONNECTED, instance.link.is_connected, *labels)
    put(f.PONG_AGE, instance.link.last_ok_ping_ago / 1000, *labels)
    if instance.info_ago is not None:
        put(f.INFO_AGE, instance.info_ago / 1000, *labels)
    if instance.report.offset is not None:
        put(f.OFFSET, instance.report.offset, *labels)


def _put_peer(put: Put, name: GroupName, peer: PeerView) -> None:
    labels = (name, str(peer.address), str(peer.run_id))
    put(f.PEER_CONNECTED, peer.link.is_connected, *labels)
    put(f.PEER_DOWN, peer.s_down_for is not None, *labels)
    put(f.PEER_HELLO_AGE, peer.last_hello_ago / 1000, *labels)


def is_good_replica(replica: InstanceView) -> bool:
    """Return whether a replica could stand in for its primary, as far as its links go."""
    return replica.s_down_for is None and replica.report.primary_link_up


def lag_of(primary: InstanceView, replica: InstanceView) -> int | None:
    """Return how far a replica is behind, in its engine's unit; None: nobody can tell."""
    mine, theirs = replica.report, primary.report
    if mine.offset is None or theirs.offset is None or mine.history != theirs.history:
        return None
    # The two were asked at different moments, so the replica may seem to be ahead.
    return max(0, theirs.offset - mine.offset)
