//! The gate under every order of its threads' steps that the memory model allows.
//!
//! The file under test is compiled once more here, against loom's primitives instead of the
//! standard library's.

#![allow(dead_code, missing_docs, reason = "the gate's own tests use the rest of it")]

mod sync {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
    pub use loom::sync::{Arc, Mutex};
}

#[path = "../src/gate.rs"]
mod gate;

use std::net::SocketAddr;

use gate::{Gate, Seat, State, Window};
use loom::sync::atomic::AtomicUsize;
use loom::sync::{Arc, Notify};
use loom::thread;
use sync::Ordering;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn window() -> Window {
    Window { now_ms: 0, budget_ms: 1000, reason: "test".into() }
}

/// A gate that is open, and what is notified when a drain may be over.
fn open_gate() -> (Arc<Gate>, Arc<Notify>) {
    let drained = Arc::new(Notify::new());
    let notify = drained.clone();
    let gate = Arc::new(Gate::new(window(), Box::new(move || notify.notify())));
    gate.set_primary(address(1), 1);
    (gate, drained)
}

fn bounded() -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    // Most faults show with two switches of threads where none is needed.
    model.preemption_bound = Some(3);
    model
}

#[test]
fn nothing_runs_and_nothing_starts_once_a_hold_is_drained() {
    bounded().check(|| {
        let (gate, drained) = open_gate();
        let running = Arc::new(AtomicUsize::new(0));
        let worker = thread::spawn({
            let (gate, running) = (gate.clone(), running.clone());
            move || {
                let woken = Arc::new(Notify::new());
                let notify = woken.clone();
                let mut seat = Seat::take(gate, Box::new(move || notify.notify()));
                for _ in 0..2 {
                    if seat.enter(1) {
                        running.fetch_add(1, Ordering::Relaxed);
                        running.fetch_sub(1, Ordering::Relaxed);
                        seat.leave(1);
                    }
                }
                // A worker without requests sleeps until it is woken.
                while seat.view().state == State::Open {
                    woken.wait();
                    seat.refresh();
                }
                seat
            }
        });
        let hold = gate.hold(window());
        while !gate.is_drained(hold) {
            drained.wait();
        }
        assert_eq!(running.load(Ordering::Relaxed), 0, "a request runs after the drain");
        let mut seat = worker.join().unwrap();
        assert!(!seat.enter(1), "a request starts after the drain");
        gate.set_primary(address(2), 2);
        gate.release();
        assert!(seat.enter(1));
        assert_eq!(seat.view().primary, Some(address(2)));
    });
}

#[test]
fn a_drain_is_never_proved_while_a_request_is_under_way() {
    bounded().check(|| {
        let (gate, _) = open_gate();
        let running = Arc::new(AtomicUsize::new(0));
        let mut seat = Seat::take(gate.clone(), Box::new(|| ()));
        let worker = thread::spawn({
            let running = running.clone();
            move || {
                if seat.enter(1) {
                    running.store(1, Ordering::Relaxed);
                }
                seat.refresh();
                // It is never answered.
                seat
            }
        });
        let hold = gate.hold(window());
        if gate.is_drained(hold) {
            assert_eq!(running.load(Ordering::Relaxed), 0);
        }
        let seat = worker.join().unwrap();
        assert_eq!(gate.is_drained(hold), seat.in_flight() == 0);
    });
}

#[test]
fn a_worker_that_sleeps_is_woken_by_the_release() {
    bounded().check(|| {
        let (gate, _) = open_gate();
        let woken = Arc::new(Notify::new());
        gate.hold(window());
        let notify = woken.clone();
        let mut seat = Seat::take(gate.clone(), Box::new(move || notify.notify()));
        let control = thread::spawn(move || {
            gate.release();
        });
        // A wake that is lost would show as a deadlock.
        while !seat.enter(1) {
            woken.wait();
        }
        control.join().unwrap();
    });
}

#[test]
fn the_highest_epoch_wins_in_any_order() {
    bounded().check(|| {
        let (gate, _) = open_gate();
        let other = gate.clone();
        let follower = thread::spawn(move || {
            other.set_primary(address(3), 3);
        });
        let mut seat = Seat::take(gate.clone(), Box::new(|| ()));
        gate.set_primary(address(2), 2);
        assert!(seat.enter(1));
        let seen = seat.view().clone();
        assert_eq!(seen.primary, Some(address(u16::try_from(seen.epoch).unwrap())));
        follower.join().unwrap();
        assert!(seat.enter(1));
        assert_eq!((seat.view().epoch, seat.view().primary), (3, Some(address(3))));
    });
}

#[test]
fn a_loss_told_late_does_not_close_the_gate_to_the_next_primary() {
    bounded().check(|| {
        let (gate, _) = open_gate();
        let term = gate.view().term;
        let worker = thread::spawn({
            let gate = gate.clone();
            move || {
                gate.lose(term, window());
            }
        });
        gate.set_primary(address(2), 2);
        worker.join().unwrap();
        assert_eq!(gate.view().state, State::Open);
        assert_eq!(gate.view().primary, Some(address(2)));
    });
}
