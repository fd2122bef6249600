"""Turn requests over HTTP into what a Sentinel knows: metrics, health, JSON, and the page.

    /metrics            for Prometheus
    /healthz            200 while this process decides
    /readyz             200 while each group's primary is in contact, else 503 and which are not
    /api/groups         a line about each group; /api/groups/NAME all about one
    /api/history        the timeline; ?group=NAME&after=NUMBER&limit=N
    /                   the page

Rules: read-only; bounded answers; nothing secret is known here.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from everfly import __version__
from everfly.core.model import GroupName, RunId
from everfly.core.snapshot import GroupView
from everfly.runtime.driver import Driver
from everfly.runtime.http import Request, Response, text_response
from everfly.sentinel.metrics import GROUPS_A_TURN, Metrics
from everfly.sentinel.page import page_response
from everfly.sentinel.pictures import Json, line, picture, summary
from everfly.sentinel.pictures import text as plain
from everfly.sentinel.why import PER_GROUP_MAX, Timeline
from everfly.wire.exposition import CONTENT_TYPE
from everfly.wire.resp import to_bytes

HISTORY_MAX: Final = 1_000
"""Entries in one answer."""
NOT_READY_SHOWN: Final = 20
"""Groups named as not ready; the rest is counted."""

LARGE_MAX: Final = 2
"""Answers about all groups that are made at the same time: each may have megabytes. Probes of
health do not wait for them."""

_GROUP: Final = "/api/groups/"


class Site:
    """What one Sentinel shows."""

    def __init__(self, me: RunId, driver: Driver, metrics: Metrics, timeline: Timeline) -> None:
        self._me = me
        self._driver = driver
        self._metrics = metrics
        self._timeline = timeline
        self._large = asyncio.Semaphore(LARGE_MAX)

    async def respond(self, request: Request) -> Response:
        """Answer one request."""
        match request.path:
            case "/":
                return page_response()
            case "/metrics":
                async with self._large:
                    body = (await self._metrics.text()).encode()
                return Response(HTTPStatus.OK, CONTENT_TYPE, body)
            case "/healthz":
                return self._health()
            case "/readyz":
                return await self._readiness()
            case "/api/groups":
                async with self._large:
                    return await self._groups()
            case "/api/history":
                return self._history(request.query)
            case path if path.startswith(_GROUP):
                return self._group(path.removeprefix(_GROUP))
            case _:
                return text_response(HTTPStatus.NOT_FOUND, "nothing here; see /")

    def _health(self) -> Response:
        if self._driver.has_ended:
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "this Sentinel is ending")
        return text_response(HTTPStatus.OK, "ok")

    async def _readiness(self) -> Response:
        """Say whose primary is out of contact. To be down is not our fault, but to be seen."""
        if self._driver.has_ended:
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "this Sentinel is ending")
        reasons = []
        async for view in self._views():
            why = _why_unready(view)
            if why:
                reasons.append(f"{plain(view.name)}: {why}")
        if not reasons:
            return text_response(HTTPStatus.OK, "ready")
        shown = reasons[:NOT_READY_SHOWN]
        if len(reasons) > NOT_READY_SHOWN:
            shown.append(f"and {len(reasons) - NOT_READY_SHOWN} more groups")
        return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(["not ready", *shown]))

    async def _groups(self) -> Response:
        tilt_for = self._driver.tilt_for
        groups: list[Json] = [
            {**summary(view), **_addresses(view.name)} async for view in self._views()
        ]
        return _json(
            {
                "sentinel": {
                    "id": str(self._me),
                    "version": __version__,
                    "current_epoch": self._driver.current_epoch,
                    "tilt_for_ms": tilt_for,
                    "last_number": self._timeline.last_number,
                },
                "groups": groups,
            }
        )

    def _group(self, name: str) -> Response:
        view = self._driver.group_view(GroupName(name))
        if view is None:
            return _json_error(HTTPStatus.NOT_FOUND, f"no group `{plain(name)}` is watched here")
        return _json(picture(view))

    def _history(self, query: dict[str, str]) -> Response:
        try:
            after = _number(query.get("after", "0"), "after")
            limit = min(_number(query.get("limit", str(PER_GROUP_MAX)), "limit"), HISTORY_MAX)
        except ValueError as error:
            return _json_error(HTTPStatus.BAD_REQUEST, str(error))
        name = query.get("group") or None
        group = None if name is None else GroupName(name)
        entries = self._timeline.entries(group, after=after, limit=limit)
        lines: list[Json] = [line(entry) for entry in entries]
        return _json({"last_number": self._timeline.last_number, "entries": lines})

    async def _views(self) -> AsyncIterator[GroupView]:
        """All groups, with turns for others between them."""
        for number, name in enumerate(self._driver.group_names(), 1):
            view = self._driver.group_view(name)
            if view is not None:
                yield view
            if number % GROUPS_A_TURN == 0:
                await asyncio.sleep(0)


def _addresses(name: GroupName) -> dict[str, Json]:
    quoted = quote(to_bytes(name), safe="")
    return {"href": f"api/groups/{quoted}", "history_href": f"api/history?group={quoted}"}


def _why_unready(view: GroupView) -> str:
    primary = view.primary
    if primary.s_down_for is not None:
        return f"primary {plain(str(primary.address))} is down for {primary.s_down_for} ms"
    if not primary.link.is_connected:
        return f"no connection to primary {plain(str(primary.address))}"
    if primary.info_ago is None:
        return f"no INFO from primary {plain(str(primary.address))} yet"
    return ""


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ValueError(f"{name} must be a whole number that is not negative")
    return int(text)


def _json(told: dict[str, Json], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, "application/json", json.dumps(told).encode())


def _json_error(status: HTTPStatus, message: str) -> Response:
    return _json({"error": message}, status)
