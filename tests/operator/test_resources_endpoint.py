"""Which objects the endpoint of a data store is made of, and what is wrong with a wish for one."""

from pathlib import Path
from typing import Any

import newest_tools
import pytest
import yaml
from test_chart import needs_helm, problems

from everfly.endpoint.keys import KEYS
from everfly.operator.resources import Around, desired
from everfly.operator.resources.endpoint import endpoint, endpoint_address, endpoint_problems
from everfly.operator.resources.operator_peer import peer_of_operator
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.wishes.endpoint import SETTINGS
from everfly.operator.wishes.spec import SpecError, read_spec

OWNER = Owner("cache", "shop", "uid-of-cache")
IMAGE, FRONT = "registry.example/everfly-endpoint:1", "front.system.svc:26379"
AROUND = Around(endpoint_image=IMAGE, sentinels=FRONT)
SECURED: dict[str, Any] = {
    "tlsSecretRef": {"name": "cache-tls"},
    "authentication": {"passwordFromSecret": {"name": "cache-password", "key": "word"}},
}
EVERYTHING: dict[str, Any] = {
    "replicas": 3,
    "image": "registry.example/other:2",
    "sentinels": ["10.0.0.1:26379", "sentinel.example:26380"],
    "sentinelPasswordFromSecret": {"name": "front-password", "key": "word"},
    "sentinelCaFromSecret": {"name": "front-ca", "key": "ca.pem"},
    "resources": {"limits": {"memory": "256Mi"}},
    "serviceType": "LoadBalancer",
    "serviceAnnotations": {"example.com/internal": "true"},
    "tls": {
        "secretName": "public-tls",
        "caFromSecret": {"name": "authority", "key": "ca.pem"},
        "serverName": "cache.example",
        "clientSecretName": "client-tls",
    },
    "passwordFromSecret": {"name": "another", "key": "word"},
    "settings": {"window_ms": "8000", "acks": "1", "grace_ms": "20000"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"operator": "Exists"}],
}


def made(wish: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return the objects of an endpoint, by kind."""
    everfly = {"endpoint": {"enabled": True} | (wish or {})} | spec.pop("everfly", {})
    wanted = read_spec({"replicas": 3, "everfly": everfly} | spec)
    found = endpoint(wanted, OWNER, IMAGE, FRONT, "operators")
    return {str(each["kind"]): each for each in found}


def pod_of(found: dict[str, Any]) -> Any:
    return found["Deployment"]["spec"]["template"]["spec"]


def container_of(found: dict[str, Any]) -> Any:
    (container,) = pod_of(found)["containers"]
    return container


def flags_of(found: dict[str, Any]) -> dict[str, str]:
    words = container_of(found)["args"]
    assert words[0] == "endpoint"
    return dict(word.removeprefix("--").split("=", 1) for word in words[1:])


@pytest.mark.parametrize("wish", [None, {}, {"enabled": False, "replicas": 3}])
def test_there_is_no_endpoint_unless_it_is_asked_for(wish: dict[str, Any] | None) -> None:
    plain = desired(read_spec({"replicas": 3}), OWNER, AROUND)
    everfly = {} if wish is None else {"endpoint": wish}
    assert desired(read_spec({"replicas": 3, "everfly": everfly}), OWNER, AROUND) == plain


def test_an_endpoint_leaves_all_other_objects_as_they_are() -> None:
    plain = desired(read_spec({"replicas": 3}), OWNER, AROUND)
    spec = read_spec({"replicas": 3, "everfly": {"endpoint": {"enabled": True}}})
    with_it = desired(spec, OWNER, AROUND)
    assert with_it[: len(plain)] == plain
    assert [each["kind"] for each in with_it[len(plain) :]] == [
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
    ]
    names = {each["metadata"]["name"] for each in with_it[len(plain) :]}  # type: ignore[call-overload,index]
    assert names == {"cache-endpoint"}


def test_the_endpoint_asks_the_front_of_the_operator_for_its_data_store() -> None:
    flags = flags_of(made())
    assert flags["sentinels"] == FRONT
    assert flags["name"] == "shop/cache"
    assert flags["listen"] == "0.0.0.0:6379"
    assert container_of(made())["image"] == IMAGE
    assert endpoint_address(OWNER) == "cache-endpoint.shop.svc:6379"


def test_its_pods_are_found_by_its_service_and_taken_for_no_instances() -> None:
    found = made()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    for kind, path in (("Service", "selector"), ("PodDisruptionBudget", "selector")):
        chosen = found[kind]["spec"][path]
        assert (chosen.get("matchLabels") or chosen) == labels
    assert not selector_labels(OWNER).items() <= labels.items()
    # The operator finds its objects, not the pods, by the labels of the data store.
    assert selector_labels(OWNER).items() <= found["Deployment"]["metadata"]["labels"].items()


def test_its_pods_have_no_token_and_no_more_than_they_need() -> None:
    pod = pod_of(made())
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container_of(made())["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "volumes" not in pod


def test_a_pod_counts_once_it_found_the_primary_and_stays_during_a_failover() -> None:
    container = container_of(made())
    assert container["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["tcpSocket"] == {"port": "redis"}
    strategy = made()["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxUnavailable": 0, "maxSurge": 1}


def test_clients_may_finish_before_a_pod_is_killed() -> None:
    assert pod_of(made())["terminationGracePeriodSeconds"] == 18
    assert pod_of(made(EVERYTHING))["terminationGracePeriodSeconds"] == 28


def test_a_password_is_a_file_of_the_pod() -> None:
    found = made(**SECURED | {"tlsSecretRef": None})
    assert flags_of(found)["password-file"] == "/etc/everfly/password/password-file"
    (volume,) = pod_of(found)["volumes"]
    assert volume["secret"] == {
        "secretName": "cache-password",
        "defaultMode": 0o440,
        "items": [{"key": "word", "path": "password-file"}],
    }
    assert "env" not in container_of(found)


def test_clients_of_a_data_store_with_tls_speak_tls_to_the_endpoint_too() -> None:
    flags = flags_of(made(**SECURED))
    assert flags["tls-listen"] == "0.0.0.0:6379"
    assert "listen" not in flags
    assert flags["tls-cert-file"] == "/etc/everfly/tls/tls-cert-file"
    assert flags["upstream-tls-ca-file"] == "/etc/everfly/instances-ca/upstream-tls-ca-file"
    assert flags["upstream-tls-name"] == "cache.shop.svc"
    assert "upstream-tls-cert-file" not in flags
    volumes = {each["name"]: each["secret"] for each in pod_of(made(**SECURED))["volumes"]}
    assert volumes["instances-ca"]["secretName"] == "cache-tls"
    assert volumes["instances-ca"]["items"][0]["key"] == "ca.crt"


def test_instances_that_ask_for_certificates_get_one_and_so_do_clients() -> None:
    authority = {"name": "clients", "key": "ca.pem"}
    found = made(tlsSecretRef={"name": "t"}, authentication={"clientCaCertSecret": authority})
    flags = flags_of(found)
    assert "tls-client-ca-file" in flags
    assert "upstream-tls-cert-file" in flags
    volumes = {each["name"]: each["secret"]["secretName"] for each in pod_of(found)["volumes"]}
    assert volumes["clients-ca"] == "clients"
    assert volumes["instances-tls"] == "t"


def test_every_wish_shows() -> None:
    found = made(EVERYTHING, **SECURED)
    flags = flags_of(found)
    assert found["Deployment"]["spec"]["replicas"] == 3
    assert container_of(found)["image"] == EVERYTHING["image"]
    assert flags["sentinels"] == "10.0.0.1:26379,sentinel.example:26380"
    assert (flags["window-ms"], flags["acks"]) == ("8000", "1")
    assert flags["upstream-tls-name"] == "cache.example"
    volumes = {each["name"]: each["secret"]["secretName"] for each in pod_of(found)["volumes"]}
    assert volumes == {
        "password": "another",
        "sentinel-password": "front-password",
        "sentinel-ca": "front-ca",
        "tls": "public-tls",
        "instances-ca": "authority",
        "instances-tls": "client-tls",
    }
    assert found["Service"]["spec"]["type"] == "LoadBalancer"
    assert found["Service"]["metadata"]["annotations"] == {"example.com/internal": "true"}
    assert container_of(found)["resources"] == EVERYTHING["resources"]
    assert pod_of(found)["nodeSelector"] == {"disk": "fast"}


def test_all_flags_are_settings_of_the_endpoint() -> None:
    known = {key.flag.removeprefix("--") for key in KEYS}
    assert set(flags_of(made(EVERYTHING, **SECURED))) <= known
    assert set(SETTINGS) <= {key.name for key in KEYS}


def test_one_pod_alone_has_no_budget_that_would_keep_its_machine_from_being_emptied() -> None:
    assert "PodDisruptionBudget" not in made({"replicas": 1})


def test_the_endpoint_lets_in_whom_the_data_store_does_and_is_let_in_there() -> None:
    team = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}
    scraper = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
    everfly = {
        "endpoint": {"enabled": True},
        "networkPolicy": {"clientsFrom": [team], "metricsFrom": [scraper]},
    }
    spec = read_spec({"replicas": 3, "everfly": everfly})
    own, ours = [each for each in desired(spec, OWNER, AROUND) if each["kind"] == "NetworkPolicy"]
    peers = own["spec"]["ingress"][0]["from"]  # type: ignore[index,call-overload]
    pods = {"podSelector": ours["spec"]["podSelector"]}  # type: ignore[index,call-overload]
    assert list(peers) == [team, pods]
    rules = {each["ports"][0]["port"]: list(each["from"]) for each in ours["spec"]["ingress"]}  # type: ignore[index,call-overload,union-attr]
    # The operator asks whether commands are held before a primary hands over.
    assert rules == {6379: [team], 9131: [peer_of_operator(AROUND.operator_namespace), scraper]}
    default = made()["NetworkPolicy"]["spec"]["ingress"]
    assert [each["ports"][0]["port"] for each in default] == [6379, 9131]
    assert list(default[1]["from"]) == [peer_of_operator("operators")]
    assert "NetworkPolicy" not in made(networkPolicyEnabled=False)


def test_without_an_image_or_sentinels_what_runs_stays_and_the_problem_is_told() -> None:
    spec = read_spec({"replicas": 3, "everfly": {"endpoint": {"enabled": True}}})
    for image, front in (("", FRONT), (IMAGE, "")):
        deployment = endpoint(spec, OWNER, image, front, "")[0]
        assert "image" not in deployment["spec"]["template"]["spec"]["containers"][0]  # type: ignore[index,call-overload]
    assert endpoint_problems(spec, IMAGE, FRONT) == ()
    told = endpoint_problems(spec, "", "")
    assert [each.split(":")[0] for each in told] == [
        "spec.everfly.endpoint.image",
        "spec.everfly.endpoint.sentinels",
    ]
    assert endpoint_problems(read_spec({"replicas": 3}), "", "") == ()


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        ({"replicas": 0}, "spec.everfly.endpoint.replicas: must be 1..100, is 0"),
        ({"sentinels": ["nonsense"]}, r"sentinels\[0\]: must be HOST:PORT, is 'nonsense'"),
        ({"sentinels": ["x:99999"]}, r"sentinels\[0\]: must be HOST:PORT"),
        ({"serviceType": "ExternalName"}, "endpoint.serviceType: must be ClusterIP"),
        ({"passwordFromSecret": {"name": "x"}}, "endpoint.passwordFromSecret.key: is required"),
        ({"settings": {"listen": "x"}}, r"endpoint.settings\['listen'\]: is none of"),
        ({"settings": {"grace_ms": "long"}}, "is no number"),
        ({"tls": {"caFromSecret": {"key": "k"}}}, "endpoint.tls.caFromSecret.name: is required"),
    ],
    ids=str,
)
def test_a_wrong_wish_is_refused_with_the_path_of_the_field(
    wish: dict[str, Any], problem: str
) -> None:
    for is_enabled in (True, False):
        with pytest.raises(SpecError, match=problem):
            read_spec({"everfly": {"endpoint": {"enabled": is_enabled} | wish}})


@needs_helm
@pytest.mark.timeout(60 if newest_tools.are_built() else newest_tools.BUILD_S)
@pytest.mark.parametrize("wish", [{}, EVERYTHING], ids=["least", "most"])
def test_the_newest_kubernetes_accepts_the_endpoint(wish: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "made.yaml"
    file.write_text(yaml.safe_dump_all([*made(wish, **SECURED).values()]))
    assert problems([file]) == ""
