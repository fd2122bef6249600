//! What becomes of commands whose connection is lost, and of those that an instance refused.
//!
//! The session decides (`Session::after_loss`); here is what it decides about, and what follows. A
//! refusal is kept back until it is known whether anything later of the same client was executed:
//! if so the client is told the refusal, late but in order; if not, all is sent again.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Worker;
use crate::client::{Again, Blocked, Client, Parked, Wait};
use crate::command::Command;
use crate::notices::Noticed;
use crate::resp::reply::{ErrorKind, Kind};
use crate::session::{self, Fate, Mark, Turn};
use crate::upstream::{Owner, Pending, Purpose, Upstream, Withheld};

/// Why a connection to an instance ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It never stood.
    Refused(String),
    /// It stood, and ended by itself.
    Closed(String),
    /// We closed it: another instance is the primary.
    Fenced,
    /// The instance does not accept who the client says it is.
    Disowned(String),
}

/// What a client had under way, in order.
enum Item {
    Sent { again: Again, is_written: bool, refusal: Option<(Vec<u8>, ErrorKind)> },
    Ours(Vec<u8>),
}

impl Worker {
    /// Deal with the end of a connection.
    pub(super) fn lose(&mut self, index: usize, why: &Lost) {
        let mut upstream = self.remove_instance(index);
        self.leave_gate(&upstream);
        let mut in_doubt = self.lose_withheld(&mut upstream);
        if upstream.is_reply_begun
            && let Some(first) = upstream.pending.front().copied()
            && self.is_there(first)
        {
            // Half a reply cannot be taken back.
            self.close_client(first.client as usize);
        }
        let mut affected = self.affected(&mut upstream);
        if let Owner::Client(client, serial) = upstream.owner {
            affected.entry((client, serial)).or_default();
        }
        for ((client, serial), items) in affected {
            let index = client as usize;
            if self.clients.get(index).is_none_or(|it| it.serial != serial) {
                continue;
            }
            if matches!(why, Lost::Disowned(_)) {
                // Its session is not what it believes: nothing of it may run as somebody else.
                self.close_client(index);
                continue;
            }
            in_doubt += self.decide(index, items);
        }
        for (client, serial) in std::mem::take(&mut upstream.waiting) {
            self.wake_writer(client, serial);
        }
        self.report_loss(&upstream, why, in_doubt);
    }

    /// Return what each client had under way over a connection.
    fn affected(&mut self, upstream: &mut Upstream) -> HashMap<(u32, u32), Vec<Item>> {
        let mut affected: HashMap<(u32, u32), Vec<Item>> = HashMap::new();
        while let Some(pending) = upstream.pending.pop_front() {
            let length = pending.bytes as usize;
            let ours = (pending.purpose == Purpose::Ours).then(|| upstream.ours.pop_front());
            if matches!(pending.purpose, Purpose::Client | Purpose::Ours) && self.is_there(pending)
            {
                let client = &mut self.clients[pending.client as usize];
                client.outstanding -= 1;
                let item = match ours {
                    Some(line) => Item::Ours(line.unwrap_or_default()),
                    None => Item::Sent {
                        again: Again {
                            bytes: upstream.log.first(length).to_vec(),
                            command: pending.command,
                            mark: pending.mark,
                            blocked: blocked_by(client, pending.command),
                        },
                        is_written: upstream.log.is_first_written(length),
                        refusal: None,
                    },
                };
                affected.entry((pending.client, pending.serial)).or_default().push(item);
            }
            upstream.log.answer(length);
        }
        affected
    }

    /// Let the session of a client decide about what it had under way, and park what follows.
    /// Return how many commands may or may not have been executed.
    fn decide(&mut self, index: usize, newer: Vec<Item>) -> usize {
        let client = &mut self.clients[index];
        let mut items: Vec<Item> = Vec::with_capacity(client.parked.len() + newer.len());
        let mut decided = VecDeque::new();
        for parked in std::mem::take(&mut client.parked) {
            match parked {
                Parked::Refused(again, line, kind) => {
                    items.push(Item::Sent { again, is_written: true, refusal: Some((line, kind)) });
                }
                Parked::Answer(line) if !items.is_empty() => {
                    items.push(Item::Ours(line.into_owned()));
                }
                other => decided.push_back(other),
            }
        }
        items.extend(newer);
        let lost: Vec<session::Lost<'_>> = items.iter().filter_map(lost_of).collect();
        let after = client.session.after_loss(&lost);
        if after.close.is_some() {
            self.close_client(index);
            return 0;
        }
        let mut fates = after.fates.into_iter();
        let mut in_doubt = 0;
        for item in items {
            match item {
                Item::Ours(line) => decided.push_back(Parked::Answer(line.into())),
                Item::Sent { again, refusal, .. } => {
                    let Some(fate) = fates.next() else { break };
                    in_doubt += usize::from(matches!(fate, Fate::Ambiguous(_)));
                    decided.extend(self.parked_of(fate, again, refusal));
                }
            }
        }
        self.station.stats.ambiguous.add(in_doubt as u64);
        if in_doubt > 0 && self.shared.config.closes_on_ambiguous {
            self.close_client(index);
            return in_doubt;
        }
        let client = &mut self.clients[index];
        client.parked = decided;
        client.home = client.home.filter(|home| {
            self.upstreams.get(home.upstream).is_some_and(|it| it.serial == home.serial)
        });
        if client.wait != Wait::Held {
            client.wait = Wait::No;
        }
        let serial = client.serial;
        self.queue(index, serial);
        in_doubt
    }

    fn parked_of(
        &self,
        fate: Fate,
        again: Again,
        refusal: Option<(Vec<u8>, ErrorKind)>,
    ) -> Option<Parked> {
        let stats = &self.station.stats;
        match fate {
            Fate::Again => {
                stats.replayed.one();
                if refusal.is_some() {
                    stats.refused_hidden.one();
                }
                Some(Parked::Again(again))
            }
            Fate::AgainAs(bytes) => {
                stats.replayed.one();
                Some(Parked::Again(Again { bytes, ..again }))
            }
            Fate::Refusal if again.mark == Mark::Silent => None,
            Fate::Refusal => refusal.map(|(line, _)| Parked::Answer(line.into())),
            Fate::Answer(line) => Some(Parked::Answer(line)),
            Fate::Ambiguous(line) => Some(Parked::Answer(line.into())),
        }
    }

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

    /// Keep a refusal back.
    pub(super) fn refuse(&mut self, index: usize, pending: Pending, kind: Kind, bytes: &[u8]) {
        let upstream = &self.upstreams[index];
        let (target, serial) = (upstream.target, upstream.serial);
        let again = Again {
            bytes: upstream.log.first(pending.bytes as usize).to_vec(),
            command: pending.command,
            mark: pending.mark,
            blocked: blocked_by(&mut self.clients[pending.client as usize], pending.command),
        };
        let error = if let Kind::Error(error) = kind { error } else { ErrorKind::Unblocked };
        self.pop(index);
        let client = &mut self.clients[pending.client as usize];
        client.outstanding -= 1;
        client.parked.push_back(Parked::Refused(again, bytes.to_vec(), error));
        let is_last = client.outstanding == 0;
        if client.wait == Wait::No {
            client.wait = Wait::Fate;
        }
        if is_last {
            self.let_go_of_refused(pending.client as usize);
        }
        if error != ErrorKind::Unblocked {
            let why = format!("it answers {}", String::from_utf8_lossy(bytes).trim());
            if target.is_primary {
                self.doubt_primary(Noticed::PrimaryRefusing, target.address, &why);
            } else {
                self.avoid_replica(target.address);
            }
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
        for parked in std::mem::take(&mut self.clients[index].parked) {
            let Some(client) = self.clients.get_mut(index) else { return };
            let line = match parked {
                Parked::Refused(again, line, error) => {
                    let kind = Kind::Error(error);
                    match client.session.on_reply(again.command, again.mark, &again.bytes, kind) {
                        Turn::Give => line.into(),
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

    /// Say what was lost, and doubt a primary that cannot be reached.
    fn report_loss(&mut self, upstream: &Upstream, why: &Lost, in_doubt: usize) {
        let address = upstream.target.address;
        let label = self.shared.label_of(address);
        if in_doubt > 0 {
            let text = format!(
                "{label} was lost with {in_doubt} writes unanswered; their clients were told that \
                 they may or may not have been executed"
            );
            self.shared.notices.add(Noticed::Ambiguous, Some(label.clone()), text);
        }
        let (is_refusal, text) = match why {
            Lost::Fenced | Lost::Disowned(_) => (false, None),
            Lost::Refused(text) => (true, Some(text)),
            // One that ends before it has answered anything would be opened again for ever.
            Lost::Closed(text) => (upstream.answered == 0, Some(text)),
        };
        if let Owner::Worker = upstream.owner {
            self.probe_lost();
        }
        let Some(text) = text else { return };
        self.station.stats.upstreams_lost.one();
        if !upstream.target.is_primary {
            self.avoid_replica(address);
            let text = format!("the replica {label} was lost: {text}");
            self.shared.notices.add(Noticed::ReplicaLost, Some(label), text);
        } else if is_refusal {
            self.doubt_primary(Noticed::PrimaryRefused, address, text);
        } else {
            let text = format!("a connection to {label} was lost: {text}");
            self.shared.notices.add(Noticed::PrimaryLost, Some(label), text);
        }
    }
}

/// Take what is known of the wait of a client, if it is this command that waits.
fn blocked_by(client: &mut Client, command: &Command) -> Option<Blocked> {
    command.blocking.as_ref()?;
    client.blocked.take()
}

fn lost_of(item: &Item) -> Option<session::Lost<'_>> {
    match item {
        Item::Ours(_) => None,
        Item::Sent { again, is_written, refusal } => Some(session::Lost {
            command: again.command,
            mark: again.mark,
            request: &again.bytes,
            is_written: *is_written,
            is_refused: refusal.is_some(),
        }),
    }
}
