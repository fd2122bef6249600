"""A group that is to begin with restored data gets nobody as primary who does not hold them."""

from dataclasses import replace

import pytest

from everfly.core.diagnosis import Kind
from everfly.core.group_view import Contact, Facts, GroupView, Intent, Member, Move, Record, Service
from everfly.core.model import Address, Epoch, Instant, Role
from everfly.core.plan import Decision, decide
from everfly.core.steps import BringIntoService, Promote, WriteRecord
from everfly.core.successor import choose_restored

NOW = Instant(1_000_000)
DATA = "d" * 40
FERRY = Address("10.0.9.9", 9999)


def empty(ordinal: int) -> Member:
    return Member(
        f"p-{ordinal}",
        ordinal,
        Address(f"10.0.0.{ordinal}", 9999),
        incarnation="x",
        facts=Facts(Role.PRIMARY, f"{ordinal}" * 40, keys=0),
        contact=Contact(answered_at=NOW),
    )


def seeded(ordinal: int, **changes: object) -> Member:
    facts = Facts(Role.REPLICA, DATA, 7, FERRY, is_link_up=True, keys=10)
    return replace(empty(ordinal), facts=replace(facts, **changes))  # type: ignore[arg-type]


def view(*members: Member, restores: str | None = DATA, record: Record | None = None) -> GroupView:
    return GroupView(members, record or Record(), Intent(restores=restores), term=1)


def moved_to(decision: Decision) -> str:
    first = decision.steps[0]
    assert isinstance(first, WriteRecord)
    assert first.record.move is not None
    return first.record.move.to


@pytest.mark.parametrize("restores", ["", DATA], ids=["not loaded yet", "loaded"])
def test_nobody_becomes_the_first_primary_before_the_data_are_there(restores: str) -> None:
    decision = decide(view(empty(0), empty(1), restores=restores), NOW)
    assert decision.steps == ()
    assert Kind.AWAITING_DATA in {each.kind for each in decision.findings}


@pytest.mark.parametrize(
    "half",
    [
        seeded(0, offset=None, is_syncing=True),
        seeded(0, offset=None),
        seeded(0, history="e" * 40),
        replace(seeded(0), is_terminating=True),
    ],
    ids=["in the middle of a copy", "does not say how far", "of other data", "being stopped"],
)
def test_who_holds_half_of_the_data_does_not_become_the_first_primary(half: Member) -> None:
    assert decide(view(half, empty(1)), NOW).steps == ()


def test_a_history_that_is_not_known_yet_is_nobodys() -> None:
    assert choose_restored(view(seeded(0, history=""), restores="")).best is None


def test_who_copied_the_data_is_promoted_before_clients_are_led_to_it() -> None:
    decision = decide(view(empty(0), seeded(1)), NOW)
    assert moved_to(decision) == "p-1"
    kinds = [type(each) for each in decision.steps]
    assert kinds == [WriteRecord, Promote, BringIntoService]
    assert Promote("p-1", DATA) in decision.steps


def test_the_data_may_stay_behind_when_the_ferry_has_gone() -> None:
    assert moved_to(decide(view(seeded(0, is_link_up=False)), NOW)) == "p-0"


def test_of_two_who_copied_the_lower_number_is_chosen() -> None:
    assert moved_to(decide(view(seeded(1), seeded(0)), NOW)) == "p-0"


MOVING = Record(move=Move("p-0", "x", "", is_planned=False, epoch=Epoch(1)), epoch=Epoch(1))


def test_a_chosen_one_that_restarts_empty_is_not_promoted_and_nobody_else_instead() -> None:
    again = replace(empty(0), incarnation="y")
    assert decide(view(again, empty(1), record=MOVING), NOW).steps == ()


def test_another_one_that_copied_takes_the_place_of_a_chosen_one_that_restarted() -> None:
    again = replace(empty(0), incarnation="y")
    assert moved_to(decide(view(again, seeded(1), record=MOVING), NOW)) == "p-1"


def test_whoever_comes_next_finishes_the_promotion() -> None:
    decision = decide(view(seeded(0), empty(1), record=MOVING), NOW)
    assert Promote("p-0", DATA) in decision.steps
    promoted = replace(seeded(0), facts=Facts(Role.PRIMARY, "f" * 40, keys=10, promoted_from=DATA))
    last = decide(view(promoted, empty(1), record=MOVING), NOW).steps[-1]
    assert isinstance(last, WriteRecord)
    assert last.record.primary == "p-0"
    assert last.record.move is None


def test_a_running_group_of_another_operator_is_taken_over_whatever_is_to_be_restored() -> None:
    working = replace(empty(0), service=Service.PRIMARY)
    (step,) = decide(view(working, empty(1)), NOW).steps
    assert isinstance(step, WriteRecord)
    assert step.record.primary == "p-0"


def test_a_group_that_has_a_primary_is_kept_as_ever() -> None:
    working = replace(empty(0), service=Service.PRIMARY, led_by="10.0.0.0")
    record = Record(primary="p-0")
    decision = decide(view(working, record=record), NOW)
    assert Kind.AWAITING_DATA not in {each.kind for each in decision.findings}
