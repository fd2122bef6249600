//! What is done with requests, by what the session is.

use everfly_endpoint::command::{Class, TABLE, lookup};
use everfly_endpoint::resp::reply::Kind;
use everfly_endpoint::resp::request::{Limits, Request, RequestFramer};
use everfly_endpoint::session::{
    Answer, Forward, Mark, Outcome, Route, Session, ShareKey, Verdict, outcome,
};

use crate::caller::{Caller, request};
use crate::instance::{Instance, text_of};

/// A caller that has sent these lines to a living instance and has been answered.
pub fn after(lines: &[&str]) -> (Caller, Instance) {
    let (mut caller, mut instance) = (Caller::new(), Instance::new());
    for line in lines {
        exchange(&mut caller, &mut instance, line);
    }
    (caller, instance)
}

/// Send a line, let it be executed and read the replies. Returns the last of them.
pub fn exchange(caller: &mut Caller, instance: &mut Instance, line: &str) -> String {
    caller.send(line);
    while caller.serve(instance, &mut Vec::new()) {}
    while caller.read() {}
    let told = caller.told.last().map(|told| told.1.clone()).unwrap_or_default();
    String::from_utf8(told).unwrap()
}

fn route(caller: &Caller, line: &str) -> Route {
    match caller.verdict(line) {
        Verdict::Forward(forward) => forward.route,
        Verdict::Answer(answer) => panic!("{line} is answered: {answer:?}"),
    }
}

fn answer(caller: &Caller, line: &str) -> String {
    match caller.verdict(line) {
        Verdict::Answer(Answer { line, closes: false }) => {
            String::from_utf8(line.to_vec()).unwrap()
        }
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn plain_commands_of_a_plain_session_are_shared_and_need_no_look_at_the_reply() {
    let caller = Caller::new();
    for line in ["GET a", "set a b", "PING", "MGET a b", "INCR a", "PUBLISH c m"] {
        let plain =
            Forward { route: Route::Shared, mark: Mark::Plain, instead: None, before: None };
        assert_eq!(caller.verdict(line), Verdict::Forward(plain), "{line}");
    }
}

#[test]
fn what_keeps_state_blocks_or_takes_long_gets_a_connection_of_its_own() {
    let caller = Caller::new();
    let lines = [
        "MULTI",
        "WATCH a",
        "SUBSCRIBE c",
        "BLPOP a 0",
        "XREAD BLOCK 0 STREAMS a $",
        "SELECT 1",
        "AUTH p",
        "HELLO 3",
        "CLIENT ID",
        "CLIENT LIST",
        "EVAL script 0",
        "KEYS *",
        "FLUSHALL",
        "WAIT 1 0",
        "NO.SUCH.COMMAND",
        "CLIENT TRACKING ON",
        "RESET",
    ];
    for line in lines {
        assert_eq!(route(&caller, line), Route::Own, "{line}");
    }
}

#[test]
fn long_requests_are_not_shared() {
    let caller = Caller::new();
    let long = format!("SET a {}", "x".repeat(64 * 1024));
    let many = format!("DEL{}", " k".repeat(1024));
    assert_eq!(route(&caller, &long), Route::Own);
    assert_eq!(route(&caller, &many), Route::Own);
}

#[test]
fn nothing_is_shared_while_a_change_of_the_session_is_not_answered() {
    let mut caller = Caller::new();
    caller.send("SELECT 1");
    assert_eq!(route(&caller, "GET a"), Route::Own);
    assert_eq!(caller.session.share_key(), None);
    let mut instance = Instance::new();
    caller.serve(&mut instance, &mut Vec::new());
    caller.read();
    assert_eq!(route(&caller, "GET a"), Route::Shared);
}

#[test]
fn sessions_that_are_set_up_alike_share() {
    let key = |lines: &[&str]| after(lines).0.session.share_key().expect("a plain session");
    assert_eq!(key(&[]), ShareKey::default());
    assert_eq!(key(&["SELECT 3", "SELECT 0"]), key(&[]));
    let setups: [&[&str]; 8] = [
        &[],
        &["HELLO 3"],
        &["AUTH secret"],
        &["AUTH other"],
        &["AUTH bob secret"],
        &["SELECT 3"],
        &["CLIENT SETNAME me"],
        &["CLIENT SETINFO LIB-NAME lib"],
    ];
    for (one, lines) in setups.iter().enumerate() {
        for (other, others) in setups.iter().enumerate() {
            assert_eq!(key(lines) == key(others), one == other, "{lines:?} {others:?}");
        }
    }
}

#[test]
fn what_the_instance_refused_changes_nothing() {
    let (caller, _) = after(&["AUTH wrong", "SELECT 99"]);
    assert_eq!(caller.session.share_key(), Some(ShareKey::default()));
    assert!(!caller.session.is_authenticated());
}

#[test]
fn a_session_is_brought_back_with_all_it_was_set_up_as() {
    let (caller, _) = after(&[
        "HELLO 3 AUTH bob pw",
        "CLIENT SETNAME me",
        "CLIENT SETINFO LIB-NAME lib",
        "CLIENT SETINFO LIB-VER 7",
        "SELECT 5",
        "CLIENT NO-EVICT ON",
        "CLIENT NO-TOUCH ON",
        "READONLY",
        "CLIENT TRACKING ON BCAST",
        "SUBSCRIBE a b",
        "PSUBSCRIBE p*",
    ]);
    let restore = caller.session.restore();
    let mut lines = Vec::new();
    let mut rest = &restore.bytes[..];
    let mut framer = RequestFramer::new(Limits::default(), true);
    while let Some(request) = framer.next(rest).unwrap().request {
        lines.push(text_of(request.bytes()));
        rest = &rest[request.bytes().len()..];
    }
    assert_eq!(
        lines,
        [
            "HELLO 3 AUTH bob pw",
            "CLIENT SETNAME me",
            "CLIENT SETINFO LIB-NAME lib",
            "CLIENT SETINFO LIB-VER 7",
            "SELECT 5",
            "CLIENT NO-EVICT ON",
            "CLIENT NO-TOUCH ON",
            "READONLY",
            "CLIENT TRACKING ON BCAST",
            "SUBSCRIBE a b",
            "PSUBSCRIBE p*",
        ]
    );
    assert_eq!(restore.replies, 12, "each channel is confirmed");
}

#[test]
fn passwords_are_not_shown() {
    let (caller, _) = after(&["HELLO 3 AUTH bob hunter2"]);
    let key = caller.session.share_key();
    let shown = format!("{:?} {key:?} {:?}", caller.session, caller.session.restore());
    assert!(shown.contains("bob") || shown.contains("98, 111, 98"), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117, 110"), "{shown}");
}

#[test]
fn a_step_of_a_restore_fails_by_what_the_instance_says() {
    let (caller, _) = after(&["AUTH secret"]);
    let restore = caller.session.restore();
    let kind = |line: &[u8]| Kind::Error(everfly_endpoint::resp::reply::ErrorKind::of(line));
    assert_eq!(outcome(&restore, true, Kind::Simple), Outcome::Done);
    assert_eq!(outcome(&restore, true, kind(b"-LOADING x")), Outcome::NotNow);
    assert_eq!(outcome(&restore, true, kind(b"-WRONGPASS x")), Outcome::Never);
}

#[test]
fn what_belongs_to_those_who_keep_the_store_is_refused() {
    let caller = Caller::new();
    for known in TABLE.iter().filter(|known| known.class.has(Class::REFUSED)) {
        if known.name == "POST" || known.name == "HOST:" {
            continue;
        }
        let line = known.name.replace('|', " ");
        assert_eq!(
            answer(&caller, &line),
            format!(
                "-ERR everfly: {line} is not available through the endpoint; send it to the \
                instance itself\r\n"
            )
        );
    }
}

#[test]
fn debug_passes_only_where_it_is_allowed() {
    let mut caller = Caller::new();
    assert!(answer(&caller, "DEBUG SLEEP 1").starts_with("-ERR everfly: DEBUG"));
    caller.setting.allows_debug = true;
    assert_eq!(route(&caller, "DEBUG SLEEP 1"), Route::Own);
}

#[test]
fn quit_and_what_browsers_send_close_the_connection() {
    let caller = Caller::new();
    let closes = |line: &'static [u8]| Verdict::Answer(Answer { line: line.into(), closes: true });
    assert_eq!(caller.verdict("quit"), closes(b"+OK\r\n"));
    assert_eq!(caller.verdict("POST / HTTP/1.1"), closes(b""));
    assert_eq!(caller.verdict("Host: localhost"), closes(b""));
}

#[test]
fn replies_are_dropped_here_and_not_by_the_instance() {
    let (mut caller, mut instance) = (Caller::new(), Instance::new());
    assert_eq!(exchange(&mut caller, &mut instance, "CLIENT REPLY OFF"), "");
    assert_eq!(exchange(&mut caller, &mut instance, "GET a"), "");
    assert_eq!(exchange(&mut caller, &mut instance, "MONITOR"), "");
    assert_eq!(exchange(&mut caller, &mut instance, "SELECT 3"), "");
    assert_eq!(exchange(&mut caller, &mut instance, "CLIENT REPLY ON"), "+OK\r\n");
    assert_eq!(instance.setup.database, 3);
    assert_eq!(exchange(&mut caller, &mut instance, "CLIENT REPLY SKIP"), "");
    assert_eq!(exchange(&mut caller, &mut instance, "GET a"), "");
    assert_eq!(exchange(&mut caller, &mut instance, "GET b"), ":1\r\n");
    assert_eq!(exchange(&mut caller, &mut instance, "CLIENT REPLY MAYBE"), "-ERR syntax error\r\n");
    exchange(&mut caller, &mut instance, "CLIENT REPLY OFF");
    assert_eq!(exchange(&mut caller, &mut instance, "RESET"), "+RESET\r\n");
    assert_eq!(exchange(&mut caller, &mut instance, "GET a"), ":1\r\n");
}

#[test]
fn a_command_that_is_impossible_in_a_transaction_makes_it_fail() {
    let (mut caller, mut instance) = after(&["MULTI", "INCR a"]);
    for line in ["MONITOR", "SUBSCRIBE c", "CLIENT REPLY OFF"] {
        let told = exchange(&mut caller, &mut instance, line);
        assert!(told.starts_with("-ERR everfly: ") && told.contains("transaction"), "{told}");
    }
    let told = exchange(&mut caller, &mut instance, "EXEC");
    assert!(told.starts_with("-EXECABORT"), "{told}");
    assert_eq!(route(&caller, "GET a"), Route::Shared);
}

#[test]
fn wait_is_sent_behind_a_command_that_lets_it_count_all_earlier_writes() {
    let mut caller = Caller::new();
    caller.send("SET a b");
    let Verdict::Forward(forward) = caller.verdict("WAIT 1 100") else { panic!() };
    assert_eq!(forward.before, Some(&b"*1\r\n$4\r\nPING\r\n"[..]));
    assert_eq!(forward.route, Route::Own);
}

#[test]
fn wait_promises_nothing_of_writes_that_went_to_an_earlier_primary() {
    let mut caller = Caller::new();
    caller.send("SET a b");
    caller.setting.term = 2;
    assert_eq!(answer(&caller, "WAIT 1 100"), ":0\r\n");
    assert_eq!(answer(&caller, "WAITAOF 1 1 100"), "*2\r\n:0\r\n:0\r\n");
    caller.send("GET a");
    assert_eq!(answer(&caller, "WAIT 1 100"), ":0\r\n");
    caller.send("SET a c");
    assert_eq!(route(&caller, "WAIT 1 100"), Route::Own);
}

#[test]
fn who_never_wrote_may_wait() {
    assert_eq!(route(&Caller::new(), "WAIT 0 0"), Route::Own);
}

#[test]
fn a_connection_that_others_can_name_is_kept() {
    let mut caller = Caller::new();
    caller.send("CLIENT ID");
    let id = lookup(b"CLIENT", b"ID");
    caller.session.on_reply(id, Mark::Seen, &request("CLIENT ID"), Kind::Integer);
    assert_eq!(caller.session.share_key(), None);
}

#[test]
fn notices_of_maintenance_are_the_endpoints_own() {
    let (mut caller, mut instance) = after(&["HELLO 3"]);
    let wish = "CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type external-ip";
    assert_eq!(exchange(&mut caller, &mut instance, wish), "+OK\r\n");
    assert_eq!(caller.session.maintenance(), Some(&b"external-ip"[..]));
    assert_eq!(route(&caller, "GET a"), Route::Shared);
    exchange(&mut caller, &mut instance, "CLIENT MAINT_NOTIFICATIONS OFF");
    assert_eq!(caller.session.maintenance(), None);
    assert_eq!(answer(&caller, "CLIENT MAINT_NOTIFICATIONS PERHAPS"), "-ERR syntax error\r\n");
    caller.setting.offers_maintenance = false;
    assert!(answer(&caller, wish).starts_with("-ERR unknown subcommand 'MAINT_NOTIFICATIONS'"));
}

#[test]
fn notices_of_maintenance_need_resp3() {
    let (caller, _) = after(&["CLIENT MAINT_NOTIFICATIONS ON"]);
    assert_eq!(caller.session.maintenance(), None);
}

#[test]
fn more_than_is_kept_is_refused() {
    let (mut caller, mut instance) = (Caller::new(), Instance::new());
    let name = "x".repeat(400_000);
    for number in 0..2 {
        exchange(&mut caller, &mut instance, &format!("SUBSCRIBE {number}{name}"));
    }
    let told = answer(&caller, &format!("SUBSCRIBE 3{name}"));
    assert!(told.contains("more than 1048576 bytes"), "{told}");
    exchange(&mut caller, &mut instance, &format!("UNSUBSCRIBE 1{name}"));
    assert_eq!(route(&caller, &format!("SUBSCRIBE 3{name}")), Route::Own);
    exchange(&mut caller, &mut instance, "UNSUBSCRIBE");
    let told = answer(&caller, &format!("CLIENT SETNAME {name}"));
    assert!(told.contains("more than 65536 bytes"), "{told}");
}

#[test]
fn subscriptions_of_many_channels_are_confirmed_in_linear_time() {
    let (mut caller, mut instance) = (Caller::new(), Instance::new());
    let names: Vec<String> = (0..50_000).map(|number| number.to_string()).collect();
    exchange(&mut caller, &mut instance, &format!("SUBSCRIBE {}", names.join(" ")));
    assert!(caller.session.is_subscribed());
    assert_eq!(caller.session.restore().replies, 50_000);
    exchange(&mut caller, &mut instance, "UNSUBSCRIBE");
    assert!(!caller.session.is_subscribed() && !caller.session.needs_own());
}

#[test]
fn a_hello_that_failed_in_part_leaves_a_session_that_cannot_be_brought_back() {
    let mut session = Session::new();
    let bytes = request("HELLO 3 AUTH bob pw SETNAME bad");
    let hello = lookup(b"HELLO", b"3");
    let setting = Caller::new().setting;
    let parsed = Request::parse(&bytes).unwrap();
    let verdict = session.judge(hello, &parsed, &setting);
    session.accept(hello, &parsed, &verdict, &setting);
    let error = everfly_endpoint::resp::reply::ErrorKind::Other;
    session.on_reply(hello, Mark::Seen, &bytes, Kind::Error(error));
    assert!(session.share_key().is_none());
    assert!(session.after_loss(&[]).close.is_some());
}

#[test]
fn a_transaction_that_lacks_a_command_for_want_of_a_primary_fails() {
    const ERROR: &[u8] = b"-LOADING everfly: no primary within 10 ms, try again\r\n";
    let (mut caller, _) = after(&["MULTI", "INCR a"]);
    let line = caller.session.refuse(lookup(b"INCR", b"b"), ERROR);
    assert_eq!(&line[..], ERROR);
    let (mut instance, mut log) = (Instance::new(), Vec::new());
    caller.lose(0);
    caller.restore(&mut instance, &mut log);
    let told = exchange(&mut caller, &mut instance, "EXEC");
    assert!(told.starts_with("-EXECABORT"), "{told}");
}

#[test]
fn an_exec_for_want_of_a_primary_ends_the_transaction() {
    const ERROR: &[u8] = b"-LOADING everfly: no primary within 10 ms, try again\r\n";
    let (mut caller, _) = after(&["MULTI", "INCR a"]);
    let line = caller.session.refuse(lookup(b"EXEC", b""), ERROR);
    assert_eq!(
        std::str::from_utf8(&line).unwrap(),
        "-EXECABORT Transaction discarded because of: LOADING everfly: no primary within 10 ms, \
        try again\r\n"
    );
    assert!(!caller.session.is_in_transaction());
    assert_eq!(caller.session.restore().replies, 0);
}
