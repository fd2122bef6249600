"""Messages to people: the closed catalogue of Redis Sentinel's events, and their words.

A notice is decided once, here, and rendered by many: a pub/sub channel of the event's name, a log
line, a script, a webhook. `Notice.payload` is the text that Sentinel's clients match on.
Source: `sentinelEvent` and its callers, redis/src/sentinel.c (7.0.15).
"""

from dataclasses import dataclass
from enum import Enum

from everfly.core.model import GroupName


class Level(Enum):
    """How loud a notice is. Debug: logged only; warning: runs the notification script too."""

    DEBUG = "debug"
    VERBOSE = "verbose"
    NOTICE = "notice"
    WARNING = "warning"


class Event(Enum):
    """Name on the wire, and level."""

    MONITOR = ("+monitor", Level.WARNING)
    UNMONITOR = ("-monitor", Level.WARNING)
    SET = ("+set", Level.WARNING)
    RESET_PRIMARY = ("+reset-master", Level.WARNING)
    REPLICA = ("+slave", Level.NOTICE)
    PEER = ("+sentinel", Level.NOTICE)
    PEER_ADDRESS_SWITCH = ("+sentinel-address-switch", Level.NOTICE)
    PEER_ADDRESS_UPDATE = ("+sentinel-address-update", Level.NOTICE)
    PEER_INVALID_ADDRESS = ("+sentinel-invalid-addr", Level.NOTICE)
    S_DOWN = ("+sdown", Level.WARNING)
    S_UP = ("-sdown", Level.WARNING)
    O_DOWN = ("+odown", Level.WARNING)
    O_UP = ("-odown", Level.WARNING)
    NEW_EPOCH = ("+new-epoch", Level.WARNING)
    TRY_FAILOVER = ("+try-failover", Level.WARNING)
    VOTE = ("+vote-for-leader", Level.WARNING)
    ELECTED = ("+elected-leader", Level.WARNING)
    ABORT_NOT_ELECTED = ("-failover-abort-not-elected", Level.WARNING)
    ABORT_NO_GOOD_REPLICA = ("-failover-abort-no-good-slave", Level.WARNING)
    ABORT_REPLICA_TIMEOUT = ("-failover-abort-slave-timeout", Level.WARNING)
    STATE_SELECT = ("+failover-state-select-slave", Level.WARNING)
    SELECTED = ("+selected-slave", Level.WARNING)
    STATE_SEND_PROMOTION = ("+failover-state-send-slaveof-noone", Level.NOTICE)
    STATE_WAIT_PROMOTION = ("+failover-state-wait-promotion", Level.NOTICE)
    PROMOTED = ("+promoted-slave", Level.WARNING)
    STATE_RECONF = ("+failover-state-reconf-slaves", Level.WARNING)
    RECONF_SENT = ("+slave-reconf-sent", Level.NOTICE)
    RECONF_IN_PROGRESS = ("+slave-reconf-inprog", Level.NOTICE)
    RECONF_DONE = ("+slave-reconf-done", Level.NOTICE)
    RECONF_SENT_TIMEOUT = ("-slave-reconf-sent-timeout", Level.NOTICE)
    RECONF_SENT_BEST_EFFORT = ("+slave-reconf-sent-be", Level.NOTICE)
    END_FOR_TIMEOUT = ("+failover-end-for-timeout", Level.WARNING)
    END = ("+failover-end", Level.WARNING)
    SWITCH = ("+switch-master", Level.WARNING)
    CONFIG_UPDATE = ("+config-update-from", Level.WARNING)
    CONVERT_TO_REPLICA = ("+convert-to-slave", Level.NOTICE)
    FIX_REPLICA = ("+fix-slave-config", Level.NOTICE)
    REBOOT = ("+reboot", Level.NOTICE)
    ROLE_CHANGE = ("+role-change", Level.VERBOSE)
    ROLE_MISMATCH = ("-role-change", Level.VERBOSE)
    TILT = ("+tilt", Level.WARNING)
    UNTILT = ("-tilt", Level.WARNING)
    LINK_LOST = ("-cmd-link-reconnection", Level.DEBUG)
    CHANNEL_LOST = ("-pubsub-link-reconnection", Level.DEBUG)
    SCRIPT_ERROR = ("-script-error", Level.WARNING)
    SCRIPT_TIMEOUT = ("-script-timeout", Level.WARNING)
    SCRIPT_STARTED = ("+script-child", Level.DEBUG)
    SCRIPT_ENDED = ("-script-child", Level.DEBUG)

    def __init__(self, wire: str, level: Level) -> None:
        self.wire = wire
        self.level = level


@dataclass(frozen=True, slots=True)
class Subject:
    """What a notice is about, as it is shown: `<type> <name> <host> <port>` and, for what belongs
    to a primary, ` @ <group> <host> <port>`.
    """

    kind: str
    """`master`, `slave` or `sentinel`."""
    name: str
    host: str
    port: int
    owner: tuple[GroupName, str, int] | None = None

    def __str__(self) -> str:
        text = f"{self.kind} {self.name} {self.host} {self.port}"
        if self.owner is None:
            return text
        group, host, port = self.owner
        return f"{text} @ {group} {host} {port}"


@dataclass(frozen=True, slots=True)
class Notice:
    """One decision, told."""

    event: Event
    group: GroupName | None
    """The group it concerns, if one."""
    subject: Subject | None
    """None: it is about this Sentinel as a whole, and runs no script."""
    detail: str = ""
    is_detail_only: bool = False
    """The payload does not begin with the subject (`+switch-master`, `+vote-for-leader`)."""

    @property
    def payload(self) -> str:
        """Return the text after the event's name, byte for byte as Redis Sentinel says it."""
        if self.subject is None or self.is_detail_only:
            return self.detail
        return f"{self.subject} {self.detail}" if self.detail else str(self.subject)
