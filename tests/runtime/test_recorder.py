"""Recordings: private, bounded, without secrets, and never in the way of a decision."""

import logging
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from everfly.core.inputs import CommandRefused, Connected, LinkLost, Ponged, TimerExpired
from everfly.core.model import Instant, LinkId
from everfly.errors import SettingsError
from everfly.wire.recording import FAILED, End, Step, parse_head, parse_line
from recorded_life import BEGAN, STATE, Life, recorded

LINK = LinkId(1)


def steps_of(path: Path) -> list[Step | End]:
    return [parse_line(line) for line in path.read_text().splitlines()[1:]]


def test_a_recording_is_for_its_owner_alone_and_says_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    machine = recorded(path)
    Life(machine, dies_at=5_000).until(2_000)
    machine.recorder.close("the Sentinel ended")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    head = parse_head(path.read_text().splitlines()[0])
    assert head.state == STATE
    assert head.began == BEGAN
    *steps, end = steps_of(path)
    assert end == End("the Sentinel ended")
    assert len(steps) > 50


def test_what_was_told_to_people_is_in_the_file_before_the_next_step_ends(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    machine = recorded(path)
    life = Life(machine, dies_at=1_000).until(6_000)
    machine.recorder.drain()
    last = steps_of(path)[-1]
    assert isinstance(last, Step)
    assert life.now - last.at <= 200
    machine.recorder.close("")


def test_a_secret_that_an_instance_repeats_is_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    machine = recorded(path, secrets=("hunter2", "PONG"))
    machine.start(BEGAN)
    error = "ERR unknown command 'hunter2', with args beginning with: 'hunter2'"
    machine.step(Instant(BEGAN + 1), LinkLost(LINK, error))
    machine.step(Instant(BEGAN + 2), CommandRefused(LinkId(2), error))
    machine.step(Instant(BEGAN + 3), Ponged(LinkId(2), "PONG"))
    machine.recorder.close("")
    assert "hunter2" not in path.read_text()
    assert path.read_text().count("(secret)") == 4
    assert '"PONG"' in path.read_text()


def test_the_file_of_an_earlier_run_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    for number in range(3):
        machine = recorded(path)
        machine.start(Instant(number))
        machine.recorder.close("")
    assert parse_head(path.read_text().splitlines()[0]).began == 2
    earlier = tmp_path / "rec.1"
    assert parse_head(earlier.read_text().splitlines()[0]).began == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["rec", "rec.1"]


@pytest.mark.parametrize("what", ["text", "folder", "link"])
def test_a_file_of_anything_else_is_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "sentinel.conf"
    if what == "folder":
        path.mkdir()
    elif what == "link":
        (tmp_path / "other").write_text("")
        path.symlink_to(tmp_path / "other")
    else:
        path.write_text("port 26379\n")
    with pytest.raises(SettingsError, match=r"sentinel.conf exists and is no recording"):
        recorded(path)
    assert [one.name for one in tmp_path.iterdir() if one.name.endswith(".1")] == []


def test_a_file_that_cannot_be_begun_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be begun: No such file.*--record"):
        recorded(tmp_path / "none" / "rec")


def test_two_files_stay_below_the_limit_and_the_second_begins_with_the_core(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rec"
    limit = 40_000
    machine = recorded(path, limit=limit)
    Life(machine, dies_at=30_000).until(60_000)
    machine.recorder.close("")
    files = [path, tmp_path / "rec.1"]
    assert sum(file.stat().st_size for file in files) < limit + 10_000
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert parse_head(file.read_text().splitlines()[0]).checkpoint
    assert steps_of(files[1])[-1] == End("it was full")


def test_the_step_that_raises_is_the_last_one_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    machine = recorded(path)
    machine.start(BEGAN)
    machine.step(Instant(BEGAN + 1), Connected(LINK, "10.0.1.1"))
    # No bug of the core is known: it is fed what no shell can make.
    impossible = Ponged(LINK, 7)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(AttributeError):
        machine.step(Instant(BEGAN + 2), impossible)
    last = path.read_text().splitlines()[-1]
    assert last == f'[{BEGAN + 2},"Ponged",{{"link":1,"reply":7}},"{FAILED}"]'
    machine.recorder.close("")


FULL_DISK = """
import logging, resource, signal, sys
from pathlib import Path
logging.basicConfig(format="%(message)s")
sys.path.insert(0, sys.argv[2])
from recorded_life import Life, recorded
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
machine = recorded(Path(sys.argv[1]))
life = Life(machine, dies_at=20_000).until(60_000)
machine.recorder.drain()
print(machine.recorder.is_on, machine.current_address("cache"))
"""


def test_a_full_disk_ends_the_recording_and_not_the_sentinel(tmp_path: Path) -> None:
    path = tmp_path / "rec"
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), tests],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "False 10.0.0.2:6379\n"
    assert done.stderr.count("has ended, the Sentinel goes on: File too large") == 1
    assert path.stat().st_size <= 20_000


def test_a_recording_costs_no_decision(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    machine = recorded(tmp_path / "rec")
    life = Life(machine, dies_at=5_000).until(20_000)
    machine.recorder.close("")
    machine.recorder.close("")
    before = (tmp_path / "rec").stat().st_size
    life.take(machine.step(life.now, TimerExpired()))
    assert (tmp_path / "rec").stat().st_size == before
    assert str(machine.current_address(STATE.groups[0].name)) == "10.0.0.2:6379"
