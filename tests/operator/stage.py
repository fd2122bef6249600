"""Turn a spec into a data store on the test cluster, with an operator that keeps it and a client.

The operator is the real program, in the cluster's network; the client is led as any client is, by
the endpoints of the Service, and notes what was acknowledged and when.
"""

import contextlib
import itertools
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import hiredis
import httpx2
from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Endpoints, Event, Pod
from lightkube.resources.storage_v1 import StorageClass
from lightkube.types import PatchType

from everfly.operator import names
from processes import Child, Connection, free_port, until

DRAGONFLY = create_namespaced_resource(names.GROUP, names.VERSION, names.KIND, names.PLURAL)
TROUBLE = (ApiError, httpx2.HTTPError, LookupError, AssertionError)
READY_S = 90.0
"""Three pods are ready after about ten seconds on an idle machine."""
SHORT_S = 0.3


class OperatorProcess:
    """One operator for one namespace."""

    def __init__(
        self, cluster: Cluster, namespace: str, folder: Path, *flags: str, host: str = ""
    ) -> None:
        self.metrics_port = free_port()
        self.health_port = free_port()
        self.command = [
            sys.executable,
            "-m",
            "everfly",
            "operator",
            f"--kubeconfig={cluster.kubeconfig}",
            "--leader-elect",
            f"--metrics-bind-address=127.0.0.1:{self.metrics_port}",
            f"--health-probe-bind-address=127.0.0.1:{self.health_port}",
            *flags,
        ]
        self.environment = {
            "WATCH_NAMESPACE": namespace,
            "POD_NAMESPACE": namespace,
            "POD_NAME": f"operator-{secrets.token_hex(4)}",
            "NODE_NAME": host,
        }
        self.log = folder / f"operator-{secrets.token_hex(3)}.log"
        self.child = self._start()

    def _start(self) -> Child:
        return Child(self.command, self.log, environment=self.environment)

    def stop(self) -> int:
        """End it as a platform does, and return its exit status."""
        self.child.signal(signal.SIGTERM)
        return self.child.wait(10)

    def kill(self) -> None:
        self.child.kill()

    def restart(self) -> None:
        self.child.kill()
        self.child = self._start()

    def get(self, port: int, path: str) -> httpx2.Response:
        return httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=5)

    def wait_ready(self) -> None:
        """Return when it has seen everything, whether or not it holds the lease."""
        until(
            lambda: self.get(self.health_port, "/readyz").status_code == httpx2.codes.OK,
            30,
            show=self.child.log_tail,
            despite=(httpx2.HTTPError,),
        )


@dataclass
class Store:
    """One data store."""

    cluster: Cluster
    client: Client
    namespace: str
    name: str = "cache"
    last_reason: str = ""
    operator: OperatorProcess | None = None

    def create(self, **spec: Any) -> None:
        body = {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.KIND,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {"replicas": 3} | spec,
        }
        self.client.create(DRAGONFLY(body))

    def change(self, **spec: Any) -> None:
        self.client.patch(DRAGONFLY, self.name, {"spec": spec}, patch_type=PatchType.MERGE)

    def annotate(self, **annotations: str | None) -> None:
        change = {"metadata": {"annotations": {_KEYS[k]: v for k, v in annotations.items()}}}
        self.client.patch(DRAGONFLY, self.name, change, patch_type=PatchType.MERGE)

    @property
    def item(self) -> Any:
        return self.client.get(DRAGONFLY, self.name)

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.item.get("status") or {})

    def condition(self, kind: str) -> str:
        conditions = self.status.get("conditions") or []
        return next((each["status"] for each in conditions if each["type"] == kind), "")

    def pods(self) -> list[Pod]:
        found = self.client.list(Pod, labels={names.LABEL_APP: self.name})
        return sorted(found, key=name_of)

    def pod(self, name: str) -> Pod:
        return self.client.get(Pod, name)

    def labelled(self, role: str) -> list[Pod]:
        return [each for each in self.pods() if label(each, names.LABEL_ROLE) == role]

    def primary(self) -> Pod:
        (pod,) = self.labelled(names.ROLE_PRIMARY)
        return pod

    def endpoints(self) -> list[str]:
        """Addresses to which clients are led."""
        found = self.client.get(Endpoints, self.name)
        return [
            address.ip
            for subset in found.subsets or []
            for address in subset.addresses or []
            if address.ip
        ]

    def events(self) -> list[Event]:
        return [
            each
            for each in self.client.list(Event)
            if each.involvedObject.name == self.name and each.involvedObject.kind == names.KIND
        ]

    def reasons(self) -> set[str]:
        return {each.reason or "" for each in self.events()}

    def why_unwell(self, replicas: int | None = None) -> str:
        """Return what is missing to a data store in order, or an empty text."""
        try:
            self.last_reason = self._why_unwell(replicas)
        except TROUBLE as error:
            self.last_reason = f"{type(error).__name__}: {error}"
        return self.last_reason

    def _why_unwell(self, replicas: int | None) -> str:
        status = self.status
        if status.get("phase") != "Ready":
            return f"phase {status.get('phase')}"
        pods = self.pods()
        if replicas is not None and len(pods) != replicas:
            return f"{len(pods)} pods"
        primary = self.primary()
        if name_of(primary) != status.get("primary"):
            return f"the status names {status.get('primary')}"
        if self.endpoints() != [address(primary)]:
            return f"clients are led to {self.endpoints()}"
        for pod in pods:
            if not is_ready(pod):
                return f"{name_of(pod)} is not ready"
            if name_of(pod) != name_of(primary) and (reason := why_astray(pod, primary)):
                return f"{name_of(pod)}: {reason}"
        return ""

    def wait_well(self, replicas: int | None = None, within_s: float = READY_S) -> None:
        until(
            lambda: not self.why_unwell(replicas),
            within_s,
            show=lambda: (self.last_reason, self.shown()),
            despite=TROUBLE,
        )

    def wait(self, condition: Callable[[], Any], within_s: float = 30.0) -> Any:
        return until(condition, within_s, show=self.shown, despite=(*TROUBLE, ValueError))

    def shown(self) -> object:
        pods = [
            (name_of(each), label(each, names.LABEL_ROLE), is_ready(each)) for each in self.pods()
        ]
        return self.status, pods


_KEYS = {
    "switchover": names.SWITCH_TO,
    "fenced": names.FENCED,
    "paused": names.PAUSED,
    "hibernated": names.HIBERNATED,
    "accepted_loss": names.ACCEPTED_LOSS,
    "rebuild": names.REBUILD,
}


def name_of(pod: Pod) -> str:
    assert pod.metadata is not None
    assert pod.metadata.name is not None
    return pod.metadata.name


def uid_of(pod: Pod) -> str:
    assert pod.metadata is not None
    assert pod.metadata.uid is not None
    return pod.metadata.uid


def label(pod: Pod, key: str) -> str:
    assert pod.metadata is not None
    return (pod.metadata.labels or {}).get(key, "")


def address(pod: Pod) -> str:
    assert pod.status is not None
    assert pod.status.podIP, f"{name_of(pod)} has no address"
    return pod.status.podIP


def is_ready(pod: Pod) -> bool:
    conditions = (pod.status.conditions if pod.status else None) or []
    return any(each.type == "Ready" and each.status == "True" for each in conditions)


def call(pod: Pod, *words: str | int, port: int = 6379) -> Any:
    with Connection(port, host=address(pod)) as connection:
        return connection.call(*words)


def replication(pod: Pod) -> dict[str, str]:
    text = call(pod, "INFO", "REPLICATION", port=names.ADMIN_PORT).decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def disks(client: Client) -> dict[str, Any]:
    """Return a claim of a disk that outlives its pod."""
    known = StorageClass(
        metadata=ObjectMeta(name="disks"),
        provisioner="kubernetes.io/host-path",
        reclaimPolicy="Delete",
    )
    with contextlib.suppress(ApiError):  # one for all tests
        client.create(known)
    return {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "disks",
        "resources": {"requests": {"storage": "1Gi"}},
    }


def why_astray(replica: Pod, primary: Pod) -> str:
    """Return what is missing to a replica, or an empty text."""
    info = replication(replica)
    if info.get("master_host") != address(primary):
        return f"it follows {info.get('master_host')}"
    if info.get("master_link_status") != "up":
        return "its link is down"
    return "" if label(replica, names.LABEL_ROLE) == names.ROLE_REPLICA else "it has no role"


@dataclass
class Writer:
    """A client that writes one key after the other to wherever the Service leads."""

    store: Store
    acknowledged: dict[str, float] = field(default_factory=dict)
    """Key -> when it was acknowledged (monotonic, s)."""
    led_to_two: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="writer")
        self._thread.start()
        until(lambda: len(self.acknowledged) >= 5, 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        connection: Connection | None = None
        number = 0
        with self.store.cluster.client(self.store.namespace) as client:
            mine = Store(self.store.cluster, client, self.store.namespace, self.store.name)
            while not self._stop.wait(0.002):
                try:
                    if connection is None:
                        places = mine.endpoints()
                        self.led_to_two = self.led_to_two or len(places) > 1
                        if not places:
                            continue
                        connection = Connection(6379, host=places[0], timeout_s=SHORT_S)
                    connection.call("SET", f"key-{number}", number)
                    self.acknowledged[f"key-{number}"] = time.monotonic()
                    number += 1
                except (OSError, hiredis.ReplyError, *TROUBLE):
                    number += 1  # it may have been written all the same
                    if connection is not None:
                        connection.close()
                        connection = None
        if connection is not None:
            connection.close()

    def first_after(self, moment: float, within_s: float) -> float:
        """Return how many seconds after a moment the first write was acknowledged."""
        found: list[float] = []

        def seen() -> bool:
            found[:] = [at for at in list(self.acknowledged.values()) if at > moment]
            return bool(found)

        until(seen, within_s, show=self.store.shown)
        return min(found) - moment

    def longest_gap(self) -> float:
        """Return the longest time between two writes that were acknowledged."""
        times = sorted(self.acknowledged.values())
        return max(b - a for a, b in itertools.pairwise(times))

    def lost(self, pod: Pod) -> list[str]:
        """Return the acknowledged keys that a pod does not hold."""
        with Connection(6379, host=address(pod), timeout_s=10) as connection:
            return [key for key in self.acknowledged if connection.call("EXISTS", key) != 1]


@contextlib.contextmanager
def running(
    cluster: Cluster, client: Client, namespace: str, folder: Path, *flags: str, host: str = ""
) -> Iterator[Store]:
    """Run an operator beside a store that is yet to be created; show its log when a test fails."""
    operator = OperatorProcess(cluster, namespace, folder, *flags, host=host)
    try:
        yield Store(cluster, client, namespace, operator=operator)
    except BaseException:
        print(operator.child.log_tail())  # noqa: T201 - shown with the failure
        raise
    finally:
        operator.kill()
