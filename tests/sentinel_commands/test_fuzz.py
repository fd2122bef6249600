"""Random and mutated bytes at the port: it lives, others are answered, nothing is left behind."""

import gc
import random

import hiredis
import pytest

from everfly.core.model import Address
from everfly.runtime.client_connection import ClientConnection
from everfly.sentinel.commands.table import TABLE
from resp_client import RespClient, until
from sentinel_face import face, group_view

VIEW = group_view("mymaster", Address("127.0.0.1", 6379))
WORDS = (
    *(b"mymaster", b"*", b"0", b"-1", b"99999999999999999999", b"", b"\xff\x00\r\n", b"x" * 300),
    *(b"get", b"set", b"on", b"off", b"type", b"pubsub", b"id", b"quorum", b"127.0.0.1", b"6379"),
    *(b"announce-ip", b"__sentinel__:hello", b"a,b,c,d,e,f,g,h", b"[", b"\\", b"yes", b"auth-pass"),
)
HARMFUL = (b"shutdown", b"pause", b"kill")
"""They work as they should, on all clients, so a witness would rightly see them."""


def random_command(dice: random.Random) -> bytes:
    spec = dice.choice(list(TABLE.specs.values()))
    words = [word.encode() for word in spec.name.split("|")]
    words += dice.choices(WORDS, k=dice.randrange(6))
    return hiredis.pack_command(tuple(words))


def mutated(data: bytes, dice: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(result)) if result else 0
        match dice.randrange(4):
            case 0 if result:
                result[at] = dice.randrange(256)
            case 1 if result:
                del result[at : at + dice.randrange(1, 8)]
            case 2:
                result[at:at] = dice.choice((b"\r\n", b"*", b"$-1", b"*99999999", b'"', b"\0"))
            case _:
                result[at:at] = result[at : at + 16]
    return bytes(result)


def request(dice: random.Random) -> bytes:
    if dice.random() < 0.2:
        return dice.randbytes(dice.randrange(2_000))
    commands = b"".join(random_command(dice) for _ in range(dice.randrange(1, 20)))
    return mutated(commands, dice) if dice.random() < 0.6 else commands


@pytest.mark.parametrize("seed", range(4))
async def test_no_bytes_disturb_the_port(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    dice = random.Random(seed)
    async with face(VIEW) as port, await RespClient.open(port.port) as witness:
        for _ in range(150):
            data = request(dice)
            if any(word in data.lower() for word in HARMFUL):
                continue
            async with await RespClient.open(port.port) as client:
                client.send_bytes(data)
                await client.sent()
                if dice.random() < 0.5:
                    client.send("CLIENT", "REPLY", "ON")
                assert await witness.ask("PING") == b"PONG"
        await until(lambda: len(port.listener.clients) == 1)
        assert (port.pubsub.channel_count, port.pubsub.pattern_count) == (0, 0)
        assert [str(record.msg) for record in caplog.records if "BUG" in str(record.msg)] == []
        gc.collect()
        alive = [each for each in gc.get_objects() if isinstance(each, ClientConnection)]
        assert len(alive) <= 2  # The witness; the last one may still be on its way out.
