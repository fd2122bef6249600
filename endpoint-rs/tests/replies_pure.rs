//! The replies in an instance's bytes: what begins and ends where, however the bytes are cut.

use everfly_endpoint::resp::reply::{
    ErrorKind, Expect, Kind, ReplyError, ReplyFramer, TAIL_BYTES_MAX, Topic,
};

type Read = Vec<(Kind, Vec<u8>)>;

/// All that is complete in `bytes`, shown in chunks of `step` bytes.
fn read(bytes: &[u8], step: usize, expect: Expect) -> Result<Read, ReplyError> {
    let mut framer = ReplyFramer::new();
    let (mut found, mut open): (Read, Option<(Kind, Vec<u8>)>) = (Vec::new(), None);
    let mut buffer: Vec<u8> = Vec::new();
    for chunk in bytes.chunks(step) {
        buffer.extend_from_slice(chunk);
        while let Some(piece) = framer.next(&buffer, expect)? {
            assert!(piece.bytes > 0);
            assert_eq!(piece.begins.is_some(), open.is_none());
            let (_, text) = open.get_or_insert_with(|| (piece.begins.unwrap(), Vec::new()));
            text.extend(buffer.drain(..piece.bytes));
            if piece.ends {
                found.extend(open.take());
            }
            assert_eq!(piece.ends, !framer.is_inside());
        }
        assert!(buffer.len() < TAIL_BYTES_MAX, "{} bytes stay behind", buffer.len());
    }
    Ok(found)
}

fn one(bytes: &[u8]) -> Kind {
    let whole = read(bytes, usize::MAX, Expect::Replies).unwrap();
    for step in 1..bytes.len() {
        assert_eq!(read(bytes, step, Expect::Replies).unwrap(), whole, "in chunks of {step}");
    }
    match whole.as_slice() {
        [(kind, text)] if text == bytes => *kind,
        other => panic!("not one reply: {other:?}"),
    }
}

#[test]
fn each_type_is_told_and_ends_where_it_ends() {
    let cases: [(&[u8], Kind); 22] = [
        (b"+OK\r\n", Kind::Simple),
        (b"+a status of more than eight bytes\r\n", Kind::Simple),
        (b"-ERR no\r\n", Kind::Error(ErrorKind::Other)),
        (b":-42\r\n", Kind::Integer),
        (b"$3\r\nabc\r\n", Kind::Bulk(3)),
        (b"$0\r\n\r\n", Kind::Bulk(0)),
        (b"$4\r\n\r\n\r\n\r\n", Kind::Bulk(4)),
        (b"$-1\r\n", Kind::Nil),
        (b"*-1\r\n", Kind::Nil),
        (b"_\r\n", Kind::Nil),
        (b"*0\r\n", Kind::Aggregate(0)),
        (b"*2\r\n*1\r\n:1\r\n$-1\r\n", Kind::Aggregate(2)),
        (b"%1\r\n+key\r\n~2\r\n#t\r\n,1.5\r\n", Kind::Aggregate(2)),
        (b"%0\r\n", Kind::Aggregate(0)),
        (b"~1\r\n(3492890328409238509324850943850943825024385\r\n", Kind::Aggregate(1)),
        (b"#f\r\n", Kind::Scalar),
        (b",inf\r\n", Kind::Scalar),
        (b"(123\r\n", Kind::Scalar),
        (b"=7\r\ntxt:abc\r\n", Kind::Bulk(7)),
        (b"!7\r\nERR bad\r\n", Kind::Error(ErrorKind::Other)),
        (b"*1\r\n|1\r\n+ttl\r\n:1\r\n:7\r\n", Kind::Aggregate(1)),
        (b">2\r\n$10\r\ninvalidate\r\n_\r\n", Kind::Push(Topic::Invalidate)),
    ];
    for (bytes, kind) in cases {
        assert_eq!(one(bytes), kind, "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_attribute_stands_before_the_reply_it_is_about() {
    let bytes = b"|1\r\n+key\r\n*2\r\n:1\r\n:2\r\n+OK\r\n";
    for step in 1..bytes.len() {
        let kinds: Vec<Kind> =
            read(bytes, step, Expect::Replies).unwrap().into_iter().map(|one| one.0).collect();
        assert_eq!(kinds, [Kind::Attribute, Kind::Simple]);
    }
}

#[test]
fn refusals_are_told_by_their_first_word_and_come_whole() {
    let cases: [(&str, ErrorKind); 14] = [
        ("-LOADING Dragonfly is loading the dataset in memory", ErrorKind::Loading),
        ("-READONLY You can't write against a read only replica.", ErrorKind::ReadOnly),
        ("-MASTERDOWN Link with MASTER is down", ErrorKind::MasterDown),
        ("-MOVED 1 127.0.0.1:6379", ErrorKind::Moved),
        ("-REDIRECT 127.0.0.1:6379", ErrorKind::Redirect),
        ("-UNBLOCKED client unblocked via CLIENT UNBLOCK", ErrorKind::Unblocked),
        (
            "-EXECABORT Transaction discarded because of: READONLY You can't write",
            ErrorKind::ExecRefused,
        ),
        ("-EXECABORT Transaction discarded because of: OOM no", ErrorKind::ExecAborted),
        ("-EXECABORT Transaction discarded because of previous errors.", ErrorKind::ExecAborted),
        ("-NOAUTH Authentication required.", ErrorKind::NoAuth),
        ("-WRONGPASS invalid", ErrorKind::WrongPass),
        ("-NOPERM no", ErrorKind::NoPerm),
        ("-READONLYISH", ErrorKind::Other),
        ("-ERR LOADING", ErrorKind::Other),
    ];
    for (line, kind) in cases {
        let bytes = format!("{line}\r\n");
        assert_eq!(one(bytes.as_bytes()), Kind::Error(kind), "{line}");
        let mut framer = ReplyFramer::new();
        for end in 0..bytes.len() {
            assert_eq!(framer.next(&bytes.as_bytes()[..end], Expect::Replies), Ok(None));
        }
    }
    assert!(ErrorKind::ExecRefused.is_refusal());
    assert!(!ErrorKind::ExecAborted.is_refusal());
}

#[test]
fn an_error_without_end_is_passed_on_unread() {
    let bytes = [b"-LOADING ".to_vec(), vec![b'x'; 100_000], b"\r\n".to_vec()].concat();
    for step in [1, 1000, 1024, 1025, bytes.len()] {
        let found = read(&bytes, step, Expect::Replies).unwrap();
        assert_eq!(found, [(Kind::Error(ErrorKind::Other), bytes.clone())]);
    }
}

#[test]
fn messages_of_resp2_are_told_from_replies_where_they_are_expected() {
    let cases: [(&[u8], Kind); 6] = [
        (b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", Kind::Push(Topic::Subscribe)),
        (b"*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n", Kind::Push(Topic::PUnsubscribe)),
        (b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$0\r\n\r\n", Kind::Push(Topic::Message)),
        (b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", Kind::Aggregate(2)),
        (b"*1\r\n:1\r\n", Kind::Aggregate(1)),
        (b"*1\r\n$-1\r\n", Kind::Aggregate(1)),
    ];
    for (bytes, kind) in cases {
        for step in 1..=bytes.len() {
            let found = read(bytes, step, Expect::Messages).unwrap();
            assert_eq!(found, [(kind, bytes.to_vec())], "in chunks of {step}");
        }
        assert!(matches!(one(bytes), Kind::Aggregate(_)));
    }
}

#[test]
fn arrays_of_any_depth_cost_no_stack() {
    let bytes = [b"*1\r\n".repeat(1_000_000), b":1\r\n".to_vec()].concat();
    for step in [7, 65_536, bytes.len()] {
        let found = read(&bytes, step, Expect::Replies).unwrap();
        assert_eq!(found, [(Kind::Aggregate(1), bytes.clone())]);
    }
}

#[test]
fn a_string_of_512_mib_passes_in_pieces_of_what_is_there() {
    const SIZE: usize = 512 * 1024 * 1024;
    let chunk = vec![b'x'; 1024 * 1024];
    let mut framer = ReplyFramer::new();
    let head = b"$536870912\r\n";
    let piece = framer.next(head, Expect::Replies).unwrap().unwrap();
    assert_eq!((piece.bytes, piece.begins), (head.len(), Some(Kind::Bulk(SIZE as u64))));
    for _ in 0..SIZE / chunk.len() {
        let piece = framer.next(&chunk, Expect::Replies).unwrap().unwrap();
        assert_eq!((piece.bytes, piece.begins, piece.ends), (chunk.len(), None, false));
    }
    assert_eq!(framer.next(b"\r", Expect::Replies), Ok(None));
    let piece = framer.next(b"\r\n+OK\r\n", Expect::Replies).unwrap().unwrap();
    assert_eq!((piece.bytes, piece.ends), (2, true));
}

#[test]
fn what_is_no_resp_is_refused() {
    let cases: [(&[u8], ReplyError); 14] = [
        (b"hello\r\n", ReplyError::UnexpectedType(b'h')),
        (b"*1\r\nx", ReplyError::UnexpectedType(b'x')),
        (b"*1\r\n>1\r\n:1\r\n", ReplyError::UnexpectedType(b'>')),
        (b"$?\r\n", ReplyError::InvalidLength),
        (b"*?\r\n", ReplyError::InvalidLength),
        (b"$-2\r\n", ReplyError::InvalidLength),
        (b"%-1\r\n", ReplyError::InvalidLength),
        (b">-1\r\n", ReplyError::InvalidLength),
        (b"%9223372036854775807\r\n%9223372036854775807\r\n", ReplyError::InvalidLength),
        (b"$12345678901234567890123456789012", ReplyError::InvalidLength),
        (b"$1\rx", ReplyError::InvalidLength),
        (b"$1\r\nab\r\n", ReplyError::Unterminated),
        (b"+OK\rx", ReplyError::Unterminated),
        (b":1\r\r\n", ReplyError::Unterminated),
    ];
    for (bytes, error) in cases {
        for step in [1, 2, bytes.len()] {
            let found = read(bytes, step, Expect::Replies);
            assert_eq!(found, Err(error), "{} in chunks of {step}", bytes.escape_ascii());
        }
    }
}
