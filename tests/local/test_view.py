import pytest

from everfly.core.model import Address
from everfly.local.view import subject
from everfly.observe.events import Event, now

A, B, SENTINEL = Address("127.0.0.1", 6379), Address("127.0.0.1", 6380), Address("127.0.0.1", 26379)
NAMES = {A: "instance-1", B: "instance-2", SENTINEL: "sentinel-1"}


@pytest.mark.parametrize(
    ("channel", "payload", "expected"),
    [
        ("+sdown", "master g 127.0.0.1 6379", "instance-1"),
        ("+odown", "master g 127.0.0.1 6379 #quorum 2/2", "instance-1 (quorum 2/2)"),
        ("+sdown", "slave 127.0.0.1:6380 127.0.0.1 6380 @ g 127.0.0.1 6379", "instance-2"),
        ("+sdown", "sentinel 0af 127.0.0.1 26379 @ g 127.0.0.1 6379", "sentinel-1"),
        ("+sdown", "master g 10.0.0.1 6379", "10.0.0.1:6379"),
        ("+switch-master", "g 127.0.0.1 6379 127.0.0.1 6380", "instance-1 → instance-2"),
        ("+tilt", "#tilt mode entered", "#tilt mode entered"),
        ("+sdown", "", ""),
    ],
)
def test_an_event_names_members_by_our_names(channel: str, payload: str, expected: str) -> None:
    event = Event(at=now(), sources=(SENTINEL,), channel=channel, payload=payload)
    assert subject(event, NAMES) == expected
