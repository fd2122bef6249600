"""Word what an instance says of itself as INFO of its engine, read it as a Sentinel does, or give
at once the facts that reading would give. `tests/sim` holds the two ways against each other.

Source: `genRedisInfoString`, redis/src/server.c (7.0.15); `InfoReplication`,
dragonfly/src/server/server_family.cc.
"""

import random
from typing import TYPE_CHECKING, Final

from everfly.core.model import Engine, HandOver, InstanceReport, Millis, Role
from everfly.engines import dialect, dragonfly
from everfly.wire.info import parse_info

if TYPE_CHECKING:
    from everfly.sim.instance import SimInstance

REDIS_VERSION: Final = "7.0.15"


def read(text: bytes) -> InstanceReport:
    """Read INFO as the shell of a Sentinel does."""
    return dialect.report(parse_info(text))


def facts(instance: "SimInstance") -> InstanceReport:
    """Say what reading the instance's INFO would give."""
    data, replication = instance.data, instance.replication
    is_primary = replication.follows is None
    is_dragonfly = instance.engine is Engine.DRAGONFLY
    down_for = _down_for_s(instance)
    has_offset = not (is_dragonfly and (is_primary or replication.is_syncing))
    return InstanceReport(
        role=Role.PRIMARY if is_primary else Role.REPLICA,
        engine=instance.engine,
        run_id=_run_id(instance),
        history=data.history,
        history_before=data.history_before,
        offset=data.offset if has_offset else None,
        # One that came back may still have its old connection: it is named once all the same.
        replicas=tuple(dict.fromkeys(one.address for one, _ in replication.followers.values()))
        if is_primary
        else (),
        primary=instance.follows,
        primary_link_up=not is_primary and replication.link_up,
        primary_link_down_for=None if down_for is None else Millis(down_for * 1_000),
        is_syncing=not is_primary and replication.is_syncing,
        priority=100 if is_primary else instance.priority,
        hands_over=HandOver.BY_TAKEOVER if is_dragonfly else HandOver.BY_PAUSE,
        uptime_s=(instance.world.now - instance.started_at) // 1_000,
        keys=len(data.log) or None,
    )


def word(instance: "SimInstance") -> bytes:
    """Return INFO's text, as far as it concerns a Sentinel."""
    lines = ["# Server"]
    uptime = f"uptime_in_seconds:{(instance.world.now - instance.started_at) // 1_000}"
    if instance.engine is Engine.DRAGONFLY:
        lines += [
            "redis_version:7.4.0",
            "dragonfly_version:df-v1.40.0",
            f"process_id:{_process_id(instance)}",
            f"tcp_port:{instance.address.port}",
        ]
    else:
        lines.append(f"redis_version:{REDIS_VERSION}")
        if instance.engine is Engine.VALKEY:
            lines += ["server_name:valkey", "valkey_version:9.0.0"]
        lines.append(f"run_id:{_run_id(instance)}")
    lines += [uptime, "", "# Replication", *_replication(instance), "", "# Keyspace"]
    # Each write is one of a key of its own.
    keys = len(instance.data.log)
    lines += [*([f"db0:keys={keys},expires=0,avg_ttl=0"] if keys else []), ""]
    return "\r\n".join(lines).encode()


def garbled(instance: "SimInstance", dice: random.Random) -> InstanceReport | str:
    """Read an INFO that arrives cut off, without some lines, with nonsense in it, or not at all."""
    text = word(instance)
    kind = dice.choice(("cut", "lines", "noise", "error"))
    if kind == "error":
        return "ERR max number of clients reached"
    if kind == "cut":
        return read(text[: dice.randrange(len(text))])
    if kind == "lines":
        lines = text.split(b"\r\n")
        return read(b"\r\n".join(line for line in lines if dice.random() < 0.7))
    noise = bytearray(text)
    for _ in range(dice.randint(1, 8)):
        at = dice.randrange(len(noise))
        if chr(noise[at]).isdigit():
            # A digit for a digit would be a lie that nobody could see through.
            noise[at] = dice.choice(b"?#x\xff -")
    return read(bytes(noise))


def _replication(instance: "SimInstance") -> list[str]:
    data, replication = instance.data, instance.replication
    ids = [
        f"master_replid:{data.history}",
        f"master_replid2:{data.history_before or '0' * 40}",
    ]
    is_dragonfly = instance.engine is Engine.DRAGONFLY
    if replication.follows is None:
        lines = ["role:master", f"connected_slaves:{len(replication.followers)}"]
        lines += [
            f"slave{number}:ip={one.address.host},port={one.address.port},state=online,offset=0,lag=0"
            for number, (one, _) in enumerate(replication.followers.values())
        ]
        return [*lines, *ids, *([] if is_dragonfly else [f"master_repl_offset:{data.offset}"])]
    lines = [
        "role:slave",
        f"master_host:{replication.follows.host}",
        f"master_port:{replication.follows.port}",
        f"master_link_status:{'up' if replication.link_up else 'down'}",
        f"master_sync_in_progress:{int(replication.is_syncing)}",
    ]
    down_for = _down_for_s(instance)
    if is_dragonfly:
        if not replication.is_syncing:
            lines.append(f"slave_repl_offset:{data.offset}")
        # While the link is up this counts too, and means nothing.
        silent = down_for if not replication.link_up else 0
        lines.append(f"master_last_io_seconds_ago:{-1 if silent is None else silent}")
    else:
        lines.append(f"slave_repl_offset:{data.offset}")
        if not replication.link_up:
            lines.append(f"master_link_down_since_seconds:{-1 if down_for is None else down_for}")
    return [*lines, f"slave_priority:{instance.priority}", "slave_read_only:1", *ids]


def _down_for_s(instance: "SimInstance") -> int | None:
    replication = instance.replication
    if replication.follows is None or replication.link_up or replication.down_since is None:
        return None
    return (instance.world.now - replication.down_since) // 1_000


def _process_id(instance: "SimInstance") -> int:
    if instance.character.is_contained:
        return 1
    return 1_000 * instance.lives + instance.address.port % 1_000


def _run_id(instance: "SimInstance") -> str:
    if instance.engine is Engine.DRAGONFLY:
        return dragonfly.run_id(
            {"process_id": str(_process_id(instance)), "tcp_port": str(instance.address.port)}
        )
    return f"{instance.address.port:08d}{instance.lives:032d}"
