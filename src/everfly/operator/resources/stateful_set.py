"""Turn a spec into its StatefulSet."""

from everfly.operator.manifest import JsonObject, without_empty
from everfly.operator.resources.metadata import owned_metadata
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.resources.pod_template import pod_template
from everfly.operator.resources.storage import storage
from everfly.operator.wishes.spec import Spec


def stateful_set(spec: Spec, owner: Owner, image: str, service: str) -> JsonObject:
    """Return the manifest. `replicas` is the whole group, the primary among them; 0 is a wish.

    `service` is the Service after which pods are named; of one that exists it cannot be changed.
    """
    added = storage(spec, owner)
    order = without_empty({"podManagementPolicy": spec.extras.pod_management})
    rest = without_empty({"volumeClaimTemplates": added.claims})
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": owned_metadata(owner.name, owner, spec.owned_metadata),
        "spec": {
            "replicas": spec.replicas,
            "serviceName": service,
            "selector": {"matchLabels": selector_labels(owner)},
            # Which pod restarts when is the operator's decision.
            "updateStrategy": {"type": "OnDelete"},
            **order,
            "template": pod_template(spec, owner, image, added),
            **rest,
        },
    }
