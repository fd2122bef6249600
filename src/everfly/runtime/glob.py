"""Turn a pattern of Redis (`*`, `?`, `[a-z]`, `[^x]`, backslash) into a test of byte strings.

A pattern comes from a client, so it must not be able to cost much: matching takes at most about
the square of the string's length in steps, whatever the pattern, and both are bounded.
Source: `stringmatchlen`, redis/src/util.c (7.0.15).
"""

from typing import Final

PATTERN_BYTES_MAX: Final = 4096
"""Longer ones are refused by whoever takes them from a client: no name that we have is as long."""

_ANY: Final = frozenset(range(256))


class Glob:
    """A compiled pattern."""

    __slots__ = ("_is_case_ignored", "_least", "_units")

    def __init__(self, pattern: bytes, *, ignore_case: bool = False) -> None:
        self._is_case_ignored = ignore_case
        self._units = _compile(pattern.lower() if ignore_case else pattern)
        self._least = sum(unit is not None for unit in self._units)

    def matches(self, text: bytes) -> bool:
        """Tell whether the whole of `text` fits."""
        if self._is_case_ignored:
            text = text.lower()
        if len(text) < self._least:
            return False
        units = self._units
        at = unit = 0
        star = -1  # Where the last star was seen, and up to where it has been stretched: a later
        stretched = 0  # star makes all earlier ones irrelevant, so one is all that is remembered.
        while at < len(text):
            here = units[unit] if unit < len(units) else frozenset[int]()
            if here is None:
                star, stretched = unit, at
                unit += 1
            elif text[at] in here:
                at += 1
                unit += 1
            elif star >= 0:
                stretched += 1
                at, unit = stretched, star + 1
            else:
                return False
        return all(rest is None for rest in units[unit:])


def _compile(pattern: bytes) -> list[frozenset[int] | None]:
    """Return for each place the bytes that fit there, and None for a star."""
    units: list[frozenset[int] | None] = []
    at = 0
    while at < len(pattern):
        letter = pattern[at : at + 1]
        at += 1
        if letter == b"*":
            if units[-1:] != [None]:
                units.append(None)
        elif letter == b"?":
            units.append(_ANY)
        elif letter == b"[":
            members, at = _read_class(pattern, at)
            units.append(members)
        else:
            if letter == b"\\" and at < len(pattern):
                letter = pattern[at : at + 1]
                at += 1
            units.append(frozenset(letter))
    return units


def _read_class(pattern: bytes, at: int) -> tuple[frozenset[int], int]:
    """Read what follows a `[`; one that is never closed ends with the pattern."""
    is_negated = pattern[at : at + 1] == b"^"
    at += is_negated
    members: set[int] = set()
    while at < len(pattern) and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            members.add(pattern[at + 1])
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            members.update(range(low, high + 1))
            at += 3
        else:
            members.add(pattern[at])
            at += 1
    return (_ANY - members if is_negated else frozenset(members)), at + 1
