"""Start a cluster in namespaces of its own, and do to it what befalls clusters.

Nothing of it is left behind, also when the test run is killed: processes end with the first one,
which ends with the run; interfaces, mounts and data end with the last process. Only its logs and
the kubeconfig are files outside, in the folder that the caller gives.

The network is entered by one thread (`network()`): sockets and processes that it makes from then
on are inside. There the API server is https://127.0.0.1:6443; pods have addresses in 10.244.0.0/16.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import httpx2
from lightkube import Client, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import PodStatus
from lightkube.resources.core_v1 import Node, Pod, ServiceAccount

from controlplane.binaries import binaries
from controlplane.images import images
from controlplane.kubelet.settings import NodeShape
from processes import Child, until

START_S: Final = 120.0
"""Eight seconds on an idle machine."""
NODE_GRACE_S: Final = 8
"""Silence of a node after which it is NotReady. Kubernetes waits 40 s; a node here speaks every
second, and may be late on a busy machine."""
ZONES: Final = ("zone-a", "zone-b", "zone-c")
_NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET of linux/sched.h."""
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Shape:
    nodes: Sequence[NodeShape] = tuple(NodeShape(f"node-{zone[-1]}", zone) for zone in ZONES)
    definitions: Sequence[object] = ()
    """Custom resource definitions that exist from the start."""
    speed: float = 0.1
    """Factor on delays and periods of probes."""


class Cluster:
    """One running cluster. `start` it in the thread that lives longest, the main thread."""

    def __init__(self, folder: Path, shape: Shape | None = None) -> None:
        self.folder = folder
        self.shape = shape or Shape()
        self.kubeconfig = folder / "admin.kubeconfig"
        self._child: Child | None = None
        self._network = -1

    def start(self) -> Self:
        """Return when the controllers work and all nodes are ready. Raise TimeoutError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "nodes").mkdir()
        description = self.folder / "cluster.json"
        description.write_text(
            json.dumps(
                {
                    "binaries": str(binaries()),
                    "folder": str(self.folder),
                    "nodes": [dataclasses.asdict(node) for node in self.shape.nodes],
                    "images": [dataclasses.asdict(image) for image in images()],
                    "definitions": list(self.shape.definitions),
                    "node_grace_s": NODE_GRACE_S,
                    "speed": self.shape.speed,
                }
            )
        )
        home = Path(__file__).resolve().parents[1]
        self._child = Child(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
             sys.executable, "-u", "-m", "controlplane.boot", str(description)],
            self.folder / "boot.log", directory=home,
            environment={"PYTHONPATH": f"{home}:{home.parent}"},
        )  # fmt: skip
        try:
            until(self._has_network, START_S, show=self._child.log_tail)
            with self.network():
                until(self._is_ready, START_S, show=self._child.log_tail,
                      despite=(ApiError, httpx2.HTTPError))  # fmt: skip
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End everything. Harmless when it has ended."""
        if self._child:
            self._child.kill()
            self._child = None
        if self._network >= 0:
            os.close(self._network)
            self._network = -1

    def log_tail(self) -> str:
        return self._child.log_tail() if self._child else "the cluster has ended"

    def _has_network(self) -> bool:
        """The cluster has written its kubeconfig."""
        assert self._child is not None
        if self._child.exit_status is not None:
            raise RuntimeError(f"the cluster did not start:\n{self._child.log_tail()}")
        if not self.kubeconfig.exists():
            return False
        if self._network < 0:
            self._network = os.open(f"/proc/{self._child.pid}/ns/net", os.O_RDONLY)
        return True

    def _is_ready(self) -> bool:
        """The default service account exists and every node is ready."""
        assert self._child is not None
        if self._child.exit_status is not None:
            raise RuntimeError(f"the cluster did not start:\n{self._child.log_tail()}")
        with self.client() as client:
            client.get(ServiceAccount, "default", namespace="default")
            ready = [node for node in client.list(Node) if _is_node_ready(node)]
        return len(ready) == len(self.shape.nodes)

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Put this thread into the cluster's network for as long as the block lasts."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _enter(self._network)
        try:
            yield
        finally:
            _enter(home)
            os.close(home)

    @contextlib.contextmanager
    def client(self, namespace: str = "default") -> Iterator[Client]:
        """Give a client of an administrator, for use inside the network."""
        config = KubeConfig.from_file(self.kubeconfig)
        client = Client(config, namespace=namespace, trust_env=False)
        try:
            yield client
        finally:
            client.close()

    def kubeconfig_for(self, token: str, file: Path) -> Path:
        """Write a kubeconfig of whoever has this token."""
        admin = json.loads(self.kubeconfig.read_text())
        server = admin["clusters"][0]["cluster"]
        admin["users"][0]["user"] = {"token": token}
        file.write_text(json.dumps(admin))
        assert server
        return file

    def set_node(self, name: str, fate: str) -> None:
        """Make a node `dead`, `isolated` (its pods live on, cut off) or `up` again."""
        assert fate in ("up", "dead", "isolated"), fate
        # In one step: the kubelet must not read half a word.
        file = self.folder / "nodes" / f".{name}"
        file.write_text(fate)
        file.rename(self.folder / "nodes" / name)

    def mend(self) -> None:
        """Bring all nodes back, and wait until they are ready."""
        nodes = [node.name for node in self.shape.nodes]
        for name in nodes:
            if (self.folder / "nodes" / name).exists():
                self.set_node(name, "up")
        until(self._is_ready, START_S, show=self.log_tail, despite=(ApiError, httpx2.HTTPError))

    def signal(self, pod: Pod, number: signal.Signals, container: str = "dragonfly") -> None:
        """Send a signal to the first process of a container."""
        outer = _process_of(pod, container)
        script = f'kill -{number.value} "$(cat /proc/{outer}/task/{outer}/children)"'
        self._inside("sh", "-ec", script)

    def run_in(self, pod: Pod, *command: str) -> str:
        """Run a program of this machine in the network namespace of a pod; return its output."""
        return self._inside("ip", "netns", "exec", _network_of(pod), *command)

    def set_link(self, pod: Pod, *, is_up: bool) -> None:
        """Cut a pod off from everybody, or join it again; its own probes do not notice."""
        assert pod.metadata is not None
        assert pod.metadata.uid is not None
        self._inside("ip", "link", "set", f"v{pod.metadata.uid[:8]}", "up" if is_up else "down")

    def set_route(self, pod: Pod, address: str, *, is_open: bool) -> None:
        """Cut a pod off from one address (10.244.0.1 is the operator's), or join it again."""
        verb = "del" if is_open else "add"
        self._inside("ip", "-n", _network_of(pod), "route", verb, "blackhole", f"{address}/32")

    def _inside(self, *command: str) -> str:
        """Run a program in all namespaces of the cluster. Raise CalledProcessError."""
        assert self._child is not None
        children = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children").read_text()
        enter = ["nsenter", f"--target={children.split()[0]}", "--mount", "--net", "--pid"]
        done = subprocess.run(
            [*enter, *command], check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout


def _enter(network: int) -> None:
    if _LIBC.setns(network, _NEW_NETWORK) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _network_of(pod: Pod) -> str:
    assert pod.metadata is not None
    assert pod.metadata.uid is not None
    return f"p{pod.metadata.uid[:8]}"


def _process_of(pod: Pod, container: str) -> int:
    status = pod.status or PodStatus()
    for each in status.containerStatuses or []:
        if each.name == container and each.containerID:
            return int(each.containerID.rpartition("/")[2])
    raise LookupError(f"container {container!r} does not run")


def _is_node_ready(node: Node) -> bool:
    conditions = (node.status.conditions if node.status else None) or []
    return any(each.type == "Ready" and each.status == "True" for each in conditions)
