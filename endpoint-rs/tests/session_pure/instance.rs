//! An instance that does what its documentation says, slowly and obviously: the state of one
//! connection, and a log of the commands that were executed.

use std::collections::BTreeSet;

use everfly_endpoint::command::{Class, Verb, lookup};
use everfly_endpoint::resp::request::{Request, Words};

/// What a connection has been set up as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    pub is_resp3: bool,
    pub user: Option<String>,
    pub database: u32,
    pub name: String,
    pub library: (String, String),
    pub flags: [bool; 3],
    pub tracking: Vec<String>,
    pub subscriptions: [BTreeSet<String>; 3],
    pub queue: Option<Vec<String>>,
    pub has_failed: bool,
}

/// How it takes commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Serves,
    /// As Dragonfly while it is taken over: nothing is executed.
    Loading,
    /// As a replica: nothing is written.
    ReadOnly,
}

/// One connection to it, and what it executed.
#[derive(Debug)]
pub struct Instance {
    pub setup: Setup,
    pub is_watching: bool,
    pub mood: Mood,
    /// The words of MULTI are refused to this user.
    pub denies_multi: bool,
}

impl Instance {
    pub fn new() -> Self {
        Self {
            setup: Setup::default(),
            is_watching: false,
            mood: Mood::Serves,
            denies_multi: false,
        }
    }

    /// Do what `bytes` ask for. Commands on keys go to `log`. Returns the replies.
    pub fn serve(&mut self, bytes: &[u8], log: &mut Vec<String>) -> Vec<Vec<u8>> {
        let request = Request::parse(bytes).expect("only whole requests are sent");
        let command = lookup(request.first(), request.second());
        let text = text_of(bytes);
        match self.mood {
            Mood::Loading => {
                return vec![self.fail(b"-LOADING Dragonfly is loading the dataset in memory\r\n")];
            }
            Mood::ReadOnly if command.class.has(Class::WRITE) && command.verb != Verb::Exec => {
                return vec![
                    self.fail(b"-READONLY You can't write against a read only replica.\r\n"),
                ];
            }
            Mood::Serves | Mood::ReadOnly => {}
        }
        let is_known = request.first() != b"EVERFLY.ABORT" && request.first() != b"NOPE";
        let stays_out = matches!(
            command.verb,
            Verb::Multi | Verb::Exec | Verb::Discard | Verb::Watch | Verb::Reset
        );
        if self.setup.queue.is_some() && !stays_out {
            if !is_known {
                return vec![self.fail(b"-ERR unknown command\r\n")];
            }
            self.setup.queue.get_or_insert_default().push(text);
            return vec![b"+QUEUED\r\n".to_vec()];
        }
        if !is_known {
            return vec![b"-ERR unknown command\r\n".to_vec()];
        }
        self.run(command.verb, bytes, &text, log)
    }

    fn fail(&mut self, line: &[u8]) -> Vec<u8> {
        if self.setup.queue.is_some() {
            self.setup.has_failed = true;
        }
        line.to_vec()
    }

    fn run(&mut self, verb: Verb, bytes: &[u8], text: &str, log: &mut Vec<String>) -> Vec<Vec<u8>> {
        let words: Vec<String> =
            Words::of(bytes).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let word = |at: usize| words.get(at).cloned().unwrap_or_default();
        let is_on = word(2).eq_ignore_ascii_case("ON");
        let mut reply = b"+OK\r\n".to_vec();
        match verb {
            Verb::Auth => match words.len() {
                2 if word(1) == "wrong" => return vec![b"-WRONGPASS no\r\n".to_vec()],
                2 => self.setup.user = Some(format!("default/{}", word(1))),
                _ => self.setup.user = Some(format!("{}/{}", word(1), word(2))),
            },
            Verb::Hello => {
                self.setup.is_resp3 = word(1) == "3";
                if word(2) == "AUTH" {
                    self.setup.user = Some(format!("{}/{}", word(3), word(4)));
                }
                reply = b"%1\r\n+proto\r\n:3\r\n".to_vec();
            }
            Verb::Select => match word(1).parse() {
                Ok(database) if database < 16 => self.setup.database = database,
                _ => return vec![b"-ERR DB index is out of range\r\n".to_vec()],
            },
            Verb::SetName => self.setup.name = word(2),
            Verb::SetInfo if word(2) == "LIB-NAME" => self.setup.library.0 = word(3),
            Verb::SetInfo => self.setup.library.1 = word(3),
            Verb::NoEvict => self.setup.flags[0] = is_on,
            Verb::NoTouch => self.setup.flags[1] = is_on,
            Verb::ReadOnly => self.setup.flags[2] = true,
            Verb::ReadWrite => self.setup.flags[2] = false,
            Verb::Tracking if is_on => self.setup.tracking.push(text.to_owned()),
            Verb::Tracking => self.setup.tracking.clear(),
            Verb::Reset => {
                self.setup = Setup::default();
                self.is_watching = false;
                reply = b"+RESET\r\n".to_vec();
            }
            Verb::Multi if self.denies_multi => return vec![b"-NOPERM no\r\n".to_vec()],
            Verb::Multi if self.setup.queue.is_some() => {
                return vec![b"-ERR MULTI calls can not be nested\r\n".to_vec()];
            }
            Verb::Multi => self.setup.queue = Some(Vec::new()),
            Verb::Exec | Verb::Discard => return vec![self.end_transaction(verb, log)],
            Verb::Watch if self.setup.queue.is_some() => {
                return vec![b"-ERR WATCH inside MULTI is not allowed\r\n".to_vec()];
            }
            Verb::Watch => self.is_watching = true,
            Verb::Unwatch => self.is_watching = false,
            Verb::Subscribe | Verb::PSubscribe | Verb::SSubscribe => {
                return self.subscribe(verb, &words[1..]);
            }
            Verb::Unsubscribe | Verb::PUnsubscribe | Verb::SUnsubscribe => {
                return self.unsubscribe(verb, &words[1..]);
            }
            _ => {
                log.push(text.to_owned());
                reply = format!(":{}\r\n", log.len()).into_bytes();
            }
        }
        vec![reply]
    }

    fn end_transaction(&mut self, verb: Verb, log: &mut Vec<String>) -> Vec<u8> {
        let is_read_only = self.mood == Mood::ReadOnly;
        let has_failed = std::mem::take(&mut self.setup.has_failed);
        let Some(queue) = self.setup.queue.take() else {
            return b"-ERR EXEC without MULTI\r\n".to_vec();
        };
        self.is_watching = false;
        match verb {
            Verb::Discard => b"+OK\r\n".to_vec(),
            _ if has_failed => {
                b"-EXECABORT Transaction discarded because of previous errors.\r\n".to_vec()
            }
            _ if is_read_only && queue.iter().any(|text| text.starts_with("INCR")) => {
                b"-EXECABORT Transaction discarded because of: READONLY You can't.\r\n".to_vec()
            }
            _ => {
                let mut reply = format!("*{}\r\n", queue.len()).into_bytes();
                for text in queue {
                    log.push(text);
                    reply.extend_from_slice(format!(":{}\r\n", log.len()).as_bytes());
                }
                reply
            }
        }
    }

    fn subscribe(&mut self, verb: Verb, names: &[String]) -> Vec<Vec<u8>> {
        let (kind, word) = kind_of(verb);
        names
            .iter()
            .map(|name| {
                self.setup.subscriptions[kind].insert(name.clone());
                self.confirmation(word, Some(name))
            })
            .collect()
    }

    fn unsubscribe(&mut self, verb: Verb, names: &[String]) -> Vec<Vec<u8>> {
        let (kind, word) = kind_of(verb);
        let all: Vec<String> = self.setup.subscriptions[kind].iter().cloned().collect();
        let names = if names.is_empty() { &all[..] } else { names };
        if names.is_empty() {
            return vec![self.confirmation(word, None)];
        }
        names
            .iter()
            .map(|name| {
                self.setup.subscriptions[kind].remove(name);
                self.confirmation(word, Some(name))
            })
            .collect()
    }

    fn confirmation(&self, word: &str, name: Option<&String>) -> Vec<u8> {
        let head = if self.setup.is_resp3 { '>' } else { '*' };
        let name = name.map_or("$-1\r\n".to_owned(), |it| format!("${}\r\n{it}\r\n", it.len()));
        format!("{head}3\r\n${}\r\n{word}\r\n{name}:1\r\n", word.len()).into_bytes()
    }
}

fn kind_of(verb: Verb) -> (usize, &'static str) {
    match verb {
        Verb::Subscribe => (0, "subscribe"),
        Verb::Unsubscribe => (0, "unsubscribe"),
        Verb::PSubscribe => (1, "psubscribe"),
        Verb::PUnsubscribe => (1, "punsubscribe"),
        Verb::SSubscribe => (2, "ssubscribe"),
        _ => (2, "sunsubscribe"),
    }
}

/// A request as a line.
pub fn text_of(bytes: &[u8]) -> String {
    Words::of(bytes)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
