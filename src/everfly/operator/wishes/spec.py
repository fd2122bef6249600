"""Turn the `spec` of a Dragonfly resource into one frozen value, with all defaults filled in.

Every field of the upstream operator's v1alpha1 is here under its own name in our spelling; types of
Kubernetes that only travel into a manifest stay plain JSON. A resource that is wrong is refused as
a whole, with every wrong field named. What is our own, below `spec.everfly`, is in `extras`.

Source: api/v1alpha1/dragonfly_types.go and internal/resources/resources.go, dragonfly-operator
(v1.6.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from everfly.errors import SettingsError
from everfly.operator.manifest import JsonObject
from everfly.operator.wishes.extras import Extras, read_extras
from everfly.operator.wishes.fields import PORT_MAX, Fields, Problems

RESERVED_LABELS: Final = frozenset(
    {
        "app",
        "app.kubernetes.io/component",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/name",
        "app.kubernetes.io/part-of",
        "app.kubernetes.io/version",
        # The upstream operator leaves these two to people, who break every Service with them.
        "role",
        "master-ip",
    }
)
"""Labels that only the operator sets."""
SNAPSHOTS: Final = "/dragonfly/snapshots"
REPLICAS_MAX: Final = 1000
"""Far above any real group; the limit on what one resource can ask of a cluster."""


class SpecError(SettingsError):
    """A resource is wrong; `problems` names each wrong field."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class SecretKey:
    """One key of a Secret, and whether it may be missing."""

    name: str
    key: str
    is_optional: bool | None = None


@dataclass(frozen=True)
class Metadata:
    """What users want on an object."""

    annotations: Mapping[str, str]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Authentication:
    """Whom instances let in."""

    password: SecretKey | None = None
    client_ca: SecretKey | None = None


@dataclass(frozen=True)
class Snapshot:
    """Where and when instances write their data down."""

    directory: str = SNAPSHOTS
    cron: str = ""
    on_primary_only: bool = False
    claim: JsonObject | None = None
    existing_claim: str = ""


@dataclass(frozen=True)
class Tiering:
    """A disk for values that do not fit into memory."""

    claim: JsonObject | None = None


@dataclass(frozen=True)
class ServiceShape:
    """How clients reach the primary."""

    type: str = ""
    """Empty: ClusterIP."""
    name: str = ""
    """Empty: the name of the resource."""
    node_port: int = 0
    """0: whichever the cluster gives."""
    metadata: Metadata | None = None


@dataclass(frozen=True)
class DisruptionBudget:
    """How many pods may be evicted at a time; None: not said."""

    min_available: int | str | None = None
    max_unavailable: int | str | None = None


@dataclass(frozen=True)
class ProbeScripts:
    """Names of configMaps with scripts of the user's own; empty: none."""

    liveness: str = ""
    readiness: str = ""
    startup: str = ""

    @property
    def are_used(self) -> bool:
        """Whether the image's own check is replaced."""
        return bool(self.liveness or self.readiness or self.startup)


@dataclass(frozen=True)
class Spec:
    """What a user wants."""

    replicas: int
    image: str
    image_pull_policy: str
    image_pull_secrets: tuple[JsonObject, ...]
    args: tuple[str, ...]
    env: tuple[JsonObject, ...]
    acl: SecretKey | None
    pod_metadata: Metadata
    """Of `annotations` and `labels`, and over them of `podMetadata`."""
    owned_metadata: Metadata
    additional_containers: tuple[JsonObject, ...]
    additional_volumes: tuple[JsonObject, ...]
    init_containers: tuple[JsonObject, ...]
    resources: JsonObject | None
    affinity: JsonObject | None
    node_selector: Mapping[str, str]
    tolerations: tuple[JsonObject, ...]
    topology_spread: tuple[JsonObject, ...]
    priority_class: str
    service_account: str
    pod_security: JsonObject | None
    container_security: JsonObject | None
    skips_fs_group: bool
    memcached_port: int
    """0: off."""
    authentication: Authentication
    tls_secret: str
    """Empty: no TLS."""
    tiering: Tiering | None
    snapshot: Snapshot | None
    service: ServiceShape
    has_readiness_gate: bool
    has_network_policy: bool
    disruption: DisruptionBudget
    probes: ProbeScripts
    extras: Extras


def read_spec(value: JsonObject) -> Spec:
    """Return what the `spec` of a resource says. Raise SpecError, which names every wrong field."""
    problems = Problems()
    fields = Fields(value, "spec", problems)
    spec = Spec(
        replicas=fields.integer("replicas", most=REPLICAS_MAX),
        image=fields.text("image"),
        image_pull_policy=fields.text("imagePullPolicy", "Always"),
        image_pull_secrets=fields.objects("imagePullSecrets"),
        args=fields.texts("args"),
        env=fields.named("env"),
        acl=_secret_key(fields, "aclFromSecret"),
        pod_metadata=_pod_metadata(fields),
        owned_metadata=_metadata(fields.part("ownedObjectsMetadata")),
        additional_containers=fields.named("additionalContainers"),
        additional_volumes=fields.named("additionalVolumes"),
        init_containers=fields.named("initContainers"),
        resources=fields.object("resources"),
        affinity=fields.object("affinity"),
        node_selector=fields.strings("nodeSelector"),
        tolerations=fields.objects("tolerations"),
        topology_spread=fields.objects("topologySpreadConstraints"),
        priority_class=fields.text("priorityClassName"),
        service_account=fields.text("serviceAccountName"),
        pod_security=fields.object("podSecurityContext"),
        container_security=fields.object("containerSecurityContext"),
        skips_fs_group=fields.flag("skipFSGroup"),
        memcached_port=fields.integer("memcachedPort", most=PORT_MAX),
        authentication=_authentication(fields.part("authentication")),
        tls_secret=_reference(fields, "tlsSecretRef", is_required=True),
        tiering=_tiering(fields.part("tiering")),
        snapshot=_snapshot(fields.part("snapshot")),
        service=_service(fields.part("serviceSpec")),
        has_readiness_gate=fields.flag("enableReplicationReadinessGate"),
        has_network_policy=fields.flag("networkPolicyEnabled", default=True),
        disruption=_disruption(fields.part("pdb")),
        probes=ProbeScripts(
            liveness=_reference(fields, "customLivenessProbeConfigMap"),
            readiness=_reference(fields, "customReadinessProbeConfigMap"),
            startup=_reference(fields, "customStartupProbeConfigMap"),
        ),
        extras=read_extras(fields.part("everfly")),
    )
    if problems.found:
        raise SpecError(tuple(problems.found))
    return spec


def _secret_key(fields: Fields, name: str) -> SecretKey | None:
    reference = fields.part(name)
    if reference is None:
        return None
    for each in ("name", "key"):
        if not reference.text(each):
            reference.problems.add(f"{reference.path}.{each}", "is required")
    optional = reference.flag("optional") if reference.has("optional") else None
    return SecretKey(reference.text("name"), reference.text("key"), optional)


def _reference(fields: Fields, name: str, *, is_required: bool = False) -> str:
    reference = fields.part(name)
    if reference is None:
        return ""
    found = reference.text("name")
    if is_required and not found:
        reference.problems.add(f"{reference.path}.name", "is required")
    return found


def _labels(fields: Fields, name: str = "labels") -> Mapping[str, str]:
    found = fields.strings(name)
    for key in sorted(RESERVED_LABELS & found.keys()):
        fields.problems.add(f"{fields.path}.{name}[{key!r}]", "is set by the operator alone")
    return found


def _metadata(fields: Fields | None) -> Metadata:
    if fields is None:
        return Metadata({}, {})
    return Metadata(fields.strings("annotations"), _labels(fields))


def _pod_metadata(fields: Fields) -> Metadata:
    newer = _metadata(fields.part("podMetadata"))
    return Metadata(
        {**fields.strings("annotations"), **newer.annotations},
        {**_labels(fields), **newer.labels},
    )


def _authentication(fields: Fields | None) -> Authentication:
    if fields is None:
        return Authentication()
    return Authentication(
        password=_secret_key(fields, "passwordFromSecret"),
        client_ca=_secret_key(fields, "clientCaCertSecret"),
    )


def _tiering(fields: Fields | None) -> Tiering | None:
    return None if fields is None else Tiering(fields.object("persistentVolumeClaimSpec"))


def _snapshot(fields: Fields | None) -> Snapshot | None:
    if fields is None:
        return None
    snapshot = Snapshot(
        directory=fields.text("dir") or SNAPSHOTS,
        cron=fields.text("cron"),
        on_primary_only=fields.flag("enableOnMasterOnly"),
        claim=fields.object("persistentVolumeClaimSpec"),
        existing_claim=fields.text("existingPersistentVolumeClaimName"),
    )
    has_claim = snapshot.claim is not None or bool(snapshot.existing_claim)
    if snapshot.claim is not None and snapshot.existing_claim:
        fields.problems.add(
            fields.path,
            "persistentVolumeClaimSpec and existingPersistentVolumeClaimName exclude each other",
        )
    if snapshot.cron and not has_claim and not fields.text("dir"):
        fields.problems.add(
            f"{fields.path}.cron",
            "needs a place to write to: persistentVolumeClaimSpec, "
            "existingPersistentVolumeClaimName or dir",
        )
    if has_claim and not snapshot.directory.startswith("/"):
        fields.problems.add(
            f"{fields.path}.dir",
            f"must be a path when a volume is mounted there, is {snapshot.directory!r}",
        )
    return snapshot


def _service(fields: Fields | None) -> ServiceShape:
    if fields is None:
        return ServiceShape()
    return ServiceShape(
        type=fields.text("type"),
        name=fields.text("name"),
        node_port=fields.integer("nodePort", most=PORT_MAX),
        metadata=Metadata(fields.strings("annotations"), _labels(fields)),
    )


def _disruption(fields: Fields | None) -> DisruptionBudget:
    if fields is None:
        return DisruptionBudget()
    budget = DisruptionBudget(
        min_available=fields.number_or_percentage("minAvailable"),
        max_unavailable=fields.number_or_percentage("maxUnavailable"),
    )
    if budget.min_available is not None and budget.max_unavailable is not None:
        fields.problems.add(fields.path, "minAvailable and maxUnavailable exclude each other")
    return budget
