"""Turn `spec.everfly.services` into which Services a data store has beside the primary's.

replicas: true    NAME-ro     leads to replicas, for reads (so does the older `replicaService`)
all: true         NAME-r      leads to every instance that serves, the primary among them
headless: true    NAME-pods   names each pod, ready or not: NAME-0.NAME-pods.NAMESPACE.svc
"""

from dataclasses import dataclass

from everfly.operator.wishes.fields import Fields


@dataclass(frozen=True)
class ServiceWishes:
    """Which Services are wanted."""

    leads_to_replicas: bool = False
    leads_to_all: bool = False
    names_pods: bool = False


def read_services(fields: Fields | None) -> ServiceWishes:
    """Return what `services` says; problems are noted in the fields."""
    if fields is None:
        return ServiceWishes()
    return ServiceWishes(fields.flag("replicas"), fields.flag("all"), fields.flag("headless"))
