"""Answer what is no matter of replication: connections, configuration, transactions, pub/sub."""

import asyncio
import fnmatch
import time
from collections.abc import Callable

from double_dataset import Dataset
from double_wire import Connection, Error, Status

VERSION = "v1.40.1"
WRITES = frozenset("SET DEL INCR INCRBY LPUSH RPUSH FLUSHALL FLUSHDB".split())  # noqa: SIM905 - a word list
READS = frozenset("GET EXISTS LLEN LRANGE DBSIZE KEYS".split())  # noqa: SIM905 - a word list
IN_SUBSCRIBER = frozenset("SUBSCRIBE PSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE PING QUIT RESET".split())  # noqa: SIM905 - as above
NO_CONFIG_FILE = "ERR The server is running without a config file"


class Commands:
    """What `Dragonfly` adds replication and a process to."""

    def __init__(self, config: dict[str, str]) -> None:
        self.config = config
        self.dataset = Dataset()
        self.lsn = 0
        self.connections: dict[int, Connection] = {}
        self.primary: tuple[str, int] | None = None
        self.link_state = "connecting"
        self.is_refusing = False

    def feed_replicas(self, command: list[bytes]) -> None:
        raise NotImplementedError

    def http_answer(self, path: str) -> bytes:
        raise NotImplementedError

    async def answer(self, connection: Connection, command: list[bytes]) -> object:
        try:
            return await self.execute(connection, command)
        except Error as error:
            return error

    def check_allowed(self, connection: Connection, name: str) -> None:
        if not connection.is_admitted and name not in ("AUTH", "HELLO", "QUIT"):
            raise Error("NOAUTH Authentication required.")
        if self.is_refusing and name not in ("PING", "DOUBLEACK"):
            raise Error("LOADING Dragonfly is loading the dataset in memory")
        if self.link_state == "full_sync" and name in {"PING"} | READS - {"DBSIZE"} | WRITES:
            raise Error("LOADING Dragonfly is loading the dataset in memory")
        if connection.channels and connection.protocol == 2 and name not in IN_SUBSCRIBER:
            raise Error(f"ERR Can't execute '{name.lower()}' in this context")

    async def execute(self, connection: Connection, command: list[bytes]) -> object:
        name, args = command[0].decode(errors="replace").upper(), command[1:]
        self.check_allowed(connection, name)
        if name == "GET" and args and args[-1].startswith(b"HTTP/"):
            connection.writer.write(self.http_answer(args[0].decode(errors="replace")))
            connection.writer.close()
            return NotImplemented
        if connection.queued is not None and name not in ("EXEC", "DISCARD", "MULTI"):
            connection.queued.append(command)
            return Status("QUEUED")
        if name in WRITES:
            if self.primary is not None:
                raise Error("READONLY You can't write against a read only replica.")
            reply = self.dataset.apply(name, args)
            self.lsn += 1
            self.feed_replicas([name.encode(), *args])
            return reply
        if name in READS:
            return self.dataset.apply(name, args)
        handler: Callable[..., object] | None = getattr(self, f"do_{name.lower()}", None)
        if handler is None:
            raise Error(f"ERR unknown command `{name}`")
        try:
            reply = handler(connection, *args)
        except TypeError:
            raise Error(f"ERR wrong number of arguments for '{name.lower()}' command") from None
        return await reply if asyncio.iscoroutine(reply) else reply

    def do_ping(self, connection: Connection, *message: bytes) -> object:
        if connection.channels and connection.protocol == 2:
            return ["pong", message[0] if message else ""]
        return message[0] if message else Status("PONG")

    def do_echo(self, _: Connection, text: bytes) -> object:
        return text

    def do_time(self, _: Connection) -> object:
        now = time.time_ns() // 1000
        return [now // 1_000_000, now % 1_000_000]

    def do_select(self, _: Connection, number: bytes) -> object:
        return Status("OK") if number == b"0" else Error("ERR DB index is out of range")

    def do_auth(self, connection: Connection, *words: bytes) -> object:
        if words[-1].decode() != self.config["requirepass"]:
            raise Error("WRONGPASS invalid username-password pair or user is disabled.")
        connection.is_admitted = True
        return Status("OK")

    def do_hello(self, connection: Connection, *words: bytes) -> object:
        options = [each.upper() for each in words]
        if words and words[0] not in (b"2", b"3"):
            raise Error("NOPROTO unsupported protocol version")
        if b"AUTH" in options:
            self.do_auth(connection, words[options.index(b"AUTH") + 2])
        if not connection.is_admitted:
            raise Error("NOAUTH HELLO must be called with the client already authenticated")
        connection.protocol = int(words[0]) if words else connection.protocol
        return {
            "server": "redis",
            "version": "7.4.0",
            "dragonfly_version": f"df-{VERSION}",
            "proto": connection.protocol,
            "id": connection.number,
            "mode": "standalone",
            "role": "master" if self.primary is None else "slave",
        }

    def do_client(self, connection: Connection, verb: bytes, *args: bytes) -> object:
        match verb.upper(), args:
            case b"SETNAME", [name]:
                connection.name = name.decode()
            case b"SETINFO" | b"PAUSE" | b"UNPAUSE", _:
                pass
            case b"GETNAME", []:
                return connection.name or str(connection.number)
            case b"ID", []:
                return connection.number
            case b"LIST", []:
                return "".join(f"{self.describe(each)}\n" for each in self.connections.values())
            case b"KILL", [kind, value] if kind.upper() in (b"ID", b"ADDR", b"LADDR"):
                return self.kill(kind.upper().decode(), value.decode())
            case b"KILL", _:
                raise Error("ERR syntax error")
            case _:
                word = verb.decode().upper()
                raise Error(
                    f"ERR Unknown subcommand or wrong number of arguments for '{word}'. "
                    "Try CLIENT HELP."
                )
        return Status("OK")

    def describe(self, each: Connection) -> str:
        name = each.name or each.number
        return f"id={each.number} addr={each.peer} laddr={each.local} name={name} db=0"

    def kill(self, kind: str, value: str) -> int:
        found = [
            each
            for each in self.connections.values()
            if {"ID": str(each.number), "ADDR": each.peer, "LADDR": each.local}[kind] == value
        ]
        for each in found:
            each.writer.transport.abort()
        return len(found)

    def do_config(self, _: Connection, verb: bytes, *args: bytes) -> object:
        match verb.upper(), args:
            case b"GET", [pattern]:
                glob = pattern.decode().replace("-", "_")
                return {k: v for k, v in self.config.items() if fnmatch.fnmatch(k, glob)}
            case b"SET", [name, value]:
                key = name.decode().replace("-", "_")
                if key not in self.config:
                    raise Error(
                        f"ERR Unknown option or number of arguments for CONFIG SET - '{key}'"
                    )
                self.config[key] = value.decode()
            case b"REWRITE", []:
                raise Error(NO_CONFIG_FILE)
            case b"RESETSTAT", []:
                pass
            case _:
                raise Error("ERR syntax error")
        return Status("OK")

    def do_command(self, _: Connection, *__: bytes) -> object:
        return []

    def do_multi(self, connection: Connection) -> object:
        if connection.queued is not None:
            raise Error("ERR MULTI calls can not be nested")
        connection.queued = []
        return Status("OK")

    def do_discard(self, connection: Connection) -> object:
        connection.queued = None
        return Status("OK")

    async def do_exec(self, connection: Connection) -> object:
        queued, connection.queued = connection.queued, None
        if queued is None:
            raise Error("ERR EXEC without MULTI")
        return [await self.answer(connection, command) for command in queued]

    def subscribe(self, connection: Connection, kind: str, names: tuple[bytes, ...]) -> object:
        for name in names:
            connection.channels.add((kind, name.decode(errors="surrogateescape")))
            connection.push(kind, name, len(connection.channels))
        return NotImplemented

    def do_subscribe(self, connection: Connection, *names: bytes) -> object:
        return self.subscribe(connection, "subscribe", names)

    def do_psubscribe(self, connection: Connection, *names: bytes) -> object:
        return self.subscribe(connection, "psubscribe", names)

    def unsubscribe(self, connection: Connection, kind: str, names: tuple[bytes, ...]) -> object:
        mine = [each.encode() for known, each in connection.channels if known == kind]
        for name in names or mine or [b""]:
            connection.channels.discard((kind, name.decode(errors="surrogateescape")))
            connection.push(f"{kind[:-9]}unsubscribe", name or None, len(connection.channels))
        return NotImplemented

    def do_unsubscribe(self, connection: Connection, *names: bytes) -> object:
        return self.unsubscribe(connection, "subscribe", names)

    def do_punsubscribe(self, connection: Connection, *names: bytes) -> object:
        return self.unsubscribe(connection, "psubscribe", names)

    def do_publish(self, _: Connection, channel: bytes, payload: bytes) -> object:
        count, name = 0, channel.decode(errors="surrogateescape")
        for each in self.connections.values():
            for kind, pattern in each.channels:
                if kind == "subscribe" and pattern == name:
                    each.push("message", channel, payload)
                elif kind == "psubscribe" and fnmatch.fnmatchcase(name, pattern):
                    each.push("pmessage", pattern, channel, payload)
                else:
                    continue
                count += 1
        return count

    def do_reset(self, connection: Connection) -> object:
        connection.channels.clear()
        connection.queued = None
        return Status("RESET")
