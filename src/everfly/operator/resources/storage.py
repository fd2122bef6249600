"""Turn secrets, snapshots and tiering into volumes, mounts, claim templates and arguments.

The order is the upstream operator's, in every list: a pod template that says the same in another
order is another template, and would restart every pod of a deployment that is taken over.
"""

from dataclasses import dataclass, field
from typing import Final

from everfly.operator.manifest import Json, JsonObject, without_empty
from everfly.operator.resources.owner import Owner, owned_labels, selector_labels
from everfly.operator.resources.probes import probe_mounts, probe_volumes
from everfly.operator.wishes.spec import SecretKey, Snapshot, Spec, Tiering

_ACL_FOLDER: Final = "/var/lib/dragonfly"
_ACL_FILE: Final = "dragonfly.acl"
_TIERING_FOLDER: Final = "/dragonfly/tiering"
_TLS_FOLDER: Final = "/etc/dragonfly-tls"
_CLIENT_CA_FOLDER: Final = "/etc/dragonfly/tls"
_CLIENT_CA_FILE: Final = "ca.crt"
_SNAPSHOTS_VOLUME: Final = "df"


@dataclass
class Storage:
    """What is added to the container, the pod and the StatefulSet, in order."""

    args: list[Json] = field(default_factory=list)
    mounts: list[JsonObject] = field(default_factory=list)
    volumes: list[JsonObject] = field(default_factory=list)
    claims: list[JsonObject] = field(default_factory=list)


def storage(spec: Spec, owner: Owner) -> Storage:
    """Return all that comes from secrets, tiering, snapshots, TLS and probe scripts."""
    made = Storage()
    if spec.acl:
        _add_secret(made, "dragonfly-acl", spec.acl, _ACL_FILE, _ACL_FOLDER)
        made.args.append(f"--aclfile={_ACL_FOLDER}/{_ACL_FILE}")
    if spec.tiering:
        _add_tiering(made, spec.tiering, spec, owner)
    if spec.snapshot:
        _add_snapshot(made, spec.snapshot, owner)
    if spec.tls_secret:
        made.volumes.append({"name": "dragonfly-tls", "secret": {"secretName": spec.tls_secret}})
        made.mounts.append({"name": "dragonfly-tls", "readOnly": True, "mountPath": _TLS_FOLDER})
        made.args += [
            "--no_tls_on_admin_port",
            "--tls",
            f"--tls_cert_file={_TLS_FOLDER}/tls.crt",
            f"--tls_key_file={_TLS_FOLDER}/tls.key",
        ]
    if client_ca := spec.authentication.client_ca:
        _add_secret(made, "client-ca-cert", client_ca, _CLIENT_CA_FILE, _CLIENT_CA_FOLDER)
        made.args.append(f"--tls_ca_cert_file={_CLIENT_CA_FOLDER}/{_CLIENT_CA_FILE}")
    made.volumes += probe_volumes(spec, owner)
    made.mounts += probe_mounts(spec)
    return made


def _add_secret(made: Storage, volume: str, secret: SecretKey, file: str, folder: str) -> None:
    items: list[Json] = [{"key": secret.key, "path": file}]
    made.volumes.append({"name": volume, "secret": {"secretName": secret.name, "items": items}})
    made.mounts.append({"name": volume, "mountPath": folder})


def _add_tiering(made: Storage, tiering: Tiering, spec: Spec, owner: Owner) -> None:
    if tiering.claim is not None:
        wanted = spec.owned_metadata
        metadata = without_empty(
            {
                "name": "tiering",
                "labels": {**wanted.labels, **owned_labels(owner)},
                "annotations": wanted.annotations,
            }
        )
        made.claims.append({"metadata": metadata, "spec": tiering.claim})
        made.mounts.append({"name": "tiering", "mountPath": _TIERING_FOLDER})
    made.args.append(f"--tiered_prefix={_TIERING_FOLDER}/vol")


def _add_snapshot(made: Storage, snapshot: Snapshot, owner: Owner) -> None:
    mount: JsonObject = {"name": _SNAPSHOTS_VOLUME, "mountPath": snapshot.directory}
    if snapshot.claim is not None:
        labels = selector_labels(owner)
        metadata: JsonObject = {"name": _SNAPSHOTS_VOLUME, "labels": labels}
        made.claims.append({"metadata": metadata, "spec": snapshot.claim})
        made.mounts.append(mount)
    if snapshot.existing_claim:
        claim = {"claimName": snapshot.existing_claim}
        made.volumes.append({"name": _SNAPSHOTS_VOLUME, "persistentVolumeClaim": claim})
        made.mounts.append(mount)
    made.args.append(f"--dir={snapshot.directory}")
    if snapshot.cron:
        made.args.append(f"--snapshot_cron={snapshot.cron}")
