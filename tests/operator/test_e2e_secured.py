"""What a spec says about secrets, TLS and probes, down to what clients see."""

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest
from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.models.core_v1 import ContainerStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret
from stage import Store, address, call, is_ready, name_of, replication, running, uid_of

from processes import Connection
from tls_files import Authority

PASSWORD = "of-the-secret"


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store that is yet to be created, and its operator."""
    with running(cluster, client, namespace, tmp_path) as store:
        yield store


def make_secret(client: Client, name: str, **texts: str) -> None:
    keys = {key.replace("_", "."): text for key, text in texts.items()}
    client.create(Secret(metadata=ObjectMeta(name=name), stringData=keys))


def encrypted(pod: Pod, context: ssl.SSLContext, *words: str) -> object:
    """Send AUTH and one command over TLS; return the reply of the command."""
    connection = Connection(6379, host=address(pod))
    with connection:
        connection.socket = context.wrap_socket(connection.socket)
        connection.call("AUTH", PASSWORD)
        return connection.call(*words)


def test_a_data_store_with_tls_and_a_password_lets_in_who_has_both_and_fails_over(
    store: Store, client: Client, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("cache")
    make_secret(client, "tls", tls_crt=pair.cert.read_text(), tls_key=pair.key.read_text())
    make_secret(client, "password", password=PASSWORD)
    store.create(
        replicas=2,
        tlsSecretRef={"name": "tls"},
        authentication={"passwordFromSecret": {"name": "password", "key": "password"}},
    )
    store.wait_well(2)
    trust = ssl.create_default_context(cafile=str(authority.ca))
    trust.check_hostname = False  # it is reached by its address
    old = store.primary()
    assert encrypted(old, trust, "SET", "key", "value") == b"OK"
    with pytest.raises((OSError, hiredis.ReplyError, hiredis.ProtocolError)):
        call(old, "GET", "key")
    strangers = ssl.create_default_context(cafile=str(Authority(tmp_path / "other").ca))
    strangers.check_hostname = False
    with pytest.raises(ssl.SSLCertVerificationError):
        encrypted(old, strangers, "PING")
    store.wait(lambda: encrypted(store.pods()[-1], trust, "GET", "key") == b"value")
    client.delete(Pod, name_of(old))
    store.wait(lambda: uid_of(store.primary()) != uid_of(old))
    store.wait_well(2)
    assert encrypted(store.primary(), trust, "GET", "key") == b"value"


def test_users_of_the_acl_file_are_let_in(store: Store, client: Client) -> None:
    make_secret(client, "users", file=f"USER shop ON >{PASSWORD} ~* +@all\n")
    make_secret(client, "password", password="another")
    store.create(
        replicas=1,
        aclFromSecret={"name": "users", "key": "file"},
        authentication={"passwordFromSecret": {"name": "password", "key": "password"}},
    )
    store.wait_well(1)
    with Connection(6379, host=address(store.primary())) as connection:
        with pytest.raises(hiredis.ReplyError, match="NOAUTH"):
            connection.call("GET", "key")
        assert connection.call("AUTH", "shop", PASSWORD) == b"OK"
        assert connection.call("SET", "key", "value") == b"OK"


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not on PATH")
def test_a_script_of_the_users_decides_beside_our_own_two(store: Store, client: Client) -> None:
    script = (
        '[ "$(redis-cli -p "$HEALTHCHECK_PORT" ROLE | head -n 1)" = master ] || '
        '[ "$(redis-cli -p "$HEALTHCHECK_PORT" EXISTS warm)" = 1 ]'
    )
    maps = {"readiness-check.sh": script}
    client.create(ConfigMap(metadata=ObjectMeta(name="mine"), data=maps))
    store.create(replicas=2, customReadinessProbeConfigMap={"name": "mine"})

    def is_link_up() -> bool:
        """The replica copies its primary."""
        return replication(store.pod("cache-1"))["master_link_status"] == "up"

    store.wait(is_link_up, 60)
    assert not is_ready(store.pod("cache-1"))
    call(store.pod("cache-0"), "SET", "warm", "1")
    store.wait_well(2)
    assert [each.restartCount for pod in store.pods() for each in statuses(pod)] == [0, 0]
    found = {each.metadata.name for each in client.list(ConfigMap) if each.metadata}
    assert {"cache-liveness-probe", "cache-startup-probe"} <= found
    assert "cache-readiness-probe" not in found


def statuses(pod: Pod) -> list[ContainerStatus]:
    assert pod.status is not None
    return list(pod.status.containerStatuses or [])
