//! Where requests may go just now, for all workers, and whether all have stopped.
//!
//! One value for the process: open, holding (somebody asked to) or without a primary; with the
//! primary's address and the epoch that made it primary. Control changes it under a lock; workers
//! read one word of it without one, before each request or batch of them. Rules:
//!
//! - A lower epoch never replaces a higher one.
//! - `generation` grows with every change. `term` grows when the primary's address changes: a
//!   connection of an older term must be closed, and nothing be written to it.
//! - Drained is proved by acknowledgement: each worker stores the generation it has seen after the
//!   last request it let pass under an older one. A hold is drained when every worker has seen it
//!   and has nothing in flight. So the path of a request holds one read of shared memory and no
//!   locked instruction; the price is that idle workers must be woken to acknowledge.
//! - A window is counted from when requests were first held, whatever the reason changes to.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::PoisonError;

use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// Whether requests may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They pass to the primary.
    Open,
    /// They are held because somebody asked for it; until `release`.
    Holding,
    /// They are held because no primary is known to be alive; until `set_primary` or `regain`.
    NoPrimary,
}

/// What the gate says, at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Whether requests may pass.
    pub state: State,
    /// Where the primary is. Known while `Open`; in the other states the last that was known.
    pub primary: Option<SocketAddr>,
    /// The epoch that made it primary.
    pub epoch: u64,
    /// How often anything changed.
    pub generation: u64,
    /// How often the primary's address changed.
    pub term: u64,
    /// Since when requests are held, in ms of the caller's clock; 0 while `Open`.
    pub held_since_ms: u64,
    /// When requests that are held must be refused, in ms of the caller's clock; 0 while `Open`.
    pub deadline_ms: u64,
    /// Why requests are held; empty while `Open`.
    pub reason: Cow<'static, str>,
}

impl View {
    /// Return whether the window is over: what is held is to be refused, and what comes too.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.state != State::Open && now_ms >= self.deadline_ms
    }

    fn word(&self) -> u64 {
        let state = match self.state {
            State::Open => OPEN,
            State::Holding => 1,
            State::NoPrimary => 2,
        };
        self.generation << STATE_BITS | state
    }
}

const STATE_BITS: u32 = 2;
const OPEN: u64 = 0;

/// When a window begins, how long it may last, and why it is opened.
#[derive(Clone, Debug)]
pub struct Window {
    /// The caller's clock, in ms; any origin, never going back.
    pub now_ms: u64,
    /// How long requests may be held, in ms.
    pub budget_ms: u64,
    /// For people.
    pub reason: Cow<'static, str>,
}

/// What came of a new address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The address is another than before: connections to the old one are of an older term.
    Moved,
    /// The address is the same.
    Kept,
    /// The epoch is lower than the one that is known: nothing was changed.
    Stale {
        /// The epoch that is known.
        known_epoch: u64,
    },
}

// One worker, as seen by all. A cache line of its own (two: lines are fetched in pairs), because
// its worker writes it with every batch.
#[repr(align(128))]
struct Slot {
    seen: AtomicU64,
    in_flight: AtomicU64,
    wake: Box<dyn Fn() + Send + Sync>,
}

struct Inner {
    view: View,
    slots: Vec<Arc<Slot>>,
}

/// The gate. Share it by `Arc`; each worker takes a `seat`.
pub struct Gate {
    word: AtomicU64,
    inner: Mutex<Inner>,
    on_drain: Box<dyn Fn() + Send + Sync>,
}

impl Gate {
    /// Return a gate without a primary, whose window counts from `window.now_ms`.
    ///
    /// `on_drain` is called by workers, while requests are held, whenever `is_drained` may have
    /// become true. It must not block and not call the gate.
    #[must_use]
    pub fn new(window: Window, on_drain: Box<dyn Fn() + Send + Sync>) -> Self {
        let view = View {
            state: State::NoPrimary,
            primary: None,
            epoch: 0,
            generation: 1,
            term: 0,
            held_since_ms: window.now_ms,
            deadline_ms: window.now_ms.saturating_add(window.budget_ms),
            reason: window.reason,
        };
        let word = AtomicU64::new(view.word());
        Self { word, inner: Mutex::new(Inner { view, slots: Vec::new() }), on_drain }
    }

    /// Return what the gate says now.
    #[must_use]
    pub fn view(&self) -> View {
        self.with(|inner| inner.view.clone())
    }

    /// Say where the primary is.
    ///
    /// Opens the gate if it was `NoPrimary`; a hold that somebody asked for stays until `release`.
    pub fn set_primary(&self, primary: SocketAddr, epoch: u64) -> Change {
        self.change(|view| {
            if epoch < view.epoch {
                return Err(Change::Stale { known_epoch: view.epoch });
            }
            let is_moved = view.primary != Some(primary);
            let opens = view.state == State::NoPrimary;
            if !is_moved && !opens && epoch == view.epoch {
                return Err(Change::Kept);
            }
            view.primary = Some(primary);
            view.epoch = epoch;
            view.term += u64::from(is_moved);
            if opens {
                open(view);
            }
            Ok(if is_moved { Change::Moved } else { Change::Kept })
        })
        .unwrap_or_else(|unchanged| unchanged)
    }

    /// Hold requests from now on, until `release`. Returns the generation to ask `is_drained` for.
    pub fn hold(&self, window: Window) -> u64 {
        // Every way through the closure changes the view.
        let _: Result<(), ()> = self.change(|view| {
            begin_window(view, State::Holding, window);
            Ok(())
        });
        self.view().generation
    }

    /// End a hold: to `Open`, or to `NoPrimary` where none was ever known. False when nothing was
    /// held by `hold`.
    pub fn release(&self) -> bool {
        self.change(|view| match (view.state, view.primary) {
            (State::Holding, Some(_)) => {
                open(view);
                Ok(())
            }
            (State::Holding, None) => {
                view.state = State::NoPrimary;
                Ok(())
            }
            _ => Err(()),
        })
        .is_ok()
    }

    /// Say that the primary of `term` is gone: `Open` becomes `NoPrimary`. False when the gate is
    /// not open or has moved on to another term.
    pub fn lose(&self, term: u64, window: Window) -> bool {
        self.change(|view| {
            if view.state != State::Open || view.term != term {
                return Err(());
            }
            begin_window(view, State::NoPrimary, window);
            Ok(())
        })
        .is_ok()
    }

    /// Say that the primary of `term` is alive after all: `NoPrimary` becomes `Open`. False when
    /// that is not what the gate waits for.
    pub fn regain(&self, term: u64) -> bool {
        self.change(|view| {
            if view.state != State::NoPrimary || view.primary.is_none() || view.term != term {
                return Err(());
            }
            open(view);
            Ok(())
        })
        .is_ok()
    }

    /// Return whether no request is in flight that passed before the change to `generation`, and
    /// none can follow. Only true while requests are held.
    #[must_use]
    pub fn is_drained(&self, generation: u64) -> bool {
        self.with(|inner| {
            inner.view.state != State::Open
                && inner.slots.iter().all(|slot| {
                    // In this order: what was let pass before `seen` was stored shows in
                    // `in_flight`, or is over.
                    slot.seen.load(Ordering::Acquire) >= generation
                        && slot.in_flight.load(Ordering::Acquire) == 0
                })
        })
    }

    /// Return how many requests are in flight, over all workers.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.with(|inner| {
            inner.slots.iter().map(|slot| slot.in_flight.load(Ordering::Acquire)).sum()
        })
    }

    /// Wake every worker, as a change does.
    pub fn wake_all(&self) {
        let slots = self.with(|inner| inner.slots.clone());
        for slot in slots {
            (slot.wake)();
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        // Nothing panics while it is held; and if it did, the view would still be whole.
        look(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // Change the view unless `decide` returns Err; then publish it and wake the workers.
    fn change<T, E>(&self, decide: impl FnOnce(&mut View) -> Result<T, E>) -> Result<T, E> {
        let outcome = self.with(|inner| {
            let outcome = decide(&mut inner.view)?;
            inner.view.generation += 1;
            self.word.store(inner.view.word(), Ordering::Release);
            Ok(outcome)
        });
        if outcome.is_ok() {
            // Outside of the lock: whoever is woken looks at the view at once.
            self.wake_all();
        }
        outcome
    }
}

fn open(view: &mut View) {
    view.state = State::Open;
    view.held_since_ms = 0;
    view.deadline_ms = 0;
    view.reason = Cow::Borrowed("");
}

fn begin_window(view: &mut View, state: State, window: Window) {
    if view.state == State::Open {
        view.held_since_ms = window.now_ms;
        view.deadline_ms = window.now_ms.saturating_add(window.budget_ms);
    }
    view.state = state;
    view.reason = window.reason;
}

/// A worker's place at the gate.
///
/// Dropping it gives the place up: what was in flight counts as over.
pub struct Seat {
    gate: Arc<Gate>,
    slot: Arc<Slot>,
    view: View,
    in_flight: u64,
}

impl Seat {
    /// Take a place. `wake` is called after every change, by whoever made it: the worker must then
    /// call `refresh` soon. It must not block and not call the gate.
    #[must_use]
    pub fn take(gate: Arc<Gate>, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let (slot, view) = gate.with(|inner| {
            let slot = Arc::new(Slot {
                seen: AtomicU64::new(inner.view.generation),
                in_flight: AtomicU64::new(0),
                wake,
            });
            inner.slots.push(slot.clone());
            (slot, inner.view.clone())
        });
        Self { gate, slot, view, in_flight: 0 }
    }

    /// Read what the gate says and acknowledge it. Returns whether it changed since the last look.
    #[inline]
    pub fn refresh(&mut self) -> bool {
        let word = self.gate.word.load(Ordering::Acquire);
        if word >> STATE_BITS == self.view.generation {
            return false;
        }
        self.acknowledge();
        true
    }

    /// Return what the gate said at the last look.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Let `requests` pass if the gate is open, which is looked at anew. False: hold them.
    ///
    /// Each that passed must `leave` when it was answered or its connection was lost.
    #[inline]
    #[must_use]
    pub fn enter(&mut self, requests: u64) -> bool {
        self.refresh();
        if self.view.state != State::Open {
            return false;
        }
        self.in_flight += requests;
        // Only this worker writes it; `acknowledge` orders it for those who ask.
        self.slot.in_flight.store(self.in_flight, Ordering::Release);
        true
    }

    /// Say that `requests` which had passed are over.
    #[inline]
    pub fn leave(&mut self, requests: u64) {
        debug_assert!(requests <= self.in_flight, "more requests leave than entered");
        self.in_flight = self.in_flight.saturating_sub(requests);
        self.slot.in_flight.store(self.in_flight, Ordering::Release);
        if self.in_flight == 0 && self.view.state != State::Open {
            (self.gate.on_drain)();
        }
    }

    /// Return how many of this worker's requests are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    #[cold]
    fn acknowledge(&mut self) {
        self.view = self.gate.view();
        self.slot.seen.store(self.view.generation, Ordering::Release);
        if self.in_flight == 0 && self.view.state != State::Open {
            (self.gate.on_drain)();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.with(|inner| inner.slots.retain(|slot| !Arc::ptr_eq(slot, &self.slot)));
        (self.gate.on_drain)();
    }
}
