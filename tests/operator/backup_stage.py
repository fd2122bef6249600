"""Claims, backups and schedules for the tests on the cluster."""

import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from lightkube import Client
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from stage import Store, disks

from everfly.operator.backups.names import API_VERSION, BACKUP, BACKUP_KIND, SCHEDULE, SCHEDULE_KIND


def make_claim(client: Client, name: str = "backups") -> str:
    """Create a claim of a disk that outlives all pods, and return its name."""
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": disks(client),
    }
    client.create(PersistentVolumeClaim.from_dict(body))
    return name


@dataclass
class Backup:
    """One backup of a data store."""

    store: Store
    name: str = "first"

    def create(
        self, claim: str = "backups", *, labels: dict[str, str] | None = None, **spec: Any
    ) -> "Backup":
        place = {"name": self.name, "namespace": self.store.namespace}
        body = {
            "apiVersion": API_VERSION,
            "kind": BACKUP_KIND,
            "metadata": place | {"labels": labels or {}},
            "spec": {"store": self.store.name, "to": {"volume": {"claimName": claim}}} | spec,
        }
        self.store.client.create(BACKUP(body))
        return self

    @property
    def item(self) -> Any:
        return self.store.client.get(BACKUP, self.name)

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.item.get("status") or {})

    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    def wait(self, phase: str = "Completed", within_s: float = 90.0) -> dict[str, Any]:
        """Return its status once it has a phase."""
        self.store.wait(lambda: self._check(phase), within_s)
        return self.status

    def _check(self, phase: str) -> bool:
        found = self.phase()
        assert found == phase, self.status
        return True

    def delete(self) -> None:
        self.store.client.delete(BACKUP, self.name)

    def ferries(self) -> list[Pod]:
        labels = {"app.kubernetes.io/name": "dragonfly-ferry"}
        return list(self.store.client.list(Pod, labels=labels))


class BucketServer:
    """A store that speaks as much of S3 as a ferry needs, for one access key."""

    def __init__(self, host: str, key: str) -> None:
        self.objects: dict[str, bytes] = {}
        self.refused = 0
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            def is_known(self) -> bool:
                if f"Credential={key}/" in self.headers.get("Authorization", ""):
                    return True
                bucket.refused += 1
                self.send_error(HTTPStatus.FORBIDDEN)
                return False

            def do_PUT(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                if self.is_known():
                    bucket.objects[self.path] = content
                    self.answer(b"")

            def do_GET(self) -> None:
                if not self.is_known():
                    return
                found = bucket.objects.get(self.path)
                if found is None:
                    self.send_error(HTTPStatus.NOT_FOUND)
                else:
                    self.answer(found)

            def answer(self, content: bytes) -> None:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.endpoint = f"http://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="bucket")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def make_schedule(store: Store, name: str = "often", **spec: Any) -> None:
    body = {
        "apiVersion": API_VERSION,
        "kind": SCHEDULE_KIND,
        "metadata": {"name": name, "namespace": store.namespace},
        "spec": {
            "store": store.name,
            "schedule": "* * * * *",
            "template": {"to": {"volume": {"claimName": "backups"}}},
        }
        | spec,
    }
    store.client.create(SCHEDULE(body))


def backups_of(client: Client, *, is_all: bool = False) -> set[str]:
    """Return the names of the backups of the namespace: of all, or of those that are not going."""
    found = [each.metadata for each in client.list(BACKUP)]
    return {each.name for each in found if is_all or not each.deletionTimestamp}


def files_of(store: Store, claim: str = "backups") -> list[str]:
    """Return the names of the files on the volume of a claim, below its root."""
    folder = _folder_of(store, claim)
    found = store.cluster._inside("find", folder, "-type", "f", "-printf", "%P\n")
    return sorted(found.split())


def damage(store: Store, file: str, claim: str = "backups") -> None:
    """Change the end of a file on the volume of a claim."""
    path = f"{_folder_of(store, claim)}/{file}"
    store.cluster._inside("sh", "-ec", 'printf x >> "$0"', path)


def _folder_of(store: Store, claim: str) -> str:
    found = store.client.get(PersistentVolumeClaim, claim)
    assert found.spec is not None
    assert found.spec.volumeName is not None
    volume = store.client.get(PersistentVolume, found.spec.volumeName)
    assert volume.spec is not None
    assert volume.spec.hostPath is not None
    return volume.spec.hostPath.path


def restored(store: Store) -> dict[str, Any]:
    """Return the condition `Restored` of a data store."""
    conditions = store.status.get("conditions") or []
    return next((each for each in conditions if each["type"] == "Restored"), {})
