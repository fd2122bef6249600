//! What is known about commands.

use std::time::Duration;

use everfly_endpoint::command::{Class, Command, Patience, TABLE, UNKNOWN, Verb, lookup};
use everfly_endpoint::resp::encode;
use everfly_endpoint::resp::request::Words;

fn request(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut bytes = Vec::new();
    encode(&mut bytes, words.into_iter());
    bytes
}

fn command(line: &str) -> &'static Command {
    let mut words = line.split(' ').map(str::as_bytes);
    lookup(words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

#[test]
fn every_command_of_the_table_is_found_in_any_case() {
    for known in TABLE {
        for name in [known.name.to_owned(), known.name.to_lowercase()] {
            let (first, second) = name.split_once('|').unwrap_or((&name, "no-such-subcommand"));
            assert_eq!(lookup(first.as_bytes(), second.as_bytes()), known);
        }
    }
}

#[test]
fn other_names_are_unknown_write_and_are_not_shared() {
    for name in ["", "GETT", "GE", "G", "get ", "JSON.", "@LPOP", "GET\0", "CLIENT|ID|X"] {
        let found = lookup(name.as_bytes(), b"");
        assert_eq!(found, &UNKNOWN, "{name}");
    }
    assert_eq!(lookup(&[b'x'; 100], &[b'y'; 100]), &UNKNOWN);
    assert_eq!(lookup(&[0xC7, 0x45, 0x54], b""), &UNKNOWN, "capitals are ASCII's");
    assert!(UNKNOWN.class.has(Class::WRITE) && !UNKNOWN.class.has(Class::SHAREABLE));
}

#[test]
fn the_second_word_decides_only_where_there_are_subcommands() {
    assert_eq!(command("client setname x").verb, Verb::SetName);
    assert_eq!(command("client maint_notifications on").verb, Verb::MaintNotifications);
    assert_eq!(command("client something-new").verb, Verb::ClientOther);
    assert_eq!(command("client").verb, Verb::ClientOther);
    assert_eq!(command("get id").name, "GET");
    assert!(command("cluster failover").class.has(Class::REFUSED));
    assert!(!command("cluster slots").class.has(Class::REFUSED));
    assert!(lookup(b"client", &[b'x'; 100]).verb == Verb::ClientOther);
}

#[test]
fn each_command_reads_or_writes_and_only_plain_ones_are_shared() {
    let alone = Class::BLOCKING
        .and(Class::PUBSUB)
        .and(Class::TRANSACTION)
        .and(Class::WATCH)
        .and(Class::SESSION)
        .and(Class::SCRIPT)
        .and(Class::WAIT)
        .and(Class::REFUSED)
        .and(Class::DEBUG)
        .and(Class::SECRET);
    for known in TABLE {
        let (reads, writes) = (known.class.has(Class::READ), known.class.has(Class::WRITE));
        assert!(reads != writes, "{}", known.name);
        if known.class.has(Class::SHAREABLE) {
            assert!(!known.class.has(alone), "{}", known.name);
            assert_eq!(known.verb, Verb::Plain, "{}", known.name);
        }
        assert_eq!(known.class.has(Class::BLOCKING), known.blocking.is_some(), "{}", known.name);
    }
}

#[test]
fn what_changes_keys_is_never_taken_for_a_read() {
    let writes = "SET GETSET GETDEL GETEX INCR LPUSH RPOP SPOP ZPOPMIN XADD XREADGROUP SORT DEL \
        GEORADIUS BITFIELD EVAL EVALSHA FCALL EXEC PUBLISH FLUSHALL MIGRATE RESTORE COPY RENAME \
        EXPIRE PFADD SINTERSTORE JSON.SET CL.THROTTLE CONFIG ACL MODULE SCRIPT FUNCTION";
    for name in writes.split_whitespace() {
        assert!(command(name).class.has(Class::WRITE), "{name}");
    }
}

#[test]
fn blocking_commands_tell_how_long_they_would_wait() {
    let cases = [
        ("BLPOP a b 1.5", Patience::For(Duration::from_millis(1500))),
        ("brpop a 0", Patience::Forever),
        ("BLPOP a soon", Patience::None),
        ("BLPOP 1", Patience::None),
        ("BRPOPLPUSH a b 2", Patience::For(Duration::from_secs(2))),
        ("BLMOVE a b LEFT RIGHT 3", Patience::For(Duration::from_secs(3))),
        ("BLMPOP 0.25 1 a LEFT", Patience::For(Duration::from_millis(250))),
        ("BZPOPMIN a 1", Patience::For(Duration::from_secs(1))),
        ("BZMPOP 1e1 1 a MIN", Patience::For(Duration::from_secs(10))),
        ("XREAD COUNT 2 block 300 STREAMS a $", Patience::For(Duration::from_millis(300))),
        ("XREAD STREAMS block 0", Patience::None),
        ("XREADGROUP GROUP block 1 BLOCK 0 STREAMS a >", Patience::Forever),
        ("XREADGROUP GROUP g c STREAMS a >", Patience::None),
        ("XREAD BLOCK", Patience::None),
    ];
    for (line, patience) in cases {
        let blocking = command(line).blocking.expect("a blocking command");
        assert_eq!(blocking.patience(&request(line)), patience, "{line}");
    }
}

#[test]
fn a_blocking_request_is_issued_again_for_what_is_left() {
    let cases = [
        ("BLPOP a b 30", "BLPOP a b 1.005"),
        ("BLMPOP 30 1 a LEFT", "BLMPOP 1.005 1 a LEFT"),
        ("XREAD BLOCK 9000 STREAMS a $", "XREAD BLOCK 1005 STREAMS a $"),
        ("XREADGROUP GROUP g c BLOCK 9 STREAMS a >", "XREADGROUP GROUP g c BLOCK 1005 STREAMS a >"),
    ];
    for (line, expected) in cases {
        let mut out = Vec::new();
        let blocking = command(line).blocking.expect("a blocking command");
        blocking.rewrite(&request(line), Duration::from_millis(1005), &mut out);
        assert_eq!(out, request(expected), "{}", out.escape_ascii());
        out.clear();
        blocking.rewrite(&request(line), Duration::ZERO, &mut out);
        let patience = blocking.patience(&out);
        assert_eq!(patience, Patience::For(Duration::from_millis(1)), "0 would mean for ever");
        assert_eq!(Words::of(&out).len(), Words::of(&request(line)).len());
    }
}
