"""Turn a file of users, and what an instance lists, into facts that can be compared. Pure.

An instance lists of a password the first 15 digits of its SHA-256, in no order. Rules: a file with
a line that no instance would take is refused with the number of the line, never with its words; who
may come in (names, on or off, passwords) is compared apart from what they may do then (keys,
channels, commands), which instances of other versions list differently.

Source: `AclFamily::List`, `MaterializeFileContents`, `ParseAclSetUser`,
dragonfly/src/server/acl/acl_family.cc (1.40).
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from everfly.errors import SettingsError

DIGITS: Final = 15
"""Of the hash of a password, as they are listed."""
DEFAULT: Final = "default"
WORDS_MIN: Final = 4
"""`USER`, a name, and two rules: fewer, and the whole file is refused."""

_RULE: Final = re.compile(
    r"(?i:on|off|nopass|resetpass|allkeys|resetkeys|allchannels|resetchannels|allcommands|nocommands)"
    r"|[<>].+|#[0-9a-fA-F]{64}|[+-]@?\S+|(?:%(?:RW|R|W))?~.+|&.+|\$.+|(?i:namespace):.*"
)
_HEX: Final = re.compile(r"#?([0-9a-f]{15})[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class User:
    """What a user may do."""

    is_on: bool
    passwords: frozenset[str]
    """First digits of the hashes."""
    needs_no_password: bool
    keys: frozenset[str]
    channels: frozenset[str]
    commands: tuple[str, ...]

    def lets_in_by(self, password: bytes) -> bool:
        """Tell whether this password, and no other one and not none, lets it in."""
        return self.passwords == {digits_of(password)} and not self.needs_no_password

    @property
    def entry(self) -> tuple[object, ...]:
        """How it may come in."""
        return self.is_on, self.passwords, self.needs_no_password

    @property
    def rules(self) -> tuple[object, ...]:
        """What it may do then."""
        return self.keys, self.channels, self.commands


Users = dict[str, User]


def digits_of(password: bytes) -> str:
    """Return how a password is listed."""
    return hashlib.sha256(password).hexdigest()[:DIGITS]


def users_of_file(content: bytes) -> Users:
    """Return the users of a file. Raise SettingsError, which names the line and quotes nothing."""
    users: Users = {}
    for number, line in enumerate(content.decode(errors="replace").split("\n"), 1):
        words = line.split(" ")
        words = [each for each in words if each]
        if not words:
            continue
        if words[0].upper() != "USER" or len(words) < WORDS_MIN:
            raise SettingsError(f"line {number} is no `USER NAME RULE RULE...`")
        for position, word in enumerate(words[2:], 3):
            if not _RULE.fullmatch(word):
                raise SettingsError(f"line {number}: word {position} is no rule")
        users[words[1]] = _user(words[2:], is_file=True)
    if not users:
        raise SettingsError("it names nobody")
    return users


def users_of_list(lines: Iterable[str]) -> Users:
    """Return the users that an instance lists (the lines of ACL LIST)."""
    users: Users = {}
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "user":
            users[words[1]] = _user(words[2:], is_file=False)
    return users


def _user(words: list[str], *, is_file: bool) -> User:
    passwords, is_open = _passwords(words)
    keys = _patterns(words, ("allkeys", "~*", "resetkeys"), "~%")
    channels = _patterns(words, ("allchannels", "&*", "resetchannels"), "&")
    is_on = any(each.lower() == "on" for each in words)
    return User(is_on, passwords, is_open, keys, channels, _commands(words, is_file=is_file))


def _passwords(words: list[str]) -> tuple[frozenset[str], bool]:
    """Return how the passwords are listed, and whether none is needed."""
    found: set[str] = set()
    is_open = False
    for word in words:
        if word in ("nopass", "resetpass"):
            found.clear()
            is_open = is_open or word == "nopass"
        elif word[0] == ">":
            found.add(digits_of(word[1:].encode()))
            is_open = False
        elif word[0] == "<":
            found.discard(digits_of(word[1:].encode()))
        elif digits := _HEX.fullmatch(word.lower()):
            found.add(digits[1])
            is_open = False
    return frozenset(found), is_open


def _patterns(words: list[str], names: tuple[str, str, str], begin: str) -> frozenset[str]:
    every, pattern, nothing = names
    found: set[str] = set()
    for word in words:
        lower = word.lower()
        if lower == nothing:
            found.clear()
        elif lower == every:
            found.add(pattern)
        elif word[0] in begin:
            found.add(word.replace("%RW~", "~"))
    return frozenset(found)


def _commands(words: list[str], *, is_file: bool) -> tuple[str, ...]:
    # A rule that comes again moves to the end, as it does in an instance.
    found: dict[str, str] = {"@all": "-"} if is_file else {}
    for word in words:
        lower = word.lower()
        if lower in ("allcommands", "nocommands"):
            lower = "+@all" if lower == "allcommands" else "-@all"
        if lower[0] in "+-":
            found.pop(lower[1:], None)
            found[lower[1:]] = lower[0]
    return tuple(f"{sign}{name}" for name, sign in found.items())


@dataclass(frozen=True, slots=True)
class Difference:
    """How what an instance lists differs from a file."""

    wrong: tuple[str, ...]
    """Users that are missing, or may come in otherwise than the file says."""
    extra: tuple[str, ...]
    """Users that the file does not name."""
    rules: tuple[str, ...]
    """Users whose keys, channels or commands are listed otherwise."""

    @property
    def is_none(self) -> bool:
        """Whether there is none."""
        return not (self.wrong or self.extra or self.rules)

    @property
    def is_of_entry(self) -> bool:
        """Whether somebody may come in who should not, or the other way round."""
        return bool(self.wrong or self.extra)


def difference(file: Users, listed: Users) -> Difference:
    """Compare. The user `default` is there also where the file does not name it."""
    wrong = [
        name
        for name, user in file.items()
        if name not in listed or listed[name].entry != user.entry
    ]
    extra = [name for name in listed if name not in file and name != DEFAULT]
    rules = [
        name for name, user in file.items() if name in listed and listed[name].rules != user.rules
    ]
    return Difference(tuple(sorted(wrong)), tuple(sorted(extra)), tuple(sorted(rules)))
