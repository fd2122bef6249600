//! Where a client's commands lead: the primary, or for readers a replica in its turn.

use std::sync::atomic::Ordering::Acquire;

use super::Worker;
use crate::client::Wait;
use crate::config::Kind;
use crate::replicas::eligible;
use crate::upstream::Target;

/// A worker's copy of the list of replicas.
#[derive(Default)]
pub struct Readable {
    version: u64,
    addresses: Vec<std::net::SocketAddr>,
    turn: usize,
    /// Replicas that failed, until the list changes or `FORGIVEN` passes.
    failed: Vec<(std::net::SocketAddr, std::time::Instant)>,
}

/// How long a replica that failed is left alone, unless the control says something new first.
const FORGIVEN: std::time::Duration = std::time::Duration::from_secs(1);

impl Worker {
    /// Return where the next connection of a client leads; None: nowhere just now.
    pub(super) fn target(&mut self, index: usize) -> Option<Target> {
        match self.clients[index].kind {
            Kind::Primary => self.gate.primary(),
            Kind::Replicas => self.replica().or_else(|| {
                let falls_back = self.shared.config.read.falls_back && self.gate.is_open();
                self.gate.primary().filter(|_| falls_back)
            }),
        }
    }

    /// Take over what the control says of replicas, and let readers move that should.
    pub(super) fn look_at_replicas(&mut self) {
        let version = self.shared.replicas_version.load(Acquire);
        if version == self.reading.version {
            return;
        }
        let read = &self.shared.config.read;
        self.reading.version = version;
        self.reading.addresses = eligible(&self.shared.replicas(), read.lag_max_bytes, &read.zone);
        self.reading.failed.clear();
        let held: Vec<(usize, u32)> = self
            .clients
            .iter()
            .filter(|(_, it)| it.kind == Kind::Replicas && it.wait == Wait::Held)
            .map(|(index, it)| (index, it.serial))
            .collect();
        for (index, serial) in held {
            // It is in the gate's list, too, and passed over there.
            self.clients[index].wait = Wait::No;
            self.queue(index, serial);
        }
    }

    /// Choose the next replica, if there is one to read from.
    fn replica(&mut self) -> Option<Target> {
        self.look_at_replicas();
        let now = self.now;
        self.reading.failed.retain(|(_, since)| now.saturating_duration_since(*since) < FORGIVEN);
        let count = self.reading.addresses.len();
        for _ in 0..count {
            self.reading.turn = self.reading.turn.wrapping_add(1);
            let address = self.reading.addresses[self.reading.turn % count];
            if self.reading.failed.iter().all(|(failed, _)| *failed != address) {
                return Some(Target { address, is_primary: false });
            }
        }
        None
    }

    /// Leave a replica alone for a while.
    pub(super) fn avoid_replica(&mut self, address: std::net::SocketAddr) {
        if self.reading.failed.iter().all(|(failed, _)| *failed != address) {
            self.reading.failed.push((address, self.now));
        }
    }

    /// Say what a client waits for whose command has nowhere to go: nothing, where it is told so.
    pub(super) fn without_target(&self, index: usize) -> Wait {
        let is_told =
            self.clients[index].kind == Kind::Replicas && !self.shared.config.read.falls_back;
        if is_told { Wait::No } else { Wait::Held }
    }

    /// Whether a reader is where it should be: at a replica that is to be read from, or, while
    /// there is none, at the primary.
    pub(super) fn is_well_placed(&self, target: Target) -> bool {
        if target.is_primary {
            self.reading.addresses.len() == self.reading.failed.len()
        } else {
            self.reading.addresses.contains(&target.address)
        }
    }

    /// Count a command of a reader by where it goes.
    pub(super) fn count_read(&self, target: Target) {
        if target.is_primary {
            self.station.stats.read_fallbacks.one();
        } else {
            self.station.stats.read_from_replicas.one();
        }
    }
}
