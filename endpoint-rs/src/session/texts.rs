//! What clients are told that no instance said. Each line says whose it is and what now.

use std::borrow::Cow;

/// A line to send, with CRLF.
pub type Line = Cow<'static, [u8]>;

pub(super) const OK: Line = Cow::Borrowed(b"+OK\r\n");
pub(super) const QUEUED: Line = Cow::Borrowed(b"+QUEUED\r\n");
pub(super) const NOTHING: Line = Cow::Borrowed(b"");
pub(super) const SYNTAX_ERROR: Line = Cow::Borrowed(b"-ERR syntax error\r\n");
/// Source: `multiCommand`, redis/src/multi.c (7.0.15).
pub(super) const NESTED_MULTI: Line = Cow::Borrowed(b"-ERR MULTI calls can not be nested\r\n");
/// Source: `watchCommand`, as above.
pub(super) const WATCH_IN_MULTI: Line =
    Cow::Borrowed(b"-ERR WATCH inside MULTI is not allowed\r\n");
/// Source: `execCommandAbort`, as above.
pub(super) const EXEC_ABORTED: Line =
    Cow::Borrowed(b"-EXECABORT Transaction discarded because of previous errors.\r\n");
pub(super) const EXEC_NOT_KEPT: Line = Cow::Borrowed(
    b"-EXECABORT Transaction discarded because of: the primary was lost, and the transaction is \
    longer than everfly keeps; nothing of it was executed, send it again\r\n",
);
/// WAIT: no replica is known to have it.
pub(super) const NO_REPLICA: Line = Cow::Borrowed(b":0\r\n");
/// WAITAOF: neither the instance nor a replica is known to have it.
pub(super) const NO_DISK: Line = Cow::Borrowed(b"*2\r\n:0\r\n:0\r\n");

/// A write that may have been executed.
pub const AMBIGUOUS: &[u8] = b"-AMBIGUOUS everfly: the primary was lost before it answered; \
the command may or may not have been executed\r\n";
/// A read that cannot be asked again without telling what came later as if it had come earlier.
pub const AMBIGUOUS_READ: &[u8] = b"-AMBIGUOUS everfly: the primary was lost before it answered; \
a later command of this pipeline may have been executed, so this one was not repeated\r\n";
/// All that a client with tracking has cached may be outdated.
pub const INVALIDATE_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// More bytes of channel names, or of a transaction, are not kept for a client.
pub const STATE_BYTES_MAX: usize = 1024 * 1024;
/// A longer command does not change the session.
pub const STATE_COMMAND_BYTES_MAX: usize = 64 * 1024;

pub(super) fn refused(name: &str, is_in_transaction: bool) -> Line {
    let name = name.replace('|', " ");
    let text = if is_in_transaction {
        format!("-ERR everfly: {name} is not possible within a transaction at the endpoint\r\n")
    } else {
        format!(
            "-ERR everfly: {name} is not available through the endpoint; \
            send it to the instance itself\r\n"
        )
    };
    Cow::Owned(text.into_bytes())
}

pub(super) fn too_much_state(name: &str, limit: usize) -> Line {
    let text = format!(
        "-ERR everfly: {name} would have the endpoint keep more than {limit} bytes \
        for this connection\r\n"
    );
    Cow::Owned(text.into_bytes())
}

pub(super) fn unknown_subcommand(word: &[u8]) -> Line {
    // As redis 7.0.15 says it.
    let word: String = String::from_utf8_lossy(word)
        .chars()
        .take(128)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    Cow::Owned(format!("-ERR unknown subcommand '{word}'. Try CLIENT HELP.\r\n").into_bytes())
}

/// Nothing, as EXEC says that a watched key was changed.
pub(super) fn null(is_resp3: bool) -> Line {
    Cow::Borrowed(if is_resp3 { b"_\r\n" } else { b"*-1\r\n" })
}
