"""Turn an owner and what users want on owned objects into their metadata."""

from everfly.operator.manifest import Json, JsonObject, without_empty
from everfly.operator.resources.owner import Owner, owned_labels
from everfly.operator.wishes.spec import Metadata


def owned_metadata(name: str, owner: Owner, *wanted: Metadata) -> JsonObject:
    """Return the metadata of an owned object; of `wanted` a later one wins over an earlier."""
    labels: dict[str, Json] = {}
    annotations: dict[str, Json] = {}
    for each in wanted:
        labels |= each.labels
        annotations |= each.annotations
    return without_empty(
        {
            "name": name,
            "namespace": owner.namespace,
            "labels": {**labels, **owned_labels(owner)},
            "annotations": annotations,
            "ownerReferences": [owner.reference()],
        }
    )
