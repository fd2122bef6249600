"""Run the clients of one drill together, and turn their notes and the final data into results."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from everfly.drill.load import (
    AUDIT_S,
    KEYS,
    Audit,
    FixedConnections,
    GroupConnections,
    Reader,
    Writer,
    audit,
    remove,
)
from everfly.drill.record import Reads, Writes
from everfly.drill.stage import Layout, Stage
from everfly.errors import EverflyError

STOP_S: Final = 2.0
"""For the last attempts of all clients, each of which has limits of its own."""

STUBBORN_EVERY_S: Final = 0.005
STUBBORN_RETRY_S: Final = 0.02
STUBBORN_ANSWER_S: Final = 120.0
"""It waits for its answer as long as it takes, so that a primary that wakes up finds a client."""

_LOOK_S: Final = 0.05
_DICE: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Clients:
    """Who writes and reads during a drill."""

    group: GroupConnections
    """Of the writer."""
    writer: Writer
    reader: Reader
    stubborn: Writer | None
    tasks: tuple[asyncio.Task[None], ...]
    """Of all three."""

    @property
    def writers(self) -> tuple[Writer, ...]:
        """All writers."""
        return (self.writer,) if self.stubborn is None else (self.writer, self.stubborn)

    @property
    def have_begun(self) -> bool:
        """Whether each has had a first success."""
        return all(each.acknowledged for each in self.writers) and bool(self.reader.answered)

    async def stop(self) -> None:
        """Let each finish what it does, so that nothing is written while it is counted."""
        for writer in self.writers:
            writer.is_stopping = True
        self.reader.is_stopping = True
        await asyncio.wait(self.tasks, timeout=STOP_S)


@contextlib.asynccontextmanager
async def clients(stage: Stage, primary: str, *, with_stubborn: bool) -> AsyncIterator[Clients]:
    """Run the clients, and remove what they wrote where somebody keeps the deployment.

    The stubborn writer never leaves the address of `primary`.
    """
    prefix = f"{KEYS}:{_DICE.randrange(16**8):08x}"
    group, of_reader = GroupConnections(stage), GroupConnections(stage)
    fixed = FixedConnections(stage, stage.layout.instances[primary])
    writer = Writer(group, f"{prefix}:write")
    reader = Reader(of_reader, writer.counter)
    stubborn = Writer(
        fixed,
        f"{prefix}:stubborn",
        every_s=STUBBORN_EVERY_S,
        retry_s=STUBBORN_RETRY_S,
        answer_s=STUBBORN_ANSWER_S,
    )
    runs = [("writer", writer.run()), ("reader", reader.run())]
    if with_stubborn:
        runs.append(("stubborn writer", stubborn.run()))
    tasks = tuple(asyncio.create_task(run, name=name) for name, run in runs)
    running = Clients(group, writer, reader, stubborn if with_stubborn else None, tasks)
    try:
        yield running
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if stage.is_kept:
            with contextlib.suppress(EverflyError):
                await remove(await group.connection(), running.writers)
        for connections in (group, of_reader):
            await connections.close()
        await fixed.drop()
    for task in tasks:
        if not task.cancelled():
            task.result()  # a bug there must be seen


async def results(
    running: Clients, layout: Layout, began: float
) -> tuple[tuple[Writes, ...], tuple[str, ...]]:
    """Return what became of each stopped writer's writes, and why that is unknown if it is."""
    deadline = time.monotonic() + AUDIT_S
    while True:
        try:
            client = await running.group.connection()
            found = [await audit(client, writer) for writer in running.writers]
        except EverflyError as error:
            await running.group.drop()
            if time.monotonic() < deadline:
                await asyncio.sleep(_LOOK_S)
                continue
            unknown = tuple(_writes(writer, None, layout, began) for writer in running.writers)
            count = len(running.writer.acknowledged)
            why = f"what became of {count} acknowledged writes cannot be seen: {error}"
            return unknown, (why,)
        pairs = zip(running.writers, found, strict=True)
        return tuple(_writes(writer, each, layout, began) for writer, each in pairs), ()


def reads(reader: Reader, began: float) -> Reads:
    """Return what became of the reads since the fault."""
    return Reads(
        answered=sum(at >= began for at in reader.answered),
        failed=sum(at >= began for at in reader.failed),
    )


def _writes(writer: Writer, found: Audit | None, layout: Layout, began: float) -> Writes:
    times = [(at - began) * 1000 for at in writer.acknowledged]
    names = layout.names
    return Writes(
        acknowledged=tuple(times),
        moves=tuple(
            ((at - began) * 1000, names.get(address, str(address))) for at, address in writer.moves
        ),
        lost=tuple(times[number] for number in found.lost) if found is not None else (),
        doubled=found.doubled if found is not None else 0,
        failures=writer.failures,
        last_failure=writer.last_failure,
        counted=found.counted if found is not None else None,
        summed=found.summed if found is not None else None,
    )
