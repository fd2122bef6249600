//! Somebody who uses a session as its documentation says: one client, and one connection of its
//! own at a time to an instance that may be lost at any point.

use std::collections::VecDeque;

use everfly_endpoint::command::{Command, lookup};
use everfly_endpoint::resp::encode;
use everfly_endpoint::resp::reply::{Kind, ReplyFramer};
use everfly_endpoint::resp::request::{Limits, Request, RequestFramer};
use everfly_endpoint::session::{
    Fate, Forward, Lost, Mark, Outcome, PushTurn, Session, Setting, Turn, Verdict, outcome,
};

use crate::instance::Instance;

/// What the caller remembers of a request: what the client sent, and what was sent for it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub number: usize,
    pub command: &'static Command,
    pub mark: Mark,
    pub bytes: Vec<u8>,
    pub refusal: Option<Vec<u8>>,
    pub is_swallowed: bool,
}

/// What waits for its turn.
#[derive(Clone, Debug)]
pub enum Waiting {
    Sent(Sent),
    Ours(usize, Vec<u8>),
}

pub struct Caller {
    pub session: Session,
    pub setting: Setting,
    /// Oldest first; those from `unread` on have not been read by the instance.
    pub waiting: VecDeque<Waiting>,
    /// How many of `waiting` the instance has executed, with replies on their way.
    pub replies: VecDeque<Vec<u8>>,
    /// What the client was told: the number of the request, and the line.
    pub told: Vec<(usize, Vec<u8>)>,
    pub is_closed: Option<&'static str>,
    requests: usize,
    pub served: usize,
}

impl Caller {
    pub fn new() -> Self {
        Self {
            session: Session::new(),
            setting: Setting { term: 1, allows_debug: false, offers_maintenance: true },
            waiting: VecDeque::new(),
            replies: VecDeque::new(),
            told: Vec::new(),
            is_closed: None,
            requests: 0,
            served: 0,
        }
    }

    pub fn verdict(&self, line: &str) -> Verdict {
        let bytes = request(line);
        let request = Request::parse(&bytes).unwrap();
        self.session.judge(lookup(request.first(), request.second()), &request, &self.setting)
    }

    /// The client sends a request; it goes out at once. Returns the verdict.
    pub fn send(&mut self, line: &str) -> Verdict {
        let bytes = request(line);
        let request = Request::parse(&bytes).unwrap();
        let command = lookup(request.first(), request.second());
        let verdict = self.session.judge(command, &request, &self.setting);
        self.session.accept(command, &request, &verdict, &self.setting);
        self.requests += 1;
        let number = self.requests - 1;
        match &verdict {
            Verdict::Answer(answer) => {
                self.waiting.push_back(Waiting::Ours(number, answer.line.to_vec()));
                if answer.closes {
                    self.is_closed = Some("by its answer");
                }
            }
            Verdict::Forward(Forward { mark, instead, before, .. }) => {
                let sent = Sent {
                    number,
                    command,
                    mark: *mark,
                    bytes: instead.unwrap_or(&bytes).to_vec(),
                    refusal: None,
                    is_swallowed: false,
                };
                if let Some(before) = before {
                    let (command, bytes) = (lookup(b"PING", b""), before.to_vec());
                    let mark = Mark::Plain;
                    self.push(Sent { command, mark, bytes, is_swallowed: true, ..sent.clone() });
                }
                self.push(sent);
            }
        }
        self.hand_out_ours();
        verdict
    }

    fn push(&mut self, sent: Sent) {
        self.waiting.push_back(Waiting::Sent(sent));
    }

    /// Let the instance read the next request that it has not read. False when there is none.
    pub fn serve(&mut self, instance: &mut Instance, log: &mut Vec<String>) -> bool {
        let unread = self.waiting.iter().filter_map(sent_of).nth(self.served).cloned();
        let Some(sent) = unread else { return false };
        self.served += 1;
        self.replies.extend(instance.serve(&sent.bytes, log));
        true
    }

    /// Read the next reply that is on its way. False when there is none.
    pub fn read(&mut self) -> bool {
        let Some(reply) = self.replies.pop_front() else { return false };
        self.take_reply(&reply);
        true
    }

    fn take_reply(&mut self, reply: &[u8]) {
        let at = self
            .waiting
            .iter()
            .position(|each| sent_of(each).is_some_and(|sent| sent.refusal.is_none()))
            .expect("a reply that nobody waits for");
        let Waiting::Sent(sent) = self.waiting[at].clone() else { unreachable!() };
        let expect = self.session.expect(Some(sent.command));
        let piece = ReplyFramer::new().next(reply, expect).unwrap().unwrap();
        let kind = piece.begins.unwrap();
        if let Kind::Push(topic) = kind {
            if topic.is_confirmation() {
                self.give_up_refused(at);
            }
            let turn = self.session.on_push(topic, Some((sent.command, &sent.bytes)));
            self.told.push((sent.number, reply.to_vec()));
            if turn == PushTurn::Answers {
                let at = self.waiting.iter().position(|each| sent_of(each).is_some()).unwrap();
                self.remove(at);
            }
            return;
        }
        let has_kept = at > 0 && self.waiting.iter().take(at).any(|each| sent_of(each).is_some());
        if let Kind::Error(error) = kind
            && error.refuses(has_kept)
        {
            let Waiting::Sent(sent) = &mut self.waiting[at] else { unreachable!() };
            sent.refusal = Some(reply.to_vec());
            return;
        }
        // Something later was executed: what was refused before must not be done any more.
        self.give_up_refused(at);
        let at = self.waiting.iter().position(|each| sent_of(each).is_some()).unwrap();
        self.answer_with(at, &sent, kind, reply);
        self.hand_out_ours();
    }

    fn give_up_refused(&mut self, before: usize) {
        for _ in 0..before {
            let first = self.waiting.front().cloned();
            match first {
                Some(Waiting::Sent(sent)) => {
                    let refusal = sent.refusal.clone().unwrap();
                    let kind = Kind::Error(everfly_endpoint::resp::reply::ErrorKind::of(&refusal));
                    self.answer_with(0, &sent, kind, &refusal);
                }
                _ => self.hand_out_ours(),
            }
            self.hand_out_ours();
            if !self.waiting.iter().filter_map(sent_of).any(|sent| sent.refusal.is_some()) {
                return;
            }
        }
    }

    fn answer_with(&mut self, at: usize, sent: &Sent, kind: Kind, reply: &[u8]) {
        if sent.is_swallowed {
            self.remove(at);
            return;
        }
        let turn = match sent.mark {
            Mark::Plain => Turn::Give,
            mark => self.session.on_reply(sent.command, mark, &sent.bytes, kind),
        };
        match turn {
            Turn::Give => self.told.push((sent.number, reply.to_vec())),
            Turn::Drop => self.told.push((sent.number, Vec::new())),
            Turn::Instead(line) => self.told.push((sent.number, line.to_vec())),
        }
        self.remove(at);
    }

    fn remove(&mut self, at: usize) {
        self.waiting.remove(at);
        self.served = self.served.saturating_sub(1);
        self.hand_out_ours();
    }

    fn hand_out_ours(&mut self) {
        while let Some(Waiting::Ours(number, line)) = self.waiting.front() {
            self.told.push((*number, line.clone()));
            self.waiting.pop_front();
        }
    }

    /// The connection is lost: `written` of what the instance has not read were written to it.
    pub fn lose(&mut self, written: usize) {
        self.replies.clear();
        let limit = self.served + written;
        self.served = 0;
        let all: Vec<Waiting> = self.waiting.drain(..).collect();
        let sent: Vec<&Sent> = all.iter().filter_map(sent_of).collect();
        let lost: Vec<Lost<'_>> = sent
            .iter()
            .enumerate()
            .filter(|(_, sent)| !sent.is_swallowed)
            .map(|(number, sent)| Lost {
                command: sent.command,
                mark: sent.mark,
                request: &sent.bytes,
                is_written: number < limit,
                is_refused: sent.refusal.is_some(),
            })
            .collect();
        let after = self.session.after_loss(&lost);
        assert_eq!(after.fates.len(), lost.len());
        self.is_closed = after.close;
        let mut fates = after.fates.into_iter();
        for each in all {
            match each {
                Waiting::Ours(..) => self.waiting.push_back(each),
                Waiting::Sent(sent) if sent.is_swallowed => {}
                Waiting::Sent(sent) => {
                    let fate = fates.next().unwrap();
                    self.waiting.push_back(settle(sent, fate));
                }
            }
        }
        self.hand_out_ours();
    }

    /// Bring the session back on a new instance.
    pub fn restore(&mut self, instance: &mut Instance, log: &mut Vec<String>) {
        let restore = self.session.restore();
        let before = log.len();
        let mut replies = Vec::new();
        let mut rest = &restore.bytes[..];
        let mut framer = RequestFramer::new(Limits::default(), true);
        while let Some(request) = framer.next(rest).unwrap().request {
            replies.extend(instance.serve(request.bytes(), log));
            rest = &rest[request.bytes().len()..];
        }
        assert!(rest.is_empty());
        assert_eq!(replies.len(), restore.replies, "all are to be swallowed");
        assert_eq!(log.len(), before, "bringing back a session executes nothing");
        for (number, reply) in replies.iter().enumerate() {
            let piece = ReplyFramer::new()
                .next(reply, everfly_endpoint::resp::reply::Expect::Replies)
                .unwrap()
                .unwrap();
            let is_last = number + 1 == replies.len();
            let outcome = outcome(&restore, is_last, piece.begins.unwrap());
            assert_eq!(outcome, Outcome::Done, "{}", reply.escape_ascii());
        }
    }
}

fn sent_of(waiting: &Waiting) -> Option<&Sent> {
    match waiting {
        Waiting::Sent(sent) => Some(sent),
        Waiting::Ours(..) => None,
    }
}

fn settle(mut sent: Sent, fate: Fate) -> Waiting {
    let refusal = sent.refusal.take();
    match fate {
        Fate::Again => Waiting::Sent(sent),
        Fate::AgainAs(bytes) => Waiting::Sent(Sent { bytes, ..sent }),
        Fate::Refusal if sent.mark == Mark::Silent => Waiting::Ours(sent.number, Vec::new()),
        Fate::Refusal => Waiting::Ours(sent.number, refusal.expect("it was refused")),
        Fate::Answer(line) => Waiting::Ours(sent.number, line.to_vec()),
        Fate::Ambiguous(text) => Waiting::Ours(sent.number, text.to_vec()),
    }
}

/// A line as a request.
pub fn request(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut bytes = Vec::new();
    encode(&mut bytes, words.into_iter());
    bytes
}
