"""Turn messages into signed POSTs to people's own addresses, in order, without holding up anybody.

Rules: each webhook has a queue of its own, bounded, and when it is full the oldest goes; a message
is tried again, later and later, when the other side may yet take it (no answer, 408, 425, 429, 5xx)
and given up otherwise; a redirect is such a refusal. A message keeps its id over all tries, so that
whoever gets it twice can tell.

A signature is `v1=` and the HMAC-SHA256 of `TIMESTAMP.BODY` in hexadecimal; the receiver recomputes
it with the shared secret and refuses old timestamps.
"""

import asyncio
import hashlib
import hmac
import logging
import random
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from everfly.errors import EverflyError
from everfly.runtime.http_post import Posted, Poster, Target

log = logging.getLogger(__name__)

QUEUE_MAX: Final = 256
"""Messages that wait. A failover has about twenty."""
TRIES_MAX: Final = 6
"""Half a minute in all: longer than a receiver takes to restart, short enough for what follows."""
BACKOFF_MIN_S: Final = 1.0
BACKOFF_MAX_S: Final = 30.0
_RETRIED: Final = frozenset({408, 425, 429})
"""Refusals that pass, beside 5xx."""

TIMESTAMP_HEADER: Final = "X-Everfly-Timestamp"
SIGNATURE_HEADER: Final = "X-Everfly-Signature"
ID_HEADER: Final = "X-Everfly-Delivery"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where messages go."""

    name: str
    """For logs and metrics; holds no secret."""
    target: Target
    timeout_s: float
    """For one try."""
    secret: bytes = field(default=b"", repr=False)
    """Empty: messages are not signed."""


@dataclass(slots=True)
class Counts:
    """What became of messages."""

    delivered: int = 0
    failed: int = 0
    """Given up."""
    dropped: int = 0
    """Pushed out of a full queue."""
    retries: int = 0


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """Return the signature of a body at a time (seconds since 1970)."""
    digest = hmac.new(secret, b"%d." % timestamp + body, hashlib.sha256).hexdigest()
    return f"v1={digest}"


class WebhookQueue:
    """Messages to one webhook. `run` delivers them until it is cancelled."""

    def __init__(
        self, webhook: Webhook, poster: Poster, *, backoff_min_s: float = BACKOFF_MIN_S
    ) -> None:
        self.webhook: Final = webhook
        self.counts: Final = Counts()
        self._poster = poster
        self._backoff_min_s = backoff_min_s
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._wake = asyncio.Event()

    @property
    def queued(self) -> int:
        """How many messages wait, the one under way included."""
        return len(self._waiting)

    def offer(self, body: bytes) -> None:
        """Take a message (JSON) for delivery. Never waits, never raises."""
        if len(self._waiting) >= QUEUE_MAX:
            self._waiting.popleft()
            self.counts.dropped += 1
        self._waiting.append((str(uuid.uuid4()), body))
        self._wake.set()

    async def run(self) -> None:
        """Deliver, one after the other."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                message = self._waiting[0]
                try:
                    is_done = await self._deliver(*message)
                except Exception:
                    log.exception("BUG: a message to webhook %s failed", self.webhook.name)
                    is_done = False
                if is_done:
                    self.counts.delivered += 1
                else:
                    self.counts.failed += 1
                # A full queue may have pushed it out meanwhile.
                if self._waiting and self._waiting[0] is message:
                    self._waiting.popleft()

    async def _deliver(self, id: str, body: bytes) -> bool:
        delay_s = self._backoff_min_s
        for left in reversed(range(TRIES_MAX)):
            wish_s = 0
            try:
                posted = await self._try(id, body)
                if 200 <= posted.status < 300:
                    return True
                reason = f"it answers {posted.status}"
                if not _may_pass(posted):
                    self._give_up(reason)
                    return False
                wish_s = posted.retry_after_s or 0
            except EverflyError as error:
                reason = str(error)
            if not left:
                self._give_up(f"{reason}, {TRIES_MAX} times")
                return False
            self.counts.retries += 1
            log.debug("Webhook %s: %s; to be tried again", self.webhook.name, reason)
            # Dice: many Sentinels tell of the same event, and must not all come back at once.
            spread_s = delay_s * random.uniform(0.75, 1.25)  # noqa: S311 - guards nothing
            await asyncio.sleep(min(max(spread_s, wish_s), BACKOFF_MAX_S))
            delay_s *= 2
        return False

    async def _try(self, id: str, body: bytes) -> Posted:
        webhook = self.webhook
        headers = {"Content-Type": "application/json; charset=utf-8", ID_HEADER: id}
        if webhook.secret:
            timestamp = int(time.time())
            headers[TIMESTAMP_HEADER] = str(timestamp)
            headers[SIGNATURE_HEADER] = sign(webhook.secret, timestamp, body)
        return await self._poster.post(webhook.target, body, headers, webhook.timeout_s)

    def _give_up(self, reason: str) -> None:
        log.warning("Webhook %s: a message is given up: %s", self.webhook.name, reason)


def _may_pass(posted: Posted) -> bool:
    return posted.status >= 500 or posted.status in _RETRIED
