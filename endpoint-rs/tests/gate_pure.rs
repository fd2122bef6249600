//! The gate, one step after another. Its threads are in `gate_pure_loom.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use everfly_endpoint::gate::{Change, Gate, Seat, State, Window};

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn window(now_ms: u64, budget_ms: u64, reason: &'static str) -> Window {
    Window { now_ms, budget_ms, reason: reason.into() }
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(window(0, 1000, "starting"), Box::new(|| ())))
}

fn seat(gate: &Arc<Gate>) -> Seat {
    Seat::take(gate.clone(), Box::new(|| ()))
}

#[test]
fn the_gate_opens_when_a_primary_is_known() {
    let gate = gate();
    let mut seat = seat(&gate);
    assert_eq!(gate.view().state, State::NoPrimary);
    assert!(!seat.enter(1));
    assert_eq!(gate.set_primary(address(1), 3), Change::Moved);
    assert!(seat.enter(1));
    assert_eq!((seat.view().primary, seat.view().epoch), (Some(address(1)), 3));
}

#[test]
fn a_lower_epoch_never_replaces_a_higher_one() {
    let gate = gate();
    gate.set_primary(address(1), 5);
    let before = gate.view();
    assert_eq!(gate.set_primary(address(2), 4), Change::Stale { known_epoch: 5 });
    assert_eq!(gate.view(), before);
    assert_eq!(gate.set_primary(address(2), 6), Change::Moved);
    assert_eq!(gate.view().term, before.term + 1);
}

#[test]
fn a_term_ends_only_when_the_address_changes() {
    let gate = gate();
    gate.set_primary(address(1), 5);
    let before = gate.view();
    assert_eq!(gate.set_primary(address(1), 5), Change::Kept);
    assert_eq!(gate.view(), before, "nothing is new, so nobody is woken");
    assert_eq!(gate.set_primary(address(1), 7), Change::Kept);
    let after = gate.view();
    assert_eq!((after.term, after.epoch), (before.term, 7));
    assert_eq!(gate.set_primary(address(2), 6), Change::Stale { known_epoch: 7 });
}

#[test]
fn a_hold_stays_until_it_is_released_even_if_the_primary_changes() {
    let gate = gate();
    let mut seat = seat(&gate);
    gate.set_primary(address(1), 1);
    gate.hold(window(100, 50, "switchover"));
    assert!(!seat.enter(1));
    assert_eq!(seat.view().reason, "switchover");
    gate.set_primary(address(2), 2);
    assert!(!seat.enter(1));
    assert!(gate.release());
    assert!(seat.enter(1));
    assert_eq!(seat.view().primary, Some(address(2)));
    assert!(!gate.release(), "nothing is held any more");
}

#[test]
fn a_hold_without_any_primary_is_released_to_waiting_for_one() {
    let gate = gate();
    gate.hold(window(0, 50, "switchover"));
    assert!(gate.release());
    assert_eq!(gate.view().state, State::NoPrimary);
}

#[test]
fn a_window_counts_from_when_requests_were_first_held() {
    let gate = gate();
    gate.set_primary(address(1), 1);
    assert!(!gate.view().is_expired(u64::MAX), "an open gate has no window");
    assert!(gate.lose(gate.view().term, window(100, 50, "connection lost")));
    gate.hold(window(140, 50, "switchover"));
    let view = gate.view();
    assert_eq!((view.held_since_ms, view.deadline_ms), (100, 150));
    assert!(!view.is_expired(149) && view.is_expired(150));
    gate.release();
    assert_eq!((gate.view().held_since_ms, gate.view().deadline_ms), (0, 0));
}

#[test]
fn the_loss_of_an_earlier_primary_is_no_loss() {
    let gate = gate();
    gate.set_primary(address(1), 1);
    let term = gate.view().term;
    gate.set_primary(address(2), 2);
    assert!(!gate.lose(term, window(0, 50, "connection lost")));
    assert_eq!(gate.view().state, State::Open);
}

#[test]
fn a_primary_that_lives_after_all_opens_the_gate_unless_it_was_replaced() {
    let gate = gate();
    assert!(!gate.regain(0), "none was ever known");
    gate.set_primary(address(1), 1);
    let term = gate.view().term;
    assert!(!gate.regain(term), "it was not lost");
    gate.lose(term, window(0, 50, "connection lost"));
    assert!(!gate.regain(term + 1));
    assert!(gate.regain(term));
    assert_eq!(gate.view().state, State::Open);
    gate.lose(term, window(0, 50, "connection lost"));
    gate.hold(window(0, 50, "switchover"));
    assert!(!gate.regain(term), "a hold is released by whoever asked for it");
}

#[test]
fn a_hold_is_drained_when_all_workers_know_of_it_and_have_nothing_in_flight() {
    let gate = gate();
    let (mut one, mut other) = (seat(&gate), seat(&gate));
    gate.set_primary(address(1), 1);
    assert!(one.enter(2) && other.enter(1));
    let hold = gate.hold(window(0, 50, "switchover"));
    assert!(!gate.is_drained(hold));
    one.leave(2);
    other.leave(1);
    assert!(!gate.is_drained(hold), "they may let another request pass: they have not looked");
    assert!(one.refresh() && other.refresh());
    assert!(gate.is_drained(hold));
    gate.release();
    assert!(!gate.is_drained(hold), "requests pass again");
}

#[test]
fn requests_in_flight_are_counted_over_all_workers_until_they_leave_or_the_worker_does() {
    let gate = gate();
    let (mut one, mut other) = (seat(&gate), seat(&gate));
    gate.set_primary(address(1), 1);
    assert!(one.enter(2) && other.enter(1));
    assert_eq!((gate.in_flight(), one.in_flight()), (3, 2));
    one.leave(1);
    assert_eq!(gate.in_flight(), 2);
    drop(other);
    assert_eq!(gate.in_flight(), 1);
    let hold = gate.hold(window(0, 50, "switchover"));
    drop(one);
    assert!(gate.is_drained(hold), "nobody is left");
}

#[test]
fn workers_are_woken_by_changes_and_control_when_a_drain_may_be_over() {
    let (woken, drained) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let count = |counter: &Arc<AtomicU32>| {
        let counter = counter.clone();
        Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        })
    };
    let gate = Arc::new(Gate::new(window(0, 1000, "starting"), count(&drained)));
    let mut seat = Seat::take(gate.clone(), count(&woken));
    gate.set_primary(address(1), 1);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    gate.set_primary(address(1), 1);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert!(seat.enter(1));
    seat.leave(1);
    assert_eq!(drained.load(Ordering::Relaxed), 0, "nobody waits");
    assert!(seat.enter(1));
    gate.hold(window(0, 50, "switchover"));
    seat.refresh();
    assert_eq!(drained.load(Ordering::Relaxed), 0);
    seat.leave(1);
    assert_eq!(drained.load(Ordering::Relaxed), 1);
}
