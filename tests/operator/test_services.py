"""Services beside the primary's, and pods that are kept apart without anybody asking."""

from typing import Any

import pytest
from test_resources import AROUND, OWNER, manifests, plain

from everfly.operator.names import LABEL_SERVES, SERVES
from everfly.operator.resources import Around
from everfly.operator.resources.spread import default_spread, spread_text
from everfly.operator.wishes.spec import SpecError, read_spec

NEW = Around(is_set_absent=True, is_new=True)
MADE_ANEW = Around(is_set_absent=True)
SPREAD = plain(default_spread(OWNER))
USERS = [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]


def services(everfly: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = plain(manifests({"replicas": 3, "everfly": everfly, **more}))
    return {each["metadata"]["name"]: each["spec"] for each in made if each["kind"] == "Service"}


@pytest.mark.parametrize(
    ("everfly", "names"),
    [
        ({}, {"cache"}),
        ({"services": {}}, {"cache"}),
        ({"replicaService": True}, {"cache", "cache-ro"}),
        ({"services": {"replicas": True}}, {"cache", "cache-ro"}),
        ({"replicaService": True, "services": {"replicas": True}}, {"cache", "cache-ro"}),
        ({"services": {"all": True}}, {"cache", "cache-r"}),
        ({"services": {"headless": True}}, {"cache", "cache-pods"}),
    ],
)
def test_there_are_the_services_that_are_asked_for(everfly: Any, names: set[str]) -> None:
    assert set(services(everfly)) == names


def test_each_service_leads_where_it_says() -> None:
    found = services({"services": {"replicas": True, "all": True, "headless": True}})
    mine = {"app": "cache", "app.kubernetes.io/name": "dragonfly"}
    assert found["cache"]["selector"] == {**mine, "role": "master"}
    assert found["cache-ro"]["selector"] == {**mine, "role": "replica"}
    assert found["cache-r"]["selector"] == {**mine, LABEL_SERVES: SERVES}
    assert found["cache-pods"]["selector"] == mine
    assert found["cache-pods"]["clusterIP"] == "None"
    assert found["cache-pods"]["publishNotReadyAddresses"] is True
    assert [each["port"] for each in found["cache-pods"]["ports"]] == [6379, 9999]


def test_the_others_are_named_after_the_service_of_the_primary_and_pods_after_the_resource() -> (
    None
):
    asked = {"services": {"all": True, "headless": True}}
    found = services(asked, serviceSpec={"name": "shop", "nodePort": 30_000, "type": "NodePort"})
    assert set(found) == {"shop", "shop-r", "cache-pods"}
    assert "nodePort" not in str(found["shop-r"])


def test_every_port_names_its_protocol() -> None:
    found = services({"services": {"all": True, "headless": True}}, memcachedPort=11211)
    ports = [port for spec in found.values() for port in spec["ports"]]
    assert len(ports) == 7
    assert {port["protocol"] for port in ports} == {"TCP"}


def test_a_wrong_wish_is_refused_with_its_path() -> None:
    with pytest.raises(SpecError) as refusal:
        read_spec({"everfly": {"services": {"all": "yes"}, "defaultSpread": 1}})
    assert [each.split(":")[0] for each in refusal.value.problems] == [
        "spec.everfly.services.all",
        "spec.everfly.defaultSpread",
    ]


@pytest.mark.parametrize(
    ("around", "service"),
    [(NEW, "cache-pods"), (MADE_ANEW, "cache-pods"), (AROUND, "cache")],
    ids=["new", "made anew", "exists"],
)
def test_pods_are_named_after_the_headless_service_where_the_set_is_made(
    around: Around, service: str
) -> None:
    value = {"everfly": {"services": {"headless": True}}}
    assert _set(value, around)["serviceName"] == service
    assert _set({}, around)["serviceName"] == "cache"


def _set(value: dict[str, Any], around: Around) -> Any:
    (found,) = [each for each in plain(manifests(value, around)) if each["kind"] == "StatefulSet"]
    return found["spec"]


def spread(value: dict[str, Any], around: Around) -> Any:
    return _set(value, around)["template"]["spec"].get("topologySpreadConstraints")


def test_a_new_data_store_prefers_different_machines_and_zones() -> None:
    made = spread({}, NEW)
    assert [each["topologyKey"] for each in made] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    assert {each["whenUnsatisfiable"] for each in made} == {"ScheduleAnyway"}
    assert made[0]["labelSelector"] == _set({}, NEW)["selector"]


@pytest.mark.parametrize(
    ("value", "around", "made"),
    [
        ({}, AROUND, None),
        ({}, MADE_ANEW, None),
        ({}, Around(running_spread=spread_text({"topologySpreadConstraints": SPREAD})), SPREAD),
        ({}, Around(running_spread=spread_text({"topologySpreadConstraints": USERS})), None),
        ({"topologySpreadConstraints": USERS}, NEW, USERS),
        ({"affinity": {}}, NEW, None),
        ({"affinity": {"podAntiAffinity": {}}}, NEW, None),
        ({"everfly": {"defaultSpread": False}}, NEW, None),
        ({"everfly": {"defaultSpread": True}}, AROUND, SPREAD),
        ({"everfly": {"defaultSpread": True}, "topologySpreadConstraints": USERS}, NEW, USERS),
        (
            {"everfly": {"defaultSpread": False}},
            Around(running_spread=spread_text({"topologySpreadConstraints": SPREAD})),
            None,
        ),
    ],
)
def test_what_runs_keeps_its_template_and_what_users_say_counts(
    value: Any, around: Around, made: Any
) -> None:
    assert spread(value, around) == made


def test_the_order_of_keys_in_what_the_api_server_shows_does_not_count() -> None:
    turned = [dict(reversed(each.items())) for each in SPREAD]
    shown = spread_text({"topologySpreadConstraints": turned})
    assert spread({}, Around(running_spread=shown)) == SPREAD


def test_the_platform_asks_for_an_answer_where_that_is_wanted() -> None:
    container = _set({"everfly": {"answerProbes": True}}, AROUND)["template"]["spec"]["containers"][
        0
    ]
    ready, alive = container["readinessProbe"], container["livenessProbe"]
    assert (
        ready["httpGet"]
        == alive["httpGet"]
        == {
            "path": "/healthz",
            "port": "admin",
            "scheme": "HTTP",
        }
    )
    assert ready["periodSeconds"] * ready["failureThreshold"] == 6
    assert alive["periodSeconds"] * alive["failureThreshold"] == 30
    assert "exec" in _set({}, AROUND)["template"]["spec"]["containers"][0]["readinessProbe"]
    # Scripts of the user's own count.
    users = {"everfly": {"answerProbes": True}, "customReadinessProbeConfigMap": {"name": "mine"}}
    assert "httpGet" not in str(_set(users, AROUND))
