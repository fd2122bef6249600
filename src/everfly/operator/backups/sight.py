"""Turn objects about backups into the small frozen values that are looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from everfly.core.model import Address
from everfly.operator.apiserver.api import Object
from everfly.operator.backups.names import FINALIZER, LABEL_SCHEDULE
from everfly.operator.manifest import JsonObject, objects, part, text
from everfly.operator.names import ADMIN_PORT

_STUCK: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
    }
)
"""Why a container waits for somebody to do something. Source: kubernetes/pkg/kubelet."""


@dataclass(frozen=True)
class BackupSight:
    """What counts of a backup, or of a schedule."""

    namespace: str
    name: str
    uid: str
    version: str
    generation: int
    is_terminating: bool
    has_finalizer: bool
    schedule: str
    """Which schedule made it."""
    created_at: float
    """Seconds since 1970."""
    spec: JsonObject
    status: JsonObject


@dataclass(frozen=True, slots=True)
class FerrySight:
    """What counts of the pod of a ferry, or of one that removes files."""

    name: str
    uid: str
    incarnation: str
    """Changes when its data are gone."""
    ip: str
    is_running: bool
    is_terminating: bool
    exit_code: int | None
    """None: it has not ended."""
    trouble: str
    """Why it does not start, as its platform says; empty: it does, or may still."""

    @property
    def address(self) -> Address | None:
        """Where it is told what to do."""
        is_there = self.is_running and self.ip and not self.is_terminating
        return Address(self.ip, ADMIN_PORT) if is_there else None


def seconds_of(stamp: str) -> float:
    """Return a time of the API server in seconds since 1970; 0.0 for what is none."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return 0.0


def backup_sight(item: Object) -> BackupSight:
    """Return what counts of a backup or a schedule."""
    metadata = item["metadata"]
    return BackupSight(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        is_terminating="deletionTimestamp" in metadata,
        has_finalizer=FINALIZER in (metadata.get("finalizers") or ()),
        schedule=(metadata.get("labels") or {}).get(LABEL_SCHEDULE, ""),
        created_at=seconds_of(metadata.get("creationTimestamp", "")),
        spec=part(item, "spec"),
        status=part(item, "status"),
    )


def ferry_sight(item: Object) -> FerrySight:
    """Return what counts of a pod of ours."""
    metadata = item["metadata"]
    container: JsonObject = next(iter(objects(item, "status", "containerStatuses")), {})
    restarts = container.get("restartCount")
    number = restarts if isinstance(restarts, int) else 0
    return FerrySight(
        name=metadata["name"],
        uid=metadata["uid"],
        incarnation=f"{metadata['uid']}/{number}",
        ip=text(item, "status", "podIP"),
        is_running="running" in part(container, "state"),
        is_terminating="deletionTimestamp" in metadata,
        exit_code=_exit_code(item, container),
        trouble=_trouble(item, container),
    )


def _exit_code(item: Object, container: JsonObject) -> int | None:
    for state in ("state", "lastState"):
        ended = part(container, state, "terminated")
        code = ended.get("exitCode")
        if isinstance(code, int):
            return code
    return {"Succeeded": 0, "Failed": 1}.get(text(item, "status", "phase"))


def _trouble(item: Object, container: JsonObject) -> str:
    if text(item, "status", "phase") == "Failed":
        return _said("Failed", part(item, "status"))
    waiting = part(container, "state", "waiting")
    if text(waiting, "reason") in _STUCK:
        return _said(text(waiting, "reason"), waiting)
    for each in objects(item, "status", "conditions"):
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return _said(text(each, "reason"), each)
    return ""


def _said(reason: str, where: Mapping[str, object]) -> str:
    message = where.get("message")
    return f"{reason}: {message}" if isinstance(message, str) and message else reason
