//! What becomes of commands that an instance refused.
//!
//! A refusal proves that its command was not executed. It is kept back until it is known whether
//! anything later of the same client was executed that cannot be repeated: if so the client is told
//! the refusal, late but in order; if not, all is sent again, with the reads that came in between.

use super::Worker;
use super::loss::blocked_by;
use crate::client::{Again, Kept, Parked, Wait};
use crate::command::{Class, Verb};
use crate::notices::Noticed;
use crate::resp::reply::{ErrorKind, Kind};
use crate::session::{Mark, Turn};
use crate::upstream::{Pending, Withheld};

/// When more of replies would be kept back for a client, it is told what was refused instead.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

impl Worker {
    /// Whether a reply proves that its command was not executed, and is to be kept back.
    pub(super) fn is_refused(
        &self,
        index: usize,
        pending: Pending,
        kind: Kind,
        bytes: &[u8],
    ) -> bool {
        let Some(client) = self.clients.get(pending.client as usize) else { return false };
        if client.serial != pending.serial {
            return false;
        }
        let is_primary = self.upstreams[index].target.is_primary;
        let blocked = client.blocked.filter(|_| pending.command.blocking.is_some());
        match (kind, blocked) {
            (Kind::Error(ErrorKind::Unblocked), Some(blocked)) => {
                // Somebody else may have unblocked it on purpose.
                is_primary
                    && (blocked.is_cut || memchr::memmem::find(bytes, b"CLIENT UNBLOCK").is_none())
            }
            (Kind::Error(ErrorKind::Unblocked), None) => false,
            // Nothing of a transaction was executed that fails for a refusal.
            (Kind::Error(ErrorKind::ExecAborted), _) => {
                client.parked.iter().any(|it| matches!(it, Parked::Kept(_, it) if it.is_refusal))
            }
            // Who writes at the readers' address is told so.
            (Kind::Error(ErrorKind::ReadOnly), _) if !is_primary => false,
            (Kind::Error(error), _) => error.is_refusal(),
            // A takeover ends blocking commands early, as if their time was over.
            (Kind::Nil, Some(blocked)) => {
                is_primary
                    && (blocked.is_cut || !self.gate.is_open())
                    && blocked.until.is_none_or(|until| self.now < until)
            }
            _ => false,
        }
    }

    /// Whether a reply behind a refusal may be kept back as well, because its command may be asked
    /// again: it only reads, or only belongs to a transaction that was not executed.
    pub(super) fn is_repeatable(&self, pending: Pending, kind: Kind, bytes: &[u8]) -> bool {
        let Some(client) = self.clients.get(pending.client as usize) else { return false };
        if client.serial != pending.serial
            || client.parked.is_empty()
            || client.kept_bytes + bytes.len() > KEPT_BYTES_MAX
        {
            return false;
        }
        if pending.command.verb == Verb::Multi {
            return bytes == b"+OK\r\n";
        }
        if pending.mark != Mark::Plain {
            return kind == Kind::Simple && bytes == b"+QUEUED\r\n";
        }
        let class = pending.command.class;
        class.has(Class::READ) && !class.has(Class::WRITE.and(Class::WAIT))
    }

    /// Keep a refusal back, and doubt who refuses.
    pub(super) fn refuse(&mut self, index: usize, pending: Pending, kind: Kind, bytes: &[u8]) {
        let target = self.upstreams[index].target;
        self.keep(index, pending, Kept { line: bytes.to_vec(), kind, is_refusal: true });
        // One that was unblocked, or a transaction that fails for an earlier refusal, says no more.
        let says_more = matches!(kind, Kind::Error(error)
            if error != ErrorKind::Unblocked && error != ErrorKind::ExecAborted);
        if !says_more {
            return;
        }
        let why = format!("it answers {}", String::from_utf8_lossy(bytes).trim());
        if target.is_primary {
            self.doubt_primary(Noticed::PrimaryRefusing, target.address, &why);
        } else {
            self.avoid_replica(target.address);
        }
    }

    /// Keep back a reply that came behind a refusal.
    pub(super) fn keep_back(&mut self, index: usize, pending: Pending, kind: Kind, bytes: &[u8]) {
        self.keep(index, pending, Kept { line: bytes.to_vec(), kind, is_refusal: false });
    }

    fn keep(&mut self, index: usize, pending: Pending, kept: Kept) {
        let upstream = &self.upstreams[index];
        let serial = upstream.serial;
        let place = pending.client as usize;
        let again = Again {
            bytes: upstream.log.first(pending.bytes as usize).to_vec(),
            command: pending.command,
            mark: pending.mark,
            blocked: blocked_by(&mut self.clients[place], pending.command),
        };
        self.pop(index);
        let client = &mut self.clients[place];
        client.outstanding -= 1;
        client.kept_bytes += kept.line.len();
        client.parked.push_back(Parked::Kept(again, kept));
        if client.wait == Wait::No {
            client.wait = Wait::Fate;
        }
        if client.outstanding == 0 {
            self.let_go_of_refused(place);
        }
        if self.upstreams.get(index).is_some_and(|it| it.serial == serial) {
            self.hand_out_ours(index);
        }
    }

    /// Everything that a client had under way was refused: all of it is sent again, over a new
    /// connection.
    pub(super) fn let_go_of_refused(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some(home) = client.home.take()
            && home.is_own
        {
            self.drop_instance(home.upstream, home.serial);
        }
        self.decide(index, Vec::new());
    }

    /// Something later of a client was executed: tell it what was refused before.
    pub(super) fn tell_refusals(&mut self, upstream: usize, pending: Pending) {
        if !self.is_there(pending) {
            return;
        }
        let index = pending.client as usize;
        self.clients[index].kept_bytes = 0;
        for parked in std::mem::take(&mut self.clients[index].parked) {
            let Some(client) = self.clients.get_mut(index) else { return };
            let line = match parked {
                Parked::Kept(again, kept) => {
                    let (command, mark) = (again.command, again.mark);
                    match client.session.on_reply(command, mark, &again.bytes, kept.kind) {
                        Turn::Give => kept.line.into(),
                        Turn::Drop => continue,
                        Turn::Instead(other) => other,
                    }
                }
                Parked::Answer(line) => line,
                Parked::Again(again) => {
                    client.parked.push_back(Parked::Again(again));
                    continue;
                }
            };
            self.tell(upstream, pending, &line);
        }
        if let Some(client) = self.clients.get_mut(index)
            && client.wait == Wait::Fate
        {
            client.wait = Wait::No;
            let serial = client.serial;
            self.queue(index, serial);
        }
    }

    /// Give a client a line that is no longer counted as outstanding, behind replies that wait for
    /// acknowledgements.
    fn tell(&mut self, upstream: usize, pending: Pending, line: &[u8]) {
        if self.upstreams[upstream].withheld.is_empty() {
            self.give(pending.client as usize, line);
            return;
        }
        self.clients[pending.client as usize].outstanding += 1;
        let reply = line.to_vec();
        let withheld = &mut self.upstreams[upstream].withheld;
        withheld.push_back(Withheld { pending, reply, is_write: false });
    }

    /// Keep a reply of ours behind refusals that are kept back. Return whether that was needed.
    pub(super) fn park_ours(&mut self, pending: Pending, reply: &[u8]) -> bool {
        let index = pending.client as usize;
        if !self.is_there(pending) || self.clients[index].parked.is_empty() {
            return false;
        }
        let client = &mut self.clients[index];
        client.parked.push_back(Parked::Answer(reply.to_vec().into()));
        client.outstanding -= 1;
        if client.outstanding == 0 {
            self.let_go_of_refused(index);
        }
        true
    }
}
