"""Turn the last INFO of each instance into what SENTINEL INFO-CACHE shows of a group."""

from everfly.core.model import GroupName, Millis
from everfly.runtime.link_replies import InfoMemory
from everfly.runtime.ports import Brain


class GroupInfoCache:
    """Finds the texts (`runtime.ports.InfoCache`) by the addresses that the core knows."""

    def __init__(self, brain: Brain, infos: InfoMemory) -> None:
        self._brain = brain
        self._infos = infos

    def cached_info(self, group: GroupName) -> tuple[tuple[Millis, bytes | None], ...]:
        """Return age and text for each instance of a group, its primary first."""
        view = self._brain.group_view(group)
        if view is None:
            return ()
        addresses = [view.primary.address, *(replica.address for replica in view.replicas)]
        return tuple(
            (Millis(0), None) if known is None else (Millis(known[0]), known[1])
            for known in map(self._infos.last, addresses)
        )
