"""Turn a wish for monitoring into objects of the Prometheus operator: PodMonitor, PrometheusRule.

Metrics are at the admin port, without TLS and without a password. A pod that has no role is scraped
as well: it is the one that people will want to know about.
"""

from collections.abc import Mapping

from everfly.operator.manifest import Json, JsonObject, without_empty
from everfly.operator.resources.alerts import groups
from everfly.operator.resources.metadata import owned_metadata
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.resources.ports import ADMIN_PORT_NAME
from everfly.operator.wishes.monitoring import PodMonitorWish, RuleWish
from everfly.operator.wishes.spec import Metadata, Spec

API_VERSION = "monitoring.coreos.com/v1"


def monitoring_objects(spec: Spec, owner: Owner) -> list[JsonObject]:
    """Return the objects that are asked for."""
    wish = spec.extras.monitoring
    made = []
    if wish.pod_monitor is not None:
        made.append(_pod_monitor(spec, owner, wish.pod_monitor))
    if wish.rules is not None:
        is_scraped = wish.pod_monitor is not None
        made.append(_rules(spec, owner, wish.rules, is_scraped=is_scraped))
    return made


def _object(
    kind: str, spec: Spec, owner: Owner, labels: Mapping[str, str], body: JsonObject
) -> JsonObject:
    wanted = Metadata(annotations={}, labels=labels)
    metadata = owned_metadata(owner.name, owner, spec.owned_metadata, wanted)
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": body}


def _pod_monitor(spec: Spec, owner: Owner, wish: PodMonitorWish) -> JsonObject:
    endpoint: dict[str, Json] = {
        "port": ADMIN_PORT_NAME,
        "path": "/metrics",
        "scheme": "http",
        **without_empty(
            {
                "interval": wish.interval,
                "scrapeTimeout": wish.scrape_timeout,
                "relabelings": wish.relabelings,
                "metricRelabelings": wish.metric_relabelings,
            }
        ),
    }
    selector = {"matchLabels": selector_labels(owner)}
    body: JsonObject = {
        "selector": selector,
        "podMetricsEndpoints": [endpoint],
        "podTargetLabels": ["role"],
    }
    return _object("PodMonitor", spec, owner, wish.labels, body)


def _rules(spec: Spec, owner: Owner, wish: RuleWish, *, is_scraped: bool) -> JsonObject:
    body: JsonObject = {"groups": groups(wish, owner, is_scraped=is_scraped)}
    return _object("PrometheusRule", spec, owner, wish.labels, body)
