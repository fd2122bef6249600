"""Turn objects of the API server into the small frozen values that the operator looks at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from everfly.operator import names
from everfly.operator.apiserver.api import Object
from everfly.operator.manifest import JsonObject, objects, part, text
from everfly.operator.resources.spread import spread_text

LEAVING_TAINTS: Final = frozenset(
    {
        "ToBeDeletedByClusterAutoscaler",
        "karpenter.sh/disrupted",
        "karpenter.sh/disruption",
    }
)
"""With which scalers of clusters mark a machine that they are about to take away."""


@dataclass(frozen=True, slots=True)
class PodSight:
    """What counts of a pod."""

    name: str
    uid: str
    owner_uid: str
    app: str
    ip: str
    host: str
    role: str
    led_by: str
    label_led_by: str
    revision: str
    restarts: int
    gate: bool | None
    """The readiness gate of replication; None: it has none, or it was never set."""
    has_gate: bool
    is_ready: bool
    """Its containers are ready."""
    is_pod_ready: bool
    is_terminating: bool
    is_process_gone: bool
    secrets_seen: str = ""
    """Which versions of which Secrets were noted on it."""
    args: tuple[str, ...] = ()
    """Of our container."""
    live_note: str = ""
    """What its settings were before they were changed while it ran."""
    image: str = ""
    serves: bool = False
    """It carries the label by which one Service leads to all that serve."""
    spread: str = ""
    """How it is kept apart from others, as text."""


@dataclass(frozen=True, slots=True)
class HostSight:
    """What counts of a machine of the cluster."""

    zone: str
    is_ready: bool
    is_leaving: bool


@dataclass(frozen=True, slots=True)
class SetSight:
    """What counts of a StatefulSet."""

    uid: str
    owner_uid: str
    generation: int
    observed_generation: int
    replicas: int
    """How many it was asked to run."""
    current_replicas: int
    update_revision: str
    fixed: JsonObject
    """Fields that cannot be changed."""
    image: str
    mark: str
    """Changes when what was asked for changes."""
    is_terminating: bool = False
    spread: str = ""
    """How its pods are kept apart, as text."""
    args: tuple[str, ...] = ()
    """Of our container in the template."""


@dataclass(frozen=True)
class StoreSight:
    """What counts of a Dragonfly resource."""

    namespace: str
    name: str
    uid: str
    version: str
    generation: int
    is_terminating: bool
    spec: JsonObject
    status: JsonObject
    annotations: Mapping[str, str]

    def is_set(self, annotation: str) -> bool:
        """Whether an annotation says yes."""
        return self.annotations.get(annotation, "").lower() == "true"


@dataclass(frozen=True, slots=True)
class OwnedSight:
    """What counts of any other object that we make: whether somebody changed it."""

    uid: str
    owner_uid: str
    mark: str
    """Changes when what was asked for changes."""


def _owner(item: Object) -> str:
    owners = item["metadata"].get("ownerReferences") or []
    return next((each["uid"] for each in owners if each.get("controller")), "")


def _condition(item: Object, kind: str) -> str:
    for each in part(item, "status").get("conditions") or ():  # type: ignore[union-attr]  # a list by its schema
        if isinstance(each, Mapping) and each.get("type") == kind:
            return text(each, "status")
    return ""


def pod_sight(item: Object) -> PodSight:
    """Return what counts of a pod."""
    metadata = item["metadata"]
    labels: dict[str, str] = metadata.get("labels") or {}
    gate = _condition(item, names.GATE)
    has_gate = any(
        text(each, "conditionType") == names.GATE
        for each in objects(item, "spec", "readinessGates")
    )
    container = next(
        (
            each
            for each in objects(item, "status", "containerStatuses")
            if each.get("name") == names.CONTAINER
        ),
        {},
    )
    restarts = container.get("restartCount")
    return PodSight(
        name=metadata["name"],
        uid=metadata["uid"],
        owner_uid=_owner(item),
        app=labels.get(names.LABEL_APP, ""),
        ip=text(item, "status", "podIP"),
        host=text(item, "spec", "nodeName"),
        role=labels.get(names.LABEL_ROLE, ""),
        led_by=(metadata.get("annotations") or {}).get(names.ANNOTATION_LED_BY, ""),
        label_led_by=labels.get(names.LABEL_LED_BY, ""),
        revision=labels.get(names.LABEL_REVISION, ""),
        restarts=restarts if isinstance(restarts, int) else 0,
        gate=None if not gate else gate == "True",
        has_gate=has_gate,
        is_ready=_condition(item, "ContainersReady") == "True",
        is_pod_ready=_condition(item, "Ready") == "True",
        is_terminating="deletionTimestamp" in metadata
        or _condition(item, "DisruptionTarget") == "True",
        is_process_gone=_is_process_gone(item, container),
        image=_image_of(part(item, "spec")),
        serves=labels.get(names.LABEL_SERVES) == names.SERVES,
        spread=spread_text(part(item, "spec")),
        secrets_seen=(metadata.get("annotations") or {}).get(names.ANNOTATION_SECRETS, ""),
        args=_args(part(item, "spec")),
        live_note=(metadata.get("annotations") or {}).get(names.ANNOTATION_LIVE, ""),
    )


def _args(spec: JsonObject) -> tuple[str, ...]:
    for each in objects(spec, "containers"):
        found = each.get("args")
        if each.get("name") == names.CONTAINER and isinstance(found, Sequence):
            return tuple(map(str, found))
    return ()


def _image_of(pod_spec: JsonObject) -> str:
    return next(
        (
            text(each, "image")
            for each in objects(pod_spec, "containers")
            if each.get("name") == names.CONTAINER
        ),
        "",
    )


def _is_process_gone(item: Object, container: JsonObject) -> bool:
    if text(item, "status", "phase") in ("Failed", "Succeeded"):
        return True
    state = part(container, "state")
    if "terminated" in state:
        return True
    # It waits after it ran: the platform has noticed its end and holds back the next start.
    return "waiting" in state and bool(container.get("lastState"))


def host_sight(item: Object) -> HostSight:
    """Return what counts of a machine."""
    taints = {text(each, "key") for each in objects(item, "spec", "taints")}
    return HostSight(
        zone=(item["metadata"].get("labels") or {}).get(names.LABEL_ZONE, ""),
        is_ready=_condition(item, "Ready") == "True",
        is_leaving=bool(part(item, "spec").get("unschedulable")) or bool(taints & LEAVING_TAINTS),
    )


def set_sight(item: Object) -> SetSight:
    """Return what counts of a StatefulSet."""
    metadata, spec, status = item["metadata"], part(item, "spec"), part(item, "status")
    fixed = {
        key: spec[key]
        for key in ("serviceName", "selector", "podManagementPolicy", "volumeClaimTemplates")
        if key in spec
    }
    return SetSight(
        uid=metadata["uid"],
        owner_uid=_owner(item),
        generation=metadata.get("generation", 0),
        observed_generation=_number(status, "observedGeneration"),
        replicas=_number(spec, "replicas"),
        current_replicas=_number(status, "replicas"),
        update_revision=text(status, "updateRevision"),
        fixed=fixed,
        image=_image_of(part(spec, "template", "spec")),
        mark=owned_sight(item).mark,
        is_terminating="deletionTimestamp" in metadata,
        spread=spread_text(part(spec, "template", "spec")),
        args=_args(part(spec, "template", "spec")),
    )


def _number(value: JsonObject, key: str) -> int:
    found = value.get(key)
    return found if isinstance(found, int) else 0


def store_sight(item: Object) -> StoreSight:
    """Return what counts of a Dragonfly resource."""
    metadata = item["metadata"]
    return StoreSight(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        is_terminating="deletionTimestamp" in metadata,
        spec=part(item, "spec"),
        status=part(item, "status"),
        annotations=dict(metadata.get("annotations") or {}),
    )


def owned_sight(item: Object) -> OwnedSight:
    """Return whether and how somebody changed an object of ours."""
    metadata = item["metadata"]
    # Where there is a generation, it leaves out changes of the status alone.
    mark = metadata.get("generation") or metadata.get("resourceVersion", "")
    return OwnedSight(metadata["uid"], _owner(item), f"{metadata['uid']}/{mark}")
