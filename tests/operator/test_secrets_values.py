"""What Secrets hold becomes what instances should have, and no value gets into a text."""

import base64
import logging
from typing import Any

import pytest

from everfly.errors import SettingsError
from everfly.operator import names
from everfly.operator.resources.network_policy import network_policy
from everfly.operator.resources.operator_peer import peer_of_operator
from everfly.operator.resources.owner import Owner
from everfly.operator.secrets.acl import difference, digits_of, users_of_file, users_of_list
from everfly.operator.secrets.wanted import (
    Use,
    Value,
    Wanted,
    check_password,
    value_of,
    version_of,
    wanted_of,
)
from everfly.operator.wishes.spec import read_spec

HIDDEN = "dont-tell-anybody"
KEY = b"k" * 32
FILE = b"USER shop ON >one ~cart:* +@read\nUSER admin on >two ~* &* +@all -@dangerous\n"
LIST = [
    f"user admin on #{digits_of(b'two')} ~* &* +@all -@dangerous $all",
    f"user shop on #{digits_of(b'one')} ~cart:* resetchannels -@all +@read $all",
    "user default on nopass ~* &* +@all $all",
]


def spec(**fields: Any) -> Any:
    return read_spec(fields)


def secret(**data: bytes) -> dict[str, Any]:
    return {
        "metadata": {"resourceVersion": "7"},
        "data": {k.replace("_", "."): base64.b64encode(v).decode() for k, v in data.items()},
    }


def test_only_what_the_spec_names_is_wanted() -> None:
    assert wanted_of(spec(replicas=1)) == ()
    found = wanted_of(
        spec(
            aclFromSecret={"name": "users", "key": "acl"},
            tlsSecretRef={"name": "tls"},
            authentication={
                "passwordFromSecret": {"name": "pass", "key": "p"},
                "clientCaCertSecret": {"name": "ca", "key": "c"},
            },
        )
    )
    assert [(each.use, each.secret, each.keys) for each in found] == [
        (Use.USERS, "users", ("acl",)),
        (Use.PASSWORD, "pass", ("p",)),
        (Use.CERTIFICATE, "tls", ("tls.crt", "tls.key")),
        (Use.CLIENT_CA, "ca", ("c",)),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"args": ["--requirepass=x"]},
        {"additionalContainers": [{"name": "dragonfly", "image": "mine"}]},
    ],
    ids=["a flag wins over the environment", "a container of the user's own"],
)
def test_a_password_that_is_not_used_is_not_brought_about(fields: dict[str, Any]) -> None:
    reference = {"passwordFromSecret": {"name": "pass", "key": "p"}}
    assert wanted_of(spec(authentication=reference, **fields)) == ()


def test_digests_are_equal_for_equal_values_alone_and_differ_by_key() -> None:
    one, same, other = Value((b"a", b"bc")), Value((b"a", b"bc")), Value((b"ab", b"c"))
    assert one.mark(KEY) == same.mark(KEY)
    assert one.mark(KEY) != other.mark(KEY)
    assert one.mark(KEY) != one.mark(b"j" * 32)


PASSWORD = Wanted(Use.PASSWORD, "pass", ("p",))


def password_in(found: Any) -> bytes:
    value = value_of(PASSWORD, found)
    assert value is not None
    return check_password(PASSWORD, value)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "there is no Secret pass"),
        (secret(other=b"x"), "has no key p"),
        (secret(p=b""), "is empty"),
        (secret(p=b"\xff" + HIDDEN.encode()), "is no UTF-8"),
        (secret(p=b"\0" + HIDDEN.encode()), "zero byte"),
        ({"data": {"p": f"!{HIDDEN}"}}, "is no base64"),
        (secret(p=b"x" * (1024 * 1024 + 1)), "has over"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_password_that_cannot_work_is_refused_without_being_repeated(
    found: Any, told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        password_in(found)
    assert HIDDEN not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_may_be_missing_is_no_fault() -> None:
    wanted = Wanted(Use.PASSWORD, "pass", ("p",), is_optional=True)
    assert value_of(wanted, None) is None
    assert value_of(wanted, secret(q=b"x")) is None


def test_a_value_is_in_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    value = value_of(PASSWORD, secret(p=HIDDEN.encode()))
    assert value is not None
    assert check_password(PASSWORD, value) == HIDDEN.encode()
    with caplog.at_level(logging.INFO):
        logging.getLogger().info("%r %s %s", value, value, PASSWORD)
    assert HIDDEN not in caplog.text
    assert version_of(secret(p=b"x")) == "7"


def test_an_instance_with_the_users_of_the_file_does_not_differ_from_it() -> None:
    found = difference(users_of_file(FILE), users_of_list(LIST))
    assert found.is_none


@pytest.mark.parametrize(
    ("was", "becomes", "wrong", "extra", "rules"),
    [
        (b">one", b">three", ("shop",), (), ()),
        (b"ON >one", b"ON nopass", ("shop",), (), ()),
        (b"shop ON", b"shop OFF", ("shop",), (), ()),
        (b"~cart:*", b"~basket:*", (), (), ("shop",)),
        (b"~cart:* ", b"~cart:* &news ", (), (), ("shop",)),
        (b"+@read", b"+@write", (), (), ("shop",)),
        (b"USER shop", b"USER store", ("store",), ("shop",), ()),
    ],
)
def test_a_change_of_the_file_is_told_by_whom_it_is_about(
    was: bytes, becomes: bytes, wrong: Any, extra: Any, rules: Any
) -> None:
    found = difference(users_of_file(FILE.replace(was, becomes)), users_of_list(LIST))
    assert (found.wrong, found.extra, found.rules) == (wrong, extra, rules)
    assert found.is_of_entry is bool(wrong or extra)


def test_rules_that_say_the_same_in_other_words_are_the_same() -> None:
    one = users_of_file(b"USER a ON >x >y <y allkeys allchannels allcommands")
    other = users_of_file(
        f"USER a on #{digits_of(b'x')}{'0' * 49} %RW~* &* -@read nocommands +@all".encode().replace(
            b"-@read nocommands +@all", b"nocommands +@all"
        )
    )
    assert one["a"] == other["a"]
    assert one["a"].commands == ("+@all",)
    assert users_of_file(b"USER a ON >x resetpass nopass resetkeys")["a"].needs_no_password
    assert not users_of_file(b"USER a ON nopass >x ~a resetkeys")["a"].keys


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "names nobody"),
        (b"\n\n", "names nobody"),
        (b"USER shop ON", "line 1"),
        (b"\nshop ON >x +@all", "line 2"),
        (b"USER a ON >x +@all\nUSER b ON " + HIDDEN.encode() + b" +@all", "line 2: word 4"),
    ],
)
def test_a_file_that_no_instance_takes_is_refused_by_its_line_alone(
    content: bytes, told: str
) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        users_of_file(content)
    assert HIDDEN not in str(caught.value)


def test_with_tls_the_operator_may_look_at_the_certificate_that_is_served() -> None:
    def let_in_at_the_data_port(**fields: Any) -> list[Any]:
        policy: Any
        (policy,) = network_policy(spec(**fields), Owner("cache", "shop", "u"), "operators")
        rules = policy["spec"]["ingress"]
        return [rule["from"] for rule in rules if rule["ports"][0]["port"] == names.DATA_PORT]

    assert let_in_at_the_data_port() == [({"podSelector": {}},)]
    with_tls = let_in_at_the_data_port(tlsSecretRef={"name": "tls"})
    assert with_tls == [({"podSelector": {}},), [peer_of_operator("operators")]]
