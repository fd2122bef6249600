"""Turn what a pod says of its environment into names and values."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.resources.core_v1 import ConfigMap, Secret

Json = dict[str, Any]

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE: Final = re.compile(r"\$\(([A-Za-z0-9_.-]+)\)")


class ConfigError(Exception):
    """What a container needs is not there: a key, a configMap, a secret."""


def field_value(pod: Json, path: str, addresses: Mapping[str, str]) -> str:
    """Return a field for the downward API; empty when it is not there."""
    if path in addresses:
        return addresses[path]
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
        return str(pod["metadata"].get(match[1], {}).get(match[2], ""))
    value: Any = pod
    for key in path.split("."):
        value = value.get(key, "") if isinstance(value, dict) else ""
    if isinstance(value, dict):
        return "\n".join(f'{key}="{each}"' for key, each in value.items())
    return str(value)


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with `$(NAME)` replaced where NAME is known."""
    return _REFERENCE.sub(lambda found: environment.get(found[1], found[0]), text)


class Sources:
    """The configMaps and secrets of a namespace, as bytes by key."""

    def __init__(self, client: AsyncClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def config_map(self, name: str) -> dict[str, bytes]:
        found = await self._get(ConfigMap, name)
        texts = {key: text.encode() for key, text in (found.get("data") or {}).items()}
        binary = found.get("binaryData") or {}
        return texts | {key: base64.b64decode(text) for key, text in binary.items()}

    async def secret(self, name: str) -> dict[str, bytes]:
        found = await self._get(Secret, name)
        return {key: base64.b64decode(text) for key, text in (found.get("data") or {}).items()}

    async def _get(self, kind: type[ConfigMap] | type[Secret], name: str) -> Json:
        try:
            found = await self._client.get(kind, name, namespace=self._namespace)
        except ApiError as error:
            raise ConfigError(f"{kind.__name__.lower()} {name!r}: {error}") from error
        return found.to_dict()


async def environment_of(
    container: Json, pod: Json, sources: Sources, addresses: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of a container. Raise ConfigError for what is not there."""
    variables = {"PATH": _PATH, "HOME": "/root", "HOSTNAME": pod["metadata"]["name"]}
    for each in container.get("envFrom", []):
        variables |= await _all_of(each, sources)
    for each in container.get("env", []):
        value = await _value(each, pod, sources, addresses)
        if value is not None:
            variables[each["name"]] = expanded(value, variables)
    return variables


async def _all_of(source: Json, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix", "")
    if reference := source.get("configMapRef"):
        found = await sources.config_map(reference["name"])
    else:
        found = await sources.secret(source["secretRef"]["name"])
    return {f"{prefix}{key}": value.decode() for key, value in found.items()}


async def _value(
    variable: Json, pod: Json, sources: Sources, addresses: Mapping[str, str]
) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return str(variable.get("value", ""))
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"], addresses)
    if reference := source.get("configMapKeyRef"):
        found = await sources.config_map(reference["name"])
    elif reference := source.get("secretKeyRef"):
        found = await sources.secret(reference["name"])
    else:
        raise ConfigError(f"variable {variable['name']}: cannot be taken from {list(source)}")
    if reference["key"] not in found:
        if reference.get("optional"):
            return None
        raise ConfigError(f"variable {variable['name']}: {reference['name']} has no key "
                          f"{reference['key']!r}")  # fmt: skip
    return found[reference["key"]].decode()
