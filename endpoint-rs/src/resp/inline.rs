//! A line that a person typed, into words: the rules of `sdssplitargs`, redis/src/sds.c (7.0.15).
//!
//! Words are separated by white space. `"..."` knows the escapes \n \r \t \b \a, \xHH and a
//! backslash before any other byte; `'...'` knows only \'. A closing quote must be followed by
//! white space or the end. A NUL byte ends the line, as it ends a C string.

/// A quote is not closed, or is closed in the middle of a word.
#[derive(Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

/// Split `line` into its words; empty for a blank line.
///
/// # Errors
///
/// When a quote does not end where a word may end.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).copied().is_some_and(is_space) {
            at += 1;
        }
        if at == line.len() {
            return Ok(words);
        }
        let (word, end) = word(line, at)?;
        words.push(word);
        at = end;
    }
}

// White space of C: Rust's own leaves out the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn word(line: &[u8], mut at: usize) -> Result<(Vec<u8>, usize), UnbalancedQuotes> {
    let mut word = Vec::new();
    while let Some(&byte) = line.get(at) {
        match byte {
            _ if is_space(byte) => break,
            b'"' | b'\'' => {
                at = quoted(line, at + 1, byte, &mut word)?;
                if !line.get(at).is_none_or(|next| is_space(*next)) {
                    return Err(UnbalancedQuotes);
                }
                break;
            }
            _ => {
                word.push(byte);
                at += 1;
            }
        }
    }
    Ok((word, at))
}

// Return where the closing quote's successor is.
fn quoted(
    line: &[u8],
    mut at: usize,
    quote: u8,
    word: &mut Vec<u8>,
) -> Result<usize, UnbalancedQuotes> {
    loop {
        let (byte, width) = match (quote, &line[at..]) {
            (_, []) => return Err(UnbalancedQuotes),
            (_, [first, ..]) if *first == quote => return Ok(at + 1),
            (b'"', [b'\\', rest @ ..]) if !rest.is_empty() => escaped(rest),
            (b'\'', [b'\\', b'\'', ..]) => (b'\'', 2),
            (_, [first, ..]) => (*first, 1),
        };
        word.push(byte);
        at += width;
    }
}

fn escaped(rest: &[u8]) -> (u8, usize) {
    if let [b'x', high, low, ..] = rest
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return (high << 4 | low, 4);
    }
    let byte = match rest[0] {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    };
    (byte, 2)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
