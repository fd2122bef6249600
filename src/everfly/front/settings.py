"""Turn flags into what a front needs to know, checked as a whole.

Rules: secrets stand in files, never in flags or variables; what contradicts something else is a
SettingsError that names both.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError
from everfly.operator.settings import Bind, read_bind
from everfly.runtime.tls import KeyPair, Tls, TlsSettings
from everfly.sentinel.compat import Compat

PORT: Final = 26379
PASSWORD_BYTES_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """What a front needs to know."""

    namespaces: tuple[str, ...]
    """Empty: all."""
    bind: Bind | None
    tls_bind: Bind | None
    health: Bind | None
    tls: Tls | None = None
    password: str = field(default="", repr=False)
    """Of the default user; empty: nobody is asked."""
    acl_file: str = ""
    compat: Compat = Compat.REDIS_7_0
    kubeconfig: str = ""
    maxclients: int = 10_000


@dataclass(frozen=True, slots=True)
class Told:
    """The flags, as they were given."""

    namespaces: str = ""
    bind: str = f":{PORT}"
    tls_bind: str = ""
    health: str = ":8081"
    password_file: str = ""
    acl_file: str = ""
    tls_cert_file: str = ""
    tls_key_file: str = ""
    tls_ca_cert_file: str = ""
    tls_auth_clients: str = "optional"
    compat: str = Compat.REDIS_7_0.value
    kubeconfig: str = ""
    maxclients: int = 10_000


def read_settings(told: Told) -> FrontSettings:
    """Return the settings. Raise SettingsError; blocks for as long as the files take."""
    tls_bind = read_bind(told.tls_bind, "--tls-bind")
    bind = read_bind(told.bind, "--bind")
    if bind is None and tls_bind is None:
        raise SettingsError("nowhere to listen: give --bind HOST:PORT or --tls-bind HOST:PORT")
    if told.password_file and told.acl_file:
        raise SettingsError(
            "--password-file and --acl-file contradict each other: an ACL file holds all passwords"
        )
    return FrontSettings(
        namespaces=tuple(
            sorted({each.strip() for each in told.namespaces.split(",") if each.strip()})
        ),
        bind=bind,
        tls_bind=tls_bind,
        health=read_bind(told.health, "--health-probe-bind-address"),
        tls=_tls(told) if tls_bind is not None else None,
        password=_password(told.password_file),
        acl_file=told.acl_file,
        compat=Compat(told.compat),
        kubeconfig=told.kubeconfig,
        maxclients=told.maxclients,
    )


def _tls(told: Told) -> Tls:
    if not (told.tls_cert_file and told.tls_key_file):
        raise SettingsError("--tls-bind needs --tls-cert-file and --tls-key-file")
    has_authority = bool(told.tls_ca_cert_file)
    return Tls(
        TlsSettings(
            KeyPair(told.tls_cert_file, told.tls_key_file),
            ca_file=told.tls_ca_cert_file,
            auth_clients=told.tls_auth_clients if has_authority else "no",
        )
    )


def _password(file: str) -> str:
    if not file:
        return ""
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(PASSWORD_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"--password-file: {file} cannot be read: {error.strerror}") from error
    # Only the first line: editors end a file with an empty one.
    password = data.split(b"\n")[0].decode(errors="surrogateescape")
    if not password or len(data) > PASSWORD_BYTES_MAX:
        raise SettingsError(
            f"--password-file: {file} must hold 1 to {PASSWORD_BYTES_MAX} bytes, has {len(data)}"
        )
    return password
