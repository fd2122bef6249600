"""Turn requests of HTTP/1.1 into calls of one handler, and what it returns into responses.

Rules: only GET and HEAD, which change nothing, and no bodies, unless limits allow for bodies: then
POST too, with a body of JSON; head, body, connections and every wait have a limit; a handler that
fails is a 500 and a line in the log; behind a loopback address only names of this machine are
answered, so that a web page cannot read it by a name of its own that leads here (DNS rebinding),
and no page can POST, for the type of the body is one that a browser must ask for first.
Source: RFC 9112.
"""

import asyncio
import contextlib
import ipaddress
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from everfly.runtime.listening_sockets import open_tcp

log = logging.getLogger(__name__)

PLAIN: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"

_END: Final = b"\r\n\r\n"
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name. Source: `token`, RFC 9110, 5.6.2."""
_VERSION: Final = re.compile(r"HTTP/1\.[01]")

SAFE_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""Of every response: it is as it says, of this moment, and for nobody else's page."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What those who ask may take."""

    head_bytes: int = 8_192
    """Of a request line and headers together; browsers send about 1 kB."""
    body_bytes: int = 0
    """Of a POST; 0: there is none."""
    headers: int = 64
    connections: int = 64
    """A few dashboards and scrapers; above it new ones are refused."""
    idle_s: float = 15.0
    """For the next request to come, in whole."""
    handle_s: float = 10.0
    """For an answer to be found; scrapers give up after ten seconds."""
    write_s: float = 10.0
    """For an answer to be taken."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked."""

    path: str
    """Without its query, and decoded: it may hold any character."""
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    """By name in lower case."""
    is_head: bool = False
    wants_more: bool = False
    """The connection stays open."""
    is_post: bool = False
    body: bytes = b""
    """Of a POST."""


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


class _Refused(Exception):  # noqa: N818 - it names an answer
    """A request that is answered without asking the handler; the connection ends."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


def text_response(status: HTTPStatus, text: str) -> Response:
    """Return a response of plain text, which gets the end of its line."""
    return Response(status, PLAIN, f"{text}\n".encode(errors="replace"))


class HttpServer:
    """One address that answers."""

    def __init__(self, handler: Handler, limits: HttpLimits | None = None) -> None:
        self._handler = handler
        self._limits = limits or HttpLimits()
        self._connections: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._sockets: tuple[socket.socket, ...] = ()
        self.is_local = False
        """Only this machine can connect. Known once started."""
        self.port = 0
        """Where it listens, once started; the one chosen by the system for port 0."""
        self.requests = 0
        self.refused = 0
        """Connections over the limit, and requests that were none."""

    @property
    def is_serving(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._connections)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that listen, which stay ours."""
        return self._sockets

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises SettingsError when the address cannot be had."""
        await self.start_on(open_tcp([host], port, self._limits.connections))

    async def start_on(self, sockets: Sequence[socket.socket]) -> None:
        """Serve sockets that listen already; they are closed by `stop`."""
        self._sockets = tuple(sockets)
        self.port = sockets[0].getsockname()[1]
        self.is_local = all(_is_loopback(str(one.getsockname()[0])) for one in sockets)
        for one in sockets:
            self._servers.append(
                await asyncio.start_server(self._serve, sock=one, limit=self._limits.head_bytes)
            )

    async def stop(self) -> None:
        """End all; who waits for an answer gets none."""
        for server in self._servers:
            server.close()
        running = tuple(self._connections)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > self._limits.connections:
                self.refused += 1
                busy = text_response(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
                await self._write(writer, busy, Request(""))
                return
            while await self._serve_one(reader, writer):
                pass
            # What it still sends is read, or the kernel would take back the answer on its way.
            await self._linger(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            # Gone, too slow, or silent: there is nobody to tell.
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()
        except Exception:
            log.exception("BUG: a request over HTTP failed")
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, and return whether another one may come."""
        try:
            async with asyncio.timeout(self._limits.idle_s):
                head = await reader.readuntil(_END)
            request = parse_head(head, self._limits)
            if self.is_local:
                _refuse_foreign_name(request)
            if request.is_post:
                request = replace(request, body=await self._body(request, reader))
        except asyncio.LimitOverrunError:
            too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            text = f"more than {self._limits.head_bytes} bytes of headers"
            return await self._refuse(writer, _Refused(too_large, text))
        except _Refused as refused:
            return await self._refuse(writer, refused)
        self.requests += 1
        await self._write(writer, await self._respond(request), request)
        return request.wants_more

    async def _body(self, request: Request, reader: asyncio.StreamReader) -> bytes:
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit() and len(length) <= 9):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the length makes no sense")
        if int(length) > self._limits.body_bytes:
            too_large = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise _Refused(too_large, f"more than {self._limits.body_bytes} bytes of a body")
        async with asyncio.timeout(self._limits.idle_s):
            return await reader.readexactly(int(length))

    async def _refuse(self, writer: asyncio.StreamWriter, refused: _Refused) -> bool:
        self.refused += 1
        answer = text_response(refused.status, str(refused))
        if refused.status is HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = "GET, HEAD, POST" if self._limits.body_bytes else "GET, HEAD"
            answer = replace(answer, headers=(("Allow", allowed),))
        await self._write(writer, answer, Request(""))
        return False

    async def _respond(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(self._limits.handle_s):
                return await self._handler(request)
        except TimeoutError:
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "busy: try again later")
        except Exception:
            log.exception("BUG: answering %s over HTTP failed", request.path)
            failed = HTTPStatus.INTERNAL_SERVER_ERROR
            return text_response(failed, "internal error, the log of this process has the details")

    async def _write(
        self, writer: asyncio.StreamWriter, response: Response, request: Request
    ) -> None:
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Connection", "keep-alive" if request.wants_more else "close"),
            *SAFE_HEADERS,
            *response.headers,
        ]
        lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if not request.is_head:
            writer.write(response.body)
        async with asyncio.timeout(self._limits.write_s):
            await writer.drain()

    async def _linger(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(self._limits.write_s):
            for _ in range(LINGER_READS):
                if not await reader.read(self._limits.head_bytes):
                    return


QUERY_FIELDS_MAX: Final = 16
LINGER_READS: Final = 16
"""Of what follows a refused request; more is cut off."""


def parse_head(head: bytes, limits: HttpLimits) -> Request:
    """Return a request from its head, with the empty line at its end."""
    first, *lines = head[: -len(_END)].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not _VERSION.fullmatch(words[2]):
        raise _Refused(HTTPStatus.BAD_REQUEST, "not a request of HTTP/1.1")
    method, target, version = words
    if len(lines) > limits.headers:
        too_many = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        raise _Refused(too_many, f"more than {limits.headers} headers")
    headers = _parse_headers(lines)
    is_post = method == "POST" and limits.body_bytes > 0
    _refuse_method(method, headers, is_post=is_post)
    if version == "HTTP/1.1" and "host" not in headers:
        raise _Refused(HTTPStatus.BAD_REQUEST, "no Host")
    try:
        parts = urlsplit(target)
        query = dict(_parse_query(parts.query))
    except ValueError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, "the address makes no sense") from error
    if not parts.path.startswith("/"):
        raise _Refused(HTTPStatus.BAD_REQUEST, "the address makes no sense")
    wishes = headers.get("connection", "").lower().replace(" ", "").split(",")
    wants_more = version == "HTTP/1.1" and "close" not in wishes
    # Names that are no text arrive as their bytes, in the form that the rest of the process uses.
    path = unquote(parts.path, errors="surrogateescape")
    return Request(path, query, headers, method == "HEAD", wants_more, is_post)


def _refuse_method(method: str, headers: dict[str, str], *, is_post: bool) -> None:
    if is_post:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send a body of type {JSON}")
        if "transfer-encoding" in headers:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "say how long the body is")
        return
    if method not in {"GET", "HEAD"}:
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD: nothing changes here")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a body has no meaning here")


def _parse_query(query: str) -> list[tuple[str, str]]:
    return parse_qsl(
        query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX, errors="surrogateescape"
    )


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name) or "\0" in value or "\n" in value:
            raise _Refused(HTTPStatus.BAD_REQUEST, "a header makes no sense")
        name = name.lower()
        if name in headers and name in {"host", "content-length"}:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"two of {name}")
        headers[name] = value.strip(" \t")
    return headers


def _refuse_foreign_name(request: Request) -> None:
    host = request.headers.get("host", "localhost")
    name = host.rpartition(":")[0] if re.search(r":\d*$", host) else host
    name = name.strip("[]").lower().rstrip(".")
    if name != "localhost" and not name.endswith(".localhost") and not _is_address(name):
        raise _Refused(
            HTTPStatus.MISDIRECTED_REQUEST,
            "this address is for this machine alone: use localhost or an IP address as the name",
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(text: str) -> bool:
    return _is_address(text) and ipaddress.ip_address(text).is_loopback
