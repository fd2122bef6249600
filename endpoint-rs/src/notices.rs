//! What the control or a person wants to know at once, from any worker, in a queue of fixed size.
//!
//! Equal notices (kind and address) fold into one that counts. A pipe is readable while there are
//! any, so that the control's event loop can wait for it.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// The most that wait to be taken. Each is a decision or a trouble, of which a person reads a few.
const WAITING_MAX: usize = 256;

/// What kind of thing was noticed. The texts are the interface of the control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// A standing connection to the primary ended.
    PrimaryLost,
    /// A connect to the primary failed.
    PrimaryRefused,
    /// The primary answers refusals.
    PrimaryRefusing,
    /// The primary serves again, without a new word from the control.
    PrimaryBack,
    /// Commands are held from now on.
    HoldBegan,
    /// They no longer are.
    HoldEnded,
    /// Held commands are answered by LOADING.
    WindowOver,
    /// A write's fate is unknown.
    Ambiguous,
    /// Too few replicas have a write.
    NotDurable,
    /// A client met a limit.
    Limit,
    /// TLS failed.
    Tls,
    /// A replica was lost.
    ReplicaLost,
    /// A worker ended that should not have.
    WorkerFailed,
    /// More notices came than fit.
    Dropped,
}

impl Noticed {
    /// Return the word that the control knows it by.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PrimaryLost => "primary-lost",
            Self::PrimaryRefused => "primary-refused",
            Self::PrimaryRefusing => "primary-refusing",
            Self::PrimaryBack => "primary-back",
            Self::HoldBegan => "hold-began",
            Self::HoldEnded => "hold-ended",
            Self::WindowOver => "window-over",
            Self::Ambiguous => "ambiguous",
            Self::NotDurable => "not-durable",
            Self::Limit => "limit",
            Self::Tls => "tls",
            Self::ReplicaLost => "replica-lost",
            Self::WorkerFailed => "worker-failed",
            Self::Dropped => "notices-dropped",
        }
    }
}

/// One thing that was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its kind.
    pub kind: Noticed,
    /// For people: one line.
    pub text: String,
    /// Of the instance or client.
    pub address: Option<String>,
    /// How many were folded into it.
    pub count: u64,
    /// Unix time in milliseconds.
    pub at_ms: u64,
}

/// The queue. Any thread adds; the control takes.
#[derive(Debug)]
pub struct Notices {
    waiting: Mutex<Vec<Notice>>,
    reader: PipeReader,
    writer: PipeWriter,
}

impl Notices {
    /// Make an empty queue.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { waiting: Mutex::new(Vec::new()), reader, writer })
    }

    /// Add one, or count it to an equal one that waits.
    pub fn add(&self, kind: Noticed, address: Option<String>, text: String) {
        let mut waiting = self.lock();
        if let Some(same) = waiting.iter_mut().find(|it| it.kind == kind && it.address == address) {
            same.count += 1;
            same.text = text;
            return;
        }
        let at_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        if waiting.len() + 1 >= WAITING_MAX {
            match waiting.last_mut() {
                Some(last) if last.kind == Noticed::Dropped => last.count += 1,
                _ => waiting.push(Notice {
                    kind: Noticed::Dropped,
                    text: format!("more than {WAITING_MAX} notices waited; later ones are lost"),
                    address: None,
                    count: 1,
                    at_ms,
                }),
            }
            return;
        }
        waiting.push(Notice { kind, text, address, count: 1, at_ms });
        if waiting.len() == 1 {
            // One byte for a queue that is no longer empty: it never fills the pipe.
            let _ = (&self.writer).write_all(b"!");
        }
    }

    /// Take all that wait, oldest first.
    pub fn take(&self) -> Vec<Notice> {
        let mut waiting = self.lock();
        if !waiting.is_empty() {
            let _ = (&self.reader).read_exact(&mut [0]);
        }
        std::mem::take(&mut *waiting)
    }

    /// Return the descriptor that is readable while some wait.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Notice>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_notices_fold_and_are_taken_once() {
        let notices = Notices::new().unwrap();
        for port in ["a:1", "a:1", "b:1"] {
            notices.add(Noticed::PrimaryLost, Some(port.to_owned()), "lost".to_owned());
        }
        let taken = notices.take();
        assert_eq!(taken.iter().map(|it| it.count).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(notices.take(), []);
    }

    #[test]
    fn a_flood_of_notices_is_bounded_and_says_so() {
        let notices = Notices::new().unwrap();
        for number in 0..10_000 {
            notices.add(Noticed::Limit, Some(number.to_string()), String::new());
        }
        let taken = notices.take();
        assert_eq!(taken.len(), WAITING_MAX);
        assert_eq!(taken.last().unwrap().kind, Noticed::Dropped);
        assert_eq!(taken.iter().map(|it| it.count).sum::<u64>(), 10_000);
    }

    #[test]
    fn the_pipe_is_readable_only_while_notices_wait() {
        let notices = Notices::new().unwrap();
        notices.add(Noticed::Tls, None, String::new());
        notices.add(Noticed::Limit, None, String::new());
        notices.take();
        // Were a byte left, this queue's next byte would be the second in the pipe.
        notices.add(Noticed::Tls, None, String::new());
        notices.take();
        drop(notices.writer);
        assert_eq!((&notices.reader).read(&mut [0]).unwrap(), 0);
    }
}
