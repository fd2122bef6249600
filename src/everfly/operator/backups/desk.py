"""What the keepers of all backups share, and what they count for metrics."""

from dataclasses import dataclass, field

from everfly.operator.apiserver.caches import Cache, Key
from everfly.operator.backups.dock import Dock
from everfly.operator.backups.names import API_VERSION, BACKUP_KIND
from everfly.operator.backups.sight import BackupSight
from everfly.operator.deeds import Tools
from everfly.operator.manifest import JsonObject


@dataclass
class Tally:
    """What happened to the backups of one data store since this operator started."""

    attempts_failed: int = 0
    seconds: list[float] = field(default_factory=list)
    """How long each took, until they are read."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What all backups of a cluster share."""

    tools: Tools
    dock: Dock
    backups: Cache[BackupSight]
    tallies: dict[Key, Tally]
    """By data store."""

    def tally(self, namespace: str, store: str) -> Tally:
        """Return the tally of a data store."""
        return self.tallies.setdefault((namespace, store), Tally())


def owner_reference(backup: BackupSight) -> JsonObject:
    """Return the reference that makes a pod go with its backup."""
    return {
        "apiVersion": API_VERSION,
        "kind": BACKUP_KIND,
        "name": backup.name,
        "uid": backup.uid,
        "controller": True,
    }
