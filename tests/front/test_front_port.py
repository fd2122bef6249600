"""What clients are answered at the port of a front that has seen a data store."""

from collections.abc import AsyncIterator
from typing import Any, Self

import hiredis
import pytest
from lightkube import KubeConfig
from lightkube.config.models import Cluster, User

from everfly.core.model import RunId
from everfly.front.brain import FrontBrain
from everfly.front.table import make_front_commands, parts_of
from everfly.operator.apiserver.api import Api
from everfly.runtime.listener import Limits, Listener
from everfly.runtime.pubsub import PubSub
from everfly.sentinel.acl.control import AccessControl, AccessSettings
from everfly.sentinel.commands.table import dialect_of
from everfly.sentinel.compat import Compat
from everfly.sentinel.settings import Settings
from resp_client import RespClient

ME = RunId("f" * 40)
STANDING = {"kubernetes_watch": "ok"}


def pod(number: int, role: str, store: str = "cache", namespace: str = "shop") -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": namespace,
            "name": f"{store}-{number}",
            "uid": f"{namespace}-{store}-{number}",
            "resourceVersion": "1",
            "labels": {"app": store, "app.kubernetes.io/name": "dragonfly", "role": role},
            "ownerReferences": [
                {"kind": "StatefulSet", "name": store, "uid": "s", "controller": True}
            ],
        },
        "spec": {},
        "status": {
            "podIP": f"10.0.0.{number}",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def store(name: str = "cache", namespace: str = "shop") -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"of-{name}",
            "resourceVersion": "1",
        },
        "status": {"primary": f"{name}-0", "record": {"epoch": 4}},
    }


class Stage:
    """A front that heard of `shop/cache` with three pods; its API server is away."""

    def __init__(self, *namespaces: str, compat: Compat = Compat.REDIS_7_0, word: str = "") -> None:
        nowhere = Cluster(server="http://127.0.0.1:9")
        self.api = Api(KubeConfig.from_one(cluster=nowhere, user=User(token="nobody")))
        self.pubsub = PubSub()
        self.brain = FrontBrain(ME, self.api, namespaces, (self.pubsub,))
        access = AccessControl(dialect_of(compat), AccessSettings(requirepass=word))
        parts = parts_of(ME, self.brain, self.pubsub, access, Settings(compat=compat))
        self.listener = Listener(
            Limits(), lambda owner: make_front_commands(parts, lambda: STANDING, owner)
        )
        self.brain.stores.put(store())
        for number, role in enumerate(("master", "replica", "replica")):
            self.brain.pods.put(pod(number, role))

    async def __aenter__(self) -> Self:
        await self.listener.start(["127.0.0.1"], 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.listener.stop()
        await self.api.close()

    async def ask(self, *words: str) -> Any:
        async with await RespClient.open(self.listener.port) as client:
            return await client.ask(*words)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Stage("shop") as stage:
        yield stage


def fields(flat: Any) -> dict[str, str]:
    texts = [each.decode() for each in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


async def test_the_primary_is_named_by_both_names(stage: Stage) -> None:
    for name in ("cache", "shop/cache"):
        found = await stage.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        assert found == [b"10.0.0.0", b"6379"]
    assert await stage.ask("ROLE") == [b"sentinel", [b"cache"]]
    assert await stage.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "other/cache") is None
    assert await stage.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "unknown") is None


async def test_where_several_namespaces_are_served_a_bare_name_means_nobody() -> None:
    async with Stage("shop", "staging") as stage:
        stage.brain.stores.put(store(namespace="staging"))
        stage.brain.pods.put(pod(7, "master", namespace="staging"))
        assert await stage.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "cache") is None
        found = await stage.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "staging/cache")
        assert found == [b"10.0.0.7", b"6379"]
        assert await stage.ask("ROLE") == [b"sentinel", [b"shop/cache", b"staging/cache"]]


async def test_a_primary_that_lost_its_label_is_named_to_nobody_and_shown_as_down(
    stage: Stage,
) -> None:
    unlabelled = pod(0, "")
    unlabelled["metadata"]["resourceVersion"] = "2"
    stage.brain.pods.put(unlabelled)
    assert await stage.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "cache") is None
    (shown,) = await stage.ask("SENTINEL", "MASTERS")
    found = fields(shown)
    assert found["flags"] == "s_down,o_down,master,disconnected"
    assert (found["ip"], found["port"]) == ("10.0.0.0", "6379")
    assert int(found["s-down-time"]) >= 0
    info = await stage.ask("INFO", "sentinel")
    assert b"master0:name=cache,status=odown,address=10.0.0.0:6379,slaves=2,sentinels=1" in info


async def test_a_primary_that_is_gone_is_forgotten_with_its_resource(stage: Stage) -> None:
    stage.brain.pods.forget(("shop", "cache-0"))
    assert await stage.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "cache") is None
    assert len(await stage.ask("SENTINEL", "MASTERS")) == 1
    stage.brain.stores.forget(("shop", "cache"))
    assert await stage.ask("SENTINEL", "MASTERS") == []


async def test_master_and_replicas_have_the_fields_that_libraries_read(stage: Stage) -> None:
    found = fields(await stage.ask("SENTINEL", "MASTER", "cache"))
    assert found["name"] == "cache"
    assert found["flags"] == "master"
    assert found["config-epoch"] == "4"
    assert (found["num-slaves"], found["num-other-sentinels"], found["quorum"]) == ("2", "0", "1")
    assert len(found["runid"]) == 40
    replicas = [fields(each) for each in await stage.ask("SENTINEL", "REPLICAS", "cache")]
    assert [each["name"] for each in replicas] == ["10.0.0.1:6379", "10.0.0.2:6379"]
    assert {each["flags"] for each in replicas} == {"slave"}
    assert {each["master-host"] for each in replicas} == {"10.0.0.0"}
    assert {each["master-link-status"] for each in replicas} == {"ok"}
    slaves = [fields(each) for each in await stage.ask("SENTINEL", "SLAVES", "cache")]
    assert [each["runid"] for each in slaves] == [each["runid"] for each in replicas]
    assert await stage.ask("SENTINEL", "SENTINELS", "cache") == []
    assert await stage.ask("SENTINEL", "CKQUORUM", "cache") == (
        b"OK 1 usable Sentinels. Quorum and failover authorization can be reached"
    )
    assert await stage.ask("SENTINEL", "MYID") == ME.encode()
    assert await stage.ask("SENTINEL", "PENDING-SCRIPTS") == []
    assert await stage.ask("SENTINEL", "INFO-CACHE", "cache") == [b"cache", []]


async def test_what_libraries_say_first_is_understood(stage: Stage) -> None:
    async with await RespClient.open(stage.listener.port) as client:
        hello = fields_of_hello(await client.ask("HELLO", "3"))
        assert (hello[b"mode"], hello[b"proto"]) == (b"sentinel", 3)
        assert await client.ask("CLIENT", "SETNAME", "shop") == b"OK"
        assert await client.ask("PING") == b"PONG"
        shown = await client.ask("SENTINEL", "MASTER", "cache")
        assert isinstance(shown, dict)
        assert shown[b"ip"] == b"10.0.0.0"


def fields_of_hello(reply: Any) -> dict[bytes, Any]:
    assert isinstance(reply, dict)
    return reply


REFUSED = [
    ("SENTINEL", "MONITOR", "x", "10.0.0.1", "6379", "2"),
    ("SENTINEL", "REMOVE", "cache"),
    ("SENTINEL", "RESET", "*"),
    ("SENTINEL", "SET", "cache", "quorum", "2"),
    ("SENTINEL", "CONFIG", "SET", "announce-ip", "10.0.0.1"),
    ("SENTINEL", "DEBUG"),
    ("SENTINEL", "FLUSHCONFIG"),
    ("SENTINEL", "SIMULATE-FAILURE", "help"),
    ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", "6379", "1", "*"),
    ("PUBLISH", "__sentinel__:hello", "x"),
    ("SHUTDOWN",),
]


@pytest.mark.parametrize("compat", Compat, ids=lambda each: each.value)
@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
async def test_what_makes_no_sense_here_is_refused_with_a_reason(
    words: tuple[str, ...], compat: Compat
) -> None:
    async with Stage("shop", compat=compat) as stage:
        answer = await stage.ask(*words)
        assert isinstance(answer, hiredis.ReplyError)
        assert "has no meaning here: " in str(answer)
        assert await stage.ask("PING") == b"PONG"


async def test_settings_may_be_looked_at(stage: Stage) -> None:
    found = fields(await stage.ask("SENTINEL", "CONFIG", "GET", "resolve-*"))
    assert found == {"resolve-hostnames": "no"}


async def test_commands_are_listed_as_those_of_a_sentinel(stage: Stage) -> None:
    assert await stage.ask("COMMAND", "COUNT") == 15


async def test_info_says_whether_it_sees_the_cluster(stage: Stage) -> None:
    whole = await stage.ask("INFO")
    assert b"# Sentinel\r\nsentinel_masters:1\r\nsentinel_tilt:0" in whole
    assert whole.endswith(b"\r\n\r\n# Kubernetes\r\nkubernetes_watch:ok\r\n")
    assert await stage.ask("INFO", "kubernetes") == b"# Kubernetes\r\nkubernetes_watch:ok\r\n"
    assert b"Kubernetes" not in await stage.ask("INFO", "server")


async def test_a_failover_while_the_api_server_is_away_is_refused_and_says_so(
    stage: Stage,
) -> None:
    answer = await stage.ask("SENTINEL", "FAILOVER", "cache")
    assert isinstance(answer, hiredis.ReplyError)
    assert str(answer).startswith(
        "ERR switchover refused, nothing has changed: the API server cannot be reached"
    )
    unknown = await stage.ask("SENTINEL", "FAILOVER", "unknown")
    assert str(unknown) == "ERR No such master with that name"


async def test_a_failover_during_another_one_is_refused(stage: Stage) -> None:
    moving = store()
    moving["metadata"]["resourceVersion"] = "2"
    moving["status"]["record"] = {"epoch": 5, "move": {"to": "cache-1", "epoch": 5}}
    stage.brain.stores.put(moving)
    answer = await stage.ask("SENTINEL", "FAILOVER", "cache")
    assert str(answer) == "INPROG Failover already in progress"
    found = fields(await stage.ask("SENTINEL", "MASTER", "cache"))
    assert (found["flags"], found["config-epoch"]) == ("master,failover_in_progress", "4")


async def test_a_password_is_asked_for_before_anything_is_told() -> None:
    async with Stage("shop", word="of-the-front") as stage:
        refused = await stage.ask("SENTINEL", "MASTERS")
        assert str(refused) == "NOAUTH Authentication required."
        async with await RespClient.open(stage.listener.port) as client:
            wrong = await client.ask("AUTH", "another")
            assert str(wrong).startswith("WRONGPASS")
            assert await client.ask("AUTH", "of-the-front") == b"OK"
            assert len(await client.ask("SENTINEL", "MASTERS")) == 1
