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
                let primary = self.gate.primary().filter(|_| falls_back)?;
                self.station.stats.read_fallbacks.one();
                Some(primary)
            }),
        }
    }

    /// Choose the next replica, if there is one to read from.
    fn replica(&mut self) -> Option<Target> {
        let version = self.shared.replicas_version.load(Acquire);
        if version != self.reading.version {
            let read = &self.shared.config.read;
            self.reading.version = version;
            self.reading.addresses =
                eligible(&self.shared.replicas(), read.lag_max_bytes, &read.zone);
            self.reading.failed.clear();
        }
        let now = self.now;
        self.reading.failed.retain(|(_, since)| now.saturating_duration_since(*since) < FORGIVEN);
        let count = self.reading.addresses.len();
        for _ in 0..count {
            self.reading.turn = self.reading.turn.wrapping_add(1);
            let address = self.reading.addresses[self.reading.turn % count];
            if self.reading.failed.iter().all(|(failed, _)| *failed != address) {
                self.station.stats.read_from_replicas.one();
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

    /// Let readers move whose replica is no longer to be read from.
    pub(super) fn is_still_readable(&self, target: Target) -> bool {
        target.is_primary || self.reading.addresses.contains(&target.address)
    }
}
