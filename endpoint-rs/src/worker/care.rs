//! Replies that a session must see: those that change it, are dropped, or are pushes.

use super::Worker;
use super::loss::Lost;
use crate::client::Client;
use crate::command::{Command, Verb};
use crate::resp::reply::{ErrorKind, Expect, Kind, Piece, Topic};
use crate::session::{Mark, Outcome, PushTurn, Restore, Turn, outcome};
use crate::upstream::{Owner, Pending, Purpose};

impl Worker {
    /// Return what the next array on a connection may be.
    #[inline]
    pub(super) fn expect(&self, index: usize) -> Expect {
        let upstream = &self.upstreams[index];
        let Owner::Client(client, serial) = upstream.owner else { return Expect::Replies };
        match self.clients.get(client as usize) {
            Some(client) if client.serial == serial => {
                client.session.expect(upstream.pending.front().map(|it| it.command))
            }
            _ => Expect::Replies,
        }
    }

    /// Deal with a push, or a piece of one.
    pub(super) fn hand_out_push(&mut self, index: usize, bytes: &[u8], piece: Piece) {
        if let Some(Kind::Push(topic)) = piece.begins {
            self.push_begins(index, topic);
        }
        let upstream = &mut self.upstreams[index];
        upstream.is_push_begun = !piece.ends;
        let is_swallowed = upstream.is_push_swallowed;
        let answers = std::mem::take(&mut upstream.push_answers);
        let Owner::Client(client, serial) = upstream.owner else { return };
        if !is_swallowed && self.clients.get(client as usize).is_some_and(|it| it.serial == serial)
        {
            self.give(client as usize, bytes);
            self.pause_for_reader(index, client as usize);
        }
        if !answers {
            return;
        }
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        if !piece.ends {
            upstream.push_answers = true;
            return;
        }
        if let Some(pending) = upstream.pending.front().copied() {
            self.pop(index);
            if pending.purpose == Purpose::Client {
                self.settle_account(pending);
            } else {
                self.restored(index, Kind::Simple, b"");
            }
            self.hand_out_ours(index);
        }
    }

    fn push_begins(&mut self, index: usize, topic: Topic) {
        let upstream = &mut self.upstreams[index];
        upstream.is_push_swallowed = false;
        upstream.push_answers = false;
        let front = upstream.pending.front().copied();
        let is_confirmation =
            matches!(topic, Topic::Subscribe | Topic::PSubscribe | Topic::SSubscribe);
        if front.is_some_and(|it| it.purpose == Purpose::Restore) && is_confirmation {
            // The client was told so when it subscribed.
            upstream.is_push_swallowed = true;
            upstream.push_answers = true;
            return;
        }
        let Owner::Client(client, serial) = upstream.owner else { return };
        let Some(client) = self.clients.get_mut(client as usize) else { return };
        if client.serial != serial {
            return;
        }
        let asked = front.filter(|it| it.purpose == Purpose::Client);
        let asked = asked.as_ref().map(|it| (it.command, upstream.log.first(it.bytes as usize)));
        upstream.push_answers = client.session.on_push(topic, asked) == PushTurn::Answers;
    }

    /// Show a session the reply to one of its commands. Return whether the client gets it.
    pub(super) fn show_session(&mut self, index: usize, pending: Pending, kind: Kind) -> Turn {
        let upstream = &self.upstreams[index];
        if !self.is_there(pending) {
            return Turn::Drop;
        }
        let client = &mut self.clients[pending.client as usize];
        if pending.command.blocking.is_some() {
            client.blocked = None;
        }
        self.wants_login |= kind == Kind::Error(ErrorKind::NoAuth);
        if pending.mark == Mark::Plain {
            return Turn::Give;
        }
        let request = upstream.log.first(pending.bytes as usize);
        client.session.on_reply(pending.command, pending.mark, request, kind)
    }

    /// Take in the reply to a question of ours.
    pub(super) fn own_reply(&mut self, index: usize, pending: Pending, kind: Kind, reply: &[u8]) {
        match pending.purpose {
            Purpose::Probe => self.probe_answered(index, reply),
            Purpose::Wait => self.release_withheld(index, reply),
            Purpose::Unblock => self.cut_answered(pending, reply),
            Purpose::Restore => self.restored(index, kind, reply),
            Purpose::ClientId => {
                let id = reply.strip_prefix(b":").and_then(|it| std::str::from_utf8(it).ok());
                self.upstreams[index].client_id = id.and_then(|it| it.trim_end().parse().ok());
            }
            Purpose::Client | Purpose::Ours | Purpose::Swallow => {}
        }
    }

    /// A step of setting a session up was answered.
    fn restored(&mut self, index: usize, kind: Kind, reply: &[u8]) {
        let upstream = &self.upstreams[index];
        let is_last = upstream.pending.front().is_none_or(|it| it.purpose != Purpose::Restore);
        let restore = Restore { ends_in_error: upstream.restore_fails, ..Restore::default() };
        let text = || String::from_utf8_lossy(reply).trim().to_owned();
        match outcome(&restore, is_last, kind) {
            Outcome::Done if is_last => {
                self.upstreams[index].log.lift_barrier();
                self.soil_instance(index);
            }
            Outcome::Done => {}
            Outcome::NotNow => {
                let address = upstream.target.address;
                let is_primary = upstream.target.is_primary;
                let why = format!("it answers {}", text());
                if is_primary {
                    let kind = crate::notices::Noticed::PrimaryRefusing;
                    self.doubt_primary(kind, address, &why);
                } else {
                    self.avoid_replica(address);
                }
                self.lose(index, &Lost::Closed(why));
            }
            Outcome::Never => self.lose(index, &Lost::Disowned(text())),
        }
    }

    /// Keep count of the clients that are told of failovers.
    pub(super) fn count_handoff(&mut self, index: usize, command: &Command) {
        if command.verb != Verb::MaintNotifications {
            return;
        }
        let Some(client) = self.clients.get_mut(index) else { return };
        let is_told = client.session.maintenance().is_some();
        if is_told != client.is_told {
            client.is_told = is_told;
            if is_told {
                self.handoff_clients += 1;
            } else {
                self.handoff_clients -= 1;
            }
            self.station.stats.handoff_clients.set(self.handoff_clients);
        }
    }

    /// Forget what was counted of a client that is gone.
    pub(super) fn part(&mut self, client: &Client) {
        if client.is_told {
            self.handoff_clients -= 1;
            self.station.stats.handoff_clients.set(self.handoff_clients);
        }
    }
}
