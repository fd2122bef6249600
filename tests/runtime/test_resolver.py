import asyncio
import socket
import threading

import pytest

from everfly.core.model import Address, Epoch, GroupName, Hello, InstanceReport, Role, RunId
from everfly.errors import Unavailable
from everfly.runtime.hostnames import Hostnames
from everfly.runtime.resolver import LOOKUPS_MAX, NEGATIVE_TTL_S, TTL_S, Resolver
from shell_doubles import turns, until


class NameServer:
    """Answers from a table, and counts; `gate` holds all answers back."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, host: str) -> str:
        self.asked.append(host)
        self.gate.wait(10)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]


@pytest.mark.parametrize(
    ("literal", "ip"), [("10.0.0.7", "10.0.0.7"), ("::1", "::1"), ("127.1", "127.0.0.1")]
)
async def test_a_literal_address_is_its_own_answer_at_once(literal: str, ip: str) -> None:
    server = NameServer({})
    resolver = Resolver(server)
    assert resolver.resolve_now(literal) == ip
    assert await resolver.resolve(literal) == ip
    assert server.asked == []


async def test_a_name_is_asked_once_and_remembered_for_a_while() -> None:
    server = NameServer({"db": "10.0.0.7"})
    resolver = Resolver(server)
    assert resolver.resolve_now("db") is None
    both = await asyncio.gather(resolver.resolve("db"), resolver.resolve("db"))
    assert set(both) == {"10.0.0.7"}
    assert resolver.resolve_now("db") == "10.0.0.7"
    assert await resolver.resolve("db") == "10.0.0.7"
    assert server.asked == ["db"]


async def test_a_failure_is_told_and_remembered_for_a_short_while() -> None:
    server = NameServer({})
    resolver = Resolver(server)
    for _ in range(3):
        with pytest.raises(Unavailable, match="Failed to resolve hostname 'db': Name or service"):
            await resolver.resolve("db")
    assert server.asked == ["db"]


async def test_when_the_name_server_fails_later_the_last_good_answer_holds() -> None:
    now = 0.0
    server = NameServer({"db": "10.0.0.7"})
    resolver = Resolver(server, clock=lambda: now)
    await resolver.resolve("db")
    server.names.clear()
    now += TTL_S + 0.1
    assert resolver.resolve_now("db") is None
    assert await resolver.resolve("db") == "10.0.0.7"
    assert resolver.resolve_now("db") == "10.0.0.7"
    assert server.asked == ["db", "db"]
    server.names["db"] = "10.0.0.8"
    now += NEGATIVE_TTL_S + 0.1
    assert await resolver.resolve("db") == "10.0.0.8"


async def test_a_name_server_that_hangs_holds_up_nobody() -> None:
    server = NameServer({"db": "10.0.0.7"})
    server.gate.clear()
    resolver = Resolver(server, limit_s=0.05)
    with pytest.raises(Unavailable, match=r"no answer within 0\.05 s"):
        await resolver.resolve("db")
    assert server.asked == ["db"]
    server.gate.set()
    await resolver.close()


async def test_few_lookups_run_at_a_time() -> None:
    names = {f"db-{number}": "10.0.0.7" for number in range(5 * LOOKUPS_MAX)}
    server = NameServer(names)
    server.gate.clear()
    resolver = Resolver(server)
    asking = [asyncio.ensure_future(resolver.resolve(name)) for name in names]
    await until(lambda: len(server.asked) >= LOOKUPS_MAX)
    await turns(50)
    assert len(server.asked) == LOOKUPS_MAX
    server.gate.set()
    assert set(await asyncio.gather(*asking)) == {"10.0.0.7"}
    await resolver.close()


HELLO = Hello(
    Address("sentinel-2", 26379), RunId("b" * 40), Epoch(1), GroupName("g"),
    Address("db", 6379), Epoch(1),
)  # fmt: skip


async def test_a_hello_with_names_gets_their_addresses_or_says_nothing() -> None:
    server = NameServer({"db": "10.0.0.7", "sentinel-2": "10.0.0.2"})
    resolver = Resolver(server)
    heard: list[Hello | None] = []
    is_enabled = True
    async with asyncio.TaskGroup() as tasks:
        names = Hostnames(resolver, tasks, lambda: is_enabled)
        names.resolve_hello(HELLO, heard.append)
        assert heard == []
    assert [(hello.sender.ip, hello.primary.ip) for hello in heard if hello] == [
        ("10.0.0.2", "10.0.0.7")
    ]
    async with asyncio.TaskGroup() as tasks:
        names = Hostnames(resolver, tasks, lambda: is_enabled)
        names.resolve_hello(HELLO, heard.append)
        assert len(heard) == 2, "what is known needs no waiting"
        is_enabled = False
        names.resolve_hello(HELLO, heard.append)
        assert heard[2] is None


@pytest.mark.parametrize("host", ["fe80::1%a\nb", "fe80::1%\x01", "10.0.0.1 ", "fe80::1%a b", ""])
async def test_an_address_that_could_break_a_file_is_no_address(host: str) -> None:
    resolver = Resolver(NameServer({}))
    assert resolver.resolve_now(host) is None
    told: list[InstanceReport] = []
    async with asyncio.TaskGroup() as tasks:
        names = Hostnames(resolver, tasks, lambda: False)
        report = InstanceReport(role=Role.PRIMARY, replicas=(Address(host, 1),))
        names.resolve_report(report, told.append)
    assert told[0].replicas == ()


async def test_from_a_report_only_what_cannot_be_resolved_is_left_out() -> None:
    resolver = Resolver(NameServer({"db-1": "10.0.0.1"}))
    replicas = (Address("db-1", 1), Address("nowhere", 2), Address("10.0.0.3", 3))
    told: list[InstanceReport] = []
    async with asyncio.TaskGroup() as tasks:
        names = Hostnames(resolver, tasks, lambda: True)
        names.resolve_report(InstanceReport(role=Role.PRIMARY, replicas=replicas), told.append)
    assert [(replica.host, replica.ip) for replica in told[0].replicas] == [
        ("db-1", "10.0.0.1"),
        ("10.0.0.3", ""),
    ]
