"""INFO and ROLE become fields, and nothing that an instance says can raise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.core.model import Address
from everfly.wire.info import (
    PrimaryRole,
    ReplicaOfRole,
    ReplicaRole,
    SentinelRole,
    parse_fields,
    parse_info,
    parse_role,
)
from everfly.wire.resp import Reply

DRAGONFLY = (
    b"# Server\r\nredis_version:7.4.0\r\ndragonfly_version:df-dev\r\nos:Linux 6.18.44 x86_64\r\n"
    b"\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n"
    b"slave0:ip=127.0.0.1,port=27380,state=online,lag=0\r\n"
    b"slave1:ip=::1,port=27381,state=online,lag=0\r\n"
    b"master_replid:72d411e4938eeddc07a7d271d769d277d217d812\r\n"
)


def test_fields_keep_their_text_behind_the_first_colon() -> None:
    fields = parse_info(DRAGONFLY)
    assert fields["role"] == "master"
    assert fields["os"] == "Linux 6.18.44 x86_64"
    assert fields["slave1"] == "ip=::1,port=27381,state=online,lag=0"
    assert len(fields) == 8


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (b"", {}),
        (b"role:master\r\nrole:slave\r\n", {"role": "slave"}),
        (b"# note: this\r\na:b", {"a": "b"}),
        (b"a:\r\nb\r\n:c\r\nd:e:f", {"a": "", "": "c", "d": "e:f"}),
        (b"role:mas", {"role": "mas"}),
        (b"name:\xff\xc3\xa9\r\n", {"name": "\udcff\u00e9"}),
    ],
)
def test_odd_text_gives_what_is_in_it(text: bytes, fields: dict[str, str]) -> None:
    assert parse_info(text) == fields


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (
            "ip=10.0.0.7,port=6379,state=online",
            {"ip": "10.0.0.7", "port": "6379", "state": "online"},
        ),
        ("10.0.0.7,6379,online", {"ip": "10.0.0.7", "port": "6379", "state": "online"}),
        ("10.0.0.7,6379", {"ip": "10.0.0.7", "port": "6379"}),
        ("ip=::1,port=1", {"ip": "::1", "port": "1"}),
        ("ip=a,ip=b,x,=,k=v=w", {"ip": "a", "": "", "k": "v=w"}),
        ("", {}),
        ("nothing", {}),
    ],
)
def test_parts_of_a_value_have_names(value: str, fields: dict[str, str]) -> None:
    assert parse_fields(value) == fields


REPLICA = ReplicaOfRole(Address("10.0.0.7", 6380), 42, "")


@pytest.mark.parametrize(
    ("reply", "role"),
    [
        ([b"master", 99, [[b"10.0.0.7", b"6380", b"42"]]], PrimaryRole(99, (REPLICA,))),
        ([b"master", 0, []], PrimaryRole(0, ())),
        (
            [b"master", [[b"::1", b"6380", b"online"]]],
            PrimaryRole(None, (ReplicaOfRole(Address("::1", 6380), None, "online"),)),
        ),
        (
            [b"slave", b"10.0.0.7", 6380, b"connected", 42],
            ReplicaRole(Address("10.0.0.7", 6380), "connected", 42),
        ),
        (
            [b"slave", b"10.0.0.7", 6380, b"connect", -1],
            ReplicaRole(Address("10.0.0.7", 6380), "connect", None),
        ),
        (
            [b"replica", b"host", b"6380", b"online"],
            ReplicaRole(Address("host", 6380), "online", None),
        ),
        ([b"sentinel", [b"a", b"b", 3]], SentinelRole(("a", "b"))),
        ([b"master", 1, [[b"", b"6380", b"1"], [b"h", b"0", b"1"], [b"h"], 7]], PrimaryRole(1, ())),
        ([b"slave", b"host", b"99999", b"online"], None),
        ([b"slave"], None),
        ([], None),
        (b"master", None),
        (None, None),
    ],
)
def test_roles_of_every_engine_are_understood(reply: Reply, role: object) -> None:
    assert parse_role(reply) == role


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=8)
    | st.sampled_from([b"master", b"slave", b"sentinel", b"6379"]),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=10,
)


@given(VALUES, st.binary(max_size=200), st.text(max_size=100))
def test_nothing_that_an_instance_says_raises(reply: Reply, text: bytes, value: str) -> None:
    parse_role(reply)
    parse_info(text)
    parse_fields(value)


@given(st.text(alphabet="ab:#\r\n", max_size=60))
def test_info_is_split_as_a_sentinel_splits_it(text: str) -> None:
    expected: dict[str, str] = {}
    for line in text.split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            expected[name] = value
    assert parse_info(text.encode()) == expected
