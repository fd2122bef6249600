"""Client libraries of Python, unchanged, through the endpoint over a switch-over: not one error."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import valkey
import valkey.asyncio

from endpoint_process import EndpointProcess, needs_plane
from kinds import HOST
from processes import until
from servers import Deployment

pytestmark = [pytest.mark.integration, needs_plane]

LIMIT_S = 30.0
ROUNDS = 20
LIBRARIES = pytest.mark.parametrize("library", [redis, valkey], ids=["redis-py", "valkey-py"])
PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3], ids=["RESP2", "RESP3"])


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[EndpointProcess]:
    with Deployment() as deployment, EndpointProcess(tmp_path, deployment) as ready:
        yield ready


class Work(threading.Thread):
    """Works until told to stop; whatever it raises is kept."""

    def __init__(self, work: Any) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.rounds = 0
        self.error: BaseException | None = None
        self.stopped = threading.Event()

    def run(self) -> None:
        try:
            while not self.stopped.is_set():
                self._work(self.rounds)
                self.rounds += 1
                time.sleep(0.001)
        except BaseException as error:  # noqa: BLE001 - it is what the test looks at
            self.error = error


def over_switchovers(endpoint: EndpointProcess, works: list[Work], times: int = 2) -> None:
    """Move the primary while all work, and see that none was disturbed."""
    for work in works:
        work.start()
    for _ in range(times):
        more_rounds(works)
        told = endpoint.switch_over_when_well()
        assert told["state"] == "done", told
        endpoint.deployment.settle()
    more_rounds(works)
    for work in works:
        work.stopped.set()
    for work in works:
        work.join(LIMIT_S)
        assert not work.is_alive()
    assert [work.error for work in works] == [None] * len(works)


def more_rounds(works: list[Work]) -> None:
    wanted = [work.rounds + ROUNDS for work in works]

    def have_worked() -> bool:
        """All have done more, or one has failed."""
        return any(work.error for work in works) or all(
            work.rounds >= least for work, least in zip(works, wanted, strict=True)
        )

    until(have_worked, LIMIT_S, show=lambda: [(work.rounds, work.error) for work in works])


@LIBRARIES
@PROTOCOLS
def test_a_blocking_client_notices_nothing(
    endpoint: EndpointProcess, library: Any, protocol: int
) -> None:
    # Retries would hide what the endpoint must not show.
    retry = library.retry.Retry(library.backoff.NoBackoff(), 0)
    client = getattr(library, "Redis", None) or library.Valkey
    store = client(HOST, endpoint.port, protocol=protocol, retry=retry, decode_responses=True)
    script = store.register_script("return redis.call('INCR', KEYS[1])")

    def pipeline(number: int) -> None:
        values = store.pipeline(transaction=False).incr("p").incr("p").execute()
        assert values == [2 * number + 1, 2 * number + 2]

    def transaction(number: int) -> None:
        assert store.pipeline().incr("t").set("u", number).execute() == [number + 1, True]

    def watch(number: int) -> None:
        def raise_by_one(pipe: Any) -> None:
            value = int(pipe.get("w") or 0)
            pipe.multi()
            pipe.set("w", value + 1)

        store.transaction(raise_by_one, "w")
        assert store.get("w") == str(number + 1)

    def scripted(number: int) -> None:
        assert script(keys=["s"]) == number + 1

    def queue(number: int) -> None:
        store.rpush("q", number)
        assert tuple(store.blpop("q", timeout=10)) == ("q", str(number))

    def large(number: int) -> None:
        value = str(number) * 100_000
        store.set("l", value)
        assert store.get("l") == value

    try:
        works = [Work(each) for each in (pipeline, transaction, watch, scripted, queue, large)]
        over_switchovers(endpoint, works)
    finally:
        store.close()


@PROTOCOLS
def test_a_subscriber_hears_again_without_doing_anything(
    endpoint: EndpointProcess, protocol: int
) -> None:
    with redis.Redis(HOST, endpoint.port, protocol=protocol) as store:  # type: ignore[arg-type]  # 2 or 3
        channel = store.pubsub(ignore_subscribe_messages=True)
        channel.subscribe("news")
        heard: list[bytes] = []

        def listen(_: int) -> None:
            message = channel.get_message(timeout=0.1)
            if message:
                heard.append(message["data"])

        def publish(number: int) -> None:
            store.publish("news", str(number))

        over_switchovers(endpoint, [Work(listen), Work(publish)])
        seen = len(heard)
        channel.close()
    assert seen > ROUNDS, "before and after"
    assert len(set(heard)) == len(heard), "none twice"


@LIBRARIES
@PROTOCOLS
async def test_an_asyncio_client_notices_nothing(
    endpoint: EndpointProcess, library: Any, protocol: int
) -> None:
    client = getattr(library.asyncio, "Redis", None) or library.asyncio.Valkey
    retry = library.asyncio.retry.Retry(library.backoff.NoBackoff(), 0)
    store = client(host=HOST, port=endpoint.port, protocol=protocol, retry=retry)
    counts = [0] * 8
    stopped = asyncio.Event()

    async def count(which: int) -> None:
        while not stopped.is_set():
            counts[which] += 1
            assert await store.incr(f"k{which}") == counts[which]
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as tasks:
        for which in range(len(counts)):
            tasks.create_task(count(which))
        for _ in range(2):
            told = await asyncio.to_thread(endpoint.switch_over_when_well)
            assert told["state"] == "done", told
            await asyncio.to_thread(endpoint.deployment.settle)
        stopped.set()
    assert min(counts) > ROUNDS
    await store.aclose()
