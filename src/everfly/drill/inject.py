"""Do a fault to a stage, and undo what can be undone, also when the drill is interrupted."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from everfly.drill.faults import Fault
from everfly.drill.stage import Stage
from everfly.drill.watch import Watch
from everfly.errors import EverflyError, Unavailable
from everfly.wire.resp import ErrorReply

LOOK_S: Final = 0.02
ANSWER_S: Final = 2.0
SHUTDOWN_S: Final = 15.0
"""Valkey and Redis wait up to 10 s for their replicas (`shutdown-timeout`) before they end."""

AGAIN_S: Final = 0.1
FROZEN_ON_S: Final = (0.0, 3.0)
"""How long a frozen primary stays so after the failover. Random: at first the Sentinels' old
connections to it may still stand, later they must make new ones."""

STALE_S: Final = 1.0
"""How long a partition goes on after the failover: the old primary still has clients then."""

_DICE: Final = random.SystemRandom()

BUSY: Final = "Errors trying to SHUTDOWN"
"""Valkey and Redis refuse to end while they write their first append-only file."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault acts on."""

    stage: Stage
    watch: Watch
    victim: str
    began: float
    """Monotonic seconds."""
    mark: Callable[[str], None]
    """Remembers, and tells people, what was done now."""

    @property
    def patience_s(self) -> float:
        """How long a failover may take before nobody waits for it any more: time for two tries."""
        layout = self.stage.layout
        return (2 * layout.down_after_ms + 4 * layout.failover_timeout_ms) / 1000 + 10

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until it holds; return whether it does within so many seconds."""
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def until_switched(self, sentinels: Collection[str]) -> bool:
        """Wait until these Sentinels have said +switch-master since the fault."""

        def have_switched() -> bool:
            return set(sentinels) <= {
                each.sentinel
                for each in self.watch.said
                if each.channel == "+switch-master" and each.at >= self.began
            }

        return await self.until(have_switched, self.patience_s)

    async def until_noticed(self, name: str) -> bool:
        """Wait until some Sentinel says that a part is down."""
        layout = self.stage.layout
        address = layout.instances.get(name) or layout.sentinels[name]
        words = f" {address.host} {address.port} "

        def is_noticed() -> bool:
            return any(
                each.channel == "+sdown" and words in f"{each.payload} " and each.at >= self.began
                for each in self.watch.said
            )

        return await self.until(is_noticed, layout.down_after_ms / 1000 * 2 + 5)


async def inject(fault: Fault, scene: Scene) -> None:
    """Do a fault; return when it is over. Raises EverflyError when it cannot be done."""
    match fault:
        case Fault.KILL_PRIMARY:
            scene.stage.send_signal(scene.victim, signal.SIGKILL)
            scene.mark(f"{scene.victim} is killed")
        case Fault.FREEZE_PRIMARY:
            await _freeze(scene)
        case Fault.SHUTDOWN_PRIMARY:
            await _shut_down(scene)
        case Fault.RESTART_PRIMARY:
            await scene.stage.restart_empty(scene.victim)
            scene.mark(f"{scene.victim} was killed and answers again, empty")
        case Fault.KILL_REPLICA | Fault.KILL_SENTINEL:
            await _kill_other(scene)
        case Fault.PARTITION:
            await _partition(scene)
        case Fault.FAILOVER:
            await _fail_over(scene)


async def _freeze(scene: Scene) -> None:
    scene.stage.send_signal(scene.victim, signal.SIGSTOP)
    scene.mark(f"{scene.victim} is frozen")
    try:
        if await scene.until_switched(scene.stage.layout.sentinels):
            await asyncio.sleep(_DICE.uniform(*FROZEN_ON_S))
    finally:
        with contextlib.suppress(Unavailable):  # it may have ended otherwise
            scene.stage.send_signal(scene.victim, signal.SIGCONT)
    scene.mark(f"{scene.victim} wakes up")


async def _shut_down(scene: Scene) -> None:
    scene.mark(f"{scene.victim} is told to shut down")
    address = scene.stage.layout.instances[scene.victim]
    deadline = time.monotonic() + SHUTDOWN_S
    while True:
        client = await scene.stage.dial(address, ANSWER_S)
        try:
            reply = await client.call("SHUTDOWN", timeout_s=SHUTDOWN_S)
        except Unavailable:
            # It closed the connection instead of answering; first it waited for its replicas.
            scene.mark(f"{scene.victim} has ended")
            return
        finally:
            await client.close()
        text = reply.text if isinstance(reply, ErrorReply) else "an answer instead of an end"
        if BUSY not in text or time.monotonic() >= deadline:
            raise Unavailable(f"{scene.victim} refuses to shut down: {text}")
        await asyncio.sleep(AGAIN_S)


async def _kill_other(scene: Scene) -> None:
    scene.stage.leave_down(scene.victim)
    try:
        scene.stage.send_signal(scene.victim, signal.SIGKILL)
        scene.mark(f"{scene.victim} is killed")
        if not scene.stage.is_kept:
            await scene.until_noticed(scene.victim)
    finally:
        scene.stage.bring_back(scene.victim)
    if not scene.stage.is_kept:
        scene.mark(f"{scene.victim} is started again")


async def _partition(scene: Scene) -> None:
    cut_off = scene.stage.cut()
    scene.mark(f"{' and '.join(cut_off)} are cut off")
    try:
        if await scene.until_switched(set(scene.stage.layout.sentinels) - set(cut_off)):
            await asyncio.sleep(STALE_S)
    finally:
        scene.stage.heal()
    scene.mark("the network is whole again")


async def _fail_over(scene: Scene) -> None:
    layout = scene.stage.layout
    name, address = next(iter(layout.sentinels.items()))
    scene.mark(f"{name} is asked for a failover")
    client = await scene.stage.dial(address, ANSWER_S)
    try:
        reply = await client.call("SENTINEL", "FAILOVER", layout.group, timeout_s=ANSWER_S)
    except EverflyError as error:
        raise Unavailable(f"{name} does not answer SENTINEL FAILOVER: {error}") from error
    finally:
        await client.close()
    if isinstance(reply, ErrorReply):
        raise Unavailable(f"{name} refuses to fail over: {reply.text}")
