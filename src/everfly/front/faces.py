"""Turn objects of the API server into the small values that the front looks at. Pure."""

import hashlib

from everfly.front.picture import PodFace, StoreFace
from everfly.operator import names
from everfly.operator.apiserver.api import Object
from everfly.operator.apiserver.sight import pod_sight
from everfly.operator.manifest import objects, part, text
from everfly.operator.record import record_of


def pod_face(item: Object) -> PodFace:
    """Return what counts of a pod."""
    sight = pod_sight(item)
    metadata = item["metadata"]
    owners = objects(metadata, "ownerReferences")
    # Sentinels name a process by forty hexadecimal digits.
    run_id = hashlib.sha1(f"{sight.uid}/{sight.restarts}".encode()).hexdigest()  # noqa: S324 - a name, no proof
    return PodFace(
        name=sight.name,
        ip=sight.ip,
        run_id=run_id,
        app=sight.app,
        owner=next(
            (
                text(each, "name")
                for each in owners
                if each.get("controller") and each.get("kind") == "StatefulSet"
            ),
            "",
        ),
        role=sight.role,
        is_ready=sight.is_pod_ready and "deletionTimestamp" not in metadata,
    )


def store_face(item: Object) -> StoreFace:
    """Return what counts of a Dragonfly resource."""
    record = record_of(part(item, "status"))
    annotations = item["metadata"].get("annotations") or {}
    return StoreFace(
        uid=item["metadata"]["uid"],
        primary=record.primary,
        epoch=record.epoch,
        move_to=record.move.to if record.move is not None else "",
        switch_to=annotations.get(names.SWITCH_TO, ""),
    )
