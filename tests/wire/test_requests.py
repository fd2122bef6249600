"""What a client sends becomes commands, wherever the network cut it; limits are those of Redis."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.errors import RemoteError
from everfly.wire.resp import (
    HttpRequest,
    ProtocolError,
    RequestParser,
    encode_command,
    encode_reply,
    split_args,
)

COMMANDS = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=6), max_size=6)
CUTS = st.lists(st.integers(0, 400), max_size=8)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(borders)]


def commands_of(pieces: list[bytes], parser: RequestParser | None = None) -> list[list[bytes]]:
    parser = parser or RequestParser()
    commands = []
    for piece in pieces:
        parser.feed(piece)
        while (command := parser.next_command()) is not None:
            commands.append(command)
    return commands


def error_of(stream: bytes, *, is_authenticated: bool = True) -> str:
    parser = RequestParser()
    parser.is_authenticated = is_authenticated
    with pytest.raises(ProtocolError) as caught:
        commands_of([stream], parser)
    return caught.value.message


@given(COMMANDS, CUTS)
def test_encoded_commands_come_out_as_they_went_in(
    commands: list[list[bytes]], cuts: list[int]
) -> None:
    commands = [command for command in commands if command[0].lower() not in (b"post", b"host:")]
    stream = b"".join(encode_command(*command) for command in commands)
    assert commands_of(cut(stream, cuts)) == commands


@given(st.binary(max_size=200) | st.text(alphabet="*$-0123\r\n \"'ab", max_size=60), CUTS)
def test_the_place_of_cuts_never_changes_the_outcome(noise: bytes | str, cuts: list[int]) -> None:
    stream = noise.encode() if isinstance(noise, str) else noise

    def outcome(pieces: list[bytes]) -> tuple[list[list[bytes]], str]:
        parser, commands = RequestParser(), []
        try:
            for piece in pieces:
                parser.feed(piece)
                while (command := parser.next_command()) is not None:
                    commands.append(command)
        except RemoteError as error:
            return commands, str(error)
        return commands, ""

    expected = outcome([stream])
    assert outcome(cut(stream, cuts)) == expected
    assert outcome([bytes([byte]) for byte in stream]) == expected


WORDS = st.one_of(st.from_regex(rb"[A-Za-z0-9_:,.]{1,30}", fullmatch=True), st.binary(max_size=120))
WRONG = st.one_of(st.just(0), st.just(0), st.just(0), st.integers(-2, 2))


@given(st.lists(st.tuples(st.tuples(WORDS, WORDS, WORDS), WRONG, st.booleans()), max_size=4))
def test_three_words_at_once_are_read_as_they_are_byte_by_byte(
    triples: list[tuple[tuple[bytes, bytes, bytes], int, bool]],
) -> None:
    """PUBLISH takes a short way through the parser, also with lengths that are wrong."""
    stream = b""
    for words, wrong, is_padded in triples:
        stream += b"*3\r\n"
        for word in words:
            digits = b"%d" % max(0, len(word) + wrong)
            stream += b"$%b\r\n%b\r\n" % (b"0" + digits if is_padded and wrong else digits, word)
    outcomes = []
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        commands: list[list[bytes]] = []
        parser = RequestParser()
        error = ""
        try:
            for piece in pieces:
                parser.feed(piece)
                while (command := parser.next_command()) is not None:
                    commands.append(command)
        except RemoteError as fault:
            error = repr(fault)
        outcomes.append((commands, error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("stream", "commands"),
    [
        (b"PING\r\n", [[b"PING"]]),
        (b"PING\n", [[b"PING"]]),
        (b"  PING  \r\n", [[b"PING"]]),
        (b"\r\n   \r\nPING\r\n", [[b"PING"]]),
        (b"*0\r\n*-1\r\n*-2147483649\r\nPING\r\n", [[b"PING"]]),
        (b'"PING" x\r\n', [[b"PING", b"x"]]),
        (b'ping "\\x41\\n"\r\n', [[b"ping", b"A\n"]]),
        (b"PING 'a\\'b' \"\"\r\n", [[b"PING", b"a'b", b""]]),
        (b'PING a"b"\r\n', [[b"PING", b"ab"]]),
        (b"PING\rx\r\n", [[b"PING", b"x"]]),
        (b"*1\r\n$0\r\n\r\n", [[b""]]),
        # Whatever stands in the place of CRLF behind an argument is skipped.
        (b"*1\r\n$4\r\nPINGxxPING\r\n", [[b"PING"], [b"PING"]]),
        (b"GET / HTTP/1.1\r\n", [[b"GET", b"/", b"HTTP/1.1"]]),
        (b"*2147483647\r\n$4\r\nPING\r\n", []),
        (b"*1\r\n$536870912\r\nPING\r\n", []),
    ],
)
def test_requests_are_read_as_redis_reads_them(stream: bytes, commands: list[list[bytes]]) -> None:
    assert commands_of([stream]) == commands


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"*1\r\n:5\r\n", "expected '$', got ':'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\xff\r\n", "expected '$', got '\udcff'"),
        (b"*abc\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*-\r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*1 \r\n", "invalid multibulk length"),
        (b"*1\n$4\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*-9223372036854775809\r\n", "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$abc\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b'PING "a\r\n', "unbalanced quotes in request"),
        (b"'PI'NG\r\n", "unbalanced quotes in request"),
        (b"A" * 65537, "too big inline request"),
        (b"*" + b"1" * 65536, "too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 65536, "too big bulk count string"),
    ],
)
def test_errors_have_the_words_of_redis(stream: bytes, message: str) -> None:
    assert error_of(stream) == f"Protocol error: {message}"


@pytest.mark.parametrize("stream", [b"A" * 65536, b"*" + b"1" * 65535, b"*1\r\n$" + b"1" * 65535])
def test_a_line_of_64_kib_is_not_too_long_yet(stream: bytes) -> None:
    assert commands_of([stream]) == []


def test_before_authentication_the_limits_are_small() -> None:
    assert error_of(b"*11\r\n", is_authenticated=False) == (
        "Protocol error: unauthenticated multibulk length"
    )
    assert error_of(b"*1\r\n$16385\r\n", is_authenticated=False) == (
        "Protocol error: unauthenticated bulk length"
    )
    parser = RequestParser()
    parser.is_authenticated = False
    largest = [[b"x" * 16384] * 10]
    assert commands_of([encode_command(*largest[0])], parser) == largest


def test_authentication_counts_from_the_next_command_on() -> None:
    parser = RequestParser()
    parser.is_authenticated = False
    parser.feed(encode_command("AUTH", "p") + encode_command(*["x"] * 11))
    assert parser.next_command() == [b"AUTH", b"p"]
    parser.is_authenticated = True
    assert parser.next_command() == [b"x"] * 11


@pytest.mark.parametrize(
    "stream", [b"POST / HTTP/1.1\r\n", b"post x\r\n", b"Host: a\r\n", encode_command("HOST:")]
)
def test_http_is_told_from_commands(stream: bytes) -> None:
    with pytest.raises(HttpRequest):
        commands_of([stream])


def test_a_failed_parser_repeats_its_error_and_keeps_nothing() -> None:
    parser = RequestParser()
    parser.feed(b"*x\r\n")
    for _ in range(3):
        with pytest.raises(ProtocolError, match="invalid multibulk length"):
            parser.next_command()
        parser.feed(b"PING\r\n" * 1000)
        assert parser.held_bytes == 0


def test_an_announced_argument_costs_no_memory_until_it_comes() -> None:
    parser = RequestParser()
    tracemalloc.start()
    parser.feed(b"*2147483647\r\n$536870912\r\n" + b"x" * 1000)
    assert parser.next_command() is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert 1000 <= parser.held_bytes < 2000


def test_what_an_unfinished_command_holds_can_be_asked() -> None:
    parser = RequestParser()
    parser.feed(b"*2147483647\r\n" + b"$0\r\n\r\n" * 1000)
    assert parser.next_command() is None
    assert parser.held_bytes >= 40_000
    parser.feed(b"$5\r\nabc")
    assert parser.next_command() is None
    assert parser.held_bytes >= 40_003


def test_bytes_one_by_one_cost_as_much_as_their_number() -> None:
    # A parser that looks at everything again for each byte would need minutes here.
    parser = RequestParser()
    large = b"x" * 300_000
    for start in range(0, len(large), 3):
        if start == 0:
            parser.feed(b"*2\r\n$4\r\nECHO\r\n$300000\r\n")
        assert parser.next_command() is None
        parser.feed(large[start : start + 3])
    parser.feed(b"\r\n")
    assert parser.next_command() == [b"ECHO", large]
    for _ in range(65_000):
        parser.feed(b"a")
        assert parser.next_command() is None
    parser.feed(b"\n")
    assert parser.next_command() == [b"a" * 65_000]
    assert parser.held_bytes == 0


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (b"", []),
        (b" \t ", []),
        (b"a  b", [b"a", b"b"]),
        (b'"\\x4a\\xzz\\n\\r\\t\\b\\a\\q\\\\"', [b"J" + b"xzz\n\r\t\b\aq\\"]),
        (b"'\\n' '\\''", [b"\\n", b"'"]),
        (b'"a b"\t\'c "d\'', [b"a b", b'c "d']),
        (b"a\\b \\", [b"a\\b", b"\\"]),
        (b'""', [b""]),
        (b"a\x0bb", [b"a\x0bb"]),
        (b"\x0b\x0ca", [b"a"]),
        (b'"a', None),
        (b'"a\\"', None),
        (b"'a\\'", None),
        (b'"a"b', None),
        (b"'a''b'", None),
        (b'x"y" "', None),
    ],
)
def test_lines_split_as_redis_splits_them(line: bytes, arguments: list[bytes] | None) -> None:
    assert split_args(line) == arguments


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_quoted_arguments_split_back(arguments: list[bytes]) -> None:
    line = b" ".join(
        b'"' + b"".join(b"\\x%02x" % byte for byte in argument) + b'"' for argument in arguments
    )
    assert split_args(line) == arguments


@given(st.binary(max_size=300))
def test_any_line_splits_or_is_unbalanced(line: bytes) -> None:
    arguments = split_args(line)
    assert arguments is None or all(isinstance(argument, bytes) for argument in arguments)


def test_a_long_line_of_quotes_splits_at_once() -> None:
    assert split_args(b'"' * 60_001) is None
    assert split_args(b'"' + b"\\" * 60_001) is None
    assert split_args(b'"" ' * 20_000) == [b""] * 20_000


def test_commands_take_text_bytes_and_numbers() -> None:
    assert encode_command("SET", b"\xff", 7, "é") == (
        b"*4\r\n$3\r\nSET\r\n$1\r\n\xff\r\n$1\r\n7\r\n$2\r\n\xc3\xa9\r\n"
    )
    assert encode_reply("\udcff", 2) == b"$1\r\n\xff\r\n"
