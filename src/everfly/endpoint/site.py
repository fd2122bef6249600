"""Turn requests over HTTP into what an endpoint knows, and into what it is told to do.

    GET  /status              all of it, in JSON
    GET  /metrics             for Prometheus
    GET  /healthz             200 while this process works: for a liveness probe
    GET  /readyz              200 while commands are answered
    GET  /availability?lag=B  200 or 503 with a reason; B: bytes, or a time like 500ms
    GET  /switchover          the last switch-over, or the one under way
    POST /switchover          {"to": "HOST:PORT", "dry_run": true}
    POST /hold, /release      {"reason": "...", "budget_ms": 5000}
    POST /primary             {"address": "HOST:PORT", "epoch": 7}, in mode `pushed`
    POST /drain               {}: let clients finish, and end
    POST /reload              {}: read certificates and settings again

Rules: all but probes and metrics needs the token where there is one; without one the address is of
this machine alone. A refused wish is 412, one that comes too early 409, one that makes no sense
400; each with a reason.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, Protocol

from everfly.core.model import Address
from everfly.endpoint.availability import Bound, Traffic, availability, parse_bound
from everfly.endpoint.status import Parts, progress_to_json, status
from everfly.endpoint.switchover import Progress, State, Wish
from everfly.errors import SettingsError, Unavailable
from everfly.runtime.http import JSON, Request, Response, text_response
from everfly.wire.exposition import CONTENT_TYPE

BODY_BYTES_MAX: Final = 16_384
HOLD_MS_MAX: Final = 3_600_000
REASON_CHARS_MAX: Final = 200
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/availability"})
"""For probes and scrapers, which have no token: they learn whether it works, and how much."""

Json = dict[str, object]


class Control(Protocol):
    """What the process can be told to do. Implemented by `app.Endpoint`."""

    def drain(self) -> None:
        """Let clients finish, and end."""
        ...

    def reload(self) -> str:
        """Read certificates and settings again; return what was taken over."""
        ...

    def switch_over(self, wish: Wish) -> Progress:
        """Begin a switch-over. Raises Unavailable while another one runs."""
        ...


class _Refused(Exception):  # noqa: N818 - it names an answer
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Site:
    """What one endpoint shows, and does when it is told to."""

    def __init__(self, parts: Parts, control: Control, token: bytes) -> None:
        self._parts = parts
        self._control = control
        self.token = token
        """Empty: everybody who can connect may do everything."""

    async def respond(self, request: Request) -> Response:
        """Answer one request."""
        try:
            if request.path not in OPEN_PATHS:
                self._check_token(request)
            return await self._handler(request)(request)
        except _Refused as refused:
            return _json({"error": str(refused)}, refused.status)

    async def respond_to_anybody(self, request: Request) -> Response:
        """Answer one request of whoever can connect: whether it works, and how much."""
        if request.is_post or request.path not in OPEN_PATHS:
            there = " ".join(sorted(OPEN_PATHS))
            return _json({"error": f"nothing here; there is {there}"}, HTTPStatus.NOT_FOUND)
        try:
            return await self._handler(request)(request)
        except _Refused as refused:
            return _json({"error": str(refused)}, refused.status)

    def _handler(self, request: Request) -> "_Handler":
        handlers = self._posts() if request.is_post else self._gets()
        found = handlers.get(request.path)
        if found is None:
            raise _Refused(HTTPStatus.NOT_FOUND, f"nothing here; there is {' '.join(handlers)}")
        return found

    def _check_token(self, request: Request) -> None:
        if not self.token:
            return
        kind, _, told = request.headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(told.strip().encode("latin-1"), self.token)
        if kind.lower() != "bearer" or not is_right:
            raise _Refused(HTTPStatus.UNAUTHORIZED, "send the token: `Authorization: Bearer TOKEN`")

    def _gets(self) -> Mapping[str, "_Handler"]:
        return {
            "/status": self._status,
            "/metrics": self._metrics,
            "/healthz": self._health,
            "/readyz": self._ready,
            "/availability": self._availability,
            "/switchover": self._last_switchover,
        }

    def _posts(self) -> Mapping[str, "_Handler"]:
        return {
            "/switchover": self._switch_over,
            "/hold": self._hold,
            "/release": self._release,
            "/primary": self._primary,
            "/drain": self._drain,
            "/reload": self._reload,
        }

    async def _status(self, request: Request) -> Response:
        del request
        return _json(status(self._parts))

    async def _metrics(self, request: Request) -> Response:
        del request
        return Response(HTTPStatus.OK, CONTENT_TYPE, self._parts.metrics.text().encode())

    async def _health(self, request: Request) -> Response:
        del request
        return text_response(HTTPStatus.OK, "ok")

    async def _ready(self, request: Request) -> Response:
        del request
        found = availability(self._traffic(), None, None)
        if self._parts.is_ending():
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "this process is ending")
        if not found.is_available:
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {found.reason}")
        return text_response(HTTPStatus.OK, "ready")

    async def _availability(self, request: Request) -> Response:
        bound: Bound | None = None
        if "lag" in request.query:
            try:
                bound = parse_bound(request.query["lag"])
            except ValueError as error:
                raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        picture = None
        if bound is not None and self._parts.members is not None:
            picture = await self._parts.members.look()
        found = availability(self._traffic(), picture, bound)
        answer = HTTPStatus.OK if found.is_available else HTTPStatus.SERVICE_UNAVAILABLE
        told: Json = {"available": found.is_available, "code": found.code, "reason": found.reason}
        return _json(told, answer)

    async def _last_switchover(self, request: Request) -> Response:
        """Answer at once, or with `?after=N` when it has more than N steps or is over."""
        last = self._parts.switchovers.last
        if last is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "none was asked for since this process started")
        after = request.query.get("after", "")
        if after.isascii() and after.isdigit():
            try:
                async with asyncio.timeout(POLL_S):
                    while len(last.steps) <= int(after[:6]) and not last.is_over:
                        await self._parts.switchovers.changed.wait()
            except TimeoutError:
                pass
        return _json(progress_to_json(last))

    async def _switch_over(self, request: Request) -> Response:
        told = _body(request, {"to", "dry_run"})
        to = _address(told["to"], "to") if told.get("to") is not None else None
        is_dry_run = told.get("dry_run", False)
        if not isinstance(is_dry_run, bool):
            raise _Refused(HTTPStatus.BAD_REQUEST, "dry_run must be true or false")
        try:
            progress = self._control.switch_over(Wish(to=to, is_dry_run=is_dry_run))
        except Unavailable as error:
            raise _Refused(HTTPStatus.CONFLICT, str(error)) from error
        # Whether it is refused is known soon; the rest is to be asked for by GET.
        try:
            async with asyncio.timeout(POLL_S):
                while not progress.steps and not progress.is_over:
                    await self._parts.switchovers.changed.wait()
        except TimeoutError:
            pass
        answer = HTTPStatus.ACCEPTED
        if progress.state is State.REFUSED:
            answer = HTTPStatus.PRECONDITION_FAILED
        elif progress.is_over:
            answer = HTTPStatus.OK
        return _json(progress_to_json(progress), answer)

    async def _hold(self, request: Request) -> Response:
        told = _body(request, {"reason", "budget_ms"})
        budget = told.get("budget_ms")
        if isinstance(budget, bool) or not isinstance(budget, int) or not 0 < budget <= HOLD_MS_MAX:
            raise _Refused(
                HTTPStatus.BAD_REQUEST, f"budget_ms must be a whole number, 1 to {HOLD_MS_MAX}"
            )
        if self._parts.switchovers.is_running:
            raise _Refused(HTTPStatus.CONFLICT, "a switch-over is under way and holds commands")
        reason = str(told.get("reason", "asked for"))[:REASON_CHARS_MAX]
        token = self._parts.plane.hold(reason, budget)
        return _json({"token": token, "budget_ms": budget})

    async def _release(self, request: Request) -> Response:
        told = _body(request, {"token"})
        token = told.get("token")
        if token is not None and (isinstance(token, bool) or not isinstance(token, int)):
            raise _Refused(HTTPStatus.BAD_REQUEST, "token must be the number that /hold answered")
        if self._parts.switchovers.is_running:
            raise _Refused(HTTPStatus.CONFLICT, "a switch-over is under way and holds commands")
        if not self._parts.plane.release(token):
            raise _Refused(HTTPStatus.CONFLICT, "there is no such hold (any more)")
        return _json({})

    async def _primary(self, request: Request) -> Response:
        if not self._parts.is_pushed:
            why = "the Sentinels say who is the primary; start with mode `pushed` to say it here"
            raise _Refused(HTTPStatus.CONFLICT, why)
        told = _body(request, {"address", "epoch"})
        epoch = told.get("epoch")
        if isinstance(epoch, bool) or not isinstance(epoch, int) or not 0 <= epoch < 1 << 40:
            raise _Refused(HTTPStatus.BAD_REQUEST, "epoch must be a whole number, not negative")
        address = _address(told.get("address"), "address")
        if not self._parts.follower.push(address, epoch):
            known = self._parts.follower.believed
            assert known is not None, "or nothing would contradict"
            why = f"{known.primary} is known as the primary of epoch {known.epoch}"
            raise _Refused(HTTPStatus.CONFLICT, why)
        return _json({"address": str(address), "epoch": epoch}, HTTPStatus.ACCEPTED)

    async def _drain(self, request: Request) -> Response:
        _body(request, set())
        self._control.drain()
        return _json({"connections": self._parts.plane.connections()}, HTTPStatus.ACCEPTED)

    async def _reload(self, request: Request) -> Response:
        _body(request, set())
        try:
            return _json({"taken_over": self._control.reload()})
        except SettingsError as error:
            raise _Refused(HTTPStatus.PRECONDITION_FAILED, str(error)) from error

    def _traffic(self) -> Traffic:
        follower = self._parts.follower
        state = str(self._parts.plane.stats().get("state", ""))
        return Traffic(
            state, str(follower.accepted.primary) if follower.accepted else "", follower.trouble
        )


POLL_S: Final = 5.0
"""How long a question for news is kept open."""

_Handler = Callable[[Request], Awaitable[Response]]


def _body(request: Request, known: set[str]) -> Json:
    try:
        told = json.loads(request.body or b"{}")
    except ValueError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from error
    if not isinstance(told, dict) or not told.keys() <= known:
        allowed = ", ".join(sorted(known)) or "nothing in it"
        raise _Refused(HTTPStatus.BAD_REQUEST, f"the body must be an object with {allowed}")
    return told


def _address(value: object, name: str) -> Address:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{name} must be an address like 10.0.0.1:6379")
    return Address(host.strip("[]"), int(port))


def _json(told: Json, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, JSON, json.dumps(told).encode() + b"\n")
