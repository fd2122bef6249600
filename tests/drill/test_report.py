"""What is concluded from the records of drills."""

from dataclasses import replace

import pytest

from drill_records import FAILOVER, NEW, OLD, SENTINELS, UNDISTURBED, record, said_by_all, writes
from everfly.drill.faults import Fault
from everfly.drill.measures import measures
from everfly.drill.record import Said
from everfly.drill.report import bars, conclude, merged, spread


def test_a_failover_that_went_well_is_passed_with_all_its_phases() -> None:
    report = conclude(record())
    assert not report.problems
    phases = report.phases
    assert (phases.first_sdown, phases.all_sdown, phases.odown) == (1000, 1020, 1010)
    assert (phases.elected, phases.promoted) == (1040, 1060)
    assert (phases.first_switch, phases.all_switched) == (1080, 1100)
    assert (phases.first_write, phases.well) == (1070, 2500)
    assert (report.failovers, report.attempts) == (1, 1)


def test_the_time_without_writes_is_the_gap_that_the_client_saw() -> None:
    report = conclude(record())
    assert report.pause == (-10.0, 1070.0)
    assert report.without_writes == report.longest_pause == 1080


def test_short_pauses_of_a_busy_machine_count_as_no_time_without_writes() -> None:
    report = conclude(record(Fault.KILL_REPLICA, said=(), writes=UNDISTURBED))
    assert report.without_writes == 0
    assert report.longest_pause == 10


def test_several_gaps_add_up_and_the_longest_is_told_apart() -> None:
    report = conclude(record(writes=writes((-1000, 0), (1070, 2000), (2200, 4000))))
    assert report.longest_pause == 1080
    assert report.without_writes == 1080 + 210


def test_a_gap_before_the_fault_is_not_blamed_on_it() -> None:
    gap_before = writes((-1000, -900), (-300, 4000))
    report = conclude(record(Fault.KILL_REPLICA, said=(), writes=gap_before))
    assert report.without_writes == 0


def test_two_failovers_for_one_dead_primary_are_a_problem() -> None:
    again = (
        Said(2000, "sentinel-1", "+promoted-slave", f"slave 10.0.0.1:6379 {OLD} @ store {NEW}"),
        *said_by_all(2010, "+switch-master", f"store {NEW} {OLD}"),
    )
    report = conclude(record(said=(*FAILOVER, *again)))
    assert report.failovers == 2
    assert report.problems == ("2 failovers, where there must be exactly one",)


def test_a_dead_primary_without_a_failover_is_a_problem() -> None:
    report = conclude(record(said=said_by_all(1000, "+sdown", f"master store {OLD}")))
    assert "0 failovers, where there must be exactly one" in report.problems


@pytest.mark.parametrize("fault", [Fault.KILL_REPLICA, Fault.KILL_SENTINEL])
def test_a_failover_while_the_primary_is_fine_is_a_problem(fault: Fault) -> None:
    report = conclude(record(fault, writes=UNDISTURBED))
    assert report.problems == ("1 failover, where there must be none",)


def test_a_sentinel_that_says_nothing_of_the_switch_is_a_problem() -> None:
    quiet = tuple(
        each
        for each in FAILOVER
        if (each.sentinel, each.channel) != ("sentinel-3", "+switch-master")
    )
    report = conclude(record(said=quiet))
    assert report.problems == ("sentinel-3 said +switch-master 0 times, not 1",)
    assert report.phases.all_switched is None


def test_what_was_said_before_the_fault_is_not_of_it() -> None:
    before = tuple(replace(each, at=each.at - 1900) for each in FAILOVER)
    assert conclude(record(said=(*before, *FAILOVER))).failovers == 1


def test_downs_of_others_open_no_phase() -> None:
    others = (
        Said(100, "sentinel-1", "+sdown", f"slave 10.0.0.2:6379 {NEW} @ store {OLD}"),
        Said(110, "sentinel-1", "+sdown", f"sentinel {'a' * 40} 10.0.0.9 26379 @ store {OLD}"),
    )
    assert conclude(record(said=(*others, *FAILOVER))).phases.first_sdown == 1000


def test_an_election_without_a_winner_is_an_attempt_and_a_remark_and_no_failover() -> None:
    failed = (
        Said(900, "sentinel-1", "+try-failover", f"master store {OLD}"),
        Said(950, "sentinel-1", "-failover-abort-not-elected", f"master store {OLD}"),
    )
    report = conclude(record(said=(*failed, *FAILOVER)))
    assert (report.attempts, report.failovers) == (2, 1)
    assert report.remarks == ("-failover-abort-not-elected was said 1 time",)
    assert report.is_passed


@pytest.mark.parametrize("at", [-500.0, 1500.0])
def test_an_acknowledged_write_that_is_lost_is_a_problem(at: float) -> None:
    lossy = replace(record().writes, lost=(at,))
    report = conclude(record(writes=lossy))
    assert report.problems == (
        f"1 acknowledged write of 393 lost, acknowledged {at:.0f} to {at:.0f} ms after the fault",
    )


@pytest.mark.parametrize(
    ("at", "is_problem"), [(-1.0, True), (1.0, False), (1090.0, False), (1400.0, True)]
)
def test_what_an_empty_primary_took_may_be_lost_until_a_majority_has_switched(
    at: float, is_problem: bool
) -> None:
    lossy = replace(UNDISTURBED, lost=(at,))
    report = conclude(record(Fault.RESTART_PRIMARY, writes=lossy))
    assert bool(report.problems) is is_problem
    assert bool(report.remarks) is not is_problem


def test_a_planned_failover_may_lose_nothing() -> None:
    report = conclude(record(Fault.FAILOVER, writes=replace(UNDISTURBED, lost=(10.0,))))
    assert report.problems == (
        "1 acknowledged write of 500 lost, acknowledged 10 to 10 ms after the fault",
    )


def test_without_any_switch_no_loss_is_excused() -> None:
    lossy = replace(UNDISTURBED, lost=(10.0,))
    report = conclude(record(Fault.RESTART_PRIMARY, writes=lossy, said=()))
    assert any("1 acknowledged write of 500 lost" in each for each in report.problems)


def test_a_write_that_was_carried_out_twice_is_a_remark() -> None:
    report = conclude(record(writes=replace(record().writes, doubled=2)))
    assert report.is_passed
    assert report.remarks == (
        "2 writes carried out twice: the answer was lost, so the client sent it again",
    )


def test_a_machine_that_was_too_busy_for_the_drill_is_a_remark() -> None:
    report = conclude(record(standstill=800.4))
    assert report.is_passed
    (remark,) = report.remarks
    assert remark.startswith("the drill itself stood still for 800 ms, for the machine was busy")


def test_a_dataset_that_contradicts_itself_is_a_problem() -> None:
    torn = replace(record().writes, counted=392, summed=393)
    report = conclude(record(writes=torn))
    assert report.problems == (
        "the final dataset contradicts itself: its counter says 392, its keys add up to 393",
    )


def test_clients_that_can_never_write_again_are_a_problem() -> None:
    ended = replace(writes((-1000, 0)), last_failure="10.0.0.1:6379 cannot be reached")
    report = conclude(record(writes=ended))
    assert "no write was possible any more: 10.0.0.1:6379 cannot be reached" in report.problems
    assert report.phases.first_write is None


def test_what_is_not_well_at_the_end_is_a_problem_word_for_word() -> None:
    report = conclude(record(trouble=("the replica 10.0.0.3:6379 follows nobody",), well_at=None))
    assert report.problems == ("the replica 10.0.0.3:6379 follows nobody",)


def test_what_the_stubborn_writer_lost_is_measured_and_is_no_problem() -> None:
    stubborn = replace(writes((-100, 200)), lost=(50.0, 60.0, 190.0))
    report = conclude(record(Fault.FREEZE_PRIMARY, stubborn=stubborn))
    assert report.stale is not None
    assert (report.stale.acknowledged, report.stale.lost, report.stale.window) == (20, 3, 140)
    assert report.is_passed


def test_the_bars_follow_each_other() -> None:
    names = {bar.name: (bar.start, bar.end) for bar in bars(conclude(record()))}
    assert names == {
        "noticed by the first Sentinel": (0, 1000),
        "agreed on (quorum)": (1000, 1010),
        "leader elected": (1010, 1040),
        "replica promoted": (1040, 1060),
        "first Sentinel announces": (1060, 1080),
        "all Sentinels agree": (1080, 1100),
        "clients cannot write": (-10, 1070),
        "everything is well again": (1100, 2500),
    }


def test_the_same_words_of_several_sentinels_are_one_row_with_each_time() -> None:
    rows = [row for row in merged(record()) if row.channel == "+sdown"]
    assert [row.times for row in rows] == [dict(zip(SENTINELS, (1000, 1010, 1020), strict=True))]


def test_the_same_words_of_one_sentinel_are_two_rows() -> None:
    twice = (Said(1, "sentinel-1", "+tilt", "#a"), Said(2, "sentinel-1", "+tilt", "#b"))
    assert [row.at for row in merged(record(said=twice))] == [1, 2]


def test_the_same_words_much_later_are_another_event() -> None:
    apart = (Said(1, "sentinel-1", "+tilt", "#a"), Said(9000, "sentinel-2", "+tilt", "#a"))
    assert [row.at for row in merged(record(said=apart))] == [1, 9000]


def test_a_spread_leaves_out_what_was_not_measured() -> None:
    assert spread([None, 3, 1, 2, None]) == (1, 2, 3)
    assert spread([None]) is None


def test_figures_of_several_runs_stand_side_by_side() -> None:
    reports = [conclude(record()), conclude(record(well_at=None, trouble=("sick",)))]
    found = {measure.key: measure.values for measure in measures(reports)}
    assert found["well_ms"] == (2500.0, None)
    assert found["failovers"] == (1.0, 1.0)
    assert "stubborn_lost" not in found
