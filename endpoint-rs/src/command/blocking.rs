//! How long a blocking request wants to wait, and the same request for what is left of that.

use std::time::Duration;

use crate::resp::encode;
use crate::resp::request::Words;

/// Where a blocking command says how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutAt {
    /// The last word.
    Last,
    /// The word at this place; 0 is the command.
    Word(usize),
    /// After the word BLOCK, which stands before STREAMS; without it nothing blocks.
    AfterBlock,
}

/// What the number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds, with a fraction.
    Seconds,
    /// Whole milliseconds.
    Milliseconds,
}

/// How a command that waits for keys says how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Where.
    pub at: TimeoutAt,
    /// In what.
    pub unit: Unit,
}

/// How long a blocking request wants to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: it does not block, or what stands there is no timeout (an error will come).
    None,
    /// So long.
    For(Duration),
    /// Until something comes.
    Forever,
}

impl Blocking {
    /// Tell how long the canonical `request` wants to wait.
    #[must_use]
    pub fn patience(&self, request: &[u8]) -> Patience {
        let Some(word) = self.place(request).and_then(|place| Words::of(request).nth(place)) else {
            return Patience::None;
        };
        let text = std::str::from_utf8(word).unwrap_or_default();
        let wait = match self.unit {
            Unit::Seconds => {
                text.parse().ok().and_then(|number| Duration::try_from_secs_f64(number).ok())
            }
            Unit::Milliseconds => text.parse().ok().map(Duration::from_millis),
        };
        match wait {
            None => Patience::None,
            Some(Duration::ZERO) => Patience::Forever,
            Some(wait) => Patience::For(wait),
        }
    }

    /// Append the canonical `request` to `out`, with `left` as its timeout. Less than 1 ms is
    /// written as 1 ms: 0 would mean for ever.
    pub fn rewrite(&self, request: &[u8], left: Duration, out: &mut Vec<u8>) {
        let Some(place) = self.place(request) else {
            out.extend_from_slice(request);
            return;
        };
        let left_ms = left.as_millis().max(1);
        let number = match self.unit {
            Unit::Seconds => format!("{}.{:03}", left_ms / 1000, left_ms % 1000),
            Unit::Milliseconds => left_ms.to_string(),
        };
        let mut words: Vec<&[u8]> = Words::of(request).collect();
        words[place] = number.as_bytes();
        encode(out, words.into_iter());
    }

    fn place(&self, request: &[u8]) -> Option<usize> {
        let words = Words::of(request);
        let count = words.len();
        let place = match self.at {
            TimeoutAt::Last => count.checked_sub(1).filter(|place| *place > 1)?,
            TimeoutAt::Word(place) => place,
            TimeoutAt::AfterBlock => {
                // GROUP is followed by two names, which may be any words, BLOCK too.
                let mut place = 1;
                let mut walk = words.skip(1);
                loop {
                    let word = walk.next()?;
                    if word.eq_ignore_ascii_case(b"BLOCK") {
                        break place + 1;
                    }
                    if word.eq_ignore_ascii_case(b"STREAMS") {
                        return None;
                    }
                    place += 1;
                    if word.eq_ignore_ascii_case(b"GROUP") {
                        walk.next()?;
                        walk.next()?;
                        place += 2;
                    }
                }
            }
        };
        (place < count).then_some(place)
    }
}
