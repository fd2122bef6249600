//! One connection to an instance, whoever uses it: what was sent, and who waits for which reply.
//!
//! Bytes stay in the [`SendLog`] until they are answered, so that what proves not to have been
//! executed can be sent again without a second copy having been kept. Replies come in the order of
//! the commands; [`Pending`] says for each what it is and for whom.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use zeroize::Zeroize;

use crate::command::{Class, Command};
use crate::resp::reply::{Kind, ReplyFramer};
use crate::session::Mark;
use crate::stream::Stream;

/// Logs beyond this are given back to the allocator when empty: most connections never need it.
const LOG_KEPT_BYTES: usize = 256 * 1024;

/// Sent and unanswered bytes, and those still to be sent.
#[derive(Debug, Default)]
pub struct SendLog {
    bytes: Vec<u8>,
    /// Where the first unanswered command begins.
    answered: usize,
    /// Where the first unwritten byte is.
    written: usize,
    /// What is behind this is not to be written yet.
    barrier: Option<usize>,
}

impl SendLog {
    /// Append a command.
    #[inline]
    pub fn push(&mut self, command: &[u8]) {
        self.bytes.extend_from_slice(command);
    }

    /// Return what is to be written now.
    #[inline]
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..self.barrier.unwrap_or(self.bytes.len())]
    }

    /// Return how many bytes are still to be written, now or later.
    #[inline]
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Let nothing be written that is pushed from now on, until the barrier is lifted.
    pub fn set_barrier(&mut self) {
        self.barrier = Some(self.bytes.len());
    }

    /// Let everything be written.
    pub fn lift_barrier(&mut self) {
        self.barrier = None;
    }

    /// Say that so many bytes more were written.
    #[inline]
    pub fn wrote(&mut self, count: usize) {
        self.written += count;
    }

    /// Forget the first command, which is so long: it was answered.
    #[inline]
    pub fn answer(&mut self, length: usize) {
        self.answered += length;
        if self.answered == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(LOG_KEPT_BYTES);
            self.answered = 0;
            self.written = 0;
            self.barrier = self.barrier.map(|_| 0);
        } else if self.answered > LOG_KEPT_BYTES && self.answered > self.bytes.len() / 2 {
            self.bytes.drain(..self.answered);
            self.written -= self.answered;
            self.barrier = self.barrier.map(|barrier| barrier - self.answered);
            self.answered = 0;
        }
    }

    /// Return the first command, which is so long.
    #[must_use]
    pub fn first(&self, length: usize) -> &[u8] {
        &self.bytes[self.answered..self.answered + length]
    }

    /// Overwrite the first command, which is so long: it holds a password.
    fn wipe_first(&mut self, length: usize) {
        self.bytes[self.answered..self.answered + length].zeroize();
    }

    /// Whether the first command, which is so long, has been written to its end. One that has not
    /// cannot have been executed.
    #[must_use]
    pub fn is_first_written(&self, length: usize) -> bool {
        self.answered + length <= self.written
    }
}

/// What a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A client's command.
    Client,
    /// A step of setting up a session: the client has seen its reply long ago.
    Restore,
    /// Whatever it is answered, nobody needs to know.
    Swallow,
    /// CLIENT ID of this connection.
    ClientId,
    /// WAIT for the writes before it.
    Wait,
    /// CLIENT UNBLOCK of another connection.
    Unblock,
    /// ROLE, to learn whether an instance serves.
    Probe,
    /// Nothing was sent: the reply is ours, and takes its turn.
    Ours,
}

/// A reply that is awaited.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// What it is for.
    pub purpose: Purpose,
    /// The client's place.
    pub client: u32,
    /// The client's serial number: places are used again.
    pub serial: u32,
    /// How long the command is in the log.
    pub bytes: u32,
    /// What command it is.
    pub command: &'static Command,
    /// What its session wants to know of the reply.
    pub mark: Mark,
    /// A WAIT follows it, which its reply waits for.
    pub awaits_acks: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its turn to connect.
    Queued,
    /// The connect, or the TLS handshake, is under way.
    Connecting,
    /// Commands flow.
    Ready,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// All clients of this pool.
    Pool(usize),
    /// One client: its place and serial number.
    Client(u32, u32),
    /// The worker itself.
    Worker,
}

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The instance.
    pub address: SocketAddr,
    /// Whether it was the primary when the connection was made.
    pub is_primary: bool,
}

/// A reply that waits until replicas have the writes before it.
#[derive(Debug)]
pub struct Withheld {
    /// Whose it is, and what of.
    pub pending: Pending,
    /// The reply.
    pub reply: Vec<u8>,
    /// Whether it tells of a write that was executed.
    pub is_write: bool,
}

/// One connection to an instance.
#[derive(Debug)]
pub struct Upstream {
    /// Tells it from others that had its place.
    pub serial: u32,
    /// Where it leads.
    pub target: Target,
    /// Whose it is.
    pub owner: Owner,
    /// How far it is.
    pub state: State,
    /// None while queued.
    pub stream: Option<Stream>,
    /// What was sent.
    pub log: SendLog,
    /// Who waits for replies, in order.
    pub pending: VecDeque<Pending>,
    /// Replies of ours that wait for their turn ([`Purpose::Ours`]), in order.
    pub ours: VecDeque<Vec<u8>>,
    /// Where replies end.
    pub framer: ReplyFramer,
    /// The beginning of a reply whose end has not come.
    pub input: Vec<u8>,
    /// Part of the first pending reply has been given to its client.
    pub is_reply_begun: bool,
    /// It is in the list of those to be written to at the end of the pass.
    pub is_dirty: bool,
    /// The socket may have bytes that were not read.
    pub is_readable: bool,
    /// The instance has closed its half: there is an end to be read behind the last bytes.
    pub is_hung_up: bool,
    /// What the present reply is.
    pub kind: Kind,
    /// The pieces of a reply that is for us.
    pub collected: Vec<u8>,
    /// How many of the pending replies are for clients.
    pub of_clients: usize,
    /// The last step of its restore fails on purpose.
    pub restore_fails: bool,
    /// Which pieces of the present reply are dropped: it was answered otherwise, or not at all.
    pub drops_reply: bool,
    /// Replies need no look by a session, and none is withheld.
    pub is_simple: bool,
    /// What has begun and not ended is a push.
    pub is_push_begun: bool,
    /// That push is dropped.
    pub is_push_swallowed: bool,
    /// The end of that push is the end of the first pending reply.
    pub push_answers: bool,
    /// Reading is put off: the client that would get it is slow.
    pub is_paused: bool,
    /// When its connect was begun.
    pub since: Instant,
    /// Clients that wait until less is unwritten.
    pub waiting: Vec<(usize, u32)>,
    /// The instance's number for this connection, once asked for.
    pub client_id: Option<u64>,
    /// CLIENT ID was asked for.
    pub asked_id: bool,
    /// Writes were sent since the last WAIT.
    pub unconfirmed: u32,
    /// A transaction was begun and not ended, as sent.
    pub is_in_multi: bool,
    /// Replies that wait for a WAIT.
    pub withheld: VecDeque<Withheld>,
    /// Which reply is timed (counted from the first), and since when.
    pub sample: Option<(u64, Instant)>,
    /// How many commands were sent, and answered.
    pub sent: u64,
    /// How many were answered.
    pub answered: u64,
}

impl Upstream {
    /// Begin a connection that has still to be opened.
    #[must_use]
    pub fn new(serial: u32, target: Target, owner: Owner, now: Instant) -> Self {
        Self {
            serial,
            target,
            owner,
            state: State::Queued,
            stream: None,
            log: SendLog::default(),
            pending: VecDeque::new(),
            ours: VecDeque::new(),
            framer: ReplyFramer::new(),
            input: Vec::new(),
            is_reply_begun: false,
            is_dirty: false,
            is_readable: false,
            is_hung_up: false,
            kind: Kind::Simple,
            collected: Vec::new(),
            of_clients: 0,
            restore_fails: false,
            drops_reply: false,
            is_simple: true,
            is_push_begun: false,
            is_push_swallowed: false,
            push_answers: false,
            is_paused: false,
            since: now,
            waiting: Vec::new(),
            client_id: None,
            asked_id: false,
            unconfirmed: 0,
            is_in_multi: false,
            withheld: VecDeque::new(),
            sample: None,
            sent: 0,
            answered: 0,
        }
    }

    /// Queue a command and its reply's receiver.
    #[inline]
    pub fn push(&mut self, command: &[u8], pending: Pending) {
        self.log.push(command);
        self.pending.push_back(pending);
        self.of_clients += usize::from(pending.purpose == Purpose::Client);
        self.sent += 1;
    }

    /// Take the receiver of the reply that has just come to its end, and forget the command.
    #[inline]
    pub fn answer(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        if pending.purpose == Purpose::Restore || pending.command.class.has(Class::SECRET) {
            self.log.wipe_first(pending.bytes as usize);
        }
        self.log.answer(pending.bytes as usize);
        self.answered += 1;
        self.is_reply_begun = false;
        Some(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_what_is_unanswered_and_knows_what_was_written() {
        let mut log = SendLog::default();
        log.push(b"first");
        log.push(b"second");
        assert_eq!(log.unwritten(), b"firstsecond");
        log.wrote(7);
        assert!(log.is_first_written(5));
        log.answer(5);
        assert_eq!(log.first(6), b"second");
        assert!(!log.is_first_written(6), "its end is not written");
        assert_eq!(log.unwritten(), b"cond");
        log.wrote(4);
        log.answer(6);
        assert_eq!(log.unwritten(), b"");
    }

    #[test]
    fn what_is_behind_a_barrier_is_written_only_when_it_is_lifted() {
        let mut log = SendLog::default();
        log.push(b"login");
        log.set_barrier();
        log.push(b"command");
        assert_eq!(log.unwritten(), b"login");
        log.wrote(5);
        log.answer(5);
        assert_eq!(log.unwritten(), b"");
        assert_eq!(log.backlog(), 7);
        assert!(!log.is_first_written(7));
        log.lift_barrier();
        assert_eq!(log.unwritten(), b"command");
    }

    #[test]
    fn a_log_that_never_runs_empty_does_not_grow_for_ever() {
        let mut log = SendLog::default();
        let command = [b'x'; 1000];
        log.push(&command);
        for _ in 0..10_000 {
            log.push(&command);
            log.wrote(log.unwritten().len());
            log.answer(command.len());
        }
        assert!(log.bytes.capacity() < 4 * LOG_KEPT_BYTES, "{}", log.bytes.capacity());
    }
}
