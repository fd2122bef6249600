"""Turn certificate files and what people set about them into TLS contexts that follow the files.

Rules: a wrong file is told at the start with its name, and nothing listens then; later the files
are looked at when a connection is made, at most once a second, and read anew when one of them has
changed; new ones that cannot be used are told once and the old ones stay. No password reaches a log
or a traceback, and none is ever asked for on a terminal. Both sides check the chain of a
certificate and not the name in it, as Redis does: instances move between addresses.
Source: `tlsConfigure`, `createSSLContext`, redis/src/tls.c (7.0.15), and its error texts.
"""

import logging
import os
import ssl
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError
from everfly.runtime.log import NOTICE

log = logging.getLogger(__name__)

CHECK_EVERY_S: Final = 1.0
"""Between two looks at the files: nine calls of the system."""
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""All certificate authorities of the world are 300 KB; more is not a certificate."""

VERSIONS: Final = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
"""The words of `tls-protocols`, in their order."""
_WITHOUT: Final = {
    "tlsv1": ssl.OP_NO_TLSv1,
    "tlsv1.1": ssl.OP_NO_TLSv1_1,
    "tlsv1.2": ssl.OP_NO_TLSv1_2,
    "tlsv1.3": ssl.OP_NO_TLSv1_3,
}
VERSIONS_DEFAULT: Final = "TLSv1.2 TLSv1.3"
"""Source: `REDIS_TLS_PROTO_DEFAULT`, redis/src/tls.c (7.0.15)."""

_VERIFY_MODES: Final = {
    "no": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "yes": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with its chain, and its private key."""

    cert_file: str
    key_file: str
    key_pass: str = field(default="", repr=False)
    """Empty: the key is not encrypted."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """What people set about TLS; an empty text means "not set". Relative paths are of our folder.

    Whether sessions are cached and for how long cannot be told to Python's ssl, so it is not here:
    OpenSSL caches them by its defaults.
    """

    own: KeyPair
    """Who we are, for clients and (without `own_on_links`) for those whom we call."""
    own_on_links: KeyPair | None = None
    ca_file: str = ""
    ca_dir: str = ""
    auth_clients: str = "yes"
    """Whether a client must have a certificate: `yes`, `no`, or `optional`."""
    has_links: bool = False
    """All our own connections are encrypted (`tls-replication`)."""
    protocols: str = ""
    ciphers: str = ""
    """Up to TLS 1.2."""
    ciphersuites: str = ""
    """Of TLS 1.3. Python's ssl can set them from 3.15 on; before, all of OpenSSL's are offered."""
    dh_params_file: str = ""
    prefers_server_ciphers: bool = False

    def files(self) -> tuple[str, ...]:
        """Return all paths that contexts are made of."""
        pairs = [self.own] + ([self.own_on_links] if self.own_on_links else [])
        keys = [path for pair in pairs for path in (pair.cert_file, pair.key_file)]
        return tuple(filter(None, (*keys, self.ca_file, self.ca_dir, self.dh_params_file)))


class Tls:
    """The contexts of now. Raises SettingsError at construction when they cannot be made.

    `clock` counts seconds.
    """

    def __init__(
        self, settings: TlsSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._state = _state_of(settings)
        self._server, self._client = _contexts(settings)
        self._looked_at = clock()
        if settings.ciphersuites and not _can_set_suites(self._server):
            log.warning(
                "tls-ciphersuites has no effect: this Python cannot choose the cipher suites of "
                "TLS 1.3, so OpenSSL's own are used; to be sure of the ciphers set "
                "tls-protocols TLSv1.2 and tls-ciphers"
            )

    def for_clients(self) -> ssl.SSLContext:
        """Return how to meet who connects to us."""
        self._follow_files()
        return self._server

    def for_links(self) -> ssl.SSLContext:
        """Return how to connect to instances and peers."""
        self._follow_files()
        return self._client

    def _follow_files(self) -> None:
        now = self._clock()
        if now - self._looked_at < CHECK_EVERY_S:
            return
        self._looked_at = now
        # Before they are read: what changes meanwhile is seen the next time.
        state = _state_of(self._settings)
        if state == self._state:
            return
        self._state = state
        try:
            self._server, self._client = _contexts(self._settings)
        except SettingsError as error:
            log.warning(
                "The TLS files have changed and cannot be used, the old ones stay: %s", error
            )
        else:
            log.log(NOTICE, "The TLS files have changed: new connections use the new ones")


def _state_of(settings: TlsSettings) -> tuple[object, ...]:
    """Return what differs after any file was replaced or written."""
    state: list[object] = []
    for path in settings.files():
        try:
            found = Path(path).stat()
        except OSError as error:
            state.append(error.errno)
        else:
            state.append((found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
    return tuple(state)


def _contexts(settings: TlsSettings) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    needs_authority = settings.auth_clients != "no" or settings.has_links
    if not settings.own.cert_file:
        raise SettingsError("No tls-cert-file configured!")
    if not settings.own.key_file:
        raise SettingsError("No tls-key-file configured!")
    if needs_authority and not settings.ca_file and not settings.ca_dir:
        raise SettingsError(
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, "
            "tls-replication or tls-auth-clients are enabled!"
        )
    server = _context(settings, settings.own, ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = _VERIFY_MODES[settings.auth_clients]
    if settings.prefers_server_ciphers:
        server.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        server.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if settings.dh_params_file:
        _load_dh_params(server, settings.dh_params_file)
    client = _context(settings, settings.own_on_links or settings.own, ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_REQUIRED
    return server, client


def _context(settings: TlsSettings, own: KeyPair, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _set_versions(context, settings.protocols)
    _load_key_pair(context, own)
    _load_authorities(context, settings)
    if settings.ciphers:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError as error:
            raise SettingsError(f"Failed to configure ciphers: {settings.ciphers}") from error
    if settings.ciphersuites and _can_set_suites(context):
        try:
            context.set_ciphersuites(settings.ciphersuites)  # type: ignore[attr-defined]  # 3.15
        except ssl.SSLError as error:
            text = f"Failed to configure ciphersuites: {settings.ciphersuites}"
            raise SettingsError(text) from error
    return context


def _can_set_suites(context: ssl.SSLContext) -> bool:
    return hasattr(context, "set_ciphersuites")


def _set_versions(context: ssl.SSLContext, protocols: str) -> None:
    wanted = set((protocols or VERSIONS_DEFAULT).lower().split())
    if not wanted or not wanted <= VERSIONS.keys():
        raise SettingsError(
            "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' "
            "and 'TLSv1.3'."
        )
    chosen = [name for name in VERSIONS if name in wanted]
    with warnings.catch_warnings():
        # Old versions are deprecated, and so is leaving one out in the middle; people ask for both.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = VERSIONS[chosen[0]]
        context.maximum_version = VERSIONS[chosen[-1]]
        for name, option in _WITHOUT.items():
            if chosen[0] != name and chosen[-1] != name and name not in wanted:
                context.options |= option


def _load_key_pair(context: ssl.SSLContext, own: KeyPair) -> None:
    _check_readable("Failed to load certificate", own.cert_file)
    key = _check_readable("Failed to load private key", own.key_file)
    try:
        # A function also without a password, or OpenSSL would ask for one on the terminal.
        context.load_cert_chain(own.cert_file, own.key_file, lambda: own.key_pass)
    except (OSError, ValueError) as error:
        why = reason_of_tls(error)
        if b"ENCRYPTED" in key:
            why += "; the key is encrypted: check the password (tls-key-file-pass)"
        raise SettingsError(
            f"Failed to load certificate: {own.cert_file} with private key {own.key_file}: {why}"
        ) from None  # The cause could show the password.


def _load_authorities(context: ssl.SSLContext, settings: TlsSettings) -> None:
    what = "Failed to configure CA certificate(s) file/directory"
    if settings.ca_file:
        _check_readable(what, settings.ca_file)
    if settings.ca_dir and not Path(settings.ca_dir).is_dir():
        raise SettingsError(f"{what}: {settings.ca_dir}: it is no directory")
    if settings.ca_file or settings.ca_dir:
        try:
            context.load_verify_locations(settings.ca_file or None, settings.ca_dir or None)
        except OSError as error:
            path = settings.ca_file or settings.ca_dir
            raise SettingsError(f"{what}: {path}: {reason_of_tls(error)}") from error


def _load_dh_params(context: ssl.SSLContext, path: str) -> None:
    _check_readable("Failed to load DH params file", path)
    try:
        context.load_dh_params(path)
    except OSError as error:
        text = f"{path}: failed to read DH params: {reason_of_tls(error)}"
        raise SettingsError(text) from error


def _check_readable(what: str, path: str) -> bytes:
    """Return the content of a file; raise SettingsError, because OpenSSL does not name it."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{what}: {path}: {why}") from error
    if len(data) > FILE_BYTES_MAX:
        raise SettingsError(f"{what}: {path}: it has more than {FILE_BYTES_MAX} bytes")
    return data


def reason_of_tls(error: BaseException) -> str:
    """Return a short text for what OpenSSL or the system complains about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
