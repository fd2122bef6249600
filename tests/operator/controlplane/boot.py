"""Turn empty namespaces into a running cluster: the first process in all of them.

Reads the description that `cluster.py` writes, starts the control plane and plays the nodes, writes
the file `ready`, and runs until it is told to end or a program of the control plane ends. Whatever
it starts or mounts ends with it: the namespaces are its own, and its state is in memory.
"""

import asyncio
import json
import os
import signal
import ssl
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lightkube import AsyncClient, KubeConfig

from .credentials import ADMIN_TOKEN, make_credentials
from .kubelet.network import set_up_bridge
from .kubelet.node import PlayedNode
from .kubelet.resizer import resize_volumes
from .kubelet.settings import STATE, Image, KubeletSettings, NodeShape
from .kubelet.shell import run

START_S: Final = 90.0
"""The API server takes six seconds on an idle machine."""
LOOK_S: Final = 0.1
API_PORT: Final = 6443
HOST_PATHS: Final = "/tmp/hostpath_pv"
"""Where the controllers make the folders of persistent volumes."""

CONTROLLERS: Final = (
    "clusterrole-aggregation", "cronjob", "daemonset", "deployment", "disruption", "endpoint",
    "endpointslice", "garbagecollector", "horizontalpodautoscaling", "job", "namespace",
    "nodelifecycle", "persistentvolume-binder", "persistentvolume-expander", "podgc",
    "pv-protection", "pvc-protection", "replicaset", "root-ca-cert-publisher", "serviceaccount",
    "serviceaccount-token", "statefulset", "ttl",
)  # fmt: skip


@dataclass(frozen=True)
class Boot:
    """What `cluster.py` writes: where things are, and the shape of the cluster."""

    binaries: str
    folder: str
    nodes: list[NodeShape]
    images: list[Image]
    definitions: list[object]
    """Of custom resources that exist before the controllers look for kinds."""
    node_grace_s: int
    speed: float

    @classmethod
    def read(cls, file: Path) -> "Boot":
        told: dict[str, Any] = json.loads(file.read_text())
        told["nodes"] = [NodeShape(**each) for each in told["nodes"]]
        told["images"] = [Image(**each) for each in told["images"]]
        return cls(**told)


class ControlPlane:
    """The programs of the control plane, as children."""

    def __init__(self, boot: Boot, folder: Path) -> None:
        self.boot = boot
        self.folder = folder
        self.children: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, program: str, *options: str) -> None:
        with (self.folder / f"{program}.log").open("ab") as log:
            self.children[program] = await asyncio.create_subprocess_exec(
                str(Path(self.boot.binaries, program)), *options,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def ended(self) -> str:
        """Return the name of the first program that ends."""
        waits = {asyncio.create_task(child.wait()): name for name, child in self.children.items()}
        done, others = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        return waits[done.pop()]

    async def start_api(self) -> None:
        etcd = "http://127.0.0.1:2379"
        peers = "http://127.0.0.1:2380"
        await self.start(
            "etcd", f"--data-dir={STATE}/etcd", f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}",
        )  # fmt: skip
        keys = STATE / "keys"
        await self.start(
            "kube-apiserver", f"--etcd-servers={etcd}", f"--secure-port={API_PORT}",
            "--bind-address=0.0.0.0", "--insecure-port=0", "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none", f"--cert-dir={keys}",
            f"--tls-cert-file={keys}/api.crt", f"--tls-private-key-file={keys}/api.key",
            f"--token-auth-file={keys}/tokens.csv", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys}/accounts.key",
            f"--service-account-signing-key-file={keys}/accounts.key",
            "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true",
            # Pods would need a mounted token each; those that want one ask for a projected one.
            "--disable-admission-plugins=ServiceAccount", "--profiling=false",
        )  # fmt: skip
        await self._until_ready()

    async def start_controllers(self) -> None:
        keys = STATE / "keys"
        kubeconfig = f"--kubeconfig={self.folder}/admin.kubeconfig"
        await self.start(
            "kube-controller-manager", kubeconfig, "--authentication-skip-lookup=true",
            "--leader-elect=false", "--bind-address=127.0.0.1", "--port=0", f"--cert-dir={keys}",
            f"--controllers={','.join(CONTROLLERS)}", "--use-service-account-credentials=false",
            f"--service-account-private-key-file={keys}/accounts.key",
            f"--root-ca-file={keys}/api.crt", "--enable-hostpath-provisioner=true",
            "--node-monitor-period=1s", f"--node-monitor-grace-period={self.boot.node_grace_s}s",
            "--kube-api-qps=200", "--kube-api-burst=400",
        )  # fmt: skip
        await self.start(
            "kube-scheduler", kubeconfig, "--authentication-skip-lookup=true",
            "--leader-elect=false", "--bind-address=127.0.0.1", "--port=0", f"--cert-dir={keys}",
            "--kube-api-qps=200", "--kube-api-burst=400",
        )  # fmt: skip

    async def _until_ready(self) -> None:
        """Return when the API server says that it is ready. Raise TimeoutError."""
        trust = ssl.create_default_context(cafile=f"{STATE}/keys/api.crt")

        def ask() -> bool:
            try:
                self.request("GET", "/readyz", trust=trust)
            except OSError:
                return False
            return True

        async with asyncio.timeout(START_S):
            while True:
                if ask():
                    break
                await asyncio.sleep(LOOK_S)
        for definition in self.boot.definitions:
            place = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            self.request("POST", place, trust=trust, body=definition)

    def request(
        self, method: str, path: str, *, trust: ssl.SSLContext, body: object = None
    ) -> None:
        """Send one request to the API server. Raise OSError, with the reason of a refusal."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{API_PORT}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, context=trust, timeout=5) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            raise OSError(f"{method} {path}: {error}: {error.read(2000)!r}") from error


async def main(file: Path) -> int:
    boot = Boot.read(file)
    folder = STATE / "outside"
    await _own_file_systems(Path(boot.folder), folder)
    await set_up_bridge()
    make_credentials(STATE / "keys", folder / "admin.kubeconfig", API_PORT)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    plane = ControlPlane(boot, folder)
    await plane.start_api()
    await plane.start_controllers()
    settings = KubeletSettings(
        folder / "admin.kubeconfig", folder, boot.nodes, boot.images, speed=boot.speed
    )
    client = AsyncClient(KubeConfig.from_file(settings.kubeconfig), trust_env=False)
    nodes = [
        PlayedNode(shape, number, client, settings)
        for number, shape in enumerate(boot.nodes, start=1)
    ]
    working = [asyncio.create_task(node.run()) for node in nodes]
    working.append(asyncio.create_task(_fail_at_end(plane)))
    working.append(asyncio.create_task(resize_volumes(client)))
    waiting = asyncio.create_task(ending.wait())
    done, _ = await asyncio.wait([*working, waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {waiting}:
        task.result()
    await client.close()
    return 0


async def _fail_at_end(plane: ControlPlane) -> None:
    raise RuntimeError(f"{await plane.ended()} ended; see its log")


async def _own_file_systems(outside: Path, folder: Path) -> None:
    """Keep all that is written in memory, except what `outside` is to see at `folder`."""
    # Reached by its own folder, whatever is mounted over the path to it.
    descriptor = os.open(outside, os.O_PATH | os.O_DIRECTORY)
    await run("mount", "-t", "tmpfs", "tmpfs", "/run")
    await run("mkdir", "--parents", str(folder))
    await run("mount", "--bind", f"/proc/{os.getpid()}/fd/{descriptor}", str(folder))
    os.close(descriptor)
    own = ("etcd", "volumes", "containers", "keys", "tmp/upper", "tmp/work")
    folders = [f"{STATE}/{name}" for name in own]
    await run("mkdir", "--parents", "--mode=700", "/run/netns", *folders)
    # What is there may be the checkout itself, so it stays visible.
    layers = f"lowerdir=/tmp,upperdir={STATE}/tmp/upper,workdir={STATE}/tmp/work"
    await run("mount", "-t", "overlay", "overlay", "-o", layers, "/tmp")
    await run("mkdir", "--parents", HOST_PATHS)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]))))
