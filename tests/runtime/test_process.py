import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from everfly.errors import SettingsError
from everfly.runtime.process import LOG_BYTES_MAX, Process, ProcessSpec, describe_exit
from processes import until

STOP_S = 10.0


def spec(folder: Path, *script: str) -> ProcessSpec:
    return ProcessSpec(
        command=(sys.executable, "-c", "\n".join(script)), log=folder / "log", directory=folder
    )


async def test_output_goes_to_a_log_that_only_its_owner_can_read(tmp_path: Path) -> None:
    process = await Process.start(
        spec(tmp_path, "import sys", "print('out')", "print('err', file=sys.stderr)")
    )
    assert await process.wait() == 0
    assert sorted(process.log_tail().splitlines()) == ["err", "out"]
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


async def test_its_owner_is_told_once_of_its_end(tmp_path: Path) -> None:
    ends: list[int | None] = []
    process = await Process.start(
        spec(tmp_path, "raise SystemExit(7)"), lambda ended: ends.append(ended.exit_status)
    )
    assert await process.wait() == 7
    assert await process.stop(STOP_S) == 7
    assert ends == [7]
    assert not process.is_running


async def test_a_program_that_does_not_exist_is_an_exit_with_a_reason(tmp_path: Path) -> None:
    process = await Process.start(
        ProcessSpec(command=("/nowhere/program",), log=tmp_path / "log", directory=tmp_path)
    )
    assert await process.wait() == 1
    assert "/nowhere/program cannot be run: No such file" in process.log_tail()


async def test_it_leads_a_session_reads_nothing_and_inherits_nothing(tmp_path: Path) -> None:
    inherited = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        process = await Process.start(
            spec(
                tmp_path,
                "import os, sys",
                "print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()))",
                f"print(os.path.exists('/proc/self/fd/{inherited}')",
                f"      and os.readlink('/proc/self/fd/{inherited}') == '/dev/zero')",
            )
        )
        await process.wait()
    finally:
        os.close(inherited)
    assert process.log_tail().splitlines() == ["True ''", "False"]


async def test_one_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = await Process.start(
        spec(
            tmp_path,
            "import signal, time",
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
            "print('ready', flush=True)",
            "time.sleep(60)",
        )
    )
    until(lambda: "ready" in process.log_tail(), 10)
    assert await process.stop(0.1) == -signal.SIGKILL


async def test_one_that_refuses_at_first_is_asked_again(tmp_path: Path) -> None:
    process = await Process.start(
        spec(
            tmp_path,
            "import signal, sys, time",
            "asked = []",
            "def on_term(*_):",
            "    asked.append(1)",
            "    len(asked) > 2 and sys.exit(3)",
            "signal.signal(signal.SIGTERM, on_term)",
            "print('ready', flush=True)",
            "time.sleep(60)",
        )
    )
    until(lambda: "ready" in process.log_tail(), 10)
    assert await process.stop(STOP_S, again_s=0.05) == 3


async def test_a_frozen_one_is_stopped_in_order(tmp_path: Path) -> None:
    process = await Process.start(
        spec(
            tmp_path,
            "import signal, sys, time",
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))",
            "print('ready', flush=True)",
            "time.sleep(60)",
        )
    )
    until(lambda: "ready" in process.log_tail(), 10)
    process.send_signal(signal.SIGSTOP)
    assert await process.stop(STOP_S) == 4


async def test_what_it_started_does_not_outlive_it(tmp_path: Path) -> None:
    process = await Process.start(
        spec(
            tmp_path,
            "import subprocess",
            "print(subprocess.Popen(['sleep', '60']).pid, flush=True)",
        )
    )
    await process.wait()
    pid = int(process.log_tail())
    until(lambda: not is_alive(pid), 10)


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys",
        "from pathlib import Path",
        "from everfly.runtime.process import Process, ProcessSpec",
        "async def main():",
        "    folder = Path(sys.argv[1])",
        "    process = await Process.start(ProcessSpec(",
        "        command=('/bin/sleep', '60'), log=folder / 'log', directory=folder))",
        "    (folder / 'pid.tmp').write_text(str(process.pid))",
        "    (folder / 'pid.tmp').rename(folder / 'pid')",
        "    await process.wait()",
        "asyncio.run(main())",
    )
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-c", "\n".join(script), str(tmp_path)], dict(os.environ)
    )
    try:
        until((tmp_path / "pid").exists, 15)
        child = int((tmp_path / "pid").read_text())
        until(lambda: Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"/bin/sleep"), 15)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    until(lambda: not is_alive(child), 10)


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:4]
    except OSError:
        return False


async def test_a_large_log_is_moved_aside_at_a_start(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        log.truncate(LOG_BYTES_MAX + 1)
    process = await Process.start(spec(tmp_path, "print('fresh')"))
    await process.wait()
    assert (tmp_path / "log").read_text() == "fresh\n"
    assert (tmp_path / "log.1").stat().st_size == LOG_BYTES_MAX + 1


async def test_a_log_that_cannot_be_written_is_a_setting(tmp_path: Path) -> None:
    bad = ProcessSpec(command=("/bin/true",), log=tmp_path / "no" / "log", directory=tmp_path)
    with pytest.raises(SettingsError, match="cannot be written"):
        await Process.start(bad)


async def test_waiting_can_be_given_up_without_harm(tmp_path: Path) -> None:
    process = await Process.start(spec(tmp_path, "import time", "time.sleep(60)"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await process.wait()
    assert process.is_running
    assert await process.stop(STOP_S) == -signal.SIGTERM


def test_an_exit_in_words() -> None:
    assert describe_exit(1) == "exit status 1"
    assert describe_exit(-9) == "killed by SIGKILL"
    assert describe_exit(-250) == "killed by signal 250"
