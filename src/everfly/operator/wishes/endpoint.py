"""Turn `spec.everfly.endpoint` into one value: the stable address in front of a data store."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from everfly.operator.manifest import JsonObject
from everfly.operator.wishes.fields import PORT_MAX, Fields

REPLICAS_MAX: Final = 100
SERVICE_TYPES: Final = ("ClusterIP", "NodePort", "LoadBalancer")
SETTINGS: Final = (
    "window_ms",
    "drain_ms",
    "on_ambiguous",
    "fence_ms",
    "acks",
    "acks_timeout_ms",
    "acks_otherwise",
    "hold_client_bytes",
    "hold_total_bytes",
    "release_concurrency",
    "connections",
    "connections_per_address",
    "request_bytes",
    "client_output_bytes",
    "idle_ms",
    "workers",
    "shared_per_worker",
    "connect_ms",
    "silent_ms",
    "grace_ms",
    "log_format",
)
"""Settings of `everfly endpoint` that people may set; the others follow from the resource."""

_PLACE: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+):(\d{1,5})")


@dataclass(frozen=True)
class KeyOfSecret:
    """One key of a Secret of the resource's namespace."""

    name: str
    key: str


@dataclass(frozen=True)
class EndpointWish:
    """What people want of the endpoint."""

    replicas: int = 2
    image: str = ""
    """Empty: the operator's."""
    sentinels: tuple[str, ...] = ()
    """HOST:PORT each; empty: the operator's front."""
    sentinel_password: KeyOfSecret | None = None
    sentinel_authority: KeyOfSecret | None = None
    """Who signed the front's certificate; None: it is not encrypted."""
    resources: JsonObject | None = None
    service_type: str = SERVICE_TYPES[0]
    service_annotations: Mapping[str, str] = field(default_factory=dict)
    tls_secret: str = ""
    """Certificate for clients; empty: that of the instances, if they have one."""
    authority: KeyOfSecret | None = None
    """Who signed the instances' certificate; None: `ca.crt` of their own Secret."""
    server_name: str = ""
    """What the instances' certificate is for; empty: the name of their Service."""
    client_secret: str = ""
    """Our certificate towards instances; empty: their own, where they ask for one."""
    password: KeyOfSecret | None = None
    """Of the default user; None: that of `authentication`."""
    settings: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[JsonObject, ...] = ()


def read_endpoint(fields: Fields | None) -> EndpointWish | None:
    """Return what is wanted, or None for no endpoint; problems are noted in the fields."""
    if fields is None:
        return None
    tls = fields.part("tls")
    wish = EndpointWish(
        replicas=fields.integer("replicas", 2, least=1, most=REPLICAS_MAX),
        image=fields.text("image"),
        sentinels=_places(fields),
        sentinel_password=_key(fields, "sentinelPasswordFromSecret"),
        sentinel_authority=_key(fields, "sentinelCaFromSecret"),
        resources=fields.object("resources"),
        service_type=fields.one_of("serviceType", SERVICE_TYPES),
        service_annotations=fields.strings("serviceAnnotations"),
        tls_secret=tls.text("secretName") if tls else "",
        authority=_key(tls, "caFromSecret") if tls else None,
        server_name=tls.text("serverName") if tls else "",
        client_secret=tls.text("clientSecretName") if tls else "",
        password=_key(fields, "passwordFromSecret"),
        settings=_settings(fields),
        node_selector=fields.strings("nodeSelector"),
        tolerations=fields.objects("tolerations"),
    )
    return wish if fields.flag("enabled") else None


def _places(fields: Fields) -> tuple[str, ...]:
    places = fields.texts("sentinels")
    for index, each in enumerate(places):
        match = _PLACE.fullmatch(each)
        if match is None or not 0 < int(match[2]) <= PORT_MAX:
            fields.problems.add(
                f"{fields.path}.sentinels[{index}]", f"must be HOST:PORT, is {each!r}"
            )
    return places


def _key(fields: Fields, name: str) -> KeyOfSecret | None:
    found = fields.part(name)
    if found is None:
        return None
    secret = KeyOfSecret(found.text("name"), found.text("key"))
    for word, value in (("name", secret.name), ("key", secret.key)):
        if not value:
            fields.problems.add(f"{fields.path}.{name}.{word}", "is required")
    return secret


def _settings(fields: Fields) -> Mapping[str, str]:
    found = fields.strings("settings")
    for name in found:
        if name not in SETTINGS:
            known = ", ".join(SETTINGS)
            fields.problems.add(f"{fields.path}.settings[{name!r}]", f"is none of {known}")
    grace = found.get("grace_ms", "")
    if grace and not grace.isdigit():
        fields.problems.add(f"{fields.path}.settings['grace_ms']", f"is no number: {grace!r}")
    return {name: value for name, value in found.items() if name in SETTINGS}
