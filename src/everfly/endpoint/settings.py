"""Turn a settings file, variables and flags into what an endpoint is to be, checked as a whole.

Rules: secrets come from files alone and never show in a `repr`; what contradicts something else is
a SettingsError that names both; paths are relative to the settings file.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from everfly.core.model import Address
from everfly.endpoint.keys import KEYS, SETTINGS
from everfly.errors import SettingsError
from everfly.runtime.client import Credentials
from everfly.runtime.setting_forms import HostPort, Value
from everfly.runtime.setting_table import Told, read_toml, refuse_unknown
from everfly.runtime.tls import reason_of_tls

SECRET_BYTES_MAX: Final = 4_096
TOKEN_BYTES_MIN: Final = 16
"""A shorter one can be guessed over a network."""

LISTENERS: Final = (
    ("listen", "primary", False),
    ("tls_listen", "primary", True),
    ("replicas_listen", "replicas", False),
    ("tls_replicas_listen", "replicas", True),
)
"""Setting, kind of the data plane's listener, whether inside TLS."""

_HOSTS_OF_THIS_MACHINE: Final = ("127.", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """What was set, with all defaults."""

    values: Mapping[str, Value] = field(repr=False)
    """All of the table, by name."""
    folder: Path
    """What relative paths are relative to."""
    of_sentinels: Credentials
    of_instances: Credentials
    token: bytes = field(repr=False)
    """Empty: the admin address is of this machine alone."""

    def text(self, name: str) -> str:
        """Return a setting that is a text; empty: not set."""
        return str(self.values[name])

    def number(self, name: str) -> int:
        """Return a setting that is a whole number."""
        value = self.values[name]
        assert isinstance(value, int), name
        return value

    def is_on(self, name: str) -> bool:
        """Return a setting that is a flag."""
        return self.values[name] is True

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a setting that is a list."""
        value = self.values[name]
        assert isinstance(value, tuple), name
        return tuple(map(str, value))

    def path(self, name: str) -> str:
        """Return the path that a setting names, or empty."""
        text = self.text(name)
        return str(self.folder / text) if text else ""

    @property
    def sentinels(self) -> tuple[Address, ...]:
        """Whom to ask."""
        value = self.values["sentinels"]
        assert isinstance(value, tuple)
        return tuple(Address(each.host, each.port) for each in value if isinstance(each, HostPort))

    @property
    def group(self) -> str:
        """The name of the group."""
        return self.text("name")

    @property
    def is_pushed(self) -> bool:
        """Whether somebody tells us the primary, instead of the Sentinels."""
        return self.text("mode") == "pushed"

    @property
    def admin(self) -> HostPort | None:
        """Where to serve HTTP; None: nowhere."""
        value = self.values["admin"]
        return value if isinstance(value, HostPort) else None

    @property
    def probes(self) -> HostPort | None:
        """Where to serve health and metrics to anybody; None: nowhere."""
        value = self.values["probes"]
        return value if isinstance(value, HostPort) else None

    @property
    def secret_files(self) -> tuple[str, ...]:
        """Paths of all files with certificates, passwords and tokens."""
        names = (name for name in self.values if name.endswith("_file"))
        return tuple(path for path in map(self.path, names) if path)

    @property
    def has_replicas_listener(self) -> bool:
        """Whether clients can read from replicas."""
        return bool(self.texts("replicas_listen") or self.texts("tls_replicas_listen"))

    def plane_config(self) -> dict[str, object]:
        """Return the configuration of the data plane."""
        config: dict[str, object] = {"listeners": self._listeners()}
        for setting in SETTINGS:
            value = self.values[setting.key.name]
            if setting.plane and value != "" and (setting.plane, value) != ("workers", 0):
                _put(config, setting.plane, value)
        if not self.number("acks"):
            config["acks"] = None
        config["tls"] = self._tls_of_clients()
        config["upstream_tls"] = self._tls_of_instances(config.pop("upstream_tls", {}))
        if self.of_instances.password:
            _put(config, "upstream.username", self.of_instances.user or "default")
            _put(config, "upstream.password", self.of_instances.password)
        return config

    def _listeners(self) -> list[dict[str, object]]:
        networks = list(self.texts("proxy_protocol_from"))
        return [
            {"address": address, "kind": kind, "tls": is_tls, "proxy_protocol_from": networks}
            for name, kind, is_tls in LISTENERS
            for address in self.texts(name)
        ]

    def _tls_of_clients(self) -> dict[str, object] | None:
        if not self.text("tls_cert_file"):
            return None
        authority = self.path("tls_client_ca_file")
        return {
            "certificate": self.path("tls_cert_file"),
            "key": self.path("tls_key_file"),
            "client_ca": authority or None,
            "client_certificates": self.text("tls_client_certificates") if authority else "none",
        }

    def _tls_of_instances(self, told: object) -> dict[str, object] | None:
        if not self.text("upstream_tls_ca_file"):
            return None
        assert isinstance(told, dict)
        return {
            **told,
            "ca": self.path("upstream_tls_ca_file"),
            "certificate": self.path("upstream_tls_cert_file") or None,
            "key": self.path("upstream_tls_key_file") or None,
        }


def _put(config: dict[str, object], place: str, value: object) -> None:
    section, _, name = place.rpartition(".")
    if not section:
        config[name] = value
        return
    inner = config.setdefault(section, {})
    assert isinstance(inner, dict)
    inner[name] = value


def load_settings(
    path: str, flags: Mapping[str, str], environment: Mapping[str, str]
) -> EndpointSettings:
    """Return what a file (empty: none), flags (by key, without dashes) and variables say.

    Raises SettingsError.
    """
    path = path or environment.get("EVERFLY_ENDPOINT_SETTINGS", "")
    file = read_toml(Path(path)) if path else {}
    refuse_unknown(file, [key.name for key in KEYS], path)
    told = Told(path, file, flags, environment)
    values = {key.name: told.value_of(key) for key in KEYS}
    folder = Path(path).absolute().parent if path else Path.cwd()
    _check(values)
    return EndpointSettings(
        values=values,
        folder=folder,
        of_sentinels=_credentials(values, folder, "sentinel_"),
        of_instances=_credentials(values, folder, ""),
        token=_token(values, folder),
    )


def _check(values: Mapping[str, Value]) -> None:
    is_pushed = values["mode"] == "pushed"
    where = [name for name, _, _ in LISTENERS]
    admin = values["admin"]
    is_open = isinstance(admin, HostPort) and not admin.host.startswith(_HOSTS_OF_THIS_MACHINE)
    needs_tls = bool(values["tls_listen"] or values["tls_replicas_listen"])
    checks: tuple[tuple[object, str], ...] = (
        (
            any(values[name] for name in where),
            "nowhere to listen: give --listen HOST:PORT (or tls_listen, replicas_listen)",
        ),
        (
            is_pushed or values["sentinels"],
            "nobody to ask for the primary: give --sentinels HOST:PORT,... or --mode pushed",
        ),
        (
            not (is_pushed and values["sentinels"]),
            "mode `pushed` and `sentinels` contradict each other; leave one of them out",
        ),
        (
            not is_pushed or admin,
            "mode `pushed` needs `admin`, where the primary is pushed to",
        ),
        (
            not is_open or values["admin_token_file"],
            f"admin {admin} can be reached from elsewhere: set admin_token_file, or use 127.0.0.1",
        ),
        (
            not needs_tls or values["tls_cert_file"],
            "tls_listen needs tls_cert_file and tls_key_file",
        ),
        (
            not values["user"] or values["password_file"],
            "`user` needs `password_file`",
        ),
        (
            not values["sentinel_user"] or values["sentinel_password_file"],
            "`sentinel_user` needs `sentinel_password_file`",
        ),
        *(
            (
                bool(values[f"{prefix}_cert_file"]) == bool(values[f"{prefix}_key_file"]),
                f"{prefix}_cert_file and {prefix}_key_file go together",
            )
            for prefix in ("tls", "upstream_tls", "sentinel_tls")
        ),
        *(
            (
                not values[f"{prefix}_cert_file"] or values[f"{prefix}_ca_file"],
                f"{prefix}_cert_file has no effect without {prefix}_ca_file",
            )
            for prefix in ("upstream_tls", "sentinel_tls")
        ),
    )
    for is_right, text in checks:
        if not is_right:
            raise SettingsError(text)


def _credentials(values: Mapping[str, Value], folder: Path, prefix: str) -> Credentials:
    password = ""
    if file := str(values[f"{prefix}password_file"]):
        name = f"{prefix}password_file"
        # Only the first line: editors end a file with an empty one.
        password = _secret(folder / file, name).decode(errors="surrogateescape").split("\n")[0]
        if not password:
            raise SettingsError(f"{name}: {folder / file} is empty")
    part = "sentinel" if prefix else "upstream"
    return Credentials(
        password, str(values[f"{prefix}user"]), _tls_towards(values, folder, f"{part}_tls")
    )


def _tls_towards(values: Mapping[str, Value], folder: Path, prefix: str) -> ssl.SSLContext | None:
    authority = str(values[f"{prefix}_ca_file"])
    if not authority:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The chain and not the name, as between Redis instances: addresses move.
    context.check_hostname = False
    try:
        context.load_verify_locations(folder / authority)
    except OSError as error:
        where = f"{prefix}_ca_file: {folder / authority}"
        raise SettingsError(f"{where} cannot be used: {reason_of_tls(error)}") from error
    if own := str(values[f"{prefix}_cert_file"]):
        key = folder / str(values[f"{prefix}_key_file"])
        try:
            # A function also without a password, or OpenSSL would ask for one on the terminal.
            context.load_cert_chain(folder / own, key, lambda: "")
        except (OSError, ValueError) as error:
            where = f"{prefix}_cert_file: {folder / own} with {key}"
            raise SettingsError(f"{where} cannot be used: {reason_of_tls(error)}") from None
    return context


def _token(values: Mapping[str, Value], folder: Path) -> bytes:
    file = str(values["admin_token_file"])
    if not file:
        return b""
    token = _secret(folder / file, "admin_token_file").strip()
    if len(token) < TOKEN_BYTES_MIN:
        raise SettingsError(
            f"admin_token_file: {folder / file} holds {len(token)} bytes; at least "
            f"{TOKEN_BYTES_MIN} are needed: make one with `openssl rand -hex 32`"
        )
    return token


def _secret(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read: {error.strerror}") from error
    if len(data) > SECRET_BYTES_MAX:
        raise SettingsError(f"{name}: {path} has more than {SECRET_BYTES_MAX} bytes")
    return data
