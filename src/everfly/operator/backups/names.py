"""Names of backups that others read and write. A group of our own: upstream's can never clash."""

import hashlib
from typing import Final

from lightkube.generic_resource import create_namespaced_resource

from everfly.operator.apiserver.api import Resource

GROUP: Final = "everfly.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
BACKUP_KIND: Final = "DragonflyBackup"
BACKUP_PLURAL: Final = "dragonflybackups"
SCHEDULE_KIND: Final = "DragonflyBackupSchedule"
SCHEDULE_PLURAL: Final = "dragonflybackupschedules"

BACKUP: Final[Resource] = create_namespaced_resource(GROUP, VERSION, BACKUP_KIND, BACKUP_PLURAL)
BACKUP_STATUS: Final[Resource] = BACKUP.Status
SCHEDULE: Final[Resource] = create_namespaced_resource(
    GROUP, VERSION, SCHEDULE_KIND, SCHEDULE_PLURAL
)
SCHEDULE_STATUS: Final[Resource] = SCHEDULE.Status

APP_NAME: Final = "dragonfly-ferry"
"""In `app.kubernetes.io/name` of a ferry: no selector of a data store finds it, so that no Service
leads to it, no budget counts it and nobody takes it for an instance of the group."""
LABEL_STORE: Final = "everfly.dev/store"
"""Of which data store a backup or a ferry is."""
LABEL_FERRY: Final = "everfly.dev/ferry"
"""The name of the pod, so that a policy can mean this one alone."""
LABEL_SCHEDULE: Final = "everfly.dev/schedule"
"""Which schedule made a backup."""
FINALIZER: Final = "everfly.dev/backup-files"
"""On a backup whose files go with it, until they are gone."""
NAME_LETTERS_MAX: Final = 63
"""Of a pod's name, which is also its host name and a label."""


def ferry_name(backup: str, attempt: int) -> str:
    """Return the name of the pod of one attempt: short enough for a label, and never another's."""
    return short_name(backup, f"ferry-{attempt}")


def short_name(name: str, suffix: str) -> str:
    """Return NAME-SUFFIX; of a name that is too long a digest stands for its end."""
    whole = f"{name}-{suffix}".replace(".", "-")
    if len(whole) <= NAME_LETTERS_MAX and "." not in name:
        return whole
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    room = NAME_LETTERS_MAX - len(suffix) - len(digest) - 2
    return f"{name[:room].replace('.', '-')}-{digest}-{suffix}"


def prefix_of(backup: str, uid: str) -> str:
    """Return how all files of a backup begin: no dots, no pattern, and never another's."""
    return f"{backup.replace('.', '-').replace('summary', 'sum')}-{uid[:8]}"


def basename_of(backup: str, uid: str, attempt: int) -> str:
    """Return the name of the snapshot of one attempt."""
    return f"{prefix_of(backup, uid)}-{attempt}"
