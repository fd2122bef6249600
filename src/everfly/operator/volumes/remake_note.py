"""Turn the note about a StatefulSet that is made anew into fields of a status, and back. Pure.

    record:
      remake:
        set: UID                  of the old one
        revision: cache-6c9f...   the ControllerRevision with its template
        spec: {...}               of the new one, without its template
        pods: {cache-0: UID}      around which it is made
        owners: [...]             its managedFields: who owns which of its fields
        labels, annotations: {}   as it has them

Rules: while the note is there a pod of it that belongs to nobody is still an instance; nonsense
counts as no note.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from everfly.operator.apiserver.sight import PodSight, StoreSight
from everfly.operator.manifest import Json, JsonObject, objects, part, text


@dataclass(frozen=True, slots=True)
class Remake:
    """A StatefulSet that is being made anew."""

    set_uid: str
    """Of the old one."""
    revision: str
    """Name of the ControllerRevision with its template."""
    spec: JsonObject
    """Of the new one, without its template."""
    pods: Mapping[str, str]
    """Uids by name."""
    owners: Sequence[JsonObject] = ()
    """Entries of managedFields: without them nobody could take away what one of them set."""
    labels: JsonObject = field(default_factory=dict)
    annotations: JsonObject = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        """How many pods it is asked to run."""
        found = self.spec.get("replicas")
        return found if isinstance(found, int) else 0


def remake_of(status: JsonObject) -> Remake | None:
    """Return the note in a status. Nonsense counts as none."""
    note = part(status, "record", "remake")
    if not text(note, "set"):
        return None
    pods = {name: uid for name, uid in part(note, "pods").items() if isinstance(uid, str)}
    return Remake(
        set_uid=text(note, "set"),
        revision=text(note, "revision"),
        spec=part(note, "spec"),
        pods=pods,
        owners=objects(note, "owners"),
        labels=part(note, "labels"),
        annotations=part(note, "annotations"),
    )


def remake_fields(remake: Remake | None) -> dict[str, Json]:
    """Return the fields of a status that hold a note, or that take it away."""
    note: Json = None
    if remake is not None:
        note = {
            "set": remake.set_uid,
            "revision": remake.revision,
            "spec": remake.spec,
            "pods": remake.pods,
            "owners": remake.owners,
            "labels": remake.labels,
            "annotations": remake.annotations,
        }
    return {"record": {"remake": note}}


def is_meant(pod: PodSight, store: StoreSight) -> bool:
    """Tell whether a pod is an instance that has lost its StatefulSet for a moment."""
    remake = remake_of(store.status)
    if remake is None or remake.pods.get(pod.name) != pod.uid:
        return False
    return pod.owner_uid in ("", remake.set_uid)
