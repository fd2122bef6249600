"""Turn flags and environment into what an operator needs to know. Those of the upstream operator.

    --metrics-bind-address=:8080        where metrics are read; 0: nowhere
    --health-probe-bind-address=:8081   where /healthz and /readyz are; 0: nowhere
    --dragonfly-image=IMAGE             for resources that name none
    --leader-elect                      several operators take turns
    --watch-current-namespace           only that of the kubeconfig's current context
    WATCH_NAMESPACE=a,b                 only these (empty: all)
    POD_NAMESPACE=NAME                  where the operator itself runs
    ENDPOINT_IMAGE=IMAGE                for endpoints that name none: our own
    SENTINEL_FRONT=HOST:PORT            whom endpoints ask for the primary: our own
    POD_NAME=NAME                       of its pod: our own. After a restart of its container it
                                        takes its lease back at once instead of after 15 s
    METRICS_NAMESPACE=NAME              where Prometheus runs: whom data stores that it is told to
                                        read let in
    NODE_NAME=NAME                      on which machine it runs. A second operator on another one
                                        is a witness for what this one cannot reach

Source: cmd/main.go, dragonfly-operator (v1.6.1).
"""

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError

NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class Bind:
    """Where to listen."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator needs to know."""

    metrics: Bind | None = None
    health: Bind | None = None
    image: str = ""
    elects_leader: bool = False
    watches_current: bool = False
    kubeconfig: str = ""
    namespaces: tuple[str, ...] = ()
    """Empty: all."""
    own_namespace: str = ""
    """Empty: not known."""
    own_pod: str = ""
    """Empty: not known. In one pod one operator runs at a time."""
    metrics_namespace: str = ""
    """Where Prometheus runs; empty: not said."""
    own_host: str = ""
    """Its machine; empty: not known."""
    endpoint_image: str = ""
    """Of endpoints that name none."""
    sentinels: str = ""
    """Who tells endpoints where the primary is; empty: nobody is known."""


def read_bind(text: str, flag: str) -> Bind | None:
    """Return where to listen: `HOST:PORT`, `:PORT`, or `0` for nowhere. Raise SettingsError."""
    if text in ("", "0"):
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > PORT_MAX:
        raise SettingsError(f"{flag}: {text!r} is no HOST:PORT; give one such as :8080, or 0")
    return Bind(host.strip("[]"), int(port))


def namespaces_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the namespaces of WATCH_NAMESPACE; empty: all."""
    text = environment.get("WATCH_NAMESPACE", "")
    return tuple(each.strip() for each in text.split(",") if each.strip())


def own_namespace_of(environment: Mapping[str, str], file: Path = NAMESPACE_FILE) -> str:
    """Return where the operator runs, or an empty text."""
    if found := environment.get("POD_NAMESPACE", ""):
        return found
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def new_identity(pod: str) -> str:
    """Return a name for this process among operators, which no other one ever had."""
    host = pod or os.environ.get("HOSTNAME") or socket.gethostname()
    return f"{host}_{uuid.uuid4()}"
