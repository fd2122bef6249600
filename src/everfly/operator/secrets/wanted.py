"""Turn a spec and the Secrets it names into what instances should have. Pure.

Rules: a value is never in a repr, an error or a message, only its Secret and key are; a value that
would shut clients out or let everybody in is refused with the reason, and what runs stays as it is.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from everfly.errors import SettingsError
from everfly.operator.manifest import JsonObject, part, text
from everfly.operator.names import CONTAINER
from everfly.operator.wishes.spec import SecretKey, Spec

VALUE_BYTES_MAX: Final = 1024 * 1024
"""Kubernetes takes no larger Secret."""
CERTIFICATE_KEYS: Final = ("tls.crt", "tls.key")
_PASSWORD_FLAG: Final = "requirepass"  # noqa: S105 - the name of a flag


class Use(Enum):
    """What a Secret is used for; the value is how people are told of it."""

    PASSWORD = "the password"  # noqa: S105 - a name
    USERS = "the file of users"
    CERTIFICATE = "the certificate"
    CLIENT_CA = "the authority of clients"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing that instances are given from a Secret."""

    use: Use
    secret: str
    keys: tuple[str, ...]
    is_optional: bool = False
    """Whether it may be missing."""

    def __str__(self) -> str:
        return f"{self.use.value} (Secret {self.secret}, {' and '.join(self.keys)})"


@dataclass(frozen=True, slots=True)
class Value:
    """What the keys of a Secret hold, in their order."""

    parts: tuple[bytes, ...] = field(repr=False)

    def mark(self, key: bytes) -> str:
        """Return a digest under a key that nobody else has: equal when the values are."""
        digest = hmac.new(key, digestmod=hashlib.sha256)
        for each in self.parts:
            digest.update(len(each).to_bytes(8, "big") + each)
        return digest.hexdigest()


def wanted_of(spec: Spec) -> tuple[Wanted, ...]:
    """Return what a spec takes from Secrets, in the order in which it is brought about.

    Nothing where the user's own container runs in place of ours: it need not use any of it.
    """
    if any(each.get("name") == CONTAINER for each in spec.additional_containers):
        return ()
    found = []
    if spec.acl is not None:
        found.append(_wanted(Use.USERS, spec.acl))
    password = spec.authentication.password
    # A flag on the command line wins over the environment.
    is_given = any(each.lstrip("-").partition("=")[0] == _PASSWORD_FLAG for each in spec.args)
    if password is not None and not is_given:
        found.append(_wanted(Use.PASSWORD, password))
    if spec.tls_secret:
        found.append(Wanted(Use.CERTIFICATE, spec.tls_secret, CERTIFICATE_KEYS))
        if spec.authentication.client_ca is not None:
            found.append(_wanted(Use.CLIENT_CA, spec.authentication.client_ca))
    return tuple(found)


def _wanted(use: Use, secret: SecretKey) -> Wanted:
    return Wanted(use, secret.name, (secret.key,), is_optional=bool(secret.is_optional))


def value_of(wanted: Wanted, secret: JsonObject | None) -> Value | None:
    """Return the value in a Secret as the API server gives it; None: it may be missing, and is.

    Raise SettingsError.
    """
    data = part(secret, "data") if secret is not None else {}
    if wanted.is_optional and any(key not in data for key in wanted.keys):
        return None
    if secret is None:
        raise SettingsError(f"there is no Secret {wanted.secret}: create it")
    return Value(tuple(_decoded(wanted, data, key) for key in wanted.keys))


def _decoded(wanted: Wanted, data: Mapping[str, object], key: str) -> bytes:
    found = data.get(key)
    if not isinstance(found, str):
        raise SettingsError(f"Secret {wanted.secret} has no key {key}: add it")
    try:
        value = base64.b64decode(found, validate=True)
    except binascii.Error:
        # The cause would quote the value.
        raise SettingsError(f"Secret {wanted.secret}: {key} is no base64") from None
    if not value:
        raise SettingsError(f"Secret {wanted.secret}: {key} is empty; what runs stays as it is")
    if len(value) > VALUE_BYTES_MAX:
        raise SettingsError(f"Secret {wanted.secret}: {key} has over {VALUE_BYTES_MAX} bytes")
    return value


def check_password(wanted: Wanted, value: Value) -> bytes:
    """Return the password. Raise SettingsError for one that an environment cannot carry."""
    (password,) = value.parts
    try:
        readable = password.decode()
    except UnicodeDecodeError:
        raise SettingsError(
            f"Secret {wanted.secret}: {wanted.keys[0]} is no UTF-8; set it anew"
        ) from None
    if "\0" in readable:
        raise SettingsError(f"Secret {wanted.secret}: {wanted.keys[0]} has a zero byte in it")
    return password


def version_of(secret: JsonObject) -> str:
    """Return the version of a Secret, which says nothing of what is in it."""
    return text(secret, "metadata", "resourceVersion")
