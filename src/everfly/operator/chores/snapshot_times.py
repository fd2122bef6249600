"""Let the primary alone take snapshots, where that is asked: the times are set on each instance.

Whoever becomes the primary is given them, whoever is none any more loses them. Nothing restarts.
"""

import logging

from everfly.core.group_view import Member, Service
from everfly.errors import EverflyError
from everfly.operator.chores.chore import Report, Work
from everfly.operator.orders import Orders

log = logging.getLogger(__name__)


class SnapshotTimes:
    """Remembers what each incarnation of an instance was told."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    async def tend(self, work: Work) -> Report:
        """Tell those that were not told yet."""
        snapshot = work.spec.snapshot
        if snapshot is None or not snapshot.on_primary_only or not snapshot.cron:
            return Report()
        for member in work.scene.view.members:
            await self._tell(work, member, snapshot.cron)
        living = {each.incarnation for each in work.scene.view.members}
        self._told = {key: value for key, value in self._told.items() if key in living}
        return Report()

    async def _tell(self, work: Work, member: Member, cron: str) -> None:
        if not member.is_reachable or member.address is None or member.service is Service.NONE:
            return
        wanted = cron if member.service is Service.PRIMARY else ""
        is_loading = member.facts is not None and member.facts.is_loading
        if self._told.get(member.incarnation) == wanted or is_loading:
            return
        try:
            await Orders(member.address).set_snapshot_cron(wanted)
        except EverflyError as error:
            store = work.scene.store
            log.warning(
                "%s/%s: snapshots of %s: %s", store.namespace, store.name, member.name, error
            )
        else:
            self._told[member.incarnation] = wanted
