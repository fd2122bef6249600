//! Bytes of a client into the requests in them: arrays of bulks, and inline commands.
//!
//! Rules: the framer copies nothing and remembers only where it stopped, so a request that arrives
//! byte by byte is read once. Limits and error texts are those of `processMultibulkBuffer` and
//! `processInlineBuffer`, redis/src/networking.c (7.0.15). It is stricter in one way: CRLF is
//! demanded where Redis skips two bytes unseen. Behind us may be another parser, on a connection
//! that others share: what passes here must mean the same to all of them. Inline commands are
//! rewritten as arrays for the same reason.

use std::borrow::Cow;

use super::inline as lines;
use super::{Number, encode, number};

pub use super::words::Words;
pub use super::wrong::RequestError;

/// The longest inline command, and the longest line with a length, in bytes.
/// Source: `PROTO_INLINE_MAX_SIZE`, redis/src/server.h (7.0.15).
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// The most words of a request before AUTH. Source: `processMultibulkBuffer`, as above.
pub const WORDS_MAX_BEFORE_AUTH: i64 = 10;
/// The longest word of a request before AUTH, in bytes. Source: as above.
pub const BULK_BYTES_MAX_BEFORE_AUTH: i64 = 16 * 1024;

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest word, in bytes. Redis' `proto-max-bulk-len`.
    pub bulk_bytes: u32,
    /// The most words of a request. Redis before 6.2 and Valkey's clients keep to 1024 * 1024.
    pub words: u32,
    /// The longest request, in bytes as sent.
    pub request_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        // A request of one word of the greatest length, and room for its other words.
        let bulk_bytes = 512 * 1024 * 1024;
        Self { bulk_bytes, words: 1024 * 1024, request_bytes: bulk_bytes + 1024 * 1024 }
    }
}

/// Where a word lies in the bytes of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    bytes: u32,
}

/// One request, borrowed from the buffer it was found in.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    bytes: Cow<'a, [u8]>,
    words: u32,
    first: Span,
    second: Span,
}

impl<'a> Request<'a> {
    /// Return the request in canonical form, to be sent on: an array of bulks.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Return whether the bytes stood like this in the buffer (false for an inline command).
    #[must_use]
    pub fn is_borrowed(&self) -> bool {
        matches!(self.bytes, Cow::Borrowed(_))
    }

    /// Return the number of words; at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words as usize
    }

    /// Return false: a request has at least one word.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Return the first word, the command, as written by the client.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        self.word_at(self.first)
    }

    /// Return the second word; empty where there is none.
    #[must_use]
    pub fn second(&self) -> &[u8] {
        self.word_at(self.second)
    }

    /// Return all words in turn.
    #[must_use]
    pub fn words(&self) -> Words<'_> {
        Words::of(&self.bytes)
    }

    /// Read one canonical request back, such as `bytes()` of another returned.
    ///
    /// None when `bytes` is anything else than exactly one array of at least one bulk.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let limits = Limits { bulk_bytes: u32::MAX, words: u32::MAX, request_bytes: u32::MAX };
        match RequestFramer::new(limits, true).next(bytes) {
            Ok(Found { request: Some(request), consumed })
                if consumed == bytes.len() && request.bytes.len() == consumed =>
            {
                Some(request)
            }
            _ => None,
        }
    }

    fn word_at(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..][..span.bytes as usize]
    }

    fn rewritten(words: &[Vec<u8>]) -> Request<'static> {
        let mut bytes = Vec::new();
        encode(&mut bytes, words.iter().map(Vec::as_slice));
        let mut spans = [Span::default(); 2];
        let mut walk = Words::of(&bytes);
        for span in &mut spans {
            if let Some(word) = walk.next() {
                // An inline command is shorter than 64 KiB, five bytes a word at the most.
                let start = bytes.len() - walk.rest.len() - 2 - word.len();
                *span = span_of(start, word.len());
            }
        }
        let count = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let [first, second] = spans;
        Request { bytes: Cow::Owned(bytes), words: count, first, second }
    }
}

/// What a look at the buffer found.
#[derive(Debug)]
pub struct Found<'a> {
    /// So many bytes at the head of the buffer are done with: drop them before the next look. They
    /// are the request, if any, and the blank lines and empty arrays before it.
    pub consumed: usize,
    /// The request, or None: the buffer needs more bytes.
    pub request: Option<Request<'a>>,
}

/// Finds the requests in a growing buffer.
///
/// The buffer that `next` looks at must begin where the last look's `consumed` ended, and hold at
/// least the bytes it held then. What is found does not depend on how the bytes were cut.
#[derive(Debug)]
pub struct RequestFramer {
    limits: Limits,
    is_authenticated: bool,
    /// Words still to come; 0 outside of an array.
    left: u32,
    words: u32,
    /// Where the next word begins, from the beginning of the array.
    at: usize,
    /// A request has begun whose end was not there at the last look.
    is_inside: bool,
    first: Span,
    second: Span,
}

impl RequestFramer {
    /// Return a framer at the beginning of a connection. `is_authenticated` is false where clients
    /// must send AUTH first: until `authenticated` is called, Redis' small limits hold.
    #[must_use]
    pub fn new(limits: Limits, is_authenticated: bool) -> Self {
        Self {
            limits,
            is_authenticated,
            left: 0,
            words: 0,
            at: 0,
            is_inside: false,
            first: Span::default(),
            second: Span::default(),
        }
    }

    /// Say whether the client has authenticated itself, or need not.
    pub fn authenticated(&mut self, is_authenticated: bool) {
        self.is_authenticated = is_authenticated;
    }

    /// Return whether a request had begun and not ended, at the last look.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.is_inside
    }

    /// Look for the next request in `buffer`.
    ///
    /// # Errors
    ///
    /// When the bytes break the protocol or a limit: answer `line()` and close.
    #[inline]
    pub fn next<'a>(&mut self, buffer: &'a [u8]) -> Result<Found<'a>, RequestError> {
        let found = if self.left == 0 { self.begin(buffer) } else { self.bulks(buffer, 0) }?;
        self.is_inside = found.request.is_none() && found.consumed < buffer.len();
        Ok(found)
    }

    #[inline]
    fn begin<'a>(&mut self, buffer: &'a [u8]) -> Result<Found<'a>, RequestError> {
        let mut skipped = 0;
        loop {
            let here = &buffer[skipped..];
            let Some(first) = here.first() else {
                return Ok(Found { consumed: skipped, request: None });
            };
            if *first != b'*' {
                match inline(here)? {
                    Line::Unfinished => return Ok(Found { consumed: skipped, request: None }),
                    Line::Blank(bytes) => skipped += bytes,
                    Line::Request(bytes, request) => {
                        return Ok(Found { consumed: skipped + bytes, request: Some(request) });
                    }
                }
                continue;
            }
            match self.count(&here[1..])? {
                None => return Ok(Found { consumed: skipped, request: None }),
                Some((0, width)) => skipped += 1 + width,
                Some((words, width)) => {
                    self.left = words;
                    self.words = words;
                    self.at = 1 + width;
                    self.second = Span::default();
                    return self.bulks(here, skipped);
                }
            }
        }
    }

    // Return the number of words and the width of the line after its asterisk.
    #[inline]
    fn count(&self, here: &[u8]) -> Result<Option<(u32, usize)>, RequestError> {
        let (count, width) = match number(here) {
            Number::Is(count, width) => (count, width),
            _ if is_endless(here) => return Err(RequestError::TooBigCountLine),
            Number::Invalid => return Err(RequestError::InvalidCount),
            Number::Unfinished => return Ok(None),
        };
        if count > i64::from(self.limits.words) {
            return Err(RequestError::InvalidCount);
        }
        if count > WORDS_MAX_BEFORE_AUTH && !self.is_authenticated {
            return Err(RequestError::UnauthenticatedCount);
        }
        // A negative count means no words, as 0 does.
        Ok(Some((u32::try_from(count).unwrap_or(0), width)))
    }

    // `here` begins with the array; `skipped` bytes before it are done with.
    #[inline]
    fn bulks<'a>(&mut self, here: &'a [u8], skipped: usize) -> Result<Found<'a>, RequestError> {
        while self.left > 0 {
            let rest = here.get(self.at..).unwrap_or_default();
            let Some((start, bytes)) = self.bulk(rest)? else {
                return Ok(Found { consumed: skipped, request: None });
            };
            match self.words - self.left {
                0 => self.first = span_of(self.at + start, bytes),
                1 => self.second = span_of(self.at + start, bytes),
                _ => {}
            }
            self.at += start + bytes + 2;
            self.left -= 1;
        }
        let bytes = std::mem::take(&mut self.at);
        let request = Request {
            bytes: Cow::Borrowed(&here[..bytes]),
            words: self.words,
            first: self.first,
            second: self.second,
        };
        Ok(Found { consumed: skipped + bytes, request: Some(request) })
    }

    // Return where in `rest` the word at its head begins and its length, or None: not all is here.
    #[inline]
    fn bulk(&self, rest: &[u8]) -> Result<Option<(usize, usize)>, RequestError> {
        let header = match rest {
            [b'$', header @ ..] => header,
            [other, ..] => return Err(RequestError::ExpectedBulk(*other)),
            [] => return Ok(None),
        };
        let (length, width) = match number(header) {
            Number::Is(length, width) => (length, width),
            _ if is_endless(header) => return Err(RequestError::TooBigBulkLine),
            Number::Invalid => return Err(RequestError::InvalidBulkLength),
            Number::Unfinished => return Ok(None),
        };
        let Some(bytes) =
            usize::try_from(length).ok().filter(|_| length <= i64::from(self.limits.bulk_bytes))
        else {
            return Err(RequestError::InvalidBulkLength);
        };
        if length > BULK_BYTES_MAX_BEFORE_AUTH && !self.is_authenticated {
            return Err(RequestError::UnauthenticatedBulkLength);
        }
        let start = 1 + width;
        let end = start + bytes;
        if self.at + end + 2 > self.limits.request_bytes as usize {
            return Err(RequestError::TooBigRequest(self.limits.request_bytes));
        }
        match rest.get(end..end + 2) {
            Some(b"\r\n") => Ok(Some((start, bytes))),
            Some(_) => Err(RequestError::UnterminatedBulk),
            None => Ok(None),
        }
    }
}

enum Line {
    Unfinished,
    /// The line's length with its end.
    Blank(usize),
    Request(usize, Request<'static>),
}

fn inline(here: &[u8]) -> Result<Line, RequestError> {
    let Some(end) = memchr::memchr(b'\n', &here[..here.len().min(LINE_BYTES_MAX + 1)]) else {
        let is_endless = here.len() > LINE_BYTES_MAX;
        return if is_endless { Err(RequestError::TooBigInline) } else { Ok(Line::Unfinished) };
    };
    let line = here[..end].strip_suffix(b"\r").unwrap_or(&here[..end]);
    let words = lines::split(line).map_err(|_| RequestError::UnbalancedQuotes)?;
    if words.is_empty() {
        return Ok(Line::Blank(end + 1));
    }
    Ok(Line::Request(end + 1, Request::rewritten(&words)))
}

// A line that has no CR where Redis gives up looking for one (it counts the type byte as well).
#[cold]
fn is_endless(line: &[u8]) -> bool {
    line.get(..LINE_BYTES_MAX).is_some_and(|head| memchr::memchr(b'\r', head).is_none())
}

// Requests end within `request_bytes`, which is a u32.
#[inline]
fn span_of(start: usize, bytes: usize) -> Span {
    Span {
        start: u32::try_from(start).unwrap_or(u32::MAX),
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
    }
}
