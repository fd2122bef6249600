//! One client's session: what each request may do, what the connection behind it has been set up
//! as, and how that is brought back on another connection.
//!
//! The caller keeps the requests that are not answered, in order, with their `Command` and `Mark`,
//! and tells the session of them in this order:
//!
//! 1. `judge` a request: what is to be done with it. Changes nothing, may be asked again.
//! 2. `accept` it when that is done (sent, or answered): from then on the session counts on it.
//!    `refuse` it instead when there is no primary for too long.
//! 3. `on_push` and `on_reply`, for what comes, in the order in which it comes. Requests with
//!    `Mark::Plain` need no `on_reply`. Whatever a client is told in place of a reply counts as
//!    that reply. A refusal (`ErrorKind::refuses`) that is kept back does not, until it is told.
//! 4. `after_loss` when the connection is gone: what becomes of the requests without an answer.
//!    Those to be sent again were accepted before and are not accepted anew. What `restore`
//!    returns goes first on the new connection, and its replies are swallowed.
//!
//! Rules: state changes when the instance says that it has changed, never when it is asked to. What
//! cannot be brought back is never pretended: the client is closed instead (`AfterLoss::close`).
//! CLIENT REPLY is kept from instances, so that each request has an answer there.

mod answered;
mod identity;
mod judge;
mod loss;
mod pubsub;
mod texts;

use crate::command::{Command, Verb};
use crate::resp::reply::{Expect, Kind, Topic};
use crate::resp::request::Request;

pub use identity::{Restore, Secret, ShareKey};
pub use judge::{Answer, Forward, Route, Setting, Verdict};
pub use loss::{AfterLoss, Fate, Lost};
pub use texts::{AMBIGUOUS, AMBIGUOUS_READ, INVALIDATE_ALL, Line};

use pubsub::{Confirmed, Subscriptions};

/// What the caller must remember of a request that it sends, besides its command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// The reply goes to the client; the session need not see it.
    #[default]
    Plain,
    /// The session must see the reply.
    Seen,
    /// The session must see the reply; the client gets none (CLIENT REPLY OFF or SKIP).
    Silent,
    /// Something else was sent, which fails; the client is told why the request was refused.
    Refused,
}

/// What is to be done with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Give it to the client.
    Give,
    /// Drop it, all its pieces.
    Drop,
    /// Drop it and give the client this.
    Instead(Line),
}

/// What is to be done with a push. It goes to the client in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushTurn {
    /// It answers nothing.
    Said,
    /// It is the last part of the answer to the request in front.
    Answers,
}

/// How a step of a restore went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should: swallow the reply.
    Done,
    /// The instance cannot do it now: try another connection later.
    NotNow,
    /// The instance will not have this session: close the client.
    Never,
}

/// Tell how a step of a restore went by its reply. `is_last` is the step after which none comes.
#[must_use]
pub fn outcome(restore: &Restore, is_last: bool, kind: Kind) -> Outcome {
    match kind {
        Kind::Error(error) if error.is_refusal() => Outcome::NotNow,
        Kind::Error(_) if is_last && restore.ends_in_error => Outcome::Done,
        Kind::Error(_) => Outcome::Never,
        _ => Outcome::Done,
    }
}

/// A transaction that the instance has begun and not ended.
#[derive(Debug, Default)]
struct Transaction {
    /// The requests that it has queued.
    queue: Vec<u8>,
    count: usize,
    /// It refused one: EXEC will fail.
    has_failed: bool,
    /// The queue is too long to be kept.
    is_too_long: bool,
}

/// How EXEC ends that is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Like one whose watched keys were changed.
    Null,
    /// Like one that failed before: the transaction was too long to be kept.
    NotKept,
    /// Like one that failed before: a command of it was not taken.
    Failed,
    /// Whether it had begun is not known: its commands may have been executed at once.
    Unknown,
}

impl Ending {
    fn line(self, is_resp3: bool) -> Line {
        match self {
            Self::Null => texts::null(is_resp3),
            Self::NotKept => texts::EXEC_NOT_KEPT,
            Self::Failed => texts::EXEC_ABORTED,
            Self::Unknown => Line::Borrowed(AMBIGUOUS),
        }
    }
}

/// One client's session.
///
/// The passwords in it are wiped when it is dropped, and not shown by `Debug`.
#[derive(Debug, Default)]
pub struct Session {
    key: ShareKey,
    is_authenticated: bool,
    subscriptions: Subscriptions,
    /// What the instance has begun, as far as replies tell.
    transaction: Option<Box<Transaction>>,
    /// MULTI was accepted and neither EXEC nor DISCARD.
    is_in_multi: bool,
    unanswered_multis: u32,
    /// A transaction that only we know of, and how it will end.
    local: Option<Ending>,
    is_watching: bool,
    /// What was watched is on an instance that is no longer the primary.
    is_watch_broken: bool,
    /// Requests that may change the session and are not answered.
    unanswered: u32,
    no_evict: bool,
    no_touch: bool,
    read_only: bool,
    /// The requests that turned tracking on; empty: it is off.
    tracking: Vec<u8>,
    tracking_count: usize,
    is_redirected: bool,
    /// CLIENT ID was asked, or something was set that is not known here.
    is_named: bool,
    is_reply_off: bool,
    skips_reply: bool,
    maintenance: Option<Box<[u8]>>,
    /// Why it cannot be brought back.
    taint: Option<&'static str>,
    /// The term of the last write that was accepted; 0: none.
    wrote_in: u64,
}

impl Session {
    /// Return the session of a connection that has just been made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Return what another session must equal to share a connection; None when this session needs
    /// one of its own.
    #[must_use]
    pub fn share_key(&self) -> Option<ShareKey> {
        (!self.needs_own()).then(|| self.key.clone())
    }

    /// Return whether the session needs a connection of its own as it is now.
    #[inline]
    #[must_use]
    pub fn needs_own(&self) -> bool {
        self.unanswered > 0 || self.is_set_up()
    }

    /// Return whether closing the connection would lose something: subscriptions, a transaction,
    /// keys that are watched or tracked.
    #[must_use]
    pub fn is_engaged(&self) -> bool {
        self.is_subscribed()
            || self.is_in_multi
            || self.local.is_some()
            || self.is_watching
            || self.is_watch_broken
            || !self.tracking.is_empty()
            || self.unanswered > 0
    }

    /// Return whether it is subscribed to anything.
    #[must_use]
    pub fn is_subscribed(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// Return whether MULTI was accepted, and neither EXEC nor DISCARD after it.
    #[must_use]
    pub fn is_in_transaction(&self) -> bool {
        self.is_in_multi || self.local.is_some()
    }

    /// Return whether the client speaks RESP3.
    #[must_use]
    pub fn is_resp3(&self) -> bool {
        self.key.identity().is_resp3
    }

    /// Return whether a login of the client has succeeded: the framer's small limits may end.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    /// Return the type of address that the client wants in notices of maintenance, as it wrote it,
    /// or None: it wants none, or cannot be sent any.
    #[must_use]
    pub fn maintenance(&self) -> Option<&[u8]> {
        self.maintenance.as_deref().filter(|_| self.is_resp3())
    }

    /// Return what the next array may be, while `front` is the oldest request without an answer.
    #[must_use]
    pub fn expect(&self, front: Option<&Command>) -> Expect {
        let is_asked = front.is_some_and(|command| is_pubsub(command.verb));
        if !self.is_resp3() && (is_asked || self.is_subscribed()) {
            Expect::Messages
        } else {
            Expect::Replies
        }
    }

    /// Take in a push. `front` is the oldest request without an answer, as it was sent.
    pub fn on_push(&mut self, topic: Topic, front: Option<(&Command, &[u8])>) -> PushTurn {
        let Some((command, request)) = front else { return PushTurn::Said };
        match self.subscriptions.confirm(topic, command.verb, request) {
            Confirmed::All => {
                self.unanswered = self.unanswered.saturating_sub(1);
                PushTurn::Answers
            }
            Confirmed::More | Confirmed::NotAsked => PushTurn::Said,
        }
    }

    /// Take in the reply to `request`, which is the oldest without an answer.
    pub fn on_reply(&mut self, command: &Command, mark: Mark, request: &[u8], kind: Kind) -> Turn {
        if is_stateful(command.verb) {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        let is_in_transaction = self.transaction.is_some();
        if is_in_transaction && is_queued_in_multi(command.verb) {
            self.queued(mark, request, kind);
        } else {
            self.answered(command.verb, request, kind);
        }
        match mark {
            Mark::Plain | Mark::Seen => Turn::Give,
            Mark::Silent => Turn::Drop,
            Mark::Refused => Turn::Instead(texts::refused(command.name, true)),
        }
    }

    /// Return what brings the session back on a new connection of its own.
    #[must_use]
    pub fn restore(&self) -> Restore {
        let mut restore = self.key.restore();
        if self.no_evict {
            restore.add(&[b"CLIENT", b"NO-EVICT", b"ON"]);
        }
        if self.no_touch {
            restore.add(&[b"CLIENT", b"NO-TOUCH", b"ON"]);
        }
        if self.read_only {
            restore.add(&[b"READONLY"]);
        }
        restore.bytes.extend_from_slice(&self.tracking);
        restore.replies += self.tracking_count;
        self.subscriptions.restore(&mut restore);
        if let Some(transaction) = &self.transaction {
            restore.add(&[b"MULTI"]);
            restore.bytes.extend_from_slice(&transaction.queue);
            restore.replies += transaction.count;
            if transaction.has_failed {
                restore.bytes.extend_from_slice(judge::FAILING);
                restore.replies += 1;
                restore.ends_in_error = true;
            }
        }
        restore
    }

    /// Return what the client must be told once it is on a new connection: with tracking, that
    /// whatever it has cached may be outdated.
    #[must_use]
    pub fn news_after_restore(&self) -> Option<&'static [u8]> {
        (!self.tracking.is_empty() && self.is_resp3()).then_some(INVALIDATE_ALL)
    }

    fn is_set_up(&self) -> bool {
        self.is_in_multi
            || self.transaction.is_some()
            || self.is_watching
            || self.no_evict
            || self.no_touch
            || self.read_only
            || self.is_named
            || self.taint.is_some()
            || !self.tracking.is_empty()
            || self.is_subscribed()
    }
}

fn is_pubsub(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Subscribe
            | Verb::PSubscribe
            | Verb::SSubscribe
            | Verb::Unsubscribe
            | Verb::PUnsubscribe
            | Verb::SUnsubscribe
    )
}

// Whether the reply may tell of a change of the session.
fn is_stateful(verb: Verb) -> bool {
    !matches!(verb, Verb::Plain | Verb::Wait | Verb::WaitAof)
}

// Whether a transaction keeps it for EXEC. Source: `processCommand`, redis/src/server.c (7.0.15).
fn is_queued_in_multi(verb: Verb) -> bool {
    !matches!(
        verb,
        Verb::Multi | Verb::Exec | Verb::Discard | Verb::Watch | Verb::Reset | Verb::Quit
    )
}

/// Return whether `words` of a request are more than others should wait behind.
fn is_big(request: &Request<'_>) -> bool {
    request.bytes().len() > judge::SHARED_BYTES_MAX || request.len() > judge::SHARED_WORDS_MAX
}
