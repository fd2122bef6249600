"""A hand-over waits until endpoints hold their clients' commands, and never for long."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.holding import HOLD_S, has_endpoint, until_held
from everfly.operator.resources.endpoint import PROBES_PORT
from everfly.runtime.http import HttpServer, Request, Response, text_response

MARGIN_S = 2.0
"""A busy machine is late."""


def _store(everfly: dict[str, Any]) -> StoreSight:
    return StoreSight("shop", "cache", "1", "1", 1, False, {"everfly": everfly}, {}, {})


STORE = _store({"endpoint": {"enabled": True}})


class _Endpoint:
    """Answers as the probes of an endpoint do."""

    def __init__(self) -> None:
        # An address of its own, because the port is given.
        self.ip = f"127.88.{secrets.randbelow(250) + 1}.{secrets.randbelow(250) + 1}"
        self.is_holding = False
        self.asked = asyncio.Event()

    async def answer(self, request: Request) -> Response:
        assert request.path == "/readyz"
        self.asked.set()
        if self.is_holding:
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "not ready: holding")
        return text_response(HTTPStatus.OK, "ready")


@asynccontextmanager
async def _endpoints(count: int) -> AsyncIterator[tuple[Any, list[_Endpoint]]]:
    endpoints = [_Endpoint() for _ in range(count)]
    servers = [HttpServer(each.answer) for each in endpoints]
    for server, each in zip(servers, endpoints, strict=True):
        await server.start(each.ip, PROBES_PORT)

    async def pods(*_: object) -> tuple[list[dict[str, Any]], str]:
        return [{"status": {"podIP": each.ip}} for each in endpoints] + [{"status": {}}], "1"

    try:
        yield SimpleNamespace(list=pods), endpoints
    finally:
        for server in servers:
            await server.stop()


async def test_the_hand_over_waits_for_the_last_endpoint() -> None:
    async with _endpoints(2) as (api, (first, last)):
        waiting = asyncio.create_task(until_held(api, STORE))
        first.is_holding = True
        await last.asked.wait()
        assert not waiting.done()
        last.is_holding = True
        async with asyncio.timeout(MARGIN_S):
            await waiting


async def test_an_endpoint_that_never_holds_is_waited_for_a_second_only() -> None:
    async with _endpoints(1) as (api, _):
        began = time.monotonic()
        await until_held(api, STORE)
        assert HOLD_S * 0.9 < time.monotonic() - began < HOLD_S + MARGIN_S


async def test_an_endpoint_that_cannot_be_asked_is_not_waited_for() -> None:
    async def pods(*_: object) -> tuple[list[dict[str, Any]], str]:
        return [{"status": {"podIP": _Endpoint().ip}}], "1"

    began = time.monotonic()
    api: Any = SimpleNamespace(list=pods)
    await until_held(api, STORE)
    assert time.monotonic() - began < HOLD_S


def test_only_data_stores_with_an_endpoint_are_asked_about() -> None:
    assert has_endpoint(STORE)
    assert not has_endpoint(_store({}))
    assert not has_endpoint(_store({"endpoint": {"enabled": False}}))
