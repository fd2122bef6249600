//! One client: what it sent that was not forwarded, what it is owed, and why it waits.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use crate::command::Command;
use crate::config::Kind;
use crate::resp::reply::Kind as ReplyKind;
use crate::resp::request::{Limits, RequestFramer};
use crate::session::{Line, Mark, Session};
use crate::stream::Stream;

/// Buffers beyond this are given back to the allocator when empty.
const BUFFER_KEPT_BYTES: usize = 4 * 1024;

/// Why nothing more is taken from a client just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It does not wait.
    No,
    /// There is no primary, or commands are held.
    Held,
    /// Its next command needs another connection, and replies on the present one are under way.
    Replies,
    /// It does not read its replies.
    Reader,
    /// Too much waits to be written to its instance.
    Instance,
    /// Something of what it sent was refused or lost, and the fate of the rest is not known.
    Fate,
}

/// Which connection a client's commands go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its place.
    pub upstream: usize,
    /// Its serial number: places are used again.
    pub serial: u32,
    /// It belongs to this client alone.
    pub is_own: bool,
}

/// What has to be done for a client before anything newer, in order.
#[derive(Debug)]
pub enum Parked {
    /// An instance refused this, or answered it behind a refusal. It is sent again unless
    /// something was executed that cannot be repeated.
    Kept(Again, Kept),
    /// Send this again.
    Again(Again),
    /// Answer this.
    Answer(Line),
}

/// A reply that is kept back.
#[derive(Debug)]
pub struct Kept {
    /// As it came.
    pub line: Vec<u8>,
    /// What it is.
    pub kind: ReplyKind,
    /// It proves that its command was not executed.
    pub is_refusal: bool,
}

/// A command that is sent again.
#[derive(Debug)]
pub struct Again {
    /// As it was sent.
    pub bytes: Vec<u8>,
    /// What it is.
    pub command: &'static Command,
    /// What its session wants to know of the reply.
    pub mark: Mark,
    /// How long it was to block.
    pub blocked: Option<Blocked>,
}

/// A blocking command under way.
#[derive(Clone, Copy, Debug)]
pub struct Blocked {
    /// When it was first sent.
    pub since: Instant,
    /// When its own timeout is over; None: it waits for ever.
    pub until: Option<Instant>,
    /// It was asked to end, for a hold.
    pub is_cut: bool,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Tells it from others that had its place.
    pub serial: u32,
    /// Its socket.
    pub stream: Stream,
    /// The listener it came by: its place in the configuration.
    pub listener: usize,
    /// Where its commands go.
    pub kind: Kind,
    /// Where it comes from; None: a unix socket.
    pub address: Option<IpAddr>,
    /// It counts against the limit of its address.
    pub is_counted: bool,
    /// A PROXY protocol header is still to come.
    pub awaits_proxy: bool,
    /// What it set up.
    pub session: Session,
    /// Where commands end.
    pub framer: RequestFramer,
    /// Read and not taken yet.
    pub input: Vec<u8>,
    /// Replies that were not written yet, from `written` on.
    pub output: Vec<u8>,
    /// How much of `output` was written.
    pub written: usize,
    /// Where its commands go.
    pub home: Option<Home>,
    /// Commands whose replies it has not been given.
    pub outstanding: u32,
    /// What comes before anything newer.
    pub parked: VecDeque<Parked>,
    /// How long the replies are that are kept back.
    pub kept_bytes: usize,
    /// Why nothing more is taken from it.
    pub wait: Wait,
    /// The socket may have bytes that were not read.
    pub is_readable: bool,
    /// The other side has closed its half: there is an end to be read behind the last bytes.
    pub is_hung_up: bool,
    /// It is in the list of those to be written to at the end of the pass.
    pub is_dirty: bool,
    /// It is in the list of those to be looked at in this pass.
    pub is_queued: bool,
    /// It will send no more.
    pub is_at_end: bool,
    /// It is closed once it has got what it is owed; nothing more is taken from it.
    pub is_closing: bool,
    /// It asked for maintenance notifications.
    pub is_told: bool,
    /// It has sent a whole command.
    pub has_spoken: bool,
    /// When it connected.
    pub since: Instant,
    /// When bytes of it came last.
    pub heard: Instant,
    /// Until when it keeps a connection of its own that it no longer needs.
    pub keeps_own_until: Instant,
    /// The blocking command under way.
    pub blocked: Option<Blocked>,
}

impl Client {
    /// Greet a client that has just connected.
    #[must_use]
    pub fn new(serial: u32, stream: Stream, listener: usize, kind: Kind, now: Instant) -> Self {
        Self {
            serial,
            stream,
            listener,
            kind,
            address: None,
            is_counted: false,
            awaits_proxy: false,
            session: Session::new(),
            framer: RequestFramer::new(Limits::default(), true),
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            home: None,
            outstanding: 0,
            parked: VecDeque::new(),
            kept_bytes: 0,
            wait: Wait::No,
            is_readable: false,
            is_hung_up: false,
            is_dirty: false,
            is_queued: false,
            is_at_end: false,
            is_closing: false,
            is_told: false,
            has_spoken: false,
            since: now,
            heard: now,
            keeps_own_until: now,
            blocked: None,
        }
    }

    /// Return how many bytes of replies wait to be written.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.output.len() - self.written
    }

    /// Write what waits, as far as the socket takes it. Return how many bytes that were.
    ///
    /// # Errors
    /// A broken connection.
    pub fn flush(&mut self) -> std::io::Result<usize> {
        if self.output.is_empty() {
            self.stream.flush()?;
            return Ok(0);
        }
        let count = self.stream.write(&self.output[self.written..])?;
        self.written += count;
        if self.written == self.output.len() {
            self.written = 0;
            self.output.clear();
            if self.output.capacity() > BUFFER_KEPT_BYTES {
                self.output = Vec::new();
            }
        } else if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
        Ok(count)
    }

    /// Return whether it is owed nothing and has asked for nothing that was not taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outstanding == 0
            && self.parked.is_empty()
            && self.input.is_empty()
            && self.output.is_empty()
    }
}
