"""Turn one rule into a change of a user, and the words of a command or a line into whole rules.

Source: `ACLSetUser`, `ACLMergeSelectorArguments`, redis/src/acl.c (7.0.15).
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from everfly.sentinel.acl.categories import Dialect
from everfly.sentinel.acl.selectors import RuleError, Selector
from everfly.wire.resp import split_args, to_bytes, to_text

PASSWORDS_MAX: Final = 100
"""Of one user; each costs a comparison at each AUTH. Redis has no limit."""
SELECTORS_MAX: Final = 100
"""Of one user; each is asked at each command. Redis has no limit."""

_HASH = re.compile(r"[0-9a-f]{64}")
_UNSAFE_IN_SELECTOR = re.compile(r"[\"']|\)\Z")


class UnmatchedParenthesisError(RuleError):
    """A selector is never closed; `word` is where it begins."""

    def __init__(self, word: str) -> None:
        self.word: Final = word
        super().__init__(f"Unmatched parenthesis in acl selector starting at '{shown(word)}'.")


@dataclass(slots=True)
class User:
    """One user: whether and how one becomes it, and what one may do then."""

    name: str
    selectors: list[Selector]
    """The user's own one first."""
    is_on: bool = False
    is_open: bool = False
    """`nopass`: any password is right."""
    passwords: list[str] = field(default_factory=list, repr=False)
    """Hexadecimal digits of their SHA-256."""
    skips_sanitizing: bool = False
    sanitizes: bool = False
    """These two are only shown: a Sentinel restores no data."""

    @classmethod
    def new(cls, name: str, dialect: Dialect) -> "User":
        """Return a user as it is before its first rule: off, and allowed nothing."""
        return cls(name, [Selector.new(dialect)], sanitizes=dialect.sanitizes)

    def copy(self) -> "User":
        """Return one that can be changed on its own."""
        return User(
            self.name,
            [selector.copy() for selector in self.selectors],
            self.is_on,
            self.is_open,
            list(self.passwords),
            self.skips_sanitizing,
            self.sanitizes,
        )

    def flags(self) -> list[str]:
        """Return its flags in the order in which they are shown."""
        facts = {
            "on": self.is_on,
            "off": not self.is_on,
            "nopass": self.is_open,
            "skip-sanitize-payload": self.skips_sanitizing,
            "sanitize-payload": self.sanitizes,
        }
        return [flag for flag, holds in facts.items() if holds]

    def described(self) -> str:
        """Return its rules, so that they make the same user when applied to a new one."""
        own, *others = self.selectors
        return " ".join(
            [
                *self.flags(),
                *(f"#{password}" for password in self.passwords),
                own.described(),
                *(f"({selector.described()})" for selector in others),
            ]
        )

    def apply(self, rule: str) -> None:
        """Apply one rule; raise RuleError for a wrong one."""
        match rule.lower():
            case "":
                pass
            case "on" | "off":
                self.is_on = rule.lower() == "on"
            case "nopass" | "resetpass":
                self.is_open = rule.lower() == "nopass"
                self.passwords.clear()
            case "skip-sanitize-payload" | "sanitize-payload":
                self.sanitizes = rule.lower() == "sanitize-payload"
                self.skips_sanitizing = not self.sanitizes
            case "clearselectors":
                del self.selectors[1:]
            case "reset":
                self._reset()
            case _:
                self._apply_with_value(rule)

    def _reset(self) -> None:
        dialect = self.selectors[0].dialect
        self.selectors = [Selector.new(dialect)]
        self.is_on = self.is_open = self.skips_sanitizing = False
        self.sanitizes = True
        self.passwords.clear()

    def _apply_with_value(self, rule: str) -> None:
        if rule[0] in ">#<!":
            self._apply_password(rule[0], rule[1:])
        elif rule[0] == "(" and rule[-1] == ")":
            if len(self.selectors) > SELECTORS_MAX:
                raise RuleError(f"A user may have {SELECTORS_MAX} selectors")
            self.selectors.append(_to_selector(rule, self.selectors[0].dialect))
        else:
            self.selectors[0].apply(rule)

    def _apply_password(self, mark: str, value: str) -> None:
        if mark in "><":
            value = hash_of(value)
        elif _HASH.fullmatch(value) is None:
            raise RuleError(
                "The password hash must be exactly 64 characters and contain only lowercase "
                "hexadecimal characters"
            )
        if mark in "<!":
            if value not in self.passwords:
                raise RuleError(
                    "The password you are trying to remove from the user does not exist"
                )
            self.passwords.remove(value)
            return
        if value not in self.passwords:
            if len(self.passwords) >= PASSWORDS_MAX:
                raise RuleError(f"A user may have {PASSWORDS_MAX} passwords")
            self.passwords.append(value)
        self.is_open = False


def hash_of(password: str | bytes) -> str:
    """Return what is kept of a password."""
    return hashlib.sha256(to_bytes(password)).hexdigest()


def merged(words: Sequence[str]) -> list[str]:
    """Join the words of each selector into one rule; raise UnmatchedParenthesisError.

    One that opens within another stays in it, and is a wrong rule there, as from Redis 7.2 on; 7.0
    forgets the outer one without a word.
    """
    rules: list[str] = []
    opened: list[str] = []
    for word in words:
        if opened or (word.startswith("(") and not word.endswith(")")):
            opened.append(word)
            if len(opened) > 1 and word.endswith(")"):
                rules.append(" ".join(opened))
                opened = []
        else:
            rules.append(word)
    if opened:
        raise UnmatchedParenthesisError(opened[0])
    return rules


def shown(text: str) -> str:
    """Return text as C's `%s` would write it: up to the first NUL."""
    return text.partition("\0")[0]


def _to_selector(rule: str, dialect: Dialect) -> Selector:
    """Return the selector of a rule in parentheses.

    Stricter than Redis, which takes what it could not read back once it is written down: quotes,
    and a parenthesis at the end of a word.
    """
    selector = Selector.new(dialect)
    words = split_args(to_bytes(rule[1:-1]))
    if words is None:
        raise RuleError("Syntax error")
    for word in map(to_text, words):
        if _UNSAFE_IN_SELECTOR.search(word):
            raise RuleError("Syntax error")
        selector.apply(word)
    return selector
