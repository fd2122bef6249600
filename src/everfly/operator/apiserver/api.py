"""Turn calls into requests to the API server, with plain JSON objects in and out.

Rules: every request has a limit; an error of the API server is one of `everfly.errors`, with the
status code, so that nobody else knows the client library.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from enum import Enum
from typing import Any, Final

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import PatchType

from everfly.errors import EverflyError, SettingsError, Unavailable
from everfly.operator.manifest import JsonObject
from everfly.operator.names import FIELD_MANAGER, GROUP, KIND, PLURAL, VERSION

TIMEOUT_S: Final = 10.0
"""Of one request. A healthy API server takes milliseconds."""
WATCH_S: Final = 60
"""After which the API server ends a watch, and it is made anew from where it was."""
WATCH_SILENCE_S: Final = 75.0
"""After which a watch without a word is a connection that died without anybody noticing."""

Object = dict[str, Any]
"""What the API server says an object is."""
Resource = type[Any]
"""A kind of objects, of the client library."""

DRAGONFLY: Final = create_namespaced_resource(GROUP, VERSION, KIND, PLURAL)
DRAGONFLY_STATUS: Final = DRAGONFLY.Status
POD: Final = create_namespaced_resource("", "v1", "Pod", "pods")
POD_STATUS: Final = POD.Status
SERVICE: Final = create_namespaced_resource("", "v1", "Service", "services")
CONFIG_MAP: Final = create_namespaced_resource("", "v1", "ConfigMap", "configmaps")
SECRET: Final = create_namespaced_resource("", "v1", "Secret", "secrets")
CLAIM: Final = create_namespaced_resource(
    "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"
)
EVENT: Final = create_namespaced_resource("", "v1", "Event", "events")
STORAGE_CLASS: Final = create_global_resource(
    "storage.k8s.io", "v1", "StorageClass", "storageclasses"
)
CONTROLLER_REVISION: Final = create_namespaced_resource(
    "apps", "v1", "ControllerRevision", "controllerrevisions"
)
STATEFUL_SET: Final = create_namespaced_resource("apps", "v1", "StatefulSet", "statefulsets")
DEPLOYMENT: Final = create_namespaced_resource("apps", "v1", "Deployment", "deployments")
BUDGET: Final = create_namespaced_resource(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"
)
NETWORK_POLICY: Final = create_namespaced_resource(
    "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"
)
POD_MONITOR: Final = create_namespaced_resource(
    "monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"
)
PROMETHEUS_RULE: Final = create_namespaced_resource(
    "monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"
)
LEASE: Final = create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases")
NODE: Final = create_global_resource("", "v1", "Node", "nodes")

BY_KIND: Final[dict[str, Resource]] = {
    "StatefulSet": STATEFUL_SET,
    "Deployment": DEPLOYMENT,
    "Service": SERVICE,
    "ConfigMap": CONFIG_MAP,
    "PodDisruptionBudget": BUDGET,
    "NetworkPolicy": NETWORK_POLICY,
}


class Refused(EverflyError):  # noqa: N818 - it names an answer
    """The API server answered with an error."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"the API server answers {code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class Patch(Enum):
    """How a change is written."""

    MERGE = PatchType.MERGE
    STRATEGIC = PatchType.STRATEGIC


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        status = error.status
        raise Refused(status.code or 0, status.reason or "", status.message or "") from error
    except httpx2.HTTPStatusError as error:
        code = error.response.status_code
        raise Refused(code, error.response.reason_phrase, "no further word") from error
    except (httpx2.HTTPError, OSError) as error:
        what = str(error) or type(error).__name__
        raise Unavailable(f"the API server cannot be reached: {what}") from error


class Api:
    """The API server, as one identity. End it with `close`."""

    def __init__(self, config: KubeConfig | None = None) -> None:
        try:
            chosen = config or KubeConfig.from_env()
            # Its overloads know no kind that is chosen at run time.
            self._client: Any = AsyncClient(
                chosen,
                timeout=httpx2.Timeout(TIMEOUT_S),
                field_manager=FIELD_MANAGER,
                trust_env=False,
            )
        except ConfigError as error:
            raise SettingsError(f"no way to the API server is configured: {error}") from error
        # The library waits for ever for the next word of a watch.
        self._client._client._watch_timeout.read = WATCH_SILENCE_S  # noqa: SLF001 - no other way
        self.namespace: str = self._client.namespace
        """Where the identity is at home."""

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()

    async def get(self, kind: Resource, name: str, namespace: str | None = None) -> Object | None:
        """Return an object, or None if there is none. Raise Refused, Unavailable."""
        try:
            with _translated():
                return dict(await self._client.get(kind, name, **_within(namespace)))
        except Refused as error:
            if error.code == httpx2.codes.NOT_FOUND:
                return None
            raise

    async def list(
        self, kind: Resource, namespace: str | None, labels: dict[str, str] | None
    ) -> tuple[list[Object], str]:
        """Return all objects and the version of the collection. Raise Refused, Unavailable."""
        with _translated():
            found = self._client.list(kind, **_within(namespace), labels=labels, chunk_size=500)
            objects = [dict(each) async for each in found]
            return objects, found.resourceVersion

    async def watch(
        self, kind: Resource, namespace: str | None, labels: dict[str, str] | None, version: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield changes after a version until the API server ends it. Raise Refused, Unavailable.

        Refused with code 410: the version is too old, list again.
        """
        with _translated():
            stream = self._client.watch(
                kind,
                **_within(namespace),
                labels=labels,
                resource_version=version,
                server_timeout=WATCH_S,
            )
            async with contextlib.aclosing(stream):
                async for verb, item in stream:
                    yield verb, dict(item)

    async def patch(
        self, kind: Resource, name: str, namespace: str | None, change: Any, how: Patch
    ) -> Object:
        """Change an object, return what it is now. Raise Refused, Unavailable."""
        with _translated():
            done = await self._client.patch(
                kind, name, change, patch_type=how.value, **_within(namespace)
            )
            return dict(done)

    async def apply(
        self, kind: Resource, name: str, namespace: str, manifest: JsonObject, *, force: bool
    ) -> Object:
        """Apply a manifest by server-side apply. Raise Refused (409: others own fields of it)."""
        with _translated():
            done = await self._client.patch(
                kind,
                name,
                dict(manifest),
                patch_type=PatchType.APPLY,
                force=force,
                namespace=namespace,
            )
            return dict(done)

    async def create(self, kind: Resource, namespace: str, manifest: JsonObject) -> Object:
        """Create an object. Raise Refused (409: there is one), Unavailable."""
        with _translated():
            return dict(await self._client.create(kind(manifest), namespace=namespace))

    async def replace(self, kind: Resource, namespace: str, manifest: JsonObject) -> Object:
        """Replace an object of the version in the manifest. Raise Refused (409: it changed)."""
        with _translated():
            return dict(await self._client.replace(kind(manifest), namespace=namespace))

    async def delete(self, kind: Resource, name: str, namespace: str) -> None:
        """Delete an object; harmless when there is none. Raise Refused, Unavailable."""
        try:
            with _translated():
                await self._client.delete(kind, name, namespace=namespace)
        except Refused as error:
            if error.code != httpx2.codes.NOT_FOUND:
                raise

    async def delete_very(
        self, kind: Resource, place: tuple[str, str], uid: str, *, is_orphaning: bool = False
    ) -> None:
        """Delete that very object of a namespace and name, and not another of the same name.

        `is_orphaning` leaves what belongs to it. Harmless when it is gone. Raise Refused,
        Unavailable.
        """
        namespace, name = place
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if is_orphaning:
            options["propagationPolicy"] = "Orphan"
        # The library has no way to say whom exactly is meant.
        plain = self._client._client  # noqa: SLF001 - no other way
        request = plain.prepare_request("delete", kind, name=name, namespace=namespace)
        request.data = options
        try:
            with _translated():
                plain.raise_for_status(await plain.send(plain.build_adapter_request(request)))
        except Refused as error:
            if error.code not in (httpx2.codes.NOT_FOUND, httpx2.codes.CONFLICT):
                raise


def _within(namespace: str | None) -> dict[str, str]:
    return {} if namespace is None else {"namespace": namespace}
