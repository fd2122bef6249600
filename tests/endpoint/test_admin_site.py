"""The admin address over real HTTP, with real Sentinels behind it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from endpoint_plane import RecordingPlane
from everfly.core.model import Address
from everfly.endpoint import metric_families
from everfly.endpoint.doc import metrics_to_markdown
from everfly.endpoint.follow import Follower, FollowSettings
from everfly.endpoint.members import Members
from everfly.endpoint.metrics import Beat, Metrics
from everfly.endpoint.preconditions import Bounds
from everfly.endpoint.site import BODY_BYTES_MAX, Site
from everfly.endpoint.status import Parts
from everfly.endpoint.switchover import Limits, Progress, Switchovers, Wish
from everfly.errors import SettingsError
from everfly.runtime.client import Credentials
from everfly.runtime.http import HttpLimits, HttpServer
from kinds import HOST
from servers import Deployment
from shell_doubles import until
from web_client import Got, samples, send

LIMIT_S = 20.0
TOKEN = b"0123456789abcdef"


@dataclass
class Control:
    """What the process would do."""

    switchovers: Switchovers
    drained: int = 0
    reload_error: str = ""
    tasks: list[asyncio.Task[Progress]] = field(default_factory=list)

    def drain(self) -> None:
        self.drained += 1

    def reload(self) -> str:
        if self.reload_error:
            raise SettingsError(self.reload_error)
        return "certificates"

    def switch_over(self, wish: Wish) -> Progress:
        progress = self.switchovers.begin(wish)
        bounds = Bounds(lag=1_000_000, pause_ms=0)
        limits = Limits(total_ms=8_000, drain_ms=500, bounds=bounds)
        self.tasks.append(asyncio.create_task(self.switchovers.run(progress, limits)))
        return progress


@dataclass
class Admin:
    port: int
    plane: RecordingPlane
    follower: Follower
    control: Control

    async def get(self, path: str, token: bytes = b"") -> Got:
        return await asyncio.to_thread(send, self.port, "GET", path, token=token.decode())

    async def post(self, path: str, body: object = None, token: bytes = b"") -> Got:
        text = json.dumps({} if body is None else body)
        return await asyncio.to_thread(send, self.port, "POST", path, text, token=token.decode())


@pytest.fixture
def plane() -> Iterator[RecordingPlane]:
    plane = RecordingPlane()
    yield plane
    plane.close()


@contextlib.asynccontextmanager
async def admin(
    plane: RecordingPlane,
    sentinels: tuple[Address, ...] = (),
    name: str = "g",
    token: bytes = b"",
) -> AsyncIterator[Admin]:
    settings = FollowSettings(name, sentinels, Credentials(), Credentials())
    follower = Follower(settings, plane)
    members = Members(settings, plane)
    switchovers = Switchovers(follower, members, plane, settings)
    ending: list[bool] = []
    parts = Parts(
        group=name,
        is_pushed=not sentinels,
        plane=plane,
        follower=follower,
        members=members if sentinels else None,
        switchovers=switchovers,
        metrics=Metrics(name, plane, follower, switchovers, Beat()),
        is_ending=lambda: bool(ending),
    )
    control = Control(switchovers)
    server = HttpServer(Site(parts, control, token).respond, HttpLimits(body_bytes=BODY_BYTES_MAX))
    await server.start(HOST, 0)
    task = asyncio.create_task(follower.run())
    try:
        yield Admin(server.port, plane, follower, control)
    finally:
        task.cancel()
        await asyncio.wait([task, *control.tasks])
        await server.stop()
        await members.close()


async def test_without_a_primary_it_is_alive_and_not_ready(plane: RecordingPlane) -> None:
    async with admin(plane) as it:
        assert (await it.get("/healthz")).status == 200
        ready = await it.get("/readyz")
        assert ready.status == 503
        assert "not ready" in ready.body
        found = await it.get("/availability")
        assert (found.status, found.json()["code"]) == (503, "no-primary")
        assert (await it.get("/switchover")).status == 404
        assert (await it.get("/nothing")).status == 404


@pytest.mark.parametrize("token", [b"", b"0123456789abcdeX", b"0123456789abcde", TOKEN + b"0"])
async def test_without_the_token_only_probes_are_answered(
    plane: RecordingPlane, token: bytes
) -> None:
    async with admin(plane, token=TOKEN) as it:
        for path in ("/status", "/switchover", "/nothing"):
            assert (await it.get(path, token)).status == 401, path
        for path in ("/switchover", "/hold", "/release", "/primary", "/drain", "/reload"):
            assert (await it.post(path, None, token)).status == 401, path
        for path in ("/healthz", "/metrics"):
            assert (await it.get(path, token)).status == 200, path
        assert plane.names() == []
        assert it.control.drained == 0
        assert (await it.get("/status", TOKEN)).status == 200


async def test_what_makes_no_sense_is_refused_and_changes_nothing(plane: RecordingPlane) -> None:
    async with admin(plane) as it:
        for path, body in (
            ("/hold", {}),
            ("/hold", {"budget_ms": 0}),
            ("/hold", {"budget_ms": True}),
            ("/hold", {"budget_ms": 10, "x": 1}),
            ("/release", {"token": "x"}),
            ("/primary", {"address": "here", "epoch": 1}),
            ("/primary", {"address": "10.0.0.1:70000", "epoch": 1}),
            ("/primary", {"address": "10.0.0.1:1", "epoch": -1}),
            ("/primary", [1]),
            ("/switchover", {"to": "x"}),
            ("/switchover", {"dry_run": "yes"}),
            ("/drain", {"now": True}),
        ):
            answer = await it.post(path, body)
            assert answer.status == 400, (path, body, answer)
            assert answer.json()["error"]
        assert plane.names() == []
        assert it.control.drained == 0


async def test_a_web_page_can_change_nothing(plane: RecordingPlane) -> None:
    async with admin(plane) as it:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            answer = await asyncio.to_thread(
                send, it.port, "POST", "/drain", "{}", content_type=kind
            )
            assert answer.status == 415
        rebound = await asyncio.to_thread(
            send, it.port, "POST", "/drain", "{}", host="evil.example"
        )
        assert rebound.status == 421
        large = "x" * (BODY_BYTES_MAX + 1)
        assert (await asyncio.to_thread(send, it.port, "POST", "/drain", large)).status == 413
        assert it.control.drained == 0


async def test_it_holds_releases_drains_and_reloads(plane: RecordingPlane) -> None:
    async with admin(plane) as it:
        held = await it.post("/hold", {"reason": "by hand", "budget_ms": 5_000})
        assert held.status == 200
        assert plane.of("hold") == [("by hand", 5_000)]
        assert (await it.post("/release", {"token": 99})).status == 409
        assert (await it.post("/release", {"token": held.json()["token"]})).status == 200
        assert plane.state == "open"
        assert (await it.post("/drain")).status == 202
        assert it.control.drained == 1
        assert (await it.post("/reload")).json() == {"taken_over": "certificates"}
        it.control.reload_error = "no certificate"
        refused = await it.post("/reload")
        assert (refused.status, refused.json()["error"]) == (412, "no certificate")


async def test_metrics_are_those_of_the_table(plane: RecordingPlane) -> None:
    counted = dict.fromkeys(metric_families.OF_PLANE, 7)
    plane.counters = counted | {"hold_ms_total": 1_500, "hold_age_ms": 0, "longest_hold_ms": 900}
    plane.latency = {"bounds_us": [100, 1_000], "counts": [1, 2, 3], "sum_us": 2_000_000}
    async with admin(plane) as it:
        found = samples((await it.get("/metrics")).body)
    assert found["everfly_endpoint_requests_total"] == 7
    assert found["everfly_endpoint_hold_seconds_total"] == 1.5
    assert found['everfly_endpoint_state{state="no-primary"}'] == 1
    assert found['everfly_endpoint_request_duration_seconds_bucket{le="0.001"}'] == 3
    assert found["everfly_endpoint_request_duration_seconds_sum"] == 2
    names = {name.partition("{")[0] for name in found}
    known = {each for family in metric_families.FAMILIES for each in family.sample_names()}
    assert names <= known


def test_the_page_of_metrics_is_what_the_table_says() -> None:
    page = Path(__file__).parents[2] / "docs/endpoint-metrics.md"
    assert page.read_text() == metrics_to_markdown()


@pytest.mark.integration
async def test_a_switch_over_by_http_is_told_step_by_step(plane: RecordingPlane) -> None:
    with Deployment() as deployment:
        old = deployment.primary()
        places = tuple(Address(HOST, each.port) for each in deployment.sentinels)
        async with admin(plane, places, deployment.name) as it:
            await until(lambda: it.follower.accepted is not None, LIMIT_S)
            assert (await it.get("/readyz")).status == 200
            for lag, status in (("100000", 200), ("60000ms", 200), ("much", 400)):
                assert (await it.get(f"/availability?lag={lag}")).status == status
            pushed = await it.post("/primary", {"address": f"{HOST}:{old.port}", "epoch": 99})
            assert pushed.status == 409
            assert "mode `pushed`" in str(pushed.json()["error"])
            stranger = await it.post("/switchover", {"to": "127.0.0.1:1"})
            assert stranger.status == 412
            assert "is no instance" in str(stranger.json()["reason"])
            dry = await it.post("/switchover", {"dry_run": True})
            assert (dry.status, dry.json()["state"]) == (200, "dry-run")
            begun = await it.post("/switchover")
            assert begun.status in (200, 202)
            told = begun.json()
            while told["state"] == "running":
                steps = told["steps"]
                assert isinstance(steps, list)
                told = (await it.get(f"/switchover?after={len(steps)}")).json()
            assert told["state"] == "done", told
            new = await asyncio.to_thread(deployment.new_primary, old)
            status = (await it.get("/status")).json()
            assert status["primary"] == told["to"] == f"{HOST}:{new.port}"
            assert status["switches"] == 1
            sentinels = status["sentinels"]
            assert isinstance(sentinels, list)
            assert {each["error"] for each in sentinels} == {""}


@pytest.mark.integration
async def test_a_primary_can_be_pushed(plane: RecordingPlane) -> None:
    with Deployment(kinds=()) as deployment:
        first, second, _ = deployment.group.instances
        async with admin(plane) as it:
            place = f"{HOST}:{first.port}"
            assert (await it.post("/primary", {"address": place, "epoch": 5})).status == 202
            await until(lambda: plane.primary == place, LIMIT_S)
            stale = {"address": f"{HOST}:{second.port}", "epoch": 4}
            refused = await it.post("/primary", stale)
            assert refused.status == 409
            assert f"{place} is known as the primary of epoch 5" in str(refused.json()["error"])
            assert plane.primary == place
