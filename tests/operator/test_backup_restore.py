"""With which data a data store begins: what is written down, and who may not be overwritten."""

from dataclasses import replace
from typing import Any

import pytest

from everfly.core.group_view import Contact, Facts, GroupView, Intent, Member, Memory, Move, Record
from everfly.core.model import Address, Epoch, Instant, Role
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.backups.place import RestoreWish, Snapshot, Volume
from everfly.operator.backups.progress import Cut, Phase, Progress, progress_fields, snapshot_of
from everfly.operator.backups.restored import (
    COMPLETED,
    COPYING,
    LOADING,
    Restored,
    history_to_begin_with,
    is_copying,
    is_promoting,
    restored_field,
    restored_of,
    who_copies,
    who_holds_data,
)
from everfly.operator.observe import Observation, view_of
from everfly.operator.status import phase_of
from everfly.operator.wishes.spec import read_spec

WISH = RestoreWish("nightly-1")
FERRY = Address("10.0.9.9", 9999)
COPY = Restored(COPYING, "backups:nightly-1", "cache-restore", "uid/0", "h" * 40, 7)


def member(ordinal: int, **changes: Any) -> Member:
    facts = Facts(Role.PRIMARY, f"{ordinal}" * 40, keys=0)
    made = Member(f"c-{ordinal}", ordinal, Address(f"10.0.0.{ordinal}", 9999), facts=facts)
    return replace(made, **({"contact": Contact(Instant(1))} | changes))


def follower(ordinal: int, **changes: Any) -> Member:
    facts = Facts(Role.REPLICA, "h" * 40, 5, FERRY, is_link_up=True, keys=7)
    return member(ordinal, facts=replace(facts, **changes))


@pytest.mark.parametrize(
    "restored", [Restored(LOADING), COPY, COPY.at_end("2026-01-01T00:00:00Z")], ids=str
)
def test_what_is_written_is_read_back_as_the_same(restored: Restored) -> None:
    assert restored_of({"restore": restored_field(restored)}) == restored


@pytest.mark.parametrize(
    "status", [{}, {"restore": 5}, {"restore": {"phase": "Nonsense"}}], ids=str
)
def test_nonsense_counts_as_nothing_begun(status: Any) -> None:
    assert restored_of(status) is None


def test_the_history_is_known_only_between_reading_and_the_first_primary() -> None:
    copying = {"restore": restored_field(COPY)}
    assert history_to_begin_with(None, copying) is None
    assert history_to_begin_with(WISH, {}) == ""
    assert history_to_begin_with(WISH, {"restore": restored_field(Restored(LOADING))}) == ""
    assert history_to_begin_with(WISH, copying) == COPY.history
    assert history_to_begin_with(WISH, copying | {"primary": "c-0"}) is None


def seen(status: dict[str, Any], **spec: Any) -> GroupView:
    store = StoreSight("shop", "cache", "u", "1", 1, False, {}, status, {})
    looked = Observation(store, read_spec(spec), None, (), {}, lambda _: None, sees_hosts=True)
    return view_of(looked, 1, Memory())


def test_a_store_that_waits_for_its_data_is_being_configured() -> None:
    wish = {"everfly": {"restoreFrom": {"backup": "nightly-1"}}}
    assert phase_of(seen({}, **wish)) == "Configuring"
    assert phase_of(seen({})) == "ResourcesCreated"


@pytest.mark.parametrize(
    ("members", "restored", "who"),
    [
        ([member(0), member(1)], None, ""),
        ([member(0), member(1, facts=Facts(Role.PRIMARY, "x", keys=3))], None, "c-1"),
        ([member(0), member(1, facts=Facts(Role.PRIMARY, "x", keys=3))], COPY, "c-1"),
        ([follower(0), member(1)], COPY, ""),
        ([follower(0, history="another ferry's")], COPY, ""),
        ([follower(0)], None, "c-0"),
        ([member(0, facts=None)], None, ""),
    ],
    ids=["empty", "full", "full beside a copy", "copies", "copied before", "stranger", "silent"],
)
def test_data_that_are_not_those_that_are_restored_are_kept(
    members: list[Member], restored: Restored | None, who: str
) -> None:
    assert who_holds_data(GroupView(tuple(members)), restored) == who


def test_the_first_instance_that_is_ready_copies() -> None:
    unfit = [
        member(0, contact=Contact()),
        member(1, is_terminating=True),
        member(2, is_fenced=True),
        member(3, facts=Facts(Role.PRIMARY, "x", is_loading=True)),
    ]
    found = who_copies(GroupView((*unfit, member(4), member(5))))
    assert found is not None
    assert found.name == "c-4"
    assert who_copies(GroupView(tuple(unfit))) is None


def test_where_disks_outlive_pods_all_of_them_are_looked_at_first() -> None:
    intent = Intent(replicas=2, has_snapshots=True)
    assert who_copies(GroupView((member(0),), intent=intent)) is None
    assert who_copies(GroupView((member(0), member(1)), intent=intent)) is not None


@pytest.mark.parametrize(
    ("who", "copies"),
    [
        (follower(0), True),
        (follower(0, is_link_up=False, is_syncing=True), True),
        (follower(0, is_link_up=False), False),
        (follower(0, primary=Address("10.0.9.8", 9999)), False),
        (member(0), False),
    ],
    ids=["has", "does", "lost it", "from another", "does not"],
)
def test_who_copies_from_the_ferry_is_not_told_to_again(*, who: Member, copies: bool) -> None:
    assert is_copying(who, FERRY) is copies


def test_one_that_was_lost_while_it_was_promoted_is_not_waited_for() -> None:
    move = Move("c-0", "uid/0", "", is_planned=False, epoch=Epoch(1))
    view = GroupView((member(0, incarnation="uid/0"),), Record(move=move))
    assert is_promoting(view)
    assert not is_promoting(replace(view, members=(member(0, incarnation="uid/1"),)))
    assert not is_promoting(replace(view, members=()))
    assert not is_promoting(GroupView((member(0),)))


def test_only_a_completed_backup_is_a_snapshot_to_begin_with() -> None:
    cut = Cut("uid/0", "c-0", "h", 5, keys=3)
    place = Volume("backups", "a")
    for phase in Phase:
        progress = Progress(phase, 1, cut=cut, basename="nightly-1")
        status = {k: v for k, v in progress_fields(progress, place).items() if v is not None}
        wanted = Snapshot(place, "nightly-1") if phase is Phase.COMPLETED else None
        assert snapshot_of(status) == wanted


def test_a_restore_that_is_over_stays_as_it_was() -> None:
    done = COPY.at_end("2026-01-01T00:00:00Z")
    assert (done.phase, done.keys, done.location) == (COMPLETED, 7, COPY.location)
