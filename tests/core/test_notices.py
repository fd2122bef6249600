"""The catalogue of notices is that of Redis Sentinel 7.0.15, byte for byte."""

import pytest

from everfly.core.model import GroupName
from everfly.core.notices import Event, Level, Notice, Subject

CATALOGUE = {
    Level.WARNING: """
        +monitor -monitor +set +reset-master +sdown -sdown +odown -odown +new-epoch +try-failover
        +vote-for-leader +elected-leader -failover-abort-not-elected
        -failover-abort-no-good-slave -failover-abort-slave-timeout +failover-state-select-slave
        +selected-slave +promoted-slave +failover-state-reconf-slaves +failover-end-for-timeout
        +failover-end +switch-master +config-update-from +tilt -tilt -script-error -script-timeout
    """,
    Level.NOTICE: """
        +slave +sentinel +sentinel-address-switch +sentinel-address-update +sentinel-invalid-addr
        +failover-state-send-slaveof-noone +failover-state-wait-promotion +slave-reconf-sent
        +slave-reconf-inprog +slave-reconf-done -slave-reconf-sent-timeout +slave-reconf-sent-be
        +convert-to-slave +fix-slave-config +reboot
    """,
    Level.VERBOSE: "+role-change -role-change",
    Level.DEBUG: "+script-child -script-child -cmd-link-reconnection -pubsub-link-reconnection",
}

CACHE = GroupName("cache")
PRIMARY = Subject("master", "cache", "10.0.0.1", 6379)
REPLICA = Subject("slave", "10.0.0.2:6379", "10.0.0.2", 6379, (CACHE, "10.0.0.1", 6379))
PEER = Subject("sentinel", "ab" * 20, "10.0.0.12", 26379, (CACHE, "10.0.0.1", 6379))


@pytest.mark.parametrize("level", list(Level))
def test_events_have_their_name_and_level(level: Level) -> None:
    assert sorted(event.wire for event in Event if event.level is level) == sorted(
        CATALOGUE[level].split()
    )


@pytest.mark.parametrize(
    ("notice", "payload"),
    [
        (Notice(Event.ELECTED, CACHE, PRIMARY), "master cache 10.0.0.1 6379"),
        (
            Notice(Event.O_DOWN, CACHE, PRIMARY, "#quorum 2/2"),
            "master cache 10.0.0.1 6379 #quorum 2/2",
        ),
        (
            Notice(Event.REPLICA, CACHE, REPLICA),
            "slave 10.0.0.2:6379 10.0.0.2 6379 @ cache 10.0.0.1 6379",
        ),
        (
            Notice(Event.PEER, CACHE, PEER),
            f"sentinel {'ab' * 20} 10.0.0.12 26379 @ cache 10.0.0.1 6379",
        ),
        (Notice(Event.NEW_EPOCH, CACHE, PRIMARY, "7", is_detail_only=True), "7"),
        (Notice(Event.TILT, None, None, "#tilt mode entered"), "#tilt mode entered"),
    ],
)
def test_the_payload_is_what_clients_match_on(notice: Notice, payload: str) -> None:
    assert notice.payload == payload
