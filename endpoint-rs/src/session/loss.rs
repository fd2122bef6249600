//! What becomes of requests whose connection is gone before they were answered.
//!
//! What proves not to have been executed is sent again: it was not written to its end, or was
//! refused, or is queued in a transaction without EXEC, or only reads. A write that was written may
//! have been executed: its client is told so. Order is kept: nothing that changes or reads keys is
//! sent again when something later of the same client may have been executed already, or it would
//! happen, or look, as if the client had asked for it later.

use crate::command::{Class, Command, Verb};
use crate::resp::reply::{ErrorKind, Kind};

use super::pubsub::Left;
use super::texts::{self, AMBIGUOUS, AMBIGUOUS_READ, Line};
use super::{Ending, Mark, Session, is_pubsub, is_stateful};

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub struct Lost<'a> {
    /// What it is.
    pub command: &'static Command,
    /// As it was judged.
    pub mark: Mark,
    /// As it was sent.
    pub request: &'a [u8],
    /// Whether it was written to its end: else no instance can have executed it.
    pub is_written: bool,
    /// Whether the instance refused it, and the refusal was kept back.
    pub is_refused: bool,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Send it again, in its turn.
    Again,
    /// Send this again instead.
    AgainAs(Vec<u8>),
    /// Answer it with the refusal that was kept back (not at all, if it is `Mark::Silent`).
    Refusal,
    /// Answer it with this; empty: not at all.
    Answer(Line),
    /// It may have been executed: answer it with this (empty: not at all), or close the client.
    Ambiguous(&'static [u8]),
}

/// What becomes of all of a client's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfterLoss {
    /// One for each request, in order.
    pub fates: Vec<Fate>,
    /// The session cannot be brought back, because of this: close the client.
    pub close: Option<&'static str>,
}

/// Where the walk through the requests is, as the instance would have seen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    /// In a transaction that began with the request of this number, or before the first.
    Inside(Option<usize>),
    /// In one that only we know of.
    Local(Ending),
}

/// A transaction among the requests whose EXEC or DISCARD is to be sent again.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Its MULTI; None: it was confirmed before.
    begun: Option<usize>,
    end: usize,
}

struct Walk<'a, 'b> {
    lost: &'a [Lost<'b>],
    fates: Vec<Fate>,
    groups: Vec<Group>,
    place: Place,
    /// Keys were watched on the instance that is gone.
    is_watch_broken: bool,
    /// The transaction that was confirmed before is over.
    is_consumed: bool,
    /// The transaction has a command that was refused: EXEC cannot have succeeded.
    has_refused: bool,
    /// Where transactions begin of which it is not known whether they had begun.
    unknown: Vec<usize>,
    close: Option<&'static str>,
}

impl Session {
    /// Decide what becomes of `lost`, all that this client sent over a connection that is gone and
    /// that was not answered, oldest first. Empty is a loss too.
    ///
    /// Call it for the connection that held the session's state; for a shared one as well.
    #[must_use]
    pub fn after_loss(&mut self, lost: &[Lost<'_>]) -> AfterLoss {
        let mut walk = self.begin_walk(lost);
        for (number, each) in lost.iter().enumerate() {
            let fate = self.fate(&mut walk, number, *each);
            walk.fates.push(fate);
        }
        walk.keep_order();
        self.settle(&walk);
        let mut fates = walk.fates;
        for (each, fate) in lost.iter().zip(&mut fates) {
            if each.mark == Mark::Silent {
                match fate {
                    Fate::Answer(line) => *line = texts::NOTHING,
                    Fate::Ambiguous(text) => *text = b"",
                    Fate::Again | Fate::AgainAs(_) | Fate::Refusal => {}
                }
            }
        }
        let redirected = "its invalidations go to a connection by a number that is gone";
        let close = self.taint.or(self.is_redirected.then_some(redirected)).or(walk.close);
        AfterLoss { fates, close }
    }

    fn begin_walk<'a, 'b>(&self, lost: &'a [Lost<'b>]) -> Walk<'a, 'b> {
        let is_watch_broken = self.is_watch_broken || self.is_watching;
        let place = match &self.transaction {
            Some(_) if is_watch_broken => Place::Local(Ending::Null),
            Some(kept) if kept.is_too_long => Place::Local(Ending::NotKept),
            Some(_) => Place::Inside(None),
            None => Place::Outside,
        };
        Walk {
            lost,
            fates: Vec::with_capacity(lost.len()),
            groups: Vec::new(),
            place,
            is_watch_broken,
            is_consumed: matches!(place, Place::Local(_)),
            has_refused: self.transaction.as_ref().is_some_and(|kept| kept.has_failed),
            unknown: Vec::new(),
            close: None,
        }
    }

    fn fate(&mut self, walk: &mut Walk<'_, '_>, number: usize, each: Lost<'_>) -> Fate {
        let verb = each.command.verb;
        if verb == Verb::Reset {
            let may_have_run = |each: &Lost<'_>| each.is_written && !each.is_refused;
            if each.is_refused && walk.lost[number + 1..].iter().any(may_have_run) {
                walk.close = Some("a RESET was refused, and what followed may have been executed");
            }
            if walk.place == Place::Local(Ending::Unknown) {
                walk.close = Some("a RESET ends what may have been executed");
            }
            walk.place = Place::Outside;
            walk.is_watch_broken = false;
            return Fate::Again;
        }
        match walk.place {
            Place::Local(ending) => return self.local_fate(walk, ending, number),
            Place::Inside(begun) => return walk.fate_inside(begun, number),
            Place::Outside => {}
        }
        match verb {
            // It was refused, so what came after it was no transaction to the instance.
            Verb::Multi if each.is_refused && walk.may_have_run_after(number) => Fate::Again,
            Verb::Multi => walk.begin_transaction(number),
            Verb::Unwatch if walk.is_watch_broken => {
                walk.is_watch_broken = false;
                Fate::Answer(texts::OK)
            }
            Verb::Wait => Fate::Answer(texts::NO_REPLICA),
            Verb::WaitAof => Fate::Answer(texts::NO_DISK),
            _ if is_pubsub(verb) => match self.subscriptions.interrupt(each.request) {
                Some(Left::All) => Fate::Again,
                Some(Left::Rest(bytes)) => Fate::AgainAs(bytes),
                None => {
                    walk.close = Some("it was unsubscribed from a part of its channels");
                    Fate::Again
                }
            },
            _ if each.is_refused || !each.is_written => Fate::Again,
            _ if each.command.class.has(Class::READ) => Fate::Again,
            _ => Fate::Ambiguous(AMBIGUOUS),
        }
    }

    fn local_fate(&self, walk: &mut Walk<'_, '_>, ending: Ending, number: usize) -> Fate {
        let each = walk.lost[number];
        match each.command.verb {
            Verb::Exec => {
                walk.place = Place::Outside;
                walk.is_watch_broken = false;
                walk.forget_watches(number);
                // It may have been executed, whatever was watched.
                if ending == Ending::Unknown {
                    return Fate::Ambiguous(AMBIGUOUS);
                }
                if each.is_written && !each.is_refused && !walk.has_refused {
                    return Fate::Ambiguous(AMBIGUOUS);
                }
                Fate::Answer(ending.line(self.is_resp3()))
            }
            Verb::Discard => {
                walk.place = Place::Outside;
                if ending == Ending::Unknown {
                    return Fate::Ambiguous(AMBIGUOUS);
                }
                walk.is_watch_broken = false;
                walk.forget_watches(number);
                Fate::Answer(texts::OK)
            }
            Verb::Multi => Fate::Answer(texts::NESTED_MULTI),
            Verb::Watch => Fate::Answer(texts::WATCH_IN_MULTI),
            _ => {
                walk.has_refused |= each.is_refused;
                Fate::Answer(texts::QUEUED)
            }
        }
    }

    // Take over what the walk came to.
    fn settle(&mut self, walk: &Walk<'_, '_>) {
        for (each, fate) in walk.lost.iter().zip(&walk.fates) {
            let verb = each.command.verb;
            if !is_stateful(verb) || matches!(fate, Fate::Again | Fate::AgainAs(_)) {
                continue;
            }
            self.unanswered = self.unanswered.saturating_sub(1);
            match (verb, fate) {
                (Verb::Multi, Fate::Refusal) => {
                    self.multi_answered(Kind::Error(ErrorKind::Loading));
                }
                (Verb::Multi, _) => {
                    self.unanswered_multis = self.unanswered_multis.saturating_sub(1);
                }
                _ => {}
            }
        }
        if walk.is_consumed {
            self.transaction = None;
        }
        self.is_watching = false;
        self.is_watch_broken = walk.is_watch_broken;
        if let Place::Local(ending) = walk.place {
            self.is_in_multi = false;
            self.local = Some(ending);
        }
    }
}

impl Walk<'_, '_> {
    fn begin_transaction(&mut self, number: usize) -> Fate {
        let each = self.lost[number];
        self.has_refused = each.is_refused;
        let may_be_refused = each.is_written && !each.is_refused;
        if may_be_refused && self.may_have_run_after(number) && !self.is_exec_written(number) {
            // Then what follows was executed at once.
            self.unknown.push(number);
            self.place = Place::Local(Ending::Unknown);
            return Fate::Answer(texts::OK);
        }
        if self.is_watch_broken {
            self.place = Place::Local(Ending::Null);
            return Fate::Answer(texts::OK);
        }
        self.place = Place::Inside(Some(number));
        Fate::Again
    }

    fn fate_inside(&mut self, begun: Option<usize>, number: usize) -> Fate {
        let each = self.lost[number];
        self.has_refused |= each.is_refused;
        match each.command.verb {
            Verb::Exec if each.is_written && !self.has_refused => {
                self.place = Place::Outside;
                self.is_watch_broken = false;
                self.is_consumed |= begun.is_none();
                self.answer_all(Group { begun, end: number });
                Fate::Ambiguous(AMBIGUOUS)
            }
            Verb::Exec | Verb::Discard => {
                self.place = Place::Outside;
                self.has_refused = false;
                self.groups.push(Group { begun, end: number });
                Fate::Again
            }
            _ => Fate::Again,
        }
    }

    // Whether the transaction that goes on at `number` ends in an EXEC that was written.
    fn is_exec_written(&self, number: usize) -> bool {
        self.lost[number..]
            .iter()
            .find(|each| matches!(each.command.verb, Verb::Exec | Verb::Discard | Verb::Reset))
            .is_some_and(|end| end.command.verb == Verb::Exec && end.is_written)
    }

    // Whether the transaction that should begin at `number` has a write that may have been executed
    // without it.
    fn may_have_run_after(&self, number: usize) -> bool {
        self.lost[number + 1..]
            .iter()
            .take_while(|each| {
                !matches!(each.command.verb, Verb::Exec | Verb::Discard | Verb::Reset)
            })
            .any(|each| each.is_written && !each.is_refused && !each.command.class.has(Class::READ))
    }

    // Let nothing happen after what the client asked for later.
    fn keep_order(&mut self) {
        let mut may_have_run = false;
        let mut after = self.fates.len();
        while after > 0 {
            let number = after - 1;
            after = number;
            let group = self.groups.iter().find(|group| group.end == number).copied();
            if let Some(group) = group {
                if may_have_run {
                    self.give_up(group);
                }
                after = group.begun.unwrap_or(0);
                continue;
            }
            let each = &self.lost[number];
            let is_again = self.fates[number] == Fate::Again;
            if matches!(self.fates[number], Fate::Ambiguous(_)) || self.unknown.contains(&number) {
                may_have_run = true;
            } else if is_again && may_have_run && each.is_refused {
                self.fates[number] = Fate::Refusal;
            } else if is_again && may_have_run && !is_stateful(each.command.verb) {
                self.fates[number] = Fate::Ambiguous(AMBIGUOUS_READ);
            }
        }
    }

    // The transaction was not executed, and must not be any more.
    fn give_up(&mut self, group: Group) {
        self.is_consumed |= group.begun.is_none();
        self.answer_all(group);
        let end = &self.lost[group.end];
        self.fates[group.end] = match end.command.verb {
            _ if end.is_refused => Fate::Refusal,
            Verb::Exec => Fate::Answer(texts::EXEC_ABORTED),
            _ => Fate::Answer(texts::OK),
        };
    }

    // Answer what a transaction whose EXEC is not sent again must have answered before it.
    fn answer_all(&mut self, group: Group) {
        for number in group.begun.unwrap_or(0)..group.end {
            let each = &self.lost[number];
            self.fates[number] = match each.command.verb {
                _ if each.is_refused => Fate::Refusal,
                Verb::Multi if Some(number) == group.begun => Fate::Answer(texts::OK),
                Verb::Multi => Fate::Answer(texts::NESTED_MULTI),
                Verb::Watch => Fate::Answer(texts::WATCH_IN_MULTI),
                _ => Fate::Answer(texts::QUEUED),
            };
        }
        self.forget_watches(group.begun.unwrap_or(0));
    }

    // EXEC and DISCARD end what was watched before `number`.
    fn forget_watches(&mut self, number: usize) {
        for (each, fate) in self.lost.iter().zip(&mut self.fates).take(number) {
            if each.command.verb == Verb::Watch && *fate == Fate::Again {
                *fate = Fate::Answer(texts::OK);
            }
        }
    }
}
