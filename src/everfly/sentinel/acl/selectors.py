"""Turn rules about commands, keys and channels into a set of permissions, and back into text.

    +ping -acl|list +@fast +ping|word      what may be run
    ~key* %R~key*                          which keys; a Sentinel has none, so they are only shown
    &channel*                              where one may listen and publish

A user has one selector of its own and perhaps more in parentheses; one that allows a whole command
is enough. Source: `ACLSetSelector`, `ACLSelectorCheckCmd`, redis/src/acl.c (7.0.15).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from everfly.errors import SettingsError
from everfly.runtime.glob import PATTERN_BYTES_MAX, Glob
from everfly.sentinel.acl.categories import CATEGORIES, Dialect
from everfly.wire.resp import to_bytes, to_text

PATTERNS_MAX: Final = 1_000
"""Of one selector, of each kind. Redis has no limit; each subscription is held against all."""
FIRST_ARGS_MAX: Final = 1_000
"""Of one selector."""

HAS_SPACE: Final = re.compile(r"[\s\0]", re.ASCII)
"""Source: `ACLStringHasSpaces` (7.0.15)."""


class Reason(IntEnum):
    """Why something is refused; of several selectors' reasons the highest is told.

    Source: `ACL_DENIED_*`, redis/src/server.h (7.0.15).
    """

    COMMAND = 1
    AUTH = 3
    CHANNEL = 4

    @property
    def word(self) -> str:
        """Return what ACL LOG calls it."""
        return {1: "command", 3: "auth", 4: "channel"}[self]


@dataclass(frozen=True, slots=True)
class Denial:
    """A command is refused."""

    reason: Reason
    position: int = 0
    """Which of its words is the wrong channel."""


class RuleError(SettingsError):
    """A rule is wrong; the text is what Redis says of it."""


class UnknownNameError(RuleError):
    """A rule names a command or a category that does not exist: nothing secret is in it."""

    def __init__(self) -> None:
        super().__init__("Unknown command or category name in ACL")


_CHANNELS: Final[Mapping[str, slice]] = {
    "subscribe": slice(1, None),
    "psubscribe": slice(1, None),
    "publish": slice(1, 2),
}
"""Commands with channels, and which of their words these are. Whoever stops listening needs no
permission. Source: `commands_with_channels`, redis/src/db.c (7.0.15)."""


@dataclass(slots=True)
class Selector:
    """One set of permissions."""

    dialect: Dialect
    allows_all_keys: bool = False
    keys: dict[str, str] = field(default_factory=dict)
    """Pattern -> `RW`, `R` or `W`."""
    allows_all_channels: bool = False
    channels: dict[str, Glob] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    allows_all_commands: bool = False
    """Nothing was ever taken away since `+@all`."""
    allows_future_commands: bool = False
    """It was made by taking away from all, not by adding to none."""
    first_args: dict[str, list[str]] = field(default_factory=dict)
    """Command that is not allowed -> first arguments with which it is."""
    told: list[str] = field(default_factory=list)
    """The rules about commands as they were given, without those that later ones made void."""

    @classmethod
    def new(cls, dialect: Dialect) -> "Selector":
        """Return one that allows nothing, but channels where that is the default."""
        return cls(dialect, allows_all_channels=dialect.allows_channels)

    def copy(self) -> "Selector":
        """Return one that can be changed on its own."""
        return Selector(
            self.dialect,
            self.allows_all_keys,
            dict(self.keys),
            self.allows_all_channels,
            dict(self.channels),
            set(self.commands),
            self.allows_all_commands,
            self.allows_future_commands,
            {name: list(words) for name, words in self.first_args.items()},
            list(self.told),
        )

    def apply(self, rule: str) -> None:
        """Apply one rule; raise RuleError for a wrong one, which changes nothing."""
        match rule.lower():
            case "allkeys" | "~*":
                self.allows_all_keys = True
                self.keys.clear()
            case "resetkeys":
                self.allows_all_keys = False
                self.keys.clear()
            case "allchannels" | "&*":
                self.allows_all_channels = True
                self.channels.clear()
            case "resetchannels":
                self.allows_all_channels = False
                self.channels.clear()
            case "allcommands" | "+@all":
                self._set_all(is_allowed=True)
            case "nocommands" | "-@all":
                self._set_all(is_allowed=False)
            case _:
                self._apply_with_name(rule)

    def check(self, name: str, words: Sequence[bytes], *, needs_no_auth: bool) -> Denial | None:
        """Return why the command `name`, given as `words`, may not be run, if so.

        `needs_no_auth`: it is for strangers, such as AUTH, and so for everybody.
        """
        if not (self.allows_all_commands or needs_no_auth or self._may_run(name, words)):
            return Denial(Reason.COMMAND)
        if self.allows_all_channels or name not in _CHANNELS:
            return None
        for position, channel in enumerate(words[_CHANNELS[name]], 1):
            if not self.may_hear(channel, is_pattern=name == "psubscribe"):
                return Denial(Reason.CHANNEL, position)
        return None

    def may_hear(self, channel: bytes, *, is_pattern: bool) -> bool:
        """Tell whether a channel is allowed; a pattern is when it is one of ours, to the letter."""
        return self.allows_all_channels or is_listed(self.channels, channel, is_pattern=is_pattern)

    def described_keys(self) -> str:
        """Return the rules about keys."""
        if self.allows_all_keys:
            return "~*"
        return " ".join(
            f"{'' if access == 'RW' else '%' + access}~{pattern}"
            for pattern, access in self.keys.items()
        )

    def described_channels(self) -> str:
        """Return the rules about channels."""
        return "&*" if self.allows_all_channels else " ".join(f"&{each}" for each in self.channels)

    def described_commands(self) -> str:
        """Return the rules about commands, from `+@all` or `-@all` on."""
        start = "+@all" if self.allows_future_commands else "-@all"
        rules = self.told if self.dialect.keeps_rules else _fitting_rules(self)
        return " ".join([start, *rules])

    def described(self) -> str:
        """Return all rules, so that they make the same selector when applied to a new one."""
        channels = self.described_channels()
        if not self.allows_all_channels:
            channels = f"resetchannels {channels}"
        parts = (self.described_keys(), channels.rstrip(" "), self.described_commands())
        return " ".join(part for part in parts if part)

    # One rule.

    def _set_all(self, *, is_allowed: bool) -> None:
        self.commands = set(self.dialect.names.all) if is_allowed else set()
        self.allows_all_commands = self.allows_future_commands = is_allowed
        self.first_args.clear()
        self.told.clear()

    def _apply_with_name(self, rule: str) -> None:
        match rule[:1]:
            case "~" | "%":
                self._add_key(rule)
            case "&":
                self._add_channel(rule[1:])
            case "+" | "-" if rule[1:2] == "@":
                self._set_category(rule[2:].lower(), is_allowed=rule[0] == "+")
            case "+" if "|" in rule:
                self._allow_part(rule[1:])
            case "+" | "-":
                name = self.dialect.names.find(rule[1:])
                if name is None:
                    raise UnknownNameError
                self._set_command(name, is_allowed=rule[0] == "+")
                self._tell(name, is_allowed=rule[0] == "+")
            case _:
                raise RuleError("Syntax error")

    def _add_key(self, rule: str) -> None:
        if self.allows_all_keys:
            raise RuleError(_after_all("allkeys", "resetkeys", "patterns"))
        access, pattern = "RW", rule[1:]
        if rule[0] == "%":
            # The tilde may be missing, and then so is the pattern: as ever.
            access, _, pattern = pattern.partition("~")
            access = access.upper()
            if access not in ("R", "W", "RW", "WR"):
                raise RuleError("Syntax error")
        self._check_pattern(pattern, self.keys)
        both = set(self.keys.get(pattern, "")) | set(access)
        self.keys[pattern] = "".join(letter for letter in "RW" if letter in both)
        if pattern == "*" and len(both) == 2:
            # Redis keeps it among the others, and then cannot read back what it wrote.
            self.allows_all_keys = True
            self.keys.clear()

    def _add_channel(self, pattern: str) -> None:
        if self.allows_all_channels:
            raise RuleError(_after_all("allchannels", "resetchannels", "channels"))
        self._check_pattern(pattern, self.channels)
        self.channels.setdefault(pattern, Glob(to_bytes(pattern)))

    def _check_pattern(self, pattern: str, known: Mapping[str, object]) -> None:
        if HAS_SPACE.search(pattern):
            raise RuleError("Syntax error")
        if len(to_bytes(pattern)) > PATTERN_BYTES_MAX:
            raise RuleError(f"A pattern may have {PATTERN_BYTES_MAX} bytes")
        if len(known) >= PATTERNS_MAX and pattern not in known:
            raise RuleError(f"There may be {PATTERNS_MAX} patterns of a kind")

    def _allow_part(self, rule: str) -> None:
        """Allow a subcommand, or a command with one first argument."""
        word, _, part = rule.rpartition("|")
        names = self.dialect.names
        name = names.find(word)
        if name is None:
            raise UnknownNameError
        if "|" in name:
            raise RuleError("Allowing first-arg of a subcommand is not supported")
        # A space, which Redis would take, ends the rule where it is written down.
        if not part or HAS_SPACE.search(part):
            raise RuleError("Syntax error")
        if names.children(name):
            child = names.find(rule)
            if child is None:
                raise UnknownNameError
            self._set_command(child, is_allowed=True)
            self._tell(child, is_allowed=True)
            return
        parts = self.first_args.setdefault(name, [])
        if part.lower() not in [known.lower() for known in parts]:
            if sum(map(len, self.first_args.values())) >= FIRST_ARGS_MAX:
                raise RuleError(f"There may be {FIRST_ARGS_MAX} commands with a first argument")
            parts.append(part)
        self._tell(rule, is_allowed=True)

    def _set_category(self, category: str, *, is_allowed: bool) -> None:
        if category not in CATEGORIES:
            raise UnknownNameError
        for name in self.dialect.names.members(category):
            self._set_command(name, is_allowed=is_allowed)
        self._tell(f"@{category}", is_allowed=is_allowed)

    def _set_command(self, name: str, *, is_allowed: bool) -> None:
        names = {name, *self.dialect.names.children(name)}
        if is_allowed:
            self.commands |= names
        else:
            self.commands -= names
            self.allows_all_commands = False
        self.first_args.pop(name, None)

    def _tell(self, word: str, *, is_allowed: bool) -> None:
        """Remember a rule as given; it makes those of the same thing, or of a part of it, void.

        Source: `ACLUpdateCommandRules`, redis/src/acl.c (7.2.4).
        """
        word = word.lower()
        self.told = [
            rule for rule in self.told if rule[1:] != word and not rule[1:].startswith(f"{word}|")
        ]
        self.told.append(("+" if is_allowed else "-") + word)

    def _may_run(self, name: str, words: Sequence[bytes]) -> bool:
        if name in self.commands:
            return True
        parts = [part.lower() for part in self.first_args.get(name, ())]
        return len(words) > 1 and to_text(words[1]).lower() in parts


def is_listed(channels: Mapping[str, Glob], channel: bytes, *, is_pattern: bool) -> bool:
    """Tell whether one of the patterns allows a channel, or is the pattern itself.

    Source: `ACLCheckChannelAgainstList` (7.0.15).
    """
    if is_pattern:
        return to_text(channel) in channels
    return any(glob.matches(channel) for glob in channels.values())


def _after_all(flag: str, remedy: str, what: str) -> str:
    return (
        f"Adding a pattern after the * pattern (or the '{flag}' flag) is not valid and does not "
        f"have any effect. Try '{remedy}' to start with an empty list of {what}"
    )


def _fitting_rules(selector: Selector) -> list[str]:
    """Return few rules about commands with the effect of the selector's.

    The categories that fit best come first, then single commands mend what they got wrong.
    Source: `ACLDescribeSelectorCommandRules` (7.0.15).
    """
    dialect = selector.dialect
    adds = not selector.allows_future_commands
    made = Selector.new(dialect)
    made.apply("-@all" if adds else "+@all")
    left = selector.copy()
    rules: list[str] = []
    for category in iter(lambda: _best_category(left, rules, adds=adds), ""):
        rules.append(f"{'+@' if adds else '-@'}{category}")
        made.apply(rules[-1])
        left.apply(f"{'-@' if adds else '+@'}{category}")
    for name in dialect.names.walk():
        is_allowed = name in selector.commands
        if is_allowed is not (name in made.commands):
            rules.append(("+" if is_allowed else "-") + name)
            made.apply(rules[-1])
        if not is_allowed:
            rules += [f"+{name}|{part}" for part in selector.first_args.get(name, ())]
    return rules


def _best_category(left: Selector, rules: Sequence[str], *, adds: bool) -> str:
    """Return the category that says most of what is left with the fewest errors, or nothing."""
    used = {rule[2:] for rule in rules}
    best, errors, hits = "", 0, 0
    for category in CATEGORIES:
        if category in used:
            continue
        members = list(left.dialect.names.members(category))
        allowed = sum(name in left.commands for name in members)
        same, different = allowed, len(members) - allowed
        if not adds:
            same, different = different, same
        is_better = not best or different < errors or (different == errors and same > hits)
        if same > different and is_better:
            best, errors, hits = category, different, same
    return best
