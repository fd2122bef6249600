"""Turn `spec.everfly` into one frozen value: what the upstream operator does not know.

Each part that grows beyond a field or two has a dataclass and a reader of its own here.
"""

from dataclasses import dataclass

from everfly.operator.manifest import JsonObject
from everfly.operator.spec_fields import Fields


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


def read_extras(fields: Fields | None) -> Extras:
    """Return what `spec.everfly` says; problems are noted in the fields."""
    if fields is None:
        return Extras()
    policy = fields.part("networkPolicy")
    clients = policy.objects("clientsFrom") if policy and policy.has("clientsFrom") else None
    return Extras(
        has_replica_service=fields.flag("replicaService"),
        clients_from=clients,
        metrics_from=policy.objects("metricsFrom") if policy else (),
        preferred_zones=fields.texts("preferredZones"),
        termination_grace_s=fields.integer("terminationGracePeriodSeconds"),
    )
