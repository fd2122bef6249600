"""Turn what must outlive an operator into fields of a resource's status, and back.

    primary: cache-0                       who is the rightful primary
    lineage: {history, offset, keys, historyBefore, offsetBefore}
    record:
      epoch: 3                             of the last change of primary
      term: 7                              of the operator that wrote this (leaseTransitions)
      move: {to, incarnation, awayFrom, planned, epoch}      only while one is under way
      stale: [cache-2]                     replicas that missed writes

Rules: nonsense counts as absent; what is written is read back as the same.
"""

from everfly.core.group_view import Lineage, Move, Record
from everfly.core.model import Epoch
from everfly.operator.manifest import Json, JsonObject, part, text


def record_of(status: JsonObject) -> Record:
    """Return the record in a status."""
    lineage, notes = part(status, "lineage"), part(status, "record")
    move, stale = part(notes, "move"), notes.get("stale")
    return Record(
        primary=text(status, "primary"),
        lineage=_lineage(lineage) if text(lineage, "history") else None,
        move=_move(move) if text(move, "to") else None,
        stale=tuple(each for each in stale if isinstance(each, str))
        if isinstance(stale, list | tuple)
        else (),
        epoch=Epoch(_number(notes, "epoch")),
        term=_number(notes, "term"),
    )


def _lineage(value: JsonObject) -> Lineage:
    return Lineage(
        history=text(value, "history"),
        offset=_number(value, "offset"),
        keys=_number(value, "keys"),
        history_before=text(value, "historyBefore"),
        offset_before=_number(value, "offsetBefore"),
    )


def _move(value: JsonObject) -> Move:
    return Move(
        to=text(value, "to"),
        incarnation=text(value, "incarnation"),
        away_from=text(value, "awayFrom"),
        is_planned=value.get("planned") is True,
        epoch=Epoch(_number(value, "epoch")),
    )


def _number(value: JsonObject, key: str) -> int:
    found = value.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def record_fields(record: Record) -> dict[str, Json]:
    """Return the fields of a status that hold a record; None for what is to be taken away."""
    lineage, move = record.lineage, record.move
    moving: Json = None
    if move is not None:
        moving = {
            "to": move.to,
            "incarnation": move.incarnation,
            "awayFrom": move.away_from,
            "planned": move.is_planned,
            "epoch": move.epoch,
        }
    history: Json = None
    if lineage is not None:
        history = {
            "history": lineage.history,
            "offset": lineage.offset,
            "keys": lineage.keys,
            "historyBefore": lineage.history_before or None,
            "offsetBefore": lineage.offset_before,
        }
    return {
        "primary": record.primary or None,
        "lineage": history,
        "record": {
            "epoch": record.epoch,
            "term": record.term,
            "move": moving,
            "stale": list(record.stale) or None,
        },
    }
