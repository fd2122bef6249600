"""Names that others read and write: those of the upstream operator as they are, and our own.

Source: internal/resources/constants.go, internal/controller/util.go, dragonfly-operator (v1.6.1).
"""

from typing import Final

GROUP: Final = "dragonflydb.io"
VERSION: Final = "v1alpha1"
KIND: Final = "Dragonfly"
PLURAL: Final = "dragonflies"

FIELD_MANAGER: Final = "everfly-operator"
UPSTREAM_FIELD_MANAGERS: Final = frozenset({"manager", "dragonfly-operator"})
"""The names under which the upstream operator's writes are recorded (that of its program)."""
EVENT_SOURCE: Final = "dragonfly-operator"
LEASE_NAME: Final = "31079dea.dragonflydb.io"
WITNESS_NAME: Final = "everfly-witness"
"""The Lease in which an operator that waits says what it sees."""
ANNOTATION_SILENT: Final = "everfly.dev/silent"
"""On that Lease: which primaries gave the speaker no answer."""
CLIENT_NAME: Final = "everfly-operator"
"""Of our connections to instances."""

CONTAINER: Final = "dragonfly"
ADMIN_PORT: Final = 9999
DATA_PORT: Final = 6379

LABEL_APP: Final = "app"
LABEL_NAME: Final = "app.kubernetes.io/name"
APP_NAME: Final = "dragonfly"
LABEL_REVISION: Final = "controller-revision-hash"
LABEL_ZONE: Final = "topology.kubernetes.io/zone"
LABEL_ROLE: Final = "role"
ROLE_PRIMARY: Final = "master"
ROLE_REPLICA: Final = "replica"
LABEL_LED_BY: Final = "master-ip"
LABEL_SERVES: Final = "everfly.dev/serves"
"""On a pod with a role, where a Service leads to all that serve: a selector cannot say `any`."""
SERVES: Final = "true"
ANNOTATION_LED_BY: Final = "operator.dragonflydb.io/masterIP"
ANNOTATION_SECRETS: Final = "everfly.dev/secrets"
"""On a pod: `SECRET/VERSION ...` of the mounted Secrets that changed since it started."""
ANNOTATION_LIVE: Final = "everfly.dev/live-settings"
"""On a pod: what its settings were before they were changed while it ran, as JSON."""
GATE: Final = "dragonflydb.io/replication-ready"

SWITCH_TO: Final = "everfly.dev/switchover"
"""On a Dragonfly: a pod, or `*` for any other. Taken away once it is under way or refused."""
FENCED: Final = "everfly.dev/fenced"
"""On a Dragonfly: pods that are out of use, with commas between them."""
PAUSED: Final = "everfly.dev/paused"
"""On a Dragonfly: `true` while nothing is to be changed."""
HIBERNATED: Final = "everfly.dev/hibernated"
"""On a Dragonfly: `true` while no instance is to run."""
ACCEPTED_LOSS: Final = "everfly.dev/accept-data-loss"
"""On a Dragonfly: the beginning of the history whose loss is accepted, or `always`."""
REBUILD: Final = "everfly.dev/rebuild"
"""On a Dragonfly: pods that are to come back with an empty disk, with commas between them."""
REBUILDING: Final = "everfly.dev/rebuilding"
"""On a Dragonfly: the one of them that is under way. Ours."""
