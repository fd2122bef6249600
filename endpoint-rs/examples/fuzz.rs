//! Throw mutated bytes at both framers, in random pieces, and compare them with the slow framers of
//! `tests/oracle`. Stops at the first difference and shows the bytes.
//!
//! `cargo run --release --no-default-features --example fuzz -- [executions] [seed]`
//!
//! An execution is one input of up to some hundred bytes for one framer. The generator is seeded,
//! so a run can be repeated; the seed is printed.

#![allow(clippy::cast_possible_truncation, reason = "dice")]

#[path = "../tests/oracle/mod.rs"]
mod oracle;

use std::time::Instant;

use everfly_endpoint::command::lookup;
use everfly_endpoint::resp::reply::{Expect, ReplyFramer, TAIL_BYTES_MAX};
use everfly_endpoint::resp::request::{Limits, Request, RequestFramer, Words};
use oracle::Look;

/// A small generator (xorshift64*): runs are repeated by their seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 33) as usize) % limit.max(1)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

const REQUESTS: &[&[u8]] = &[
    b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$10\r\n0123456789\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"PING\r\n",
    b"set a \"b\\x41\\n c\" 'd\\'e'\r\n",
    b"\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*2\r\n$6\r\nclient\r\n$2\r\nid\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"*12\r\n",
    b"$20000\r\n",
    b"get a\n",
];

const REPLIES: &[&[u8]] = &[
    b"+OK\r\n",
    b"-ERR no such thing as this\r\n",
    b"-READONLY You can't write\r\n",
    b":42\r\n",
    b"$5\r\nhello\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"_\r\n",
    b"*3\r\n:1\r\n$1\r\na\r\n*1\r\n+x\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n#t\r\n",
    b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n",
    b"|1\r\n+ttl\r\n:3\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"!7\r\nERR bad\r\n",
    b",1.5\r\n",
    b"(123456789012345678901234567890\r\n",
    b"*2\r\n",
    b"*1\r\n",
    b"$?\r\n",
];

const BYTES: &[u8] = b"\r\n*$+-:%~>|_#,(=!019 \"'\\xa\0\xff";

fn input(dice: &mut Dice, seeds: &[&[u8]], bytes: &mut Vec<u8>) {
    bytes.clear();
    for _ in 0..=dice.below(6) {
        bytes.extend_from_slice(seeds[dice.below(seeds.len())]);
    }
    if dice.one_in(3) {
        return;
    }
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(4) {
            0 if !bytes.is_empty() => bytes[at] = BYTES[dice.below(BYTES.len())],
            1 => bytes.insert(at, BYTES[dice.below(BYTES.len())]),
            2 if !bytes.is_empty() => {
                bytes.remove(at);
            }
            _ => bytes.truncate(at),
        }
    }
}

// A piece of what is left: mostly small, sometimes all of it.
fn piece(dice: &mut Dice, left: usize) -> usize {
    if dice.one_in(4) { left } else { 1 + dice.below(left.min(16)) }
}

fn check_requests(dice: &mut Dice, bytes: &[u8], buffer: &mut Vec<u8>) -> Result<(), String> {
    let is_authenticated = !dice.one_in(4);
    let limits = Limits { bulk_bytes: 30_000, words: 40, request_bytes: 25_000 };
    let slow = oracle::Limits { bulk: 30_000, words: 40, request: 25_000, is_authenticated };
    let mut framer = RequestFramer::new(limits, is_authenticated);
    buffer.clear();
    // How many bytes of the input the framer is done with, and the oracle.
    let (mut fed, mut done, mut judged) = (0, 0, 0);
    while fed < bytes.len() {
        let more = piece(dice, bytes.len() - fed);
        buffer.extend_from_slice(&bytes[fed..fed + more]);
        fed += more;
        loop {
            let found = framer.next(buffer);
            // Blank lines and empty arrays are no requests.
            let expected = loop {
                match oracle::request(&bytes[judged..fed], slow) {
                    Look::Found(words, width) if words.is_empty() => judged += width,
                    other => break other,
                }
            };
            let (found, expected) = match (found, expected) {
                (Err(_), Look::Wrong) => return Ok(()),
                (Ok(found), expected) => (found, expected),
                (Err(error), other) => return Err(format!("{error:?}, but it is {other:?}")),
            };
            done += found.consumed;
            match (&found.request, expected) {
                (None, Look::More) if done == judged => {}
                (Some(request), Look::Found(words, width)) if done == judged + width => {
                    judged += width;
                    check_request(request, &words)?;
                }
                (found, expected) => {
                    return Err(format!("{found:?} up to {done}, but it is {expected:?}"));
                }
            }
            let is_over = found.request.is_none();
            let consumed = found.consumed;
            if framer.is_inside() != (is_over && consumed < buffer.len()) {
                return Err("it is not known whether a request has begun".to_owned());
            }
            buffer.drain(..consumed);
            if is_over {
                break;
            }
        }
    }
    Ok(())
}

fn check_request(request: &Request<'_>, words: &[Vec<u8>]) -> Result<(), String> {
    let found: Vec<&[u8]> = request.words().collect();
    let empty: &[u8] = b"";
    let second = words.get(1).map_or(empty, Vec::as_slice);
    let is_right = found == words
        && request.len() == words.len()
        && request.first() == words[0]
        && request.second() == second
        && Words::of(request.bytes()).len() == words.len()
        && Request::parse(request.bytes()).is_some();
    // Must not panic, whatever the words are.
    let command = lookup(request.first(), request.second());
    if let Some(blocking) = command.blocking {
        let mut out = Vec::new();
        blocking.rewrite(request.bytes(), std::time::Duration::from_millis(1), &mut out);
        if Words::of(&out).len() != words.len() {
            return Err(format!("{found:?} loses words when it is issued again"));
        }
    }
    if is_right { Ok(()) } else { Err(format!("words {found:?}, but they are {words:?}")) }
}

fn check_replies(dice: &mut Dice, bytes: &[u8], buffer: &mut Vec<u8>) -> Result<(), String> {
    let expect = if dice.one_in(3) { Expect::Messages } else { Expect::Replies };
    let mut framer = ReplyFramer::new();
    buffer.clear();
    let (mut fed, mut done, mut begun) = (0, 0, 0);
    while fed < bytes.len() {
        let more = piece(dice, bytes.len() - fed);
        buffer.extend_from_slice(&bytes[fed..fed + more]);
        fed += more;
        loop {
            let expected = oracle::reply(&bytes[begun..fed]);
            match framer.next(buffer, expect) {
                Err(_) if expected == Look::Wrong => return Ok(()),
                Err(error) => return Err(format!("{error}, but it is {expected:?}")),
                Ok(None) if matches!(expected, Look::Found(..)) => {
                    return Err(format!("nothing, but it is {expected:?}"));
                }
                Ok(None) => break,
                Ok(Some(piece)) => {
                    if piece.begins.is_some() != (done == begun) {
                        return Err("a piece begins where none should".to_owned());
                    }
                    done += piece.bytes;
                    buffer.drain(..piece.bytes);
                    match (piece.ends, expected) {
                        (true, Look::Found(_, width)) if done == begun + width => begun = done,
                        // What is wrong may stand behind what is whole already in this piece.
                        (false, Look::More | Look::Wrong) => {}
                        (ends, expected) => {
                            return Err(format!("ends {ends} at {done}, but it is {expected:?}"));
                        }
                    }
                }
            }
        }
        if buffer.len() >= TAIL_BYTES_MAX {
            return Err(format!("{} bytes stay behind", buffer.len()));
        }
    }
    Ok(())
}

type Check = fn(&mut Dice, &[u8], &mut Vec<u8>) -> Result<(), String>;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let executions: u64 = arguments.next().map_or(100_000, |text| text.parse().expect("a number"));
    let seed: u64 = arguments.next().map_or(1, |text| text.parse().expect("a number"));
    println!("{executions} executions for each framer, seed {seed}");
    let framers: [(&str, &[&[u8]], Check); 2] =
        [("request", REQUESTS, check_requests), ("reply", REPLIES, check_replies)];
    for (name, seeds, check) in framers {
        let begun = Instant::now();
        let mut dice = Dice(seed.wrapping_mul(2).wrapping_add(1));
        let (mut bytes, mut buffer) = (Vec::new(), Vec::new());
        for number in 0..executions {
            input(&mut dice, seeds, &mut bytes);
            if let Err(what) = check(&mut dice, &bytes, &mut buffer) {
                println!("{name} framer, execution {number}, seed {seed}: {what}");
                println!("bytes: {}", bytes.escape_ascii());
                std::process::exit(1);
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!("{name} framer: {executions} executions in {seconds:.1} s, no difference");
    }
}
