"""Settings are changed in running instances where each of them can be, and nowhere else."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from secrets_stage import Double, double

from everfly.core.group_view import GroupView, Record
from everfly.core.plan import Decision
from everfly.operator.apiserver.sight import PodSight, SetSight, StoreSight
from everfly.operator.chores.chore import Work
from everfly.operator.chores.settings_flags import LIVE, flags_of, is_same, plan_of, size_of
from everfly.operator.chores.settings_live import PATIENCE_S, LiveSettings, noted_on
from everfly.operator.deeds import Scene
from everfly.operator.observe import Observation, view_of
from everfly.operator.wishes.spec import read_spec

NOTHING: frozenset[str] = frozenset()


def test_arguments_are_read_as_the_engine_reads_them() -> None:
    args = ["--timeout=5", "--maxmemory", "1gb", "-dbnum=3", "--tls", "--timeout=7", "stray"]
    assert flags_of(args) == {
        "timeout": "7",
        "maxmemory": "1gb",
        "dbnum": "3",
        "tls": "true",
        " stray": "",
    }


@pytest.mark.parametrize(
    ("running", "wanted", "noted", "changes", "needs_restart"),
    [
        ([], [], {}, (), ()),
        (["--timeout=5"], ["--timeout=5"], {}, (), ()),
        (["--timeout=5"], ["--timeout=6"], {}, (("timeout", "6"),), ()),
        ([], ["--timeout=6", "--maxmemory=1gb"], {},
         (("maxmemory", "1gb"), ("timeout", "6")), ()),
        (["--timeout=5"], [], {}, (), ("timeout",)),
        ([], [], {"timeout": "0"}, (("timeout", "0"),), ()),
        (["--timeout=5"], ["--timeout=5"], {"timeout": "5"}, (("timeout", "5"),), ()),
        ([], ["--timeout=6", "--dbnum=3"], {}, (("timeout", "6"),), ("dbnum",)),
        ([], ["--requirepass=x"], {}, (), ("requirepass",)),
        ([], ["--maxmemory=0"], {}, (), ("maxmemory",)),
        (["--maxmemory=1gb"], ["--maxmemory=nonsense"], {}, (), ("maxmemory",)),
        ([], [], {"maxmemory": "0"}, (), ("maxmemory",)),
        ([], ["stray"], {}, (), ("stray",)),
        (["--a", "--timeout=1"], ["--timeout=1", "--a"], {}, (), ()),
    ],
)  # fmt: skip
def test_what_can_be_changed_live_and_what_cannot(
    running: list[str],
    wanted: list[str],
    noted: dict[str, str],
    changes: tuple[tuple[str, str], ...],
    needs_restart: tuple[str, ...],
) -> None:
    plan = plan_of(running, wanted, noted, NOTHING)
    assert (plan.changes, plan.needs_restart) == (changes, needs_restart)


def test_what_is_seen_to_elsewhere_is_left_out() -> None:
    plan = plan_of([], ["--snapshot_cron=* * * * *"], {}, frozenset({"snapshot_cron"}))
    assert (plan.changes, plan.needs_restart) == ((), ())


@pytest.mark.parametrize(
    ("name", "one", "other", "are_same"),
    [
        ("maxmemory", "1gb", "1073741824", True),
        ("maxmemory", "1G", "1.00GiB", True),
        ("maxmemory", "1gb", "2gb", False),
        ("maxmemory", "1gb", "nonsense", False),
        ("timeout", "05", "5", True),
        ("timeout", "5", "x", False),
        ("replica_partial_sync", "yes", "true", True),
        ("replica_partial_sync", "yes", "false", False),
        ("replica_partial_sync", "maybe", "perhaps", False),
        ("snapshot_cron", "* * * * *", "* * * * *", True),
        ("snapshot_cron", "* * * * *", "", False),
    ],
)
def test_values_are_compared_by_what_they_mean(
    name: str, one: str, other: str, *, are_same: bool
) -> None:
    assert is_same(name, one, other) is are_same


def test_no_secret_no_mount_and_no_role_is_changed_live() -> None:
    risky = ("requirepass", "masterauth", "masteruser", "aclfile", "tls", "replicaof", "dir")
    assert not LIVE.keys() & set(risky)
    assert not [each for each in LIVE if each.startswith(("tls_", "replica_announce", "cluster"))]
    assert size_of("512kb") == 512 * 1024


BASE: dict[str, Any] = {
    "metadata": {"labels": {"app": "cache"}},
    "spec": {"containers": [{"name": "dragonfly", "image": "one", "args": ["--timeout=0"]}]},
}


def template(**changes: Any) -> dict[str, Any]:
    return {"data": {"spec": {"template": {**BASE, **changes}}}}


class _Cluster:
    """What of the API server counts here: revisions, and a pod that is annotated."""

    def __init__(self, pod: PodSight) -> None:
        self.pod = pod
        self.revisions: dict[str, Any] = {"r1": template(), "r2": template()}
        self.told: list[tuple[str, str]] = []
        self.changes: list[Any] = []

    async def get(self, _: Any, name: str, __: str) -> Any:
        """Return a revision."""
        return self.revisions.get(name)

    async def patch(self, _: Any, __: str, ___: str, change: Any, ____: Any) -> Any:
        """Take an annotation."""
        self.changes.append(change)
        (note,) = change["metadata"]["annotations"].values()
        self.pod = replace(self.pod, live_note=note)
        return change

    def put(self, item: Any) -> None:
        """Take what was written."""

    def tell(self, _: Any, __: str, reason: str, message: str) -> None:
        """Take an event."""
        self.told.append((reason, message))


def set_of(*args: str, revision: str = "r2") -> SetSight:
    return SetSight("s", "store", 1, 1, 1, 1, revision, {}, "one", "m", args=args)


def pod_of(*args: str, revision: str = "r1") -> PodSight:
    return PodSight(
        "cache-0", "u", "s", "cache", "127.0.0.1", "node", "master", "", "", revision, 0, None,
        False, True, True, False, False, args=args,
    )  # fmt: skip


class _Stage:
    """A chore, one instance, and what the API server says of both."""

    def __init__(self, instance: Double, pod: PodSight, owned: SetSight) -> None:
        self.instance, self.owned = instance, owned
        self.cluster = _Cluster(pod)
        inventory = SimpleNamespace(
            sets=SimpleNamespace(get=lambda _: self.owned), pods=self.cluster
        )
        tools: Any = SimpleNamespace(api=self.cluster, inventory=inventory, events=self.cluster)
        self.now = 0.0
        self.chore = LiveSettings(tools, clock=lambda: self.now)

    async def tend(self, *, is_on: bool = True, **spec: Any) -> dict[str, bool]:
        """Let it look once, and return its verdicts."""
        store = StoreSight("default", "cache", "store", "1", 1, False, {}, {}, {})
        view = GroupView((self.instance.member,), Record(primary="cache-0"))
        scene = Scene(store, view, {"cache-0": self.cluster.pod}, ())
        wanted = read_spec({"everfly": {"liveSettings": is_on}, **spec})
        return dict((await self.chore.tend(Work(scene, wanted, Decision(())))).settled)

    def setting(self, name: str) -> str:
        """Return what the instance has."""
        found = self.instance.admin("CONFIG", "GET", name)
        return bytes(found[1]).decode()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Double]:
    with double(tmp_path, "--timeout=0") as instance:
        yield instance


CURRENT, OUTDATED = {"u/0": True}, {"u/0": False}


async def test_changed_settings_are_set_verified_noted_and_told(instance: Double) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=9", "--maxmemory=200mb"))
    assert await stage.tend() == CURRENT
    assert (stage.setting("timeout"), stage.setting("maxmemory")) == ("9", str(200 << 20))
    assert noted_on(stage.cluster.pod) == {"timeout": "0", "maxmemory": "0"}
    ((reason, message),) = stage.cluster.told
    assert reason == "SettingsApplied"
    assert "timeout=9" in message
    assert await stage.tend() == CURRENT
    assert len(stage.cluster.told) == len(stage.cluster.changes) == 1


async def test_a_setting_that_goes_back_to_what_it_was_is_set_back(instance: Double) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=0", "--slowlog_max_len=50"))
    assert await stage.tend() == CURRENT
    assert stage.setting("slowlog_max_len") == "50"
    # The pod is of the newest revision again, and its process is not.
    stage.owned = set_of("--timeout=0", revision="r1")
    assert await stage.tend() == CURRENT
    assert stage.setting("slowlog_max_len") == "20"


async def test_a_process_that_started_anew_is_given_the_settings_again(instance: Double) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=9"))
    await stage.tend()
    instance.admin("CONFIG", "SET", "timeout", "0")  # as a restart of its container would
    again: Any = SimpleNamespace(**vars(stage.instance))
    again.member = replace(instance.member, incarnation="u/1")
    stage.instance = again
    instance_of_before, stage.instance = instance, again
    assert await stage.tend() == {"u/1": True}
    assert instance_of_before.admin("CONFIG", "GET", "timeout")[1] == b"9"


async def test_a_value_that_is_refused_is_told_and_restarts_as_ever(instance: Double) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=soon"))
    assert await stage.tend() == OUTDATED
    ((reason, message),) = stage.cluster.told
    assert reason == "SettingRefused"
    assert "argument can not be set" in message
    assert await stage.tend() == OUTDATED
    assert len(stage.cluster.told) == 1
    stage.owned = set_of("--timeout=5", revision="r3")
    stage.cluster.revisions["r3"] = template()
    assert await stage.tend() == CURRENT


async def test_a_setting_that_the_version_does_not_know_restarts_as_ever(instance: Double) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=0", "--send_timeout=5"))
    assert await stage.tend() == OUTDATED
    assert "send_timeout" in stage.cluster.told[0][1]


@pytest.mark.parametrize(
    "other",
    [
        template(metadata={"labels": {"app": "cache", "more": "x"}}),
        template(spec={"containers": [{"name": "dragonfly", "image": "two", "args": []}]}),
        None,
    ],
    ids=["labels", "image", "unknown"],
)
async def test_any_other_difference_of_the_pod_restarts_it(instance: Double, other: Any) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=9"))
    stage.cluster.revisions["r2"] = other
    assert await stage.tend() == OUTDATED
    assert stage.setting("timeout") == "0"


async def test_a_flag_that_cannot_be_changed_restarts_and_changes_nothing(instance: Double) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=9", "--dbnum=3"))
    assert await stage.tend() == OUTDATED
    assert stage.setting("timeout") == "0"
    assert stage.cluster.told == []


async def test_an_instance_that_cannot_be_asked_is_waited_for_and_then_restarted(
    instance: Double,
) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=9"))
    lost: Any = SimpleNamespace(member=replace(instance.member, facts=None))
    stage.instance = lost
    assert await stage.tend() == {}
    stage.now = PATIENCE_S + 1
    assert await stage.tend() == OUTDATED


async def test_an_instance_that_ends_over_and_over_is_restarted_with_what_is_wanted(
    instance: Double,
) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=9"))
    for restarts in range(3):
        member = replace(instance.member, facts=None, incarnation=f"u/{restarts}")
        stage.instance = SimpleNamespace(member=member)
        stage.now = restarts * (PATIENCE_S / 2 + 1)
        verdicts = await stage.tend()
    assert verdicts == {"u/2": False}


async def test_without_the_wish_nothing_is_judged_and_revisions_decide(instance: Double) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"), set_of("--timeout=9"))
    assert await stage.tend(is_on=False) == {}
    assert stage.setting("timeout") == "0"


async def test_times_of_snapshots_of_the_primary_alone_are_left_to_their_own_chore(
    instance: Double,
) -> None:
    stage = _Stage(instance, pod_of("--timeout=0"),
                   set_of("--timeout=0", "--snapshot_cron=1 * * * *"))  # fmt: skip
    snapshot = {"cron": "1 * * * *", "enableOnMasterOnly": True, "dir": "/data"}
    assert await stage.tend(snapshot=snapshot) == CURRENT
    assert stage.setting("snapshot_cron") == ""


@pytest.mark.parametrize(
    ("live", "is_current"),
    [(None, False), ({}, True), (CURRENT, True), (OUTDATED, False)],
    ids=["not wanted", "not judged", "settled", "to be restarted"],
)
def test_an_instance_of_an_older_revision_is_current_once_it_has_the_settings(
    live: Any, *, is_current: bool
) -> None:
    store = StoreSight("default", "cache", "store", "1", 1, False, {}, {}, {})
    seen = Observation(
        store, read_spec({}), set_of("--timeout=9"), (pod_of("--timeout=0"),), {},
        lambda _: None, sees_hosts=False, live=live,
    )  # fmt: skip
    (member,) = view_of(seen, 1, settings_memory()).members
    assert member.is_current is is_current


def settings_memory() -> Any:
    return GroupView(()).memory
