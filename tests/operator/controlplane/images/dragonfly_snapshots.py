"""What the double knows of snapshots under a name of their own: written, and read while it runs.

As the real one a name has no extension and no folder, files are complete when they have their
name, a summary stands beside the data, and a snapshot that cannot be read leaves what was read.
Sources: `SaveStagesController`, dragonfly/src/server/detail/save_stages_controller.cc;
`DflyCmd::Load`, dragonfly/src/server/dflycmd.cc (1.40). The words of a damaged file are our own.
"""

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path

from double_wire import Connection, Error, Status
from dragonfly import Dragonfly

SLOW = "DOUBLE_SLOW_S"
"""In the environment: how many seconds writing and reading a snapshot take."""
SUMMARY = "-summary.dfs"


class Snapshots(Dragonfly):
    """A Dragonfly with named snapshots. Those at its end are `Dragonfly.save`."""

    def __init__(self, flags: dict[str, str]) -> None:
        super().__init__(flags)
        self.saved_file = ""
        self.saved_at = 0.0
        self.save_error = ""
        self.failed_at = 0.0
        self.is_loading = False
        self.saving: asyncio.Task[None] | None = None
        self.slow_s = float(os.environ.get(SLOW, "0"))

    @property
    def is_saving(self) -> bool:
        return self.saving is not None and not self.saving.done()

    async def do_save(self, connection: Connection, *words: bytes) -> object:
        self.do_bgsave(connection, *words)
        if self.saving is not None:
            await self.saving
        if self.save_error:
            raise Error(f"ERR {self.save_error}")
        return Status("OK")

    def do_bgsave(self, _: Connection, *words: bytes) -> object:
        if self.is_saving:
            raise Error("ERR SAVING - can not save database")
        if words and words[0].upper() != b"DF":
            raise Error("ERR syntax error")
        if len(words) <= 1:
            return self.save_own()
        name = words[1].decode()
        if "/" in name or Path(name).suffix:
            raise Error("ERR DF snapshot format requires no filename extension")
        data = self.dataset.snapshot()
        self.saving = asyncio.create_task(self.write(name, data, len(self.dataset.data)))
        return Status("OK")

    def save_own(self) -> object:
        if self.file is None:
            raise Error("ERR filename is not specified")
        self.save()
        self.saved_file, self.saved_at = str(self.file), time.time()
        return Status("OK")

    async def write(self, name: str, data: bytes, keys: int) -> None:
        await asyncio.sleep(self.slow_s)
        self.put(Path(self.config["dir"]), name, data, keys)

    def put(self, folder: Path, name: str, data: bytes, keys: int) -> None:
        digest = hashlib.sha256(data).hexdigest()
        summary = json.dumps({"keys": keys, "digest": digest}).encode()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for ending, content in (("-0000.dfs", data), (SUMMARY, summary)):
                temporary = folder / f"{name}{ending}.tmp"
                temporary.write_bytes(content)
                temporary.replace(folder / f"{name}{ending}")
        except OSError as error:
            self.save_error, self.failed_at = f"{error.strerror}: couldn't write", time.time()
        else:
            self.saved_file, self.saved_at = str(folder / f"{name}{SUMMARY}"), time.time()

    async def do_dfly(self, _: Connection, verb: bytes, *words: bytes) -> object:
        if verb.upper() != b"LOAD" or len(words) != 1:
            raise Error("ERR syntax error")
        self.dataset.data.clear()
        if self.is_loading:
            return Status("OK")  # of no avail, as in the real one
        if self.primary is not None:
            raise Error("ERR Replica cannot load data")
        self.is_loading = True
        try:
            await asyncio.sleep(self.slow_s)
            self.read(Path(words[0].decode()))
        finally:
            self.is_loading = False
        return Status("OK")

    def read(self, path: Path) -> None:
        try:
            summary = json.loads(path.read_bytes())
            if "digest" not in summary:  # one of those that are taken at the end
                self.dataset.restore(path.read_bytes())
                return
            data = path.with_name(path.name.replace(SUMMARY, "-0000.dfs")).read_bytes()
        except OSError as error:
            raise Error(f"ERR {error.strerror}") from None
        except ValueError:
            raise Error("ERR Wrong signature while trying to load from rdb file") from None
        if hashlib.sha256(data).hexdigest() != summary["digest"]:
            raise Error("ERR Internal error when loading RDB file")
        self.dataset.restore(data)

    def persistence(self) -> str:
        fields = {
            "current_snapshot_perc": 0,
            "last_success_save": int(self.saved_at),
            "last_saved_file": self.saved_file,
            "last_success_save_duration_sec": 0,
            "loading": int(self.is_loading),
            "saving": int(self.is_saving),
            "current_save_duration_sec": 0,
            "rdb_bgsave_in_progress": int(self.is_saving),
            "rdb_last_bgsave_status": "err" if self.save_error else "ok",
            "last_failed_save": int(self.failed_at),
            "last_error": self.save_error,
        }
        return "Persistence\r\n" + "".join(f"{key}:{value}\r\n" for key, value in fields.items())
