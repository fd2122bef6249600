"""A Sentinel with a password says to strangers, byte for byte, what a genuine Redis 7.0 says."""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from kinds import OURS, Kind, missing_yardstick
from servers import Sentinel
from wire_pair import Pair
from wire_reply import encode

pytestmark = [pytest.mark.compat, pytest.mark.xdist_group("wire-auth")]

CASES: Final = (
    "PING",
    "PING hello",
    "ROLE",
    "INFO",
    "UNKNOWN",
    "QUIT",
    "SENTINEL MASTERS",
    "SENTINEL BOGUS",
    "SENTINEL",
    "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster",
    "SUBSCRIBE one",
    "PUBLISH __sentinel__:hello x",
    "CLIENT ID",
    "CLIENT BOGUS",
    "COMMAND COUNT",
    "ACL WHOAMI",
    "SHUTDOWN",
    "HELLO",
    "HELLO 2",
    "HELLO 3",
    "HELLO 4",
    "HELLO 3 AUTH default secret | PING | ACL WHOAMI",
    "HELLO 2 AUTH default wrong | PING",
    "HELLO 3 SETNAME me",
    "HELLO 3 AUTH default secret SETNAME me | CLIENT GETNAME",
    "AUTH secret | PING",
    "AUTH default secret | PING",
    "AUTH wrong | PING",
    "AUTH default wrong",
    "AUTH nobody secret",
    "AUTH a b c",
    "AUTH",
    "AUTH secret | AUTH wrong | PING",
    "AUTH secret | ACL LIST",
    "AUTH secret | ACL GETUSER default",
)
BYTES: Final = (
    b"PING\r\n",
    b"AUTH secret\r\nPING\r\n",
    b"*11\r\n",
    b"*10\r\n" + b"$1\r\nx\r\n" * 10,
    b"*1\r\n$16385\r\n",
    b"*1\r\n$16384\r\n" + b"x" * 16_384 + b"\r\n",
    b"x" * 300_000 + b"\r\n",
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    if reason := missing_yardstick():
        pytest.skip(reason)
    folder: Path = tmp_path_factory.mktemp("auth")
    with ExitStack() as stack:
        sentinels = []
        for number, kind in enumerate((Kind.REDIS, OURS)):
            sentinel = Sentinel(kind, folder / str(number))
            stack.callback(sentinel.kill)
            sentinel.start(["requirepass secret"])
            sentinels.append(sentinel)
        genuine, ours = sentinels
        yield Pair(genuine, ours, ending=encode("AUTH", "secret"))


@pytest.mark.parametrize("case", CASES)
def test_a_stranger_gets_the_genuine_reply(pair: Pair, case: str) -> None:
    requests = [encode(*shlex.split(line)) for line in case.split(" | ")]
    genuine, ours = pair.ask_both(2, requests)
    assert ours == genuine


@pytest.mark.parametrize("sent", BYTES, ids=lambda sent: repr(sent[:24]))
def test_a_stranger_meets_the_genuine_limits(pair: Pair, sent: bytes) -> None:
    genuine, ours = pair.ask_both(2, [sent])
    assert ours == genuine
