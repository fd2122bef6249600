"""Nothing that clients do makes the data plane fail, grow or keep others waiting."""

import gc
import random
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kinds import HOST
from planes import WITHIN_S, Endpoint, error_text, instance, is_closed, replies, send_raw
from processes import Connection, until
from servers import Instance

pytestmark = pytest.mark.integration

MIB: Final = 1024 * 1024
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a reset: no port is left waiting."""
PATIENCE_S: Final = 5.0
"""More than an honest client ever waits for a PING, on a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with instance(tmp_path_factory.mktemp("robustness")) as running:
        yield running


def resident_bytes() -> int:
    """Return the memory of this process, in which the plane lives."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def raw(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=WITHIN_S)


def ping_s(client: Connection) -> float:
    """Return how long an honest client waits for an answer, in seconds."""
    begun = time.monotonic()
    assert client.call("PING") == b"PONG"
    return time.monotonic() - begun


@pytest.mark.slow
def test_fifty_thousand_connections_opened_and_dropped_leave_nothing_behind(
    primary: Instance,
) -> None:
    openings = (
        b"",
        b"*2\r\n$3\r\nGET\r\n$5\r\nab",
        b"PING\r\n" * 20,
        b"SUBSCRIBE c\r\n",
        b"\xff\r\n",
    )
    waited_s = []
    with Endpoint(primary) as endpoint, endpoint.connect() as honest:
        ping_s(honest)
        before = resident_bytes()
        for number in range(50_000):
            with raw(endpoint.port) as dropped:
                dropped.sendall(openings[number % len(openings)])
                if number % 10:
                    dropped.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if number % 500 == 0:
                waited_s.append(ping_s(honest))
        until(lambda: endpoint.plane.connections() == 1, WITHIN_S, show=endpoint.plane.stats)
        assert max(waited_s) < PATIENCE_S
        assert resident_bytes() - before < 64 * MIB
        assert endpoint.stat("connections_total") > 50_000
    with Connection(primary.port, timeout_s=WITHIN_S) as direct:
        clients = direct.call("CLIENT", "LIST")
        assert isinstance(clients, bytes)
        assert clients.count(b"\n") < 10, clients


def test_clients_that_drip_their_first_command_are_closed_and_delay_nobody(
    primary: Instance,
) -> None:
    dripping = 200
    with (
        Endpoint(primary, limits={"handshake_ms": 1000}) as endpoint,
        endpoint.connect() as honest,
    ):
        ping_s(honest)
        slow = [raw(endpoint.port) for _ in range(dripping)]
        waited_s = []

        def are_closed() -> bool:
            """All that drip are closed, though each of them goes on sending."""
            for each in slow:
                try:
                    each.send(b" ")
                except OSError:
                    continue  # it is closed already
            waited_s.append(ping_s(honest))
            return bool(endpoint.plane.connections() == 1)

        until(are_closed, WITHIN_S, show=endpoint.plane.stats)
        assert max(waited_s) < PATIENCE_S
        for each in slow:
            each.close()


def test_a_length_that_is_only_claimed_costs_no_memory(primary: Instance) -> None:
    with Endpoint(primary) as endpoint, endpoint.connect() as honest:
        ping_s(honest)
        before = resident_bytes()
        claimants = [endpoint.connect() for _ in range(100)]
        for each in claimants:
            send_raw(each, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc")
        until(lambda: endpoint.plane.connections() == 101, WITHIN_S)
        ping_s(honest)
        assert resident_bytes() - before < 32 * MIB
        for each in claimants:
            each.close()


def test_a_claim_of_a_gibibyte_is_refused_at_once(primary: Instance) -> None:
    with Endpoint(primary) as endpoint, endpoint.connect() as client:
        send_raw(client, b"*2\r\n$3\r\nGET\r\n$1073741824\r\n")
        assert error_text(client.receive()) == "ERR Protocol error: invalid bulk length"
        assert is_closed(client)


def test_arrays_in_arrays_are_no_request(primary: Instance) -> None:
    with Endpoint(primary) as endpoint, endpoint.connect() as client:
        send_raw(client, b"*1\r\n" * 100_000)
        assert error_text(client.receive()) == "ERR Protocol error: expected '$', got '*'"


def test_unfinished_commands_of_many_clients_are_bounded_together(primary: Instance) -> None:
    limits = {"total_input_bytes": 16 * MIB}
    with Endpoint(primary, limits=limits) as endpoint, endpoint.connect() as honest:
        ping_s(honest)
        before = resident_bytes()
        hoarders = [raw(endpoint.port) for _ in range(60)]
        closed = 0
        for each in hoarders:
            try:
                each.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000000\r\n" + bytes(2 * MIB))
            except OSError:
                closed += 1
        ping_s(honest)
        until(lambda: endpoint.stat("connections_closed_by_limit") > 0, WITHIN_S)
        assert resident_bytes() - before < 96 * MIB, "60 clients sent 120 MiB"
        for each in hoarders:
            each.close()
        until(lambda: endpoint.plane.connections() == 1, WITHIN_S)
        ping_s(honest)


def test_a_client_that_closed_its_half_gets_every_reply_of_a_long_pipeline(
    primary: Instance,
) -> None:
    with Endpoint(primary) as endpoint, endpoint.connect() as client:
        send_raw(client, b"*2\r\n$4\r\nINCR\r\n$4\r\nhalf\r\n" * 5_000)
        client.socket.shutdown(socket.SHUT_WR)
        assert replies(client, 5_000) == list(range(1, 5_001))
        assert is_closed(client)


def test_a_client_that_is_gone_while_it_waits_for_a_key_takes_nothing(primary: Instance) -> None:
    with Endpoint(primary) as endpoint, endpoint.connect() as other:
        with endpoint.connect() as client:
            client.send("BLPOP", "list-of-the-gone", "0")

            def is_blocked() -> bool:
                """The primary says that somebody waits."""
                report = other.call("INFO", "clients")
                return isinstance(report, bytes) and b"blocked_clients:1" in report

            until(is_blocked, WITHIN_S)

        def is_forgotten() -> bool:
            """The primary says that nobody waits any more."""
            report = other.call("INFO", "clients")
            return isinstance(report, bytes) and b"blocked_clients:0" in report

        until(is_forgotten, WITHIN_S)
        assert other.call("RPUSH", "list-of-the-gone", "value") == 1
        assert other.call("LPOP", "list-of-the-gone") == b"value"


def test_bytes_of_any_kind_end_at_most_their_own_connection(primary: Instance) -> None:
    dice = random.Random(20261124)
    pieces = (b"*", b"$", b"3\r\n", b"\r\n", b"GET", b"MULTI\r\n", b"EXEC\r\n", b"-1", b"\0", b'"')
    with Endpoint(primary, limits={"handshake_ms": 2000}) as endpoint, endpoint.connect() as honest:
        for _ in range(400):
            noise = b"".join(dice.choice(pieces) for _ in range(dice.randint(1, 60)))
            with raw(endpoint.port) as client:
                client.sendall(noise + dice.randbytes(dice.randint(0, 40)))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        assert ping_s(honest) < PATIENCE_S
        until(lambda: endpoint.plane.connections() == 1, WITHIN_S, show=endpoint.plane.stats)
