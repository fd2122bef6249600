//! What the beginning of a reply tells of it.

/// The first word of an error, as far as it means something to the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// `-LOADING`: not executed; a dataset is being loaded, or Dragonfly is being taken over.
    Loading,
    /// `-READONLY`: not executed; a replica was asked to write.
    ReadOnly,
    /// `-MASTERDOWN`: not executed; a replica without its primary.
    MasterDown,
    /// `-MOVED`: not executed; the slot is elsewhere (Dragonfly in cluster mode, taken over).
    Moved,
    /// `-REDIRECT`: not executed; Valkey's `CLIENT CAPA redirect`.
    Redirect,
    /// `-UNBLOCKED`: a blocking command was cut off and took nothing.
    Unblocked,
    /// `-EXECABORT` for one of the reasons above: not executed.
    ExecRefused,
    /// `-EXECABORT` because a command was refused while the transaction was queued.
    ExecAborted,
    /// `-NOAUTH`: not executed; the client has not authenticated itself.
    NoAuth,
    /// `-WRONGPASS`
    WrongPass,
    /// `-NOPERM`
    NoPerm,
    /// Any other.
    Other,
}

impl ErrorKind {
    /// Return whether the error proves that the command was not executed, and may pass once
    /// there is a primary again.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::Loading
                | Self::ReadOnly
                | Self::MasterDown
                | Self::Moved
                | Self::Redirect
                | Self::Unblocked
                | Self::ExecRefused
        )
    }

    /// Return whether the error is a refusal, where `follows_refusal` says that one of an earlier
    /// command of the same client is kept back: that has then made a transaction fail as well.
    #[must_use]
    pub fn refuses(self, follows_refusal: bool) -> bool {
        self.is_refusal() || (follows_refusal && self == Self::ExecAborted)
    }

    /// Tell what `line`, which begins with `-`, reports.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        let text = line.get(1..).unwrap_or_default();
        let end = text.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
        match &text[..end.unwrap_or(text.len())] {
            b"LOADING" => Self::Loading,
            b"READONLY" => Self::ReadOnly,
            b"MASTERDOWN" => Self::MasterDown,
            b"MOVED" => Self::Moved,
            b"REDIRECT" => Self::Redirect,
            b"UNBLOCKED" => Self::Unblocked,
            b"EXECABORT" => Self::of_exec(text),
            b"NOAUTH" => Self::NoAuth,
            b"WRONGPASS" => Self::WrongPass,
            b"NOPERM" => Self::NoPerm,
            _ => Self::Other,
        }
    }

    // "EXECABORT Transaction discarded because of: READONLY You can't write ...", or "... because
    // of previous errors." Source: `execCommandAbort`, redis/src/multi.c (7.0.15).
    fn of_exec(text: &[u8]) -> Self {
        const REASON: &[u8] = b"because of: ";
        let reason = memchr::memmem::find(text, REASON).map(|at| &text[at + REASON.len()..]);
        // `of` looks behind a type byte.
        let is_refusal = reason.is_some_and(|reason| match reason.first() {
            Some(b'E') | None => false,
            Some(_) => Self::of(&[b"-", reason].concat()).is_refusal(),
        });
        if is_refusal { Self::ExecRefused } else { Self::ExecAborted }
    }
}

/// What a push is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// `message`, `pmessage`, `smessage`
    Message,
    /// `subscribe`: a confirmation
    Subscribe,
    /// `unsubscribe`
    Unsubscribe,
    /// `psubscribe`
    PSubscribe,
    /// `punsubscribe`
    PUnsubscribe,
    /// `ssubscribe`
    SSubscribe,
    /// `sunsubscribe`
    SUnsubscribe,
    /// `invalidate`: keys that the client may have cached
    Invalidate,
    /// Any other.
    Other,
}

impl Topic {
    /// Return whether it answers a request, or a part of one: replies that are kept back come
    /// before it.
    #[must_use]
    pub fn is_confirmation(self) -> bool {
        !matches!(self, Self::Message | Self::Invalidate | Self::Other)
    }

    pub(super) fn of(word: &[u8]) -> Self {
        match word {
            b"message" | b"pmessage" | b"smessage" => Self::Message,
            b"subscribe" => Self::Subscribe,
            b"unsubscribe" => Self::Unsubscribe,
            b"psubscribe" => Self::PSubscribe,
            b"punsubscribe" => Self::PUnsubscribe,
            b"ssubscribe" => Self::SSubscribe,
            b"sunsubscribe" => Self::SUnsubscribe,
            b"invalidate" => Self::Invalidate,
            _ => Self::Other,
        }
    }
}

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A status, such as OK or QUEUED.
    Simple,
    /// An error; the piece that begins it holds the whole line unless it is `Other`.
    Error(ErrorKind),
    /// An integer.
    Integer,
    /// A string of so many bytes.
    Bulk(u64),
    /// Nothing, in any of its three forms.
    Nil,
    /// An array, map or set of so many elements (a map has two for each pair).
    Aggregate(u64),
    /// A boolean, double, big number.
    Scalar,
    /// No reply, but said in between: a push of RESP3, or a message of pub/sub in RESP2.
    Push(Topic),
    /// No reply, but said about the reply that follows it.
    Attribute,
}
