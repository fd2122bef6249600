#!/usr/bin/env python3
"""Stand in for the container image of Dragonfly: the double, with what only a pod uses.

That is the admin port, which asks for no password and always answers; the password from the
environment; TLS on the data port; a snapshot when it ends and when told to, loaded at the start;
an ACL file that can be loaded again. As the real one it accepts flags that it has no use for.
"""

import asyncio
import os
import ssl
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "doubles"))

from double_wire import Connection, Error, Status
from dragonfly import Exit, read_flags
from dragonfly_bucket import CLOUD
from dragonfly_settings import SETTINGS, accepts, plain
from dragonfly_snapshots import Snapshots
from dragonfly_users import DEFAULT, User, default_user, users_of

PASSWORD = "DFLY_requirepass"
PATIENT = "DOUBLE_PATIENT"
"""Set in the environment: a replica hears its primary for as long as nothing ends their link."""
DEFAULTS = {
    "bind": "0.0.0.0",
    "port": "6379",
    "dir": "/data",
    # The real default carries the time of the snapshot; the newest one is loaded.
    "dbfilename": "dump",
}


class DragonflyPod(Snapshots):
    """A Dragonfly in a pod."""

    def __init__(self, flags: dict[str, str]) -> None:
        super().__init__(DEFAULTS | flags)
        self.port = int(self.flags["port"])
        self.admin_port = int(flags.get("admin_port", "0"))
        self.config |= {name: flags.get(name, default) for name, default in SETTINGS.items()}
        self.config |= {
            "snapshot_cron": flags.get("snapshot_cron", ""),
            "aclfile": flags.get("aclfile", ""),
            "tls": "true" if "tls" in flags else "false",
            "tls_cert_file": flags.get("tls_cert_file", ""),
            "tls_key_file": flags.get("tls_key_file", ""),
            "tls_ca_cert_file": flags.get("tls_ca_cert_file", ""),
        }
        if not self.config["requirepass"]:
            self.config["requirepass"] = os.environ.get(PASSWORD, "")
        if not self.config["dir"].startswith(CLOUD):
            Path(self.config["dir"]).mkdir(parents=True, exist_ok=True)
        self.is_patient = bool(os.environ.get(PATIENT))
        for name, value in self.config.items():
            self.config[name] = plain(name, value)
        self.tls: ssl.SSLContext | None = None
        self.user_of: dict[int, str] = {}
        self.users = self.read_users() if self.config["aclfile"] else {}
        self.users.setdefault(DEFAULT, default_user(self.config["requirepass"]))

    def is_admin(self, connection: Connection) -> bool:
        return bool(self.admin_port) and connection.local.endswith(f":{self.admin_port}")

    def check_allowed(self, connection: Connection, name: str) -> None:
        if self.is_admin(connection):
            connection.is_admitted = True
            was, self.is_refusing = self.is_refusing, False
            try:
                # The admin port answers also during a take-over.
                super().check_allowed(connection, name)
            finally:
                self.is_refusing = was
        else:
            super().check_allowed(connection, name)

    def read_users(self) -> dict[str, User]:
        """Return the users of the ACL file. Raise Error, OSError."""
        return users_of(Path(self.config["aclfile"]).read_text(encoding="utf-8"))

    def admits_anybody(self) -> bool:
        return self.users[DEFAULT].is_open

    def do_auth(self, connection: Connection, *words: bytes) -> object:
        name, password = (words[0].decode() if len(words) > 1 else DEFAULT), words[-1].decode()
        if name not in self.users or not self.users[name].lets_in(password):
            raise Error("WRONGPASS invalid username-password pair or user is disabled.")
        connection.is_admitted = True
        self.user_of[connection.number] = name
        return Status("OK")

    def do_acl(self, _: Connection, verb: bytes, *words: bytes) -> object:
        match verb.upper():
            case b"LOAD":
                self.load_users()
            case b"LIST":
                return [Status(user.listed(name)) for name, user in self.users.items()]
            case b"SETUSER":
                name = words[0].decode()
                self.users.setdefault(name, User()).update([each.decode() for each in words[1:]])
            case _:
                verb_text = verb.decode()
                raise Error(
                    f"ERR Unknown subcommand or wrong number of arguments for '{verb_text}'"
                )
        return Status("OK")

    def load_users(self) -> None:
        try:
            users = self.read_users()
        except (OSError, Error) as error:
            raise Error(f"ERR Error loading: {self.config['aclfile']} {error}") from None
        # Whoever is connected as a user that was known, but for `default`, is cut.
        known = set(self.users) - {DEFAULT}
        for number, each in list(self.connections.items()):
            if self.user_of.get(number) in known:
                each.writer.transport.abort()
        self.users = users
        self.users.setdefault(DEFAULT, default_user(""))

    def do_config(self, connection: Connection, verb: bytes, *args: bytes) -> object:
        if verb.upper() != b"SET" or len(args) != 2:
            return super().do_config(connection, verb, *args)
        name, value = args[0].decode().replace("-", "_"), args[1].decode()
        failed = f"ERR CONFIG SET failed (possibly related to argument '{name}')"
        if name in ("dir", "dbnum"):
            raise Error(f"{failed} - can't set immutable config")
        if name in self.config and not accepts(name, value):
            raise Error(f"{failed} - argument can not be set")
        if name == "tls":
            return self.reload_certificates(failed)
        reply = super().do_config(connection, verb, *args)
        self.config[name] = plain(name, value)
        if name == "requirepass":
            self.users[DEFAULT].apply(f">{value}")
        return reply

    async def reload_certificates(self, failed: str) -> object:
        """Serve what the files hold now; where they are damaged, what was served before."""
        try:
            self.tls = self.new_context()
        except OSError:
            raise Error(f"{failed} - argument can not be set") from None
        self.servers[self.port].close()
        await self.listen(self.port)
        return Status("OK")

    def new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.config["tls_cert_file"], self.config["tls_key_file"])
        if self.config["tls_ca_cert_file"]:
            context.load_verify_locations(self.config["tls_ca_cert_file"])
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def do_info(self, connection: Connection, *sections: bytes) -> object:
        parts = [*str(super().do_info(connection)).split("# ")[1:], self.persistence()]
        wanted = {each.decode().upper() for each in sections} - {"ALL", "EVERYTHING", "DEFAULT"}
        return "\r\n".join(
            f"# {part.rstrip()}\r\n"
            for part in parts
            if not wanted or part.split("\r\n", 1)[0].upper() in wanted
        )

    async def do_doubletakeover(
        self, connection: Connection, seconds: bytes, port: bytes
    ) -> object:
        try:
            return await super().do_doubletakeover(connection, seconds, port)
        except Exit:
            # One that was taken over ends without a snapshot.
            self.config["dbfilename"] = ""
            raise

    async def listen(self, port: int) -> None:
        """Serve a port; `bind` is that of the data port alone."""
        bind, own = self.flags["bind"], self.flags.get("admin_bind", "0.0.0.0")
        self.flags["bind"] = own if port == self.admin_port else bind
        try:
            await super().listen(port)
        finally:
            self.flags["bind"] = bind

    def tls_for(self, _port: int) -> ssl.SSLContext | None:
        return None if _port == self.admin_port else self.tls

    async def run(self) -> None:
        """Serve both ports until told to end."""
        if self.config["tls"] == "true":
            self.tls = self.new_context()
        await super().run()


if __name__ == "__main__":
    asyncio.run(DragonflyPod(read_flags(sys.argv[1:])).run())
