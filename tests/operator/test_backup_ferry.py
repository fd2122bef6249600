"""What a ferry is made of, and whom its policies let in."""

import json
from typing import Any

from everfly.operator.backups import ferry as made
from everfly.operator.backups.ferry import Ferry
from everfly.operator.backups.place import Bucket, Place, Volume
from everfly.operator.resources.network_policy import network_policy
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.wishes.spec import read_spec

STORE = Owner("cache", "shop", "store-uid")
OWNER = {"apiVersion": "everfly.dev/v1alpha1", "kind": "DragonflyBackup", "name": "b", "uid": "1"}


def ferry(place: Place | None = None, **spec: Any) -> Ferry:
    return Ferry("b-ferry-1", OWNER, STORE, read_spec(spec), "image:1", place or Volume("backups"))


def plain(value: Any) -> Any:
    """Return what the API server is sent."""
    return json.loads(json.dumps(value))


def ferry_pod(wanted: Ferry) -> Any:
    return plain(made.ferry_pod(wanted))


def ferry_policies(wanted: Ferry, uid: str, operator_namespace: str) -> Any:
    return plain(made.ferry_policies(wanted, uid, operator_namespace))


def container(pod: Any) -> Any:
    (found,) = pod["spec"]["containers"]
    return found


def test_no_selector_of_a_data_store_finds_a_ferry() -> None:
    labels = ferry_pod(ferry())["metadata"]["labels"]
    assert not set(selector_labels(STORE).items()) <= set(labels.items())
    assert "role" not in labels
    assert "app" not in labels


def test_a_ferry_is_as_large_as_an_instance_and_runs_where_instances_may() -> None:
    spec: dict[str, Any] = {
        "resources": {"limits": {"memory": "2Gi"}},
        "args": ["--proactor_threads=4"],
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"operator": "Exists"}],
        "serviceAccountName": "identity",
        "imagePullSecrets": [{"name": "registry"}],
        "containerSecurityContext": {"runAsNonRoot": True},
        "env": [{"name": "A", "value": "b"}],
    }
    pod = ferry_pod(ferry(**spec))
    assert container(pod)["resources"] == spec["resources"]
    assert container(pod)["securityContext"] == spec["containerSecurityContext"]
    assert container(pod)["env"] == spec["env"]
    for name in ("nodeSelector", "tolerations", "serviceAccountName", "imagePullSecrets"):
        assert pod["spec"][name] == spec[name]
    assert pod["spec"]["securityContext"] == {"fsGroup": 999}


def test_a_ferry_writes_and_loads_nothing_by_itself_and_never_starts_anew() -> None:
    args = ["--dir=/mine", "--dbfilename=mine", "--bind=0.0.0.0", "--snapshot_cron=* * * * *"]
    args.append("--cache_mode=true")
    pod = ferry_pod(ferry(Volume("backups", "a/b"), args=args))
    last = dict(each[2:].split("=", 1) for each in container(pod)["args"] if "=" in each)
    assert last["dir"] == "/backup/a/b"
    assert last["dbfilename"] == ""
    assert last["snapshot_cron"] == ""
    assert last["cache_mode"] == "false"
    assert last["bind"] == "127.0.0.1"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["volumes"] == [
        {"name": "backup", "persistentVolumeClaim": {"claimName": "backups"}}
    ]


def test_a_bucket_is_named_by_a_flag_and_its_keys_come_from_the_secret_alone() -> None:
    pod = ferry_pod(ferry(Bucket("s3://bucket/x", "keys", "minio:9000")))
    args = container(pod)["args"]
    assert args[-2:] == ["--dir=s3://bucket/x", "--s3_endpoint=minio:9000"]
    assert container(pod)["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "volumes" not in pod["spec"]
    plain_text = ferry_pod(ferry(Bucket("s3://bucket/x", "keys", "http://minio:9000")))
    flags = ["--s3_endpoint=minio:9000", "--s3_use_https=false"]
    assert container(plain_text)["args"][-2:] == flags
    own = ferry_pod(ferry(Bucket("s3://bucket/x")))
    assert "envFrom" not in container(own)
    assert container(own)["args"][-1] == "--dir=s3://bucket/x"


def test_passwords_are_not_in_a_ferry() -> None:
    secret = {"passwordFromSecret": {"name": "secret", "key": "password"}}
    assert "secret" not in str(ferry_pod(ferry(authentication=secret)))


def test_policies_let_the_operator_and_the_group_reach_a_ferry_and_it_the_group() -> None:
    to_ferry, to_group = (
        each["spec"] for each in ferry_policies(ferry(), "pod-uid", "everfly-system")
    )
    labels = ferry_pod(ferry())["metadata"]
    assert to_ferry["podSelector"]["matchLabels"] == labels["labels"]
    assert to_group["podSelector"]["matchLabels"] == selector_labels(STORE)
    (own,) = plain(network_policy(read_spec({}), STORE, "everfly-system"))
    admin_rule = own["spec"]["ingress"][-1]
    (rule,) = to_ferry["ingress"]
    assert rule["from"] == admin_rule["from"]
    assert rule["ports"] == admin_rule["ports"]


def test_policies_go_with_the_pod_and_there_are_none_where_the_store_has_none() -> None:
    for each in ferry_policies(ferry(), "pod-uid", ""):
        (owner,) = each["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Pod", "pod-uid")
    # A policy that selects pods which no other one does would shut their clients out.
    assert ferry_policies(ferry(networkPolicyEnabled=False), "pod-uid", "") == []


def test_what_removes_files_names_those_of_its_backup_alone() -> None:
    pod = plain(made.sweeper_pod(ferry(Volume("backups", "a")), "nightly-01234567"))
    assert container(pod)["env"] == [
        {"name": "FOLDER", "value": "/backup/a"},
        {"name": "PREFIX", "value": "nightly-01234567"},
    ]
    (command,) = container(pod)["command"][2:]
    assert command == 'rm -f -- "$FOLDER/$PREFIX"-*.dfs "$FOLDER/$PREFIX"-*.tmp'
    assert pod["spec"]["restartPolicy"] == "Never"
