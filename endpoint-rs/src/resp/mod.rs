//! RESP2 and RESP3 as a stream of boundaries: where a request or a reply ends, and what it is.
//!
//! Nothing here builds values or recurses; whoever forwards bytes needs to know only their edges.

mod inline;
mod kinds;
pub mod reply;
pub mod request;
mod words;
mod wrong;

/// What is found where a length or a count should stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// The number, and how many bytes its digits and the CRLF take.
    Is(i64, usize),
    /// No CR is in sight yet, or it is the last byte that is here.
    Unfinished,
    /// Something else than a number in canonical form, ended by CRLF.
    Invalid,
}

/// Read the decimal number and CRLF that `bytes` begins with.
///
/// Canonical form only, as `string2ll` of redis/src/util.c (7.0.15) has it: no plus sign, no
/// leading zero, no "-0", nothing outside of 64 bits. What passes means the same to every parser
/// behind us.
#[inline]
pub(crate) fn number(bytes: &[u8]) -> Number {
    // Most lengths have a few digits: a loop over them beats a search for their end.
    let mut value: i64 = 0;
    for (at, byte) in bytes.iter().enumerate().take(SHORT) {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + i64::from(digit);
            continue;
        }
        let is_canonical = at == 1 || (at > 1 && bytes[0] != b'0');
        if is_canonical && *byte == b'\r' && bytes.get(at + 1) == Some(&b'\n') {
            return Number::Is(value, at + 2);
        }
        break;
    }
    long_number(bytes)
}

/// So many bytes are looked at one by one for a number: lengths up to a gigabyte.
const SHORT: usize = 10;

#[cold]
fn long_number(bytes: &[u8]) -> Number {
    let Some(end) = memchr::memchr(b'\r', bytes) else { return Number::Unfinished };
    match bytes.get(end + 1) {
        None => return Number::Unfinished,
        Some(b'\n') => {}
        Some(_) => return Number::Invalid,
    }
    let (is_negative, digits) = match &bytes[..end] {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let is_canonical = match digits {
        [] => false,
        [b'0'] => !is_negative,
        [first, ..] => *first != b'0' && digits.len() <= 19,
    };
    if !is_canonical {
        return Number::Invalid;
    }
    let mut value: i64 = 0;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return Number::Invalid;
        }
        let digit = i64::from(byte - b'0');
        let signed = if is_negative { -digit } else { digit };
        match value.checked_mul(10).and_then(|tens| tens.checked_add(signed)) {
            Some(next) => value = next,
            None => return Number::Invalid,
        }
    }
    Number::Is(value, end + 2)
}

/// Append `words` to `out` as a request: an array of bulks.
pub fn encode<'a>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    header(out, b'*', words.len());
    for word in words {
        header(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn header(out: &mut Vec<u8>, kind: u8, number: usize) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        // The remainder of a division by ten is a digit.
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}
