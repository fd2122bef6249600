"""Turn a deployment's description into JSON and back: what `everfly up` leaves for other commands.

The file `deployment.json` in the directory of a deployment names its parts: who listens where, as
which process. It never holds a password; that is in a file of its own beside it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from everfly.core.model import Address, Engine
from everfly.errors import SettingsError, Unavailable
from everfly.runtime.client import Credentials

FILE_NAME: Final = "deployment.json"
PASSWORD_FILE_NAME: Final = "password"  # noqa: S105 - the name of a file
FORMAT: Final = 1
BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of a deployment: an instance, a Sentinel, or the endpoint."""

    name: str
    address: Address
    pid: int | None = None
    """None: it does not run."""
    admin_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A deployment as others find it."""

    group: str
    engine: Engine
    engine_binary: str
    engine_version: str
    instances: tuple[Part, ...]
    sentinels: tuple[Part, ...]
    down_after_ms: int
    failover_timeout_ms: int
    supervisor_pid: int | None = None
    """Of `everfly up`; None: it was stopped."""
    endpoint: Part | None = None
    """Where clients connect; None: there is no endpoint."""

    def to_json(self) -> str:
        """Return the text of the file."""
        document = {
            "format": FORMAT,
            "group": self.group,
            "engine": self.engine.value,
            "engine_binary": self.engine_binary,
            "engine_version": self.engine_version,
            "supervisor_pid": self.supervisor_pid,
            "down_after_ms": self.down_after_ms,
            "failover_timeout_ms": self.failover_timeout_ms,
            "instances": [_part_to_json(each) for each in self.instances],
            "sentinels": [_part_to_json(each) for each in self.sentinels],
            "endpoint": None if self.endpoint is None else _part_to_json(self.endpoint),
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """Return the description in the text of the file. Raises ValueError for any other text."""
        document: Any = json.loads(text)
        try:
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']!r}, not {FORMAT}")
            return cls(
                group=str(document["group"]),
                engine=Engine(document["engine"]),
                engine_binary=str(document["engine_binary"]),
                engine_version=str(document["engine_version"]),
                supervisor_pid=_optional_int(document["supervisor_pid"]),
                down_after_ms=int(document["down_after_ms"]),
                failover_timeout_ms=int(document["failover_timeout_ms"]),
                instances=tuple(map(_part_from_json, document["instances"])),
                sentinels=tuple(map(_part_from_json, document["sentinels"])),
                # Deployments of earlier versions know of none.
                endpoint=_part_from_json(endpoint)
                if (endpoint := document.get("endpoint")) is not None
                else None,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _part_to_json(part: Part) -> dict[str, object]:
    return {
        "name": part.name,
        "host": part.address.host,
        "port": part.address.port,
        "admin_port": part.admin_port,
        "pid": part.pid,
    }


def _part_from_json(document: Any) -> Part:
    return Part(
        name=str(document["name"]),
        address=Address(str(document["host"]), int(document["port"])),
        admin_port=_optional_int(document["admin_port"]),
        pid=_optional_int(document["pid"]),
    )


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)


def default_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where `everfly up` keeps its deployment unless told otherwise.

    `$XDG_STATE_HOME/everfly/default`; `~/.local/state` where that is not set, as the XDG Base
    Directory Specification says (which also says to ignore a relative path).
    """
    state = Path(environment.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        state = Path(environment.get("HOME") or Path.home()) / ".local" / "state"
    return state / "everfly" / "default"


def read_description(directory: Path) -> Description | None:
    """Return the description in a directory, or None when there is none.

    Raises SettingsError when the file is no description or cannot be read.
    """
    path = directory / FILE_NAME
    try:
        with path.open(encoding="utf-8") as file:
            return Description.from_json(file.read(BYTES_MAX))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}; is it another user's deployment?"
        ) from error
    except ValueError as error:
        raise SettingsError(
            f"{path} is no deployment description ({error}); "
            "move it away, or choose another directory with --dir"
        ) from error


def running_deployment(directory: Path) -> Description:
    """Return the description of a deployment that should be running.

    Raises Unavailable when there is none in the directory, or it was stopped.
    """
    description = read_description(directory)
    if description is None:
        raise Unavailable(
            f"no deployment in {directory}: start one with `everfly up`, "
            "or name Sentinels with --sentinel HOST:PORT"
        )
    if description.supervisor_pid is None:
        raise Unavailable(f"the deployment in {directory} is stopped; start it with `everfly up`")
    return description


def read_credentials(directory: Path) -> Credentials:
    """Return what a deployment's instances want to hear. Raises SettingsError when unreadable."""
    path = directory / PASSWORD_FILE_NAME
    try:
        return Credentials(password=path.read_text(encoding="utf-8").rstrip("\n"))
    except FileNotFoundError:
        return Credentials()
    except (OSError, ValueError) as error:
        raise SettingsError(f"the password file {path} cannot be read: {error}") from error
