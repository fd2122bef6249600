//! The way of a client's bytes: from its socket into commands, and of replies to its socket.
//!
//! Nothing is taken from a client that waits ([`Wait`]); what it sends meanwhile stays in its
//! socket, and the kernel slows it down. Commands that were read with one that has to wait stay in
//! its `input`, up to the command boundary.

use std::time::Duration;

use super::{News, READ_BYTES, READS_A_PASS, SWEEP, Worker};
use crate::client::{Client, Wait};
use crate::config::{Config, Kind};
use crate::notices::Noticed;
use crate::proxy_protocol::{self, Header};
use crate::resp::request::Limits;
use crate::stream::Found;

/// Beyond this a client does not read its replies as fast as they come: nothing more is asked for
/// it until it has read half of them.
const SLOW_READER_BYTES: usize = 1024 * 1024;
/// Replies of at least this size are written at once instead of being copied first.
const DIRECT_BYTES: usize = 16 * 1024;

/// What became of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It is on its way or answered: take the next.
    Taken,
    /// It stays where it is; the client waits.
    Stays,
    /// The client is gone.
    Gone,
}

impl Worker {
    /// Prepare a client that has just been accepted.
    pub(super) fn greet(&self, client: &mut Client) {
        client.framer =
            crate::resp::request::RequestFramer::new(framer_limits(&self.shared.config), true);
    }

    pub(super) fn client_event(&mut self, index: usize, news: News) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let serial = client.serial;
        client.is_hung_up |= news.is_end;
        client.is_readable |= news.is_readable || news.is_end;
        let is_stuck = client.unwritten() > 0 || client.stream.is_encrypted();
        if client.is_readable {
            self.queue(index, serial);
        }
        if news.is_writable && is_stuck {
            self.soil_client(index);
        }
    }

    /// Take what a client has sent and what is parked for it, until it waits or has sent no more.
    pub(super) fn pump(&mut self, index: usize) {
        if !self.unpark(index) {
            return;
        }
        for _ in 0..READS_A_PASS {
            let Some(client) = self.clients.get_mut(index) else { return };
            if client.wait != Wait::No || client.is_closing {
                self.close_if_done(index);
                return;
            }
            if !client.input.is_empty() {
                let input = std::mem::take(&mut client.input);
                self.input_bytes -= input.len();
                let (taken, flow) = self.take_commands(index, &input);
                if flow == Flow::Gone || !self.keep_rest(index, input, taken) {
                    return;
                }
                if flow == Flow::Stays {
                    self.close_if_done(index);
                    return;
                }
            }
            if !self.read_client(index) {
                return;
            }
        }
        if let Some(client) = self.clients.get(index) {
            self.again.push((index, client.serial));
        }
    }

    /// Read once from a client and take the commands. Return whether to go on.
    fn read_client(&mut self, index: usize) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let goes_on = self.read_client_into(index, &mut scratch);
        self.scratch = scratch;
        goes_on
    }

    fn read_client_into(&mut self, index: usize, scratch: &mut [u8]) -> bool {
        let Some(client) = self.clients.get_mut(index) else { return false };
        if !client.is_readable || client.is_at_end || client.is_closing {
            self.close_if_done(index);
            return false;
        }
        let mut room = scratch.len();
        if client.kind == Kind::Primary && !self.gate.is_open() {
            // What is read now is only kept.
            let hold = &self.shared.config.hold;
            if self.input_bytes >= hold.total_bytes / self.shared.config.workers
                && !self.is_window_over()
            {
                self.hold_client(index);
                return false;
            }
            room = room.min(hold.client_bytes);
        }
        let client = &mut self.clients[index];
        let was_handshaking = client.stream.is_handshaking();
        let found = client.stream.read(&mut scratch[..room]);
        if was_handshaking {
            self.count_handshake(index, found.is_err());
        }
        let Some(client) = self.clients.get_mut(index) else { return false };
        let count = match found {
            Ok(Found::Bytes(count, may_be_more)) => {
                client.is_readable = may_be_more || client.is_hung_up;
                count
            }
            Ok(Found::Nothing) => {
                client.is_readable = false;
                return false;
            }
            Ok(Found::End) => {
                client.is_at_end = true;
                client.is_readable = false;
                self.close_if_done(index);
                return false;
            }
            Err(_) => {
                self.close_client(index);
                return false;
            }
        };
        client.heard = self.now;
        self.station.stats.bytes_from_clients.add(count as u64);
        if !client.input.is_empty() {
            client.input.extend_from_slice(&scratch[..count]);
            self.input_bytes += count;
            return self.is_input_bearable(index);
        }
        let (taken, flow) = self.take_commands(index, &scratch[..count]);
        if flow == Flow::Gone {
            return false;
        }
        if taken < count
            && let Some(client) = self.clients.get_mut(index)
        {
            client.input.extend_from_slice(&scratch[taken..count]);
            self.input_bytes += count - taken;
        }
        flow == Flow::Taken
    }

    /// Take the commands in these bytes. Return how many bytes are done with, and why it stopped.
    fn take_commands(&mut self, index: usize, bytes: &[u8]) -> (usize, Flow) {
        let mut at = 0;
        loop {
            let Some(client) = self.clients.get_mut(index) else { return (at, Flow::Gone) };
            if client.awaits_proxy {
                match proxy_protocol::read(&bytes[at..]) {
                    Header::Incomplete => return (at, Flow::Taken),
                    Header::Complete(length, address) => {
                        at += length;
                        if !self.learn_address(index, address) {
                            return (at, Flow::Gone);
                        }
                    }
                    Header::Wrong => {
                        self.station.stats.protocol_errors.one();
                        self.close_client(index);
                        return (at, Flow::Gone);
                    }
                }
                continue;
            }
            if self.wants_login {
                client.framer.authenticated(client.session.is_authenticated());
            }
            match client.framer.next(&bytes[at..]) {
                Ok(found) => {
                    let Some(request) = found.request else {
                        return (at + found.consumed, Flow::Taken);
                    };
                    match self.take(index, &request) {
                        Flow::Taken => at += found.consumed,
                        other => return (at, other),
                    }
                    if self.clients.get(index).is_none_or(|it| it.is_closing) {
                        return (bytes.len(), Flow::Stays);
                    }
                }
                Err(error) => {
                    self.station.stats.protocol_errors.one();
                    self.answer(index, &error.line());
                    self.finish(index);
                    return (bytes.len(), Flow::Stays);
                }
            }
        }
    }

    /// Put back what was not taken from `input`. Return whether the client is still there.
    fn keep_rest(&mut self, index: usize, mut input: Vec<u8>, taken: usize) -> bool {
        let Some(client) = self.clients.get_mut(index) else { return false };
        if taken == input.len() {
            if input.capacity() <= READ_BYTES {
                input.clear();
                client.input = input;
            }
            return true;
        }
        input.drain(..taken);
        self.input_bytes += input.len();
        client.input = input;
        true
    }

    /// Check that the unfinished command of a client is not too much for all together.
    fn is_input_bearable(&mut self, index: usize) -> bool {
        let others = self.input_bytes;
        let limit = self.shared.config.limits.total_input_bytes / self.shared.config.workers;
        let Some(client) = self.clients.get(index) else { return false };
        let is_stranger = self.wants_login && !client.session.is_authenticated();
        if is_stranger
            && client.input.len() > self.shared.config.limits.unauthenticated_request_bytes
        {
            self.close_by_limit(index, "limits.unauthenticated_request_bytes");
            return false;
        }
        if others <= limit || client.input.len() <= READ_BYTES {
            return true;
        }
        self.close_by_limit(index, "limits.total_input_bytes");
        false
    }

    fn learn_address(&mut self, index: usize, address: Option<std::net::SocketAddr>) -> bool {
        let client = &mut self.clients[index];
        client.awaits_proxy = false;
        let Some(address) = address.map(|it| it.ip().to_canonical()) else { return true };
        client.address = Some(address);
        if self.shared.enter(address) {
            client.is_counted = true;
            return true;
        }
        self.close_by_limit(index, "limits.connections_per_address");
        false
    }

    fn count_handshake(&mut self, index: usize, has_failed: bool) {
        let stats = &self.station.stats;
        let Some(client) = self.clients.get(index) else { return };
        if has_failed {
            stats.tls_failures.one();
        } else if !client.stream.is_handshaking() {
            stats.tls_handshakes.one();
        }
    }

    /// Hand bytes to a client: at the end of the pass, or at once where that saves a copy.
    #[inline]
    pub(super) fn give(&mut self, index: usize, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let mut rest = bytes;
        if bytes.len() >= DIRECT_BYTES && client.output.is_empty() {
            match client.stream.write(bytes) {
                Ok(count) => {
                    self.station.stats.bytes_to_clients.add(count as u64);
                    rest = &bytes[count..];
                }
                Err(_) => {
                    self.close_client(index);
                    return;
                }
            }
            if rest.is_empty() {
                return;
            }
        }
        client.output.extend_from_slice(rest);
        self.output_bytes += rest.len();
        if !client.is_dirty {
            client.is_dirty = true;
            let serial = client.serial;
            self.dirty_clients.push((index, serial));
        }
        if self.clients[index].unwritten() > SLOW_READER_BYTES {
            self.meet_slow_reader(index);
        }
    }

    /// A client does not read as fast as its replies come.
    #[cold]
    fn meet_slow_reader(&mut self, index: usize) {
        self.flush_client(index);
        let Some(client) = self.clients.get_mut(index) else { return };
        let unwritten = client.unwritten();
        if unwritten <= SLOW_READER_BYTES {
            return;
        }
        if client.wait == Wait::No {
            client.wait = Wait::Reader;
        }
        client.keeps_own_until = self.now + super::forward::KEEPS_OWN;
        let limits = &self.shared.config.limits;
        if unwritten > limits.client_output_bytes {
            self.close_by_limit(index, "limits.client_output_bytes");
        } else if self.output_bytes > limits.total_output_bytes / self.shared.config.workers {
            self.close_by_limit(index, "limits.total_output_bytes");
        }
    }

    pub(super) fn close_by_limit(&mut self, index: usize, limit: &str) {
        self.station.stats.connections_closed_by_limit.one();
        let address = self.clients.get(index).and_then(|it| it.address).map(|it| it.to_string());
        let text = format!("a client was closed: it went beyond {limit}");
        self.shared.notices.add(Noticed::Limit, address, text);
        self.close_client(index);
    }

    /// Let the end of the pass write to a client.
    fn soil_client(&mut self, index: usize) {
        if let Some(client) = self.clients.get_mut(index)
            && !client.is_dirty
        {
            client.is_dirty = true;
            let serial = client.serial;
            self.dirty_clients.push((index, serial));
        }
    }

    pub(super) fn flush_clients(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty_clients);
        for (index, serial) in dirty.drain(..) {
            if self.clients.get(index).is_some_and(|it| it.serial == serial) {
                self.clients[index].is_dirty = false;
                self.flush_client(index);
            }
        }
        self.dirty_clients = dirty;
    }

    fn flush_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Ok(count) = client.flush() else {
            self.close_client(index);
            return;
        };
        self.output_bytes -= count;
        self.station.stats.bytes_to_clients.add(count as u64);
        let (unwritten, serial) = (client.unwritten(), client.serial);
        if client.wait == Wait::Reader && unwritten <= SLOW_READER_BYTES / 2 {
            client.wait = Wait::No;
            self.queue(index, serial);
        }
        if unwritten <= SLOW_READER_BYTES / 2 {
            self.unpause_instance_of(index);
        }
        self.close_if_done(index);
    }

    /// Take nothing more from a client and close it once it has what it is owed.
    pub(super) fn finish(&mut self, index: usize) {
        if let Some(client) = self.clients.get_mut(index) {
            client.is_closing = true;
            let serial = client.serial;
            self.queue(index, serial);
        }
    }

    /// Close a client that will send no more, or must not, once it has got what it is owed.
    pub(super) fn close_if_done(&mut self, index: usize) {
        let Some(client) = self.clients.get(index) else { return };
        if client.is_at_end && client.blocked.is_some() {
            // Nobody waits any more for what it waited for; the instance must not hand it out.
            self.close_client(index);
            return;
        }
        let is_over = client.is_closing || (client.is_at_end && !has_command(client));
        if is_over
            && client.outstanding == 0
            && client.parked.is_empty()
            && client.output.is_empty()
        {
            self.close_client(index);
        }
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
            if (!client.has_spoken && is_over(limits.handshake))
                || (client.framer.is_inside() && client.wait == Wait::No && is_over(limits.partial))
            {
                over.push((index, "limits.handshake_ms or limits.partial_ms"));
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

/// Whether something of what a client sent is still to be taken.
fn has_command(client: &Client) -> bool {
    // What has begun and will never end is none.
    client.wait != Wait::No && !client.input.is_empty()
}

fn framer_limits(config: &Config) -> Limits {
    let request_bytes = u32::try_from(config.limits.request_bytes).unwrap_or(u32::MAX);
    let defaults = Limits::default();
    Limits { request_bytes, bulk_bytes: defaults.bulk_bytes.min(request_bytes), ..defaults }
}
