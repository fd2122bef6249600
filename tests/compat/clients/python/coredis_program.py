"""coredis: the calls of the Sentinel protocol, or a writer and a reader that follow the primary.

It speaks RESP3 only. It runs in an environment of its own, so it imports nothing from the tests.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from coredis import Redis, Sentinel
from coredis.connection import TCPLocation
from coredis.exceptions import RedisError

HOST: Final = "127.0.0.1"
LOOP_S: Final = 0.05
STEPS_A_LINE: Final = 20
TIMEOUT_S: Final = 1.0
PROTOCOL: Final = 3
KEY: Final = "coredis-3"


def say(phase: str, **facts: object) -> None:
    """Print one line of JSON."""
    line = json.dumps({"phase": phase, "protocol": PROTOCOL, **facts})
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def calls(name: str, ports: list[int]) -> None:
    async with Redis(HOST, ports[0], decode_responses=True) as sentinel:
        unknown = "no error"
        try:
            await sentinel.sentinel_master("unknown")
        except RedisError as error:
            unknown = str(error)
        say(
            "calls",
            primary=await sentinel.sentinel_get_master_addr_by_name(name),
            masters=list(await sentinel.sentinel_masters()),
            replicas=sorted(int(each["port"]) for each in await sentinel.sentinel_replicas(name)),
            sentinels=sorted(int(each["port"]) for each in await sentinel.sentinel_sentinels(name)),
            # It turns these two status replies into facts.
            quorum="OK" if await sentinel.sentinel_ckquorum(name) else "not OK",
            unknown=unknown,
            failover="OK" if await sentinel.sentinel_failover(name) else "not OK",
        )


async def repeat(phase: str, step: Callable[[int], Awaitable[tuple[int, int]]]) -> None:
    """Repeat a step with counted values.

    Say each instance that it reaches, once a second where it is, and errors.
    """
    last_port, last_error, value = 0, "", 0
    while True:
        value += 1
        try:
            port, seen = await step(value)
            if port != last_port or value % STEPS_A_LINE == 0:
                say(phase, port=port, value=seen)
            last_port, last_error = port, ""
        except Exception as error:  # noqa: BLE001 - whatever the library raises while it recovers
            text = f"{type(error).__name__}: {error}"
            if text != last_error:
                say("error", during=phase, text=text)
            last_error = text
        await asyncio.sleep(LOOP_S)


async def port_of(client: Redis[str]) -> int:
    return int((await client.info("server"))["tcp_port"])


async def follow(name: str, ports: list[int]) -> None:
    places = [TCPLocation(HOST, port) for port in ports]
    async with Sentinel(
        places, decode_responses=True, stream_timeout=TIMEOUT_S, connect_timeout=TIMEOUT_S
    ) as sentinel:
        writer, reader = sentinel.primary_for(name), sentinel.replica_for(name)

        async def write(value: int) -> tuple[int, int]:
            await writer.set(KEY, value)
            return await port_of(writer), value

        async def read(_value: int) -> tuple[int, int]:
            seen = int(await reader.get(KEY) or 0)
            return await port_of(reader), seen

        async with writer, reader, asyncio.TaskGroup() as tasks:
            tasks.create_task(repeat("writes", write))
            tasks.create_task(repeat("reads", read))


if __name__ == "__main__":
    mode, group, sentinels = sys.argv[1:]
    program = calls if mode == "calls" else follow
    asyncio.run(program(group, [int(port) for port in sentinels.split(",")]))
