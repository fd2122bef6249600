"""A pool of links, the facts that it told, and the names that its tests share."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from everfly.core.effects import Connect, Purpose
from everfly.core.inputs import Input
from everfly.core.model import Address, Epoch, GroupName, Hello, LinkId, RunId
from everfly.runtime.link import LinkPool, Shell
from everfly.runtime.resolver import Resolver
from loopback import ScriptedInstance
from shell_doubles import ME, turns, until

GROUP = GroupName("cache")
PEER = RunId("b" * 40)
ONE, TWO = LinkId(1), LinkId(2)
HELLO = Hello(
    Address("127.0.0.2", 26379), PEER, Epoch(3), GROUP, Address("127.0.0.1", 6379), Epoch(2)
)
SETNAME = [b"CLIENT", b"SETNAME", b"sentinel-aaaaaaaa-cmd"]


@dataclass
class LinkSettings:
    resolves_hostnames: bool = False
    shows_hostnames: bool = False
    source_host: str = ""
    group_login: tuple[str, str] = ("", "")
    peer_login: tuple[str, str] = ("", "")
    renamed: dict[str, str] = field(default_factory=dict)

    def credentials(self, group: GroupName | None) -> tuple[str, str]:
        return self.peer_login if group is None else self.group_login

    def command_name(self, group: GroupName | None, command: str) -> str:
        return command if group is None else self.renamed.get(command, command)

    def tls(self, group: GroupName | None) -> ssl.SSLContext | None:
        del group
        return None


class Bench:
    """A pool and the facts that it told."""

    def __init__(
        self, tasks: asyncio.TaskGroup, settings: LinkSettings, resolver: Resolver
    ) -> None:
        self.facts: list[Input] = []
        self.settings = settings
        self.pool = LinkPool(ME, Shell(self.facts.append, tasks, resolver, settings))

    def take(self) -> list[Input]:
        facts, self.facts[:] = list(self.facts), []
        return facts

    async def told(self, count: int) -> list[Input]:
        """Wait for so many facts, and take them."""
        await until(lambda: len(self.facts) >= count)
        return self.take()

    async def open(
        self,
        instance: ScriptedInstance,
        purpose: Purpose = Purpose.COMMANDS,
        *,
        link: LinkId = ONE,
        group: GroupName | None = GROUP,
        host: str = "127.0.0.1",
    ) -> None:
        """Connect, and wait until the introduction was answered."""
        visits = len(instance.visits)
        self.pool.connect(Connect(link, Address(host, instance.port), purpose, group))
        await until(lambda: self.facts)
        await until(lambda: len(instance.visits) > visits and instance.visits[-1].commands)
        await until(lambda: not self.is_waiting_for_introduction(instance))
        await turns(20)

    @staticmethod
    def is_waiting_for_introduction(instance: ScriptedInstance) -> bool:
        return not any(command[0].upper() == b"CLIENT" or command[1:2] == [b"SETNAME"]
                       for command in instance.visits[-1].commands)  # fmt: skip


@contextlib.asynccontextmanager
async def bench(
    settings: LinkSettings | None = None, names: dict[str, str] | None = None
) -> AsyncIterator[Bench]:
    resolver = Resolver(lambda host: (names or {})[host])
    async with asyncio.TaskGroup() as tasks:
        it = Bench(tasks, settings or LinkSettings(), resolver)
        yield it
        it.pool.close()
    await resolver.close()
    await turns()
