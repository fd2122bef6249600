//! What becomes of commands whose connection is lost.
//!
//! The session decides (`Session::after_loss`); here is what it decides about, and what follows.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Worker;
use crate::client::{Again, Blocked, Client, Kept, Parked, Wait};
use crate::command::Command;
use crate::notices::Noticed;
use crate::session::{self, Fate, Mark};
use crate::upstream::{Owner, Purpose, Upstream};

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
pub(super) enum Item {
    Sent { again: Again, is_written: bool, kept: Option<Kept> },
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
                        kept: None,
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
    pub(super) fn decide(&mut self, index: usize, newer: Vec<Item>) -> usize {
        let client = &mut self.clients[index];
        let mut items: Vec<Item> = Vec::with_capacity(client.parked.len() + newer.len());
        let mut decided = VecDeque::new();
        for parked in std::mem::take(&mut client.parked) {
            match parked {
                Parked::Kept(again, kept) => {
                    items.push(Item::Sent { again, is_written: true, kept: Some(kept) });
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
                Item::Sent { again, kept, .. } => {
                    let Some(fate) = fates.next() else { break };
                    let has_reply = kept.as_ref().is_some_and(|it| !it.is_refusal);
                    in_doubt += usize::from(matches!(fate, Fate::Ambiguous(_)) && !has_reply);
                    decided.extend(self.parked_of(fate, again, kept));
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
        client.kept_bytes = 0;
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

    fn parked_of(&self, fate: Fate, again: Again, kept: Option<Kept>) -> Option<Parked> {
        let stats = &self.station.stats;
        match (fate, kept) {
            (Fate::Again, kept) => {
                stats.replayed.one();
                if kept.is_some_and(|it| it.is_refusal) {
                    stats.refused_hidden.one();
                }
                Some(Parked::Again(again))
            }
            (Fate::AgainAs(bytes), _) => {
                stats.replayed.one();
                Some(Parked::Again(Again { bytes, ..again }))
            }
            (_, Some(kept)) if !kept.is_refusal => Some(Parked::Answer(kept.line.into())),
            (Fate::Refusal, _) if again.mark == Mark::Silent => None,
            (Fate::Refusal, kept) => kept.map(|it| Parked::Answer(it.line.into())),
            (Fate::Answer(line), _) => Some(Parked::Answer(line)),
            (Fate::Ambiguous(line), _) => Some(Parked::Answer(line.into())),
        }
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
pub(super) fn blocked_by(client: &mut Client, command: &Command) -> Option<Blocked> {
    command.blocking.as_ref()?;
    client.blocked.take()
}

fn lost_of(item: &Item) -> Option<session::Lost<'_>> {
    match item {
        Item::Ours(_) => None,
        Item::Sent { again, is_written, kept } => Some(session::Lost {
            command: again.command,
            mark: again.mark,
            request: &again.bytes,
            is_written: *is_written,
            is_refused: kept.as_ref().is_some_and(|it| it.is_refusal),
        }),
    }
}
