//! The way of replies to a client's socket, and what becomes of clients that do not read them.

use super::Worker;
use crate::client::Wait;
use crate::notices::Noticed;

/// Beyond this a client does not read its replies as fast as they come: nothing more is asked for
/// it until it has read half of them.
const SLOW_READER_BYTES: usize = 1024 * 1024;
/// Replies of at least this size are written at once instead of being copied first.
const DIRECT_BYTES: usize = 16 * 1024;

impl Worker {
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

    /// Leave a few bytes for the end of the pass. The client is there afterwards, whatever it does.
    pub(super) fn leave_for(&mut self, index: usize, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(index) {
            client.output.extend_from_slice(bytes);
            self.output_bytes += bytes.len();
            self.soil_client(index);
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
    pub(super) fn soil_client(&mut self, index: usize) {
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
}
