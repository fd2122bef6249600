"""Turn paths into answers, and POSTs into a list, independent of the code under test."""

import http.client
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from kinds import HOST

LIMIT_S = 10.0


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> dict[str, object]:
        told = json.loads(self.body)
        assert isinstance(told, dict), told
        return told


def get(port: int, path: str, *, method: str = "GET", host: str | None = None) -> Got:
    connection = http.client.HTTPConnection(HOST, port, timeout=LIMIT_S)
    try:
        connection.request(method, path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        body = answer.read().decode()
        return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body)
    finally:
        connection.close()


def send(
    port: int,
    method: str,
    path: str,
    body: str | None = None,
    *,
    token: str = "",
    host: str | None = None,
    content_type: str = "application/json",
) -> Got:
    """Ask for a change, or with a token."""
    headers = {"Content-Type": content_type} if body is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if host:
        headers["Host"] = host
    connection = http.client.HTTPConnection(HOST, port, timeout=LIMIT_S)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, text)
    finally:
        connection.close()


def samples(text: str) -> dict[str, float]:
    """Return the samples of an exposition: name with labels -> value."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@dataclass(frozen=True)
class Post:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Keeps what is posted, and answers as `answers` say; 200 when they are used up."""

    answers: list[int] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    hangs: bool = False
    """Answers nothing, until the end of the block."""

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", "0"))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posts.append(Post(self.path, headers, self.rfile.read(size)))
                if receiver.hangs:
                    receiver._end.wait(LIMIT_S)
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the test looks itself."""

        self._end = threading.Event()
        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])
