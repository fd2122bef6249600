"""Turn the wish for probe scripts into probes, volumes, mounts and configMaps.

Without a script of the user's the image's own check is asked over the admin port; it looks whether
the port is open, and a frozen process keeps it open. Where it is asked for, the process itself has
to answer. With a script all three probes become scripts, and those that the user did not give are
ours: a configMap each.
"""

from dataclasses import dataclass
from importlib import resources as package_files
from typing import Final

from everfly.operator.manifest import Json, JsonObject
from everfly.operator.resources.metadata import owned_metadata
from everfly.operator.resources.owner import Owner
from everfly.operator.resources.ports import ADMIN_PORT_NAME
from everfly.operator.wishes.spec import ProbeScripts, Spec

_FOLDER: Final = "/etc/dragonfly/probes"
_IMAGE_CHECK: Final = "/usr/local/bin/healthcheck.sh"


@dataclass(frozen=True)
class _Script:
    """One of the three; `probe` is its field in a container."""

    name: str
    probe: str
    users: str

    @property
    def volume(self) -> str:
        return f"{self.name}-probe"

    @property
    def key(self) -> str:
        return f"{self.name}-check.sh"

    def config_map(self, owner: Owner) -> str:
        return self.users or f"{owner.name}-{self.volume}"


def _scripts(wanted: ProbeScripts) -> list[_Script]:
    return [
        _Script("liveness", "livenessProbe", wanted.liveness),
        _Script("readiness", "readinessProbe", wanted.readiness),
        _Script("startup", "startupProbe", wanted.startup),
    ]


def probes(spec: Spec) -> dict[str, Json]:
    """Return the probe fields of the container."""
    if spec.extras.asks_for_answers and not spec.probes.are_used:
        return {
            # It ends a process that hangs: as patient as the image's own check.
            "livenessProbe": _question(period_s=10, timeout_s=5) | {"initialDelaySeconds": 10},
            # Six seconds without an answer: with the operator's own questions that is a failover.
            "readinessProbe": _question(period_s=2, timeout_s=1),
        }
    if not spec.probes.are_used:
        return {
            "livenessProbe": _probe(_IMAGE_CHECK, period_s=10, failures=3, delay_s=10),
            "readinessProbe": _probe(_IMAGE_CHECK, period_s=10, failures=3, delay_s=10),
        }
    return {
        each.probe: _probe(
            f"{_FOLDER}/{each.key}",
            # Five minutes to start: a dataset is read from disk.
            **({"period_s": 5, "failures": 60, "delay_s": 0}
               if each.name == "startup"
               else {"period_s": 10, "failures": 3, "delay_s": 10}),
        )
        for each in _scripts(spec.probes)
    }  # fmt: skip


def _question(*, period_s: int, timeout_s: int) -> dict[str, Json]:
    # Source: `/healthz` of the HTTP console, dragonfly/src/server (1.40).
    return {
        "httpGet": {"path": "/healthz", "port": ADMIN_PORT_NAME, "scheme": "HTTP"},
        "failureThreshold": 3,
        "periodSeconds": period_s,
        "successThreshold": 1,
        "timeoutSeconds": timeout_s,
    }


def _probe(script: str, *, period_s: int, failures: int, delay_s: int) -> JsonObject:
    probe: dict[str, Json] = {
        "exec": {"command": ["/bin/sh", script]},
        "failureThreshold": failures,
        "periodSeconds": period_s,
        "successThreshold": 1,
        "timeoutSeconds": 5,
    }
    return {**probe, "initialDelaySeconds": delay_s} if delay_s else probe


def probe_volumes(spec: Spec, owner: Owner) -> list[JsonObject]:
    """Return the volumes of the three scripts, when the user gave one of them."""
    if not spec.probes.are_used:
        return []
    return [
        {"name": each.volume, "configMap": {"name": each.config_map(owner)}}
        for each in _scripts(spec.probes)
    ]


def probe_mounts(spec: Spec) -> list[JsonObject]:
    """Return their mounts in the container."""
    if not spec.probes.are_used:
        return []
    return [
        {"name": each.volume, "mountPath": f"{_FOLDER}/{each.key}", "subPath": each.key}
        for each in _scripts(spec.probes)
    ]


def probe_config_maps(spec: Spec, owner: Owner) -> list[JsonObject]:
    """Return the configMaps of the scripts that the user did not give."""
    if not spec.probes.are_used:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": owned_metadata(each.config_map(owner), owner, spec.owned_metadata),
            "data": {each.key: _text(each.key)},
        }
        for each in _scripts(spec.probes)
        if not each.users
    ]


def _text(name: str) -> str:
    folder = package_files.files("everfly.operator.resources")
    return folder.joinpath("scripts", name).read_text(encoding="utf-8")
