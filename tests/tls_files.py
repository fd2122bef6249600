"""Turn a folder into certificates of a small authority, and a port behind TLS into replies."""

import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import hiredis

from processes import Connection

OPENSSL: Final = shutil.which("openssl") or ""
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates, all of them files of `folder`, which is made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.ca = folder / "ca.crt"
        self._ca_key = folder / "ca.key"
        _openssl("req", "-x509", *_KEY, "-nodes", "-keyout", self._ca_key, "-out", self.ca,
                 "-days", 2, "-subj", f"/CN={folder.name} of {folder.parent.name}")  # fmt: skip

    def issue(self, name: str, password: str = "") -> Pair:
        """Return a new certificate for `name`; with a password its key is encrypted."""
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        request = self.folder / f"{name}.csr"
        secret = ("-passout", f"pass:{password}") if password else ("-nodes",)
        _openssl(
            "req", *_KEY, *secret, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}"
        )
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._ca_key,
                 "-CAcreateserial", "-days", 2, "-out", pair.cert)  # fmt: skip
        return pair

    def lines(self, pair: Pair) -> list[str]:
        """Return the lines of a configuration that shows this certificate."""
        return [
            f"tls-cert-file {pair.cert}",
            f"tls-key-file {pair.key}",
            f"tls-ca-cert-file {self.ca}",
        ]

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        """Return how a client that trusts this authority connects, with its certificate or none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.ca)
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context


def _openssl(*arguments: object) -> None:
    done = subprocess.run(
        [OPENSSL, *map(str, arguments)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr


class TlsConnection(Connection):
    """A plain blocking RESP connection inside TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=5.0)
        try:
            self.socket = context.wrap_socket(raw)
        except OSError:
            raw.close()
            raise
        self._reader = hiredis.Reader()

    @property
    def subject(self) -> str:
        """The name in the other side's certificate."""
        found = self.socket.getpeercert()
        assert found
        return str(found["subject"][-1][0][1])

    @property
    def version(self) -> str | None:
        return self.socket.version()


def ask_tls(port: int, context: ssl.SSLContext, *args: str | int) -> object:
    """Connect, send one command, return its reply. Raise OSError or hiredis.ReplyError."""
    with contextlib.closing(TlsConnection(port, context)) as connection:
        return connection.call(*args)


def words(lines: Sequence[str]) -> list[str]:
    """Return lines of a file as options of a command line."""
    return [word for line in lines for word in (f"--{line.split()[0]}", *line.split()[1:])]
