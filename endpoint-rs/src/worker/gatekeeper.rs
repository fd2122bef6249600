//! A worker at the gate: who is held, until when, and whether a lost primary serves again.
//!
//! The gate is looked at before each command and once more before anything is written, so that
//! nothing reaches an instance that is no longer the primary. Held clients go on in the order in
//! which they were held.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::{Duration, Instant};

use super::Worker;
use super::instance::pending_of;
use super::loss::Lost;
use crate::client::Wait;
use crate::gate::{Seat, State};
use crate::notices::Noticed;
use crate::shared::Shared;
use crate::upstream::{Owner, Purpose, Target};

/// The first try of a primary that was lost comes this long after the loss, the next ones later
/// and later: a restart takes a second, and ten tries a second cost nothing.
const PROBE_FIRST: Duration = Duration::from_millis(20);
const PROBE_MAX: Duration = Duration::from_millis(250);
/// How long a probe may take after its connection was begun.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// What asks an instance whether it is a primary.
const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";

/// A worker at the gate.
pub struct Gatekeeper {
    pub seat: Seat,
    /// The last change that was acted on.
    generation: u64,
    term: u64,
    held: VecDeque<(usize, u32)>,
    /// The window is over and those who were held have been told.
    has_expired: bool,
    probe: Option<(usize, u32, Instant)>,
    next_probe: Instant,
    probe_pause: Duration,
    /// Since when commands pass.
    open_since: Instant,
}

impl Gatekeeper {
    /// Take a place at the gate.
    pub fn new(shared: &Shared, number: usize, now: Instant) -> Self {
        let station = Arc::clone(&shared.stations[number]);
        let wake = Box::new(move || {
            // A worker whose poll is gone has ended.
            let _ = station.waker.wake();
        });
        Self {
            seat: Seat::take(Arc::clone(&shared.gate), wake),
            generation: 0,
            term: 0,
            held: VecDeque::new(),
            has_expired: false,
            probe: None,
            next_probe: now,
            probe_pause: PROBE_FIRST,
            open_since: now,
        }
    }

    /// How many clients are held.
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Whether commands may pass, as of the last look.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.seat.view().state == State::Open
    }

    /// Where they may pass to.
    #[inline]
    pub fn primary(&self) -> Option<Target> {
        self.seat.view().primary.map(|address| Target { address, is_primary: true })
    }
}

impl Worker {
    /// Look at the gate, and do what a change of it asks for.
    #[inline]
    pub(super) fn look_at_gate(&mut self) {
        self.gate.seat.refresh();
        if self.gate.seat.view().generation != self.gate.generation {
            self.act_on_gate();
        }
    }

    #[cold]
    fn act_on_gate(&mut self) {
        let view = self.gate.seat.view().clone();
        self.gate.generation = view.generation;
        if view.term != self.gate.term {
            self.gate.term = view.term;
            self.wants_login = false;
            self.end_probe();
            self.fence(view.primary);
        }
        match view.state {
            State::Open => {
                self.gate.has_expired = false;
                self.gate.open_since = self.now;
                self.end_probe();
                self.notify_handoff(false);
                self.release_held();
                for (index, serial) in std::mem::take(&mut self.homeless) {
                    self.queue(index, serial);
                }
            }
            State::Holding | State::NoPrimary => {
                // One that is found to serve and refuses again is not asked ever faster.
                if self.now.saturating_duration_since(self.gate.open_since) > PROBE_LIMIT {
                    self.gate.probe_pause = PROBE_FIRST;
                }
                self.gate.next_probe = self.now + self.gate.probe_pause;
                self.notify_handoff(true);
                self.cut_blocked();
            }
        }
    }

    /// Close what leads to an instance that is no longer the primary, at once.
    fn fence(&mut self, primary: Option<std::net::SocketAddr>) {
        let stale: Vec<usize> = self
            .upstreams
            .iter()
            .filter(|(_, it)| it.target.is_primary && Some(it.target.address) != primary)
            .map(|(index, _)| index)
            .collect();
        for index in stale {
            if self.upstreams.contains(index) {
                self.lose(index, &Lost::Fenced);
            }
        }
    }

    /// Whether commands of clients are refused just now, because they were held for too long.
    pub(super) fn is_window_over(&self) -> bool {
        self.gate.seat.view().is_expired(self.shared.ms(self.now))
    }

    /// Count what was under way over a connection as over.
    pub(super) fn leave_gate(&mut self, upstream: &crate::upstream::Upstream) {
        if upstream.target.is_primary && upstream.of_clients > 0 {
            self.gate.seat.leave(upstream.of_clients as u64);
        }
    }

    /// Put a client among those that are held.
    pub(super) fn hold_client(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if client.wait != Wait::Held {
            client.wait = Wait::Held;
            let serial = client.serial;
            self.gate.held.push_back((index, serial));
            self.station.stats.held_total.one();
        }
    }

    /// Forget held clients that are gone.
    pub(super) fn tidy_held(&mut self) {
        let clients = &self.clients;
        self.gate.held.retain(|(index, serial)| {
            clients.get(*index).is_some_and(|it| it.serial == *serial && it.wait == Wait::Held)
        });
    }

    /// Let all that were held go on.
    fn release_held(&mut self) {
        for (index, serial) in std::mem::take(&mut self.gate.held) {
            if let Some(client) = self.clients.get_mut(index)
                && client.serial == serial
                && client.wait == Wait::Held
            {
                client.wait = Wait::No;
                self.queue(index, serial);
            }
        }
    }

    /// Return when the gate needs this worker next.
    pub(super) fn gate_deadline(&self) -> Option<Instant> {
        let hold_until = self.shared.hold_until_ms.load(Relaxed);
        let mut next = (hold_until > 0).then(|| self.shared.instant(hold_until));
        let view = self.gate.seat.view();
        if view.state != State::Open {
            let deadline = self.shared.instant(view.deadline_ms);
            if !self.gate.has_expired {
                next = Some(next.map_or(deadline, |it| it.min(deadline)));
            }
            if self.wants_probe() {
                let due = self.gate.next_probe;
                next = Some(next.map_or(due, |it| it.min(due)));
            }
        }
        next
    }

    /// Do what is due at the gate.
    pub(super) fn keep_gate_time(&mut self) {
        let until = self.shared.hold_until_ms.load(Acquire);
        if until > 0 && self.shared.ms(self.now) >= until {
            self.end_hold_by_itself(until);
        }
        if self.gate.is_open() {
            return;
        }
        if !self.gate.has_expired && self.is_window_over() {
            self.gate.has_expired = true;
            let text = format!(
                "no primary for {} ms; commands are now answered by LOADING",
                self.shared.config.hold.window.as_millis()
            );
            self.shared.notices.add(Noticed::WindowOver, None, text);
            self.release_held();
        }
        if self.wants_probe() && self.now >= self.gate.next_probe {
            self.probe();
        }
        if let Some((index, serial, since)) = self.gate.probe
            && self.now.saturating_duration_since(since) > PROBE_LIMIT
        {
            self.drop_instance(index, serial);
            self.probe_again_later();
        }
    }

    fn end_hold_by_itself(&mut self, until: u64) {
        let hold_until = &self.shared.hold_until_ms;
        if hold_until.compare_exchange(until, 0, AcqRel, Relaxed).is_ok()
            && self.shared.gate.release()
        {
            self.shared.hold_ended();
        }
    }

    /// Whether it is this worker's business to try a lost primary: somebody waits for it here.
    fn wants_probe(&self) -> bool {
        let view = self.gate.seat.view();
        view.state == State::NoPrimary
            && self.gate.probe.is_none()
            && view.primary.is_some()
            && (self.gate.has_expired || !self.gate.held.is_empty())
            && self.shared.may_probe(view.term)
    }

    /// Ask the lost primary whether it is one again, as one of those who wait for it.
    fn probe(&mut self) {
        let Some(target) = self.gate.primary() else { return };
        let index = self.open_instance(target, Owner::Worker);
        let session = self
            .gate
            .held
            .iter()
            .find_map(|(client, serial)| {
                self.clients.get(*client).filter(|it| it.serial == *serial)
            })
            .map(|client| client.session.restore());
        if let Some(restore) = session {
            self.restore(index, &restore);
        }
        let upstream = &mut self.upstreams[index];
        upstream.push(ROLE, pending_of(Purpose::Probe, ROLE.len()));
        self.gate.probe = Some((index, upstream.serial, self.now));
        self.soil_instance(index);
    }

    /// A probe was answered: this is the whole reply.
    pub(super) fn probe_answered(&mut self, index: usize, reply: &[u8]) {
        // An error other than these is about rights or an unknown command: it serves.
        let is_error = reply.first() == Some(&b'-');
        let serves = if is_error {
            !crate::resp::reply::ErrorKind::of(reply).is_refusal()
        } else {
            memchr::memmem::find(reply, b"master").is_some()
        };
        let serial = self.upstreams[index].serial;
        self.drop_instance(index, serial);
        if serves {
            self.gate.probe = None;
            self.gate.probe_pause = (self.gate.probe_pause * 2).min(PROBE_MAX);
            self.shared.regain_primary(self.gate.term);
        } else {
            self.probe_again_later();
        }
    }

    /// A connection of our own is gone; it may have been the probe's.
    pub(super) fn probe_lost(&mut self) {
        let is_lost = self.gate.probe.is_some_and(|(index, serial, _)| {
            self.upstreams.get(index).is_none_or(|it| it.serial != serial)
        });
        if is_lost {
            self.probe_again_later();
        }
    }

    fn probe_again_later(&mut self) {
        self.gate.probe = None;
        self.gate.next_probe = self.now + self.gate.probe_pause;
        self.gate.probe_pause = (self.gate.probe_pause * 2).min(PROBE_MAX);
    }

    fn end_probe(&mut self) {
        if let Some((index, serial, _)) = self.gate.probe.take() {
            self.drop_instance(index, serial);
        }
    }

    /// The primary cannot be reached, or refuses: nobody sends it anything until it is known to
    /// serve, or another is.
    pub(super) fn doubt_primary(
        &mut self,
        kind: Noticed,
        address: std::net::SocketAddr,
        why: &str,
    ) {
        let label = self.shared.label_of(address);
        let text = format!("the primary {label} cannot be used: {why}");
        self.shared.notices.add(kind, Some(label), text.clone());
        if self.gate.seat.view().primary == Some(address) {
            self.shared.lose_primary(self.gate.term, &text);
        }
    }
}
