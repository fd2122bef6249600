"""What a data store needs beside a primary: each chore in a module of its own.

A chore may take seconds, fail, and be late; a failover may not wait for it. The runner gives each
of them the newest work, one after the other, beside the loop that fails over, while this operator
holds the lease.
"""

from everfly.operator.chores.chore import Chore
from everfly.operator.chores.endpoint_address import EndpointAddress
from everfly.operator.chores.monitoring import Monitoring
from everfly.operator.chores.rebuild import Rebuilds
from everfly.operator.chores.restore import Restore
from everfly.operator.chores.secrets_rotation import SecretRotation
from everfly.operator.chores.service_labels import ServiceLabels
from everfly.operator.chores.settings_live import LiveSettings
from everfly.operator.chores.snapshot_times import SnapshotTimes
from everfly.operator.chores.volumes import Volumes
from everfly.operator.chores.volumes_unused import UnusedVolumes
from everfly.operator.deeds import Tools
from everfly.operator.resources import Around


def all_chores(tools: Tools, around: Around) -> tuple[Chore, ...]:
    """Return the chores of one data store, in the order in which they are tended."""
    return (
        Restore(tools, around),
        LiveSettings(tools),
        SnapshotTimes(),
        SecretRotation(tools),
        ServiceLabels(tools),
        EndpointAddress(around),
        Volumes(tools),
        UnusedVolumes(tools),
        Rebuilds(tools),
        Monitoring(tools),
    )
