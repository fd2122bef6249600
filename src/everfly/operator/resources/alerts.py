"""Turn a wish for alerts into rules of Prometheus: what is worth being woken for, and what to do.

Two sources: the operator's own metrics, which carry namespace and name of the data store, and those
of the instances, which carry namespace and pod. Rules: an alert says what is so and what now; what
mends itself within moments wakes nobody; an expression is silent where its metrics are not scraped,
but for the one that says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from everfly.operator.manifest import Json, JsonObject
from everfly.operator.resources.owner import Owner
from everfly.operator.wishes.monitoring import RuleWish

CRITICAL: Final = "critical"
WARNING: Final = "warning"

_FINDING: Final = "everfly_operator_findings"


@dataclass(frozen=True)
class Alert:
    """One alert; `for_how_long` is a duration of Prometheus."""

    name: str
    expression: str
    for_how_long: str
    severity: str
    summary: str
    what_now: str


def alerts(wish: RuleWish, owner: Owner, *, is_scraped: bool) -> list[Alert]:
    """Return the alerts of a data store; `is_scraped`: its instances have a PodMonitor of ours."""
    store = f'namespace="{owner.namespace}",name="{owner.name}"'
    pods = f'namespace="{owner.namespace}",pod=~"{owner.name}-[0-9]+"'
    made = [*_of_the_primary(owner, store), *_of_replicas(wish, owner, store, pods)]
    made += [*_of_resources(wish, owner, store, pods), *_of_the_operator(owner, store)]
    if is_scraped:
        made.append(_of_scrapes(owner))
    return [each for each in made if each.name not in wish.without]


def _finding(store: str, *kinds: str) -> str:
    # Operators that wait see it too; one that sees it is enough.
    names = "|".join(kinds)
    return f'max by (namespace, name, finding) ({_FINDING}{{{store},finding=~"{names}"}}) > 0'


def _of_the_primary(owner: Owner, store: str) -> list[Alert]:
    return [
        Alert(
            "DragonflyNoPrimary",
            _finding(store, "NoPrimary", "PrimaryDown", "PrimaryReborn", "NoSuccessor"),
            "30s",
            CRITICAL,
            f"Clients of {owner.name} are not served: {{{{ $labels.finding }}}}",
            f"`everfly k8s status {owner.name} -n {owner.namespace}` says why no instance can be "
            "the primary; a failover takes seconds when one can.",
        ),
        Alert(
            "DragonflyPrimaryUnreachable",
            _finding(store, "PrimaryUnreachable"),
            "1m",
            CRITICAL,
            f"The operator cannot reach the primary of {owner.name}, and nobody else says that it "
            "is down",
            "It is not replaced. Look whether clients are served; then at NetworkPolicies on port "
            "9999, and at the machine of its pod.",
        ),
        Alert(
            "DragonflyDataLossRisk",
            _finding(store, "DataLossRisk"),
            "0s",
            CRITICAL,
            f"Only instances that may hold less than others are left of {owner.name}",
            "Bring back the instance or disk that the condition DataLossRisk names, or accept the "
            f"loss: `everfly k8s accept-loss {owner.name} -n {owner.namespace}`.",
        ),
        Alert(
            "DragonflyFailsOverOften",
            f"changes(max by (namespace, name) (everfly_operator_epoch{{{store}}})[1h:1m]) > 3",
            "0s",
            WARNING,
            f"The primary of {owner.name} changed more than three times within an hour",
            f"The events of the resource {owner.name} say why, each time.",
        ),
    ]


def _of_replicas(wish: RuleWish, owner: Owner, store: str, pods: str) -> list[Alert]:
    return [
        Alert(
            "DragonflyReplicationDown",
            _finding(
                store,
                "ReplicaLinkDown",
                "ReplicaUnreachable",
                "ReplicaAstray",
                "ReplicaStale",
                "InstancesMissing",
            ),
            "5m",
            WARNING,
            f"{owner.name} has fewer complete copies than it should: {{{{ $labels.finding }}}}",
            f"`everfly k8s status {owner.name} -n {owner.namespace}` names the instance. Another "
            "failure may lose data.",
        ),
        Alert(
            "DragonflyReplicaLag",
            f"max by (namespace, pod, replica_ip) (dragonfly_connected_replica_lag_records{{{pods}"
            f"}}) > {wish.lag_records}",
            "2m",
            WARNING,
            f"A replica of {owner.name} is more than {wish.lag_records} entries behind",
            "It is not fit to become the primary. Look at the load of its pod and at the network "
            "between the two.",
        ),
    ]


def _of_resources(wish: RuleWish, owner: Owner, store: str, pods: str) -> list[Alert]:
    age_s = wish.backup_hours * 3600
    return [
        Alert(
            "DragonflyMemoryHigh",
            f"max by (namespace, pod) (dragonfly_memory_used_bytes{{{pods}}} / "
            f"(dragonfly_memory_max_bytes{{{pods}}} > 0)) > {wish.memory_percent / 100:g}",
            "10m",
            WARNING,
            f"{{{{ $labels.pod }}}} uses over {wish.memory_percent} % of its memory",
            "When it is full, writes are refused, or keys evicted in cache mode. Give it more "
            "memory, or let keys expire.",
        ),
        Alert(
            "DragonflyOutOfMemory",
            f"sum by (namespace, pod) (increase(dragonfly_oom_errors_total{{{pods}}}[5m])) > 0",
            "0s",
            CRITICAL,
            "{{ $labels.pod }} refuses writes: its memory is full",
            "Raise spec.resources and --maxmemory, or delete keys.",
        ),
        Alert(
            "DragonflyBackupTooOld",
            f"max by (namespace, name) (everfly_operator_backup_age_seconds{{{store}}}) > {age_s}",
            "5m",
            WARNING,
            f"The last good backup of {owner.name} is older than {wish.backup_hours} hours",
            f"`everfly k8s backups -n {owner.namespace}` says what became of the later ones.",
        ),
        Alert(
            "DragonflyBackupFails",
            f"sum by (namespace, name) (increase(everfly_operator_backup_failures_total{{{store}"
            "}[1h])) > 0",
            "0s",
            WARNING,
            f"A backup of {owner.name} failed",
            f"`everfly k8s backups -n {owner.namespace}` says why.",
        ),
    ]


def _of_the_operator(owner: Owner, store: str) -> list[Alert]:
    return [
        Alert(
            "DragonflyOperatorGone",
            "absent(everfly_operator_leader == 1)",
            "2m",
            CRITICAL,
            f"No operator acts: {owner.name} serves on, and nobody fails over",
            "Look at the operator's Deployment and its log; or nobody scrapes it.",
        ),
        Alert(
            "DragonflyRolloutStands",
            f'max by (namespace, name) (everfly_operator_store_phase{{{store},phase="RollingUpdate"'
            "}) > 0",
            "1h",
            WARNING,
            f"A rollout of {owner.name} takes over an hour",
            "A new pod does not come up: `kubectl describe` it. A corrected spec goes on from "
            "there.",
        ),
    ]


def _of_scrapes(owner: Owner) -> Alert:
    job = f"{owner.namespace}/{owner.name}"
    return Alert(
        "DragonflyNotScraped",
        f'up{{job="{job}"}} == 0 or absent(up{{job="{job}"}})',
        "10m",
        WARNING,
        f"Prometheus cannot read the metrics of {owner.name}",
        "Its NetworkPolicy must let Prometheus reach port 9999: "
        "spec.everfly.networkPolicy.metricsFrom.",
    )


def rule_of(alert: Alert) -> JsonObject:
    """Return an alert as Prometheus reads it."""
    rule: dict[str, Json] = {"alert": alert.name, "expr": alert.expression}
    if alert.for_how_long != "0s":
        rule["for"] = alert.for_how_long
    rule["labels"] = {"severity": alert.severity}
    rule["annotations"] = {"summary": alert.summary, "description": alert.what_now}
    return rule


def groups(wish: RuleWish, owner: Owner, *, is_scraped: bool) -> Sequence[JsonObject]:
    """Return the groups of rules: one, which is evaluated together."""
    rules = [rule_of(each) for each in alerts(wish, owner, is_scraped=is_scraped)]
    return [{"name": f"dragonfly-{owner.name}", "rules": rules}] if rules else []
