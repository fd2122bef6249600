"""A hello is believed only when each of its eight fields can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.core.model import Address, Epoch, GroupName, Hello, RunId
from everfly.errors import LocalError, RemoteError
from everfly.wire.hello import format_hello, parse_hello

RUN_ID = "3a8a5cb5d1d1c3cf2a4eb0f3b5dba5b08bb23b7a"
GENUINE = f"127.0.0.1,26379,{RUN_ID},5,my master,127.0.0.2,6379,4".encode()
HELLO = Hello(
    Address("127.0.0.1", 26379),
    RunId(RUN_ID),
    Epoch(5),
    GroupName("my master"),
    Address("127.0.0.2", 6379),
    Epoch(4),
)


def test_a_hello_is_read_and_written_as_redis_does() -> None:
    assert parse_hello(GENUINE) == HELLO
    assert format_hello(HELLO) == GENUINE


def test_addresses_may_be_ipv6_or_names() -> None:
    payload = f"::1,1,{RUN_ID},0,g,redis.example,65535,9223372036854775807".encode()
    hello = parse_hello(payload)
    assert hello.sender == Address("::1", 1)
    assert hello.primary.host == "redis.example"
    assert format_hello(hello) == payload


HOST = st.from_regex(r"\A[!-+\--~]{1,40}\Z")
EPOCH = st.integers(0, 2**63 - 1).map(Epoch)
HELLOS = st.builds(
    Hello,
    st.builds(Address, HOST, st.integers(1, 65535)),
    st.from_regex(r"\A[0-9a-f]{40}\Z").map(RunId),
    EPOCH,
    st.text(
        st.characters(blacklist_categories=["Cc", "Cs"], blacklist_characters=","),
        min_size=1,
        max_size=50,
    ).map(GroupName),
    st.builds(Address, HOST, st.integers(1, 65535)),
    EPOCH,
)


@given(HELLOS)
def test_every_hello_comes_back(hello: Hello) -> None:
    assert parse_hello(format_hello(hello)) == hello


@pytest.mark.parametrize(
    ("position", "field"),
    [
        (0, ""),
        (0, "a b"),
        (0, "a\n"),
        (0, "a" * 256),
        (1, "0"),
        (1, "65536"),
        (1, "-1"),
        (1, "26379x"),
        (1, " 26379"),
        (1, "٣"),
        (2, ""),
        (2, "a b"),
        (2, "a" * 65),
        (3, "-1"),
        (3, ""),
        (3, "9223372036854775808"),
        (3, "1" * 30),
        (4, ""),
        (4, "a\rb"),
        (4, "a\x7fb"),
        (5, ""),
        (6, "70000"),
        (7, "x"),
        (7, "1,2"),
    ],
)
def test_a_field_that_cannot_be_is_refused(position: int, field: str) -> None:
    fields = GENUINE.decode().split(",")
    fields[position] = field
    with pytest.raises(RemoteError, match="a hello has"):
        parse_hello(",".join(fields).encode())


@pytest.mark.parametrize("payload", [b"", b"a,b", GENUINE + b",9", GENUINE.rpartition(b",")[0]])
def test_a_hello_has_eight_fields(payload: bytes) -> None:
    with pytest.raises(RemoteError, match="instead of 8"):
        parse_hello(payload)


def test_a_hello_is_bounded() -> None:
    with pytest.raises(RemoteError, match="above 1070"):
        parse_hello(GENUINE + b"x" * 1000)


def test_what_nobody_could_read_is_never_sent() -> None:
    for name in ("a,b", "", "a\nb"):
        hello = Hello(
            HELLO.sender, HELLO.sender_run_id, Epoch(0), GroupName(name), HELLO.primary, Epoch(0)
        )
        with pytest.raises(LocalError, match="cannot say hello"):
            format_hello(hello)


@given(st.binary(max_size=200) | st.text(alphabet="0123,a.:-", max_size=80).map(str.encode))
def test_any_bytes_are_a_hello_or_refused(payload: bytes) -> None:
    try:
        hello = parse_hello(payload)
    except RemoteError:
        return
    assert parse_hello(format_hello(hello)) == hello
