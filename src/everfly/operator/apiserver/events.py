"""Turn what the operator did and decided into Events of the resource.

Reasons and sources are those of the upstream operator where it has them; who was lost and who was
promoted is told as well. Rules: what is told again within ten minutes raises a count instead of
making another Event; a full queue drops the newest; an Event that cannot be written is a line in
the log, never a reason to stop.
"""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from everfly.errors import EverflyError
from everfly.operator import names
from everfly.operator.apiserver.api import EVENT, Api, Object, Patch
from everfly.operator.apiserver.sight import StoreSight

log = logging.getLogger(__name__)

QUEUE_MAX: Final = 1_000
AGAIN_S: Final = 600.0
QUIET_S: Final = 5.0
"""Within which what is told again is only counted, not written."""
REMEMBERED_MAX: Final = 2_000
MESSAGE_LETTERS: Final = 1_000
"""The API server takes 1024."""

NORMAL: Final = "Normal"
WARNING: Final = "Warning"


@dataclass(frozen=True, slots=True)
class Told:
    """What is told, and about whom."""

    namespace: str
    name: str
    uid: str
    kind: str
    reason: str
    message: str


@dataclass(slots=True)
class _Past:
    name: str
    count: int
    at: float


class Events:
    """Writes Events. `run` it until cancelled."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._queue: asyncio.Queue[Told] = asyncio.Queue(QUEUE_MAX)
        self._past: dict[Told, _Past] = {}

    def tell(self, store: StoreSight, kind: str, reason: str, message: str) -> None:
        """Have something told about a resource."""
        message = message[:MESSAGE_LETTERS]
        told = Told(store.namespace, store.name, store.uid, kind, reason, message)
        log.info("%s/%s: %s: %s", store.namespace, store.name, reason, message)
        try:
            self._queue.put_nowait(told)
        except asyncio.QueueFull:
            log.warning("%s/%s: too much is told; the last is dropped", store.namespace, store.name)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            told = await self._queue.get()
            try:
                await self._write(told)
            except EverflyError as error:
                log.warning("event %s of %s: %s", told.reason, told.name, error)

    async def _write(self, told: Told) -> None:
        now = time.monotonic()
        past = self._past.pop(told, None)
        if past is not None and now - past.at < AGAIN_S:
            past.count += 1
            if now - past.at < QUIET_S:
                self._past[told] = past
                return
            past.at = now
            change = {"count": past.count, "lastTimestamp": _stamp()}
            await self._api.patch(EVENT, past.name, told.namespace, change, Patch.MERGE)
        else:
            past = _Past(f"{told.name}.{secrets.token_hex(8)}", 1, now)
            await self._api.create(EVENT, told.namespace, _manifest(told, past.name))
        self._past[told] = past
        if len(self._past) > REMEMBERED_MAX:
            del self._past[next(iter(self._past))]


def _manifest(told: Told, name: str) -> Object:
    stamp = _stamp()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": told.namespace},
        "involvedObject": {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.KIND,
            "namespace": told.namespace,
            "name": told.name,
            "uid": told.uid,
        },
        "type": told.kind,
        "reason": told.reason,
        "message": told.message,
        "source": {"component": names.EVENT_SOURCE},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
