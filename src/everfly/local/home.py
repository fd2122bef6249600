"""Own the directory of one deployment: its lock, its layout, and what survives in it.

    DIR/lock                        held while a deployment runs, with the process id of its owner
    DIR/deployment.json             for other commands (`observe.description`)
    DIR/password                    only if there is one
    DIR/instance-1/data/            what the engine keeps
    DIR/instance-1/secrets          written at every start
    DIR/instance-1/log
    DIR/sentinel-1/sentinel.conf    its Sentinel's own after the first start
    DIR/sentinel-1/log
    DIR/endpoint/endpoint.toml      written at every start, as its password
    DIR/endpoint/log

Only the owner of the files can read them.
"""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from everfly.engines.command import EngineBinary
from everfly.engines.dialect import secrets_text
from everfly.errors import SettingsError
from everfly.local.sentinel_file import Belief, read_belief
from everfly.observe.description import (
    FILE_NAME,
    PASSWORD_FILE_NAME,
    Description,
    read_credentials,
    read_description,
)

LOCK: Final = "lock"
SENTINEL_FILE: Final = "sentinel.conf"
ENDPOINT: Final = "endpoint"
ENDPOINT_FILE: Final = "endpoint.toml"
SENTINEL_FILE_BYTES_MAX: Final = 1024 * 1024
_PRIVATE: Final = 0o700


class Home:
    """The directory of one deployment, locked. Use it as a context."""

    def __init__(self, directory: Path) -> None:
        """Create the directory if need be and lock it.

        Raises SettingsError when it cannot be written or another deployment runs in it.
        """
        self.directory: Final = directory
        try:
            directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            directory.chmod(_PRIVATE)
            self._lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SettingsError(
                f"the directory {directory} cannot be used: {error.strerror}; "
                "choose one that you may write with --dir"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._lock, 20).decode(errors="replace").strip()
            os.close(self._lock)
            raise SettingsError(
                f"a deployment runs in {directory} already (pid {owner or 'unknown'}); "
                "see `everfly status`, stop it, or choose another directory with --dir"
            ) from error
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another deployment have the directory."""
        os.close(self._lock)

    def folder(self, name: str) -> Path:
        """Return the folder of an instance or a Sentinel, which exists afterwards."""
        folder = self.directory / name
        folder.mkdir(mode=_PRIVATE, exist_ok=True)
        return folder

    def data(self, name: str) -> Path:
        """Return the folder for an instance's data, which exists afterwards."""
        data = self.folder(name) / "data"
        data.mkdir(mode=_PRIVATE, exist_ok=True)
        return data

    def has_data(self, name: str) -> bool:
        """Return whether an instance left any dataset."""
        try:
            return any((self.directory / name / "data").iterdir())
        except OSError:
            return False

    def wipe_data(self, name: str) -> None:
        """Remove the dataset of an instance. It must not run."""
        shutil.rmtree(self.data(name))
        self.data(name)

    def write_secrets(self, name: str, engine: EngineBinary, password: str) -> Path | None:
        """Write the file that tells an instance its password; None when there is none."""
        if not password:
            return None
        path = self.folder(name) / "secrets"
        write_private(path, secrets_text(engine.engine, password))
        return path

    def write_endpoint(self, text: str, password: str) -> Path:
        """Write the settings of the endpoint, and the password beside them."""
        folder = self.folder(ENDPOINT)
        if password:
            write_private(folder / PASSWORD_FILE_NAME, password + "\n")
        path = folder / ENDPOINT_FILE
        write_private(path, text)
        return path

    def write_password(self, password: str) -> None:
        """Remember the password for later starts and for other commands of the same user."""
        if password:
            write_private(self.directory / PASSWORD_FILE_NAME, password + "\n")

    def password(self) -> str:
        """Return the password of earlier, or empty. Raises SettingsError when unreadable."""
        return read_credentials(self.directory).password

    def sentinel_file(self, name: str) -> Path:
        """Return where a Sentinel keeps its state."""
        return self.folder(name) / SENTINEL_FILE

    def belief(self, name: str, group: str) -> Belief | None:
        """Return whom a Sentinel's file calls the primary, or None without such a file.

        Raises SettingsError when there is one that cannot be read.
        """
        path = self.directory / name / SENTINEL_FILE
        try:
            with path.open(encoding="utf-8", errors="surrogateescape") as file:
                return read_belief(file.read(SENTINEL_FILE_BYTES_MAX), group)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from error

    def forget_sentinel(self, name: str) -> None:
        """Remove what a Sentinel wrote down, so that it starts afresh. It must not run."""
        self.sentinel_file(name).unlink(missing_ok=True)

    def description(self) -> Description | None:
        """Return the description of the deployment that was here before, or None."""
        return read_description(self.directory)

    def write_description(self, description: Description) -> None:
        """Replace the description. Raises SettingsError when it cannot be written."""
        path = self.directory / FILE_NAME
        try:
            write_private(path, description.to_json())
        except OSError as error:
            raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step with one that only its owner can read. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        file = os.open(temporary, flags, 0o600)
        try:
            os.write(file, text.encode("utf-8", "surrogateescape"))
            os.fsync(file)
        finally:
            os.close(file)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
