//! Clients that asked for it are told before their connection matters (maintenance notifications).
//!
//! `FAILING_OVER` when commands begin to be held, so that they wait longer; `FAILED_OVER` when they
//! go on; `MOVING` to nowhere in particular when another process takes the listeners over, so that
//! they connect anew at the same address. Source of the texts: redis-py `maint_notifications.py`
//! (7.0) and the parsers of node-redis and Lettuce.

use super::Worker;
use crate::client::Client;

/// How long clients are told to be patient with a failover, and to take for a move.
const MOVE_S: u64 = 5;

/// Encode a push of RESP3: a word, a sequence number, and maybe more.
fn push(word: &str, sequence: u64, rest: &[u8], elements: usize) -> Vec<u8> {
    let mut bytes =
        format!(">{}\r\n${}\r\n{word}\r\n:{sequence}\r\n", 2 + elements, word.len()).into_bytes();
    bytes.extend_from_slice(rest);
    bytes
}

impl Worker {
    /// Tell clients that commands are held from now on, or no longer.
    pub(super) fn notify_handoff(&mut self, begins: bool) {
        if self.handoff_clients == 0 || begins == self.has_told_failover {
            return;
        }
        self.has_told_failover = begins;
        let sequence = self.shared.holds().count;
        let bytes = if begins {
            let window_s = self.shared.config.hold.window.as_secs().max(1);
            push("FAILING_OVER", sequence, format!(":{window_s}\r\n").as_bytes(), 1)
        } else {
            push("FAILED_OVER", sequence, b"", 0)
        };
        self.push_handoff(&bytes);
    }

    /// Tell clients to connect again: another process answers at this address.
    pub(super) fn notify_moving(&mut self) {
        let sequence = self.shared.holds().count;
        let bytes = push("MOVING", sequence, format!(":{MOVE_S}\r\n_\r\n").as_bytes(), 2);
        self.push_handoff(&bytes);
    }

    fn push_handoff(&mut self, bytes: &[u8]) {
        let told: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| {
                client.session.maintenance().is_some() && !self.is_mid_reply(client)
            })
            .map(|(index, _)| index)
            .collect();
        for index in told {
            self.give(index, bytes);
        }
    }

    /// Whether a part of a reply has been given to a client: nothing may come in between.
    fn is_mid_reply(&self, client: &Client) -> bool {
        client.home.and_then(|home| self.upstreams.get(home.upstream)).is_some_and(|upstream| {
            (upstream.is_reply_begun || upstream.is_push_begun)
                && upstream
                    .pending
                    .front()
                    .and_then(|it| self.clients.get(it.client as usize))
                    .is_some_and(|it| it.serial == client.serial)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::push;

    #[test]
    fn pushes_are_arrays_that_begin_with_their_word() {
        assert_eq!(push("FAILED_OVER", 7, b"", 0), b">2\r\n$11\r\nFAILED_OVER\r\n:7\r\n");
        assert_eq!(
            push("MOVING", 1, b":5\r\n_\r\n", 2),
            b">4\r\n$6\r\nMOVING\r\n:1\r\n:5\r\n_\r\n"
        );
    }
}
