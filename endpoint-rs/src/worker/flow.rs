//! The way of a client's bytes: from its socket into commands.
//!
//! Nothing is taken from a client that waits ([`Wait`]); what it sends meanwhile stays in its
//! socket, and the kernel slows it down. Commands that were read with one that has to wait stay in
//! its `input`, up to the command boundary.

use std::io::ErrorKind;

use super::{News, READ_BYTES, READS_A_PASS, Worker};
use crate::client::{Client, Wait};
use crate::config::{Config, Kind};
use crate::proxy_protocol::{self, HEADER_MAX, Header};
use crate::resp::request::Limits;
use crate::stream::Found;

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
        let Some(room) = self.room_to_read(index, scratch.len()) else { return false };
        if self.clients[index].awaits_proxy && !self.read_proxy_header(index) {
            return false;
        }
        let Some(client) = self.clients.get_mut(index) else { return false };
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

    /// Return how much may be read from a client now; none when it is held and enough is kept.
    fn room_to_read(&mut self, index: usize, most: usize) -> Option<usize> {
        if self.clients[index].kind != Kind::Primary || self.gate.is_open() {
            return Some(most);
        }
        // What is read now is only kept.
        let hold = self.shared.config.hold;
        let is_full = self.input_bytes >= hold.total_bytes / self.shared.config.workers;
        if is_full && !self.is_window_over() {
            self.hold_client(index);
            return None;
        }
        Some(most.min(hold.client_bytes))
    }

    /// Take the commands in these bytes. Return how many bytes are done with, and why it stopped.
    fn take_commands(&mut self, index: usize, bytes: &[u8]) -> (usize, Flow) {
        let mut at = 0;
        loop {
            let Some(client) = self.clients.get_mut(index) else { return (at, Flow::Gone) };
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

    /// Take the header of a balancer, which comes before everything else, TLS too. Return whether
    /// it is done with.
    fn read_proxy_header(&mut self, index: usize) -> bool {
        let mut bytes = [0; HEADER_MAX];
        let client = &mut self.clients[index];
        let header = match client.stream.peek(&mut bytes) {
            Ok(0) => Header::Wrong, // it ended before it began
            Ok(count) => proxy_protocol::read(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Header::Incomplete,
            Err(_) => Header::Wrong,
        };
        match header {
            Header::Incomplete if client.is_hung_up => self.close_client(index),
            // It is looked at again when more has come.
            Header::Incomplete => client.is_readable = false,
            Header::Complete(length, address) => {
                if client.stream.skip(length).is_ok() {
                    return self.learn_address(index, address);
                }
                self.close_client(index);
            }
            Header::Wrong => {
                self.station.stats.protocol_errors.one();
                self.close_client(index);
            }
        }
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
