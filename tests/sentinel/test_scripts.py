import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfly.core.effects import ReconfigureClients
from everfly.core.model import Address, GroupName, Millis
from everfly.core.notices import Event, Notice, Subject
from everfly.core.policy import Policy
from everfly.sentinel.scripts import QUEUE_MAX, RUNNING_MAX, TRIES_MAX, Scripts
from everfly.sentinel.settings import Settings
from shell_doubles import turns, until

GROUP = GroupName("cache")
SUBJECT = Subject("master", "cache", "127.0.0.1", 6379)
PATIENCE_S = 30.0
DOWN = Notice(Event.S_DOWN, GROUP, SUBJECT)


class Bench:
    """Scripts of one group, and the notices that they caused."""

    def __init__(self, folder: Path, tasks: asyncio.TaskGroup) -> None:
        self.folder = folder
        self.told: list[tuple[str, str]] = []
        self.settings = Settings()
        self.policy = Policy()
        self.scripts = Scripts(self.settings, self.policy, self._tell, tasks)

    def _tell(self, notice: Notice) -> None:
        self.told.append((notice.event.wire, notice.payload))

    def write(self, text: str, name: str = "script") -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        self.settings.group_for_change(GROUP).notification_script = str(path)
        return path

    def events(self, name: str) -> list[str]:
        return [payload for event, payload in self.told if event == name]


@contextlib.asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as tasks:
        it = Bench(folder, tasks)
        try:
            yield it
        finally:
            it.scripts.close()
    # The transports of processes close in later turns of the loop.
    await turns()


async def test_a_warning_about_a_group_runs_its_script_with_event_and_payload(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as it:
        it.write(f'printf "%s|" "$@" > {tmp_path}/seen')
        it.scripts.on_notice(Notice(Event.S_DOWN, GROUP, SUBJECT, "#quorum 1/2"))
        await until(lambda: it.scripts.queued == 0 and it.told)
    assert (tmp_path / "seen").read_text() == "+sdown|master cache 127.0.0.1 6379 #quorum 1/2|"
    (started,), (ended,) = it.events("+script-child"), it.events("-script-child")
    assert ended == f"{started} 0 0"
    assert len(it.told) == 2


@pytest.mark.parametrize(
    "notice",
    [
        Notice(Event.REPLICA, GROUP, SUBJECT),
        Notice(Event.TILT, None, None, "#tilt mode entered"),
        Notice(Event.S_DOWN, GroupName("unset"), SUBJECT),
    ],
)
async def test_other_notices_run_nothing(notice: Notice, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.write("true")
        it.scripts.on_notice(notice)
        await turns()
        assert it.scripts.queued == 0


async def test_clients_are_reconfigured_with_role_and_addresses(tmp_path: Path) -> None:
    old, new = Address("db-1", 6379, "10.0.0.1"), Address("db-2", 6380, "10.0.0.2")
    async with bench(tmp_path) as it:
        path = it.write(f'echo "$@" >> {tmp_path}/seen')
        it.settings.group_for_change(GROUP).client_reconfig_script = str(path)
        it.scripts.reconfigure_clients(ReconfigureClients(GROUP, is_leader=True, old=old, new=new))
        await until(lambda: it.events("-script-child"))
        it.settings.announce_hostnames = True
        it.scripts.reconfigure_clients(ReconfigureClients(GROUP, is_leader=False, old=old, new=new))
        await until(lambda: len(it.events("-script-child")) == 2)
    assert (tmp_path / "seen").read_text() == (
        "cache leader start 10.0.0.1 6379 10.0.0.2 6380\ncache observer start db-1 6379 db-2 6380\n"
    )


async def test_a_script_has_our_environment_and_folder_and_none_of_our_descriptors(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as it:
        with (tmp_path / "open").open("w") as ours:
            os.set_inheritable(ours.fileno(), True)
            it.write(f'(ls /proc/$$/fd; pwd; echo "$HOME"; cat) > {tmp_path}/seen.new; '
                     f"mv {tmp_path}/seen.new {tmp_path}/seen")  # fmt: skip
            it.scripts.on_notice(DOWN)
            await until(lambda: it.scripts.queued == 0 and it.told)
    *descriptors, folder, home = (tmp_path / "seen").read_text().splitlines()
    # The shell itself may keep its script open, at 10 or above.
    assert {number for number in descriptors if int(number) < 10} == {"0", "1", "2"}
    assert folder == str(Path.cwd())
    assert home == os.environ.get("HOME", "")


@pytest.mark.parametrize(("text", "outcome"), [("exit 1", "1 0"), ("kill -TERM $$", "0 15")])
async def test_a_script_that_asks_for_it_is_tried_again_later_and_not_for_ever(
    text: str, outcome: str, tmp_path: Path
) -> None:
    async with bench(tmp_path) as it:
        it.policy.script_retry_delay = Millis(1)
        it.write(text)
        it.scripts.on_notice(DOWN)
        await until(lambda: it.events("-script-error"), within_s=20)
    status, number = outcome.split()
    assert it.events("-script-error") == [f"{tmp_path}/script {number} {status}"]
    assert [event.split(" ", 1)[1] for event in it.events("-script-child")] == [outcome] * TRIES_MAX


async def test_between_two_tries_it_waits_and_says_for_how_long(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.write("exit 1")
        it.scripts.on_notice(DOWN)
        await until(lambda: it.events("-script-child"))
        (view,) = it.scripts.pending()
        assert view.argv == (str(tmp_path / "script"), "+sdown", "master cache 127.0.0.1 6379")
        assert view.pid is None
        assert 25_000 < view.for_ms <= 30_000
        assert view.retries == 1


@pytest.mark.parametrize(("text", "error"), [("exit 3", "0 3"), ("exit 2", "0 2")])
async def test_another_status_is_an_error_at_once(text: str, error: str, tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.write(text)
        it.scripts.on_notice(DOWN)
        await until(lambda: it.events("-script-error"))
        assert it.events("-script-error") == [f"{tmp_path}/script {error}"]
        assert it.scripts.queued == 0


async def test_a_script_that_is_gone_is_an_error(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.write("true").unlink()
        it.scripts.on_notice(DOWN)
        await until(lambda: it.events("-script-error"))
        assert it.events("-script-error") == [f"{tmp_path}/script 0 2"]


async def test_a_script_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.policy.script_max_runtime = Millis(300)
        it.write(f"sleep 600 & echo $! > {tmp_path}/child; wait")
        it.scripts.on_notice(DOWN)
        await until(lambda: it.events("-script-child"))
        (pid,) = it.events("+script-child")
        assert it.events("-script-timeout") == [f"{tmp_path}/script {pid}"]
        assert it.events("-script-child") == [f"{pid} 0 9"]
        child = int((tmp_path / "child").read_text())
        await until(lambda: not is_alive(child))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_few_run_at_a_time_the_others_wait_and_too_many_push_out_the_oldest(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    async with bench(tmp_path) as it:
        it.write(f"read line < {fifo}")
        for number in range(QUEUE_MAX + 20):
            it.scripts.on_notice(Notice(Event.S_DOWN, GROUP, SUBJECT, f"#{number}"))
            if number == RUNNING_MAX:
                # Forks of a large process, on a machine that is busy with other tests.
                await until(lambda: len(it.events("+script-child")) == RUNNING_MAX, PATIENCE_S)
        await turns()
        assert it.scripts.running == RUNNING_MAX
        assert it.scripts.queued == QUEUE_MAX
        views = it.scripts.pending()
        assert all(view.pid for view in views[:RUNNING_MAX])
        kept = [int(view.argv[2].rpartition("#")[2]) for view in views]
        assert kept[:RUNNING_MAX] == list(range(RUNNING_MAX))
        assert kept[RUNNING_MAX:] == list(range(RUNNING_MAX + 20, QUEUE_MAX + 20))
        it.scripts.close()
        # Opened for both, so that no reader and no writer ever waits for the other.
        gate = os.open(fifo, os.O_RDWR)
        os.write(gate, b"go\n" * RUNNING_MAX)
        await until(lambda: it.scripts.running == 0, PATIENCE_S)
        os.close(gate)


async def test_the_end_leaves_no_script_behind(tmp_path: Path) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        async with bench(tmp_path) as it:
            it.write("sleep 600")
            it.scripts.on_notice(DOWN)
            await until(lambda: it.events("+script-child"))
            raise asyncio.CancelledError
    (pid,) = it.events("+script-child")
    await until(lambda: not is_alive(int(pid)))
