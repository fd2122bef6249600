"""Turn what the API server shows of a data store into what a Sentinel would say of it. Pure.

Rules: the primary is the pod to which the Service leads now (its label says so, and it is ready),
and nobody else: while there is none the one before is still shown, as down, and named to no client.
The epoch is that of the primary that is shown, not that of a move which is under way.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from everfly.operator import names


@dataclass(frozen=True, slots=True)
class PodFace:
    """What counts of a pod."""

    name: str
    ip: str
    """Empty: it has none yet."""
    run_id: str
    """Changes whenever its process is started anew."""
    app: str
    """Whose pod its labels say it is."""
    owner: str
    """The StatefulSet that it belongs to; empty: none."""
    role: str
    is_ready: bool
    """A Service would lead to it: it is ready and not being stopped."""


@dataclass(frozen=True, slots=True)
class StoreFace:
    """What counts of a Dragonfly resource."""

    uid: str
    primary: str
    """The pod that the operator wrote down."""
    epoch: int
    move_to: str
    """Who becomes the primary; empty: no move is under way."""
    switch_to: str
    """What people ask for, and no operator has taken up yet; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance, as clients are told."""

    name: str
    ip: str
    run_id: str
    serves: bool
    """Clients are led to it, in its role."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One data store."""

    uid: str
    primary: Instance
    """In service, or the last one that was."""
    replicas: tuple[Instance, ...]
    epoch: int
    is_moving: bool
    """The operator is about to change the primary."""


def picture_of(store: StoreFace, pods: Iterable[PodFace], before: Picture | None) -> Picture | None:
    """Return a data store as it is now, or None as long as it never had a primary."""
    own = sorted(
        (pod for pod in pods if pod.ip and pod.owner == pod.app),
        key=lambda pod: (len(pod.name), pod.name),
    )
    primary = _primary(store, own, before)
    if primary is None:
        return None
    is_reached = store.move_to in ("", primary.name) and primary.serves
    return Picture(
        uid=store.uid,
        primary=primary,
        replicas=tuple(
            _instance(pod, serves=pod.is_ready and pod.role == names.ROLE_REPLICA)
            for pod in own
            if pod.ip != primary.ip
        ),
        epoch=store.epoch if not store.move_to or is_reached else max(store.epoch - 1, 0),
        is_moving=bool(store.move_to),
    )


def _primary(store: StoreFace, own: list[PodFace], before: Picture | None) -> Instance | None:
    serving = [pod for pod in own if pod.role == names.ROLE_PRIMARY and pod.is_ready]
    if len(serving) > 1:
        # Somebody else labels pods: believe only whom the operator wrote down.
        noted = store.move_to or store.primary
        serving = [pod for pod in serving if pod.name == noted]
    if serving:
        return _instance(serving[0], serves=True)
    if before is not None and before.uid == store.uid:
        last = before.primary
        return Instance(last.name, last.ip, last.run_id, serves=False)
    for pod in own:
        if pod.name == store.primary:
            return _instance(pod, serves=False)
    return None


def _instance(pod: PodFace, *, serves: bool) -> Instance:
    return Instance(pod.name, pod.ip, pod.run_id, serves)
