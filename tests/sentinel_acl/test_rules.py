"""Whatever rules say: what is shown means the same, a wrong one changes nothing, all is bounded."""

import contextlib
import random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.errors import SettingsError
from everfly.runtime.glob import PATTERN_BYTES_MAX
from everfly.sentinel.acl import CATEGORIES, Dialect, Reason, User, Users
from everfly.sentinel.acl.file import parse_users
from everfly.sentinel.acl.log import COMPARED, GROUPING_MS, LENGTH_MAX, AclLog, Refusal
from everfly.sentinel.acl.rules import PASSWORDS_MAX, SELECTORS_MAX
from everfly.sentinel.acl.selectors import FIRST_ARGS_MAX, PATTERNS_MAX, RuleError, Selector
from everfly.sentinel.acl.users import NAME_BYTES_MAX, USERS_MAX, is_valid_name
from everfly.sentinel.commands.table import dialect_of
from everfly.sentinel.compat import Compat

DIALECTS: Final = {compat: dialect_of(compat) for compat in Compat}
NAMES: Final = sorted(DIALECTS[Compat.REDIS_7_0].names.all)

patterns = st.text("ab*?[]-^\\%~&|+ö", max_size=6)
command_rules = st.one_of(
    st.builds("{}{}".format, st.sampled_from("+-"), st.sampled_from(NAMES)),
    st.builds("{}@{}".format, st.sampled_from("+-"), st.sampled_from([*CATEGORIES, "all"])),
    st.builds("+{}|{}".format, st.sampled_from(["ping", "info", "role"]), st.sampled_from("xyX")),
)
other_rules = st.one_of(
    st.sampled_from(["allkeys", "resetkeys", "allchannels", "resetchannels"]),
    st.builds("{}{}".format, st.sampled_from(["~", "%R~", "%W~", "%RW~", "&"]), patterns),
)
selector_rules = st.lists(st.one_of(command_rules, other_rules), max_size=5).map(
    lambda rules: f"({' '.join(rules)})"
)
user_rules = st.one_of(
    command_rules,
    command_rules,
    other_rules,
    selector_rules,
    st.sampled_from(["on", "off", "nopass", "resetpass", "reset", "clearselectors"]),
    st.sampled_from([">x", ">y", "<x"]),
    st.text(max_size=8),
)


def made(rules: list[str], dialect: Dialect) -> User:
    """Return a user by those of the rules that are right; the others must change nothing."""
    user = User.new("eve", dialect)
    for rule in rules:
        before = user.copy()
        try:
            user.apply(rule)
        except RuleError:
            assert user == before
    return user


def parts_of(selector: Selector) -> set[str]:
    """Return what is allowed with a first argument alone, in small letters as it may be kept."""
    return {
        f"{name}|{part}".lower()
        for name, parts in selector.first_args.items()
        for part in parts
        if name not in selector.commands
    }


@pytest.mark.parametrize("compat", Compat)
@given(rules=st.lists(user_rules, max_size=12))
def test_what_is_shown_makes_the_same_user_again(compat: Compat, rules: list[str]) -> None:
    dialect = DIALECTS[compat]
    user = made(rules, dialect)
    [again] = parse_users(f"user eve reset {user.described()}", "users.acl", dialect)
    # Whoever is reset has one flag that a new user of Redis 7.0 has not.
    again.sanitizes = user.sanitizes
    assert again.described() == user.described()
    for old, new in zip(user.selectors, again.selectors, strict=True):
        assert (new.commands, new.keys) == (old.commands, old.keys)
        assert parts_of(new) == parts_of(old)
        assert list(new.channels) == list(old.channels)
        for words in (["ping"], ["ping", "x"], ["subscribe", "a"], ["psubscribe", "a*"]):
            asked = words[0], [word.encode() for word in words]
            assert new.check(*asked, needs_no_auth=False) == old.check(*asked, needs_no_auth=False)


@given(rules=st.lists(command_rules, max_size=12))
def test_all_dialects_allow_the_same(rules: list[str]) -> None:
    first, *others = (made(rules, dialect).selectors[0] for dialect in DIALECTS.values())
    for other in others:
        assert other.commands & first.dialect.names.all == first.commands


@given(text=st.text("userv +-@~&()|>#<on \n\t\0é", max_size=200))
def test_any_text_is_a_file_or_an_error_of_a_person(text: str) -> None:
    with contextlib.suppress(SettingsError):
        users = parse_users(text, "users.acl", DIALECTS[Compat.REDIS_7_0])
        assert [user for user in users if not is_valid_name(user.name)] == []


def test_no_secret_is_shown_of_a_user_or_told_by_an_error() -> None:
    users = Users(DIALECTS[Compat.REDIS_7_0])
    user = users.staged("eve", ["on", ">hunter2", "(+ping)"])
    assert "hunter2" not in repr(user) + user.described()
    assert user.passwords[0] not in repr(user)
    with pytest.raises(SettingsError) as caught:
        parse_users("user eve on <hunter2 #hunter2", "x", users.dialect)
    assert "hunter2" not in str(caught.value)


def test_who_is_off_or_unknown_is_nobody_whatever_the_password() -> None:
    users = Users(DIALECTS[Compat.REDIS_7_0])
    users.put(users.staged("eve", [">x", "off"]))
    users.put(users.staged("adam", ["on", ">x", ">y"]))
    assert not users.knows("eve", b"x")
    assert not users.knows("nobody", b"x")
    assert users.knows("adam", b"y")
    assert not users.knows("adam", b"")
    [hidden] = [user.passwords[0] for user in users.all() if user.name == "eve"]
    assert not users.knows("adam", hidden.encode())


def test_a_user_that_is_gone_may_do_nothing() -> None:
    users = Users(DIALECTS[Compat.REDIS_7_0])
    denial = users.check("gone", "ping", [b"PING"], needs_no_auth=False)
    assert denial is not None
    assert denial.reason is Reason.COMMAND


def test_all_that_rules_can_make_is_bounded() -> None:
    dialect = DIALECTS[Compat.REDIS_7_0]
    for rules, least in (
        ([f"~{number}" for number in range(PATTERNS_MAX + 1)], PATTERNS_MAX),
        ([f"&{number}" for number in range(PATTERNS_MAX + 1)], PATTERNS_MAX),
        ([f"+ping|{number}" for number in range(FIRST_ARGS_MAX + 1)], FIRST_ARGS_MAX),
        ([f">{number}" for number in range(PASSWORDS_MAX + 1)], PASSWORDS_MAX),
        (["(+ping)"] * (SELECTORS_MAX + 1), SELECTORS_MAX),
    ):
        user = User.new("eve", dialect)
        for rule in rules[:least]:
            user.apply(rule)
        with pytest.raises(RuleError, match=str(least)):
            user.apply(rules[least])
    with pytest.raises(RuleError, match=str(PATTERN_BYTES_MAX)):
        User.new("eve", dialect).apply("&" + "x" * (PATTERN_BYTES_MAX + 1))
    assert not is_valid_name("x" * (NAME_BYTES_MAX + 1))


def test_the_number_of_users_is_bounded() -> None:
    users = Users(DIALECTS[Compat.REDIS_7_0])
    plain = users.staged("plain", [])
    for number in range(USERS_MAX - 1):
        one = plain.copy()
        one.name = str(number)
        users.put(one)
    with pytest.raises(RuleError, match=str(USERS_MAX)):
        users.staged("one more", [])
    assert users.staged("0", ["on"]).is_on


@pytest.mark.parametrize("word", ["a b", "a\nuser pwned on nopass +@all", "a\0b"])
def test_no_rule_can_end_its_line(word: str) -> None:
    user = User.new("eve", DIALECTS[Compat.REDIS_7_0])
    for rule in (f"~{word}", f"&{word}", f"+ping|{word}", f'("+ping|{word}")'):
        with pytest.raises(RuleError):
            user.apply(rule)


def test_the_log_keeps_what_is_new_and_counts_what_repeats() -> None:
    log = AclLog(length=3)
    dice = random.Random(1)
    refusals = [Refusal(Reason.AUTH, "AUTH", f"u{number}") for number in range(5)]
    for now in range(1_000):
        log.add(dice.choice(refusals[:3]), b"client %d" % now, now)
    assert sum(entry.count for entry in log.entries) == 1_000
    assert log.entries[0].client == b"client 999"
    log.add(refusals[0], b"late", 999 + GROUPING_MS + 1)
    assert log.entries[0].count == 1
    assert len(log.entries) == 3
    assert log.counts[Reason.AUTH] == 1_001
    assert log.entries[0].id == 3


def test_the_log_is_bounded_whatever_the_file_says() -> None:
    log = AclLog(length=10**9)
    for number in range(LENGTH_MAX + COMPARED):
        log.add(Refusal(Reason.AUTH, "x" * 10**5, f"u{number}"), b"", 0)
    assert len(log.entries) == LENGTH_MAX
    assert len(log.entries[0].refusal.object) < 10**4
