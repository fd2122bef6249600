"""Turn the spec of a Dragonfly resource into the objects that it owns. Pure.

Rules: the order is the one in which they are written; no field of the spec is without effect; what
the upstream operator would have made is equal in meaning, so that a deployment is taken over
without a restart. Values that the API server fills in are left out: they are nobody's wish.
"""

from dataclasses import dataclass, replace

from everfly.operator.manifest import JsonObject
from everfly.operator.resources.disruption import disruption_budget
from everfly.operator.resources.endpoint import endpoint
from everfly.operator.resources.network_policy import network_policy
from everfly.operator.resources.operator_peer import NAMESPACE_NAME
from everfly.operator.resources.owner import DEFAULT_IMAGE, Owner
from everfly.operator.resources.probes import probe_config_maps
from everfly.operator.resources.services import pods_service_name, services
from everfly.operator.resources.spread import topology_spread
from everfly.operator.resources.stateful_set import stateful_set
from everfly.operator.wishes.spec import Spec


@dataclass(frozen=True)
class Around:
    """What the operator knows beside the resource."""

    default_image: str = ""
    """Of the operator's flag `--dragonfly-image`; empty: none was given."""
    running_image: str = ""
    """Of the StatefulSet that exists. A resource that names no image keeps it, so that a newer
    operator does not restart every data store of a cluster at once."""
    running_spread: str = ""
    """How pods that run are kept apart, as text; empty: they are not."""
    is_set_absent: bool = False
    """The StatefulSet is made now: what can never be changed later can be chosen."""
    is_new: bool = False
    """Nothing of the data store was ever there: no template has to stay as it is."""
    endpoint_image: str = ""
    """Of endpoints that name none; empty: none was given."""
    sentinels: str = ""
    """Who tells endpoints where the primary is, HOST:PORT with commas; empty: nobody is known."""
    metrics_namespace: str = ""
    """Where Prometheus runs; empty: not said."""
    operator_namespace: str = ""
    """Empty: unknown. Then only pods of the resource's own namespace may reach the admin port."""

    def completed(self, spec: Spec) -> Spec:
        """Return a spec in which Prometheus may read metrics that it is told to read.

        Only where the user names nobody, and only from the namespace that whoever installed the
        operator gave: who reaches the admin port can do everything with the data.
        """
        extras = spec.extras
        if not self.metrics_namespace or extras.metrics_from or not extras.monitoring.pod_monitor:
            return spec
        return replace(spec, extras=replace(extras, metrics_from=(prometheus(self),)))

    def image(self, spec: Spec) -> str:
        """Return the image: the resource's, the flag's, the running one, the default."""
        return spec.image or self.default_image or self.running_image or DEFAULT_IMAGE


def prometheus(around: Around) -> JsonObject:
    """Return the pods of Prometheus as a peer of a NetworkPolicy."""
    return {
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: around.metrics_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }


def desired(spec: Spec, owner: Owner, around: Around) -> list[JsonObject]:
    """Return the manifests of all objects that the resource is to own, in order of writing.

    An object that is not in the list and belongs to the resource is to be removed.
    """
    names_pods = around.is_set_absent and spec.extras.services.names_pods
    # Upstream it is the resource's own name, whatever the Service is called.
    service = pods_service_name(owner) if names_pods else owner.name
    spread = topology_spread(spec, owner, is_new=around.is_new, running=around.running_spread)
    spec = replace(spec, topology_spread=tuple(spread))
    return [
        *probe_config_maps(spec, owner),
        stateful_set(spec, owner, around.image(spec), service),
        *services(spec, owner),
        *disruption_budget(spec, owner),
        *network_policy(spec, owner, around.operator_namespace),
        *endpoint(spec, owner, around.endpoint_image, around.sentinels, around.operator_namespace),
    ]
