"""Turn what the API server tells of its objects into the newest copy of each, and into wakings.

Rules: a list, then a watch from its version on, and a list again when the watch ends badly; what we
wrote ourselves is put in at once, and an older word of the watch does not undo that; a copy is a
small value that `shrink` makes of an object, because whole pods are large.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from everfly.errors import EverflyError
from everfly.operator.apiserver.api import Api, Object, Refused, Resource

log = logging.getLogger(__name__)

RETRY_S: Final = 0.5
RETRY_MAX_S: Final = 10.0
GONE: Final = 410

Key = tuple[str, str]
"""Namespace and name."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """Of which kind, where, and with which labels."""

    kind: Resource
    namespaces: tuple[str, ...]
    """Empty: all."""
    labels: dict[str, str] | None = None
    is_global: bool = False
    """Its objects are in no namespace."""

    def within(self, place: str) -> str | None:
        """Return where to ask for objects of a place of ours."""
        return None if self.is_global else place


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    uid: str
    version: int
    value: T


def key_of(item: Object) -> Key:
    """Return namespace and name of an object."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Cache(Generic[T]):
    """The newest copies of one kind of objects. `run` it until it is cancelled."""

    def __init__(
        self,
        api: Api,
        selection: Selection,
        shrink: Callable[[Object], T],
        on_change: Callable[[Key, T], None],
    ) -> None:
        self._api = api
        self._selection = selection
        self._shrink = shrink
        self._on_change = on_change
        self._entries: dict[Key, _Entry[T]] = {}
        self._unsynced = len(selection.namespaces) or 1
        self._synced = asyncio.Event()
        self._lost_at: dict[str, float] = {}

    @property
    def is_synced(self) -> bool:
        """Whether everything was seen once."""
        return self._synced.is_set()

    @property
    def lost_for_s(self) -> float:
        """How long changes are not heard any more; 0: they are."""
        return time.monotonic() - min(self._lost_at.values()) if self._lost_at else 0.0

    async def wait_synced(self) -> None:
        """Return when everything was seen once."""
        await self._synced.wait()

    def get(self, key: Key) -> T | None:
        """Return the copy of an object, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def items(self) -> list[tuple[Key, T]]:
        """Return all copies."""
        return [(key, entry.value) for key, entry in self._entries.items()]

    def put(self, item: Object) -> None:
        """Take in an object as an answer to our own request showed it."""
        self._take(item)

    def forget(self, key: Key) -> None:
        """Drop a copy: we were told that there is no such object."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._on_change(key, entry.value)

    async def run(self) -> None:
        """List and watch until cancelled."""
        places = self._selection.namespaces or ("*",)
        async with asyncio.TaskGroup() as tasks:
            for place in places:
                tasks.create_task(self._follow(place))

    async def _follow(self, place: str) -> None:
        delay = RETRY_S
        is_first = True
        while True:
            try:
                version = await self._relist(place)
                self._lost_at.pop(place, None)
                if is_first:
                    is_first = False
                    self._unsynced -= 1
                    if self._unsynced == 0:
                        self._synced.set()
                delay = RETRY_S
                await self._watch(place, version)
            except EverflyError as error:
                self._lost_at.setdefault(place, time.monotonic())
                if not (isinstance(error, Refused) and error.code == GONE):
                    name = self._selection.kind.__name__
                    log.warning("watching %s in %s: %s; again in %.1f s", name, place, error, delay)
                # Not all operators at once after the API server was away.
                await asyncio.sleep(delay * (0.5 + random.random() / 2))  # noqa: S311 - no secret
                delay = min(delay * 2, RETRY_MAX_S)

    async def _relist(self, place: str) -> str:
        chosen = self._selection
        found, version = await self._api.list(chosen.kind, chosen.within(place), chosen.labels)
        seen = set()
        for item in found:
            seen.add(key_of(item))
            self._take(item)
        for key in [each for each in self._entries if each not in seen]:
            if place in ("*", key[0]):
                self.forget(key)
        return version

    async def _watch(self, place: str, version: str) -> None:
        chosen = self._selection
        where = chosen.within(place)
        stream = self._api.watch(chosen.kind, where, chosen.labels, version)
        async for verb, item in stream:
            if verb == "DELETED":
                self._drop(item)
            elif verb in ("ADDED", "MODIFIED"):
                self._take(item)

    def _take(self, item: Object) -> None:
        key, uid, version = key_of(item), item["metadata"]["uid"], _version(item)
        old = self._entries.get(key)
        if old is not None and old.uid == uid and old.version >= version:
            return
        value = self._shrink(item)
        self._entries[key] = _Entry(uid, version, value)
        if old is None or old.value != value:
            self._on_change(key, value)

    def _drop(self, item: Object) -> None:
        key = key_of(item)
        entry = self._entries.get(key)
        if entry is not None and entry.uid == item["metadata"]["uid"]:
            self.forget(key)


def _version(item: Object) -> int:
    # Opaque by contract, and a number that grows in every API server there is; where it is none,
    # the newest word counts, as it would without this.
    text = item["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 1 << 62
