"""Play the driver of a storage class whose disks can grow: what asks for more is given more.

As the real ones do it: the volume grows first, then the claim waits for its file system, which the
node of a pod that uses it makes greater; only then has the claim its new capacity. A claim that no
running pod uses keeps waiting. The folder behind a volume has no size.
"""

import asyncio
from typing import Final

from lightkube import AsyncClient
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from lightkube.types import PatchType

from .container import utc_now
from .fields import Json
from .pod import API_ERRORS

LOOK_S: Final = 0.3
_PENDING: Final = "FileSystemResizePending"


async def resize_volumes(client: AsyncClient) -> None:
    """Let volumes grow until cancelled."""
    while True:
        try:
            async for claim in client.list(PersistentVolumeClaim, namespace="*"):
                await _resize(client, claim.to_dict())
        except API_ERRORS as error:
            print(f"resizer: {error!r}", flush=True)  # noqa: T201 - the driver's log
        await asyncio.sleep(LOOK_S)


async def _resize(client: AsyncClient, claim: Json) -> None:
    spec, status = claim["spec"], claim.get("status", {})
    wanted = spec["resources"]["requests"]["storage"]
    if not spec.get("volumeName") or status.get("phase") != "Bound":
        return
    if status.get("capacity", {}).get("storage") == wanted:
        return
    name, namespace = claim["metadata"]["name"], claim["metadata"]["namespace"]
    volume = (await client.get(PersistentVolume, spec["volumeName"])).to_dict()
    change: Json = {}
    if volume["spec"]["capacity"]["storage"] != wanted:
        grown = {"spec": {"capacity": {"storage": wanted}}}
        await client.patch(PersistentVolume, spec["volumeName"], grown)
        change = {"conditions": [{"type": _PENDING, "status": "True",
                                  "lastTransitionTime": utc_now()}]}  # fmt: skip
    elif await _is_mounted(client, name, namespace):
        change = {"capacity": {"storage": wanted}, "conditions": None}
    if change:
        await client.patch(
            PersistentVolumeClaim.Status, name, {"status": change}, namespace=namespace,
            patch_type=PatchType.MERGE,
        )  # fmt: skip


async def _is_mounted(client: AsyncClient, claim: str, namespace: str) -> bool:
    async for pod in client.list(Pod, namespace=namespace):
        told = pod.to_dict()
        volumes = told["spec"].get("volumes") or []
        claims = [each.get("persistentVolumeClaim", {}).get("claimName") for each in volumes]
        if claim in claims and told.get("status", {}).get("phase") == "Running":
            return True
    return False
