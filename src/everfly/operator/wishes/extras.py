"""Turn `spec.everfly` into one frozen value: what the upstream operator does not know.

Each part that grows beyond a field or two has a dataclass and a reader of its own here.
"""

from dataclasses import dataclass
from typing import Final

from everfly.operator.backups.place import RestoreWish, read_restore
from everfly.operator.manifest import JsonObject
from everfly.operator.wishes.endpoint import EndpointWish, read_endpoint
from everfly.operator.wishes.fields import Fields
from everfly.operator.wishes.monitoring import MonitoringWish, read_monitoring
from everfly.operator.wishes.retention import VolumeRetention, read_retention
from everfly.operator.wishes.services import ServiceWishes, read_services
from everfly.operator.wishes.window import MaintenanceWindow, read_window

POD_MANAGEMENT: Final = ("OrderedReady", "Parallel")


@dataclass(frozen=True)
class Extras:
    """What the upstream operator does not know."""

    has_replica_service: bool = False
    """A Service `NAME-ro` that leads to replicas."""
    clients_from: tuple[JsonObject, ...] | None = None
    """Peers of the NetworkPolicy that may reach the data ports; None: the same namespace."""
    metrics_from: tuple[JsonObject, ...] = ()
    """Peers that may reach the admin port to read metrics."""
    preferred_zones: tuple[str, ...] = ()
    """Where the primary had best be, the best first."""
    termination_grace_s: int = 0
    """0: what Kubernetes gives."""
    pod_management: str = ""
    """OrderedReady: one pod after the other; Parallel: all at once; empty: as it is."""
    hands_over_on_stop: bool = False
    """A primary that is told to stop waits, for a bounded time, until it has handed over."""
    window: MaintenanceWindow | None = None
    """None: voluntary changes may be made at any time."""
    retention: VolumeRetention = VolumeRetention()
    restore: RestoreWish | None = None
    """With which data it begins; None: with none."""
    endpoint: EndpointWish | None = None
    """The stable address in front of it; None: there is none."""
    services: ServiceWishes = ServiceWishes()
    monitoring: MonitoringWish = MonitoringWish()
    live_settings: bool = False
    """Settings that an instance can change while it runs are changed so, without a restart."""
    asks_for_answers: bool = False
    """The platform asks instances for an answer, not only whether their port is open."""
    spreads: bool | None = None
    """Pods apart by default; None: where the data store is made anew."""


def read_extras(fields: Fields | None) -> Extras:
    """Return what `spec.everfly` says; problems are noted in the fields."""
    if fields is None:
        return Extras()
    policy = fields.part("networkPolicy")
    restore = fields.part("restoreFrom")
    clients = policy.objects("clientsFrom") if policy and policy.has("clientsFrom") else None
    return Extras(
        has_replica_service=fields.flag("replicaService"),
        clients_from=clients,
        metrics_from=policy.objects("metricsFrom") if policy else (),
        preferred_zones=fields.texts("preferredZones"),
        termination_grace_s=fields.integer("terminationGracePeriodSeconds"),
        pod_management=fields.one_of("podManagement", POD_MANAGEMENT)
        if fields.has("podManagement")
        else "",
        hands_over_on_stop=fields.flag("handOverOnStop"),
        window=read_window(fields.part("maintenanceWindow")),
        retention=read_retention(fields.part("volumeRetention")),
        restore=read_restore(restore) if restore is not None else None,
        endpoint=read_endpoint(fields.part("endpoint")),
        services=read_services(fields.part("services")),
        monitoring=read_monitoring(fields.part("monitoring")),
        live_settings=fields.flag("liveSettings"),
        asks_for_answers=fields.flag("answerProbes"),
        spreads=fields.flag("defaultSpread") if fields.has("defaultSpread") else None,
    )
