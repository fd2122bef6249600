"""Write the first `sentinel.conf` of a Sentinel, and read from later ones whom it believes primary.

After the first start the file belongs to its Sentinel: it is read here, never rewritten.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from everfly.core.model import Address
from everfly.engines.redis import integer
from everfly.local.settings import HOST, Settings
from everfly.wire.resp import split_args, to_bytes, to_text


@dataclass(frozen=True, slots=True)
class Belief:
    """Whom a Sentinel's file calls the primary, and since which epoch."""

    primary: Address
    config_epoch: int


def first_text(settings: Settings, index: int, directory: Path, primary: Address) -> str:
    """Return the file with which a Sentinel of a new deployment starts."""
    group = settings.group
    lines = [
        f"port {settings.sentinel_ports[index]}",
        f"bind {HOST}",
        f"dir {_quoted(str(directory))}",
        f"sentinel monitor {group} {primary.host} {primary.port} {settings.quorum}",
        f"sentinel down-after-milliseconds {group} {settings.down_after_ms}",
        f"sentinel failover-timeout {group} {settings.failover_timeout_ms}",
        f"sentinel parallel-syncs {group} 1",
    ]
    if settings.password:
        lines.append(f"sentinel auth-pass {group} {_quoted(settings.password)}")
    return "\n".join(lines) + "\n"


def read_belief(text: str, group: str) -> Belief | None:
    """Return what the file says of the group, or None when it says nothing of it."""
    primary: Address | None = None
    config_epoch = 0
    for line in text.splitlines():
        match [to_text(word) for word in split_args(to_bytes(line)) or ()]:
            case ["sentinel", "monitor", name, host, port, *_] if name == group:
                number = integer(port)
                primary = None if number is None else Address(host, number)
            case ["sentinel", "config-epoch", name, epoch] if name == group:
                config_epoch = integer(epoch) or 0
            case _:
                pass
    return None if primary is None else Belief(primary, config_epoch)


def newest(beliefs: Iterable[Belief | None]) -> Address | None:
    """Return the primary of the highest epoch: whoever missed a failover has a lower one."""
    known = [belief for belief in beliefs if belief is not None]
    return max(known, key=lambda belief: belief.config_epoch).primary if known else None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
