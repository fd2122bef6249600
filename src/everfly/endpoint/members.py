"""Look at the whole group now and then, and tell the data plane which replicas are in sync.

The picture comes through the Sentinels, which know all instances. Where nobody reads from replicas
it is made only when somebody asks for it.
"""

import asyncio
import time
from typing import Final

from everfly.endpoint.follow import FollowSettings
from everfly.endpoint.plane import Plane
from everfly.observe.observer import Observer
from everfly.observe.picture import GroupPicture

LOOK_EVERY_S: Final = 1.0
"""How old the list of replicas in sync may be; the data plane itself sees which are gone."""

FRESH_S: Final = 0.25
"""A picture that old answers a question: probes of many load balancers make one look."""


class Members:
    """The instances of the group. `run` until cancelled where clients read from replicas."""

    def __init__(self, settings: FollowSettings, plane: Plane) -> None:
        self._plane = plane
        self._observer = _observer(settings)
        self._told: tuple[tuple[str, int, str, int], ...] | None = None
        self._at = 0.0
        self._one_at_a_time = asyncio.Lock()
        self.picture: GroupPicture | None = None
        """What was seen last; None: nothing yet."""

    async def run(self) -> None:
        """Keep the data plane's list of replicas."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, *, max_age_s: float = FRESH_S) -> GroupPicture:
        """Return a picture that was begun no longer ago than that."""
        asked_at = time.monotonic()
        async with self._one_at_a_time:
            if self.picture is None or asked_at - self._at > max_age_s:
                self._at = time.monotonic()
                self.picture = await self._observer.picture()
                await self._tell(self.picture)
            return self.picture

    async def _tell(self, picture: GroupPicture) -> None:
        replicas = tuple(
            (each.address.host, each.address.port, each.zone, each.lag or 0)
            for each in picture.instances
            # One that does not say how far it is behind is not known to be near.
            if each.is_in_sync and each.lag is not None and each.report.primary == picture.primary
        )
        if replicas != self._told:
            self._told = replicas
            # Names are resolved in it.
            await asyncio.to_thread(self._plane.set_replicas, replicas)

    async def reload(self, settings: FollowSettings) -> None:
        """Look by these settings from now on."""
        old, self._observer = self._observer, _observer(settings)
        await old.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._observer.close()


def _observer(settings: FollowSettings) -> Observer:
    return Observer(
        settings.sentinels,
        settings.group,
        credentials=settings.of_instances,
        of_sentinels=settings.of_sentinels,
    )
