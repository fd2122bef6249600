"""What a status says, and that it says nothing new while nothing happens."""

from dataclasses import replace
from typing import Any

import pytest

from everfly.core.diagnosis import Finding, Kind
from everfly.core.group_view import (
    Contact,
    Facts,
    GroupView,
    Intent,
    Lineage,
    Member,
    Move,
    Record,
    Service,
)
from everfly.core.model import Address, Epoch, Instant, Role
from everfly.core.plan import Decision
from everfly.operator.status import Situation, differs, phase_of, status_fields

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:01:00Z"
HEALTHY = Decision((Finding(Kind.HEALTHY),))


def place(ordinal: int) -> Address:
    return Address(f"10.0.0.{ordinal}", 9999)


def member(ordinal: int, **changes: Any) -> Member:
    facts = Facts(Role.PRIMARY, "h")
    if ordinal:
        facts = Facts(Role.REPLICA, "h", 5, place(0), is_link_up=True)
    service = Service.REPLICA if ordinal else Service.PRIMARY
    base = Member(f"c-{ordinal}", ordinal, place(ordinal), facts=facts, service=service)
    return replace(base, **({"contact": Contact(Instant(1))} | changes))


def view(*members: Member, **changes: Any) -> GroupView:
    found = members or (member(0), member(1), member(2))
    return replace(GroupView(found, Record("c-0", Lineage("h" * 40))), **changes)


MOVE = Move("c-1", "x", "c-0", is_planned=True, epoch=Epoch(1))


@pytest.mark.parametrize(
    ("seen", "phase"),
    [
        (view(record=Record()), "ResourcesCreated"),
        (view(), "Ready"),
        (view(record=Record("c-0", move=MOVE)), "Configuring"),
        (view(member(0, service=Service.NONE), member(1)), "Configuring"),
        (view(member(0, is_ready=False), member(1)), "Configuring"),
        (view(member(0, is_terminating=True), member(1)), "Configuring"),
        (view(member(0, contact=Contact(Instant(1), Instant(2))), member(1)), "Configuring"),
        (view(member(1), member(2)), "Configuring"),
        (view(member(0), member(1, is_current=False)), "RollingUpdate"),
        (view(member(0, is_current=False), record=Record("c-0", move=MOVE)), "Configuring"),
    ],
)
def test_the_phase_follows_the_primary(seen: GroupView, phase: str) -> None:
    assert phase_of(seen) == phase


def fields(seen: GroupView, decision: Decision = HEALTHY, **rest: Any) -> dict[str, Any]:
    situation = Situation(seen, decision, 4, "app=c", problems=rest.get("problems", ()))
    return status_fields(situation, rest.get("before", {}), rest.get("now", NOW))


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = (each for each in status["conditions"] if each["type"] == kind)
    return dict(found)


def test_a_data_store_in_order_is_available_and_ready() -> None:
    status = fields(view())
    words = {each["type"]: each["status"] for each in status["conditions"]}
    assert words == {
        "Available": "True",
        "Ready": "True",
        "ReplicationHealthy": "True",
        "Progressing": "False",
        "Degraded": "False",
        "DataLossRisk": "False",
        "Paused": "False",
        "Valid": "True",
    }
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (3, 3, 3)
    assert [each["role"] for each in status["pods"]] == ["master", "replica", "replica"]


def test_a_status_in_peace_is_the_same_a_minute_later() -> None:
    before = fields(view())
    moved = [
        replace(each, contact=Contact(Instant(60_000)), facts=replace(each.facts, offset=9_999))
        for each in view().members
        if each.facts is not None
    ]
    after = fields(view(*moved), before=before, now=LATER)
    assert not differs(after, before)


def test_the_time_of_a_condition_is_that_of_its_last_change() -> None:
    before = fields(view())
    trouble = Decision((Finding(Kind.PRIMARY_DOWN, "c-0", ("silent for 3000 ms",)),))
    after = fields(view(member(1), member(2)), trouble, before=before, now=LATER)
    assert differs(after, before)
    assert condition(after, "Available")["lastTransitionTime"] == LATER
    assert condition(after, "Available")["reason"] == "PrimaryDown"
    assert condition(after, "Paused")["lastTransitionTime"] == NOW


def test_messages_hold_no_ages_that_would_change_at_every_look() -> None:
    texts = []
    for age in (100, 200):
        finding = Finding(Kind.REPLICA_UNREACHABLE, "c-1", (f"no answer for {age} ms",))
        texts.append(fields(view(), Decision((finding,))))
    assert not differs(texts[0], texts[1])


def test_a_risk_of_loss_says_what_to_do_about_it() -> None:
    risk = Decision((Finding(Kind.DATA_LOSS_RISK, "", ("c-2 may hold more",)),))
    message = condition(fields(view(), risk), "DataLossRisk")["message"]
    assert "c-2 may hold more" in message
    assert "everfly.dev/accept-data-loss=hhhhhhhhhhhh" in message


def test_what_is_wrong_with_a_spec_is_said() -> None:
    found = condition(fields(view(), problems=("spec.replicas: must be more",)), "Valid")
    assert (found["status"], found["message"]) == ("False", "spec.replicas: must be more")


def test_conditions_of_others_are_kept() -> None:
    before = {"conditions": [{"type": "Audited", "status": "True"}]}
    assert condition(fields(view(), before=before), "Audited")["status"] == "True"


def test_a_missing_replica_is_no_healthy_replication() -> None:
    seen = view(member(0), member(1), intent=Intent(replicas=3))
    assert condition(fields(seen), "ReplicationHealthy")["status"] == "False"
    assert condition(fields(seen), "Available")["status"] == "True"


def test_a_pause_is_shown() -> None:
    seen = view(intent=Intent(is_paused=True))
    assert condition(fields(seen), "Paused")["status"] == "True"
