import os
import stat
from pathlib import Path

import pytest

from everfly.errors import Unavailable
from everfly.runtime.files import write_atomically

OLD, NEW = b"old content\n", b"new content, which is longer\n" * 3


class Crash(BaseException):
    """The process is gone: nothing that follows is executed."""


class Faulty:
    """The system's calls, of which the one with this number goes wrong (after a short write)."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.calls: list[str] = []
        self._at = at
        self._error = error

    def _count(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) - 1 == self._at or (
            # After a crash no handler of the same process runs either.
            isinstance(self._error, Crash) and len(self.calls) > self._at >= 0
        ):
            raise self._error

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        self._count("open")
        return os.open(path, flags, mode)

    def write(self, fd: int, data: bytes, /) -> int:
        self._count("write")
        return os.write(fd, data[:10])

    def fsync(self, fd: int) -> None:
        self._count("fsync")
        os.fsync(fd)

    def fchmod(self, fd: int, mode: int) -> None:
        self._count("fchmod")
        os.fchmod(fd, mode)

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        self._count("fchown")
        os.fchown(fd, uid, gid)

    def close(self, fd: int) -> None:
        os.close(fd)
        self._count("close")

    def replace(self, src: str, dst: str) -> None:
        self._count("replace")
        Path(src).replace(dst)

    def unlink(self, path: str) -> None:
        self._count("unlink")
        Path(path).unlink()


def calls_of_a_write(folder: Path) -> list[str]:
    path = folder / "probe"
    path.write_bytes(OLD)
    system = Faulty(-1, Crash())
    write_atomically(path, NEW, system=system)
    assert path.read_bytes() == NEW
    path.unlink()
    return system.calls


def test_the_new_content_is_flushed_before_it_takes_the_name_and_the_name_after(
    tmp_path: Path,
) -> None:
    calls = [name for name in calls_of_a_write(tmp_path) if name != "write"]
    assert calls == [
        "open", "fchown", "fchmod", "fsync", "close", "replace", "open", "fsync", "close"
    ]  # fmt: skip


def test_a_crash_at_any_step_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    count = len(calls_of_a_write(tmp_path))
    path = tmp_path / "state"
    seen = set()
    for at in range(count):
        path.write_bytes(OLD)
        with pytest.raises(Crash):
            write_atomically(path, NEW, system=Faulty(at, Crash()))
        seen.add(path.read_bytes())
        assert path.read_bytes() in (OLD, NEW)
        write_atomically(path, OLD)
        assert [each.name for each in tmp_path.iterdir()] == ["state"], "a leftover stayed"
    assert seen == {OLD, NEW}


def test_an_error_at_any_step_leaves_old_or_new_content_no_leftover_and_is_told(
    tmp_path: Path,
) -> None:
    count = len(calls_of_a_write(tmp_path))
    path = tmp_path / "state"
    for at in range(count):
        path.write_bytes(OLD)
        with pytest.raises(Unavailable, match="No space left on device"):
            write_atomically(path, NEW, system=Faulty(at, OSError(28, "No space left on device")))
        assert path.read_bytes() in (OLD, NEW)
        assert [each.name for each in tmp_path.iterdir()] == ["state"], "a leftover stayed"


def test_mode_of_an_existing_file_stays_and_a_new_one_is_private(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomically(path, OLD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    write_atomically(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_of_an_existing_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(OLD)
    os.chown(path, 12_345, 23_456)
    write_atomically(path, NEW)
    assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 23_456)


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "data" / "state"
    target.parent.mkdir()
    target.write_bytes(OLD)
    middle = tmp_path / "data" / "middle"
    middle.symlink_to("state")
    link = tmp_path / "state"
    link.symlink_to("data/middle")
    write_atomically(link, NEW)
    assert link.is_symlink()
    assert middle.is_symlink()
    assert target.read_bytes() == NEW


def test_a_link_to_itself_is_a_clear_error(tmp_path: Path) -> None:
    link = tmp_path / "state"
    link.symlink_to("state")
    with pytest.raises(Unavailable, match="Too many levels of symbolic links"):
        write_atomically(link, NEW)


def test_files_of_others_with_similar_names_are_left_alone(tmp_path: Path) -> None:
    names = {".state.everfly-backup", ".other.everfly-0123456789abcdef", "state.everfly-1"}
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".state.everfly-0123456789abcdef").write_bytes(b"leftover")
    write_atomically(tmp_path / "state", NEW)
    assert {each.name for each in tmp_path.iterdir()} == names | {"state"}


def test_a_folder_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file or directory"):
        write_atomically(tmp_path / "gone" / "state", NEW)
