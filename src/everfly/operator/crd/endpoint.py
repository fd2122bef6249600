"""Say what the fields below `spec.everfly.endpoint` are: types, defaults, rules, and in words."""

from typing import Final

from lightkube.models import core_v1

from everfly.operator.crd.schema import (
    FLAG,
    INTEGER,
    TEXT,
    TEXTS_BY_KEY,
    list_of,
    object_of,
    says,
    schema_of,
)
from everfly.operator.wishes.endpoint import REPLICAS_MAX, SERVICE_TYPES

_KEY: Final = object_of({"name": TEXT, "key": TEXT}, "name", "key")

ENDPOINT: Final = object_of(
    {
        "enabled": says("Run it: clients connect to `NAME-endpoint`.", FLAG),
        "replicas": says("Pods; 2 by default.", INTEGER, minimum=1, maximum=REPLICAS_MAX),
        "image": says("Default: the operator's.", TEXT),
        "sentinels": says(
            "HOST:PORT each, who say where the primary is. Default: the operator's front.",
            list_of(TEXT),
        ),
        "sentinelPasswordFromSecret": says("The password that those ask for.", _KEY),
        "sentinelCaFromSecret": says("Who signed their certificate: speak TLS to them.", _KEY),
        "resources": says("Of its container.", schema_of(core_v1.ResourceRequirements)),
        "serviceType": says("Default: ClusterIP.", {"type": "string", "enum": list(SERVICE_TYPES)}),
        "serviceAnnotations": says("Of its Service.", TEXTS_BY_KEY),
        "tls": says(
            "Where the data store speaks TLS, or its clients are to.",
            object_of(
                {
                    "secretName": says(
                        "Certificate for clients (tls.crt, tls.key). Default: that of the "
                        "instances, where they have one.",
                        TEXT,
                    ),
                    "caFromSecret": says(
                        "Who signed the instances' certificate. Default: ca.crt in its Secret.",
                        _KEY,
                    ),
                    "serverName": says(
                        "What the instances' certificate is for. Default: SERVICE.NAMESPACE.svc.",
                        TEXT,
                    ),
                    "clientSecretName": says(
                        "Certificate towards instances. Default: their own, where they ask.", TEXT
                    ),
                }
            ),
        ),
        "passwordFromSecret": says(
            "Of the instances' default user. Default: that of `authentication`.", _KEY
        ),
        "settings": says(
            "More settings of `everfly endpoint`, by name: window_ms, acks, ...", TEXTS_BY_KEY
        ),
        "nodeSelector": says("Machines for its pods.", TEXTS_BY_KEY),
        "tolerations": says("Taints that its pods bear.", list_of(schema_of(core_v1.Toleration))),
    }
)
