"""Turn two pictures of a data store into the events that a Sentinel would tell between them. Pure.

| what happens | what is told |
| --- | --- |
| the operator begins to change the primary | `+new-epoch`, `+try-failover` |
| clients are led to the primary no more | `+sdown`, `+odown` |
| clients are led to it again | `-sdown`, `-odown` |
| another primary is in service | `+switch-master` |
| the change is done, or comes to nothing | `+failover-end`, `-failover-abort-slave-timeout` |
| a replica is there; serves no more; again | `+slave`; `+sdown`; `-sdown` |
| a data store has its first primary; is gone | `+monitor`; `-monitor` |

What has no equivalent (votes, hellos, scripts) is never told.
"""

from collections.abc import Iterator

from everfly.core.model import GroupName
from everfly.core.notices import Event, Notice, Subject
from everfly.front.picture import Instance, Picture
from everfly.operator.names import DATA_PORT

QUORUM_OF_ONE = "#quorum 1/1"
"""What `+odown` says beside its subject: there is one who decides."""


def tidings(group: GroupName, before: Picture | None, after: Picture | None) -> Iterator[Notice]:
    """Yield what is to be told of a data store, in order."""
    if before is not None and (after is None or after.uid != before.uid):
        yield Notice(Event.UNMONITOR, group, _primary(group, before.primary))
        before = None
    if after is None:
        return
    if before is None:
        yield Notice(Event.MONITOR, group, _primary(group, after.primary), "quorum 1")
        for replica in after.replicas:
            yield Notice(Event.REPLICA, group, _replica(group, replica, after.primary))
        return
    yield from _of_primary(group, before, after)
    yield from _of_replicas(group, before, after)


def _of_primary(group: GroupName, before: Picture, after: Picture) -> Iterator[Notice]:
    old, new = before.primary, after.primary
    about_old = _primary(group, old)
    if after.is_moving and not before.is_moving:
        yield Notice(Event.NEW_EPOCH, None, None, str(before.epoch + 1))
        yield Notice(Event.TRY_FAILOVER, group, about_old)
    has_switched = new.ip != old.ip
    if has_switched:
        words = f"{group} {old.ip} {DATA_PORT} {new.ip} {DATA_PORT}"
        yield Notice(Event.SWITCH, group, about_old, words, is_detail_only=True)
    elif old.serves and not new.serves:
        yield Notice(Event.S_DOWN, group, about_old)
        yield Notice(Event.O_DOWN, group, about_old, QUORUM_OF_ONE)
    elif new.serves and not old.serves:
        yield Notice(Event.S_UP, group, about_old)
        yield Notice(Event.O_UP, group, about_old)
    if before.is_moving and not after.is_moving:
        # The epoch is that of the primary that is shown: it was counted up with the switch, or it
        # is counted up now although nobody else took over.
        is_done = has_switched or before.epoch == after.epoch
        event = Event.END if is_done else Event.ABORT_REPLICA_TIMEOUT
        yield Notice(event, group, _primary(group, new))


def _of_replicas(group: GroupName, before: Picture, after: Picture) -> Iterator[Notice]:
    known = {each.ip: each for each in before.replicas}
    current = {each.ip: each for each in after.replicas}
    for ip, replica in current.items():
        subject = _replica(group, replica, after.primary)
        if ip not in known:
            yield Notice(Event.REPLICA, group, subject)
        elif known[ip].serves and not replica.serves:
            yield Notice(Event.S_DOWN, group, subject)
        elif replica.serves and not known[ip].serves:
            yield Notice(Event.S_UP, group, subject)
    for ip, replica in known.items():
        if ip not in current and ip != after.primary.ip and replica.serves:
            yield Notice(Event.S_DOWN, group, _replica(group, replica, after.primary))


def _primary(group: GroupName, instance: Instance) -> Subject:
    return Subject("master", group, instance.ip, DATA_PORT)


def _replica(group: GroupName, instance: Instance, primary: Instance) -> Subject:
    return Subject(
        "slave", place_of(instance), instance.ip, DATA_PORT, (group, primary.ip, DATA_PORT)
    )


def place_of(instance: Instance) -> str:
    """Return how Sentinels name a replica: by its address."""
    ip = f"[{instance.ip}]" if ":" in instance.ip else instance.ip
    return f"{ip}:{DATA_PORT}"
