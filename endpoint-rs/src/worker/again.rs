//! What comes before a client's newer commands: those to be sent again, answers that wait for their
//! turn, and the connection of one that must hear from an instance without asking.

use super::Worker;
use super::forward::{NO_REPLICA, SHARED_BYTES_MAX};
use crate::client::{Again, Parked, Wait};
use crate::command::Class;
use crate::resp::reply::{ErrorKind, Kind};
use crate::session::{Mark, Turn};

impl Worker {
    /// Send what is parked for a client. Return whether newer commands may be taken.
    pub(super) fn unpark(&mut self, index: usize) -> bool {
        let Some(client) = self.clients.get_mut(index) else { return false };
        if client.wait != Wait::No {
            return false;
        }
        if client.parked.is_empty() {
            return self.come_home(index);
        }
        if client.outstanding > 0 {
            client.wait = Wait::Fate;
            return false;
        }
        if client.parked.iter().any(|it| matches!(it, Parked::Kept(..))) {
            // All replies have come, and nothing after it was executed.
            self.let_go_of_refused(index);
            return false;
        }
        while let Some(client) = self.clients.get_mut(index) {
            let Some(parked) = client.parked.pop_front() else { return true };
            match parked {
                Parked::Answer(line) => self.answer(index, &line),
                // Decided above.
                Parked::Kept(..) => {}
                Parked::Again(again) => {
                    if let Some((wait, again)) = self.send_again(index, again) {
                        let Some(client) = self.clients.get_mut(index) else { return false };
                        client.parked.push_front(Parked::Again(again));
                        if wait == Wait::Held {
                            self.hold_client(index);
                        } else {
                            client.wait = wait;
                        }
                        return false;
                    }
                }
            }
        }
        false
    }

    /// Send a command again, or answer it when there has been no primary for too long. Return it
    /// when it has to wait, and what for.
    fn send_again(&mut self, index: usize, again: Again) -> Option<(Wait, Again)> {
        let client = &self.clients[index];
        let needs_own = client.session.needs_own()
            || again.mark != Mark::Plain
            || !again.command.class.has(Class::SHAREABLE)
            || again.bytes.len() > SHARED_BYTES_MAX;
        let wait = match self.route(index, needs_own) {
            Ok(upstream) if self.enter(upstream) => {
                let bytes = match again.blocked {
                    Some(blocked) => {
                        self.with_time_left(index, again.bytes, again.command, blocked)
                    }
                    None => again.bytes,
                };
                if again.blocked.is_some() {
                    self.learn_id(upstream);
                }
                self.send(index, upstream, &bytes, (again.command, again.mark));
                return None;
            }
            Ok(_) => Wait::Held,
            Err(Wait::No) => {
                self.answer_instead(index, &again, NO_REPLICA);
                return None;
            }
            Err(wait) => wait,
        };
        if wait == Wait::Held && self.is_window_over() {
            self.station.stats.answered_loading.one();
            self.answer_instead(index, &again, self.shared.loading());
            return None;
        }
        Some((wait, again))
    }

    /// Answer a command that was accepted before with an error.
    fn answer_instead(&mut self, index: usize, again: &Again, error: &'static [u8]) {
        let client = &mut self.clients[index];
        let kind = Kind::Error(ErrorKind::of(error));
        match client.session.on_reply(again.command, again.mark, &again.bytes, kind) {
            Turn::Give => self.answer(index, error),
            Turn::Drop => {}
            Turn::Instead(line) => self.answer(index, &line),
        }
    }

    /// Open the connection of a client again that must hear from an instance without asking.
    fn come_home(&mut self, index: usize) -> bool {
        let client = &self.clients[index];
        let has_home = client.home.is_some_and(|home| {
            self.upstreams.get(home.upstream).is_some_and(|it| it.serial == home.serial)
        });
        if has_home
            || !(client.session.is_subscribed() || client.session.news_after_restore().is_some())
        {
            return true;
        }
        match self.route(index, true) {
            Err(Wait::Held) if self.is_window_over() => {
                let serial = self.clients[index].serial;
                self.homeless.push((index, serial));
                true
            }
            Err(Wait::Held) => {
                self.hold_client(index);
                false
            }
            Ok(_) | Err(_) => true,
        }
    }
}
