//! What clients are told when the connection behind them is lost.

use everfly_endpoint::command::lookup;
use everfly_endpoint::resp::reply::Kind;
use everfly_endpoint::session::{
    AMBIGUOUS, AMBIGUOUS_READ, Fate, INVALIDATE_ALL, Lost, Mark, Session, ShareKey, Verdict,
};

use crate::caller::{Caller, request};
use crate::instance::{Instance, Mood};
use crate::verdicts::{after, exchange};

/// The fates of these lines, of which the first `written` were written.
fn fates(lines: &[&str], written: usize) -> Vec<Fate> {
    let requests: Vec<Vec<u8>> = lines.iter().map(|line| request(line)).collect();
    let lost: Vec<Lost<'_>> = lines
        .iter()
        .zip(&requests)
        .enumerate()
        .map(|(number, (line, request))| {
            let mut words = line.split(' ').map(str::as_bytes);
            Lost {
                command: lookup(words.next().unwrap(), words.next().unwrap_or_default()),
                mark: Mark::Plain,
                request,
                is_written: number < written,
                is_refused: false,
            }
        })
        .collect();
    let after = Session::new().after_loss(&lost);
    assert_eq!(after.close, None);
    after.fates
}

/// Lose the connection and go on with another instance. Returns what the client was told since.
fn move_on(caller: &mut Caller, written: usize) -> (Vec<String>, Instance) {
    let told = caller.told.len();
    let (mut instance, mut log) = (Instance::new(), Vec::new());
    caller.lose(written);
    assert_eq!(caller.is_closed, None);
    caller.restore(&mut instance, &mut log);
    while caller.serve(&mut instance, &mut log) {}
    while caller.read() {}
    let lines =
        caller.told[told..].iter().map(|told| String::from_utf8(told.1.clone()).unwrap()).collect();
    (lines, instance)
}

#[test]
fn reads_are_repeated_and_writes_that_were_written_are_ambiguous() {
    assert_eq!(fates(&["GET a"], 1), [Fate::Again]);
    assert_eq!(fates(&["SET a b"], 1), [Fate::Ambiguous(AMBIGUOUS)]);
    assert_eq!(fates(&["NO.SUCH x"], 1), [Fate::Ambiguous(AMBIGUOUS)]);
    assert_eq!(fates(&["BLPOP a 0"], 1), [Fate::Ambiguous(AMBIGUOUS)]);
    assert_eq!(fates(&["XREAD BLOCK 0 STREAMS a $"], 1), [Fate::Again]);
    assert_eq!(fates(&["EVAL_RO s 0"], 1), [Fate::Again]);
}

#[test]
fn what_was_not_written_to_its_end_is_sent_again() {
    assert_eq!(fates(&["SET a b", "BLPOP a 0"], 0), [Fate::Again, Fate::Again]);
    assert_eq!(fates(&["INCR a", "INCR a"], 1), [Fate::Ambiguous(AMBIGUOUS), Fate::Again]);
}

#[test]
fn a_read_before_a_write_that_may_have_run_is_not_repeated() {
    // Repeated, it could tell of the later write.
    assert_eq!(
        fates(&["GET a", "SET a b", "GET a"], 3),
        [Fate::Ambiguous(AMBIGUOUS_READ), Fate::Ambiguous(AMBIGUOUS), Fate::Again]
    );
}

#[test]
fn changes_of_the_session_are_repeated_whatever_comes_later() {
    assert_eq!(fates(&["SELECT 3", "SET a b"], 2), [Fate::Again, Fate::Ambiguous(AMBIGUOUS)]);
}

#[test]
fn a_wait_is_never_repeated_and_promises_nothing() {
    assert_eq!(fates(&["WAIT 1 0"], 1), [Fate::Answer((&b":0\r\n"[..]).into())]);
    assert_eq!(fates(&["WAITAOF 1 1 0"], 1), [Fate::Answer((&b"*2\r\n:0\r\n:0\r\n"[..]).into())]);
}

#[test]
fn refused_requests_are_repeated_in_order_and_the_client_sees_nothing_of_it() {
    let (mut caller, mut instance) = after(&["SELECT 3"]);
    instance.mood = Mood::Loading;
    for line in ["INCR a", "INCR b", "GET a"] {
        caller.send(line);
    }
    let mut log = Vec::new();
    while caller.serve(&mut instance, &mut log) {}
    while caller.read() {}
    assert_eq!(caller.told.len(), 1, "the refusals are kept back");
    let (told, instance) = move_on(&mut caller, 0);
    assert_eq!(told, [":1\r\n", ":2\r\n", ":3\r\n"]);
    assert_eq!(instance.setup.database, 3);
}

#[test]
fn a_refused_request_is_not_made_up_for_once_a_later_one_was_executed() {
    let (mut caller, mut instance) = after(&[]);
    instance.mood = Mood::Loading;
    caller.send("INCR a");
    caller.send("INCR b");
    let mut log = Vec::new();
    caller.serve(&mut instance, &mut log);
    instance.mood = Mood::Serves;
    caller.serve(&mut instance, &mut log);
    while caller.read() {}
    assert!(caller.told[0].1.starts_with(b"-LOADING"));
    assert_eq!(caller.told[1].1, b":1\r\n");
    assert_eq!(log, ["INCR b"]);
}

#[test]
fn a_refused_request_before_one_that_may_have_run_is_answered_with_its_refusal() {
    let (mut caller, mut instance) = after(&[]);
    instance.mood = Mood::ReadOnly;
    caller.send("INCR a");
    caller.send("INCR b");
    caller.serve(&mut instance, &mut Vec::new());
    caller.read();
    let (told, _) = move_on(&mut caller, 1);
    assert!(told[0].starts_with("-READONLY"), "{told:?}");
    assert!(told[1].starts_with("-AMBIGUOUS"), "{told:?}");
}

#[test]
fn a_transaction_without_exec_moves_whole() {
    let (mut caller, _) = after(&["MULTI", "INCR a"]);
    caller.send("INCR b");
    let (told, mut instance) = move_on(&mut caller, 1);
    assert_eq!(told, ["+QUEUED\r\n"]);
    assert_eq!(exchange(&mut caller, &mut instance, "EXEC"), "*2\r\n:1\r\n:2\r\n");
}

#[test]
fn a_transaction_that_has_failed_fails_after_the_move_too() {
    let (mut caller, _) = after(&["MULTI", "INCR a", "NOPE x"]);
    let (_, mut instance) = move_on(&mut caller, 0);
    let told = exchange(&mut caller, &mut instance, "EXEC");
    assert!(told.starts_with("-EXECABORT"), "{told}");
}

#[test]
fn an_exec_without_an_answer_is_ambiguous() {
    let (mut caller, _) = after(&["MULTI", "INCR a"]);
    caller.send("INCR b");
    caller.send("EXEC");
    let (told, instance) = move_on(&mut caller, 2);
    assert_eq!(told, ["+QUEUED\r\n", std::str::from_utf8(AMBIGUOUS).unwrap()]);
    assert_eq!(instance.setup.queue, None);
    assert!(caller.session.share_key().is_some());
}

#[test]
fn an_exec_that_was_not_written_is_sent_with_its_whole_transaction() {
    let (mut caller, _) = after(&["MULTI", "INCR a", "DISCARD"]);
    for line in ["MULTI", "INCR a", "EXEC"] {
        caller.send(line);
    }
    let (told, _) = move_on(&mut caller, 1);
    assert_eq!(told, ["+OK\r\n", "+QUEUED\r\n", "*1\r\n:1\r\n"]);
}

#[test]
fn exec_answers_null_when_what_was_watched_is_on_another_instance() {
    for (hello, null) in [("HELLO 2", "*-1\r\n"), ("HELLO 3", "_\r\n")] {
        let (mut caller, _) = after(&[hello, "WATCH a"]);
        let (_, mut instance) = move_on(&mut caller, 0);
        assert_eq!(exchange(&mut caller, &mut instance, "GET a"), ":1\r\n");
        assert_eq!(exchange(&mut caller, &mut instance, "MULTI"), "+OK\r\n");
        assert_eq!(exchange(&mut caller, &mut instance, "INCR a"), "+QUEUED\r\n");
        let nested = exchange(&mut caller, &mut instance, "MULTI");
        assert!(nested.starts_with("-ERR MULTI calls"), "{nested}");
        assert_eq!(exchange(&mut caller, &mut instance, "EXEC"), null);
        assert_eq!(instance.setup.queue, None, "the instance was not asked");
        assert!(caller.session.share_key().is_some(), "it is a plain session again");
        exchange(&mut caller, &mut instance, "MULTI");
        assert_eq!(exchange(&mut caller, &mut instance, "EXEC"), "*0\r\n");
    }
}

#[test]
fn a_transaction_after_watch_is_not_repeated_but_answers_null() {
    let (mut caller, _) = after(&["WATCH a", "MULTI", "INCR a"]);
    caller.send("INCR b");
    let (told, mut instance) = move_on(&mut caller, 1);
    assert_eq!(told, ["+QUEUED\r\n"]);
    assert_eq!(instance.setup.queue, None);
    assert_eq!(exchange(&mut caller, &mut instance, "EXEC"), "*-1\r\n");
}

#[test]
fn an_exec_after_watch_without_an_answer_is_ambiguous_all_the_same() {
    let (mut caller, _) = after(&["WATCH a", "MULTI", "INCR a"]);
    caller.send("EXEC");
    let (told, _) = move_on(&mut caller, 1);
    assert!(told[0].starts_with("-AMBIGUOUS"), "{told:?}");
}

#[test]
fn unwatch_and_discard_make_the_client_forget_what_it_watched() {
    for end in ["UNWATCH", "DISCARD"] {
        let (mut caller, _) = after(&["WATCH a"]);
        let (_, mut instance) = move_on(&mut caller, 0);
        if end == "DISCARD" {
            exchange(&mut caller, &mut instance, "MULTI");
        }
        assert_eq!(exchange(&mut caller, &mut instance, end), "+OK\r\n");
        exchange(&mut caller, &mut instance, "MULTI");
        assert_eq!(exchange(&mut caller, &mut instance, "EXEC"), "*0\r\n");
    }
}

#[test]
fn a_transaction_that_is_too_long_to_keep_fails_unexecuted() {
    let (mut caller, _) = after(&["MULTI", &format!("SET a {}", "x".repeat(1024 * 1024))]);
    let (_, mut instance) = move_on(&mut caller, 0);
    assert_eq!(exchange(&mut caller, &mut instance, "SET b c"), "+QUEUED\r\n");
    let told = exchange(&mut caller, &mut instance, "EXEC");
    assert!(told.starts_with("-EXECABORT") && told.contains("longer than everfly keeps"), "{told}");
}

#[test]
fn a_transaction_of_which_it_is_not_known_whether_it_had_begun_is_ambiguous() {
    // If its MULTI was refused, what follows was executed at once and not queued.
    for end in ["EXEC", "DISCARD"] {
        let mut caller = Caller::new();
        for line in ["GET a", "MULTI", "INCR a"] {
            caller.send(line);
        }
        let (told, mut instance) = move_on(&mut caller, 3);
        assert_eq!(told[0], std::str::from_utf8(AMBIGUOUS_READ).unwrap());
        assert_eq!(told[1..], ["+OK\r\n", "+QUEUED\r\n"]);
        assert!(exchange(&mut caller, &mut instance, end).starts_with("-AMBIGUOUS"));
        assert!(caller.session.share_key().is_some());
    }
}

#[test]
fn what_a_transaction_does_to_the_connection_cannot_be_brought_back() {
    let (mut caller, _) = after(&["MULTI", "SELECT 3"]);
    caller.lose(0);
    assert!(caller.is_closed.is_some());
}

#[test]
fn subscriptions_come_back_without_a_word_to_the_client() {
    let (mut caller, _) = after(&["SUBSCRIBE a b", "PSUBSCRIBE p*", "UNSUBSCRIBE a"]);
    let (told, instance) = move_on(&mut caller, 0);
    assert!(told.is_empty(), "{told:?}");
    assert!(instance.setup.subscriptions[0].contains("b"));
    assert!(!instance.setup.subscriptions[0].contains("a"));
    assert!(instance.setup.subscriptions[1].contains("p*"));
}

#[test]
fn a_subscription_that_was_confirmed_in_part_is_confirmed_to_its_end() {
    let (mut caller, mut instance) = after(&[]);
    caller.send("SUBSCRIBE a b c");
    caller.serve(&mut instance, &mut Vec::new());
    caller.read();
    let (told, instance) = move_on(&mut caller, 0);
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("\r\nb\r\n") && told[1].contains("\r\nc\r\n"), "{told:?}");
    assert_eq!(instance.setup.subscriptions[0].len(), 3);
}

#[test]
fn a_client_that_was_unsubscribed_from_a_part_of_all_is_closed() {
    let (mut caller, mut instance) = after(&["SUBSCRIBE a b c"]);
    caller.send("UNSUBSCRIBE");
    caller.serve(&mut instance, &mut Vec::new());
    caller.read();
    caller.lose(0);
    assert!(caller.is_closed.is_some());
}

#[test]
fn what_a_tracking_client_has_cached_is_outdated_after_a_move() {
    let (caller, _) = after(&["HELLO 3", "CLIENT TRACKING ON OPTIN"]);
    assert_eq!(caller.session.news_after_restore(), Some(INVALIDATE_ALL));
    let (caller, _) = after(&["HELLO 3", "CLIENT TRACKING ON", "CLIENT TRACKING OFF"]);
    assert_eq!(caller.session.news_after_restore(), None);
}

#[test]
fn tracking_through_another_connection_cannot_be_brought_back() {
    let (mut caller, _) = after(&["CLIENT TRACKING ON REDIRECT 7"]);
    caller.lose(0);
    assert!(caller.is_closed.is_some());
}

#[test]
fn a_silent_client_is_told_nothing_of_a_loss() {
    let (mut caller, _) = after(&["CLIENT REPLY OFF"]);
    caller.send("INCR a");
    caller.send("WAIT 1 0");
    caller.lose(2);
    let told: Vec<&[u8]> = caller.told.iter().skip(1).map(|told| &told.1[..]).collect();
    assert_eq!(told, [&b""[..], b""]);
}

#[test]
fn a_session_counts_on_what_it_sends_again() {
    let (mut caller, _) = after(&[]);
    caller.send("SELECT 3");
    let (told, _) = move_on(&mut caller, 1);
    assert_eq!(told, ["+OK\r\n"]);
    assert!(caller.session.share_key().is_some(), "nothing is unanswered");
    let Verdict::Forward(forward) = caller.verdict("GET a") else { panic!() };
    assert_eq!(forward.mark, Mark::Plain);
}

#[test]
fn a_reset_leaves_a_new_session() {
    let (mut caller, mut instance) = after(&["HELLO 3 AUTH bob pw", "SELECT 3", "SUBSCRIBE a"]);
    exchange(&mut caller, &mut instance, "MULTI");
    assert_eq!(exchange(&mut caller, &mut instance, "RESET"), "+RESET\r\n");
    assert_eq!(caller.session.share_key(), Some(ShareKey::default()));
    assert!(!caller.session.is_engaged() && !caller.session.is_resp3());
}

#[test]
fn an_unknown_setting_of_the_connection_keeps_it() {
    let (mut caller, mut instance) = after(&[]);
    exchange(&mut caller, &mut instance, "CLIENT SOMETHING-NEW ON");
    assert!(caller.session.needs_own());
    let mut session = Session::new();
    let other = lookup(b"CLIENT", b"NEW");
    session.on_reply(
        other,
        Mark::Seen,
        &request("CLIENT NEW"),
        Kind::Error(everfly_endpoint::resp::reply::ErrorKind::Other),
    );
    assert!(!session.needs_own());
}
