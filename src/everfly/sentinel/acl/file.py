"""Turn the text of an ACL file, or `user` lines of a configuration, into users, and back.

Rules: one wrong line and nothing is taken; what is written holds hashes and no password.
Source: `ACLLoadFromFile`, `ACLSaveToFile`, `ACLAppendUserForLoading`, redis/src/acl.c (7.0.15).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError
from everfly.runtime.files import write_atomically
from everfly.sentinel.acl.categories import Dialect
from everfly.sentinel.acl.rules import UnmatchedParenthesisError, User, merged
from everfly.sentinel.acl.selectors import RuleError, UnknownNameError
from everfly.sentinel.acl.users import DEFAULT_USER, USERS_MAX, is_valid_name, open_default
from everfly.wire.resp import to_bytes, to_text

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Thousands of users need one megabyte; more is not an ACL file."""


def read_users(path: Path, dialect: Dialect) -> list[User]:
    """Return the users of an ACL file. Blocks for as long as the disk takes.

    Raises SettingsError, whose text is the answer to ACL LOAD.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(
            f"Error loading ACLs, opening file '{path}': {error.strerror}"
        ) from error
    if len(data) > FILE_BYTES_MAX:
        raise SettingsError(f"Error loading ACLs: {path} has more than {FILE_BYTES_MAX} bytes")
    return parse_users(to_text(data), str(path), dialect)


def parse_users(text: str, path: str, dialect: Dialect) -> list[User]:
    """Return the users of an ACL file's text; `path` names it in errors. Raises SettingsError."""
    users: dict[str, User] = {}
    errors: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r\n")
        if not line:
            continue
        keyword, *words = line.split(" ")
        where = f"{path}:{number}"
        if keyword != "user" or not words:
            errors.append(f"{where} should start with user keyword followed by the username. ")
        elif not is_valid_name(words[0]):
            errors.append(f"'{where}: username '{words[0]}' contains invalid characters. ")
        elif words[0] in users:
            errors.append(f"WARNING: Duplicate user '{words[0]}' found on line {number}. ")
        elif len(users) >= USERS_MAX:
            errors.append(f"{where}: there may be {USERS_MAX} users. ")
        else:
            users[words[0]] = user = User.new(words[0], dialect)
            errors += _apply_line(user, words[1:], where)
    if errors:
        raise SettingsError(
            "".join(errors) + "WARNING: ACL errors detected, no change to the previously active "
            "ACL rules was performed"
        )
    return list(users.values())


def write_users(path: Path, users: Iterable[User]) -> None:
    """Replace an ACL file, durably and in one step. Blocks for as long as the disk takes.

    A new file is for its owner alone. Raises Unavailable.
    """
    lines = "".join(f"user {user.name} {user.described()}\n" for user in users)
    write_atomically(path, to_bytes(lines))


def users_of_lines(
    lines: Iterable[Sequence[str]], users: dict[str, User], dialect: Dialect
) -> None:
    """Add the users of `user` lines, each a name and rules, to `users`.

    Raises SettingsError that names the user and the rule, but no password.
    """
    seen: set[str] = set()
    for name, *words in lines:
        if name in seen:
            raise SettingsError(
                f"Error in user declaration '{name}': Duplicate user found. A user can only be "
                "defined once in config files"
            )
        seen.add(name)
        if not is_valid_name(name):
            raise SettingsError(
                f"Error in user declaration '{name}': Usernames can't contain spaces or null "
                "characters"
            )
        user = User.new(name, dialect)
        if name == DEFAULT_USER:
            user.apply("reset")
        for rule in _merged_of(name, words):
            try:
                user.apply(rule)
            except RuleError as error:
                word = rule[0] + "******" if rule[0] in "><#!" else rule
                raise SettingsError(
                    f"Error in user declaration '{word}' of user '{name}': {error}"
                ) from None
        users[name] = user


def implied_default(requirepass: str, dialect: Dialect) -> User:
    """Return the `default` that a configuration without a line for it means."""
    user = open_default(dialect)
    if requirepass:
        user.apply(f">{requirepass}")
    return user


def _merged_of(name: str, words: Sequence[str]) -> list[str]:
    try:
        return merged(words)
    except UnmatchedParenthesisError as error:
        raise SettingsError(f"Error in user declaration of user '{name}': {error}") from None


def _apply_line(user: User, words: Sequence[str], where: str) -> list[str]:
    """Apply a line's rules; return what is wrong. Of secrets nothing is told.

    All unknown names are told, but only the first of other errors, which may cause the others.
    """
    try:
        rules = merged(words)
    except UnmatchedParenthesisError:
        return [f"{where}: Unmatched parenthesis in selector definition."]
    errors = []
    has_other = False
    for word in rules:
        rule = word.strip("\t\r\n")
        try:
            user.apply(rule)
        except UnknownNameError as error:
            errors.append(f"{where}: Error in applying operation '{rule}': {error}. ")
        except RuleError as error:
            if not has_other:
                errors.append(f"{where}: {error}. ")
            has_other = True
    return errors
