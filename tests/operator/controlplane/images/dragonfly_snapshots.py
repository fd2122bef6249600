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
from dragonfly_bucket import place_of

SLOW = "DOUBLE_SLOW_S"
"""In the environment: how many seconds writing and reading a snapshot take."""
SUMMARY = "-summary.dfs"
DATA = "-0000.dfs"


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
        self.place = place_of(flags)
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
        base = f"{self.config['dir']}/{name}"
        digest = hashlib.sha256(data).hexdigest()
        summary = json.dumps({"keys": keys, "digest": digest}).encode()
        try:
            self.place.put(f"{base}{DATA}", data)
            self.place.put(f"{base}{SUMMARY}", summary)
        except OSError as error:
            self.save_error, self.failed_at = f"{error.strerror}: couldn't write", time.time()
        else:
            self.saved_file, self.saved_at = f"{base}{SUMMARY}", time.time()

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
            self.read(words[0].decode())
        finally:
            self.is_loading = False
        return Status("OK")

    def read(self, path: str) -> None:
        try:
            whole = self.place.get(path)
            summary = json.loads(whole)
            if "digest" not in summary:  # one of those that are taken at the end
                self.dataset.restore(whole)
                return
            data = self.place.get(path.replace(SUMMARY, DATA))
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
