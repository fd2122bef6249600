"""What an instance refuses, cuts off or garbles is told as it is, and nothing is done twice."""

import threading
import time

import pytest

from planes import WITHIN_S, Endpoint, error_text, is_closed, receive_raw, replies, send_raw
from processes import until
from scripted_instance import HOST, Script, ScriptedInstance, Words

LOADING = b"-LOADING Dragonfly is loading the dataset in memory\r\n"
LONG_MS = 60_000


def by_name(**answers: bytes | None) -> Script:
    """Answer by the name of the command; PONG, as it were, to all others."""

    def script(words: Words) -> bytes | None:
        return answers.get(words[0].decode().upper(), b"+PONG\r\n")

    return script


def follow(endpoint: Endpoint, instance: ScriptedInstance, epoch: int) -> None:
    assert endpoint.plane.set_primary(HOST, instance.port, epoch)


def test_a_refusal_followed_by_a_write_is_told_and_not_made_good() -> None:
    script = by_name(INCR=b":1\r\n", DECR=LOADING, GET=b"$1\r\n1\r\n")
    with (
        ScriptedInstance(script) as one,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        assert client.call("INCR", "a") == 1
        for words in (("INCR", "a"), ("DECR", "b"), ("GET", "c"), ("DECR", "d"), ("INCR", "e")):
            client.send(*words)
        assert client.receive() == 1
        assert error_text(client.receive()).startswith("LOADING Dragonfly")
        assert client.receive() == b"1"
        assert error_text(client.receive()).startswith("LOADING Dragonfly")
        assert client.receive() == 1
        assert len(one.heard(b"DECR")) == 2


def test_reads_behind_a_refusal_are_asked_again_behind_it() -> None:
    with (
        ScriptedInstance(by_name(SET=LOADING, GET=b"$3\r\nold\r\n", ROLE=LOADING)) as one,
        ScriptedInstance(by_name(SET=b"+OK\r\n", GET=b"$3\r\nnew\r\n")) as two,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        for words in (("GET", "a"), ("SET", "a", "new"), ("GET", "a"), ("GET", "b")):
            client.send(*words)
        assert client.receive() == b"old"
        endpoint.wait_for("held", 1)
        follow(endpoint, two, 2)
        assert replies(client, 3) == [b"OK", b"new", b"new"]
        assert [words[0] for words in two.heard(b"SET", b"GET")] == [b"SET", b"GET", b"GET"]


def test_a_transaction_that_was_refused_in_parts_is_made_good_whole() -> None:
    refuses = by_name(
        MULTI=b"+OK\r\n",
        GET=b"+QUEUED\r\n",
        INCR=b"-READONLY You can't write against a read only replica.\r\n",
        EXEC=b"-EXECABORT Transaction discarded because of previous errors.\r\n",
        ROLE=b"*1\r\n$5\r\nslave\r\n",
    )
    executes = by_name(
        MULTI=b"+OK\r\n",
        GET=b"+QUEUED\r\n",
        INCR=b"+QUEUED\r\n",
        EXEC=b"*3\r\n$1\r\n1\r\n:2\r\n$1\r\n2\r\n",
    )
    words = [("MULTI",), ("GET", "a"), ("INCR", "a"), ("GET", "a"), ("EXEC",)]
    with (
        ScriptedInstance(refuses) as one,
        ScriptedInstance(executes) as two,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        for each in words:
            client.send(*each)
        assert replies(client, 2) == [b"OK", b"QUEUED"]
        endpoint.wait_for("held", 1)
        follow(endpoint, two, 2)
        assert replies(client, 3) == [b"QUEUED", b"QUEUED", [b"1", 2, b"2"]]
        sent = two.heard(b"MULTI", b"GET", b"INCR", b"EXEC")
        assert sent == [[word.encode() for word in each] for each in words]


def test_refusals_at_the_end_of_a_pipeline_are_made_good_in_order() -> None:
    with (
        ScriptedInstance(by_name(INCR=b":1\r\n", DECR=LOADING, ROLE=LOADING)) as one,
        ScriptedInstance(by_name(DECR=b":2\r\n", GET=b"$1\r\n2\r\n")) as two,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        for words in (("INCR", "a"), ("DECR", "b"), ("DECR", "c")):
            client.send(*words)
        assert client.receive() == 1
        endpoint.wait_for("held", 1)
        client.send("GET", "d")
        follow(endpoint, two, 2)
        assert replies(client, 3) == [2, 2, b"2"]
        assert two.heard(b"DECR", b"GET") == [[b"DECR", b"b"], [b"DECR", b"c"], [b"GET", b"d"]]
        assert endpoint.stat("refused_hidden") == 2


def test_a_refused_client_is_answered_by_loading_when_the_window_is_over() -> None:
    with (
        ScriptedInstance(by_name(SET=LOADING, GET=LOADING, ROLE=LOADING)) as one,
        Endpoint(None, hold={"window_ms": 200}) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        client.send("SET", "a", "1")
        client.send("GET", "a")
        for reply in replies(client, 2):
            assert error_text(reply) == "LOADING everfly: no primary within 200 ms, try again"


def test_a_takeover_that_ends_a_blocking_command_early_does_not_end_it_for_the_client() -> None:
    taken_over = threading.Event()

    def dragonfly(words: Words) -> bytes:
        """Wait for keys until it is taken over, and know no CLIENT UNBLOCK."""
        if words[0] == b"BLPOP":
            assert taken_over.wait(WITHIN_S)
            return b"*-1\r\n"
        if words[:2] == [b"CLIENT", b"UNBLOCK"]:
            return b"-ERR unknown subcommand 'UNBLOCK'. Try CLIENT HELP.\r\n"
        return b":7\r\n"

    with (
        ScriptedInstance(dragonfly) as one,
        ScriptedInstance(by_name(BLPOP=b"*2\r\n$1\r\nl\r\n$1\r\ne\r\n")) as two,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        began = time.monotonic()
        client.send("BLPOP", "l", "50")
        until(lambda: one.heard(b"BLPOP"), WITHIN_S)
        endpoint.plane.hold("test", LONG_MS)
        taken_over.set()
        assert endpoint.plane.drained(5000)
        follow(endpoint, two, 2)
        endpoint.plane.release()
        assert client.receive() == [b"l", b"e"]
        (again,) = two.heard(b"BLPOP")
        left = float(again[2])
        assert 50 - (time.monotonic() - began) - 0.01 <= left < 50


def test_a_null_is_passed_on_while_nothing_is_held() -> None:
    with (
        ScriptedInstance(by_name(BLPOP=b"*-1\r\n", CLIENT=b":7\r\n")) as one,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        assert client.call("BLPOP", "l", "50") is None
        assert len(one.heard(b"BLPOP")) == 1


def test_what_follows_a_blocking_command_is_sent_when_that_is_answered() -> None:
    goes_on = threading.Event()

    def script(words: Words) -> bytes:
        if words[0] == b"BLPOP":
            assert goes_on.wait(WITHIN_S)
            return b"*2\r\n$1\r\nl\r\n$1\r\ne\r\n"
        return b":7\r\n" if words[0] == b"CLIENT" else b"+done\r\n"

    with (
        ScriptedInstance(script) as one,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
        endpoint.connect() as other,
    ):
        follow(endpoint, one, 1)
        client.send("BLPOP", "l", "0")
        client.send("SET", "a", "1")
        until(lambda: one.heard(b"BLPOP"), WITHIN_S)
        assert other.call("GET", "a") == b"done"
        assert not one.heard(b"SET")
        goes_on.set()
        assert replies(client, 2) == [[b"l", b"e"], b"done"]


def test_an_instance_that_closes_every_connection_is_not_stormed() -> None:
    with (
        ScriptedInstance(lambda _: None) as one,
        Endpoint(None, hold={"window_ms": 500}) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        client.send("GET", "a")
        assert error_text(client.receive()).startswith("LOADING everfly")
        assert one.connections < 50
        assert "primary-refused" in endpoint.notices()


def test_half_a_reply_cannot_be_taken_back() -> None:
    def script(words: Words) -> bytes | None:
        return b"$100000\r\nhalf" if words[0] == b"GET" else None

    with (
        ScriptedInstance(script) as one,
        Endpoint(None, workers=1) as endpoint,
        endpoint.connect() as client,
        endpoint.connect() as other,
    ):
        follow(endpoint, one, 1)
        client.send("GET", "a")
        assert receive_raw(client, 13) == b"$100000\r\nhalf"
        # It comes behind over the same connection, which is closed then.
        other.send("SET", "a", "1")
        assert is_closed(client)
        assert error_text(other.receive()).startswith("AMBIGUOUS")


def test_an_instance_that_breaks_the_protocol_is_left() -> None:
    with (
        ScriptedInstance(by_name(INCR=b"HTTP/1.1 200 OK\r\n\r\n", PING=b"+PONG\r\n")) as one,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        assert client.call("PING") == b"PONG"
        client.send("INCR", "a")
        assert error_text(client.receive()).startswith("AMBIGUOUS")
        assert client.call("PING") == b"PONG"


@pytest.mark.parametrize("depth", [10, 100_000])
def test_replies_of_any_depth_pass(depth: int) -> None:
    deep = b"*1\r\n" * depth + b":1\r\n"
    with (
        ScriptedInstance(by_name(EVAL=deep)) as one,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        client.send("EVAL", "return 1", "0")
        assert receive_raw(client, len(deep)) == deep
        assert client.call("PING") == b"PONG"


def test_answers_of_the_endpoint_itself_take_their_turn() -> None:
    with (
        ScriptedInstance(by_name(GET=b"$1\r\n1\r\n")) as one,
        Endpoint(None) as endpoint,
        endpoint.connect() as client,
    ):
        follow(endpoint, one, 1)
        send_raw(client, b"GET a\r\nMONITOR\r\nGET b\r\nCLIENT REPLY ON\r\nGET c\r\nQUIT\r\n")
        first, refusal, *rest = replies(client, 6)
        assert first == b"1"
        assert "MONITOR" in error_text(refusal)
        assert rest == [b"1", b"OK", b"1", b"OK"]
        assert is_closed(client)
