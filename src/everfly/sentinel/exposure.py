"""Turn what happens in a Sentinel into what people can see: metrics, health, JSON, page, webhooks.

Rules: it only listens, and nothing that it does can hold up or change a decision; what nobody asked
for is not made; all of it is closed before the rest.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Final

from everfly.core.effects import Explain
from everfly.core.model import RunId
from everfly.core.notices import Event, Notice
from everfly.errors import SettingsError
from everfly.runtime.glob import Glob
from everfly.runtime.http import HttpServer
from everfly.runtime.http_post import Poster, parse_target
from everfly.runtime.log import NOTICE
from everfly.runtime.ports import Brain, NoticeSink
from everfly.runtime.resolver import Resolver
from everfly.runtime.webhooks import Webhook, WebhookQueue
from everfly.sentinel.callouts import json_body, slack_body
from everfly.sentinel.everfly_toml import EverflySettings, WebhookSettings
from everfly.sentinel.metrics import Beat, Metrics, Sources
from everfly.sentinel.site import Site
from everfly.sentinel.tally import Tally
from everfly.sentinel.why import Reasoned, Timeline, Why
from everfly.wire.resp import to_bytes

log = logging.getLogger(__name__)


class Exposure:
    """All that is seen of one Sentinel.

    Made before its other parts, to which `sinks` and `explained` are given; then `start`.
    """

    def __init__(self, me: RunId, brain: Brain, settings: EverflySettings) -> None:
        self._me: Final = me
        self._settings: Final = settings
        self._timeline: Final = Timeline(brain.group_view)
        self._tally: Final = Tally(me, asyncio.get_running_loop().time)
        self._http: HttpServer | None = None
        self._queues: list[WebhookQueue] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """Where HTTP is served; 0: nowhere."""
        return 0 if self._http is None else self._http.port

    @property
    def is_wanted(self) -> bool:
        """Whether there is anybody to see anything."""
        return self._settings.metrics is not None or bool(self._settings.webhooks)

    @property
    def sinks(self) -> tuple[NoticeSink, ...]:
        """Who wants each notice, in this order."""
        if not self.is_wanted:
            return ()
        seen: tuple[NoticeSink, ...] = (self._timeline, self._tally, _Forgetting(self._timeline))
        if self._settings.webhooks:
            return (*seen, Reasoned(self._timeline, self._tell))
        return seen

    @property
    def explained(self) -> Callable[[Explain], None]:
        """Who wants each explanation."""
        return self._timeline.on_explanation if self.is_wanted else _ignore

    async def start(self, sources: Sources, tasks: asyncio.TaskGroup, resolver: Resolver) -> None:
        """Serve and deliver until `stop`. Raises SettingsError when the address cannot be had."""
        if not self.is_wanted:
            return
        sources.links.pings.on_ping = self._tally.on_ping
        if self._settings.webhooks:
            poster = Poster(resolver, certificates=_certificates(self._settings.webhooks))
            for one in self._settings.webhooks:
                queue = WebhookQueue(_webhook(one), poster)
                self._queues.append(queue)
                self._hold(tasks, queue.run(), f"webhook {one.name}")
                signed = "signed" if one.secret else "not signed"
                log.log(NOTICE, "Webhook %s gets events, %s", one.name, signed)
        address = self._settings.metrics
        if address is None:
            return
        beat = Beat()
        metrics = Metrics(sources, self._tally, self._timeline, beat)
        metrics.webhooks = self._queues
        site = Site(self._me, sources.driver, metrics, self._timeline)
        self._http = metrics.http = HttpServer(site.respond)
        try:
            await self._http.start(address.host, address.port)
        except SettingsError as error:
            raise SettingsError(f"metrics: {error}; choose another address for them") from error
        self._hold(tasks, beat.run(), "beat")
        log.log(
            NOTICE,
            "Metrics, health and a page are on http://%s:%d/",
            f"[{address.host}]" if ":" in address.host else address.host,
            self._http.port,
        )
        if not self._http.is_local:
            log.warning(
                "WARNING: whoever reaches port %d can read names and addresses of all groups; keep "
                "it behind a firewall",
                self._http.port,
            )

    async def stop(self) -> None:
        """Close all; messages that wait are lost, and said to be."""
        if self._http is not None:
            await self._http.stop()
        for task in self._tasks:
            task.cancel()
        for queue in self._queues:
            if queue.queued:
                name = queue.webhook.name
                log.warning("Webhook %s: %d messages are not delivered", name, queue.queued)

    def _hold(self, tasks: asyncio.TaskGroup, work: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(tasks.create_task(work, name=name))

    def _tell(self, notice: Notice, at: datetime, why: Why | None) -> None:
        """Offer a message to each webhook that wants the event."""
        wire = to_bytes(notice.event.wire)
        for settings, queue in zip(self._settings.webhooks, self._queues, strict=False):
            if not any(Glob(to_bytes(pattern)).matches(wire) for pattern in settings.events):
                continue
            body = slack_body if settings.kind == "slack" else json_body
            queue.offer(body(self._me, notice, at, why))


class _Forgetting:
    """Has the timeline forget groups that are watched no more."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def on_notice(self, notice: Notice) -> None:
        """Look for the end of a group."""
        if notice.event is Event.UNMONITOR and notice.group is not None:
            self._timeline.forget(notice.group)


def _ignore(_: Explain) -> None:
    """Have nobody to tell."""


def _webhook(settings: WebhookSettings) -> Webhook:
    return Webhook(
        settings.name, parse_target(settings.url), settings.timeout_s, secret=settings.secret
    )


def _certificates(webhooks: tuple[WebhookSettings, ...]) -> ssl.SSLContext | None:
    """Return what the system trusts; reading it takes some 20 ms, so only where it is needed."""
    if not any(parse_target(one.url).is_encrypted for one in webhooks):
        return None
    return ssl.create_default_context()
