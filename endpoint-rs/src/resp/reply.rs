//! Bytes of an instance into the replies and pushes in them, piece by piece.
//!
//! Rules: nothing is buffered here and nothing recurses. A reply of any size comes as pieces that
//! can be sent on at once; what an incomplete line or a half CRLF leaves unconsumed is less than
//! `TAIL_BYTES_MAX` bytes, which the caller keeps and shows again with what follows. The first
//! piece of a reply comes only when its kind is known, and an error's only when its line is whole.
//! How deep a reply is nested costs nothing: only the number of elements to come is kept, since
//! each aggregate adds its elements to it and each element takes one away.
//!
//! Aggregates and bulks without a length ("streamed" ones of RESP3) are refused: no engine sends
//! them. Formats: RESP2 and RESP3 as sent by networking.c of redis 7.0.15, valkey 9 and
//! dragonfly 1.x.

use super::{Number, number};

pub use super::kinds::{ErrorKind, Kind, Topic};

/// More than ever stays unconsumed of a piece that was asked for, in bytes.
pub const TAIL_BYTES_MAX: usize = ERROR_LINE_BYTES_MAX + 2;
/// An error line that is longer is passed on unread, as `ErrorKind::Other`. Refusals have less
/// than 200 bytes with every engine.
const ERROR_LINE_BYTES_MAX: usize = 1024;
/// A type byte, 20 digits and CRLF take 23 bytes; whatever is longer is no number.
const NUMBER_LINE_BYTES_MAX: usize = 32;
/// The first word of a push names what it is about. The longest that is known has 12 bytes.
const TOPIC_BYTES_MAX: i64 = 32;

/// What an array may be where a reply begins: in RESP2 messages of pub/sub look like replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// An array is a reply.
    Replies,
    /// An array is a message or a confirmation if it says so: the session has subscriptions, or
    /// the next reply is that of a SUBSCRIBE and the like.
    Messages,
}

/// A part of a reply: send it on, then drop it from the head of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// So many bytes at the head of the chunk; at least 1.
    pub bytes: usize,
    /// What begins with this piece; None when it goes on with what began before.
    pub begins: Option<Kind>,
    /// Whether what it belongs to is complete with it.
    pub ends: bool,
}

/// The instance broke the protocol: nothing that follows on its connection can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// No type that is known, or a push within a reply.
    UnexpectedType(u8),
    /// Not a length, or one of more than 63 bits.
    InvalidLength,
    /// A string or line that does not end with CRLF.
    Unterminated,
}

impl std::fmt::Display for ReplyError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnexpectedType(byte) => {
                write!(out, "a reply with the type byte {:?}", char::from(*byte))
            }
            Self::InvalidLength => out.write_str("a reply with an invalid length"),
            Self::Unterminated => out.write_str("a reply that does not end with CRLF"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Finds the replies in a stream of chunks.
#[derive(Debug, Default)]
pub struct ReplyFramer {
    /// Elements still to begin in the current reply.
    left: u64,
    /// Bytes still to come of the current string, with its CRLF.
    body: u64,
    /// Whether the current element is a line whose end is still to come.
    is_in_line: bool,
}

impl ReplyFramer {
    /// Return a framer at the beginning of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Return whether a reply has begun and not ended.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.left > 0 || self.body > 0 || self.is_in_line
    }

    /// Look for the next piece in `chunk`, which begins with the first byte not yet consumed.
    ///
    /// None when more bytes are needed: keep what is there, less than `TAIL_BYTES_MAX` bytes.
    ///
    /// # Errors
    ///
    /// When the bytes are no RESP: close the connection, its other replies are lost.
    #[inline]
    pub fn next(&mut self, chunk: &[u8], expect: Expect) -> Result<Option<Piece>, ReplyError> {
        if self.is_inside() {
            let bytes = self.go_on(chunk, 0)?;
            let ends = !self.is_inside();
            return Ok((bytes > 0).then_some(Piece { bytes, begins: None, ends }));
        }
        let Some(kind) = kind(chunk, expect)? else { return Ok(None) };
        let took = if kind == Kind::Attribute {
            self.attribute(chunk)?
        } else {
            self.left = 1;
            self.element(chunk, true)?
        };
        // The kind was known, so its line is here.
        let bytes = self.go_on(chunk, took)?;
        Ok(Some(Piece { bytes, begins: Some(kind), ends: !self.is_inside() }))
    }

    // Return how many bytes of `chunk` belong to the current reply, of which `at` are known.
    #[inline]
    fn go_on(&mut self, chunk: &[u8], mut at: usize) -> Result<usize, ReplyError> {
        while self.is_inside() {
            let rest = &chunk[at..];
            let took = if self.body > 0 {
                self.string(rest)?
            } else if self.is_in_line {
                self.line(rest)?
            } else {
                self.element(rest, false)?
            };
            at += took;
            if took == 0 || at == chunk.len() {
                break;
            }
        }
        Ok(at)
    }

    // Begin the element at the head of `rest`. Returns 0 when its line is not whole.
    #[inline]
    fn element(&mut self, rest: &[u8], is_first: bool) -> Result<usize, ReplyError> {
        let Some(&kind) = rest.first() else { return Ok(0) };
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                self.left -= 1;
                self.is_in_line = true;
                Ok(1 + self.line(&rest[1..])?)
            }
            b'$' | b'=' | b'!' => {
                let Some((length, width)) = length(rest)? else { return Ok(0) };
                self.left -= 1;
                if length >= 0 {
                    self.body = length.unsigned_abs() + 2;
                    return Ok(width + self.string(&rest[width..])?);
                }
                Ok(width)
            }
            b'*' | b'%' | b'~' => self.aggregate(rest),
            b'>' if is_first => self.aggregate(rest),
            b'|' if !is_first => self.attribute(rest),
            other => Err(ReplyError::UnexpectedType(other)),
        }
    }

    fn aggregate(&mut self, rest: &[u8]) -> Result<usize, ReplyError> {
        let Some((length, width)) = length(rest)? else { return Ok(0) };
        let elements = elements(rest[0], length)?;
        self.left = (self.left - 1).checked_add(elements).ok_or(ReplyError::InvalidLength)?;
        Ok(width)
    }

    // An attribute comes before an element and is none itself.
    fn attribute(&mut self, rest: &[u8]) -> Result<usize, ReplyError> {
        let Some((length, width)) = length(rest)? else { return Ok(0) };
        let elements = elements(b'|', length)?;
        self.left = self.left.checked_add(elements).ok_or(ReplyError::InvalidLength)?;
        Ok(width)
    }

    #[inline]
    fn string(&mut self, rest: &[u8]) -> Result<usize, ReplyError> {
        let text = usize::try_from(self.body - 2).unwrap_or(usize::MAX).min(rest.len());
        // `text` is at most `body`.
        self.body -= text as u64;
        if self.body > 2 {
            return Ok(text);
        }
        match rest.get(text..text + 2) {
            None => Ok(text),
            Some(b"\r\n") => {
                self.body = 0;
                Ok(text + 2)
            }
            Some(_) => Err(ReplyError::Unterminated),
        }
    }

    #[inline]
    fn line(&mut self, rest: &[u8]) -> Result<usize, ReplyError> {
        let Some(end) = line_end(rest) else { return Ok(rest.len()) };
        match rest.get(end + 1) {
            None => Ok(end),
            Some(b'\n') => {
                self.is_in_line = false;
                Ok(end + 2)
            }
            Some(_) => Err(ReplyError::Unterminated),
        }
    }
}

// Most lines have a handful of bytes: a call of memchr would cost more than it saves.
#[inline]
fn line_end(rest: &[u8]) -> Option<usize> {
    const NEAR: usize = 8;
    let near = rest.iter().take(NEAR).position(|byte| *byte == b'\r');
    near.or_else(|| Some(NEAR + memchr::memchr(b'\r', rest.get(NEAR..)?)?))
}

// Tell what begins at the head of `chunk`; None when too little is here to tell.
#[inline]
fn kind(chunk: &[u8], expect: Expect) -> Result<Option<Kind>, ReplyError> {
    let Some(&first) = chunk.first() else { return Ok(None) };
    let kind = match first {
        b'+' => Kind::Simple,
        b':' => Kind::Integer,
        b'_' => Kind::Nil,
        b'#' | b',' | b'(' => Kind::Scalar,
        b'-' => return Ok(error(chunk)),
        _ => {
            if !matches!(first, b'$' | b'=' | b'!' | b'*' | b'%' | b'~' | b'>' | b'|') {
                return Err(ReplyError::UnexpectedType(first));
            }
            let Some((length, width)) = length(chunk)? else { return Ok(None) };
            return measured(chunk, (length, width), expect);
        }
    };
    Ok(Some(kind))
}

#[inline]
fn measured(
    chunk: &[u8],
    (length, width): (i64, usize),
    expect: Expect,
) -> Result<Option<Kind>, ReplyError> {
    let first = chunk[0];
    if first == b'!' {
        return Ok(Some(Kind::Error(ErrorKind::Other)));
    }
    let Ok(size) = u64::try_from(length) else { return Ok(Some(Kind::Nil)) };
    let kind = match first {
        b'$' | b'=' => Kind::Bulk(size),
        b'|' => Kind::Attribute,
        b'>' => {
            let Some(topic) = topic(&chunk[width..], size)? else { return Ok(None) };
            Kind::Push(topic)
        }
        b'*' if expect == Expect::Messages => match topic(&chunk[width..], size)? {
            None => return Ok(None),
            Some(Topic::Other) => Kind::Aggregate(size),
            Some(topic) => Kind::Push(topic),
        },
        _ => Kind::Aggregate(elements(first, length)?),
    };
    Ok(Some(kind))
}

#[cold]
fn error(chunk: &[u8]) -> Option<Kind> {
    let head = &chunk[..chunk.len().min(ERROR_LINE_BYTES_MAX)];
    match memchr::memchr(b'\r', head) {
        Some(end) if chunk.len() > end + 1 => Some(Kind::Error(ErrorKind::of(&chunk[..end]))),
        None if head.len() == ERROR_LINE_BYTES_MAX => Some(Kind::Error(ErrorKind::Other)),
        _ => None,
    }
}

// Tell from its first element what a push is about; None when that is not all here.
fn topic(rest: &[u8], size: u64) -> Result<Option<Topic>, ReplyError> {
    if size == 0 {
        return Ok(Some(Topic::Other));
    }
    match rest.first() {
        None => return Ok(None),
        Some(b'$') => {}
        Some(_) => return Ok(Some(Topic::Other)),
    }
    let Some((length, width)) = length(rest)? else { return Ok(None) };
    if length > TOPIC_BYTES_MAX {
        return Ok(Some(Topic::Other));
    }
    let bytes = usize::try_from(length).unwrap_or(0);
    Ok(rest.get(width..width + bytes).map(Topic::of))
}

// Return the number in the line at the head of `rest` and the line's width; None when it is not
// all here.
#[inline]
fn length(rest: &[u8]) -> Result<Option<(i64, usize)>, ReplyError> {
    match number(&rest[1..]) {
        Number::Is(length, width) if length >= -1 => Ok(Some((length, 1 + width))),
        Number::Unfinished if rest.len() < NUMBER_LINE_BYTES_MAX => Ok(None),
        _ => Err(ReplyError::InvalidLength),
    }
}

// Return how many elements an aggregate with this number in its head has.
fn elements(kind: u8, length: i64) -> Result<u64, ReplyError> {
    match (kind, u64::try_from(length)) {
        (b'%' | b'|', Ok(pairs)) => pairs.checked_mul(2).ok_or(ReplyError::InvalidLength),
        (_, Ok(elements)) => Ok(elements),
        // Only RESP2's null array has no length.
        (b'*', Err(_)) => Ok(0),
        (_, Err(_)) => Err(ReplyError::InvalidLength),
    }
}
