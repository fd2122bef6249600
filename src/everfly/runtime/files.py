"""Turn new content into a file that is either the old one or the new one, whatever happens.

Rules: the new content is on disk before it takes the name, and the name before the call returns; a
symbolic link stays and its target is replaced; mode and owner of an existing file stay, a new one
is for its owner alone; what a crash left behind is removed by the next write.
"""

import contextlib
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from everfly.errors import Unavailable

PRIVATE: Final = 0o600

LINKS_MAX: Final = 40
"""As many symbolic links in a row as Linux follows (`MAXSYMLINKS`)."""


class FileSystem(Protocol):
    """The calls that an atomic write is made of. `os` itself is one; each raises OSError."""

    def open(self, path: str, flags: int, mode: int = ...) -> int:
        """Open a file or a directory."""
        ...

    def write(self, fd: int, data: bytes, /) -> int:
        """Write some of the data, and return how much."""
        ...

    def fsync(self, fd: int) -> None:
        """Return when it is on disk."""
        ...

    def fchmod(self, fd: int, mode: int) -> None:
        """Set the mode."""
        ...

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        """Set the owner."""
        ...

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        ...

    def replace(self, src: str, dst: str) -> None:
        """Rename over what is there."""
        ...

    def unlink(self, path: str) -> None:
        """Remove a file."""
        ...


@dataclass(frozen=True, slots=True)
class _Target:
    """What is to be replaced."""

    path: Path
    mode: int
    owner: tuple[int, int] | None
    """User and group to keep; None: it is new."""

    @property
    def temporary_prefix(self) -> str:
        return f".{self.path.name}.everfly-"


def write_atomically(
    path: Path, data: bytes, *, mode: int = PRIVATE, system: FileSystem = os
) -> None:
    """Replace the content of `path`, durably. Blocks for as long as the disk takes.

    `mode` is that of a file which did not exist. One writer at a time. Raises Unavailable with the
    system's words; the file then has its old content or, when only the last flush of the directory
    failed, the new one.
    """
    try:
        target = _target_of(path, mode)
        _remove_leftovers(target, system)
        _replace(target, data, system)
    except OSError as error:
        raise Unavailable(error.strerror or str(error)) from error


def _target_of(path: Path, mode: int) -> _Target:
    for _ in range(LINKS_MAX):
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    else:
        raise OSError(40, "Too many levels of symbolic links", str(path))  # ELOOP
    try:
        found = path.stat()
    except FileNotFoundError:
        return _Target(path, mode, None)
    return _Target(path, stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid))


def _remove_leftovers(target: _Target, system: FileSystem) -> None:
    ours = re.compile(re.escape(target.temporary_prefix) + "[0-9a-f]{16}")
    for name in os.listdir(target.path.parent):  # noqa: PTH208 - names alone, no objects
        if ours.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):
                system.unlink(str(target.path.parent / name))


def _replace(target: _Target, data: bytes, system: FileSystem) -> None:
    name = target.temporary_prefix + secrets.token_hex(8)
    temporary = str(target.path.parent / name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = system.open(temporary, flags, PRIVATE)
    try:
        try:
            _write_all(fd, data, system)
            _take_over(fd, target, system)
            system.fsync(fd)
        finally:
            system.close(fd)
        system.replace(temporary, str(target.path))
    except OSError:
        with contextlib.suppress(OSError):
            system.unlink(temporary)
        raise
    _flush_directory(target.path.parent, system)


def _write_all(fd: int, data: bytes, system: FileSystem) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[system.write(fd, bytes(rest)) :]


def _take_over(fd: int, target: _Target, system: FileSystem) -> None:
    if target.owner is not None:
        # Only root can give a file away; for others it stays theirs, with the same content.
        with contextlib.suppress(PermissionError):
            system.fchown(fd, *target.owner)
    system.fchmod(fd, target.mode)


def _flush_directory(path: Path, system: FileSystem) -> None:
    """Make the new name durable: a rename is an entry of its directory."""
    fd = system.open(str(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        system.fsync(fd)
    finally:
        system.close(fd)
