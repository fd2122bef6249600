//! The requests in a client's bytes: what is found, and what is refused with which words.

use everfly_endpoint::resp::request::{Limits, Request, RequestError, RequestFramer, Words};

/// All requests in `bytes` in canonical form, cut into chunks of `step` bytes, and how it ended.
fn read(
    bytes: &[u8],
    step: usize,
    is_authenticated: bool,
) -> (Vec<Vec<u8>>, Result<usize, RequestError>) {
    let mut framer = RequestFramer::new(Limits::default(), is_authenticated);
    let (mut requests, mut buffer) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(step) {
        buffer.extend_from_slice(chunk);
        loop {
            match framer.next(&buffer) {
                Err(error) => return (requests, Err(error)),
                Ok(found) => {
                    let consumed = found.consumed;
                    let is_found = found.request.is_some();
                    requests.extend(found.request.map(|request| request.bytes().to_vec()));
                    buffer.drain(..consumed);
                    if !is_found {
                        break;
                    }
                }
            }
        }
    }
    (requests, Ok(buffer.len()))
}

fn error_of(bytes: &[u8]) -> String {
    let whole = read(bytes, usize::MAX, true).1;
    let bytewise = read(bytes, 1, true).1;
    assert_eq!(whole, bytewise, "the answer depends on how the bytes are cut");
    String::from_utf8(whole.expect_err("these bytes break the protocol").line()).unwrap()
}

#[test]
fn requests_of_a_pipeline_are_found_one_by_one_however_they_are_cut() {
    let bytes =
        b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n";
    let expected: Vec<Vec<u8>> = vec![
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n".to_vec(),
        b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n".to_vec(),
    ];
    for step in 1..=bytes.len() {
        assert_eq!(read(bytes, step, true), (expected.clone(), Ok(0)), "in chunks of {step}");
    }
}

#[test]
fn the_first_two_words_are_told_without_walking() {
    let bytes = b"*3\r\n$6\r\nclient\r\n$7\r\nSETNAME\r\n$1\r\nx\r\n";
    let request = Request::parse(bytes).unwrap();
    assert_eq!((request.first(), request.second()), (&b"client"[..], &b"SETNAME"[..]));
    assert_eq!(request.len(), 3);
    assert_eq!(request.words().collect::<Vec<_>>(), [&b"client"[..], b"SETNAME", b"x"]);
    let alone = Request::parse(b"*1\r\n$4\r\nPING\r\n").unwrap();
    assert_eq!(alone.second(), b"");
}

#[test]
fn the_second_word_of_an_earlier_request_is_not_told_again() {
    let mut framer = RequestFramer::new(Limits::default(), true);
    let bytes = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*1\r\n$4\r\nPING\r\n";
    let first = framer.next(bytes).unwrap();
    let second = framer.next(&bytes[first.consumed..]).unwrap().request.unwrap();
    assert_eq!((second.first(), second.second()), (&b"PING"[..], &b""[..]));
}

#[test]
fn blank_lines_and_empty_arrays_are_dropped_at_once() {
    let mut framer = RequestFramer::new(Limits::default(), true);
    let found = framer.next(b"\r\n\n   \r\n*0\r\n*-1\r\n*2\r\n$3").unwrap();
    assert!(found.request.is_none());
    assert_eq!(found.consumed, b"\r\n\n   \r\n*0\r\n*-1\r\n".len());
    let found = framer.next(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").unwrap();
    assert_eq!(found.request.unwrap().first(), b"GET");
}

#[test]
fn inline_commands_are_rewritten_as_arrays() {
    let cases: [(&[u8], &[&[u8]]); 6] = [
        (b"PING\n", &[b"PING"]),
        (b"  set  key \"a b\\r\\n\\x41\"\r\n", &[b"set", b"key", b"a b\r\nA"]),
        (b"set key 'it\\'s \\n'\r\n", &[b"set", b"key", b"it's \\n"]),
        (b"set key \"\"\r\n", &[b"set", b"key", b""]),
        (b"echo \"\\q\\xZZ\"\r\n", &[b"echo", b"qxZZ"]),
        (b"echo a\0b\r\n", &[b"echo", b"a"]),
    ];
    for (line, words) in cases {
        for step in [1, line.len()] {
            let (requests, end) = read(line, step, true);
            assert_eq!(end, Ok(0));
            let found: Vec<&[u8]> = Words::of(&requests[0]).collect();
            assert_eq!(found, words, "{}", line.escape_ascii());
        }
        let mut framer = RequestFramer::new(Limits::default(), true);
        let request = framer.next(line).unwrap().request.unwrap();
        assert!(!request.is_borrowed());
        assert_eq!(request.first(), words[0]);
        assert_eq!(request.second(), words.get(1).copied().unwrap_or_default());
    }
}

#[test]
fn broken_bytes_are_answered_with_redis_words() {
    let cases: [(&[u8], &str); 13] = [
        (b"*abc\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r$4\r\nPING\r\n", "invalid multibulk length"),
        (b"*1\r\n:4\r\n", "expected '$', got ':'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$4\r\nPINGxx", "expected CRLF after a bulk"),
        (b"get \"key\r\n", "unbalanced quotes in request"),
    ];
    for (bytes, text) in cases {
        assert_eq!(error_of(bytes), format!("-ERR Protocol error: {text}\r\n"));
    }
}

#[test]
fn quotes_must_close_where_a_word_may_end() {
    for line in ["get \"a\"b\r\n", "get 'a'b\r\n", "get 'a\r\n", "get \"a\\\"\r\n", "get \"a\\"] {
        let line = [line.as_bytes(), b"\n"].concat();
        assert_eq!(read(&line, usize::MAX, true).1, Err(RequestError::UnbalancedQuotes));
    }
}

#[test]
fn lines_without_end_are_given_up_after_64_kib() {
    let cases: [(&[u8], &str); 3] = [
        (b"*", "too big mbulk count string"),
        (b"*1\r\n$", "too big bulk count string"),
        (b"g", "too big inline request"),
    ];
    for (head, text) in cases {
        let bytes = [head, &vec![b'1'; 64 * 1024]].concat();
        let limit = bytes.len() - 1;
        assert!(read(&bytes[..limit], usize::MAX, true).1.is_ok());
        let (_, end) = read(&bytes, 4096, true);
        let line = end.expect_err("this line is too long").line();
        assert_eq!(String::from_utf8(line).unwrap(), format!("-ERR Protocol error: {text}\r\n"));
    }
}

#[test]
fn small_limits_hold_until_a_client_has_authenticated_itself() {
    let many = b"*11\r\n$4\r\nPING\r\n";
    let long = b"*1\r\n$16385\r\n";
    assert_eq!(read(many, usize::MAX, false).1, Err(RequestError::UnauthenticatedCount));
    assert_eq!(read(long, usize::MAX, false).1, Err(RequestError::UnauthenticatedBulkLength));
    assert!(read(many, usize::MAX, true).1.is_ok());
    let mut framer = RequestFramer::new(Limits::default(), false);
    framer.authenticated(true);
    assert!(framer.next(long).is_ok());
}

#[test]
fn a_request_is_bounded_as_a_whole_before_its_bytes_come() {
    let limits = Limits { bulk_bytes: 100, words: 10, request_bytes: 120 };
    let mut framer = RequestFramer::new(limits, true);
    let bytes = [&b"*2\r\n$60\r\n"[..], &[b'x'; 60], b"\r\n$60\r\n"].concat();
    let error = framer.next(&bytes).unwrap_err();
    assert_eq!(error, RequestError::TooBigRequest(120));
    assert_eq!(
        String::from_utf8(error.line()).unwrap(),
        "-ERR Protocol error: too big request, the limit is 120 bytes\r\n"
    );
}
