"""What Sentinel-aware clients of the front see when the primary fails, moves, or is not there."""

import contextlib
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import hiredis
import httpx2
import pytest
import redis
import redis.sentinel
import valkey.exceptions
import valkey.sentinel
from controlplane.boot import API_PORT
from controlplane.cluster import Cluster
from front_stage import FrontProcess, Relay, rights_of_the_sample, running_front, through
from lightkube import Client
from lightkube.resources.core_v1 import Pod
from stage import Store, address, call, label, name_of, running

from compat.clients.programs import PROGRAMS, Missing, Program
from everfly.operator import names
from processes import Child, Connection, free_port, until
from tls_files import Authority

ANNOUNCED_S = 0.5
"""Far above the 50 ms of an idle machine: this one runs a whole cluster, and other tests."""


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store of three, in order."""
    with running(cluster, client, namespace, tmp_path) as store:
        store.create()
        store.wait_well(3)
        yield store


@pytest.fixture
def front(
    store: Store, cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> Iterator[FrontProcess]:
    """A front with the rights of the sample, that may also ask for a switchover."""
    kubeconfig = rights_of_the_sample(cluster, client, namespace, tmp_path, may_switch=True)
    with running_front(kubeconfig, tmp_path, f"--namespaces={namespace}") as front:
        yield front


@dataclass
class Listening:
    """A client that hears events, and when."""

    port: int
    heard: list[tuple[float, str, str]] = field(default_factory=list)

    @contextlib.contextmanager
    def on(self, *patterns: str) -> Iterator["Listening"]:
        connection = Connection(self.port, timeout_s=120)
        connection.send("PSUBSCRIBE", *patterns)
        for _ in patterns:
            connection.receive()
        thread = threading.Thread(target=self._run, args=(connection,))
        thread.start()
        try:
            yield self
        finally:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(2)
            thread.join()
            connection.close()

    def _run(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            while True:
                _, _, channel, payload = connection.receive()  # type: ignore[misc]  # a message
                self.heard.append((time.monotonic(), channel.decode(), payload.decode()))

    def of(self, channel: str) -> list[str]:
        return [payload for _, name, payload in self.heard if name == channel]


class LabelWatch:
    """Notes when the API server tells its watchers that another pod became the primary."""

    def __init__(self, store: Store, old: str) -> None:
        self.seen_at: float | None = None
        self._store = store
        self._old = old
        # A watch of this library has no end of its own; the cluster's ends it when a test fails.
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(20)

    def _run(self) -> None:
        with self._store.cluster.client(self._store.namespace) as client:
            for _, pod in client.watch(Pod, labels={names.LABEL_APP: self._store.name}):
                is_primary = label(pod, names.LABEL_ROLE) == names.ROLE_PRIMARY
                if is_primary and name_of(pod) != self._old:
                    self.seen_at = time.monotonic()
                    return


class SentinelWriter:
    """A library's Sentinel client, as applications use it: one that tries again."""

    def __init__(self, front: FrontProcess, kind: str) -> None:
        places = [("127.0.0.1", front.port)]
        made = {
            "redis-py": redis.sentinel.Sentinel,
            "valkey-py": valkey.sentinel.Sentinel,
        }[kind](places, socket_timeout=1.0)
        self.client = made.master_for("cache", socket_timeout=1.0)
        self.reader = made.slave_for("cache", socket_timeout=1.0)
        self.key = f"of-{kind}"
        self.written = 0

    def write(self) -> bool:
        """The next value was acknowledged."""
        with contextlib.suppress(redis.RedisError, valkey.exceptions.ValkeyError):
            self.written += 1
            return bool(self.client.set(self.key, self.written))
        return False

    def close(self) -> None:
        self.client.close()
        self.reader.close()


@pytest.mark.parametrize("kind", ["redis-py", "valkey-py"])
def test_a_library_finds_the_new_primary_after_a_kill_and_after_a_switchover(
    store: Store, front: FrontProcess, cluster: Cluster, kind: str
) -> None:
    writer = SentinelWriter(front, kind)
    try:
        until(writer.write, 10)
        for event in ("kill", "switchover"):
            old = store.primary()
            began = time.monotonic()
            if event == "kill":
                cluster.signal(old, signal.SIGKILL)
            else:
                store.annotate(switchover="*")
            store.wait(lambda old=old: name_of(store.primary()) != name_of(old), 20)
            until(writer.write, 20, show=front.child.log_tail)
            print(f"{kind}, {event}: writes again after {time.monotonic() - began:.3f} s")  # noqa: T201
            new = store.primary()
            value = call(new, "GET", writer.key)
            assert value == str(writer.written).encode()
            store.wait_well(3)
        until(lambda: int(writer.reader.get(writer.key) or 0) == writer.written, 10)
    finally:
        writer.close()


def test_a_new_primary_is_announced_as_soon_as_its_label_is_seen(
    store: Store, front: FrontProcess, cluster: Cluster, namespace: str
) -> None:
    old = store.primary()
    assert front.primary("cache") == (address(old), 6379)
    assert front.primary(f"{namespace}/cache") == (address(old), 6379)
    with Listening(front.port).on("*") as listening, LabelWatch(store, name_of(old)) as watch:
        cluster.signal(old, signal.SIGKILL)
        store.wait(lambda: listening.of("+switch-master"), 20)
        store.wait(lambda: listening.of("+failover-end"), 20)
        store.wait_well(3)
    new = store.primary()
    told = next(at for at, name, _ in listening.heard if name == "+switch-master")
    assert watch.seen_at is not None
    late = told - watch.seen_at
    print(f"announced {late * 1000:.1f} ms after another watcher saw the label")  # noqa: T201
    assert late < ANNOUNCED_S
    words = f"{address(old)} 6379 {address(new)} 6379"
    assert listening.of("+switch-master") == [f"cache {words}", f"{namespace}/cache {words}"]
    assert f"master cache {address(old)} 6379" in listening.of("+try-failover")
    assert f"master cache {address(old)} 6379 #quorum 1/1" in listening.of("+odown")
    assert front.primary("cache") == (address(new), 6379)
    fields = front.fields("MASTER", "cache")
    assert (fields["ip"], fields["flags"], fields["num-slaves"]) == (address(new), "master", "2")
    assert int(fields["config-epoch"]) == store.status["record"]["epoch"]


def test_a_failover_that_is_asked_for_is_done_by_the_operator_without_loss(
    store: Store, front: FrontProcess
) -> None:
    old = store.primary()
    call(old, "SET", "before", "1")
    assert front.ask("SENTINEL", "FAILOVER", "cache") == b"OK"
    store.wait(lambda: name_of(store.primary()) != name_of(old), 20)
    store.wait_well(3)
    new = store.primary()
    assert call(new, "GET", "before") == b"1"
    wanted = next(each for each in store.pods() if name_of(each) != name_of(new))
    assert front.ask("SENTINEL", "SWITCHOVER", "cache", address(wanted), "6379") == b"OK"
    store.wait(lambda: name_of(store.primary()) == name_of(wanted), 20)
    store.wait_well(3)
    with pytest.raises(hiredis.ReplyError, match=r"NOGOODSLAVE 10\.9\.9\.9:6379 is no replica"):
        front.ask("SENTINEL", "SWITCHOVER", "cache", "10.9.9.9", "6379")


def test_a_front_without_the_right_says_how_else_a_switchover_is_asked_for(
    store: Store, cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = rights_of_the_sample(cluster, client, namespace, tmp_path)
    front = FrontProcess(kubeconfig, tmp_path, f"--namespaces={namespace}")
    try:
        front.wait_ready()
        with pytest.raises(hiredis.ReplyError, match=r"everfly k8s -n \S+ switchover cache"):
            front.ask("SENTINEL", "FAILOVER", "cache")
    finally:
        front.child.kill()
    annotations = store.item["metadata"].get("annotations") or {}
    assert names.SWITCH_TO not in annotations


def test_a_failover_that_no_operator_takes_up_is_taken_back(
    store: Store, front: FrontProcess
) -> None:
    assert store.operator is not None
    store.operator.kill()
    with pytest.raises(hiredis.ReplyError, match="no operator took it up within 5 s"):
        front.ask("SENTINEL", "FAILOVER", "cache")
    annotations = store.item["metadata"].get("annotations") or {}
    assert names.SWITCH_TO not in annotations


def test_nobody_is_named_while_nobody_is_in_service_and_the_rest_is_told_as_down(
    store: Store, front: FrontProcess
) -> None:
    old = store.primary()
    with Listening(front.port).on("*") as listening:
        store.annotate(hibernated="true")
        store.wait(lambda: not store.pods(), 40)
        until(lambda: front.primary("cache") is None, 5)
        fields = front.fields("MASTER", "cache")
        assert (fields["ip"], fields["flags"]) == (
            address(old),
            "s_down,o_down,master,disconnected",
        )
        assert f"master cache {address(old)} 6379 #quorum 1/1" in listening.of("+odown")
        library = redis.sentinel.Sentinel([("127.0.0.1", front.port)])
        with pytest.raises(redis.sentinel.MasterNotFoundError):
            library.discover_master("cache")
        store.annotate(hibernated=None)
        store.wait_well(3)
    until(lambda: front.primary("cache") == (address(store.primary()), 6379), 5)


def test_a_front_that_lost_the_api_server_goes_on_with_what_it_knew_and_says_so(
    store: Store, cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    relay = Relay(API_PORT)
    relay.join()
    kubeconfig = through(relay, rights_of_the_sample(cluster, client, namespace, tmp_path))
    front = FrontProcess(kubeconfig, tmp_path, f"--namespaces={namespace}")
    try:
        front.wait_ready()
        old = store.primary()
        assert front.info()["kubernetes_watch"] == "ok"
        with Listening(front.port).on("*tilt") as listening:
            relay.cut()
            until(lambda: front.info()["kubernetes_watch"] == "lost", 10)
            until(lambda: listening.of("+tilt"), 20)
            assert front.info()["sentinel_tilt"] == "1"
            assert front.primary("cache") == (address(old), 6379)
            assert front.get("/readyz").status_code == httpx2.codes.OK
            assert front.fields("MASTER", "cache")["flags"] == "master,disconnected"
            with pytest.raises(hiredis.ReplyError, match="NOQUORUM"):
                front.ask("SENTINEL", "CKQUORUM", "cache")
            # What happens meanwhile is learned as soon as the way is open again.
            store.annotate(switchover="*")
            store.wait(lambda: name_of(store.primary()) != name_of(old), 20)
            assert front.primary("cache") == (address(old), 6379)
            relay.join()
            until(lambda: front.primary("cache") == (address(store.primary()), 6379), 30)
            until(lambda: listening.of("-tilt"), 20)
        assert front.ask("SENTINEL", "CKQUORUM", "cache").startswith(b"OK 1 usable Sentinels")
    finally:
        relay.cut()
        front.child.kill()


def test_a_front_of_all_namespaces_knows_data_stores_by_their_full_names(
    store: Store, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    front = FrontProcess(cluster.kubeconfig, tmp_path)
    try:
        front.wait_ready()
        place = (address(store.primary()), 6379)
        assert front.primary(f"{namespace}/cache") == place
        assert front.primary("cache") is None
        assert front.fields("MASTER", f"{namespace}/cache")["name"] == f"{namespace}/cache"
        with Listening(front.port).on("+switch-master") as listening:
            store.annotate(switchover="*")
            store.wait(lambda: listening.of("+switch-master"), 20)
        (told,) = listening.of("+switch-master")
        assert told.startswith(f"{namespace}/cache {place[0]} 6379 ")
        store.wait_well(3)
        metrics = front.get("/metrics").text
        assert "everfly_front_groups_without_primary 0" in metrics
    finally:
        front.child.kill()


def test_a_front_with_tls_and_users_lets_in_who_has_both(
    store: Store, cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("front")
    users = tmp_path / "users.acl"
    users.write_text(
        "user default off\n"
        "user shop on >of-the-shop +sentinel|get-master-addr-by-name +sentinel|masters +hello\n"
    )
    port = free_port()
    flags = (
        f"--namespaces={namespace}", "--bind=0", f"--tls-bind=127.0.0.1:{port}",
        f"--tls-cert-file={pair.cert}", f"--tls-key-file={pair.key}", f"--acl-file={users}",
    )  # fmt: skip
    kubeconfig = rights_of_the_sample(cluster, client, namespace, tmp_path)
    front = FrontProcess(kubeconfig, tmp_path, *flags)
    try:
        front.wait_ready()
        with Connection(port) as plain, pytest.raises((OSError, hiredis.ProtocolError)):
            plain.call("PING")
        trust = ssl.create_default_context(cafile=str(authority.ca))
        trust.check_hostname = False  # it is reached by its address
        connection = Connection(port)
        with connection:
            connection.socket = trust.wrap_socket(connection.socket)
            with pytest.raises(hiredis.ReplyError, match="NOAUTH"):
                connection.call("SENTINEL", "MASTERS")
            connection.call("AUTH", "shop", "of-the-shop")
            found = connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "cache")
            assert found == [address(store.primary()).encode(), b"6379"]
            with pytest.raises(hiredis.ReplyError, match="NOPERM"):
                connection.call("SENTINEL", "FAILOVER", "cache")
        front.child.signal(signal.SIGTERM)
        assert front.child.wait(10) == 0
    except BaseException:
        print(front.child.log_tail())  # noqa: T201 - shown with the failure
        raise
    finally:
        front.child.kill()
    assert "of-the-shop" not in front.child.log.read_text()


NAMES = ("ioredis", "go-redis", "lettuce", "jedis")


@pytest.fixture
def children(front: FrontProcess, tmp_path: Path) -> Iterator[dict[str, tuple[Program, Child]]]:
    """Programs in other languages that write to the primary that the front names, by name."""
    running: dict[str, tuple[Program, Child]] = {}
    try:
        for program in PROGRAMS:
            if program.name in NAMES:
                log = tmp_path / f"{program.name}.log"
                with contextlib.suppress(Missing):
                    child = program.start("follow", "cache", [front.port], log)
                    running[program.name] = program, child
        if not running:
            pytest.skip("no client of another language can be built here")
        yield running
    except BaseException:
        for _, child in running.values():
            print(child.log_tail())  # noqa: T201 - shown with the failure
        raise
    finally:
        for _, child in running.values():
            child.kill()


@pytest.mark.compat
@pytest.mark.timeout(500)
def test_clients_of_other_languages_write_on_after_a_kill_and_a_switchover(
    store: Store, cluster: Cluster, children: dict[str, tuple[Program, Child]]
) -> None:
    keys = [f"{each.name}-{p}" for each, _ in children.values() for p in each.protocols]

    def counts() -> dict[str, int]:
        primary = store.primary()
        return {key: int(call(primary, "GET", key) or 0) for key in keys}

    store.wait(lambda: all(counts().values()), 90)
    for event in ("kill", "switchover"):
        old = store.primary()
        if event == "kill":
            cluster.signal(old, signal.SIGKILL)
        else:
            store.annotate(switchover="*")
        store.wait(lambda old=old: name_of(store.primary()) != name_of(old), 20)
        marks = counts()
        store.wait(lambda marks=marks: all(now > marks[key] for key, now in counts().items()), 40)
        store.wait_well(3)
    print(f"written on by {sorted(children)}")  # noqa: T201
