"""One running Sentinel, ours or a genuine one, for what clients are told by each program."""

import shlex
import sys
from pathlib import Path

from acl_pair import AclConnection
from kinds import HOST, Kind, sentinel_command
from processes import Child, free_port, until


class Variant:
    """A running Sentinel of ours, or of Valkey."""

    def __init__(
        self, folder: Path, *flags: str, kind: Kind = Kind.EVERFLY, binary: str = "", conf: str = ""
    ) -> None:
        """`binary`: of a genuine one of another version; `conf`: more lines for its file."""
        folder.mkdir()
        file = folder / "sentinel.conf"
        self.port = free_port()
        self.conf = file
        file.write_text(f"port {self.port}\nbind {HOST}\ndir {folder}\n{conf}")
        command = [sys.executable, "-m", "everfly", "sentinel", *flags, str(file)]
        if kind is not Kind.EVERFLY:
            command = sentinel_command(kind, file)
        if binary:
            command = [binary, str(file), "--sentinel"]
        self.child = Child(command, folder / "log")
        until(self._answers, 10, show=self.child.log_tail)

    def _answers(self) -> bool:
        """It answers PING."""
        try:
            with AclConnection(self.port) as connection:
                return str(connection.step("PING")[0]) == "+'PONG'"
        except OSError:
            return False

    def told(self, *lines: str) -> list[str]:
        with AclConnection(self.port) as connection:
            return [str(value) for line in lines for value in connection.step(*shlex.split(line))]
