//! Framers that are slow and obviously right: the whole input at once, by recursion, values copied.
//! Written from the protocol's description and not from the framers they judge.

#![allow(dead_code, missing_docs, reason = "each test uses a part")]

/// What a look at the head of the bytes found.
#[derive(Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// One, and how many bytes it takes.
    Found(T, usize),
    /// More bytes are needed.
    More,
    /// No RESP, whatever follows.
    Wrong,
}

const LINE_MAX: usize = 64 * 1024;

/// Limits of requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bulk: i64,
    pub words: i64,
    pub request: usize,
    pub is_authenticated: bool,
}

/// The request at the head of `bytes`: its words; none for a blank line or an empty array.
pub fn request(bytes: &[u8], limits: Limits) -> Look<Vec<Vec<u8>>> {
    match bytes.first() {
        None => Look::More,
        Some(b'*') => array_request(bytes, limits),
        Some(_) => inline_request(bytes),
    }
}

fn array_request(bytes: &[u8], limits: Limits) -> Look<Vec<Vec<u8>>> {
    let (count, mut at) = match limited_number(&bytes[1..]) {
        Look::Found(count, width) => (count, 1 + width),
        Look::More => return Look::More,
        Look::Wrong => return Look::Wrong,
    };
    if count > limits.words || (count > 10 && !limits.is_authenticated) {
        return Look::Wrong;
    }
    let mut words = Vec::new();
    for _ in 0..count {
        match bytes.get(at) {
            None => return Look::More,
            Some(b'$') => at += 1,
            Some(_) => return Look::Wrong,
        }
        let length = match limited_number(&bytes[at..]) {
            Look::Found(length, width) => {
                at += width;
                length
            }
            Look::More => return Look::More,
            Look::Wrong => return Look::Wrong,
        };
        if length < 0 || length > limits.bulk || (length > 16384 && !limits.is_authenticated) {
            return Look::Wrong;
        }
        let length = usize::try_from(length).expect("not negative");
        if at + length + 2 > limits.request {
            return Look::Wrong;
        }
        if bytes.len() < at + length + 2 {
            return Look::More;
        }
        words.push(bytes[at..at + length].to_vec());
        at += length;
        if &bytes[at..at + 2] != b"\r\n" {
            return Look::Wrong;
        }
        at += 2;
    }
    Look::Found(words, at)
}

fn inline_request(bytes: &[u8]) -> Look<Vec<Vec<u8>>> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() > LINE_MAX { Look::Wrong } else { Look::More };
    };
    if end > LINE_MAX {
        return Look::Wrong;
    }
    let mut line = bytes[..end].to_vec();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    match split(&line) {
        Some(words) => Look::Found(words, end + 1),
        None => Look::Wrong,
    }
}

/// Words of a line as a state machine over its bytes.
fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    enum State {
        Between,
        Word,
        Double,
        Single,
        Closed,
    }
    let mut state = State::Between;
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut bytes: std::collections::VecDeque<u8> =
        line.iter().copied().take_while(|byte| *byte != 0).collect();
    while let Some(byte) = bytes.pop_front() {
        let is_space = b" \t\n\r\x0b\x0c".contains(&byte);
        match state {
            State::Between | State::Word | State::Closed if is_space => state = State::Between,
            State::Closed => return None,
            State::Between | State::Word => {
                if matches!(state, State::Between) {
                    words.push(Vec::new());
                }
                state = match byte {
                    b'"' => State::Double,
                    b'\'' => State::Single,
                    _ => {
                        words.last_mut()?.push(byte);
                        State::Word
                    }
                };
            }
            State::Double if byte == b'"' => state = State::Closed,
            State::Single if byte == b'\'' => state = State::Closed,
            State::Double if byte == b'\\' && !bytes.is_empty() => {
                let next = bytes.pop_front()?;
                words.last_mut()?.push(escaped(next, &mut bytes)?);
            }
            State::Single if byte == b'\\' && bytes.front() == Some(&b'\'') => {
                bytes.pop_front();
                words.last_mut()?.push(b'\'');
            }
            State::Double | State::Single => words.last_mut()?.push(byte),
        }
    }
    match state {
        State::Double | State::Single => None,
        _ => Some(words),
    }
}

/// What a backslash and `letter` mean; \x takes two digits from `rest`.
fn escaped(letter: u8, rest: &mut std::collections::VecDeque<u8>) -> Option<u8> {
    let is_hex = letter == b'x'
        && rest.len() >= 2
        && rest[0].is_ascii_hexdigit()
        && rest[1].is_ascii_hexdigit();
    if is_hex {
        let digits = [rest.pop_front()?, rest.pop_front()?];
        return u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok();
    }
    Some(match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    })
}

/// A number and CRLF, which must begin within 64 KiB less the type byte.
fn limited_number(bytes: &[u8]) -> Look<i64> {
    if bytes.len() >= LINE_MAX && !bytes[..LINE_MAX].contains(&b'\r') {
        return Look::Wrong;
    }
    number(bytes)
}

fn number(bytes: &[u8]) -> Look<i64> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\r') else { return Look::More };
    match bytes.get(end + 1) {
        None => return Look::More,
        Some(b'\n') => {}
        Some(_) => return Look::Wrong,
    }
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    match text.parse::<i64>() {
        // Only what is written as it would be printed.
        Ok(value) if value.to_string() == text => Look::Found(value, end + 2),
        _ => Look::Wrong,
    }
}

/// The reply, push or attribute at the head of `bytes`: its type byte.
pub fn reply(bytes: &[u8]) -> Look<u8> {
    match bytes.first() {
        None => Look::More,
        Some(b'|') => match elements(bytes, 0) {
            Look::Found((), end) => Look::Found(b'|', end),
            Look::More => Look::More,
            Look::Wrong => Look::Wrong,
        },
        Some(kind) => match value(bytes, 0, true) {
            Look::Found((), end) => Look::Found(*kind, end),
            Look::More => Look::More,
            Look::Wrong => Look::Wrong,
        },
    }
}

// One value from `at` on; returns where it ends.
fn value(bytes: &[u8], at: usize, is_outermost: bool) -> Look<()> {
    let Some(kind) = bytes.get(at) else { return Look::More };
    match kind {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => line(bytes, at + 1),
        b'$' | b'=' | b'!' => string(bytes, at),
        b'*' | b'%' | b'~' => elements(bytes, at),
        b'>' if is_outermost => elements(bytes, at),
        b'|' if !is_outermost => match elements(bytes, at) {
            Look::Found((), end) => value(bytes, end, false),
            other => other,
        },
        _ => Look::Wrong,
    }
}

fn line(bytes: &[u8], at: usize) -> Look<()> {
    let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\r') else { return Look::More };
    match bytes.get(at + end + 1) {
        None => Look::More,
        Some(b'\n') => Look::Found((), at + end + 2),
        Some(_) => Look::Wrong,
    }
}

fn length(bytes: &[u8], at: usize) -> Look<i64> {
    // A number that is too long is none, whatever comes.
    let rest = &bytes[at + 1..];
    match number(rest) {
        Look::Found(value, width) if value >= -1 => Look::Found(value, at + 1 + width),
        Look::More if rest.len() < 31 => Look::More,
        _ => Look::Wrong,
    }
}

fn string(bytes: &[u8], at: usize) -> Look<()> {
    let (size, start) = match length(bytes, at) {
        Look::Found(size, start) => (size, start),
        Look::More => return Look::More,
        Look::Wrong => return Look::Wrong,
    };
    if size < 0 {
        return Look::Found((), start);
    }
    let Some(end) = usize::try_from(size).ok().and_then(|size| size.checked_add(start)) else {
        return Look::More;
    };
    match bytes.get(end..end.saturating_add(2)) {
        Some(b"\r\n") => Look::Found((), end + 2),
        Some(_) => Look::Wrong,
        None => Look::More,
    }
}

fn elements(bytes: &[u8], at: usize) -> Look<()> {
    let (count, mut end) = match length(bytes, at) {
        Look::Found(count, end) => (count, end),
        Look::More => return Look::More,
        Look::Wrong => return Look::Wrong,
    };
    let count = match (bytes[at], count) {
        (b'*', -1) => 0,
        (_, -1) => return Look::Wrong,
        (b'%' | b'|', pairs) => match pairs.checked_mul(2) {
            Some(count) => count,
            None => return Look::More,
        },
        (_, count) => count,
    };
    for _ in 0..count {
        match value(bytes, end, false) {
            Look::Found((), next) => end = next,
            other => return other,
        }
    }
    Look::Found((), end)
}
