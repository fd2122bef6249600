"""`everfly drill` as a user runs it: real faults, real processes, statuses, nothing left behind."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

from engines_fixture import ENGINES, GENUINE_SENTINEL, engine
from everfly.drill.faults import Fault
from everfly.drill.load import FixedConnections, Writer, audit, remove
from everfly.drill.stage import OwnStage
from everfly.engines.command import EngineBinary
from everfly.engines.find import find_engine
from everfly.local.deployment import Deployment
from everfly.local.home import Home
from everfly.local.ports import random_free
from everfly.local.settings import HOST, Settings
from processes import until

__all__ = ["engine"]  # a fixture is used by its name

pytestmark = pytest.mark.integration

DRILL = [sys.executable, "-m", "everfly", "drill"]
LIMIT_S = 110.0
BEGUN = "clients write and read"
PATIENT = ("--down-after", "2000")
"""So that a machine that stands still for a second is not taken for a dead primary."""

FAILED_OVER = {Fault.KILL_REPLICA: 0, Fault.KILL_SENTINEL: 0}

needs_netns = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"
)


def drill(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a drill whose temporary files are in a folder, and see that none is left."""
    done = subprocess.run(
        [*DRILL, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment(folder) | variables,
        check=False,
    )
    left = sorted(each.name for each in folder.glob("everfly-*"))
    assert left == [], f"the drill left {left}; it said:\n{done.stderr}"
    return done


def environment(folder: Path) -> dict[str, str]:
    # No deployment of the user of this machine must be broken by a test.
    state = {"TMPDIR": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    return dict(os.environ) | state


def run_of(done: subprocess.CompletedProcess[str]) -> Mapping[str, object]:
    """Return the only run of a drill with --json, which was passed."""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    document = json.loads(done.stdout)
    (run,) = document["runs"]
    assert isinstance(run, dict)
    return run


def assert_is_proved(fault: Fault, run: Mapping[str, object]) -> None:
    """See that a run shows what must follow from its fault."""
    expected = FAILED_OVER.get(fault, 1)
    assert run["passed"] is True
    assert run["failovers"] == expected
    assert (run["new_primary"] != run["old_primary"]) is bool(expected)
    written, answered = run["writes_acknowledged"], run["reads_answered"]
    assert isinstance(written, int)
    assert isinstance(answered, int)
    assert written > 200
    assert answered > 50


@pytest.mark.parametrize("fault", [each for each in Fault if each is not Fault.PARTITION])
def test_a_fault_is_survived(fault: Fault, tmp_path: Path) -> None:
    options = ["--engine", "valkey", *PATIENT, "--json"]
    run = run_of(drill(tmp_path, fault.value, "--fresh", *options))
    assert_is_proved(fault, run)
    if fault is not Fault.RESTART_PRIMARY:
        assert run["writes_lost"] == 0


@pytest.mark.parametrize("engine", ENGINES[1:], indirect=True)
@pytest.mark.parametrize("fault", [Fault.KILL_PRIMARY, Fault.FREEZE_PRIMARY, Fault.KILL_SENTINEL])
def test_a_fault_is_survived_by_other_engines(
    fault: Fault, engine: EngineBinary, tmp_path: Path
) -> None:
    options = ["--engine", engine.engine.value, "--engine-binary", str(engine.path), *PATIENT]
    run = run_of(drill(tmp_path, fault.value, "--fresh", *options, "--json"))
    assert_is_proved(fault, run)


@pytest.mark.netns
@needs_netns
@pytest.mark.xdist_group("netns")
def test_a_partition_is_survived_and_leaves_no_namespace(tmp_path: Path) -> None:
    before = drill_namespaces()
    run = run_of(drill(tmp_path, "partition", "--engine", "valkey", "--json"))
    assert_is_proved(Fault.PARTITION, run)
    assert run["writes_lost"] == 0
    stubborn = run["stubborn"]
    assert isinstance(stubborn, dict)
    # Who stays on the side of the old primary is answered, and loses it: that is measured.
    assert stubborn["lost"] > 50
    assert drill_namespaces() <= before


@pytest.mark.netns
@needs_netns
@pytest.mark.xdist_group("netns")
def test_an_interrupted_partition_leaves_no_namespace(tmp_path: Path) -> None:
    before = drill_namespaces()
    interrupt("partition", "are cut off", signal.SIGTERM, tmp_path)
    assert drill_namespaces() <= before


def drill_namespaces() -> set[str]:
    """Those of this machine; one that somebody killed with SIGKILL may have left some."""
    done = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True)
    return {each for each in done.stdout.split() if each.startswith("everfly-drill-")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", [BEGUN, "is frozen"])
def test_an_interrupted_drill_leaves_nothing(
    number: signal.Signals, moment: str, tmp_path: Path
) -> None:
    interrupt("freeze-primary", moment, number, tmp_path)


def interrupt(fault: str, moment: str, number: signal.Signals, folder: Path) -> None:
    """Interrupt a drill once it says something; see that it ends and nothing of it is left."""
    log = folder / "stderr"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*DRILL, fault, "--fresh", "--engine", "valkey"],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=environment(folder),
        )
    try:
        until(lambda: moment in log.read_text(), LIMIT_S, show=log.read_text)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 6
        process.send_signal(number)
        assert process.wait(30) == 130, log.read_text()
        assert "interrupted" in log.read_text()
        assert "Traceback" not in log.read_text()
        until(lambda: not any(map(is_alive, children)), 5.0, show=lambda: children)
        assert list(folder.glob("everfly-*")) == []
    finally:
        process.kill()
        process.wait()


def is_alive(child: psutil.Process) -> bool:
    try:
        return child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_page_the_summary_and_the_progress_of_two_runs(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    options = ["--engine", "valkey", "--runs", "2", "--report", str(file)]
    done = drill(tmp_path, "kill-sentinel", "--fresh", *options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "2 of 2 runs passed" in done.stdout
    assert "run 2 of 2" in done.stderr
    page = ET.fromstring(file.read_text().partition("\n")[2])
    assert "2 of 2 runs passed" in "".join(page.itertext())


@pytest.mark.slow
@pytest.mark.compat
def test_what_genuine_sentinels_lose_is_found_and_told(tmp_path: Path) -> None:
    options = ["--engine", "valkey", "--sentinel-binary", GENUINE_SENTINEL[0], "--json"]
    done = drill(tmp_path, "failover", "--fresh", *options)
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    (run,) = json.loads(done.stdout)["runs"]
    assert run["failovers"] == 1
    assert run["writes_lost"] > 100
    assert any("acknowledged writes" in each for each in run["problems"])


async def test_a_running_deployment_is_broken_and_left_clean(tmp_path: Path) -> None:
    engine = find_engine("valkey")
    ports = random_free(HOST, 6)
    settings = Settings(
        engine=engine,
        directory=tmp_path / "store",
        ports=tuple(ports[:3]),
        sentinel_ports=tuple(ports[3:]),
        failover_timeout_ms=2_000,
        password="a-secret",
    )
    with Home(settings.directory) as home:
        async with Deployment(settings, home) as deployment:
            await deployment.until_healthy()
            old = await deployment.primary()
            where = ["--dir", str(settings.directory)]
            done = await asyncio.to_thread(drill, tmp_path, "kill-primary", *where, "--json")
            run = run_of(done)
            assert run["old_primary"] == old.name
            assert (await deployment.primary()).name == run["new_primary"]
            stage = OwnStage(deployment)
            new = await deployment.primary()
            async with await stage.dial(new.address, 2.0) as client:
                assert await client.call("DBSIZE") == 0
            refused = await asyncio.to_thread(drill, tmp_path, "restart-primary", *where)
            assert refused.returncode == 2
            assert "would harm a deployment that somebody uses" in refused.stderr
    stopped = await asyncio.to_thread(drill, tmp_path, "kill-primary", *where)
    assert stopped.returncode == 2
    assert "is stopped; start it with `everfly up`" in stopped.stderr


async def test_the_final_data_tells_what_was_lost_and_what_was_doubled() -> None:
    async with Deployment.temporary(find_engine("valkey"), replicas=0, sentinels=1) as deployment:
        address = deployment.instances[0].address
        connections = FixedConnections(OwnStage(deployment), address)
        writer = Writer(connections, "test", every_s=0.0)
        writing = asyncio.create_task(writer.run())
        async with asyncio.timeout(30):
            while len(writer.acknowledged) < 700:
                await asyncio.wait([writing], timeout=0.01)
        writer.is_stopping = True
        await writing
        client = await connections.connection()
        count = len(writer.acknowledged)
        found = await audit(client, writer)
        assert (found.lost, found.doubled, found.counted, found.summed) == ((), 0, count, count)
        await client.call("DEL", writer.key(0), writer.key(600))
        await client.call("INCR", writer.key(7))
        found = await audit(client, writer)
        assert (found.lost, found.doubled) == ((0, 600), 1)
        assert (found.counted, found.summed) == (count, count - 1)
        await remove(client, [writer])
        assert await client.call("DBSIZE") == 0
        await connections.drop()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dir", "nowhere"], "no deployment in"),
        (["--dir", "nowhere", "--fresh"], "contradict each other"),
        (["--dir", "nowhere", "--down-after", "500"], "leave them or --dir out"),
        (["--engine-binary", "/nowhere/valkey-server"], "does not exist"),
        (["--sentinel-binary", "/nowhere/valkey-server"], "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_with_status_2(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = drill(tmp_path, "kill-primary", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_partition_without_iproute2_says_what_to_install(tmp_path: Path) -> None:
    done = drill(tmp_path, "partition", "--engine", "valkey", PATH=str(tmp_path))
    assert done.returncode == 2
    assert ("install iproute2" if os.geteuid() == 0 else "needs root") in done.stderr
