//! The way of replies: from an instance, in the order of the commands, to whom they are for.
//!
//! A reply goes on as it comes, piece by piece, unless it is an error that proves that the command
//! was not executed, or has to wait for acknowledgements of replicas.

use super::Worker;
use super::loss::Lost;
use crate::client::Wait;
use crate::resp::reply::{Expect, Kind, Piece};
use crate::session::{Mark, Turn};
use crate::upstream::{Owner, Pending, Purpose, Withheld};

/// A client whose reply is at least this big gets a connection of its own, so that nobody waits
/// behind the next one.
const BIG_REPLY_BYTES: u64 = 64 * 1024;
/// Beyond this much unread, replies are left in the socket of a client's own connection.
const PAUSE_BYTES: usize = 1024 * 1024;
/// Replies to our own questions are shorter; more of one is not kept.
const COLLECTED_MAX: usize = 4096;

/// The only piece of a reply.
const WHOLE: Piece = Piece { bytes: 0, begins: None, ends: true };

impl Worker {
    /// Hand out what an instance has sent.
    pub(super) fn hand_out(&mut self, index: usize, chunk: &[u8]) {
        let upstream = &mut self.upstreams[index];
        let serial = upstream.serial;
        if upstream.input.is_empty() {
            let used = self.hand_out_pieces(index, chunk);
            if used < chunk.len()
                && let Some(upstream) = self.upstreams.get_mut(index)
                && upstream.serial == serial
            {
                upstream.input.extend_from_slice(&chunk[used..]);
            }
            return;
        }
        let mut input = std::mem::take(&mut upstream.input);
        input.extend_from_slice(chunk);
        let used = self.hand_out_pieces(index, &input);
        if let Some(upstream) = self.upstreams.get_mut(index)
            && upstream.serial == serial
        {
            input.drain(..used);
            upstream.input = input;
        }
    }

    fn hand_out_pieces(&mut self, index: usize, bytes: &[u8]) -> usize {
        let serial = self.upstreams[index].serial;
        let mut at = 0;
        while at < bytes.len() {
            let Some(upstream) = self.upstreams.get_mut(index) else { return at };
            if upstream.serial != serial {
                return at;
            }
            let expect = if upstream.is_simple { Expect::Replies } else { self.expect(index) };
            match self.upstreams[index].framer.next(&bytes[at..], expect) {
                Ok(Some(piece)) => {
                    let end = at + piece.bytes;
                    self.hand_out_piece(index, &bytes[at..end], piece);
                    at = end;
                }
                Ok(None) => break,
                Err(error) => {
                    self.lose(index, &Lost::Closed(format!("it sent {error}")));
                    return bytes.len();
                }
            }
        }
        at
    }

    #[inline]
    fn hand_out_piece(&mut self, index: usize, bytes: &[u8], piece: Piece) {
        let upstream = &mut self.upstreams[index];
        if let (Some(kind), true) = (piece.begins, piece.ends)
            && !matches!(kind, Kind::Error(_) | Kind::Push(_) | Kind::Attribute)
            && let Some(pending) = upstream.pending.front()
            && pending.purpose == Purpose::Client
            && pending.mark == Mark::Plain
            && upstream.is_simple
        {
            let pending = *pending;
            let has_ours = !upstream.ours.is_empty();
            let is_there = self.is_there(pending);
            if is_there && !self.clients[pending.client as usize].parked.is_empty() {
                self.hand_out_with_care(index, bytes, piece);
                return;
            }
            self.pop(index);
            if is_there {
                self.give(pending.client as usize, bytes);
                self.settle_account(pending);
            }
            if has_ours {
                self.hand_out_ours(index);
            }
            return;
        }
        self.hand_out_with_care(index, bytes, piece);
    }

    /// Take the first pending reply off: it has come to its end.
    #[inline]
    pub(super) fn pop(&mut self, index: usize) {
        let upstream = &mut self.upstreams[index];
        let Some(pending) = upstream.answer() else { return };
        if pending.purpose == Purpose::Client {
            upstream.of_clients -= 1;
            if upstream.target.is_primary {
                self.gate.seat.leave(1);
            }
            if let Some((number, since)) = upstream.sample
                && upstream.answered == number
            {
                upstream.sample = None;
                self.station.stats.latency.record(self.now.saturating_duration_since(since));
            }
        }
    }

    /// Give a client the whole reply to one of its commands.
    #[inline]
    pub(super) fn deliver(&mut self, pending: Pending, bytes: &[u8]) {
        if self.is_there(pending) {
            self.give(pending.client as usize, bytes);
            self.settle_account(pending);
        }
    }

    #[inline]
    pub(super) fn is_there(&self, pending: Pending) -> bool {
        self.clients.get(pending.client as usize).is_some_and(|it| it.serial == pending.serial)
    }

    /// Count a command of a client as answered.
    #[inline]
    pub(super) fn settle_account(&mut self, pending: Pending) {
        let index = pending.client as usize;
        let Some(client) = self.clients.get_mut(index) else { return };
        if client.serial != pending.serial {
            return;
        }
        self.station.stats.replies.one();
        client.outstanding -= 1;
        if client.outstanding == 0 {
            if client.wait == Wait::Replies || client.wait == Wait::Fate {
                client.wait = Wait::No;
                self.queue(index, pending.serial);
            } else if client.is_closing || client.is_at_end || !client.parked.is_empty() {
                self.queue(index, pending.serial);
            }
        }
    }

    /// Hand out what is not the whole, ordinary reply to a plain command.
    fn hand_out_with_care(&mut self, index: usize, bytes: &[u8], piece: Piece) {
        let upstream = &mut self.upstreams[index];
        if upstream.is_push_begun || matches!(piece.begins, Some(Kind::Push(_))) {
            self.hand_out_push(index, bytes, piece);
            return;
        }
        let Some(pending) = upstream.pending.front().copied() else {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).trim().to_owned();
            self.lose(index, &Lost::Closed(format!("it said {text:?} without being asked")));
            return;
        };
        if let Some(kind) = piece.begins
            && kind != Kind::Attribute
        {
            upstream.kind = kind;
        }
        if pending.purpose == Purpose::Client {
            self.hand_out_client(index, pending, bytes, piece);
            return;
        }
        if upstream.collected.len() + bytes.len() <= COLLECTED_MAX {
            upstream.collected.extend_from_slice(bytes);
        }
        if piece.ends && piece.begins != Some(Kind::Attribute) {
            let (serial, kind) = (upstream.serial, upstream.kind);
            let reply = std::mem::take(&mut upstream.collected);
            self.pop(index);
            self.own_reply(index, pending, kind, &reply);
            if self.upstreams.get(index).is_some_and(|it| it.serial == serial) {
                self.hand_out_ours(index);
            }
        }
    }

    /// Hand out a reply, or a piece of one, to a client's command.
    fn hand_out_client(&mut self, index: usize, pending: Pending, bytes: &[u8], piece: Piece) {
        let serial = self.upstreams[index].serial;
        let is_end = piece.ends && piece.begins != Some(Kind::Attribute);
        if let Some(kind) = piece.begins
            && kind != Kind::Attribute
        {
            if self.is_refused(index, pending, kind, bytes) {
                self.refuse(index, pending, kind, bytes);
                return;
            }
            if piece.ends && self.is_repeatable(pending, kind, bytes) {
                self.keep_back(index, pending, kind, bytes);
                return;
            }
            self.tell_refusals(index, pending);
            if !self.is_same(index, serial) {
                return; // with its client
            }
            if !piece.ends || matches!(kind, Kind::Bulk(size) if size >= BIG_REPLY_BYTES) {
                self.meet_big_reply(pending);
            }
            let turn = self.show_session(index, pending, kind);
            self.upstreams[index].drops_reply = turn != Turn::Give;
            match turn {
                Turn::Give => {}
                Turn::Drop => self.give_or_withhold(index, pending, b"", WHOLE),
                Turn::Instead(line) => self.give_or_withhold(index, pending, &line, WHOLE),
            }
        }
        if self.upstreams.get(index).is_some_and(|it| it.serial == serial && !it.drops_reply) {
            self.give_or_withhold(index, pending, bytes, piece);
        }
        if is_end && self.is_same(index, serial) {
            self.reply_ends(index, pending);
        }
    }

    /// Whether a connection is still the one that it was.
    fn is_same(&self, index: usize, serial: u32) -> bool {
        self.upstreams.get(index).is_some_and(|it| it.serial == serial)
    }

    fn reply_ends(&mut self, index: usize, pending: Pending) {
        let is_withheld = self.is_withheld(index, pending);
        self.upstreams[index].drops_reply = false;
        self.pop(index);
        if !is_withheld {
            self.settle_account(pending);
        }
        self.hand_out_ours(index);
    }

    fn give_or_withhold(&mut self, index: usize, pending: Pending, bytes: &[u8], piece: Piece) {
        if self.is_withheld(index, pending) {
            self.withhold(index, pending, bytes, piece);
        } else if self.is_there(pending) {
            self.upstreams[index].is_reply_begun = true;
            self.give_slowly(index, pending, bytes);
        }
    }

    /// Others must not wait behind the next one of this size.
    fn meet_big_reply(&mut self, pending: Pending) {
        if self.is_there(pending) {
            let keeps_own_until = self.now + super::forward::KEEPS_OWN;
            self.clients[pending.client as usize].keeps_own_until = keeps_own_until;
        }
    }

    /// Give a piece to a client, and stop reading for it alone while it is slow.
    fn give_slowly(&mut self, index: usize, pending: Pending, bytes: &[u8]) {
        self.give(pending.client as usize, bytes);
        self.pause_for_reader(index, pending.client as usize);
    }

    /// Leave what comes in the socket of a client's own connection while the client is slow.
    pub(super) fn pause_for_reader(&mut self, index: usize, client: usize) {
        if let Some(it) = self.clients.get(client)
            && it.unwritten() > PAUSE_BYTES
            && let Some(upstream) = self.upstreams.get_mut(index)
            && matches!(upstream.owner, Owner::Client(..))
        {
            upstream.is_paused = true;
        }
    }

    /// Hand out replies of ours whose turn has come.
    pub(super) fn hand_out_ours(&mut self, index: usize) {
        while let Some(upstream) = self.upstreams.get_mut(index)
            && let Some(pending) = upstream.pending.front().copied()
            && pending.purpose == Purpose::Ours
        {
            self.pop(index);
            let Some(reply) = self.upstreams[index].ours.pop_front() else { return };
            if self.park_ours(pending, &reply) {
                continue;
            }
            if self.is_withheld(index, pending) {
                self.upstreams[index].withheld.push_back(Withheld {
                    pending,
                    reply,
                    is_write: false,
                });
            } else {
                self.deliver(pending, &reply);
            }
        }
    }
}
