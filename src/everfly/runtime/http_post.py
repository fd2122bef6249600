"""Turn a body into one POST over HTTP/1.1, with or without TLS, and the answer into its status.

Rules: one time limit for all of it, names included; redirects are not followed; certificates are
checked; of the answer no more than its head is read, and that is bounded; an address is never shown
in whole, because the paths of webhooks are secrets.
"""

import asyncio
import contextlib
import re
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from everfly import __version__
from everfly.errors import RemoteError, SettingsError, Unavailable
from everfly.runtime.resolver import Resolver

HEAD_BYTES_MAX: Final = 16_384
"""Of an answer."""
URL_CHARS_MAX: Final = 2_048

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: |\r\n)")
_RETRY_AFTER: Final = re.compile(rb"\r\nretry-after:[ \t]*(\d{1,6})[ \t]*\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post."""

    host: str
    port: int
    path: str = field(repr=False)
    """With its query. Often a secret."""
    is_encrypted: bool

    def __str__(self) -> str:
        scheme = "https" if self.is_encrypted else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/..."

    @property
    def host_header(self) -> str:
        """Return the host as HTTP writes it; without the port where that is understood."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_encrypted else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Posted:
    """What was answered."""

    status: int
    retry_after_s: int | None
    """What the other side asks for; None: nothing."""


def parse_target(url: str) -> Target:
    """Return where an address leads. Raises SettingsError, whose text shows none of the address."""
    if len(url) > URL_CHARS_MAX:
        raise SettingsError(f"longer than {URL_CHARS_MAX} characters")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError("has characters that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError("is no address") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError("must begin with http:// or https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise SettingsError("must not hold user and password")
    is_encrypted = parts.scheme == "https"
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    return Target(parts.hostname, port or (443 if is_encrypted else 80), path, is_encrypted)


class Poster:
    """Posts to any number of targets. Made once: reading the certificates takes a while."""

    def __init__(self, resolver: Resolver, *, certificates: ssl.SSLContext | None) -> None:
        """`certificates` may be None when no target is encrypted."""
        self._resolver = resolver
        self._certificates = certificates

    async def post(
        self, target: Target, body: bytes, headers: dict[str, str], limit_s: float
    ) -> Posted:
        """Return what came of one POST.

        Raises Unavailable when there was no answer in time, RemoteError when it was no HTTP.
        """
        try:
            async with asyncio.timeout(limit_s):
                return await self._post(target, body, headers)
        except TimeoutError as error:
            raise Unavailable(f"no answer within {limit_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise Unavailable(f"its certificate is not good: {error.verify_message}") from error
        except OSError as error:
            raise Unavailable(error.strerror or str(error) or type(error).__name__) from error
        except asyncio.IncompleteReadError as error:
            raise Unavailable("it closed the connection without an answer") from error
        except asyncio.LimitOverrunError as error:
            raise RemoteError(f"its answer has a head of over {HEAD_BYTES_MAX} bytes") from error

    async def _post(self, target: Target, body: bytes, headers: dict[str, str]) -> Posted:
        ip = await self._resolver.resolve(target.host)
        reader, writer = await asyncio.open_connection(
            ip,
            target.port,
            ssl=self._certificates if target.is_encrypted else None,
            server_hostname=target.host if target.is_encrypted else None,
            limit=HEAD_BYTES_MAX,
        )
        try:
            writer.write(_head(target, body, headers) + body)
            await writer.drain()
            return parse_answer(await reader.readuntil(b"\r\n\r\n"))
        finally:
            # Not `wait_closed`: a peer that does not answer the end of TLS would hold us up.
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def parse_answer(head: bytes) -> Posted:
    """Return status and wishes from the head of an answer. Raises RemoteError."""
    found = _STATUS.match(head)
    if found is None:
        raise RemoteError("it does not answer in HTTP/1.1")
    wish = _RETRY_AFTER.search(head)
    return Posted(int(found[1]), None if wish is None else int(wish[1]))


def _head(target: Target, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.host_header}",
        f"User-Agent: everfly/{__version__}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
