//! What is to be done with a request.

use crate::command::{Class, Command, Verb};
use crate::resp::request::Request;

use super::texts::{self, Line, STATE_BYTES_MAX, STATE_COMMAND_BYTES_MAX};
use super::{Ending, Mark, Session, is_big, is_pubsub, is_stateful};

/// A longer request does not go over a shared connection, in bytes.
pub(super) const SHARED_BYTES_MAX: usize = 64 * 1024;
/// One with more words neither: it may take long.
pub(super) const SHARED_WORDS_MAX: usize = 1024;

/// Which connection a request goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// One that others use too. (The client's own, where it has one, does as well.)
    Shared,
    /// The client's own.
    Own,
}

/// How to send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Over which connection.
    pub route: Route,
    /// What to remember of it.
    pub mark: Mark,
    /// Send this instead of the request.
    pub instead: Option<&'static [u8]>,
    /// Send this before it; its one reply is to be swallowed.
    pub before: Option<&'static [u8]>,
}

/// What a client is told at once, in its turn: after the replies it is still owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The line; may be empty: the client gets nothing.
    pub line: Line,
    /// Whether to close the client after it.
    pub closes: bool,
}

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Forward(Forward),
    /// Answer it; nothing is sent.
    Answer(Answer),
}

/// What a verdict depends on besides the session.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The gate's term.
    pub term: u64,
    /// Whether DEBUG may pass.
    pub allows_debug: bool,
    /// Whether clients may ask for notices of maintenance.
    pub offers_maintenance: bool,
}

/// No command of any engine: it makes a transaction fail as a refused command must.
pub(super) const FAILING: &[u8] = b"*1\r\n$13\r\nEVERFLY.ABORT\r\n";
/// WAIT asks about the writes of its own connection, and the connection it goes over may have seen
/// none of them. But any command sets what WAIT compares with to the instance's present offset.
/// Source: `call` and `waitCommand`, redis/src/server.c, replication.c (7.0.15).
const BEFORE_WAIT: &[u8] = b"*1\r\n$4\r\nPING\r\n";

impl Session {
    /// Say what is to be done with a request. Changes nothing.
    #[inline]
    #[must_use]
    pub fn judge(&self, command: &Command, request: &Request<'_>, setting: &Setting) -> Verdict {
        const PLAIN: Class = Class::SHAREABLE;
        if command.class.has(PLAIN) && self.is_ordinary() && !is_big(request) {
            return forward(Route::Shared, Mark::Plain);
        }
        self.judge_with_care(command, request, setting)
    }

    /// Count on a request for which was done what `verdict` says.
    #[inline]
    pub fn accept(
        &mut self,
        command: &Command,
        request: &Request<'_>,
        verdict: &Verdict,
        setting: &Setting,
    ) {
        if command.class.has(Class::WRITE) && matches!(verdict, Verdict::Forward(_)) {
            self.wrote_in = setting.term;
        }
        if command.verb != Verb::Plain || self.skips_reply {
            self.accept_with_care(command, request, verdict);
        }
    }

    /// Take note that a request, never accepted, is answered with `error` for want of a primary.
    ///
    /// Returns what to answer. When the client is in a transaction, its own connection must be
    /// closed first and restored later: a transaction that lacks a command must fail.
    #[must_use]
    pub fn refuse(&mut self, command: &Command, error: &'static [u8]) -> Line {
        let is_silent = self.is_reply_off || std::mem::take(&mut self.skips_reply);
        let mut line = Line::Borrowed(error);
        if self.is_in_transaction() {
            match command.verb {
                Verb::Exec | Verb::Discard => {
                    let reason = error.strip_prefix(b"-").unwrap_or(error);
                    let head = b"-EXECABORT Transaction discarded because of: ";
                    if command.verb == Verb::Exec {
                        line = Line::Owned([&head[..], reason].concat());
                    }
                    self.forget_transaction();
                    self.is_in_multi = false;
                    self.local = None;
                    self.is_watch_broken = false;
                }
                _ if self.local == Some(Ending::Unknown) => {}
                _ if self.local.is_some() => self.local = Some(Ending::Failed),
                _ => {
                    if let Some(transaction) = &mut self.transaction {
                        transaction.has_failed = true;
                    }
                }
            }
        }
        if is_silent { texts::NOTHING } else { line }
    }

    // Nothing but the command decides.
    #[inline]
    fn is_ordinary(&self) -> bool {
        !(self.needs_own() || self.is_reply_off || self.skips_reply || self.local.is_some())
    }

    #[cold]
    fn judge_with_care(
        &self,
        command: &Command,
        request: &Request<'_>,
        setting: &Setting,
    ) -> Verdict {
        if command.verb == Verb::Quit || command.verb == Verb::Http {
            let line = if command.verb == Verb::Quit { texts::OK } else { texts::NOTHING };
            return Verdict::Answer(Answer { line: self.voiced(line), closes: true });
        }
        if command.verb == Verb::Reset && self.local == Some(Ending::Unknown) {
            // Its answer would say that nothing was executed.
            let line = self.voiced(Line::Borrowed(super::AMBIGUOUS));
            return Verdict::Answer(Answer { line, closes: true });
        }
        if let Some(line) = self.local_answer(command) {
            return self.answer(line);
        }
        let is_refused = command.class.has(Class::REFUSED)
            || (command.class.has(Class::DEBUG) && !setting.allows_debug);
        if self.is_in_multi {
            return self.judge_in_multi(command, is_refused);
        }
        if is_refused {
            return self.answer(texts::refused(command.name, false));
        }
        if let Some(line) = self.excess(command, request) {
            return self.answer(line);
        }
        self.judge_state(command, request, setting)
    }

    fn judge_state(&self, command: &Command, request: &Request<'_>, setting: &Setting) -> Verdict {
        match command.verb {
            Verb::Reply => match reply_mode(request) {
                // It is heard: the switch is thrown before it is answered.
                Some(ReplyMode::On) => Verdict::Answer(Answer { line: texts::OK, closes: false }),
                Some(_) => self.answer(texts::NOTHING),
                None => self.answer(texts::SYNTAX_ERROR),
            },
            // Refusals with a redirection are dealt with here.
            Verb::Capa => self.answer(texts::OK),
            Verb::MaintNotifications if !setting.offers_maintenance => {
                self.answer(texts::unknown_subcommand(request.second()))
            }
            Verb::MaintNotifications => self.answer(match maintenance(request) {
                Some(_) => texts::OK,
                None => texts::SYNTAX_ERROR,
            }),
            // Its writes went to another primary: who has them now is not known.
            Verb::Wait if self.wrote_elsewhere(setting) => self.answer(texts::NO_REPLICA),
            Verb::WaitAof if self.wrote_elsewhere(setting) => self.answer(texts::NO_DISK),
            Verb::Wait | Verb::WaitAof => {
                let before = Some(BEFORE_WAIT);
                let mark = self.mark(command);
                Verdict::Forward(Forward { route: Route::Own, mark, instead: None, before })
            }
            _ => {
                let is_shared =
                    command.class.has(Class::SHAREABLE) && !self.needs_own() && !is_big(request);
                let route = if is_shared { Route::Shared } else { Route::Own };
                forward(route, self.mark(command))
            }
        }
    }

    // Within a transaction nothing is answered here: what is not queued must make it fail.
    fn judge_in_multi(&self, command: &Command, is_refused: bool) -> Verdict {
        let is_impossible = is_refused
            || is_pubsub(command.verb)
            || matches!(command.verb, Verb::Reply | Verb::Capa | Verb::MaintNotifications);
        let (mark, instead) = match (is_impossible, self.is_silenced()) {
            (true, false) => (Mark::Refused, Some(FAILING)),
            (true, true) => (Mark::Silent, Some(FAILING)),
            (false, true) if command.verb != Verb::Reset => (Mark::Silent, None),
            (false, _) => (Mark::Seen, None),
        };
        Verdict::Forward(Forward { route: Route::Own, mark, instead, before: None })
    }

    // The answer when the primary was lost and what follows is known without asking.
    fn local_answer(&self, command: &Command) -> Option<Line> {
        match (self.local, command.verb) {
            (_, Verb::Reset) => None,
            (Some(ending), Verb::Exec) => Some(ending.line(self.is_resp3())),
            (Some(Ending::Unknown), Verb::Discard) => Some(Line::Borrowed(super::AMBIGUOUS)),
            (Some(_), Verb::Discard) => Some(texts::OK),
            (Some(_), Verb::Multi) => Some(texts::NESTED_MULTI),
            (Some(_), Verb::Watch) => Some(texts::WATCH_IN_MULTI),
            (Some(_), _) => Some(texts::QUEUED),
            (None, Verb::Multi | Verb::Unwatch) if self.is_watch_broken && !self.is_in_multi => {
                Some(texts::OK)
            }
            (None, _) => None,
        }
    }

    // What is told instead of keeping too much.
    fn excess(&self, command: &Command, request: &Request<'_>) -> Option<Line> {
        let bytes = request.bytes().len();
        if is_pubsub(command.verb) {
            let is_too_much = self.subscriptions.bytes() + bytes > STATE_BYTES_MAX
                && matches!(command.verb, Verb::Subscribe | Verb::PSubscribe | Verb::SSubscribe);
            return is_too_much.then(|| texts::too_much_state(command.name, STATE_BYTES_MAX));
        }
        let is_kept = is_stateful(command.verb) && !matches!(command.verb, Verb::Watch);
        let is_too_much = is_kept && bytes + self.tracking.len() > STATE_COMMAND_BYTES_MAX;
        is_too_much.then(|| texts::too_much_state(command.name, STATE_COMMAND_BYTES_MAX))
    }

    #[cold]
    fn accept_with_care(&mut self, command: &Command, request: &Request<'_>, verdict: &Verdict) {
        match verdict {
            Verdict::Answer(_) => self.accept_answered(command.verb, request),
            Verdict::Forward(forward) => self.accept_sent(command.verb, forward),
        }
        if command.verb != Verb::Reply {
            self.skips_reply = false;
        }
    }

    fn accept_answered(&mut self, verb: Verb, request: &Request<'_>) {
        match verb {
            Verb::Exec | Verb::Discard => {
                let is_told = verb == Verb::Exec || self.local != Some(Ending::Unknown);
                self.is_watch_broken &= !is_told;
                self.local = None;
            }
            Verb::Multi if self.is_watch_broken => {
                self.local.get_or_insert(Ending::Null);
            }
            Verb::Unwatch if self.local.is_none() => self.is_watch_broken = false,
            Verb::Reply if self.local.is_none() => match reply_mode(request) {
                Some(ReplyMode::On) => self.is_reply_off = false,
                Some(ReplyMode::Off) => self.is_reply_off = true,
                Some(ReplyMode::Skip) => self.skips_reply = !self.is_reply_off,
                None => {}
            },
            Verb::MaintNotifications if self.local.is_none() => match maintenance(request) {
                Some(Wish::On(kind)) => self.maintenance = Some(kind.into()),
                Some(Wish::Off) => self.maintenance = None,
                None => {}
            },
            _ => {}
        }
    }

    fn accept_sent(&mut self, verb: Verb, forward: &Forward) {
        if is_stateful(verb) {
            self.unanswered += 1;
        }
        match verb {
            Verb::Multi => {
                self.unanswered_multis += 1;
                self.is_in_multi = true;
            }
            Verb::Exec | Verb::Discard => self.is_in_multi = false,
            Verb::Reset => {
                self.is_in_multi = false;
                self.local = None;
                self.is_watch_broken = false;
                self.is_reply_off = false;
                self.maintenance = None;
            }
            _ if self.is_in_multi && forward.instead.is_none() && changes_connection(verb) => {
                self.taint = Some("a transaction changed the connection itself");
            }
            _ => {}
        }
    }

    fn mark(&self, command: &Command) -> Mark {
        if command.verb == Verb::Reset {
            // It turns replies on before it answers.
            Mark::Seen
        } else if self.is_silenced() {
            Mark::Silent
        } else if is_stateful(command.verb) {
            Mark::Seen
        } else {
            Mark::Plain
        }
    }

    fn answer(&self, line: Line) -> Verdict {
        Verdict::Answer(Answer { line: self.voiced(line), closes: false })
    }

    fn voiced(&self, line: Line) -> Line {
        if self.is_silenced() { texts::NOTHING } else { line }
    }

    fn is_silenced(&self) -> bool {
        self.is_reply_off || self.skips_reply
    }

    fn wrote_elsewhere(&self, setting: &Setting) -> bool {
        self.wrote_in != 0 && self.wrote_in != setting.term
    }
}

fn forward(route: Route, mark: Mark) -> Verdict {
    Verdict::Forward(Forward { route, mark, instead: None, before: None })
}

enum ReplyMode {
    On,
    Off,
    Skip,
}

fn reply_mode(request: &Request<'_>) -> Option<ReplyMode> {
    let word = request.words().nth(2).filter(|_| request.len() == 3)?;
    match word.to_ascii_uppercase().as_slice() {
        b"ON" => Some(ReplyMode::On),
        b"OFF" => Some(ReplyMode::Off),
        b"SKIP" => Some(ReplyMode::Skip),
        _ => None,
    }
}

enum Wish<'a> {
    Off,
    /// With this type of address; empty: any.
    On(&'a [u8]),
}

// CLIENT MAINT_NOTIFICATIONS ON [MOVING-ENDPOINT-TYPE type] | OFF
fn maintenance<'a>(request: &'a Request<'_>) -> Option<Wish<'a>> {
    let mut words = request.words().skip(2);
    let switch = words.next()?.to_ascii_uppercase();
    let option = words.next();
    match (switch.as_slice(), option, words.next(), words.next()) {
        (b"OFF", None, None, None) => Some(Wish::Off),
        (b"ON", None, None, None) => Some(Wish::On(b"")),
        (b"ON", Some(option), Some(kind), None)
            if option.eq_ignore_ascii_case(b"MOVING-ENDPOINT-TYPE") =>
        {
            Some(Wish::On(kind))
        }
        _ => None,
    }
}

// What a transaction may do at EXEC and the reply to EXEC does not tell of.
fn changes_connection(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Auth
            | Verb::Hello
            | Verb::Select
            | Verb::ReadOnly
            | Verb::ReadWrite
            | Verb::SetName
            | Verb::SetInfo
            | Verb::NoEvict
            | Verb::NoTouch
            | Verb::Tracking
            | Verb::ClientOther
    )
}
