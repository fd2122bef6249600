"""Say whose an object is, and by which labels objects and pods are found.

Source: internal/resources/const.go and resources.go, dragonfly-operator (v1.6.1). They are a
contract with users' selectors, dashboards and policies, and with an upstream operator put back.
"""

from dataclasses import dataclass
from typing import Final

from everfly.operator.manifest import Json, JsonObject
from everfly.operator.names import APP_NAME, GROUP, KIND, LABEL_APP, LABEL_NAME, VERSION

DEFAULT_VERSION: Final = "v1.39.0"
DEFAULT_IMAGE: Final = f"docker.dragonflydb.io/dragonflydb/dragonfly:{DEFAULT_VERSION}"
"""What the upstream operator of version 1.6.1 starts."""


@dataclass(frozen=True)
class Owner:
    """The Dragonfly resource that objects belong to."""

    name: str
    namespace: str
    uid: str

    def reference(self) -> JsonObject:
        """Return the one reference that makes the garbage collector remove an object."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def selector_labels(owner: Owner) -> dict[str, Json]:
    """Return the labels by which the pods of a resource are found."""
    return {
        LABEL_APP: owner.name,
        LABEL_NAME: APP_NAME,
        "app.kubernetes.io/part-of": "dragonfly",
    }


def owned_labels(owner: Owner) -> dict[str, Json]:
    """Return the labels of owned objects that are not pods.

    The version is the operator's default and not that of the image: it is so upstream, and another
    value would differ on every object that is taken over.
    """
    return {
        **selector_labels(owner),
        "app.kubernetes.io/component": "dragonfly",
        "app.kubernetes.io/instance": owner.name,
        "app.kubernetes.io/managed-by": "dragonfly-operator",
        "app.kubernetes.io/version": DEFAULT_VERSION,
    }
