"""Keep strings and lists, carry out commands on them, and turn all into a snapshot and back."""

import base64
import fnmatch
import json

from double_wire import Error, Status


class Dataset:
    def __init__(self) -> None:
        self.data: dict[bytes, bytes | list[bytes]] = {}

    def snapshot(self) -> bytes:
        def pack(value: bytes | list[bytes]) -> object:
            if isinstance(value, bytes):
                return base64.b64encode(value).decode()
            return [base64.b64encode(each).decode() for each in value]

        document = {base64.b64encode(key).decode(): pack(value) for key, value in self.data.items()}
        return json.dumps(document).encode()

    def restore(self, snapshot: bytes) -> None:
        def unpack(value: object) -> bytes | list[bytes]:
            if isinstance(value, str):
                return base64.b64decode(value)
            assert isinstance(value, list)
            return [base64.b64decode(each) for each in value]

        document = json.loads(snapshot)
        self.data = {base64.b64decode(key): unpack(value) for key, value in document.items()}

    def apply(self, name: str, args: list[bytes]) -> object:
        """Carry out a command on the data and return its reply. Raise Error."""
        command = getattr(self, f"on_{name.lower()}")
        try:
            reply: object = command(*args)
        except TypeError:
            raise Error(f"ERR wrong number of arguments for '{name.lower()}' command") from None
        return reply

    def on_set(self, key: bytes, value: bytes, *options: bytes) -> object:
        words = {each.upper() for each in options}
        if words - {b"NX", b"XX"}:
            raise Error("ERR syntax error")
        if (b"NX" in words and key in self.data) or (b"XX" in words and key not in self.data):
            return None
        self.data[key] = value
        return Status("OK")

    def on_get(self, key: bytes) -> object:
        return self.string(key)

    def on_del(self, *keys: bytes) -> object:
        return sum(self.data.pop(key, None) is not None for key in keys)

    def on_exists(self, *keys: bytes) -> object:
        return sum(key in self.data for key in keys)

    def on_incr(self, key: bytes) -> object:
        return self.on_incrby(key, b"1")

    def on_incrby(self, key: bytes, amount: bytes) -> object:
        try:
            total = int(self.string(key) or 0) + int(amount)
        except ValueError:
            raise Error("ERR value is not an integer or out of range") from None
        self.data[key] = b"%d" % total
        return total

    def on_lpush(self, key: bytes, *values: bytes) -> object:
        self.data[key] = [*reversed(values), *self.items(key)]
        return len(self.data[key])

    def on_rpush(self, key: bytes, *values: bytes) -> object:
        self.data[key] = [*self.items(key), *values]
        return len(self.data[key])

    def on_llen(self, key: bytes) -> object:
        return len(self.items(key))

    def on_lrange(self, key: bytes, start: bytes, stop: bytes) -> object:
        items, first, last = self.items(key), int(start), int(stop)
        end = len(items) + last if last < 0 else last
        return items[max(0, first if first >= 0 else len(items) + first) : end + 1]

    def on_dbsize(self) -> object:
        return len(self.data)

    def on_keys(self, pattern: bytes) -> object:
        return [key for key in self.data if fnmatch.fnmatch(key, pattern)]

    def on_flushall(self, *_: bytes) -> object:
        self.data.clear()
        return Status("OK")

    on_flushdb = on_flushall

    def string(self, key: bytes) -> bytes | None:
        value = self.data.get(key)
        if isinstance(value, list):
            raise Error("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def items(self, key: bytes) -> list[bytes]:
        value = self.data.get(key, [])
        if isinstance(value, bytes):
            raise Error("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value
