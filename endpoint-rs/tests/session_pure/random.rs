//! Whatever a client sends and wherever its connections are lost: it is told the truth, in order,
//! and its session is what it was told that it is.

use std::collections::BTreeMap;

use everfly_endpoint::command::{Class, Verb, lookup};
use proptest::prelude::*;

use crate::caller::{Caller, request};
use crate::instance::{Instance, Mood};

#[derive(Clone, Debug)]
enum Step {
    Send(&'static str),
    Serve,
    Read,
    Turn(Mood),
    /// So many requests that the instance has not read were written to it.
    Lose(usize),
}

const LINES: &[(u32, &str)] = &[
    (14, "INCR w"),
    (10, "GET r"),
    (1, "NOPE x"),
    (8, "MULTI"),
    (8, "EXEC"),
    (2, "DISCARD"),
    (4, "WATCH k"),
    (1, "UNWATCH"),
    (1, "MONITOR"),
    (2, "SELECT 3"),
    (1, "SELECT 99"),
    (1, "AUTH secret"),
    (1, "AUTH wrong"),
    (1, "HELLO 3 AUTH bob pw"),
    (1, "HELLO 2"),
    (1, "CLIENT SETNAME me"),
    (1, "CLIENT SETINFO LIB-NAME lib"),
    (1, "CLIENT SETINFO LIB-VER 7"),
    (1, "CLIENT NO-EVICT ON"),
    (1, "CLIENT NO-EVICT OFF"),
    (1, "CLIENT NO-TOUCH ON"),
    (1, "READONLY"),
    (1, "READWRITE"),
    (1, "CLIENT TRACKING ON BCAST"),
    (1, "CLIENT TRACKING OFF"),
    (1, "RESET"),
    (2, "SUBSCRIBE a b c"),
    (1, "SUBSCRIBE d"),
    (2, "UNSUBSCRIBE a d"),
    (1, "UNSUBSCRIBE"),
    (1, "PSUBSCRIBE p* q*"),
    (1, "PUNSUBSCRIBE"),
    (1, "SSUBSCRIBE s"),
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lines: Vec<(u32, Just<&'static str>)> =
        LINES.iter().map(|(weight, line)| (*weight, Just(*line))).collect();
    let step = prop_oneof![
        10 => proptest::strategy::Union::new_weighted(lines).prop_map(Step::Send),
        8 => Just(Step::Serve),
        8 => Just(Step::Read),
        1 => prop_oneof![
            2 => Just(Mood::Serves),
            1 => Just(Mood::Loading),
            1 => Just(Mood::ReadOnly),
        ].prop_map(Step::Turn),
        2 => (0_usize..4).prop_map(Step::Lose),
    ];
    prop::collection::vec(step, 0..120)
}

/// One run: a client, the instance of the moment, and what all instances executed.
struct Run {
    caller: Caller,
    instance: Instance,
    denies_multi: bool,
    log: Vec<String>,
    /// The generation of the instance that executed each entry of the log.
    places: Vec<usize>,
    generation: usize,
    lines: Vec<String>,
    /// Where each WATCH was answered.
    watched_at: BTreeMap<usize, usize>,
}

impl Run {
    fn new(denies_multi: bool) -> Self {
        let mut run = Self {
            caller: Caller::new(),
            instance: Instance::new(),
            denies_multi,
            log: Vec::new(),
            places: Vec::new(),
            generation: 0,
            lines: Vec::new(),
            watched_at: BTreeMap::new(),
        };
        run.instance.denies_multi = denies_multi;
        run
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Send(line) => {
                // What is written has a name of its own, to be found again in the log.
                let is_named = line.ends_with(" w") || line.ends_with(" r");
                let line =
                    if is_named { format!("{line}{}", self.lines.len()) } else { (*line).into() };
                self.caller.send(&line);
                self.lines.push(line);
            }
            Step::Serve => {
                self.caller.serve(&mut self.instance, &mut self.log);
                self.places.resize(self.log.len(), self.generation);
            }
            Step::Read => {
                let told = self.caller.told.len();
                self.caller.read();
                for (number, line) in &self.caller.told[told..] {
                    if self.lines[*number].starts_with("WATCH") && line == b"+OK\r\n" {
                        self.watched_at.insert(*number, self.generation);
                    }
                }
            }
            Step::Turn(mood) => self.instance.mood = *mood,
            Step::Lose(written) => self.lose(*written),
        }
    }

    fn lose(&mut self, written: usize) {
        // Requests that were written may be executed before the end, their replies never seen.
        for _ in 0..written.min(2) {
            self.step(&Step::Serve);
        }
        self.caller.lose(written);
        self.generation += 1;
        self.instance = Instance::new();
        if self.caller.is_closed.is_none() {
            self.caller.restore(&mut self.instance, &mut self.log);
        }
        self.instance.denies_multi = self.denies_multi;
    }

    fn finish(&mut self) {
        self.lose(0);
        self.answer_all();
        if self.caller.session.is_in_transaction() && self.instance.setup.queue.is_none() {
            // One that only the session knows of: its end tells what became of it.
            self.step(&Step::Send("EXEC"));
            self.answer_all();
        }
    }

    fn answer_all(&mut self) {
        while self.caller.is_closed.is_none() && !self.caller.waiting.is_empty() {
            self.step(&Step::Serve);
            while !self.caller.replies.is_empty() {
                self.step(&Step::Read);
            }
        }
    }
}

/// What the client knows after it was told everything.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Belief {
    Done,
    NotDone,
    Unknown,
}

fn belief_of(told: &[u8]) -> Belief {
    match told {
        _ if told.starts_with(b"-AMBIGUOUS") => Belief::Unknown,
        b"*-1\r\n" | b"_\r\n" => Belief::NotDone,
        _ if told.starts_with(b"-") => Belief::NotDone,
        _ => Belief::Done,
    }
}

/// What the client must believe of each of its requests, and the session that it believes in.
fn believe(run: &Run) -> (Vec<Belief>, Instance) {
    let mut told: BTreeMap<usize, &[u8]> = BTreeMap::new();
    for (number, line) in &run.caller.told {
        told.insert(*number, line);
    }
    let mut ideal = Instance::new();
    let mut beliefs = vec![Belief::Unknown; run.lines.len()];
    let (mut queued, mut is_in_limbo): (Vec<usize>, bool) = (Vec::new(), false);
    for (number, line) in run.lines.iter().enumerate() {
        let told = told.get(&number).copied().unwrap_or_default();
        let (bytes, verb) = (request(&confirmed_part(run, number)), verb_of(line));
        let is_error = told.starts_with(b"-");
        let belief = belief_of(told);
        beliefs[number] = belief;
        if is_in_limbo && !is_error && told != b"+QUEUED\r\n" && verb != Verb::Watch {
            ideal.serve(&request("DISCARD"), &mut Vec::new());
            is_in_limbo = false;
        }
        let is_in_multi = ideal.setup.queue.is_some();
        match verb {
            // Refused, and perhaps not ended: the next reply will tell.
            Verb::Exec | Verb::Discard if is_in_multi && is_refusal(told) => {
                for each in queued.drain(..) {
                    beliefs[each] = Belief::NotDone;
                }
                ideal.setup.has_failed = true;
                is_in_limbo = true;
            }
            Verb::Exec | Verb::Discard if is_in_multi => {
                let is_discarded = verb == Verb::Discard && belief == Belief::Done;
                let fate = if is_discarded { Belief::NotDone } else { belief };
                for each in queued.drain(..) {
                    beliefs[each] = fate;
                }
                ideal.serve(&request("DISCARD"), &mut Vec::new());
            }
            _ if is_in_multi && told == b"+QUEUED\r\n" => {
                queued.push(number);
                ideal.serve(&bytes, &mut Vec::new());
            }
            Verb::Multi | Verb::Watch | Verb::Reset if !is_error => {
                let discarded = if verb == Verb::Reset { queued.len() } else { 0 };
                for each in queued.drain(..discarded) {
                    beliefs[each] = Belief::NotDone;
                }
                ideal.serve(&bytes, &mut Vec::new());
            }
            Verb::Multi | Verb::Watch => {}
            _ if is_in_multi && is_error => ideal.setup.has_failed = true,
            _ if !is_error || is_pubsub(line) => {
                ideal.serve(&bytes, &mut Vec::new());
            }
            _ => {}
        }
    }
    if is_in_limbo && run.instance.setup.queue.is_none() {
        ideal.serve(&request("DISCARD"), &mut Vec::new());
    }
    // A transaction that is not over is not executed.
    for each in queued {
        beliefs[each] = Belief::NotDone;
    }
    (beliefs, ideal)
}

fn is_refusal(told: &[u8]) -> bool {
    told.starts_with(b"-LOADING") || told.starts_with(b"-READONLY")
}

fn is_pubsub(line: &str) -> bool {
    line.contains("SUBSCRIBE")
}

/// A request as far as it was confirmed: each name of a subscription is by itself.
fn confirmed_part(run: &Run, number: usize) -> String {
    let line = &run.lines[number];
    let words: Vec<&str> = line.split(' ').collect();
    if !is_pubsub(line) {
        return line.clone();
    }
    let is_confirmation = |line: &[u8]| line.starts_with(b"*3") || line.starts_with(b">3");
    let told = run.caller.told.iter().filter(|it| it.0 == number && is_confirmation(&it.1));
    let names = told.count();
    match (names, words.len()) {
        (0, _) => "PING".to_owned(),
        (_, 1) => line.clone(),
        _ => words[..=names].join(" "),
    }
}

fn verb_of(line: &str) -> Verb {
    let mut words = line.split(' ').map(str::as_bytes);
    lookup(words.next().unwrap_or_default(), words.next().unwrap_or_default()).verb
}

fn check_executions(run: &Run, beliefs: &[Belief]) {
    let mut last = None;
    for (number, line) in run.lines.iter().enumerate().filter(|it| it.1.starts_with("INCR")) {
        let places: Vec<usize> = (0..run.log.len()).filter(|at| run.log[*at] == *line).collect();
        let count = places.len();
        match beliefs[number] {
            Belief::Done => assert_eq!(count, 1, "{line}: told that it was done"),
            Belief::NotDone => assert_eq!(count, 0, "{line}: told that it was not done"),
            Belief::Unknown => assert!(count <= 1, "{line} was done {count} times"),
        }
        if let Some(place) = places.first() {
            assert!(last.is_none_or(|last| last < *place), "{line} was done out of order");
            last = Some(*place);
        }
    }
}

fn check_reads(run: &Run, beliefs: &[Belief]) {
    for (number, line) in run.lines.iter().enumerate().filter(|it| it.1.starts_with("GET")) {
        let answer = run.caller.told.iter().find(|told| told.0 == number).map(|told| &told.1);
        let Some(text) = answer.and_then(|it| std::str::from_utf8(it).ok()) else { continue };
        let Some(seen) = text.strip_prefix(':').and_then(|it| it.trim_end().parse().ok()) else {
            continue;
        };
        let before: &[String] = &run.log[..seen];
        for (other, written) in run.lines.iter().enumerate() {
            if !written.starts_with("INCR") {
                continue;
            }
            let is_seen = before.contains(written);
            assert!(!(other > number && is_seen), "{line} saw the later {written}");
            let is_due = other < number && beliefs[other] == Belief::Done;
            // Within a transaction things happen at EXEC.
            let is_plain = run.caller.told.iter().any(|it| it.0 == other && it.1[0] == b':');
            assert!(!is_due || !is_plain || is_seen, "{line} did not see the earlier {written}");
        }
    }
}

fn check_watches(run: &Run) {
    let mut watches: Vec<usize> = Vec::new();
    for (number, line) in &run.caller.told {
        match verb_of(&run.lines[*number]) {
            Verb::Watch => watches.extend(run.watched_at.get(number)),
            Verb::Exec => {
                let text = String::from_utf8_lossy(line);
                let first = text.lines().nth(1).and_then(|it| it.strip_prefix(':'));
                if let Some(place) = first.and_then(|it| it.parse::<usize>().ok()) {
                    let place = run.places[place - 1];
                    assert!(
                        watches.iter().all(|at| *at == place),
                        "EXEC succeeded on another instance than WATCH"
                    );
                }
                if line != b"-ERR EXEC without MULTI\r\n" {
                    watches.clear();
                }
            }
            Verb::Discard | Verb::Unwatch | Verb::Reset if line.starts_with(b"+") => {
                watches.clear();
            }
            _ => {}
        }
    }
}

/// Enough to find most faults within seconds; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn clients_are_told_the_truth_and_keep_their_session(
        steps in steps(),
        denies_multi in prop::bool::weighted(0.1),
    ) {
        let mut run = Run::new(denies_multi);
        for step in &steps {
            if run.caller.is_closed.is_none() {
                run.step(step);
            }
        }
        if run.caller.is_closed.is_none() {
            run.finish();
        }
        if run.caller.is_closed.is_some() {
            return Ok(());
        }
        // RESET is refused by Dragonfly alone, while it is taken over; what it would have ended, and
        // went on only here, is then forgotten.
        let is_reset_refused =
            |told: &(usize, Vec<u8>)| run.lines[told.0] == "RESET" && is_refusal(&told.1);
        if run.caller.told.iter().any(is_reset_refused) {
            return Ok(());
        }
        let answered: Vec<usize> = run.caller.told.iter().map(|told| told.0).collect();
        assert!(answered.is_sorted(), "replies came out of order: {answered:?}");
        for number in 0..run.lines.len() {
            let count = answered.iter().filter(|it| **it == number).count();
            let command = {
                let mut words = run.lines[number].split(' ').map(str::as_bytes);
                lookup(words.next().unwrap_or_default(), words.next().unwrap_or_default())
            };
            if command.class.has(Class::PUBSUB) && count != 1 {
                assert!(count >= 1, "{} was not answered", run.lines[number]);
            } else {
                assert_eq!(count, 1, "{} was answered {count} times", run.lines[number]);
            }
        }
        let (beliefs, ideal) = believe(&run);
        check_executions(&run, &beliefs);
        check_reads(&run, &beliefs);
        check_watches(&run);
        let mut setup = ideal.setup;
        let mut found = run.instance.setup;
        if found.has_failed && setup.has_failed {
            // What it holds is not executed any more.
            found.queue = Some(Vec::new());
            setup.queue = Some(Vec::new());
        }
        assert_eq!(found, setup);
    }
}
