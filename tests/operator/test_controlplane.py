"""The test ground itself: what a pod, a node and a link do there is what they do elsewhere."""

import contextlib
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from controlplane.cluster import Cluster
from controlplane.images import DRAGONFLY, MISSING
from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import (
    ConfigMapVolumeSource,
    Container,
    ContainerPort,
    EnvVar,
    ExecAction,
    PodSpec,
    Probe,
    ProjectedVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import PatchType

from processes import Connection, until

DRAGONFLY_KIND = create_namespaced_resource(
    "dragonflydb.io", "v1alpha1", "Dragonfly", "dragonflies"
)
GONE = (ApiError,)


def dragonfly_container(**changes: object) -> Container:
    fields: dict[str, object] = {
        "name": "dragonfly",
        "image": DRAGONFLY,
        "args": ["--alsologtostderr", "--admin_port=9999", "--admin_nopass", "--dbfilename="],
        "env": [EnvVar(name="HEALTHCHECK_PORT", value="9999")],
        "ports": [ContainerPort(name="redis", containerPort=6379)],
        "readinessProbe": Probe(
            exec=ExecAction(command=["/bin/sh", "/usr/local/bin/healthcheck.sh"]), periodSeconds=2
        ),
    }
    return Container(**(fields | changes))  # type: ignore[arg-type]  # fields of a container


def start(client: Client, name: str, spec: PodSpec | None = None) -> Pod:
    spec = spec or PodSpec(containers=[dragonfly_container()])
    client.create(Pod(metadata=ObjectMeta(name=name), spec=spec))
    return until(partial(ready, client, name), 30, show=partial(shown, client, name), despite=GONE)


def ready(client: Client, name: str) -> Pod | None:
    """The pod is ready."""
    pod = client.get(Pod, name)
    return pod if condition(pod, "Ready") == "True" else None


def condition(pod: Pod, kind: str) -> str:
    assert pod.status is not None
    return next((each.status for each in pod.status.conditions or [] if each.type == kind), "")


def shown(client: Client, name: str) -> object:
    return client.get(Pod, name).to_dict().get("status")


def address(pod: Pod) -> str:
    assert pod.status is not None
    assert pod.status.podIP
    return pod.status.podIP


def restarts(client: Client, name: str) -> int:
    status = client.get(Pod, name).status
    assert status is not None
    return sum(each.restartCount for each in status.containerStatuses or [])


def call(pod: Pod, *words: str, port: int = 6379) -> object:
    with Connection(port, host=address(pod)) as connection:
        return connection.call(*words)


def test_a_pod_is_ready_when_its_process_answers(client: Client) -> None:
    pod = start(client, "one")
    assert call(pod, "PING") == b"PONG"
    assert call(pod, "PING", port=9999) == b"PONG"


def test_a_killed_process_is_restarted_and_counted(cluster: Cluster, client: Client) -> None:
    pod = start(client, "one")
    call(pod, "SET", "key", "value")
    cluster.signal(pod, signal.SIGKILL)
    until(lambda: restarts(client, "one") == 1 and ready(client, "one"), 30)
    assert call(pod, "GET", "key") is None


def test_a_deleted_pod_gets_time_to_end_and_is_gone(client: Client) -> None:
    pod = start(client, "one")
    client.delete(Pod, "one")

    def gone() -> bool:
        """The pod is not there."""
        try:
            client.get(Pod, "one")
        except ApiError as error:
            return error.status.code == 404
        return False

    until(gone, 30)
    with pytest.raises(OSError, match=r".+"):
        Connection(6379, host=address(pod), timeout_s=0.5)


def test_an_image_that_is_missing_is_not_pulled(client: Client) -> None:
    spec = PodSpec(containers=[dragonfly_container(image=MISSING)])
    client.create(Pod(metadata=ObjectMeta(name="one"), spec=spec))

    def reason() -> bool:
        """The pod says that its image cannot be pulled."""
        status = client.get(Pod, "one").status
        waiting = [
            each.state.waiting for each in (status and status.containerStatuses) or [] if each.state
        ]
        return [each.reason for each in waiting if each] == ["ErrImagePull"]

    until(reason, 20, show=partial(shown, client, "one"))


def test_a_dead_node_takes_its_pods_out_of_ready_and_brings_them_back_empty(
    cluster: Cluster, client: Client
) -> None:
    pod = start(client, "one")
    call(pod, "SET", "key", "value")
    assert pod.spec is not None
    assert pod.spec.nodeName
    cluster.set_node(pod.spec.nodeName, "dead")
    until(lambda: condition(client.get(Pod, "one"), "Ready") == "False", 30)
    # The containers of a silent node are not known to have ended.
    assert condition(client.get(Pod, "one"), "ContainersReady") == "True"
    cluster.set_node(pod.spec.nodeName, "up")
    again = until(partial(ready, client, "one"), 30)
    assert restarts(client, "one") == 1
    assert call(again, "GET", "key") is None


def test_the_pods_of_an_isolated_node_live_on_unseen(cluster: Cluster, client: Client) -> None:
    pod = start(client, "one")
    call(pod, "SET", "key", "value")
    assert pod.spec is not None
    assert pod.spec.nodeName
    cluster.set_node(pod.spec.nodeName, "isolated")
    until(lambda: condition(client.get(Pod, "one"), "Ready") == "False", 30)
    with pytest.raises(OSError, match=r".+"):
        call(pod, "PING")
    cluster.set_node(pod.spec.nodeName, "up")
    until(partial(ready, client, "one"), 30)
    # The neighbours had given it up, and ask again.
    assert until(lambda: call(pod, "GET", "key"), 10) == b"value"


def test_a_pod_can_be_cut_off_from_one_address_alone(cluster: Cluster, client: Client) -> None:
    first, second = start(client, "one"), start(client, "two")
    cluster.set_route(first, "10.244.0.1", is_open=False)
    with pytest.raises(OSError, match=r".+"):
        call(first, "PING")
    assert cluster.run_in(second, "bash", "-c", f": < /dev/tcp/{address(first)}/6379") == ""
    cluster.set_route(first, "10.244.0.1", is_open=True)
    assert call(first, "PING") == b"PONG"


def test_a_config_map_is_updated_in_place(cluster: Cluster, client: Client) -> None:
    client.create(ConfigMap(metadata=ObjectMeta(name="words"), data={"word": "old"}))
    mount = VolumeMount(name="words", mountPath="/words")
    container = dragonfly_container(
        image="busybox:1",
        args=["sh", "-c", "while sleep 0.1; do cat /words/word > /shared/seen; done"],
        volumeMounts=[mount, VolumeMount(name="shared", mountPath="/shared")],
        readinessProbe=Probe(
            exec=ExecAction(command=["grep", "-q", "new", "/shared/seen"]), periodSeconds=2
        ),
    )
    volumes = [
        Volume(name="words", configMap=ConfigMapVolumeSource(name="words")),
        Volume(name="shared", emptyDir={}),  # type: ignore[arg-type]  # no fields
    ]
    spec = PodSpec(containers=[container], volumes=volumes, terminationGracePeriodSeconds=0)
    client.create(Pod(metadata=ObjectMeta(name="one"), spec=spec))
    until(lambda: "running" in str(shown(client, "one")), 20)
    assert ready(client, "one") is None
    client.patch(ConfigMap, "words", {"data": {"word": "new"}}, patch_type=PatchType.MERGE)
    until(partial(ready, client, "one"), 20)


def test_a_projected_token_lets_a_pod_be_somebody(cluster: Cluster, client: Client) -> None:
    token = ServiceAccountTokenProjection(path="token", expirationSeconds=600)
    volume = Volume(
        name="token",
        projected=ProjectedVolumeSource(sources=[VolumeProjection(serviceAccountToken=token)]),
    )
    # Who one is stands in the refusal.
    question = (
        "import ssl, urllib.error, urllib.request\n"
        "address = 'https://10.244.0.1:6443/api/v1/namespaces/default/pods'\n"
        "bearer = {'Authorization': 'Bearer ' + open('/token/token').read()}\n"
        "request = urllib.request.Request(address, headers=bearer)\n"
        "try:\n"
        "    urllib.request.urlopen(request, context=ssl._create_unverified_context())\n"
        "except urllib.error.HTTPError as refusal:\n"
        "    told = refusal.read().decode()\n"
        f"    assert 'system:serviceaccount:{client.namespace}:default' in told\n"
    )
    container = dragonfly_container(
        image="busybox:1",
        args=None,
        readinessProbe=Probe(
            exec=ExecAction(command=[sys.executable, "-c", question]),
            periodSeconds=2,
            timeoutSeconds=5,
        ),
        volumeMounts=[VolumeMount(name="token", mountPath="/token")],
    )
    spec = PodSpec(
        containers=[container],
        volumes=[volume],
        serviceAccountName="default",
        terminationGracePeriodSeconds=0,
    )
    start(client, "one", spec)


def test_a_run_that_is_killed_leaves_no_process_network_mount_or_file(
    kubernetes: Cluster, tmp_path: Path
) -> None:
    # The cluster of this test, in a process that is killed as a test run may be.
    script = (
        "import sys; from pathlib import Path; from controlplane.cluster import Cluster\n"
        "cluster = Cluster(Path(sys.argv[1])).start(); print('up', flush=True); sys.stdin.read()"
    )
    home = Path(__file__).parent
    folder = tmp_path / "cluster"
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{home}:{home.parent}"},
    )
    assert run.stdout is not None
    try:
        assert run.stdout.readline() == b"up\n"
        assert _processes_of(folder)
    finally:
        run.kill()
        run.communicate()
    until(lambda: not _processes_of(folder), 10, show=lambda: _processes_of(folder))
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert not Path("/tmp/hostpath_pv").exists()
    left = {each.name for each in folder.iterdir()}
    assert left == {"admin.kubeconfig", "boot.log", "cluster.json", "nodes", *_LOGS}


_LOGS = {
    f"{program}.log"
    for program in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
}


def _processes_of(folder: Path) -> list[str]:
    """Return command lines of processes that see the folder of a cluster."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            mounts = (process / "mountinfo").read_text()
            if f"{folder} /run/everfly/outside" in mounts:
                found.append((process / "cmdline").read_bytes().decode()[:100])
    return found
