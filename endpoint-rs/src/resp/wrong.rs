//! What a client is told that breaks the protocol: Redis' own words, where it has any.

/// Why the client's bytes are no requests. The connection cannot go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// A line without end where the number of words should stand.
    TooBigCountLine,
    /// A line without end where the length of a word should stand.
    TooBigBulkLine,
    /// A line without end.
    TooBigInline,
    /// Not a number, or more words than allowed.
    InvalidCount,
    /// More words than allowed before AUTH.
    UnauthenticatedCount,
    /// Another byte than `$` before a word.
    ExpectedBulk(u8),
    /// Not a number, negative, or longer than allowed.
    InvalidBulkLength,
    /// A longer word than allowed before AUTH.
    UnauthenticatedBulkLength,
    /// A word that is not followed by CRLF. (Redis skips the two bytes whatever they are.)
    UnterminatedBulk,
    /// An inline command with an open quote.
    UnbalancedQuotes,
    /// The request is longer than allowed as a whole.
    TooBigRequest(u32),
}

impl RequestError {
    /// Return the error line to send before closing, with CRLF.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let mut line = b"-ERR Protocol error: ".to_vec();
        match self {
            Self::TooBigCountLine => line.extend_from_slice(b"too big mbulk count string"),
            Self::TooBigBulkLine => line.extend_from_slice(b"too big bulk count string"),
            Self::TooBigInline => line.extend_from_slice(b"too big inline request"),
            Self::InvalidCount => line.extend_from_slice(b"invalid multibulk length"),
            Self::UnauthenticatedCount => {
                line.extend_from_slice(b"unauthenticated multibulk length");
            }
            Self::ExpectedBulk(byte) => {
                line.extend_from_slice(b"expected '$', got '");
                line.push(if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte });
                line.push(b'\'');
            }
            Self::InvalidBulkLength => line.extend_from_slice(b"invalid bulk length"),
            Self::UnauthenticatedBulkLength => {
                line.extend_from_slice(b"unauthenticated bulk length");
            }
            Self::UnterminatedBulk => line.extend_from_slice(b"expected CRLF after a bulk"),
            Self::UnbalancedQuotes => line.extend_from_slice(b"unbalanced quotes in request"),
            Self::TooBigRequest(limit) => {
                line.extend_from_slice(
                    format!("too big request, the limit is {limit} bytes").as_bytes(),
                );
            }
        }
        line.extend_from_slice(b"\r\n");
        line
    }
}
