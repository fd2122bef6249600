"""Turn what the API server and the probes show of a data store into the view that is judged. Pure.

Rules: an instance is a pod of the StatefulSet that the resource owns, not whoever wears its labels;
what people ask for is read from the resource as it is now.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from everfly.core.group_view import GroupView, Intent, Member, Memory, Rebuild, Service, Statement
from everfly.core.model import Address, Instant
from everfly.operator import names
from everfly.operator.apiserver.sight import HostSight, PodSight, SetSight, StoreSight
from everfly.operator.backups.restored import history_to_begin_with
from everfly.operator.probe import Reading
from everfly.operator.record import record_of
from everfly.operator.volumes.rebuilds import begun_of, orders_of
from everfly.operator.volumes.remake_note import is_meant, remake_of
from everfly.operator.wishes.spec import Spec

_SERVICES: Final = {
    names.ROLE_PRIMARY: Service.PRIMARY,
    names.ROLE_REPLICA: Service.REPLICA,
}


@dataclass(frozen=True)
class Observation:
    """All that is known of a data store at one moment."""

    store: StoreSight
    spec: Spec | None
    """None: what the resource says is wrong."""
    owned_set: SetSight | None
    pods: tuple[PodSight, ...]
    readings: dict[str, Reading]
    """By the uid of the pod."""
    hosts: Callable[[str], HostSight | None]
    """None: there is no such machine, or we may not see machines."""
    sees_hosts: bool
    statements: tuple[Statement, ...] = ()
    """What another operator says of primaries that it does not reach."""
    voluntary_from: Instant | None = None
    """When the maintenance window opens; None: it is open, or there is none."""
    live: Mapping[str, bool] | None = None
    """Incarnation -> whether it has the newest settings without a restart; None: not asked for."""


def is_ours(pod: PodSight, store: StoreSight, owned_set: SetSight | None) -> bool:
    """Tell whether a pod is an instance of a data store."""
    if pod.app != store.name:
        return False
    return (owned_set is not None and pod.owner_uid == owned_set.uid) or is_meant(pod, store)


def view_of(seen: Observation, term: int, memory: Memory) -> GroupView:
    """Return what is to be judged."""
    members = tuple(
        sorted((_member(seen, pod) for pod in seen.pods), key=lambda each: each.ordinal)
    )
    record = record_of(seen.store.status)
    return GroupView(
        members, record, _intent(seen), term, memory=memory, statements=seen.statements
    )


def _intent(seen: Observation) -> Intent:
    store, spec = seen.store, seen.spec
    running = _running(seen)
    replicas = spec.replicas if spec is not None else running
    snapshot = spec.snapshot if spec is not None else None
    window = spec.extras.window if spec is not None else None
    return Intent(
        replicas=replicas,
        running=running,
        switch_to=store.annotations.get(names.SWITCH_TO, "").strip(),
        accepts_loss_of=store.annotations.get(names.ACCEPTED_LOSS, "").strip(),
        preferred_zones=spec.extras.preferred_zones if spec is not None else (),
        is_paused=store.is_set(names.PAUSED),
        is_hibernated=store.is_set(names.HIBERNATED),
        has_snapshots=snapshot is not None
        and bool(snapshot.claim or snapshot.existing_claim or "://" in snapshot.directory),
        may_restart=spec is not None,
        restores=history_to_begin_with(spec.extras.restore if spec else None, store.status),
        voluntary_from=seen.voluntary_from,
        restarts_wait=window is not None and window.covers_replicas,
    )


def _running(seen: Observation) -> int:
    if seen.owned_set is not None:
        return seen.owned_set.replicas
    remake = remake_of(seen.store.status)
    return 0 if remake is None else remake.replicas


def _rebuild(store: StoreSight, pod: PodSight) -> Rebuild | None:
    order = next((each for each in orders_of(store.annotations) if each.name == pod.name), None)
    begun = begun_of(store.annotations)
    is_begun = begun is not None and (begun.name, begun.pod_uid) == (pod.name, pod.uid)
    if order is None and not is_begun:
        return None
    return Rebuild(is_forced=order is not None and order.is_forced, is_begun=is_begun)


def fenced_names(store: StoreSight) -> frozenset[str]:
    """Return the pods that a person took out of use."""
    text = store.annotations.get(names.FENCED, "")
    return frozenset(each.strip() for each in text.split(",") if each.strip())


def _member(seen: Observation, pod: PodSight) -> Member:
    reading = seen.readings.get(pod.uid, Reading())
    host = seen.hosts(pod.host) if pod.host else None
    return Member(
        name=pod.name,
        ordinal=ordinal_of(pod.name),
        address=Address(pod.ip, names.ADMIN_PORT) if pod.ip else None,
        zone=host.zone if host is not None else "",
        incarnation=_incarnation(pod),
        facts=reading.facts,
        contact=reading.contact,
        link_down_since=reading.link_down_since,
        service=_SERVICES.get(pod.role, Service.NONE),
        led_by=_led_by(pod),
        is_ready=pod.is_ready,
        is_terminating=pod.is_terminating,
        is_host_ready=_is_host_ready(seen, pod, host),
        is_host_leaving=host is not None and host.is_leaving,
        is_current=_is_current(seen, pod),
        is_fenced=pod.name in fenced_names(seen.store),
        is_process_gone=pod.is_process_gone,
        rebuild=_rebuild(seen.store, pod),
        applied_at=reading.applied_at,
    )


def ordinal_of(name: str) -> int:
    """Return the number of a pod of a StatefulSet; one without a number comes last."""
    suffix = name.rpartition("-")[2]
    return int(suffix) if suffix.isdigit() else 1 << 30


def _led_by(pod: PodSight) -> str:
    # A gate that does not say yes keeps an instance in order out of its Service: it is renewed
    # together with the role.
    if pod.has_gate and pod.gate is not True:
        return ""
    if pod.role == names.ROLE_REPLICA and ":" not in pod.led_by and pod.label_led_by != pod.led_by:
        return ""
    return pod.led_by


def _is_host_ready(seen: Observation, pod: PodSight, host: HostSight | None) -> bool:
    if host is not None:
        return host.is_ready
    if pod.host and seen.sees_hosts:
        return False  # the machine was taken out of the cluster
    # Of a machine that it does not hear the API server says that its pods are not ready, and leaves
    # their containers as they were. Source: `MarkPodsNotReady`, kubernetes/pkg/controller.
    is_gated = pod.has_gate and pod.gate is not True
    return not (pod.is_ready and not pod.is_pod_ready and not is_gated)


def _incarnation(pod: PodSight) -> str:
    return f"{pod.uid}/{pod.restarts}"


def _is_current(seen: Observation, pod: PodSight) -> bool:
    owned_set = seen.owned_set
    if owned_set is None or owned_set.observed_generation < owned_set.generation:
        return True  # which revision is wanted is not known yet
    if seen.live is not None:
        # Until it is judged it stays: a restart cannot be taken back.
        return seen.live.get(_incarnation(pod), True)
    return not owned_set.update_revision or pod.revision == owned_set.update_revision
