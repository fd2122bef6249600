"""Start a Sentinel front beside a data store, with exactly the rights of the sample manifest."""

import contextlib
import json
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import yaml
from controlplane.cluster import Cluster
from lightkube import Client, codecs
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ServiceAccountToken

from processes import Child, Connection, free_port, until

SAMPLE = (
    Path(__file__).resolve().parents[2]
    / "deploy"
    / "kubernetes"
    / "samples"
    / "sentinel-front.yaml"
)
RIGHTS = ("ServiceAccount", "Role", "RoleBinding")
OUTSIDE = "10.244.0.1"
"""The address at which pods reach what a test runs in the cluster's network."""


def rights_of_the_sample(
    cluster: Cluster, client: Client, namespace: str, folder: Path, *, may_switch: bool = False
) -> Path:
    """Give a front its rights in a namespace; return the kubeconfig of its account."""
    text = SAMPLE.read_text().replace("everfly-operator-system", namespace)
    text = text.replace("namespace: default", f"namespace: {namespace}")
    name = ""
    for each in yaml.safe_load_all(text):
        if each["kind"] not in RIGHTS:
            continue
        if each["kind"] == "ServiceAccount":
            name = each["metadata"]["name"]
        if each["kind"] == "Role" and may_switch:
            # As `sentinelFront.allowSwitchover` of the chart does.
            each["rules"][0]["verbs"].append("patch")
        client.create(codecs.from_dict(each))
    request = ServiceAccountToken(
        metadata=ObjectMeta(name=name, namespace=namespace), spec=TokenRequestSpec(audiences=[])
    )
    token = client.create(request, name, namespace=namespace).status
    assert token is not None
    return cluster.kubeconfig_for(token.token, folder / f"front-{secrets.token_hex(3)}.kubeconfig")


def through(relay: "Relay", kubeconfig: Path) -> Path:
    """Lead a kubeconfig through a relay, from now on."""
    config = json.loads(kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
    kubeconfig.write_text(json.dumps(config))
    return kubeconfig


class FrontProcess:
    """One front, the real program, in the cluster's network."""

    def __init__(self, kubeconfig: Path, folder: Path, *flags: str) -> None:
        self.port = free_port()
        self.health_port = free_port()
        command = [
            sys.executable, "-m", "everfly", "k8s", f"--kubeconfig={kubeconfig}", "front",
            f"--bind=0.0.0.0:{self.port}",
            f"--health-probe-bind-address=127.0.0.1:{self.health_port}", *flags,
        ]  # fmt: skip
        self.child = Child(command, folder / f"front-{secrets.token_hex(3)}.log")

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(f"http://127.0.0.1:{self.health_port}{path}", timeout=5)

    def wait_ready(self) -> None:
        until(
            lambda: self.get("/readyz").status_code == httpx2.codes.OK,
            30,
            show=self.child.log_tail,
            despite=(httpx2.HTTPError,),
        )

    def ask(self, *words: str) -> Any:
        with Connection(self.port, timeout_s=15) as connection:
            return connection.call(*words)

    def primary(self, name: str) -> tuple[str, int] | None:
        """Return where clients are told to go."""
        place = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        return None if place is None else (place[0].decode(), int(place[1]))

    def fields(self, *words: str) -> dict[str, str]:
        flat = [each.decode() for each in self.ask("SENTINEL", *words)]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def info(self) -> dict[str, str]:
        text = self.ask("INFO").decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


@contextlib.contextmanager
def running_front(kubeconfig: Path, folder: Path, *flags: str) -> Iterator[FrontProcess]:
    """Run a front that is ready; show its log when a test fails."""
    front = FrontProcess(kubeconfig, folder, *flags)
    try:
        front.wait_ready()
        yield front
    except BaseException:
        print(front.child.log_tail())  # noqa: T201 - shown with the failure
        raise
    finally:
        front.child.kill()


class Relay:
    """The way to the API server, which can be cut and joined again, for one client of it."""

    def __init__(self, port_beyond: int) -> None:
        self.port = free_port()
        self._beyond = port_beyond
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listening: socket.socket | None = None

    def join(self) -> None:
        """Let connections through."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept, self._listening)

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        listening, self._listening = self._listening, None
        for each in [listening, *self._sockets]:
            if each is not None:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in [listening, *self._sockets]:
            if each is not None:
                each.close()
        self._sockets.clear()
        self._threads.clear()

    def _start(self, work: Callable[..., None], *args: socket.socket) -> None:
        # Threads of a thread inside the cluster's network are inside it.
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(("127.0.0.1", self._beyond))
                self._sockets += [near, far]
                self._start(self._pump, near, far)
                self._start(self._pump, far, near)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
