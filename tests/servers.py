"""Turn a short description into a real group, watched by real Sentinels of any kind.

`Group` is one primary and its replicas (Valkey or Redis), `Deployment` a group plus Sentinels. All
of them are processes of this machine on free ports of the loopback interface, in a folder that is
removed at the end; when the block ends by an error their logs are printed and the folder is kept.
"""

import contextlib
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Self

import hiredis

from kinds import HOST, Engine, Kind, engine_binary, sentinel_command
from processes import Child, ask, free_port, info, until

START_S: Final = 10.0
"""A start takes milliseconds; a loaded machine may take seconds."""


REPLICATION_FIELDS: Final = frozenset(
    {"role", "master_host", "master_port", "master_link_status", "connected_slaves"}
)
TROUBLE: Final = frozenset({"s_down", "o_down", "disconnected", "failover_in_progress"})
"""Flags of an entry that is not as it should be. `master_down` of a peer is none: a genuine
Sentinel keeps it after the failover, until it has reason to ask again."""


@dataclass
class Instance:
    """One data process. It keeps its port and folder over restarts."""

    engine: Engine
    folder: Path
    port: int = field(default_factory=free_port)
    appendonly: bool = False
    password: str = ""
    child: Child | None = None

    def start(self, *, follow: int | None = None, sync_delay_s: int = 0) -> None:
        """Start with a fresh file, as a replica of the port `follow`, or as a primary.

        `sync_delay_s` is how long it waits before it hands out its dataset; the engines' default
        is 5.
        """
        assert self.child is None or self.child.exit_status is not None, "it runs"
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"port {self.port}",
            f"bind {HOST}",
            f"dir {self.folder}",
            'save ""',
            f"appendonly {'yes' if self.appendonly else 'no'}",
            f"repl-diskless-sync-delay {sync_delay_s}",
            "repl-ping-replica-period 1",
            # The default asks for 2 GB of shadow memory on small machines; nothing here is large.
            "repl-backlog-size 1mb",
        ]
        if self.password:
            lines += [f"requirepass {self.password}", f"masterauth {self.password}"]
        if follow is not None:
            lines.append(f"replicaof {HOST} {follow}")
        self.conf.write_text("\n".join(lines) + "\n")
        self.start_as_left()

    def start_as_left(self) -> None:
        """Start with its file as it, or a CONFIG REWRITE, left it."""
        self.child = Child(
            [engine_binary(self.engine), str(self.conf)], self.folder / "instance.log"
        )
        until(self._answers, START_S, show=self.log_tail)

    @property
    def conf(self) -> Path:
        return self.folder / "instance.conf"

    def _answers(self) -> bool:
        """An instance answers PING."""
        if self.child is None or self.child.exit_status is not None:
            raise RuntimeError(f"the instance on port {self.port} ended:\n{self.log_tail()}")
        return self.ask("PING") == b"PONG"

    def ask(self, *args: str | bytes | int) -> object:
        return ask(self.port, *args, password=self.password)

    def info(self) -> dict[str, str]:
        return info(self.port, password=self.password)

    def replication(self) -> dict[str, str]:
        """Return what it says of its role, for messages."""
        return {key: value for key, value in self.info().items() if key in REPLICATION_FIELDS}

    def follows(self, port: int) -> bool:
        """This instance is an in-sync replica of that port."""
        fields = self.info()
        return (
            fields.get("role") == "slave"
            and fields.get("master_port") == str(port)
            and fields.get("master_link_status") == "up"
        )

    def is_primary(self) -> bool:
        """This instance says that it is a primary."""
        return self.info().get("role") == "master"

    def signal(self, number: signal.Signals) -> None:
        assert self.child is not None
        self.child.signal(number)

    def shutdown(self) -> None:
        """Send SHUTDOWN and wait for the end."""
        assert self.child is not None
        with contextlib.suppress(OSError):  # it closes instead of answering
            self.ask("SHUTDOWN", "NOSAVE")
        self.child.wait(START_S)

    def kill(self) -> None:
        if self.child:
            self.child.kill()

    def log_tail(self) -> str:
        return self.child.log_tail() if self.child else f"{self.folder}: never started"


class Group:
    """One primary and its replicas, started and in sync."""

    def __init__(
        self, folder: Path, *, engine: Engine = Engine.VALKEY, replicas: int = 2, password: str = ""
    ) -> None:
        self.instances = [
            Instance(engine, folder / f"instance-{number}", password=password)
            for number in range(1 + replicas)
        ]

    def start(self) -> None:
        """Start all; the first is the primary. Return when every replica is in sync."""
        primary, *replicas = self.instances
        primary.start()
        for replica in replicas:
            replica.start(follow=primary.port)
        for replica in replicas:
            until(partial(replica.follows, primary.port), START_S, show=replica.replication)

    def by_port(self, port: int) -> Instance:
        return next(instance for instance in self.instances if instance.port == port)

    def kill(self) -> None:
        for instance in self.instances:
            instance.kill()


@dataclass
class Sentinel:
    """One Sentinel process. Its kind may change between two starts on the same file."""

    kind: Kind
    folder: Path
    port: int = field(default_factory=free_port)
    child: Child | None = None
    options: tuple[str, ...] = ()
    """Of the command line, behind the file."""

    def start(self, lines: Sequence[str] | None = None) -> None:
        """Start, with a fresh file of these lines, or with the file as it is."""
        assert self.child is None or self.child.exit_status is not None, "it runs"
        self.folder.mkdir(parents=True, exist_ok=True)
        if lines is not None:
            head = [f"port {self.port}", f"bind {HOST}", f"dir {self.folder}"]
            self.conf.write_text("\n".join([*head, *lines]) + "\n")
        command = [*sentinel_command(self.kind, self.conf), *self.options]
        self.child = Child(command, self.folder / "sentinel.log")
        until(self._answers, START_S, show=self.log_tail)

    @property
    def conf(self) -> Path:
        return self.folder / "sentinel.conf"

    def _answers(self) -> bool:
        """A Sentinel answers PING."""
        if self.child is None or self.child.exit_status is not None:
            raise RuntimeError(f"the {self.kind.value} Sentinel ended:\n{self.log_tail()}")
        try:
            return self.ask("PING") == b"PONG"
        except hiredis.ReplyError as error:
            return str(error).startswith("NOAUTH")  # it runs, for those who know the password

    def ask(self, *args: str | bytes | int) -> object:
        return ask(self.port, *args)

    def primary_port(self, name: str) -> int:
        """Return the port that this Sentinel answers to clients; 0 when it knows no such group."""
        reply = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        return int(reply[1]) if isinstance(reply, list) else 0

    def view(self, name: str) -> dict[str, str]:
        """Return its SENTINEL MASTER map."""
        return _maps([self.ask("SENTINEL", "MASTER", name)])[0]

    def replicas(self, name: str) -> list[dict[str, str]]:
        return _maps(self.ask("SENTINEL", "REPLICAS", name))

    def peers(self, name: str) -> list[dict[str, str]]:
        return _maps(self.ask("SENTINEL", "SENTINELS", name))

    def run_id(self) -> str:
        reply = self.ask("SENTINEL", "MYID")
        assert isinstance(reply, bytes), reply
        return reply.decode()

    def saved(self, directive: str) -> list[str]:
        """Return what its file says after `sentinel DIRECTIVE`, line by line, unquoted."""
        lines = self.conf.read_text().splitlines()
        start = f"sentinel {directive} "
        return [" ".join(shlex.split(line)[2:]) for line in lines if line.startswith(start)]

    def stop(self) -> int:
        """Ask it to end by SIGTERM and return its exit status."""
        assert self.child is not None
        self.child.signal(signal.SIGTERM)
        return self.child.wait(START_S)

    def kill(self) -> None:
        if self.child:
            self.child.kill()

    def log_tail(self) -> str:
        return self.child.log_tail() if self.child else f"{self.folder}: never started"


def _maps(reply: object) -> list[dict[str, str]]:
    assert isinstance(reply, list), reply
    return [
        {key.decode(): value.decode() for key, value in zip(flat[::2], flat[1::2], strict=True)}
        for flat in reply
    ]


@dataclass(frozen=True)
class Shape:
    """What a deployment is made of. Times in milliseconds, as in `sentinel.conf`."""

    kinds: tuple[Kind, ...] = (Kind.EVERFLY,) * 3
    engine: Engine = Engine.VALKEY
    replicas: int = 2
    name: str = "default-primary"
    quorum: int = 2
    down_after: int = 1000
    failover_timeout: int = 2000
    password: str = ""
    """Of the instances; empty for none."""
    extra: tuple[str, ...] = ()
    """More lines of `sentinel.conf`, the same for every Sentinel."""

    def lines(self, port: int) -> list[str]:
        """Return the file of a Sentinel that watches the primary on this port."""
        secret = [f"sentinel auth-pass {self.name} {self.password}"] if self.password else []
        return [
            f"sentinel monitor {self.name} {HOST} {port} {self.quorum}",
            f"sentinel down-after-milliseconds {self.name} {self.down_after}",
            f"sentinel failover-timeout {self.name} {self.failover_timeout}",
            f"sentinel parallel-syncs {self.name} 1",
            *secret,
            *self.extra,
        ]


class Deployment:
    """A group and its Sentinels, which know each other and all replicas when the block starts."""

    def __init__(self, shape: Shape | None = None, **changes: object) -> None:
        self.shape = replace(shape or Shape(), **changes)  # type: ignore[arg-type]  # its own fields
        self.name = self.shape.name
        self.folder = Path(tempfile.mkdtemp(prefix="everfly-test-"))
        self.group = Group(
            self.folder,
            engine=self.shape.engine,
            replicas=self.shape.replicas,
            password=self.shape.password,
        )
        self.sentinels = [
            Sentinel(kind, self.folder / f"sentinel-{number}-{kind.value}")
            for number, kind in enumerate(self.shape.kinds)
        ]

    def __enter__(self) -> Self:
        try:
            self.group.start()
            for sentinel in self.sentinels:
                sentinel.start(self.shape.lines(self.group.instances[0].port))
            self.settle()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # Sentinels first: they must not see the group die and write about it.
        for sentinel in self.sentinels:
            sentinel.kill()
        self.group.kill()
        if error is None:
            shutil.rmtree(self.folder)
        else:
            logs = [sentinel.log_tail() for sentinel in self.sentinels]
            logs += [instance.log_tail() for instance in self.group.instances]
            sys.stderr.write("\n".join([f"the logs are kept in {self.folder}", *logs, ""]))

    def settle(self, within_s: float = 20.0) -> None:
        """Wait until every Sentinel knows all others and all replicas and finds nobody down."""
        for sentinel in self.sentinels:
            until(partial(self._is_settled, sentinel), within_s, show=self.picture)

    def _is_settled(self, sentinel: Sentinel) -> bool:
        """A Sentinel knows all others and all replicas, and finds nobody down."""
        known = [*sentinel.replicas(self.name), *sentinel.peers(self.name)]
        expected = self.shape.replicas + len(self.sentinels) - 1
        return len(known) == expected and not any(
            TROUBLE.intersection(each["flags"].split(","))
            for each in (sentinel.view(self.name), *known)
        )

    def picture(self) -> str:
        """Return what every Sentinel believes, for messages."""
        lines = []
        for sentinel in self.sentinels:
            try:
                known = [
                    sentinel.view(self.name),
                    *sentinel.replicas(self.name),
                    *sentinel.peers(self.name),
                ]
                lines.append(
                    f"{sentinel.kind.value} on {sentinel.port}: "
                    + "; ".join(f"{each['name']} {each['port']} {each['flags']}" for each in known)
                )
            except (OSError, hiredis.ReplyError) as error:
                lines.append(f"{sentinel.kind.value} on {sentinel.port}: {error}")
        return "\n".join(lines)

    def primary(self) -> Instance:
        """Return the instance on which all Sentinels agree now. Raise AssertionError otherwise."""
        ports = {sentinel.primary_port(self.name) for sentinel in self.sentinels}
        assert len(ports) == 1, f"the Sentinels disagree:\n{self.picture()}"
        return self.group.by_port(ports.pop())

    def new_primary(self, old: Instance, within_s: float = 15.0) -> Instance:
        """Wait until all Sentinels answer one address that is not `old`, and it is a primary."""

        def moved() -> Instance | None:
            """All Sentinels answer one other address, whose instance is a primary."""
            ports = {sentinel.primary_port(self.name) for sentinel in self.sentinels}
            if len(ports) != 1 or old.port in ports:
                return None
            instance = self.group.by_port(ports.pop())
            return instance if instance.is_primary() else None

        found = until(moved, within_s, show=self.picture)
        assert found is not None
        return found
