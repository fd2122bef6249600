"""Turn PEM texts into what can be judged of them, and a port into the certificate that it serves.

A key of one certificate with another one makes an instance accept the files and then fail every
handshake, so a pair is tried here before any instance is told to read it. Keys go through files of
memory alone (Linux), which nobody else can open.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Iterator
from typing import Final

from everfly.core.model import Address
from everfly.errors import RemoteError, SettingsError, Unavailable

HANDSHAKE_S: Final = 2.0
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"


def leaf_of(certificate: bytes) -> bytes:
    """Return the first certificate of a PEM text, as it goes over the wire. Raise SettingsError."""
    begin = certificate.find(_BEGIN)
    end = certificate.find(_END, begin)
    if begin < 0 or end < 0:
        raise SettingsError("there is no certificate in it")
    try:
        return ssl.PEM_cert_to_DER_cert(certificate[begin : end + len(_END)].decode("ascii"))
    except ValueError:
        raise SettingsError("the certificate is damaged") from None


def check_pair(certificate: bytes, key: bytes) -> None:
    """Raise SettingsError for a certificate and a key that do not work together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with _in_memory(certificate) as certificate_file, _in_memory(key) as key_file:
        try:
            context.load_cert_chain(certificate_file, key_file, password=_no_password)
        except ssl.SSLError as error:
            reason = "they are not of one another" if _is_mismatch(error) else "they are damaged"
            raise SettingsError(f"certificate and key do not work: {reason}") from None


def _is_mismatch(error: ssl.SSLError) -> bool:
    return "MISMATCH" in (error.reason or "")


def _no_password() -> str:
    raise SettingsError("the key is encrypted, and an instance has no password for it")


def check_authorities(certificates: bytes) -> None:
    """Raise SettingsError for a text without certificates of authorities."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cadata=certificates.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise SettingsError("these are no certificates of authorities") from None


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    number = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


async def served_certificate(address: Address) -> bytes:
    """Return the certificate that a port shows, as it goes over the wire.

    Raise Unavailable where the port cannot be reached, RemoteError where no handshake succeeds.
    Also of a port that wants a certificate of its clients: with TLS 1.3 it shows its own first.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Whether it is the wanted one is what is asked, not whether it is to be trusted.
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            _, writer = await asyncio.open_connection(
                address.ip or address.host, address.port, ssl=context
            )
    except (ssl.SSLError, ConnectionResetError, EOFError) as error:
        raise RemoteError(f"{address} fails at the TLS handshake: {error}") from error
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"{address} cannot be reached") from error
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    if not isinstance(shown, bytes):
        raise RemoteError(f"{address} shows no certificate")
    return shown
