"""Secrets are looked at now and then, no value of theirs stays, and a wrong one changes nothing."""

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hiredis
import pytest
from secrets_stage import Double, double

from everfly.core.group_view import GroupView, Record
from everfly.core.model import Address
from everfly.core.plan import Decision
from everfly.errors import Unavailable
from everfly.operator import names
from everfly.operator.apiserver.api import Refused
from everfly.operator.apiserver.sight import PodSight, StoreSight
from everfly.operator.chores.chore import Report, Work
from everfly.operator.chores.secrets_rotation import DENIED_S, PENDING_S, POLL_S, SecretRotation
from everfly.operator.deeds import Scene
from everfly.operator.wishes.spec import read_spec
from processes import Connection, free_port
from tls_files import Authority

OLD, NEW = "former-pass-4711", "later-pass-4712"
POD = PodSight(
    "cache-0", "u", "s", "cache", "127.0.0.1", "node", "master", "", "", "r1", 0, None,
    False, True, True, False, False,
)  # fmt: skip


class _Cluster:
    """What of the API server counts here: Secrets, a pod that is annotated, events."""

    def __init__(self) -> None:
        self.secrets: dict[str, Any] = {}
        self.refusal: Refused | None = None
        self.asked: list[str] = []
        self.told: list[tuple[str, str]] = []
        self.changes: list[Any] = []
        self.is_away = False
        """It takes no changes."""

    def hold(self, name: str, version: str, **data: str) -> None:
        """Have a Secret with these values."""
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self.secrets[name] = {"metadata": {"resourceVersion": version}, "data": encoded}

    async def get(self, _: Any, name: str, __: str) -> Any:
        """Return a Secret."""
        self.asked.append(name)
        if self.refusal is not None:
            raise self.refusal
        return self.secrets.get(name)

    async def patch(self, _: Any, __: str, ___: str, change: Any, ____: Any) -> Any:
        """Take an annotation."""
        if self.is_away:
            raise Unavailable("the API server is away")
        self.changes.append(change)
        return change

    def put(self, item: Any) -> None:
        """Take what was written."""

    def tell(self, _: Any, __: str, reason: str, message: str) -> None:
        """Take an event."""
        self.told.append((reason, message))


class _Stage:
    """The chore, one instance, and what the API server holds."""

    def __init__(self, instance: Double, **spec: Any) -> None:
        self.member = instance.member
        self.pod = POD
        self.spec = read_spec(spec)
        self.cluster = _Cluster()
        self.now = 1000.0
        inventory = SimpleNamespace(pods=self.cluster)
        tools: Any = SimpleNamespace(api=self.cluster, inventory=inventory, events=self.cluster)
        self.chore = SecretRotation(tools, clock=lambda: self.now)

    async def tend(self, after_s: float = 0.0) -> Report:
        """Let it look once, some time later."""
        self.now += after_s
        store = StoreSight("default", "cache", "store", "1", 1, False, {}, {}, {})
        view = GroupView((self.member,), Record(primary="cache-0"))
        scene = Scene(store, view, {"cache-0": self.pod}, ())
        return await self.chore.tend(Work(scene, self.spec, Decision(())))


PASSWORD = {"passwordFromSecret": {"name": "entry", "key": "word"}}


def reason_of(report: Report) -> str:
    (condition,) = report.conditions
    return condition.reason


def lets_in(instance: Double, *words: str) -> bool:
    with Connection(instance.port) as connection:
        try:
            return connection.call("AUTH", *words) == b"OK"
        except hiredis.ReplyError:
            return False


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Double]:
    with double(tmp_path, password=OLD) as instance:
        yield instance


async def test_without_secrets_nobody_is_asked_and_nothing_is_said(instance: Double) -> None:
    stage = _Stage(instance)
    assert await stage.tend() == Report()
    assert stage.cluster.asked == []


async def test_a_secret_is_looked_at_every_fifteen_seconds_and_its_change_is_taken_up(
    instance: Double, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stage = _Stage(instance, authentication=PASSWORD)
    stage.cluster.hold("entry", "1", word=OLD)
    assert reason_of(await stage.tend()) == "Current"
    await stage.tend(POLL_S - 1)
    assert stage.cluster.asked == ["entry"]
    stage.cluster.hold("entry", "2", word=NEW)
    report = await stage.tend(1)
    assert reason_of(report) == "Current"
    assert lets_in(instance, NEW)
    assert not lets_in(instance, OLD)
    ((reason, message),) = stage.cluster.told
    assert reason == "SecretRotated"
    assert "Secret entry, word" in message
    # Nothing is mounted, so that no pod is told.
    assert stage.cluster.changes == []
    kept = "".join(map(repr, _everything_in(stage.chore)))
    for value in (OLD, NEW):
        assert value not in f"{report} {stage.cluster.told} {caplog.text} {kept}"


def _everything_in(value: object, seen: set[int] | None = None) -> Iterator[object]:
    """Yield what an object of ours keeps, all the way down."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        children = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set):
        children = list(value)
    else:
        yield value
        inner = getattr(value, "__dict__", {}) | {
            name: getattr(value, name) for name in getattr(type(value), "__slots__", ())
        }
        children = [each for name, each in inner.items() if name not in ("_tools", "_clock")]
    for each in children:
        yield from _everything_in(each, seen)


async def test_a_process_that_starts_with_the_former_password_is_corrected_at_once(
    instance: Double,
) -> None:
    stage = _Stage(instance, authentication=PASSWORD)
    stage.cluster.hold("entry", "2", word=NEW)
    stage.member = replace(stage.member, incarnation="u/0")
    await stage.tend()
    assert lets_in(instance, NEW)
    # As a restart with the former environment would leave it.
    instance.admin("ACL", "SETUSER", "default", "resetpass", f">{OLD}")
    stage.member = replace(stage.member, incarnation="u/1")
    await stage.tend(PENDING_S)
    assert lets_in(instance, NEW)
    assert not lets_in(instance, OLD)
    assert [reason for reason, _ in stage.cluster.told] == ["SecretRotated", "SecretRotated"]


async def test_a_secret_that_is_named_again_is_looked_at_again(instance: Double) -> None:
    stage = _Stage(instance, authentication=PASSWORD)
    stage.cluster.hold("entry", "1", word=OLD)
    await stage.tend()
    named, stage.spec = stage.spec, read_spec({})
    assert await stage.tend(POLL_S) == Report()
    instance.admin("ACL", "SETUSER", "default", "resetpass", ">another")
    stage.spec = named
    assert reason_of(await stage.tend(POLL_S)) == "Current"
    assert lets_in(instance, OLD)


async def test_what_failed_half_way_is_done_again_though_the_secret_stayed_the_same(
    tmp_path: Path,
) -> None:
    file = tmp_path / "acl"
    file.write_text("USER shop ON >one ~* &* +@all\n")
    with double(tmp_path, f"--aclfile={file}", password="pass") as instance:
        stage = _Stage(instance, aclFromSecret={"name": "users", "key": "acl"})
        stage.cluster.hold("users", "1", acl=file.read_text())
        await stage.tend()
        text = "USER shop ON >two ~* &* +@all\n"
        stage.cluster.hold("users", "2", acl=text)
        file.write_text(text)
        stage.cluster.is_away = True
        with pytest.raises(Unavailable):
            await stage.tend(POLL_S)
        stage.cluster.is_away = False
        await stage.tend(PENDING_S)
        assert len(stage.cluster.changes) == 1
        assert reason_of(await stage.tend(POLL_S)) == "Current"
        assert lets_in(instance, "shop", "two")


@pytest.mark.parametrize(
    ("value", "told"),
    [("", "is empty"), (None, "there is no Secret entry")],
    ids=["empty", "gone"],
)
async def test_a_password_that_cannot_work_leaves_the_former_one(
    instance: Double, value: str | None, told: str
) -> None:
    stage = _Stage(instance, authentication=PASSWORD)
    stage.cluster.hold("entry", "1", word=OLD)
    await stage.tend()
    if value is None:
        del stage.cluster.secrets["entry"]
    else:
        stage.cluster.hold("entry", "2", word=value)
    report = await stage.tend(POLL_S)
    assert reason_of(report) == "Refused"
    assert told in report.conditions[0].message
    assert lets_in(instance, OLD)
    stage.cluster.hold("entry", "3", word=OLD)
    assert reason_of(await stage.tend(POLL_S)) == "Current"


async def test_without_the_right_it_is_told_and_asked_again_in_five_minutes(
    instance: Double,
) -> None:
    stage = _Stage(instance, authentication=PASSWORD)
    stage.cluster.refusal = Refused(403, "Forbidden", "no")
    assert reason_of(await stage.tend()) == "NotAllowed"
    await stage.tend(POLL_S)
    assert len(stage.cluster.asked) == 1
    stage.cluster.refusal = None
    stage.cluster.hold("entry", "1", word=OLD)
    assert reason_of(await stage.tend(DENIED_S)) == "Current"


async def test_an_instance_that_cannot_be_asked_is_waited_for(instance: Double) -> None:
    stage = _Stage(instance, authentication=PASSWORD)
    stage.cluster.hold("entry", "1", word=OLD)
    known, stage.member = stage.member, replace(stage.member, facts=None)
    report = await stage.tend()
    assert reason_of(report) == "Pending"
    assert "not yet cache-0" in report.conditions[0].message
    stage.member = known
    assert reason_of(await stage.tend(PENDING_S)) == "Current"


async def test_an_instance_that_fails_is_told_logged_once_and_asked_again(
    instance: Double, caplog: pytest.LogCaptureFixture
) -> None:
    stage = _Stage(instance, authentication=PASSWORD)
    stage.cluster.hold("entry", "1", word=NEW)
    stage.member = replace(stage.member, address=Address("127.0.0.1", free_port()))
    for _ in range(3):
        report = await stage.tend(PENDING_S)
    assert reason_of(report) == "Pending"
    assert "cannot be reached" in report.conditions[0].message
    assert caplog.text.count("cannot be reached") == 1
    stage.member = instance.member
    assert reason_of(await stage.tend(PENDING_S)) == "Current"
    assert lets_in(instance, NEW)


async def test_a_pair_that_does_not_fit_is_refused_before_any_instance_hears_of_it(
    instance: Double, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    one, other = authority.issue("one"), authority.issue("other")
    stage = _Stage(
        instance,
        tlsSecretRef={"name": "tls"},
        authentication={"clientCaCertSecret": {"name": "ca", "key": "ca.crt"}},
    )
    stage.cluster.hold("tls", "1", **{"tls.crt": one.cert.read_text(),
                                      "tls.key": other.key.read_text()})  # fmt: skip
    stage.cluster.hold("ca", "1", **{"ca.crt": other.key.read_text()})
    report = await stage.tend()
    assert reason_of(report) == "Refused"
    assert "not of one another" in report.conditions[0].message
    assert "no certificates of authorities" in report.conditions[0].message
    assert [reason for reason, _ in stage.cluster.told] == ["SecretRefused", "SecretRefused"]
    assert "PRIVATE" not in str((report, stage.cluster.told))


async def test_pods_are_told_once_of_a_changed_file_of_users_and_wrong_ones_are_told_once(
    tmp_path: Path,
) -> None:
    def users(word: str) -> str:
        return f"USER shop ON >{word} ~* &* +@all\n"

    file = tmp_path / "acl"
    file.write_text(users(OLD))
    with double(tmp_path, f"--aclfile={file}", password="pass") as instance:
        stage = _Stage(instance, aclFromSecret={"name": "users", "key": "acl"})
        stage.cluster.hold("users", "1", acl=users(OLD))
        assert reason_of(await stage.tend()) == "Current"
        assert stage.cluster.changes == []
        stage.cluster.hold("users", "2", acl=users(NEW) + "USER broken ON nonsense-4713\n")
        for _ in range(2):
            report = await stage.tend(POLL_S)
        assert "line 2: word 4 is no rule" in report.conditions[0].message
        assert [reason for reason, _ in stage.cluster.told] == ["SecretRefused"]
        assert stage.cluster.changes == []

        stage.cluster.hold("users", "3", acl=users(NEW))
        file.write_text(users(NEW))
        assert reason_of(await stage.tend(POLL_S)) == "Pending"
        ((name, note),) = stage.cluster.changes[0]["metadata"]["annotations"].items()
        assert (name, note) == (names.ANNOTATION_SECRETS, "users/3")
        stage.pod = replace(stage.pod, secrets_seen="other/1 users/3")
        assert reason_of(await stage.tend(POLL_S)) == "Current"
        assert len(stage.cluster.changes) == 1
        assert lets_in(instance, "shop", NEW)
        said = json.dumps([stage.cluster.told, stage.cluster.changes])
        assert not [each for each in (OLD, NEW, "nonsense-4713") if each in said]


async def test_users_that_a_predecessor_did_not_finish_with_are_finished(tmp_path: Path) -> None:
    file = tmp_path / "acl"
    text = "USER shop ON >new ~* &* +@all\n"
    file.write_text(text)
    with double(tmp_path, f"--aclfile={file}", password="pass") as instance:
        instance.admin("ACL", "SETUSER", "dismissed", "ON", ">x", "~*", "+@all")
        stage = _Stage(instance, aclFromSecret={"name": "users", "key": "acl"})
        stage.cluster.hold("users", "3", acl=text)
        stage.pod = replace(stage.pod, secrets_seen="users/3")
        await stage.tend()
        await stage.tend(POLL_S)
        assert not lets_in(instance, "dismissed", "x")
