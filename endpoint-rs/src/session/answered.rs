//! What a reply tells of the session: the instance has changed it, or not.

use crate::command::Verb;
use crate::resp::reply::{ErrorKind, Kind};
use crate::resp::request::Words;

use super::identity::{Login, Secret};
use super::texts::STATE_BYTES_MAX;
use super::{Mark, Session};

impl Session {
    pub(super) fn queued(&mut self, mark: Mark, request: &[u8], kind: Kind) {
        let Some(transaction) = &mut self.transaction else { return };
        if matches!(kind, Kind::Error(_)) || mark == Mark::Refused {
            transaction.has_failed = true;
            return;
        }
        if transaction.queue.len() + request.len() > STATE_BYTES_MAX {
            transaction.is_too_long = true;
            transaction.queue = Vec::new();
        }
        if !transaction.is_too_long {
            transaction.queue.extend_from_slice(request);
            transaction.count += 1;
        }
    }

    pub(super) fn answered(&mut self, verb: Verb, request: &[u8], kind: Kind) {
        match verb {
            Verb::Multi => self.multi_answered(kind),
            Verb::Exec | Verb::Discard | Verb::Reset if is_unended(kind) => self.not_ended(),
            Verb::Exec | Verb::Discard => self.forget_transaction(),
            Verb::Hello => self.hello_answered(request, kind),
            Verb::Id if kind == Kind::Integer => self.is_named = true,
            // Whatever it was, it was accepted, and may have been more than is known here.
            Verb::ClientOther if !matches!(kind, Kind::Error(_)) => self.is_named = true,
            _ if kind == Kind::Simple => self.granted(verb, request),
            _ => {}
        }
    }

    pub(super) fn multi_answered(&mut self, kind: Kind) {
        self.unanswered_multis = self.unanswered_multis.saturating_sub(1);
        if kind == Kind::Simple {
            self.transaction = Some(Box::default());
        } else if self.unanswered_multis == 0 && self.transaction.is_none() {
            // Not in one after all: what was sent after it is executed at once.
            self.is_in_multi = false;
        }
    }

    fn not_ended(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.has_failed = true;
            self.is_in_multi = true;
        }
    }

    pub(super) fn forget_transaction(&mut self) {
        self.transaction = None;
        self.is_watching = false;
    }

    // The instance said OK (RESET: "RESET").
    fn granted(&mut self, verb: Verb, request: &[u8]) {
        let mut words = Words::of(request).skip(1);
        match verb {
            Verb::Auth => {
                let (one, other) = (words.next(), words.next());
                let (user, password) = if other.is_some() { (one, other) } else { (None, one) };
                self.logged_in(user, password.unwrap_or_default());
            }
            Verb::Select => match words.next().map(parse) {
                Some(Some(database)) => self.key.change().database = database,
                _ => self.taint = Some("the number of its database is not known"),
            },
            Verb::Reset => self.reset(),
            Verb::Watch => self.is_watching = true,
            Verb::Unwatch => self.is_watching = false,
            Verb::ReadOnly => self.read_only = true,
            Verb::ReadWrite => self.read_only = false,
            Verb::SetName => {
                self.key.change().name = words.nth(1).unwrap_or_default().to_vec();
            }
            Verb::SetInfo => {
                let what = words.nth(1).unwrap_or_default();
                let value = words.next().unwrap_or_default().to_vec();
                if what.eq_ignore_ascii_case(b"LIB-NAME") {
                    self.key.change().library = value;
                } else if what.eq_ignore_ascii_case(b"LIB-VER") {
                    self.key.change().library_version = value;
                }
            }
            Verb::NoEvict => self.no_evict = is_on(words.nth(1)),
            Verb::NoTouch => self.no_touch = is_on(words.nth(1)),
            Verb::Tracking => self.tracking_set(request),
            _ => {}
        }
    }

    fn logged_in(&mut self, user: Option<&[u8]>, password: &[u8]) {
        self.key.change().login =
            Some(Login { user: user.map(<[u8]>::to_vec), password: Secret::new(password) });
        self.is_authenticated = true;
    }

    // HELLO [version [AUTH user password] [SETNAME name]]
    fn hello_answered(&mut self, request: &[u8], kind: Kind) {
        let mut words = Words::of(request).skip(1);
        let version = words.next();
        let (mut login, mut name) = (None, None);
        while let Some(option) = words.next() {
            if option.eq_ignore_ascii_case(b"AUTH") {
                login = words.next().zip(words.next());
            } else if option.eq_ignore_ascii_case(b"SETNAME") {
                name = words.next();
            }
        }
        if let Kind::Error(error) = kind {
            // With both parts the first may have been done before the other failed.
            if login.is_some() && name.is_some() && error != ErrorKind::WrongPass {
                self.taint = Some("a HELLO with AUTH and SETNAME failed in part");
            }
            return;
        }
        if let Some((user, password)) = login {
            self.logged_in(Some(user), password);
        }
        if let Some(name) = name {
            self.key.change().name = name.to_vec();
        }
        if let Some(version) = version {
            self.key.change().is_resp3 = version == b"3";
        }
    }

    fn tracking_set(&mut self, request: &[u8]) {
        let mut words = Words::of(request).skip(2);
        if !is_on(words.next()) {
            self.tracking.clear();
            self.tracking_count = 0;
            self.is_redirected = false;
            return;
        }
        self.is_redirected |= words.any(|word| word.eq_ignore_ascii_case(b"REDIRECT"));
        self.tracking.extend_from_slice(request);
        self.tracking_count += 1;
    }

    // What RESET leaves. Source: `resetCommand`, redis/src/networking.c (7.0.15).
    fn reset(&mut self) {
        let is_in_multi = self.is_in_multi && self.unanswered_multis > 0;
        *self = Self {
            is_in_multi,
            // What was accepted after it.
            unanswered: self.unanswered,
            unanswered_multis: self.unanswered_multis,
            is_reply_off: self.is_reply_off,
            skips_reply: self.skips_reply,
            maintenance: self.maintenance.take(),
            local: self.local,
            is_watch_broken: self.is_watch_broken,
            wrote_in: self.wrote_in,
            ..Self::default()
        };
    }
}

// Whether a transaction goes on after this reply to what should end it. Errors do not end one, but
// for those that say so: EXEC and DISCARD without MULTI, DISCARD that the user may not use, RESET
// that is not known; and EXEC that Dragonfly refuses while it is taken over.
fn is_unended(kind: Kind) -> bool {
    let ends = [ErrorKind::ExecRefused, ErrorKind::ExecAborted];
    matches!(kind, Kind::Error(error) if !ends.contains(&error))
}

fn is_on(word: Option<&[u8]>) -> bool {
    word.is_some_and(|word| word.eq_ignore_ascii_case(b"ON"))
}

fn parse(word: &[u8]) -> Option<u32> {
    std::str::from_utf8(word).ok()?.parse().ok()
}
