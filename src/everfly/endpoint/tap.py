"""Turn one Sentinel into claims and events: asked whenever somebody wants to know, listened to.

Two connections, each made again for ever: one for questions, one that carries messages alone. What
is asked while an answer is awaited is one more question afterwards, not many. The silence of one
Sentinel delays no other.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from everfly.core.model import Address
from everfly.endpoint.belief import Claim
from everfly.engines.redis import integer
from everfly.errors import EverflyError, RemoteError, Unavailable
from everfly.observe.printable import printable
from everfly.runtime.client import Client, Credentials, Message
from everfly.wire.resp import ErrorReply, Reply, to_text

POLL_S: Final = 1.0
"""Between two questions without any reason: the safety net under the messages."""

ANSWER_S: Final = 1.0
"""A Sentinel answers within a millisecond; one that takes a second is as good as gone."""

RENEW_S: Final = 2.0
"""After which a connection to one who sees nothing is made anew: a failover is over by then."""

RECONNECT_S: Final = (0.1, 1.0)
"""First and longest pause before it is connected to again."""

CHANNELS: Final = (
    "+switch-master",
    "+promoted-slave",
    "+config-update-from",
    "+odown",
    "-odown",
    "-sdown",
    "+try-failover",
    "+failover-end",
    "-failover-abort-not-elected",
    "-failover-abort-no-good-slave",
    "-failover-abort-slave-timeout",
    "-failover-abort-x-sdown",
    "+reset-master",
    "+monitor",
    "+tilt",
)
"""What is worth a question. Source: `sentinelEvent`, redis/src/sentinel.c (7.0.15)."""

CHANGING: Final = frozenset({"o_down", "failover_in_progress"})
"""Flags of a primary that is about to be replaced."""
BLIND: Final = "disconnected"
"""Flag of a primary that the Sentinel does not see. Source: `sentinelRedisInstance`, as above."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event about the group."""

    channel: str
    payload: str


@dataclass(frozen=True, slots=True)
class TapHandlers:
    """Whom a tap calls, in the event loop."""

    on_claim: Callable[["Tap", Claim], None]
    on_told: Callable[["Tap", Told], None]
    on_vacancy: Callable[["Tap"], None]
    """It knows the group, and names nobody."""
    on_silence: Callable[["Tap"], None]
    """It cannot be asked any more; once for each time."""


class Tap:
    """One Sentinel. `run` until cancelled."""

    def __init__(
        self, address: Address, group: str, credentials: Credentials, handlers: TapHandlers
    ) -> None:
        self.address: Final = address
        self.error = "not asked yet"
        """Why it cannot be asked; empty: it can."""
        self.is_listening = False
        """Whether its messages arrive."""
        self._group = group
        self._credentials = credentials
        self._handlers = handlers
        self._wanted = asyncio.Event()
        self._client: Client | None = None
        self._connected_at = 0.0

    def want(self) -> None:
        """Ask it now."""
        self._wanted.set()

    async def run(self) -> None:
        """Ask and listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name=f"messages of {self.address}")
            try:
                await self._ask_often()
            finally:
                if self._client is not None:
                    await self._client.close()

    async def _ask_often(self) -> None:
        while True:
            self._wanted.clear()
            try:
                claim = await self._ask()
            except EverflyError as error:
                await self._note_silence(str(error))
            else:
                self.error = ""
                if claim is None:
                    self._handlers.on_vacancy(self)
                else:
                    self._handlers.on_claim(self, claim)
            try:
                async with asyncio.timeout(POLL_S):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _ask(self) -> Claim | None:
        client = self._client
        if client is None or not client.is_usable:
            if client is not None:
                await client.close()
            self._client = client = await self._connect("everfly-endpoint")
            self._connected_at = asyncio.get_running_loop().time()
        questions = [
            ("SENTINEL", "MASTER", self._group),
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._group),
        ]
        fields, place = await client.transaction(questions, timeout_s=ANSWER_S)
        claim = claim_of(self.address, self._group, fields, place)
        now = asyncio.get_running_loop().time()
        if claim is not None and claim.is_blind and now - self._connected_at > RENEW_S:
            # Behind one address there may be another one, who sees.
            await client.close()
        return claim

    async def _note_silence(self, why: str) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        if not self.error:
            self._handlers.on_silence(self)
        self.error = printable(why)

    async def _listen(self) -> None:
        pause, longest = RECONNECT_S
        while True:
            try:
                client = await self._connect("everfly-endpoint-events")
                async with client:
                    messages = await client.subscribe(CHANNELS, timeout_s=ANSWER_S)
                    # What was said before nobody heard.
                    self.is_listening = True
                    self.want()
                    pause = RECONNECT_S[0]
                    async for message in messages:
                        self._on_message(message)
            except EverflyError:
                self.is_listening = False
                self.want()
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _on_message(self, message: Message) -> None:
        told = Told(printable(message.channel), printable(message.payload))
        if concerns(told, self._group):
            self._handlers.on_told(self, told)

    async def _connect(self, name: str) -> Client:
        return await Client.connect(
            self.address, timeout_s=ANSWER_S, credentials=self._credentials, name=name
        )


def concerns(told: Told, group: str) -> bool:
    """Return whether an event is about this group, or about the Sentinel as a whole."""
    words = told.payload.split(" ")
    if told.channel == "+tilt":
        return True
    if told.channel == "+switch-master":
        return words[0] == group
    # `<type> <name> <ip> <port>`, and for all but primaries ` @ <group> <ip> <port>`.
    return group in (words[5:6] if words[4:5] == ["@"] else words[1:2])


def claim_of(sentinel: Address, group: str, fields: Reply, place: Reply) -> Claim | None:
    """Return what the two answers say; None: nobody is in service. Raises Unavailable, RemoteError.

    The place is asked for beside the fields, because in a failover that is under way it is already
    the promoted replica, and `config-epoch` that of the failover.
    Source: `sentinelGetCurrentMasterAddress`, redis/src/sentinel.c (7.0.15).
    """
    if isinstance(fields, ErrorReply):
        raise Unavailable(f"the Sentinel {sentinel} says of group `{group}`: {fields.text}")
    told = _map(fields)
    epoch = integer(told.get("config-epoch"))
    match place:
        case [bytes() as host, bytes() as port] if epoch is not None:
            number = integer(to_text(port))
            if number is not None and 0 < number < 65_536:
                flags = frozenset(told.get("flags", "").split(","))
                is_changing, is_blind = bool(flags & CHANGING), BLIND in flags
                return Claim(Address(to_text(host), number), epoch, is_changing, is_blind)
        case None if told:
            # Genuine Sentinels go on naming the old one; a front of Kubernetes names nobody.
            return None
    raise RemoteError(f"{sentinel} answers like no Sentinel")


def _map(reply: Reply) -> dict[str, str]:
    if isinstance(reply, dict):
        return {_text(key): _text(value) for key, value in reply.items()}
    if not isinstance(reply, list):
        return {}
    return {_text(key): _text(value) for key, value in zip(reply[::2], reply[1::2], strict=False)}


def _text(reply: Reply) -> str:
    return to_text(reply) if isinstance(reply, bytes) else ""
