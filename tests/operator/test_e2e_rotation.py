"""What Secrets hold is taken up by running instances: nothing restarts, nobody is cut off."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest
from controlplane.cluster import Cluster
from lightkube import Client, codecs
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, Secret, ServiceAccountToken
from lightkube.types import PatchType
from stage import OperatorProcess, Store, address, call, name_of, running, uid_of
from test_rbac import of_the_manifest

from everfly.operator import names
from processes import Connection
from tls_files import Authority, Pair

OLD, NEW = "former-pass-4711", "later-pass-4712"
SOON_S = 60.0
"""A Secret is looked at every fifteen seconds; the platform takes another one or two."""


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store that is yet to be created, and its operator."""
    with running(cluster, client, namespace, tmp_path) as store:
        yield store


def make_secret(client: Client, name: str, **texts: str) -> None:
    client.create(Secret(metadata=ObjectMeta(name=name), stringData=_keys(texts)))


def change_secret(client: Client, name: str, **texts: str) -> None:
    client.patch(Secret, name, {"stringData": _keys(texts)}, patch_type=PatchType.MERGE)


def _keys(texts: dict[str, str]) -> dict[str, str]:
    return {key.replace("_", "."): text for key, text in texts.items()}


def lets_in(pod: Pod, *words: str, context: ssl.SSLContext | None = None) -> bool:
    connection = Connection(6379, host=address(pod))
    with connection:
        if context is not None:
            connection.socket = context.wrap_socket(connection.socket)
        try:
            return connection.call("AUTH", *words) == b"OK"
        except hiredis.ReplyError:
            return False


def lives(store: Store) -> list[tuple[str, int]]:
    """Return who runs: another pod, or another process in one, shows here."""
    return [
        (uid_of(pod), each.restartCount)
        for pod in store.pods()
        for each in (pod.status.containerStatuses or [] if pod.status else [])
    ]


def told(store: Store, reason: str) -> list[str]:
    return [each.message or "" for each in store.events() if each.reason == reason]


def rotation(store: Store) -> dict[str, Any]:
    conditions = store.status.get("conditions") or []
    return next((each for each in conditions if each["type"] == "SecretRotation"), {})


def everything_said(store: Store) -> str:
    """Return all that the operator wrote anywhere."""
    assert store.operator is not None
    events = [each.to_dict() for each in store.events()]
    pods = [each.to_dict() for each in store.pods()]
    item = dict(store.item)
    return json.dumps([events, pods, item], default=str) + store.operator.log.read_text()


def reference(name: str, key: str) -> dict[str, Any]:
    return {"name": name, "key": key}


def test_a_new_password_is_needed_by_newcomers_alone(
    store: Store, client: Client, cluster: Cluster
) -> None:
    make_secret(client, "entry", word=OLD)
    store.create(authentication={"passwordFromSecret": reference("entry", "word")})
    store.wait_well(3)
    store.wait(lambda: rotation(store).get("reason") == "Current")
    before = lives(store)
    primary = store.primary()
    with Connection(6379, host=address(primary)) as connected:
        connected.call("AUTH", OLD)
        change_secret(client, "entry", word=NEW)
        store.wait(
            lambda: all(lets_in(each, NEW) and not lets_in(each, OLD) for each in store.pods()),
            SOON_S,
        )
        assert connected.call("SET", "key", "value") == b"OK"
    store.wait(lambda: told(store, "SecretRotated"))
    assert all("entry" in each and "word" in each for each in told(store, "SecretRotated"))
    store.wait(lambda: rotation(store).get("reason") == "Current")
    assert lives(store) == before
    # A container that restarts has the environment of its start, whichever that was.
    replica = next(each for each in store.pods() if uid_of(each) != uid_of(primary))
    call(replica, "CONFIG", "SET", "requirepass", OLD, port=names.ADMIN_PORT)
    call(replica, "ACL", "SETUSER", "default", "resetpass", f">{OLD}", port=names.ADMIN_PORT)
    assert store.operator is not None
    store.operator.restart()
    store.wait(lambda: lets_in(replica, NEW) and not lets_in(replica, OLD), SOON_S)
    store.wait_well(3)
    said = everything_said(store)
    assert OLD not in said
    assert NEW not in said


def users_text(password: str) -> str:
    return f"USER shop ON >{password} ~* &* +@all\n"


def served(pod: Pod) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = Connection(6379, host=address(pod))
    with connection:
        connection.socket = context.wrap_socket(connection.socket)
        return connection.socket.getpeercert(binary_form=True)


def change_certificate(client: Client, pair: Pair) -> bytes:
    change_secret(client, "tls", tls_crt=pair.cert.read_text(), tls_key=pair.key.read_text())
    return ssl.PEM_cert_to_DER_cert(pair.cert.read_text())


def test_new_users_and_a_new_certificate_are_taken_up_and_wrong_ones_are_not(
    store: Store, client: Client, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    first, second, third = (authority.issue(name) for name in ("first", "second", "third"))
    make_secret(client, "tls", tls_crt=first.cert.read_text(), tls_key=first.key.read_text())
    make_secret(client, "users", file=users_text(OLD))
    make_secret(client, "entry", word="of-default")
    store.create(
        replicas=2,
        tlsSecretRef={"name": "tls"},
        aclFromSecret=reference("users", "file"),
        authentication={"passwordFromSecret": reference("entry", "word")},
    )
    store.wait_well(2)
    store.wait(lambda: rotation(store).get("reason") == "Current")
    before = lives(store)
    context = authority.context()

    def all_let_in(*words: str) -> bool:
        return all(lets_in(each, *words, context=context) for each in store.pods())

    assert all_let_in("shop", OLD)
    change_secret(client, "users", file=users_text(NEW))
    wanted = change_certificate(client, second)
    store.wait(lambda: all(served(each) == wanted for each in store.pods()), SOON_S)
    store.wait(lambda: all_let_in("shop", NEW), SOON_S)
    assert not any(lets_in(each, "shop", OLD, context=context) for each in store.pods())
    # The user `default` is as well guarded as before.
    assert all_let_in("of-default")
    assert not any(lets_in(each, "anything", context=context) for each in store.pods())
    store.wait(lambda: len(told(store, "SecretRotated")) >= 2)
    store.wait(lambda: rotation(store).get("reason") == "Current")

    change_secret(client, "users", file=users_text(NEW) + "USER broken ON nonsense-4713\n")
    change_secret(client, "tls", tls_crt=third.cert.read_text())
    store.wait(lambda: len(told(store, "SecretRefused")) >= 2, SOON_S)
    store.wait(lambda: rotation(store).get("reason") == "Refused")
    assert "line 2" in rotation(store)["message"]
    assert all(served(each) == wanted for each in store.pods())
    assert all_let_in("shop", NEW)

    change_secret(client, "users", file=users_text(NEW))
    wanted = change_certificate(client, third)
    store.wait(lambda: all(served(each) == wanted for each in store.pods()), SOON_S)
    store.wait(lambda: rotation(store).get("reason") == "Current", SOON_S)
    assert lives(store) == before
    said = everything_said(store)
    assert not [each for each in (OLD, NEW, "nonsense-4713", "of-default") if each in said]


def test_without_the_right_to_read_secrets_all_else_works_and_it_is_told(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    made = [
        codecs.from_dict(each)
        for each in of_the_manifest(namespace)
        if not each["metadata"]["name"].endswith("-secrets")
    ]
    for each in made:
        client.create(each)
    account = next(each.metadata.name for each in made if each.kind == "ServiceAccount")
    request = ServiceAccountToken(
        metadata=ObjectMeta(name=account, namespace=namespace), spec=TokenRequestSpec(audiences=[])
    )
    token = client.create(request, account, namespace=namespace).status
    assert token is not None
    kubeconfig = cluster.kubeconfig_for(token.token, tmp_path / "poor.kubeconfig")
    operator = OperatorProcess(cluster, namespace, tmp_path, f"--kubeconfig={kubeconfig}")
    store = Store(cluster, client, namespace, operator=operator)
    try:
        make_secret(client, "entry", word=OLD)
        store.create(replicas=2, authentication={"passwordFromSecret": reference("entry", "word")})
        store.wait_well(2)
        store.wait(lambda: rotation(store).get("reason") == "NotAllowed")
        assert rotation(store)["status"] == "False"
        assert operator.log.read_text().count("Secrets may not be read") == 1
        old = name_of(store.primary())
        store.annotate(switchover="*")
        store.wait(lambda: name_of(store.primary()) != old)
        store.wait_well(2)
    finally:
        operator.kill()
        for each in made:
            if each.kind.startswith("Cluster"):
                client.delete(type(each), each.metadata.name)
