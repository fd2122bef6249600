"""Under faults that never end, every answer is true: nothing is lost, doubled or out of order."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import hiredis
import pytest

from planes import WITHIN_S, Endpoint, replies
from processes import Connection
from servers import Group, Instance

pytestmark = pytest.mark.integration

CLIENTS = 12
FAULTS = 60


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Instance]:
    group = Group(tmp_path, replicas=1)
    try:
        group.start()
        yield group.instances[0]
    finally:
        group.kill()


@dataclass
class Tally:
    """What one client was told."""

    done: int = 0
    ambiguous: int = 0
    last_seen: int = 0


def increment_for_ever(endpoint: Endpoint, key: str, stop: threading.Event) -> Tally:
    """Count one key up and read it, in pipelines of all sizes, and believe every answer."""
    dice = random.Random(key)
    tally = Tally()
    with endpoint.connect() as client:
        while not stop.is_set():
            words = [dice.choice(("INCR", "GET")) for _ in range(dice.randint(1, 20))]
            for word in words:
                client.send(word, key)
            for word, reply in zip(words, replies(client, len(words)), strict=True):
                take(tally, word, reply)
    return tally


def take(tally: Tally, word: str, reply: object) -> None:
    if isinstance(reply, hiredis.ReplyError):
        assert str(reply).startswith("AMBIGUOUS"), reply
        tally.ambiguous += word == "INCR"
        return
    value = int(reply or 0)  # type: ignore[call-overload]
    # Own writes are seen, in order, and nobody else writes this key.
    assert tally.done <= value <= tally.done + tally.ambiguous + (word == "INCR"), (tally, value)
    assert value >= tally.last_seen
    tally.last_seen = value
    tally.done += word == "INCR"


def transfer_for_ever(endpoint: Endpoint, key: str, stop: threading.Event) -> Tally:
    """Move a unit between two keys in transactions."""
    tally = Tally()
    with endpoint.connect() as client:
        while not stop.is_set():
            for words in (("MULTI",), ("INCR", key), ("DECR", f"{key}-back"), ("EXEC",)):
                client.send(*words)
            *_, last = replies(client, 4)
            if isinstance(last, hiredis.ReplyError):
                assert str(last).startswith("AMBIGUOUS"), last
                tally.ambiguous += 1
            else:
                assert isinstance(last, list), last
                tally.done += 1
    return tally


@pytest.mark.parametrize("acks", [None, {"replicas": 1}], ids=["plain", "durable"])
def test_answers_are_true_while_connections_are_killed(
    primary: Instance, acks: dict[str, int] | None
) -> None:
    stop = threading.Event()
    with Endpoint(primary, acks=acks) as endpoint, ThreadPoolExecutor(2 * CLIENTS) as pool:
        try:
            counters = {
                f"count-{number}": pool.submit(
                    increment_for_ever, endpoint, f"count-{number}", stop
                )
                for number in range(CLIENTS)
            }
            transfers = {
                f"move-{number}": pool.submit(transfer_for_ever, endpoint, f"move-{number}", stop)
                for number in range(CLIENTS)
            }
            with Connection(primary.port, timeout_s=WITHIN_S) as killer:
                for _ in range(FAULTS):
                    before = endpoint.stat("replies")
                    endpoint.wait_for("replies", before + 200)
                    killer.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        finally:
            stop.set()
        for key, counter in counters.items():
            check(primary, key, counter.result(WITHIN_S))
        for key, transfer in transfers.items():
            tally = transfer.result(WITHIN_S)
            check(primary, key, tally)
            back = primary.ask("GET", f"{key}-back")
            assert back is not None
            assert primary.ask("GET", key) == str(-int(back)).encode()  # type: ignore[call-overload]
        assert endpoint.stat("upstreams_lost") >= FAULTS / 2
        assert "worker-failed" not in endpoint.notices()


def check(primary: Instance, key: str, tally: Tally) -> None:
    value = int(primary.ask("GET", key) or 0)  # type: ignore[call-overload]
    assert tally.done > 0
    assert tally.done <= value <= tally.done + tally.ambiguous, (key, tally, value)
