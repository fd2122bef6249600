"""What an instance answers becomes values, wherever the network cut it, and back."""

import math
from itertools import pairwise
from typing import Literal

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.wire.resp import (
    NEED_MORE,
    NULL_ARRAY,
    ErrorReply,
    ProtocolError,
    Push,
    Reply,
    ReplyParser,
    SimpleString,
    Value,
    encode_reply,
)

LINE = st.text(alphabet=st.characters(blacklist_characters="\r\n", codec="utf-8"), max_size=12)
INTEGER = st.integers(-(2**63), 2**63 - 1)
SCALAR = st.one_of(
    LINE.map(SimpleString),
    LINE.map(ErrorReply),
    INTEGER,
    st.binary(max_size=30),
    st.none(),
    st.booleans(),
    st.floats(),
)
KEY = st.binary(max_size=8)
NESTED = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=12,
)
REPLIES = st.lists(NESTED | st.lists(NESTED, max_size=3).map(Push), max_size=5)
CUTS = st.lists(st.integers(0, 500), max_size=8)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(borders)]


def replies_of(pieces: list[bytes], parser: ReplyParser | None = None) -> list[Reply]:
    parser = parser or ReplyParser()
    replies: list[Reply] = []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next_reply()) is not NEED_MORE:
            replies.append(reply)
    return replies


def shape(value: object) -> object:
    """Return a value that differs when the types do, and equals itself when it is not a number."""
    match value:
        case Push():
            return ("push", [shape(item) for item in value])
        case list():
            return [shape(item) for item in value]
        case dict():
            return {key: shape(item) for key, item in value.items()}
        case float():
            return ("double", "nan" if math.isnan(value) else value, math.copysign(1, value))
        case _:
            return (type(value).__name__, value)


@given(REPLIES, CUTS)
def test_replies_of_resp3_come_out_as_they_went_in(values: list[Value], cuts: list[int]) -> None:
    stream = b"".join(encode_reply(value, 3) for value in values)
    got = replies_of(cut(stream, cuts))
    assert [shape(value) for value in got if not is_nan(value)] == [
        shape(value) for value in values if not is_nan(value)
    ]
    assert len(got) == len(values)


def is_nan(value: object) -> bool:
    """The sign of a NaN does not travel."""
    return "nan" in repr(value)


def test_a_nan_travels_alone() -> None:
    (got,) = replies_of([encode_reply(math.nan, 3)])
    assert isinstance(got, float)
    assert math.isnan(got)


def from_hiredis(value: object) -> object:
    match value:
        case hiredis.ReplyError():
            return ErrorReply(str(value))
        case list():
            return [from_hiredis(item) for item in value]
        case dict():
            return {key: from_hiredis(item) for key, item in value.items()}
        case _:
            return value


@given(REPLIES, st.sampled_from([2, 3]), CUTS)
def test_the_parser_agrees_with_hiredis(
    values: list[Value], protocol: Literal[2, 3], cuts: list[int]
) -> None:
    values = [value for value in values if not is_nan(value)]
    stream = b"".join(encode_reply(value, protocol) for value in values)
    reader = hiredis.Reader(notEnoughData=NEED_MORE)
    expected = []
    for piece in cut(stream, cuts):
        reader.feed(piece)
        while (reply := reader.gets()) is not NEED_MORE:
            expected.append(from_hiredis(reply))
    assert replies_of(cut(stream, cuts)) == expected


@pytest.mark.parametrize(
    ("stream", "reply"),
    [
        (b"+PONG\r\n", SimpleString("PONG")),
        (b"-NOAUTH Authentication required.\r\n", ErrorReply("NOAUTH Authentication required.")),
        (b":-7\r\n", -7),
        (b":+7\r\n", 7),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"_\r\n", None),
        (b"$0\r\n\r\n", b""),
        (b"=7\r\ntxt:abc\r\n", b"abc"),
        (b"!5\r\nERR x\r\n", ErrorReply("ERR x")),
        (b"(-123456789012345678901234567890\r\n", -123456789012345678901234567890),
        (b",-inf\r\n", -math.inf),
        (b",1e5\r\n", 100000.0),
        (b"#f\r\n", False),
        (b"~2\r\n:1\r\n:2\r\n", [1, 2]),
        (b">2\r\n+a\r\n:2\r\n", Push([SimpleString("a"), 2])),
        (b"%2\r\n+a\r\n*0\r\n:1\r\n_\r\n", {b"a": [], 1: None}),
        (b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n", b"x"),
        (b"*2\r\n|0\r\n:1\r\n|1\r\n:1\r\n*1\r\n:9\r\n:2\r\n", [1, 2]),
    ],
)
def test_each_type_has_its_value(stream: bytes, reply: Reply) -> None:
    (got,) = replies_of([stream])
    assert shape(got) == shape(reply)


@pytest.mark.parametrize(
    "stream",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b":\r\n",
        b":1_0\r\n",
        b": 1\r\n",
        b":9223372036854775808\r\n",
        b"$x\r\n",
        b"$-2\r\n",
        b"$?\r\n",
        b"$1\r\nabc\r\n",
        b"*-2\r\n",
        b"%-1\r\n",
        b"%1\r\n*0\r\n:1\r\n",
        b"%1\r\n%0\r\n:1\r\n",
        b"#x\r\n",
        b"_x\r\n",
        b",\r\n",
        b",1_0\r\n",
        b"=3\r\nabc\r\n",
        b"*1\r\n>0\r\n",
        b"+" + b"x" * 70_000,
        b"*1\r\n" * 33 + b":1\r\n",
        b"*1048577\r\n",
        b"$67108865\r\n",
        b"(" + b"1" * 5000 + b"\r\n",
    ],
)
def test_what_is_no_resp_or_too_large_is_refused(stream: bytes) -> None:
    parser = ReplyParser()
    for _ in range(2):
        parser.feed(stream)
        with pytest.raises(ProtocolError):
            parser.next_reply()


def test_limits_hold_for_a_whole_reply() -> None:
    with pytest.raises(ProtocolError, match="more than 10 values"):
        replies_of([b"*2\r\n" + (b"*5\r\n" + b":1\r\n" * 5) * 2], ReplyParser(max_elements=10))
    with pytest.raises(ProtocolError, match="limit of 3"):
        replies_of([b"$4\r\n"], ReplyParser(max_bulk=3))
    with pytest.raises(ProtocolError, match="more than 2 deep"):
        replies_of([b"*1\r\n" * 3], ReplyParser(max_depth=2))
    # The count begins anew with each reply.
    parser = ReplyParser(max_elements=3)
    assert replies_of([b"*2\r\n:1\r\n:2\r\n" * 5], parser) == [[1, 2]] * 5


@given(st.binary(max_size=200) | st.text(alphabet="*$-%>|~_#,:+01\r\n", max_size=60), CUTS)
def test_any_bytes_give_replies_or_a_protocol_error(noise: bytes | str, cuts: list[int]) -> None:
    stream = noise.encode() if isinstance(noise, str) else noise

    def outcome(pieces: list[bytes]) -> object:
        parser, replies = ReplyParser(), []
        try:
            for piece in pieces:
                parser.feed(piece)
                while (reply := parser.next_reply()) is not NEED_MORE:
                    replies.append(shape(reply))
        except ProtocolError as error:
            return replies, str(error)
        return replies, ""

    assert outcome(cut(stream, cuts)) == outcome([stream])


def test_bytes_one_by_one_cost_as_much_as_their_number() -> None:
    parser = ReplyParser()
    stream = encode_reply(["x" * 200_000, SimpleString("y" * 60_000), 5], 3)
    for start in range(0, len(stream), 2):
        assert parser.next_reply() is NEED_MORE
        parser.feed(stream[start : start + 2])
    assert parser.next_reply() == [b"x" * 200_000, b"y" * 60_000, 5]


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        (SimpleString("OK"), b"+OK\r\n", b"+OK\r\n"),
        (SimpleString("a\r\nb"), b"+a  b\r\n", b"+a  b\r\n"),
        (ErrorReply("ERR bad\nthing"), b"-ERR bad thing\r\n", b"-ERR bad thing\r\n"),
        ("text", b"$4\r\ntext\r\n", b"$4\r\ntext\r\n"),
        (b"\xff\r\n", b"$3\r\n\xff\r\n\r\n", b"$3\r\n\xff\r\n\r\n"),
        (None, b"$-1\r\n", b"_\r\n"),
        (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
        (5, b":5\r\n", b":5\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        (math.inf, b"$3\r\ninf\r\n", b",inf\r\n"),
        (2**64, b"$20\r\n18446744073709551616\r\n", b"(18446744073709551616\r\n"),
        ([1, ("a",)], b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n"),
        ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (Push([b"message"]), b"*1\r\n$7\r\nmessage\r\n", b">1\r\n$7\r\nmessage\r\n"),
    ],
)
def test_values_are_encoded_for_each_protocol(value: Value, resp2: bytes, resp3: bytes) -> None:
    assert encode_reply(value, 2) == resp2
    assert encode_reply(value, 3) == resp3


def test_an_error_tells_its_code() -> None:
    assert ErrorReply("NOAUTH Authentication required.").code == "NOAUTH"
    assert ErrorReply("").code == ""
    assert ErrorReply("a") != SimpleString("a")


MESSAGES = {
    "plain": b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n",
    "empty": b"*3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n",
    "line ends inside": b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$7\r\nab\r\ncde\r\n",
    "long": b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1000\r\n" + 1000 * b"x" + b"\r\n",
    "other kinds of elements": b"*3\r\n$7\r\nmessage\r\n:4\r\n+hello\r\n",
}


@pytest.mark.parametrize("stream", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_message_of_a_channel_is_the_same_however_it_is_cut(stream: bytes) -> None:
    oracle = hiredis.Reader()
    oracle.feed(stream)
    expected = oracle.gets()
    for place in range(len(stream)):
        twice = [stream[:place], stream[place:] + stream]
        assert replies_of(twice) == [expected, expected]


def test_a_message_inside_of_another_reply_stays_there() -> None:
    inner = MESSAGES["plain"]
    message = [b"message", b"news", b"hello"]
    assert replies_of([b"*2\r\n" + inner + b":1\r\n"]) == [[message, 1]]
    assert replies_of([b"*2\r\n:1\r\n", inner]) == [[1, message]]


@pytest.mark.parametrize(
    "stream",
    [
        b"*3\r\n$7\r\nmessage\r\n$3\r\nnews\r\n$5\r\nhello\r\n",
        b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$4\r\nhello\r\n",
    ],
    ids=["channel", "payload"],
)
def test_a_message_whose_length_is_wrong_is_refused(stream: bytes) -> None:
    with pytest.raises(ProtocolError):
        replies_of([stream])


@pytest.mark.parametrize(
    "limits",
    [{"max_bulk": 4}, {"max_elements": 3}, {"max_depth": 0}],
    ids=str,
)
def test_a_message_beyond_a_limit_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ProtocolError):
        replies_of([MESSAGES["plain"]], ReplyParser(**limits))
