"""Single decisions about single views: what is found, who is fit, and what is never done."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everfly.core.diagnosis import Kind, State, diagnose, judge_primary
from everfly.core.group_view import (
    Contact,
    Facts,
    GroupView,
    Intent,
    Lineage,
    Member,
    Memory,
    Move,
    Record,
    Service,
)
from everfly.core.model import Address, Epoch, Instant, Millis, Role
from everfly.core.plan import decide
from everfly.core.steps import (
    BringIntoService,
    Delete,
    Fence,
    Follow,
    Promote,
    TakeOutOfService,
    TakeOver,
    WriteRecord,
)
from everfly.core.successor import choose, choose_planned

NOW = Instant(1_000_000)
HERE = "a" * 40
BEFORE = "b" * 40
ELSE = "c" * 40
SEEN = Contact(answered_at=NOW)


def place(ordinal: int) -> Address:
    return Address(f"10.0.0.{ordinal}", 9999)


def primary(**changes: object) -> Member:
    facts = Facts(Role.PRIMARY, HERE, keys=10, online_replicas=("10.0.0.1", "10.0.0.2"))
    member = Member(
        "p-0",
        0,
        place(0),
        incarnation="x",
        facts=facts,
        contact=SEEN,
        service=Service.PRIMARY,
        led_by="10.0.0.0",
    )
    return replace(member, **changes)  # type: ignore[arg-type]


def replica(ordinal: int = 1, **changes: object) -> Member:
    facts = Facts(
        Role.REPLICA, HERE, 100, place(0), is_link_up=True, link_silent_for=Millis(0), keys=10
    )
    member = Member(
        f"p-{ordinal}",
        ordinal,
        place(ordinal),
        incarnation="x",
        facts=facts,
        contact=SEEN,
        service=Service.REPLICA,
        led_by="10.0.0.0",
    )
    return replace(member, **changes)  # type: ignore[arg-type]


def saying(member: Member, **changes: object) -> Member:
    assert member.facts is not None
    return replace(member, facts=replace(member.facts, **changes))  # type: ignore[arg-type]


def silent(member: Member, for_ms: int, *, is_refused: bool = False) -> Member:
    since = Instant(NOW - for_ms)
    return replace(member, contact=Contact(since, since, is_refused))


def view(*members: Member, **changes: object) -> GroupView:
    base = GroupView(
        members or (primary(), replica(1), replica(2)),
        Record("p-0", Lineage(HERE, 100, history_before=BEFORE, offset_before=90)),
        Intent(),
        memory=Memory(written_at=NOW),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("who", "state"),
    [
        (primary(), State.SERVING),
        (saying(primary(), is_loading=True), State.LOADING),
        (saying(primary(), history=ELSE), State.REBORN),
        (saying(primary(), role=Role.REPLICA), State.DEMOTED),
        (primary(contact=Contact()), State.SILENT),
        (silent(primary(), 2_999), State.SILENT),
        (silent(primary(), 199, is_refused=True), State.SILENT),
        (silent(primary(), 3_000), State.UNREACHABLE),
        (silent(primary(is_host_ready=False), 3_000), State.DOWN),
        (silent(primary(is_ready=False), 3_000), State.DOWN),
        (silent(primary(is_terminating=True), 0, is_refused=True), State.DOWN),
        (silent(primary(is_process_gone=True), 0), State.DOWN),
    ],
)
def test_how_the_primary_is_follows_from_all_observers(who: Member, state: State) -> None:
    assert judge_primary(view(who, replica(1), replica(2)), NOW).state is state


@pytest.mark.parametrize(
    ("replicas", "state"),
    [
        ([saying(replica(1), is_link_up=False)], State.DOWN),
        ([saying(replica(1), link_silent_for=Millis(3_000))], State.DOWN),
        ([saying(replica(1), link_silent_for=None)], State.UNREACHABLE),
        ([saying(replica(1), is_link_up=False), replica(2)], State.UNREACHABLE),
        ([saying(replica(1), is_link_up=False, primary=place(7))], State.UNREACHABLE),
        ([silent(replica(1), 5_000)], State.UNREACHABLE),
        ([], State.UNREACHABLE),
    ],
)
def test_the_word_of_the_replicas_counts_only_when_all_agree(
    replicas: list[Member], state: State
) -> None:
    assert judge_primary(view(silent(primary(), 4_000), *replicas), NOW).state is state


def test_a_silent_primary_is_looked_at_again_when_its_time_is_up() -> None:
    verdict = judge_primary(view(silent(primary(), 1_000)), NOW)
    assert verdict.until == NOW + 2_000


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ((primary(is_terminating=True), replica(1), replica(2)), Kind.PRIMARY_TERMINATING),
        ((primary(is_host_leaving=True), replica(1), replica(2)), Kind.PRIMARY_LEAVING),
        ((primary(), replica(1)), Kind.INSTANCES_MISSING),
        ((primary(), silent(replica(1), 10), replica(2)), Kind.REPLICA_UNREACHABLE),
        ((primary(), saying(replica(1), primary=place(5)), replica(2)), Kind.REPLICA_ASTRAY),
        ((primary(), saying(replica(1), is_link_up=False), replica(2)), Kind.REPLICA_LINK_DOWN),
        ((primary(), saying(replica(1), role=Role.PRIMARY), replica(2)), Kind.TWO_PRIMARIES),
    ],
)
def test_what_is_wrong_has_a_name(members: tuple[Member, ...], kind: Kind) -> None:
    seen = view(*members)
    assert kind in {each.kind for each in diagnose(seen, judge_primary(seen, NOW), NOW)}


def test_an_instance_that_was_not_asked_yet_and_one_that_starts_are_nothing_wrong() -> None:
    starting = saying(replica(2), role=Role.PRIMARY, is_loading=True)
    seen = view(primary(), replica(1, facts=None, contact=Contact()), starting)
    found = diagnose(seen, judge_primary(seen, NOW), NOW)
    assert [each.kind for each in found] == [Kind.HEALTHY]


def test_a_replica_that_missed_writes_is_told_of() -> None:
    seen = view(record=replace(view().record, stale=("p-1",)))
    found = diagnose(seen, judge_primary(seen, NOW), NOW)
    assert [(each.kind, each.subject) for each in found] == [(Kind.REPLICA_STALE, "p-1")]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (saying(replica(2), offset=101), replica(1)),
        (replica(2), saying(replica(1), history=BEFORE, offset=500)),
        (replica(2), replica(1, is_current=False)),
        (replica(1), replica(2)),
        (saying(replica(2), role=Role.PRIMARY, promoted_from=HERE), replica(1)),
        (replica(2), replica(1, is_fenced=True)),
        (replica(2), replica(1, is_terminating=True)),
        (replica(2), replica(1, is_host_ready=False)),
        (replica(2), saying(replica(1), is_loading=True)),
        (replica(2), saying(replica(1), is_syncing=True)),
        (replica(2), saying(replica(1), offset=None)),
        (replica(2), saying(replica(1), history=ELSE, offset=900)),
        (replica(2), saying(replica(1), history="")),
        (replica(2), silent(replica(1), 10)),
        (replica(2), saying(replica(1), role=Role.PRIMARY)),
        (replica(2), replica(1, link_down_since=Instant(NOW - 6_000))),
    ],
)
def test_the_better_replica_is_chosen(better: Member, worse: Member) -> None:
    seen = view(primary(), worse, better)
    assert choose(seen).best == better


def test_a_replica_far_behind_the_best_one_ever_seen_is_not_complete() -> None:
    record = Record("p-0", Lineage(HERE, 50_000))
    gone = silent(primary(is_process_gone=True), 5_000)
    behind = view(gone, replica(1), silent(replica(2), 5_000), record=record)
    choice = choose(behind)
    assert choice.best is None
    assert "p-2 may hold more" in choice.risk[0]
    assert choose(replace(behind, intent=Intent(accepts_loss_of="always"))).best == replica(1)
    assert choose(replace(behind, intent=Intent(accepts_loss_of="aaaaaaa"))).best is None
    assert choose(replace(behind, intent=Intent(accepts_loss_of="aaaaaaaa"))).best == replica(1)


def test_what_is_left_is_chosen_when_nobody_else_can_hold_more() -> None:
    record = Record("p-0", Lineage(HERE, 50_000))
    gone = silent(primary(is_process_gone=True), 5_000)
    fresh = replica(2, facts=None, contact=Contact(), is_ready=False)
    assert choose(view(gone, replica(1), fresh, record=record)).best == replica(1)


def test_without_a_record_replicas_of_any_history_may_be_chosen() -> None:
    assert choose(view(replica(1), record=Record())).best == replica(1)


def test_disks_of_instances_that_are_not_back_may_hold_more() -> None:
    reborn = saying(primary(), history=ELSE)
    seen = view(reborn, intent=Intent(has_snapshots=True))
    choice = choose(seen)
    assert choice.best is None
    assert "2 instances are not back yet" in choice.risk[0]


@pytest.mark.parametrize(
    "unfit",
    [
        replica(1, is_host_leaving=True),
        replica(1, is_ready=False),
        saying(replica(1), is_link_up=False),
        saying(replica(1), primary=place(9)),
        replica(3),
    ],
)
def test_a_hand_over_goes_only_to_who_can_take_it(unfit: Member) -> None:
    assert choose_planned(view(primary(), unfit)).best is None


def test_a_hand_over_prefers_the_new_revision_then_the_zone() -> None:
    zones = Intent(preferred_zones=("z",))
    old = replica(1, zone="z", is_current=False)
    assert choose_planned(view(primary(), old, replica(2), intent=zones)).best == replica(2)
    near = replica(2, zone="z")
    seen = view(primary(), saying(replica(1), offset=105), near, intent=zones)
    assert choose_planned(seen).best == near


def test_a_primary_whose_host_is_being_emptied_hands_over_to_another_host() -> None:
    leaving = primary(is_host_leaving=True)
    steps = decide(view(leaving, replica(1, is_host_leaving=True), replica(2)), NOW).steps
    assert [each.name for each in steps if isinstance(each, TakeOver)] == ["p-2"]
    stuck = view(leaving, replica(1, is_host_leaving=True), replica(2, is_host_leaving=True))
    assert decide(stuck, NOW).steps == ()


def moving(*members: Member, is_planned: bool, **changes: object) -> GroupView:
    move = Move("p-1", "x", "p-0", is_planned, Epoch(1))
    record = replace(view().record, move=move, epoch=Epoch(1))
    return view(*members, record=record, **changes)


def test_a_move_waits_for_an_answer_of_the_chosen_one() -> None:
    waiting = moving(primary(), silent(replica(1), 100), replica(2), is_planned=True)
    assert decide(waiting, NOW).steps == ()


@pytest.mark.parametrize(
    "lost",
    [
        replica(1, is_process_gone=True),
        replica(1, incarnation="y"),
        replica(1, is_fenced=True),
        replica(1, is_terminating=True),
        silent(replica(1), 3_000),
        silent(replica(1), 200, is_refused=True),
    ],
)
def test_a_move_to_somebody_lost_is_taken_back_while_the_primary_serves(lost: Member) -> None:
    decision = decide(moving(primary(), lost, replica(2), is_planned=True), NOW)
    (record,) = (each.record for each in decision.steps if isinstance(each, WriteRecord))
    assert record.move is None
    assert record.primary == "p-0"
    assert decision.memory.planned_not_before > NOW


def test_a_move_to_somebody_lost_goes_to_the_next_one_in_an_epoch_of_its_own() -> None:
    gone = silent(primary(is_process_gone=True), 5_000)
    decision = decide(moving(gone, silent(replica(1), 5_000), replica(2), is_planned=False), NOW)
    (record,) = (each.record for each in decision.steps if isinstance(each, WriteRecord))
    assert record.move is not None
    assert (record.move.to, record.move.epoch) == ("p-2", 2)


@pytest.mark.parametrize("is_planned", [True, False])
def test_a_move_whose_chosen_one_is_gone_waits_while_the_primary_is_only_silent(
    is_planned: bool,
) -> None:
    seen = moving(silent(primary(), 100), replica(2), is_planned=is_planned)
    assert decide(seen, NOW).steps == ()


@pytest.mark.parametrize(
    ("old", "is_planned"),
    [
        (primary(), False),
        (silent(primary(), 4_000), False),
    ],
)
def test_a_failover_is_taken_back_when_the_primary_turns_out_to_live(
    old: Member, is_planned: bool
) -> None:
    decision = decide(moving(old, replica(1), replica(2), is_planned=is_planned), NOW)
    assert not any(isinstance(each, Promote | TakeOver) for each in decision.steps)
    assert any(
        isinstance(each, WriteRecord) and each.record.move is None for each in decision.steps
    )


def test_a_planned_move_goes_on_through_the_replica_when_only_we_lost_the_primary() -> None:
    seen = moving(silent(primary(), 4_000), replica(1), replica(2), is_planned=True)
    assert any(isinstance(each, TakeOver) for each in decide(seen, NOW).steps)


@pytest.mark.parametrize("is_planned", [True, False])
def test_a_move_waits_while_nobody_knows_how_the_primary_is(is_planned: bool) -> None:
    cut = saying(replica(1), is_link_up=False)
    seen = moving(silent(primary(), 100), cut, replica(2), is_planned=is_planned)
    assert decide(seen, NOW).steps == ()


def test_a_hand_over_whose_link_broke_is_taken_back() -> None:
    cut = saying(replica(1), is_link_up=False)
    decision = decide(moving(primary(), cut, replica(2), is_planned=True), NOW)
    assert BringIntoService("p-0", Service.PRIMARY, place(0)) in decision.steps


def test_a_fenced_primary_is_not_brought_back_by_a_move_that_ends() -> None:
    cut = saying(replica(1), is_link_up=False)
    seen = moving(primary(is_fenced=True), cut, replica(2), is_planned=True)
    steps = decide(seen, NOW).steps
    assert not any(isinstance(each, BringIntoService) for each in steps)


def test_a_move_that_is_done_is_written_down_with_the_history_it_continues() -> None:
    done = saying(replica(1, service=Service.PRIMARY, led_by="10.0.0.1"), role=Role.PRIMARY)
    done = saying(done, history=ELSE, keys=7)
    old = primary(service=Service.NONE)
    (step,) = decide(moving(old, done, replica(2), is_planned=False), NOW).steps
    assert isinstance(step, WriteRecord)
    assert step.record.lineage == Lineage(ELSE, keys=7, history_before=HERE, offset_before=100)


def test_a_survivor_of_the_same_history_needs_no_history_before() -> None:
    done = saying(replica(1), role=Role.PRIMARY)
    steps = decide(moving(done, is_planned=False), NOW).steps
    record = next(each.record for each in steps if isinstance(each, WriteRecord))
    assert record.lineage == Lineage(HERE, keys=10)


def test_a_group_without_a_record_waits_until_all_who_may_be_at_work_were_asked() -> None:
    asked_later = primary(facts=None, contact=Contact())
    assert decide(view(asked_later, replica(1), record=Record()), NOW).steps == ()


def test_a_group_without_a_record_waits_for_datasets_that_are_read_from_disk() -> None:
    loading = saying(primary(service=Service.NONE), is_loading=True)
    assert decide(view(loading, record=Record()), NOW).steps == ()


def test_a_group_of_replicas_alone_gets_one_of_them_as_primary() -> None:
    members = [saying(replica(n), primary=place(9)) for n in (1, 2)]
    steps = decide(view(*members, record=Record()), NOW).steps
    assert Promote("p-1", HERE) in steps


def test_a_labelled_primary_without_an_answer_is_known_by_its_replicas() -> None:
    dead = silent(primary(facts=None), 100)
    steps = decide(view(dead, replica(1), record=Record()), NOW).steps
    (step,) = steps
    assert isinstance(step, WriteRecord)
    assert step.record.lineage == Lineage(HERE, 100, 10)
    alone = decide(view(dead, record=Record()), NOW).steps
    assert alone == (WriteRecord(Record("p-0")),)


def test_a_record_without_a_history_gets_that_of_the_primary_that_serves() -> None:
    steps = decide(view(record=Record("p-0")), NOW).steps
    assert steps == (WriteRecord(Record("p-0", Lineage(HERE, keys=10))),)


def test_an_offset_that_grew_is_written_down_once_a_minute() -> None:
    far = saying(replica(1), offset=90_000)
    due = Memory(written_at=Instant(NOW - 60_000))
    (step,) = decide(view(primary(), far, replica(2), memory=due), NOW).steps
    assert isinstance(step, WriteRecord)
    assert step.record.lineage is not None
    assert step.record.lineage.offset == 90_000
    assert decide(view(primary(), far, replica(2)), NOW).steps == ()


@pytest.mark.parametrize(
    ("member", "was", "is_now"),
    [
        (saying(replica(1, link_down_since=Instant(NOW - 5_000)), is_link_up=False), (), ("p-1",)),
        (saying(replica(1, link_down_since=Instant(NOW - 4_999)), is_link_up=False), (), ()),
        (saying(replica(1), is_link_up=False), (), ()),
        (replica(1), ("p-1",), ()),
        (saying(replica(1), is_syncing=True), ("p-1",), ("p-1",)),
        (saying(replica(1), history=ELSE), ("p-1",), ()),
        (silent(replica(1), 10), ("p-1",), ("p-1",)),
    ],
)
def test_who_missed_writes_is_written_down_until_it_has_them(
    member: Member, was: tuple[str, ...], is_now: tuple[str, ...]
) -> None:
    record = replace(view().record, stale=was)
    steps = decide(view(primary(), member, replica(2), record=record), NOW).steps
    written = [each.record.stale for each in steps if isinstance(each, WriteRecord)]
    assert written == ([] if was == is_now else [is_now])


def test_a_replica_is_told_to_follow_at_most_every_five_seconds() -> None:
    astray = saying(replica(1), primary=place(9))
    told = Memory(followed=(("p-1", Instant(NOW - 4_999)),), written_at=NOW)
    assert decide(view(primary(), astray, replica(2), memory=told), NOW).steps == ()
    told = Memory(followed=(("p-1", Instant(NOW - 5_000)), ("p-9", NOW)), written_at=NOW)
    decision = decide(view(primary(), astray, replica(2), memory=told), NOW)
    assert decision.steps == (Follow("p-1", "p-0", place(0), cuts_clients=False),)
    assert decision.memory.followed == (("p-1", NOW),)


@pytest.mark.parametrize(
    "quiet",
    [
        saying(replica(1), is_link_up=False),
        saying(replica(1, link_down_since=Instant(NOW - 2_000)), is_link_up=False),
        replica(1, is_terminating=True),
        saying(replica(1), is_loading=True),
    ],
)
def test_a_replica_that_helps_itself_is_left_alone(quiet: Member) -> None:
    steps = decide(view(primary(), quiet, replica(2)), NOW).steps
    assert not any(isinstance(each, Follow) for each in steps)


def test_a_replica_whose_link_stays_down_is_told_to_follow_again() -> None:
    stuck = saying(replica(1, link_down_since=Instant(NOW - 3_000)), is_link_up=False)
    steps = decide(view(primary(), stuck, replica(2)), NOW).steps
    assert steps == (Follow("p-1", "p-0", place(0), cuts_clients=False),)


def test_a_former_primary_loses_its_clients_when_it_is_led_back() -> None:
    second = saying(replica(1, service=Service.PRIMARY), role=Role.PRIMARY)
    steps = decide(view(primary(), second, replica(2)), NOW).steps
    assert steps == (
        TakeOutOfService("p-1"),
        Follow("p-1", "p-0", place(0), cuts_clients=True),
    )


def test_a_note_that_names_the_wrong_primary_is_renewed() -> None:
    steps = decide(view(primary(led_by=""), replica(1, led_by="10.9.9.9"), replica(2)), NOW).steps
    assert steps == (
        BringIntoService("p-0", Service.PRIMARY, place(0)),
        BringIntoService("p-1", Service.REPLICA, place(0)),
    )


@pytest.mark.parametrize(
    "intent", [Intent(may_restart=False), Intent(running=4, replicas=4), Intent()]
)
def test_nobody_is_restarted_while_not_allowed_or_not_all_there(intent: Intent) -> None:
    members = [primary(), replica(1, is_current=False), replica(2)]
    if intent == Intent():
        members[2] = replica(2, is_terminating=True)
    steps = decide(view(*members, intent=intent), NOW).steps
    assert not any(isinstance(each, Delete) for each in steps)


def test_an_isolated_replica_is_replaced_but_not_a_fenced_or_a_fed_one() -> None:
    isolated = silent(replica(1), 60_000)
    alone = saying(primary(), online_replicas=())
    (step,) = decide(view(alone, isolated, replica(2)), NOW).steps
    assert isinstance(step, Delete)
    for kept in (
        view(alone, replace(isolated, is_fenced=True, service=Service.NONE), replica(2)),
        view(primary(), isolated, replica(2)),
        view(alone, replace(isolated, address=None), replica(2)),
        view(alone, replace(isolated, is_host_ready=False), replica(2)),
        view(alone, replace(isolated, is_ready=False), replica(2)),
    ):
        assert decide(kept, NOW).steps == ()


def test_a_planned_move_waits_after_one_that_failed_unless_the_primary_is_stopped() -> None:
    memory = Memory(planned_not_before=Instant(NOW + 1), written_at=NOW)
    outdated = primary(is_current=False)
    assert decide(view(outdated, replica(1), replica(2), memory=memory), NOW).steps == ()
    stopped = primary(is_terminating=True)
    steps = decide(view(stopped, replica(1), replica(2), memory=memory), NOW).steps
    assert any(isinstance(each, TakeOver) for each in steps)


def test_a_zone_without_anybody_well_does_not_draw_the_primary() -> None:
    zones = Intent(preferred_zones=("z", "y"))
    away = silent(replica(1, zone="z"), 10)
    assert decide(view(primary(zone="y"), away, replica(2), intent=zones), NOW).steps == ()


@pytest.mark.parametrize(
    ("intent", "running"),
    [
        (Intent(replicas=0), 0),
        (Intent(is_hibernated=True), 0),
        (Intent(replicas=1), 1),
        (Intent(replicas=5), 5),
    ],
)
def test_how_many_may_run(intent: Intent, running: int) -> None:
    assert decide(view(intent=intent), NOW).running == running


def test_neither_the_primary_nor_the_next_one_is_dropped() -> None:
    last = replace(view().record, primary="p-2")
    assert decide(view(record=last, intent=Intent(replicas=1)), NOW).running == 3
    seen = moving(primary(), replica(1), is_planned=True, intent=Intent(replicas=1))
    assert decide(seen, NOW).running == 2
    gone = moving(primary(), is_planned=True, intent=Intent(replicas=1))
    assert decide(gone, NOW).running == 1


ROLES = st.sampled_from(list(Role))
HISTORIES = st.sampled_from([HERE, BEFORE, ELSE, ""])


@st.composite
def members(draw: st.DrawFn, ordinal: int) -> Member:
    facts = draw(
        st.none()
        | st.builds(
            Facts,
            role=ROLES,
            history=HISTORIES,
            offset=st.none() | st.integers(0, 200),
            primary=st.none() | st.sampled_from([place(n) for n in range(4)]),
            is_link_up=st.booleans(),
            link_silent_for=st.none() | st.sampled_from([Millis(0), Millis(9_000)]),
            is_syncing=st.booleans(),
            is_loading=st.booleans(),
            keys=st.none() | st.integers(0, 3),
            promoted_from=HISTORIES,
        )
    )
    times = st.none() | st.sampled_from([Instant(NOW - n) for n in (0, 100, 500, 4_000, 70_000)])
    flags = {
        name: draw(st.booleans())
        for name in (
            "is_ready",
            "is_terminating",
            "is_host_ready",
            "is_host_leaving",
            "is_current",
            "is_fenced",
            "is_process_gone",
        )
    }
    return Member(
        f"p-{ordinal}",
        ordinal,
        place(ordinal) if facts is not None or draw(st.booleans()) else None,
        zone=draw(st.sampled_from(["", "z", "y"])),
        incarnation=draw(st.sampled_from(["x", "y"])),
        facts=facts,
        contact=Contact(draw(times), draw(times), draw(st.booleans())),
        link_down_since=draw(times),
        service=draw(st.sampled_from(list(Service))),
        led_by=draw(st.sampled_from(["", "10.0.0.0"])),
        **flags,
    )


@st.composite
def views(draw: st.DrawFn) -> GroupView:
    count = draw(st.integers(0, 4))
    names = [f"p-{n}" for n in range(4)]
    move = draw(
        st.none()
        | st.builds(
            Move,
            to=st.sampled_from(names),
            incarnation=st.just("x"),
            away_from=st.sampled_from(names),
            is_planned=st.booleans(),
            epoch=st.just(Epoch(3)),
        )
    )
    lineage = st.none() | st.builds(
        Lineage, st.just(HERE), st.integers(0, 30_000), history_before=st.just(BEFORE)
    )
    return GroupView(
        tuple(draw(members(n)) for n in range(count)),
        Record(draw(st.sampled_from(["", *names])), draw(lineage), move, epoch=Epoch(3)),
        Intent(
            replicas=draw(st.integers(0, 4)),
            running=draw(st.integers(0, 5)),
            switch_to=draw(st.sampled_from(["", "*", "p-1", "p-9"])),
            accepts_loss_of=draw(st.sampled_from(["", "always", HERE])),
            preferred_zones=draw(st.sampled_from([(), ("z",)])),
            is_paused=draw(st.booleans()),
            has_snapshots=draw(st.booleans()),
        ),
        memory=Memory(
            failed_take_over=draw(st.sampled_from(["", "p-1"])),
            refused_take_over=draw(st.sampled_from(["", "p-1"])),
        ),
    )


@settings(max_examples=250, deadline=None)
@given(views())
def test_whatever_is_seen_no_promise_is_broken(seen: GroupView) -> None:
    decision = decide(seen, NOW)
    steps = decision.steps
    if seen.intent.is_paused:
        assert steps == ()
    written = [each.record for each in steps if isinstance(each, WriteRecord)]
    move = written[0].move if written and written[0].move is not None else seen.record.move
    raised = [each for each in steps if isinstance(each, Promote | TakeOver)]
    assert len(raised) <= 1
    for step in raised:
        assert move is not None
        assert step.name == move.to
        began = bool(written) and written[0].move is move
        assert began == (move.epoch == 4)
        if began:
            assert steps[0] == WriteRecord(written[0])
            check_whose_data(seen, step.name)
    check_one_in_service(seen, steps)
    check_unreachable(seen, steps)
    primary_named = seen.member(seen.record.primary)
    if primary_named is not None and seen.intent.replicas > 0 and not seen.intent.is_hibernated:
        assert decision.running > min(primary_named.ordinal, seen.intent.running - 1)


def check_one_in_service(seen: GroupView, steps: tuple[object, ...]) -> None:
    """Clients are never led to a second primary."""
    led = {each.name for each in seen.members if each.service is Service.PRIMARY}
    for step in steps:
        match step:
            case TakeOutOfService(name):
                led.discard(name)
            case BringIntoService(name, Service.PRIMARY):
                assert led <= {name}
                led.add(name)
            case BringIntoService(name, Service.REPLICA):
                led.discard(name)


def check_unreachable(seen: GroupView, steps: tuple[object, ...]) -> None:
    """A primary that only we cannot reach is not replaced."""
    verdict = judge_primary(seen, NOW)
    is_failing_over = any(isinstance(each, Promote | Fence) for each in steps)
    if verdict.state is State.UNREACHABLE and not seen.memory.failed_take_over:
        assert not is_failing_over


def check_whose_data(seen: GroupView, name: str) -> None:
    """Nobody is promoted who holds less than another one may hold, without consent."""
    chosen = seen.member(name)
    lineage = seen.record.lineage
    assert chosen is not None
    assert chosen.facts is not None
    if lineage is None or seen.intent.accepts_loss_of:
        return
    is_complete = chosen.facts.history in (lineage.history, BEFORE) and (
        chosen.facts.history != HERE
        or (chosen.facts.offset or 0) >= lineage.offset - seen.policy.lag_max
    )
    if is_complete:
        return
    for other in seen.others(name):
        is_usable = (
            other.is_reachable
            and not other.is_terminating
            and not other.is_fenced
            and other.is_host_ready
        )
        if is_usable and other.facts is not None:
            is_busy = other.facts.is_loading or other.facts.is_syncing
            assert not is_busy or other.is_process_gone
            assert is_busy or (other.facts.keys or 0) <= (chosen.facts.keys or 0)
        elif not seen.intent.has_snapshots:
            assert other.is_process_gone or (other.facts is None and not other.is_ready)
        else:
            raise AssertionError(f"the disk of {other.name} may hold more")


def test_a_restarted_primary_leaves_the_service_while_another_one_may_hold_more() -> None:
    reborn = saying(primary(), history=ELSE)
    away = silent(replica(1), 4_000)
    decision = decide(view(reborn, away, intent=Intent(replicas=2, running=2)), NOW)
    assert decision.steps == (TakeOutOfService("p-0"),)
    assert Kind.DATA_LOSS_RISK in {each.kind for each in decision.findings}
