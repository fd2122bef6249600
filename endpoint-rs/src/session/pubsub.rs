//! What a client is subscribed to, told by the confirmations of its requests.

use std::collections::BTreeSet;

use crate::command::Verb;
use crate::resp::reply::Topic;
use crate::resp::request::Words;

use super::identity::Restore;

/// Channels, patterns and shard channels.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    sets: [BTreeSet<Box<[u8]>>; 3],
    bytes: usize,
    /// Of the request that is being confirmed.
    progress: Progress,
}

#[derive(Debug, Default)]
struct Progress {
    /// So many names are confirmed.
    names: usize,
    /// How many there will be; 0 before the first.
    expected: usize,
    /// Where in the request the next name's length stands; 0: it names none.
    at: usize,
}

/// What a confirmation leaves of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    More,
    All,
    /// The request in front asked for something else.
    NotAsked,
}

const REQUESTS: [(Verb, Topic, &[u8]); 3] = [
    (Verb::Subscribe, Topic::Subscribe, b"SUBSCRIBE"),
    (Verb::PSubscribe, Topic::PSubscribe, b"PSUBSCRIBE"),
    (Verb::SSubscribe, Topic::SSubscribe, b"SSUBSCRIBE"),
];
const ENDS: [(Verb, Topic); 3] = [
    (Verb::Unsubscribe, Topic::Unsubscribe),
    (Verb::PUnsubscribe, Topic::PUnsubscribe),
    (Verb::SUnsubscribe, Topic::SUnsubscribe),
];

impl Subscriptions {
    pub fn is_empty(&self) -> bool {
        self.sets.iter().all(BTreeSet::is_empty)
    }

    /// Return how many bytes of names are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Take in a confirmation of `topic`, which `request` in front is waiting for.
    pub fn confirm(&mut self, topic: Topic, verb: Verb, request: &[u8]) -> Confirmed {
        let subscribes = REQUESTS.iter().position(|row| (row.0, row.1) == (verb, topic));
        let ends = ENDS.iter().position(|row| *row == (verb, topic));
        let Some(kind) = subscribes.or(ends) else { return Confirmed::NotAsked };
        if self.progress.names == 0 {
            self.begin(kind, request);
        }
        self.progress.names += 1;
        if self.progress.at > 0
            && let Some((name, after)) = name_at(request, self.progress.at)
        {
            self.progress.at = after;
            if subscribes.is_some() {
                self.add(kind, name);
            } else {
                self.remove(kind, name);
            }
        }
        if self.progress.names < self.progress.expected {
            return Confirmed::More;
        }
        if self.progress.at == 0 {
            self.bytes -= self.sets[kind].iter().map(|name| name.len()).sum::<usize>();
            self.sets[kind].clear();
        }
        self.progress = Progress::default();
        Confirmed::All
    }

    /// Forget how far the request in front is: its connection is lost. Returns what is left of it,
    /// or None when that cannot be told.
    pub fn interrupt(&mut self, request: &[u8]) -> Option<Left> {
        let progress = std::mem::take(&mut self.progress);
        if progress.names == 0 {
            return Some(Left::All);
        }
        if progress.at == 0 {
            return None;
        }
        let mut words = vec![Words::of(request).next()?];
        words.extend(Words::of(request).skip(1 + progress.names));
        let mut bytes = Vec::new();
        crate::resp::encode(&mut bytes, words.into_iter());
        Some(Left::Rest(bytes))
    }

    /// Append what subscribes a new connection to the same.
    pub fn restore(&self, restore: &mut Restore) {
        for ((_, _, command), names) in REQUESTS.iter().zip(&self.sets) {
            if names.is_empty() {
                continue;
            }
            let mut words: Vec<&[u8]> = vec![command];
            words.extend(names.iter().map(|name| &name[..]));
            restore.add(&words);
            // Each name is confirmed by itself.
            restore.replies += names.len() - 1;
        }
    }

    fn begin(&mut self, kind: usize, request: &[u8]) {
        let names = Words::of(request).len().saturating_sub(1);
        // Without names everything of its kind ends; that of nothing is confirmed as well.
        let expected = if names == 0 { self.sets[kind].len().max(1) } else { names };
        let at = if names == 0 { 0 } else { first_name(request) };
        self.progress = Progress { names: 0, expected, at };
    }

    fn add(&mut self, kind: usize, name: &[u8]) {
        if self.sets[kind].insert(name.into()) {
            self.bytes += name.len();
        }
    }

    fn remove(&mut self, kind: usize, name: &[u8]) {
        if self.sets[kind].remove(name) {
            self.bytes -= name.len();
        }
    }
}

/// What is left of a request that was confirmed in part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    All,
    /// This request.
    Rest(Vec<u8>),
}

// Requests may name very many channels: their words are not counted from the beginning each time.
fn name_at(request: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let end = at + memchr::memchr(b'\r', request.get(at..)?)?;
    let bytes: usize = std::str::from_utf8(request.get(at + 1..end)?).ok()?.parse().ok()?;
    let name = request.get(end + 2..end + 2 + bytes)?;
    Some((name, end + 2 + bytes + 2))
}

fn first_name(request: &[u8]) -> usize {
    let command = memchr::memchr(b'\n', request).map_or(0, |end| end + 1);
    name_at(request, command).map_or(0, |(_, after)| after)
}
