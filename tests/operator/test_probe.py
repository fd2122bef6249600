"""What a probe makes of an instance that answers, refuses, hangs or starts anew."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from everfly.core.group_view import Facts
from everfly.core.model import Address, Role
from everfly.errors import Unavailable
from everfly.operator.orders import Orders, TakeOverRefused, TakeOverUnclear, _is_user
from everfly.operator.probe import Probe, facts_of
from processes import Child, ask, free_port, info, until

DOUBLE = Path(__file__).resolve().parents[1] / "doubles" / "dragonfly.py"
HOST = "127.0.0.1"


class Instance:
    """One instance: its clients' port is `port`, its admin port `admin`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.admin = free_port(), free_port()
        self.child: Child | None = None

    @property
    def address(self) -> Address:
        return Address(HOST, self.admin)

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        flags = [f"--port={self.port}", f"--admin_port={self.admin}", f"--dir={self.folder}"]
        flags.append("--break_replication_on_master_restart=true")
        self.child = Child([sys.executable, str(DOUBLE), *flags], self.folder / "log")
        until(lambda: ask(self.admin, "PING") == b"PONG" or True, 20)

    def stop(self) -> None:
        if self.child is not None:
            self.child.kill()


@pytest.fixture
def instances(tmp_path: Path) -> Iterator[list[Instance]]:
    """Two primaries that know nothing of each other."""
    made = [Instance(tmp_path / str(number)) for number in range(2)]
    try:
        for each in made:
            each.start()
        yield made
    finally:
        for each in made:
            each.stop()


@asynccontextmanager
async def probing(instance: Instance, changed: asyncio.Event | None = None) -> AsyncIterator[Probe]:
    probe = Probe(instance.address, (changed or asyncio.Event()).set)
    task = asyncio.create_task(probe.run())
    try:
        yield probe
    finally:
        task.cancel()
        await asyncio.wait([task])


async def seen(probe: Probe, condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await probe.refresh()


def facts(probe: Probe) -> Facts:
    found = probe.reading.facts
    assert found is not None
    return found


async def test_an_instance_says_its_role_history_and_keys(instances: list[Instance]) -> None:
    ask(instances[0].port, "SET", "k", "v")
    async with probing(instances[0]) as probe:
        await seen(probe, lambda: probe.reading.facts is not None)
        assert facts(probe).role is Role.PRIMARY
        assert facts(probe).history == info(instances[0].admin)["master_replid"]
        assert facts(probe).keys == 1
        assert probe.reading.contact.is_reachable


async def test_a_killed_process_is_noticed_at_once_and_by_its_closed_port(
    instances: list[Instance],
) -> None:
    changed = asyncio.Event()
    async with probing(instances[0], changed) as probe:
        await seen(probe, lambda: probe.reading.facts is not None)
        changed.clear()
        instances[0].stop()
        # Not by asking: the connection that ends wakes the probe.
        async with asyncio.timeout(1.0):
            await changed.wait()
        assert probe.reading.contact.failing_since is not None
        await seen(probe, lambda: probe.reading.contact.is_refused)
        assert facts(probe).role is Role.PRIMARY  # what it said last


async def test_a_frozen_process_fails_without_being_refused(instances: list[Instance]) -> None:
    async with probing(instances[0]) as probe:
        await seen(probe, lambda: probe.reading.facts is not None)
        assert instances[0].child is not None
        instances[0].child.signal(signal.SIGSTOP)
        await seen(probe, lambda: probe.reading.contact.failing_since is not None)
        assert not probe.reading.contact.is_refused
        instances[0].child.signal(signal.SIGCONT)
        await seen(probe, lambda: probe.reading.contact.is_reachable)


async def test_a_replica_says_whom_it_follows_and_since_when_its_link_is_down(
    instances: list[Instance],
) -> None:
    first, second = instances
    async with probing(second) as probe:
        await Orders(second.address).follow(first.address, cuts_clients=False)
        await seen(probe, lambda: probe.reading.facts is not None and facts(probe).is_link_up)
        assert facts(probe).primary == first.address
        assert probe.reading.link_down_since is None
        first.stop()
        await seen(probe, lambda: not facts(probe).is_link_up)
        since = probe.reading.link_down_since
        assert since is not None
        await probe.refresh()
        assert probe.reading.link_down_since == since


async def test_a_replica_that_applies_writes_shows_when(instances: list[Instance]) -> None:
    first, second = instances
    async with probing(second) as probe:
        await Orders(second.address).follow(first.address, cuts_clients=False)
        await seen(probe, lambda: probe.reading.facts is not None and facts(probe).offset == 0)
        assert probe.reading.applied_at is None
        ask(first.port, "SET", "k", "v")
        await seen(probe, lambda: facts(probe).offset == 1)
        applied_at = probe.reading.applied_at
        assert applied_at is not None
        # A link that is up and carries nothing proves nothing.
        await probe.refresh()
        await probe.refresh()
        assert probe.reading.applied_at == applied_at


async def test_a_replica_that_somebody_promoted_remembers_whose_data_it_has(
    instances: list[Instance],
) -> None:
    first, second = instances
    async with probing(second) as probe:
        await Orders(second.address).follow(first.address, cuts_clients=False)
        await seen(probe, lambda: probe.reading.facts is not None and facts(probe).is_link_up)
        history = facts(probe).history
        assert await Orders(second.address).promote(history)
        await seen(probe, lambda: facts(probe).role is Role.PRIMARY)
        assert facts(probe).promoted_from == history
        assert not await Orders(second.address).promote(history)


async def test_a_replica_that_restarted_as_a_primary_is_not_taken_for_a_promoted_one(
    instances: list[Instance],
) -> None:
    first, second = instances
    async with probing(second) as probe:
        await Orders(second.address).follow(first.address, cuts_clients=False)
        await seen(probe, lambda: probe.reading.facts is not None and facts(probe).is_link_up)
        second.stop()
        await seen(probe, lambda: probe.reading.contact.failing_since is not None)
        second.start()
        await seen(
            probe,
            lambda: (
                probe.reading.contact.is_reachable
                and probe.reading.facts is not None
                and facts(probe).role is Role.PRIMARY
            ),
        )
        assert facts(probe).promoted_from == ""


async def test_only_a_replica_of_the_expected_history_is_promoted(
    instances: list[Instance],
) -> None:
    first, second = instances
    await Orders(second.address).follow(first.address, cuts_clients=False)
    with pytest.raises(Unavailable, match="its history is"):
        await Orders(second.address).promote("f" * 40)
    assert info(second.admin)["role"] == "slave"


async def test_a_take_over_ends_the_old_primary_and_keeps_its_data(
    instances: list[Instance],
) -> None:
    first, second = instances
    ask(first.port, "SET", "k", "v")
    await Orders(second.address).follow(first.address, cuts_clients=False)
    until(lambda: info(second.admin).get("slave_repl_offset"), 10)
    await Orders(second.address).take_over(5)
    assert info(second.admin)["role"] == "master"
    assert ask(second.port, "GET", "k") == b"v"
    assert first.child is not None
    assert first.child.wait(10) == 0


async def test_a_take_over_by_a_primary_is_done_already(instances: list[Instance]) -> None:
    await Orders(instances[0].address).take_over(5)


async def test_a_take_over_from_somebody_dead_is_no_clean_refusal(
    instances: list[Instance],
) -> None:
    first, second = instances
    await Orders(second.address).follow(first.address, cuts_clients=False)
    until(lambda: info(second.admin).get("slave_repl_offset"), 10)
    first.stop()
    with pytest.raises((TakeOverUnclear, TakeOverRefused)):
        await Orders(second.address).take_over(1)
    assert info(second.admin)["role"] == "slave"


async def test_orders_to_a_closed_port_fail_at_once(instances: list[Instance]) -> None:
    instances[0].stop()
    with pytest.raises(Unavailable, match="cannot be reached"):
        await Orders(instances[0].address).fence()


@pytest.mark.parametrize(
    ("line", "is_user"),
    [
        ({"addr": "10.0.0.8:5", "laddr": "10.0.0.1:6379", "name": "shop"}, True),
        ({"addr": "127.0.0.1:5", "laddr": "127.0.0.1:6379", "name": ""}, True),
        ({"addr": "10.0.0.8:5", "laddr": "10.0.0.1:9999", "name": ""}, False),
        ({"addr": "10.0.0.8:5", "laddr": "10.0.0.1:6379", "name": "repl_ctrl"}, False),
        ({"addr": "10.0.0.8:5", "name": "everfly-operator"}, False),
        ({"addr": "10.0.0.8:5", "name": ""}, True),
        ({"name": "no address"}, False),
    ],
)
def test_only_users_of_the_data_port_are_cut(line: dict[str, str], is_user: bool) -> None:
    assert _is_user(line) is is_user


@pytest.mark.parametrize(
    ("fields", "is_loading"),
    [
        ({}, False),
        ({"loading": "0", "load_state": "done"}, False),
        ({"loading": "1"}, True),
        ({"load_state": "loading"}, True),
        ({"loading": "", "load_state": ""}, False),
    ],
)
def test_an_instance_that_reads_its_dataset_says_so(
    fields: dict[str, str], is_loading: bool
) -> None:
    found = facts_of({"role": "master", **fields}, None)
    assert found is not None
    assert found.is_loading is is_loading


def test_an_info_without_a_role_says_nothing() -> None:
    assert facts_of({"connected_slaves": "2"}, None) is None


def test_keys_are_counted_over_all_databases_and_replicas_named_that_are_fed() -> None:
    fields = {
        "role": "master",
        "dragonfly_version": "df-v1.40.1",
        "db0": "keys=3,expires=0",
        "db7": "keys=4,expires=1",
        "slave0": "ip=10.0.0.2,port=9999,state=online,lag=0",
        "slave1": "ip=10.0.0.3,port=9999,state=full_sync,lag=0",
    }
    found = facts_of(fields, None)
    assert found is not None
    assert found.keys == 7
    assert found.online_replicas == ("10.0.0.2",)
