"""Ask a container whether it is started, alive and ready, as its probes say."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import httpx2

from .fields import Json

SHORTEST_S: Final = 0.2
"""Between two questions, however much the pace of probes is raised."""

Execute = Callable[[list[str], float], Awaitable[bool]]


@dataclass(frozen=True)
class Target:
    """What a probe asks."""

    address: str
    ports: dict[str, int]
    execute: Execute
    """Run a command in the container, within seconds: whether its status was 0."""


@dataclass(frozen=True)
class Pace:
    delay_s: float
    period_s: float
    within_s: float
    successes: int
    failures: int

    @classmethod
    def of(cls, probe: Json, speed: float) -> "Pace":
        return cls(
            delay_s=probe.get("initialDelaySeconds", 0) * speed,
            period_s=max(probe.get("periodSeconds", 10) * speed, SHORTEST_S),
            within_s=max(probe.get("timeoutSeconds", 1), 1),
            successes=probe.get("successThreshold", 1),
            failures=probe.get("failureThreshold", 3),
        )


async def outcomes(
    probe: Json, target: Target, speed: float, report: Callable[[bool], None]
) -> None:
    """Call `report` whenever enough answers of one kind came in a row, for ever."""
    pace = Pace.of(probe, speed)
    good = bad = 0
    await asyncio.sleep(pace.delay_s)
    while True:
        if await _is_good(probe, target, pace.within_s):
            good, bad = good + 1, 0
        else:
            good, bad = 0, bad + 1
        if good >= pace.successes:
            report(True)
        elif bad >= pace.failures:
            report(False)
        await asyncio.sleep(pace.period_s)


async def _is_good(probe: Json, target: Target, within_s: float) -> bool:
    if "exec" in probe:
        return await target.execute(probe["exec"]["command"], within_s)
    question = probe.get("tcpSocket") or probe["httpGet"]
    port = question["port"]
    number = target.ports[port] if isinstance(port, str) else int(port)
    try:
        async with asyncio.timeout(within_s):
            if "tcpSocket" in probe:
                _, writer = await asyncio.open_connection(target.address, number)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                return True
            scheme = question.get("scheme", "HTTP").lower()
            address = f"{scheme}://{target.address}:{number}{question.get('path', '/')}"
            # As for a real kubelet, whose certificate that is does not matter.
            async with httpx2.AsyncClient(verify=False, trust_env=False) as client:
                return 200 <= (await client.get(address)).status_code < 400
    except (OSError, TimeoutError, httpx2.HTTPError):
        return False
