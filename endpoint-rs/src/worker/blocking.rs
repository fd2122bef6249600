//! Blocking commands over a change of primary: cut short provably, and issued again.
//!
//! Valkey and Redis: `CLIENT UNBLOCK <id> ERROR`; the reply `-UNBLOCKED` proves that nothing was
//! taken. Dragonfly knows no such command, but answers null when it is taken over; a null before
//! the client's own timeout, while commands are held, took nothing either. The command is then
//! issued again with the time that is left.

use std::time::{Duration, Instant};

use super::Worker;
use super::instance::{PoolKey, pending_of};
use crate::client::Blocked;
use crate::command::{Command, Patience};
use crate::resp::encode;
use crate::session::Restore;
use crate::upstream::{Owner, Pending, Purpose};

const CLIENT_ID: &[u8] = b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n";
/// The command may not have reached the instance when it was to be cut: try again soon.
const CUT_AGAIN: Duration = Duration::from_millis(5);

impl Worker {
    /// Note a blocking command that is about to be sent, and learn the number of its connection.
    pub(super) fn begin_to_block(
        &mut self,
        index: usize,
        upstream: usize,
        bytes: &[u8],
        command: &Command,
    ) {
        let Some(blocking) = &command.blocking else { return };
        let until = match blocking.patience(bytes) {
            Patience::None => return,
            Patience::For(wait) => Some(self.now + wait),
            Patience::Forever => None,
        };
        self.clients[index].blocked = Some(Blocked { since: self.now, until, is_cut: false });
        self.learn_id(upstream);
    }

    /// Ask an instance for the number that it knows this connection by.
    pub(super) fn learn_id(&mut self, upstream: usize) {
        let it = &mut self.upstreams[upstream];
        if !it.asked_id && it.target.is_primary {
            it.asked_id = true;
            it.push(CLIENT_ID, pending_of(Purpose::ClientId, CLIENT_ID.len()));
        }
    }

    /// Cut all blocking commands short: their replies are needed for the drain.
    pub(super) fn cut_blocked(&mut self) {
        self.next_cut = None;
        let waiting: Vec<(usize, Option<u64>)> = self
            .clients
            .iter()
            .filter(|(_, client)| client.blocked.is_some_and(|it| !it.is_cut))
            .filter_map(|(index, client)| {
                let home = client.home?;
                let upstream = self.upstreams.get(home.upstream)?;
                let is_there = upstream.serial == home.serial && upstream.target.is_primary;
                is_there.then_some((index, upstream.client_id))
            })
            .collect();
        for (index, id) in waiting {
            match id {
                Some(id) => self.cut(index, id),
                None => self.next_cut = Some(self.now + CUT_AGAIN),
            }
        }
    }

    fn cut(&mut self, index: usize, id: u64) {
        let Some(control) = self.control_for(index) else { return };
        let client = &mut self.clients[index];
        if let Some(blocked) = &mut client.blocked {
            blocked.is_cut = true;
        }
        let mut bytes = Vec::new();
        let id = id.to_string();
        let words = [&b"CLIENT"[..], b"UNBLOCK", id.as_bytes(), b"ERROR"];
        encode(&mut bytes, words.into_iter());
        let pending = Pending {
            client: u32::try_from(index).unwrap_or(u32::MAX),
            serial: client.serial,
            ..pending_of(Purpose::Unblock, bytes.len())
        };
        self.upstreams[control].push(&bytes, pending);
        self.station.stats.blocking_cut.one();
        self.soil_instance(control);
    }

    /// Find or open a connection over which a client's command may be cut.
    fn control_for(&mut self, index: usize) -> Option<usize> {
        let target = self.gate.primary()?;
        if let Some((user, password)) = self.shared.config.upstream.unblocker.clone() {
            if let Some((control, serial)) = self.control
                && let Some(it) = self.upstreams.get(control)
                && it.serial == serial
                && it.target == target
            {
                return Some(control);
            }
            let control = self.open_instance(target, Owner::Worker);
            let mut bytes = Vec::new();
            let words = [&b"AUTH"[..], user.as_bytes(), password.0.as_bytes()];
            encode(&mut bytes, words.into_iter());
            let restore = Restore { bytes: bytes.into(), replies: 1, ends_in_error: false };
            self.restore(control, &restore);
            self.control = Some((control, self.upstreams[control].serial));
            return Some(control);
        }
        match self.clients[index].session.share_key() {
            Some(session) => Some(self.pooled(index, &PoolKey { target, session }, None)),
            None => {
                let restore = self.clients[index].session.restore();
                let control = self.open_instance(target, Owner::Worker);
                self.restore(control, &restore);
                Some(control)
            }
        }
    }

    /// CLIENT UNBLOCK was answered.
    pub(super) fn cut_answered(&mut self, pending: Pending, reply: &[u8]) {
        if !reply.starts_with(b":0") || self.gate.is_open() || !self.is_there(pending) {
            return;
        }
        if let Some(blocked) = &mut self.clients[pending.client as usize].blocked {
            // It was not blocked yet, or no longer: its reply, if any, is on its way.
            blocked.is_cut = false;
            self.next_cut = Some(self.now + CUT_AGAIN);
        }
    }

    /// Return the command as it is to be issued again: with the time that is left.
    pub(super) fn with_time_left(
        &mut self,
        index: usize,
        bytes: Vec<u8>,
        command: &Command,
        blocked: Blocked,
    ) -> Vec<u8> {
        self.clients[index].blocked = Some(Blocked { is_cut: false, ..blocked });
        self.station.stats.blocking_resumed.one();
        let (Some(blocking), Some(until)) = (&command.blocking, blocked.until) else {
            return bytes;
        };
        let mut again = Vec::with_capacity(bytes.len() + 8);
        blocking.rewrite(&bytes, until.saturating_duration_since(self.now), &mut again);
        again
    }

    /// When blocked commands are to be cut again.
    pub(super) fn cut_deadline(&self) -> Option<Instant> {
        self.next_cut
    }
}
