//! Durable replies: the reply to a write waits until replicas have the write.
//!
//! One WAIT follows all writes of one pass of the loop on the same connection, so that many writes
//! share one round of acknowledgements. Replies of reads in between wait too: order is kept.

use super::Worker;
use super::instance::pending_of;
use crate::command::{Class, Command, Verb};
use crate::config::Otherwise;
use crate::notices::Noticed;
use crate::resp::encode;
use crate::resp::reply::{Kind, Piece};
use crate::session::AMBIGUOUS;
use crate::shared::Shared;
use crate::upstream::{Pending, Purpose, Upstream, Withheld};

impl Shared {
    /// Whether replies to writes wait for replicas.
    #[must_use]
    pub fn has_acks(&self) -> bool {
        self.config.acks.is_some()
    }
}

fn is_write(command: &Command) -> bool {
    command.class.has(Class::WRITE) || command.verb == Verb::Exec
}

impl Worker {
    /// Note a command that is about to be sent, and return whether a WAIT will follow it. None
    /// must get into a transaction.
    pub(super) fn will_be_confirmed(&mut self, index: usize, command: &'static Command) -> bool {
        if !self.shared.has_acks() || !self.upstreams[index].target.is_primary {
            return false;
        }
        match command.verb {
            Verb::Multi => {
                self.ask_for_acks(index);
                self.upstreams[index].is_in_multi = true;
            }
            Verb::Exec | Verb::Discard | Verb::Reset => self.upstreams[index].is_in_multi = false,
            _ => {}
        }
        let upstream = &mut self.upstreams[index];
        let is_confirmed = is_write(command) && !upstream.is_in_multi;
        upstream.unconfirmed += u32::from(is_confirmed);
        is_confirmed
    }

    /// Ask for acknowledgements of the writes that were sent since the last time.
    pub(super) fn ask_for_acks(&mut self, index: usize) {
        let upstream = &mut self.upstreams[index];
        if upstream.unconfirmed == 0 || upstream.is_in_multi {
            return;
        }
        let Some(acks) = self.shared.config.acks else { return };
        upstream.unconfirmed = 0;
        let (replicas, timeout) = (acks.replicas.to_string(), acks.timeout.as_millis().to_string());
        let mut wait = Vec::new();
        let words = [&b"WAIT"[..], replicas.as_bytes(), timeout.as_bytes()];
        encode(&mut wait, words.into_iter());
        upstream.push(&wait, pending_of(Purpose::Wait, wait.len()));
    }

    /// Whether a reply has to wait for acknowledgements, its own or those of writes before it.
    pub(super) fn is_withheld(&self, index: usize, pending: Pending) -> bool {
        pending.awaits_acks || !self.upstreams[index].withheld.is_empty()
    }

    /// Keep a reply, or a piece of one, until the next WAIT is answered.
    pub(super) fn withhold(&mut self, index: usize, pending: Pending, bytes: &[u8], piece: Piece) {
        let upstream = &mut self.upstreams[index];
        if upstream.is_reply_begun
            && let Some(last) = upstream.withheld.back_mut()
        {
            last.reply.extend_from_slice(bytes);
            return;
        }
        upstream.is_reply_begun = !piece.ends;
        // An error did nothing, and so did a transaction that was aborted.
        let was_done = !matches!(piece.begins, Some(Kind::Error(_) | Kind::Nil));
        let is_write = is_write(pending.command) && was_done;
        upstream.withheld.push_back(Withheld { pending, reply: bytes.to_vec(), is_write });
    }

    /// A WAIT was answered: hand out what it was for.
    pub(super) fn release_withheld(&mut self, index: usize, answer: &[u8]) {
        let Some(acks) = self.shared.config.acks else { return };
        let count = answer
            .strip_prefix(b":")
            .and_then(|it| std::str::from_utf8(it).ok())
            .and_then(|it| it.trim_end().parse::<u32>().ok());
        let is_durable = count.is_some_and(|count| count >= acks.replicas);
        let withheld = std::mem::take(&mut self.upstreams[index].withheld);
        let writes = withheld.iter().filter(|it| it.is_write).count();
        let stats = &self.station.stats;
        if is_durable {
            stats.acked_writes.add(writes as u64);
        } else {
            stats.unacked_writes.add(writes as u64);
            self.tell_not_durable(answer, count);
        }
        let refusal = format!(
            "-NOREPLICAS everfly: the write was executed, but only {} of {} replicas confirmed it \
             in time\r\n",
            count.unwrap_or(0),
            acks.replicas
        );
        for Withheld { pending, reply, is_write } in withheld {
            let is_refused = is_write && !is_durable && acks.otherwise == Otherwise::Refuse;
            self.deliver(pending, if is_refused { refusal.as_bytes() } else { &reply });
        }
    }

    fn tell_not_durable(&self, answer: &[u8], count: Option<u32>) {
        let text = match count {
            Some(count) => format!("only {count} replicas confirmed writes in time"),
            None => format!(
                "WAIT was answered {:?}; the users of clients need the right to run it",
                String::from_utf8_lossy(answer).trim_end()
            ),
        };
        self.shared.notices.add(Noticed::NotDurable, None, text);
    }

    /// The connection is gone before a WAIT was answered. Return how many writes it leaves in
    /// doubt: executed by an instance that is lost, and perhaps known to no other.
    pub(super) fn lose_withheld(&mut self, upstream: &mut Upstream) -> usize {
        let mut in_doubt = 0;
        for Withheld { pending, reply, is_write } in std::mem::take(&mut upstream.withheld) {
            if !is_write {
                self.deliver(pending, &reply);
                continue;
            }
            in_doubt += 1;
            self.station.stats.ambiguous.one();
            if self.shared.config.closes_on_ambiguous {
                if self.is_there(pending) {
                    self.close_client(pending.client as usize);
                }
            } else {
                self.deliver(pending, AMBIGUOUS);
            }
        }
        in_doubt
    }
}
