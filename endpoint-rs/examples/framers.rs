//! Print what the pure half costs for one request and one reply, in nanoseconds.
//!
//! `cargo run --release --no-default-features --example framers`
//!
//! Each figure is the best of many short rounds: what the machine does besides only adds to it.

use std::hint::black_box;
use std::time::Instant;

use everfly_endpoint::command::lookup;
use everfly_endpoint::resp::reply::{Expect, ReplyFramer};
use everfly_endpoint::resp::request::{Limits, RequestFramer};
use everfly_endpoint::session::{Session, Setting, Verdict};

const PIPELINE: usize = 16;
const PASSES: usize = 200;
const ROUNDS: usize = 3_000;

/// Return the best time of one of `units` in `work`, in nanoseconds.
fn best(units: usize, mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..PASSES {
            work();
        }
        let nanoseconds = begun.elapsed().as_secs_f64() * 1e9;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let each = nanoseconds / (PASSES * units) as f64;
        best = best.min(each);
    }
    best
}

fn requests(name: &str, request: &[u8]) {
    let bytes = request.repeat(PIPELINE);
    let bare = best(PIPELINE, || {
        let mut framer = RequestFramer::new(Limits::default(), true);
        let mut rest = black_box(&bytes[..]);
        loop {
            let found = framer.next(rest).unwrap();
            let Some(request) = found.request else { break };
            rest = &rest[found.consumed..];
            black_box(request.first());
        }
    });
    let setting = Setting { term: 1, allows_debug: false, offers_maintenance: false };
    let mut session = Session::new();
    let judged = best(PIPELINE, || {
        let mut framer = RequestFramer::new(Limits::default(), true);
        let mut rest = black_box(&bytes[..]);
        loop {
            let found = framer.next(rest).unwrap();
            let Some(request) = found.request else { break };
            rest = &rest[found.consumed..];
            let command = lookup(request.first(), request.second());
            let verdict = session.judge(command, &request, &setting);
            session.accept(command, &request, &verdict, &setting);
            black_box(matches!(verdict, Verdict::Forward(_)));
        }
    });
    println!("{name:<28} {bare:6.1} ns framed, {judged:6.1} ns with lookup, judge, accept");
}

fn replies(name: &str, reply: &[u8]) {
    let bytes = reply.repeat(PIPELINE);
    let bare = best(PIPELINE, || {
        let mut framer = ReplyFramer::new();
        let mut rest = black_box(&bytes[..]);
        while let Some(piece) = framer.next(rest, Expect::Replies).unwrap() {
            rest = &rest[piece.bytes..];
            black_box(piece.begins);
        }
    });
    println!("{name:<28} {bare:6.1} ns framed");
}

fn main() {
    println!("{PIPELINE} in a row, best of {ROUNDS} rounds:");
    requests("GET, a key of 3 bytes", b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
    requests("SET, 16 and 100 bytes", &set());
    requests("inline PING", b"PING\r\n");
    replies("+OK", b"+OK\r\n");
    replies(":1234", b":1234\r\n");
    replies("bulk of 3 bytes", b"$3\r\nabc\r\n");
    replies("bulk of 100 bytes", &[&b"$100\r\n"[..], &[b'x'; 100], b"\r\n"].concat());
    replies("array of 10 bulks", &[&b"*10\r\n"[..], &b"$3\r\nabc\r\n".repeat(10)].concat());
    replies("error", b"-ERR no such thing\r\n");
    let words: [(&[u8], &[u8]); 4] =
        [(b"GET", b"key"), (b"zrangebyscore", b"key"), (b"CLIENT", b"ID"), (b"NOTHING", b"x")];
    for (first, second) in words {
        let found = best(1, || {
            black_box(lookup(black_box(first), black_box(second)));
        });
        println!("lookup of {:<18} {found:6.1} ns", String::from_utf8_lossy(first));
    }
}

fn set() -> Vec<u8> {
    [&b"*3\r\n$3\r\nSET\r\n$16\r\n0123456789abcdef\r\n$100\r\n"[..], &[b'x'; 100], b"\r\n"].concat()
}
