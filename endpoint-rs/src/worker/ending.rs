//! Ends: of clients that are silent for too long, and of the worker itself, whose clients finish
//! what is under way first.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{SWEEP, Worker};
use crate::client::Wait;

impl Worker {
    /// Take nothing more from clients that owe us nothing, and let the others finish.
    pub(super) fn begin_to_stop(&mut self) {
        self.stop_accepting();
        self.is_stopping = true;
    }

    /// Close who is done. Return whether the worker may end: all are gone, or the time is over.
    pub(super) fn is_stopped(&mut self) -> bool {
        let is_late = self.shared.ms(self.now) >= self.shared.stop_at_ms.load(Relaxed);
        let done: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| is_late || client.is_idle())
            .map(|(index, _)| index)
            .collect();
        for index in done {
            self.close_client(index);
        }
        self.clients.is_empty()
    }

    /// Return when a worker that is stopping has to look again.
    pub(super) fn stop_deadline(&self) -> Option<std::time::Instant> {
        self.is_stopping.then(|| self.shared.instant(self.shared.stop_at_ms.load(Relaxed)))
    }

    /// Close what has been silent or unfinished for too long, and let unneeded connections go.
    pub(super) fn sweep(&mut self) {
        self.next_sweep = self.now + SWEEP;
        self.accept_stranded();
        self.tidy_held();
        let limits = self.shared.config.limits;
        let now = self.now;
        let mut over = Vec::new();
        for (index, client) in &self.clients {
            let silent = now.saturating_duration_since(client.heard);
            let is_over = |limit: Duration| limit > Duration::ZERO && silent > limit;
            // One that has begun nothing may be a spare one of a pool.
            let has_begun = client.stream.is_handshaking()
                || client.awaits_proxy
                || (client.framer.is_inside() && !client.has_spoken);
            if has_begun && now.saturating_duration_since(client.since) > limits.handshake {
                over.push((index, "limits.handshake_ms"));
            } else if client.framer.is_inside()
                && client.wait == Wait::No
                && is_over(limits.partial)
            {
                over.push((index, "limits.partial_ms"));
            } else if client.outstanding == 0
                && client.parked.is_empty()
                && client.wait == Wait::No
                && !client.session.is_subscribed()
                && is_over(limits.idle)
            {
                over.push((index, "limits.idle_ms"));
            }
        }
        for (index, limit) in over {
            self.close_by_limit(index, limit);
        }
        self.let_connections_go();
    }

    /// Close clients that have nothing under way and nothing that a reconnect would lose.
    pub(super) fn close_idle(&mut self) {
        let idle: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| client.is_idle() && !client.session.is_engaged())
            .map(|(index, _)| index)
            .collect();
        for index in idle {
            self.close_client(index);
        }
    }
}
