"""Turn bytes of a connection into commands or replies, and commands and replies into bytes.

RESP2, RESP3 and inline commands. Both parsers are incremental: `feed` what arrived, in pieces of
any size, then take what is complete. The result never depends on where the stream was cut, the work
is linear in the bytes fed, and memory is bounded by what really arrived: a header that announces a
large value allocates nothing. A parser that met an error drops what it is fed and repeats it.
"""

from everfly.wire.resp_replies import ReplyParser
from everfly.wire.resp_requests import RequestParser, split_args
from everfly.wire.resp_values import (
    NEED_MORE,
    NULL_ARRAY,
    ErrorReply,
    HttpRequest,
    NeedMore,
    NullArray,
    ProtocolError,
    Push,
    Reply,
    SimpleString,
    Unordered,
    Value,
    Verbatim,
    encode_command,
    encode_reply,
    one_line,
    to_bytes,
    to_text,
)

__all__ = [
    "NEED_MORE",
    "NULL_ARRAY",
    "ErrorReply",
    "HttpRequest",
    "NeedMore",
    "NullArray",
    "ProtocolError",
    "Push",
    "Reply",
    "ReplyParser",
    "RequestParser",
    "SimpleString",
    "Unordered",
    "Value",
    "Verbatim",
    "encode_command",
    "encode_reply",
    "one_line",
    "split_args",
    "to_bytes",
    "to_text",
]
