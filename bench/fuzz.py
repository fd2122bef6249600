"""Turn seeds and mutations into millions of inputs for everything that parses bytes of others.

Each parser may raise the errors that it declares, and nothing else; no input may take long, and
what a parser keeps must stay within what it was fed. A finding is printed with the seed and number
that make it again.
"""

import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from everfly.engines.dialect import report
from everfly.errors import EverflyError
from everfly.wire.hello import parse_hello
from everfly.wire.info import parse_fields, parse_info
from everfly.wire.resp import NEED_MORE, ReplyParser, RequestParser, split_args
from everfly.wire.sentinel_conf import parse

SLOW_S: Final = 0.5
"""No input of a few kilobytes may take longer, on any machine."""

INPUT_MAX: Final = 4_096
PEAK_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one chunk of inputs; a chunk is a few megabytes of input."""

CHUNK: Final = 2_000

RUN_ID: Final = b"0123456789abcdef0123456789abcdef01234567"
INFO: Final = (
    b"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nrun_id:"
    + RUN_ID
    + b"\r\nuptime_in_seconds:12\r\nprocess_id:7\r\ntcp_port:6379\r\n"
    b"# Replication\r\nrole:slave\r\n"
    b"master_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\nslave_repl_offset:123\r\n"
    b"slave_priority:100\r\nmaster_replid:" + RUN_ID + b"\r\nmaster_repl_offset:123\r\n"
    b"slave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0\r\nslave1:10.0.0.3,6379,online\r\n"
)
CONF: Final = (
    b"port 26379\ndir /tmp\n# a comment\nsentinel myid " + RUN_ID + b"\n"
    b"sentinel monitor cache 127.0.0.1 6379 2\nsentinel down-after-milliseconds cache 1000\n"
    b'sentinel auth-pass cache "a b\\x00"\nsentinel known-replica cache 127.0.0.1 6380\n'
    b"sentinel known-sentinel cache 127.0.0.1 26380 " + RUN_ID + b"\n"
    b"sentinel rename-command cache CONFIG guessme\nuser default on nopass ~* &* +@all\n"
    b"sentinel current-epoch 3\nsentinel announce-ip '1.2.3.4'\n"
)


@dataclass(frozen=True)
class Target:
    """A parser, what it is fed at best, and how it is fed."""

    name: str
    seeds: tuple[bytes, ...]
    feed: Callable[[bytes, random.Random], None]


def _requests(data: bytes, dice: random.Random) -> None:
    parser = RequestParser()
    parser.is_authenticated = dice.random() < 0.5
    for piece in _pieces(data, dice):
        parser.feed(piece)
        while parser.next_command() is not None:
            pass


def _replies(data: bytes, dice: random.Random) -> None:
    parser = ReplyParser()
    for piece in _pieces(data, dice):
        parser.feed(piece)
        while parser.next_reply() is not NEED_MORE:
            pass


def _info(data: bytes, _dice: random.Random) -> None:
    fields = parse_info(data)
    report(fields)
    for value in fields.values():
        parse_fields(value)


def _hello(data: bytes, _dice: random.Random) -> None:
    parse_hello(data)


def _conf(data: bytes, _dice: random.Random) -> None:
    parse(data.decode("utf-8", "surrogateescape"), "sentinel.conf")


def _inline(data: bytes, dice: random.Random) -> None:
    split_args(data)
    _requests(data.replace(b"*", b"") + b"\r\n", dice)


TARGETS: Final = (
    Target(
        "requests",
        (
            b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n$4\r\nPING\r\n",
            b"PING\r\n*2\r\n$8\r\nSENTINEL\r\n$7\r\nmasters\r\n",
            b"*-1\r\n*0\r\n*2147483648\r\n",
            b"*1\r\n$536870913\r\n",
        ),
        _requests,
    ),
    Target(
        "inline requests",
        (
            b"PING hello\r\n",
            b"SET \"a\\x41\" 'b\\'c'\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n",
        ),
        _inline,
    ),
    Target(
        "replies",
        (
            b"+OK\r\n-ERR no\r\n:12\r\n$3\r\nabc\r\n*2\r\n$-1\r\n*-1\r\n_\r\n#t\r\n,1.5\r\n(1\r\n",
            b"%1\r\n+a\r\n*1\r\n:1\r\n~1\r\n+x\r\n>2\r\n+m\r\n+n\r\n=5\r\ntxt:a\r\n",
            b"|1\r\n+k\r\n+v\r\n+z\r\n",
            b"*3\r\n$7\r\nmessage\r\n$18\r\n__sentinel__:hello\r\n$2\r\nhi\r\n",
        ),
        _replies,
    ),
    Target("INFO", (INFO, INFO.replace(b"valkey", b"dragonfly")), _info),
    Target(
        "hellos",
        (b"10.0.0.1,26379," + RUN_ID + b",5,cache,10.0.0.2,6379,4", b"a,b,c,d,e,f,g,h"),
        _hello,
    ),
    Target("sentinel.conf", (CONF,), _conf),
)


def _pieces(data: bytes, dice: random.Random) -> list[bytes]:
    """Cut an input as a network does."""
    if dice.random() < 0.5 or len(data) < 2:
        return [data]
    cut = dice.randrange(1, len(data))
    return [data[:cut], data[cut:]]


def mutate(seed: bytes, dice: random.Random) -> bytes:
    """Return a seed with a few wounds."""
    data = bytearray(seed)
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(7):
            case 0:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                del data[at : at + dice.randrange(1, 20)]
            case 2:
                data[at:at] = dice.randbytes(dice.randrange(1, 9))
            case 3:
                data[at:at] = data[at : at + dice.randrange(1, 40)]
            case 4:
                data[at:at] = dice.choice(
                    (b"\r\n", b"\n", b"-1", b"0", b"9" * 30, b"$", b"*", b'"', b",", b"\0", b"%")
                )
            case 5:
                data[at:at] = bytes([dice.randrange(256)]) * dice.randrange(1, 300)
            case _:
                data[at:] = data[: dice.randrange(len(data) + 1)]
    return bytes(data[:INPUT_MAX]) or b"\n"


def fuzz(target: Target, inputs: int, seed: int) -> tuple[float, int]:
    """Feed a parser. Return seconds and peak memory in bytes; raise AssertionError on a finding."""
    began = time.monotonic()
    peak = 0
    for first in range(0, inputs, CHUNK):
        if first == 0:
            tracemalloc.start()
        for number in range(first, min(first + CHUNK, inputs)):
            dice = random.Random(f"{seed}:{target.name}:{number}")
            data = mutate(dice.choice(target.seeds), dice)
            start = time.process_time()
            try:
                target.feed(data, dice)
            except EverflyError:
                pass
            except Exception as error:
                raise AssertionError(
                    f"{target.name} seed {seed} number {number}: {error!r} for {data!r}"
                ) from error
            took = time.process_time() - start
            assert took < SLOW_S, f"{target.name} seed {seed} number {number} took {took:.2f} s"
        if first == 0:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < PEAK_BYTES_MAX, f"{target.name}: {peak:,} bytes for {CHUNK} inputs"
    return time.monotonic() - began, peak


@click.command()
@click.option("--inputs", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True)
def main(inputs: int, seed: int) -> None:
    """Feed each parser that many inputs."""
    table = Table(title=f"{inputs:,} inputs each, seed {seed}: no finding", title_justify="left")
    for column in ("parser", "inputs/s", "peak kB"):
        table.add_column(column, justify="left" if column == "parser" else "right")
    for target in TARGETS:
        click.echo(f"{target.name} ...", err=True)
        try:
            seconds, peak = fuzz(target, inputs, seed)
        except AssertionError as error:
            click.echo(f"FOUND {error}", err=True)
            sys.exit(1)
        table.add_row(target.name, f"{inputs / seconds:,.0f}", f"{peak / 1024:,.0f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    main()
