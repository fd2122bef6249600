"""Keep the users of the double of Dragonfly as the real one keeps them.

`CONFIG SET requirepass` adds a password to the user `default`; the old one stays valid until
`resetpass`. `ACL LOAD` takes all lines or none, and makes `default` anew without a password where
the file does not name it. Hashes are listed by their first 15 digits.
Source: src/server/acl/acl_family.cc and user_registry.cc, dragonfly (1.40); replies measured.
"""

import hashlib
import re
from dataclasses import dataclass, field

from double_wire import Error

DEFAULT = "default"
WORD = re.compile(r"[+-]@?[a-z|]+")


@dataclass
class User:
    is_on: bool = False
    is_open: bool = False
    passwords: set[str] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)
    channels: list[str] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=lambda: {"@all": "-"})

    def lets_in(self, password: str) -> bool:
        return self.is_on and (self.is_open or hashed(password) in self.passwords)

    def update(self, words: list[str]) -> None:
        for word in words:
            self.apply(word)

    def apply(self, word: str) -> None:
        lower = word.lower()
        if lower in ("on", "off"):
            self.is_on = lower == "on"
        elif word in ("nopass", "resetpass"):
            self.passwords.clear()
            self.is_open = self.is_open or word == "nopass"
        elif word[0] == ">":
            self.is_open = False
            self.passwords.add(hashed(word[1:]))
        elif word[0] == "#":
            self.is_open = False
            self.passwords.add(word[1:].lower())
        elif word[0] == "<":
            self.passwords.discard(hashed(word[1:]))
        elif word[0] in "~%":
            self.keys.append(word)
        elif word[0] == "&":
            self.channels.append(word)
        elif WORD.fullmatch(lower):
            self.commands.pop(lower[1:], None)
            self.commands[lower[1:]] = lower[0]
        else:
            raise Error(f"ERR Unrecognized parameter {word.upper()}")

    def listed(self, name: str) -> str:
        secrets = ["nopass"] if self.is_open else [f"#{each[:15]}" for each in self.passwords]
        channels = self.channels if "&*" in self.channels else ["resetchannels", *self.channels]
        rules = [f"{sign}{rule}" for rule, sign in self.commands.items()]
        state = "on" if self.is_on else "off"
        return " ".join(["user", name, state, *secrets, *self.keys, *channels, *rules, "$all"])


def hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def default_user(password: str) -> User:
    user = User(is_on=True, is_open=not password, keys=["~*"], channels=["&*"])
    user.commands = {"@all": "+"}
    if password:
        user.passwords.add(hashed(password))
    return user


def users_of(text: str) -> dict[str, User]:
    """Return the users of a file. Raise Error."""
    if not text:
        raise Error("Empty file")
    users = {}
    for line in filter(None, text.split("\n")):
        words = line.split(" ")
        words = [each for each in words if each]
        if not words or words[0].upper() != "USER" or len(words) < 4:
            raise Error("Error materializing acl file")
        user = User()
        user.update(words[2:])
        users[words[1]] = user
    return users
