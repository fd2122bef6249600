"""Turn the volumes of a pod into folders, and keep those that come from the API up to date.

As in a real kubelet a folder of keys is a link that is swapped in one step, so that a reader sees
all old or all new files; a file mounted by `subPath` keeps what it had.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, ServiceAccountToken

from .fields import ConfigError, Json, Sources, field_value

TOKEN_S: Final = 3600
_DATA: Final = "..data"


class Volumes:
    """The folders of one pod's volumes, below `folder`."""

    def __init__(self, client: AsyncClient, folder: Path, addresses: Mapping[str, str]) -> None:
        self._client = client
        self._folder = folder
        self._addresses = addresses
        self._written: dict[str, dict[str, bytes]] = {}
        self._tokens: dict[str, bytes] = {}
        self.paths: dict[str, Path] = {}

    async def set_up(self, pod: Json) -> None:
        """Make all folders. Raise ConfigError when a source is not there."""
        for volume in pod["spec"].get("volumes", []):
            self.paths[volume["name"]] = await self._path(volume, pod)

    async def refresh(self, pod: Json) -> None:
        """Write again what comes from the API and has changed. Sources that are gone keep."""
        for volume in pod["spec"].get("volumes", []):
            if volume["name"] in self._written:
                self._write(volume["name"], await self._files(volume, pod))

    async def _path(self, volume: Json, pod: Json) -> Path:
        name = volume["name"]
        folder = self._folder / name
        if "hostPath" in volume:
            return Path(str(volume["hostPath"]["path"]))
        if claim := volume.get("persistentVolumeClaim"):
            return await self._claimed(claim["claimName"], pod["metadata"]["namespace"])
        folder.mkdir(parents=True, exist_ok=True)
        if "emptyDir" not in volume:
            self._write(name, await self._files(volume, pod))
        return folder

    async def _claimed(self, name: str, namespace: str) -> Path:
        try:
            claim = await self._client.get(PersistentVolumeClaim, name, namespace=namespace)
            assert claim.spec is not None
            if not claim.spec.volumeName:
                raise ConfigError(f"persistentvolumeclaim {name!r} is not bound")
            volume = (await self._client.get(PersistentVolume, claim.spec.volumeName)).to_dict()
        except ApiError as error:
            raise ConfigError(f"persistentvolumeclaim {name!r}: {error}") from error
        path: str = volume["spec"]["hostPath"]["path"]
        return _made(Path(path))

    async def _files(self, volume: Json, pod: Json) -> dict[str, bytes]:
        sources = Sources(self._client, pod["metadata"]["namespace"])
        if source := volume.get("projected"):
            files: dict[str, bytes] = {}
            for each in source["sources"]:
                files |= await self._projected(each, pod, sources)
            return files
        if source := volume.get("secret"):
            # Only as a volume of its own is the name of a secret called secretName.
            return await self._projected({"secret": {**source, "name": source["secretName"]}},
                                         pod, sources)  # fmt: skip
        return await self._projected(volume, pod, sources)

    async def _projected(self, source: Json, pod: Json, sources: Sources) -> dict[str, bytes]:
        if wanted := source.get("downwardAPI"):
            return {
                item["path"]: field_value(
                    pod, item["fieldRef"]["fieldPath"], self._addresses
                ).encode()
                for item in wanted["items"]
            }
        if wanted := source.get("serviceAccountToken"):
            return {wanted["path"]: await self._token(wanted, pod)}
        wanted = source.get("configMap") or source.get("secret")
        if not wanted:
            raise ConfigError(f"no volume can be made of {sorted(source)}")
        read = sources.config_map if "configMap" in source else sources.secret
        try:
            return _picked(await read(wanted["name"]), wanted)
        except ConfigError:
            if wanted.get("optional"):
                return {}
            raise

    async def _token(self, wanted: Json, pod: Json) -> bytes:
        audience = wanted.get("audience", "")
        if audience not in self._tokens:
            account = pod["spec"]["serviceAccountName"]
            namespace = pod["metadata"]["namespace"]
            request = ServiceAccountToken(
                metadata=ObjectMeta(name=account, namespace=namespace),
                spec=TokenRequestSpec(
                    audiences=[audience] if audience else [],
                    expirationSeconds=wanted.get("expirationSeconds", TOKEN_S),
                ),
            )
            made = await self._client.create(request, account, namespace=namespace)
            assert made.status is not None
            assert made.status.token is not None
            self._tokens[audience] = made.status.token.encode()
        return self._tokens[audience]

    def _write(self, name: str, files: dict[str, bytes]) -> None:
        if self._written.get(name) == files:
            return
        folder = self._folder / name
        is_first = name not in self._written
        number = 0 if is_first else int((folder / _DATA).readlink().suffix[1:]) + 1
        version = folder / f"..version.{number}"
        for path, data in files.items():
            file = version / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        version.mkdir(exist_ok=True)
        link = folder / "..next"
        link.symlink_to(version.name)
        link.rename(folder / _DATA)
        for path in files:
            visible = folder / Path(path).parts[0]
            if not visible.is_symlink():
                visible.symlink_to(f"{_DATA}/{visible.name}")
        for path in self._written.get(name, {}).keys() - files.keys():
            (folder / Path(path).parts[0]).unlink(missing_ok=True)
        self._written[name] = files

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _picked(found: dict[str, bytes], wanted: Mapping[str, Any]) -> dict[str, bytes]:
    if not wanted.get("items"):
        return found
    for item in wanted["items"]:
        if item["key"] not in found:
            raise ConfigError(f"{wanted['name']} has no key {item['key']!r}")
    return {item["path"]: found[item["key"]] for item in wanted["items"]}
