"""Where definitions of backups are missing, or may not be read, data stores are kept as ever."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest
from lightkube import KubeConfig
from lightkube.config.models import Cluster, User

from everfly.operator.apiserver.api import Api
from everfly.operator.apiserver.events import Events
from everfly.operator.apiserver.inventory import Inventory
from everfly.operator.apiserver.lease import NoLease
from everfly.operator.backups.office import Backups
from everfly.operator.deeds import Tools
from everfly.operator.resources import Around
from everfly.runtime.http import HttpServer, Request, Response, text_response

LIMIT_S = 10.0


@contextlib.asynccontextmanager
async def _answering(status: HTTPStatus) -> AsyncIterator[tuple[Backups, asyncio.Queue[str]]]:
    """Backups of a cluster whose API server has nothing but that status."""
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def answer(request: Request) -> Response:
        asked.put_nowait(request.path)
        return text_response(status, "404 page not found")

    server = HttpServer(answer)
    await server.start("127.0.0.1", 0)
    here = Cluster(server=f"http://127.0.0.1:{server.port}")
    api = Api(KubeConfig.from_one(cluster=here, user=User(token="somebody")))
    tools = Tools(api, Inventory(api, (), lambda _: None), Events(api), NoLease())
    try:
        yield Backups(tools, Around(), ()), asked
    finally:
        await api.close()
        await server.stop()


@pytest.mark.parametrize("status", [HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN])
async def test_missing_definitions_are_said_once_and_looked_for_again_later(
    status: HTTPStatus, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with _answering(status) as (backups, asked), asyncio.timeout(LIMIT_S):
            running = asyncio.create_task(backups.run())
            try:
                assert "/apis/everfly.dev/v1alpha1/" in await asked.get()
                while not caplog.records:  # noqa: ASYNC110 - there is no event for a line in the log
                    await asyncio.sleep(0.01)
                assert not running.done()
                assert "everfly_operator_backups" in backups.metrics()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
    (line,) = [each.getMessage() for each in caplog.records if "backups" in each.getMessage()]
    assert f"cannot be looked after: the API server answers {status.value}" in line
    assert asked.empty()
