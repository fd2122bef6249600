//! The running data plane, as its control holds it: start, steer, look, stop.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Poll, Waker};

use crate::config::Config;
use crate::gate::{Change, Gate, State, Window};
use crate::listener::{Bound, bind_all, bound_address};
use crate::notices::{Noticed, Notices};
use crate::replicas::Replica;
use crate::shared::{Named, Orders, Shared, Station};
use crate::tls::TlsFiles;
use crate::worker::{WAKER, Worker};

/// Woken when commands under way may all be over.
#[derive(Default)]
struct Drain {
    lock: Mutex<()>,
    bell: Condvar,
}

/// The listening sockets of each worker, for the next process and for workers that are replaced.
type Kept = Mutex<Vec<Vec<Bound>>>;

/// The running data plane.
pub struct Plane {
    shared: Arc<Shared>,
    drain: Arc<Drain>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    kept: Arc<Kept>,
    addresses: Vec<(String, String)>,
}

impl Plane {
    /// Bind or take over the sockets and start the workers.
    ///
    /// # Errors
    /// What the machine refuses: an address in use, an unreadable certificate.
    pub fn start(config: Config) -> io::Result<Self> {
        let tls = TlsFiles::default();
        tls.load(&config)?;
        let listeners: Vec<_> = config.listeners.iter().cloned().map(Arc::new).collect();
        let bound = bind_all(&listeners, config.workers)?;
        let drain = Arc::new(Drain::default());
        let bell = Arc::clone(&drain);
        let on_drain = Box::new(move || bell.bell.notify_all());
        let polls = (0..config.workers).map(|_| Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let stations = polls
            .iter()
            .map(|poll| Ok(Arc::new(Station::new(Waker::new(poll.registry(), WAKER)?))))
            .collect::<io::Result<Vec<_>>>()?;
        let window = u64::try_from(config.hold.window.as_millis()).unwrap_or(u64::MAX);
        let reason = "no primary is known yet".into();
        let gate = Gate::new(Window { now_ms: 1, budget_ms: window, reason }, on_drain);
        let addresses = addresses(&bound);
        let notices = Notices::new()?;
        let shared = Arc::new(Shared::new(config, tls, notices, Arc::new(gate), stations));
        let kept = Arc::new(Mutex::new(bound));
        let threads = Mutex::new(launch(&shared, polls, &kept)?);
        Ok(Self { shared, drain, threads, kept, addresses })
    }

    /// Return what is counted and known.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Follow an instance from now on. False when the epoch is lower than the present one.
    ///
    /// # Errors
    /// When the host is unknown.
    pub fn set_primary(&self, host: &str, port: u16, epoch: u64) -> io::Result<bool> {
        let address = resolve(host, port)?;
        let label = join(host, port);
        self.shared.remember_name(address, Named { label, host: host.to_owned() });
        let was_lost = self.shared.gate.view().state == State::NoPrimary;
        match self.shared.gate.set_primary(address, epoch) {
            Change::Stale { .. } => Ok(false),
            Change::Moved | Change::Kept => {
                if was_lost {
                    self.shared.hold_ended();
                }
                Ok(true)
            }
        }
    }

    /// Hold for lack of a primary, until one is named.
    pub fn no_primary(&self, reason: &str) {
        self.shared.forbid_probes();
        let term = self.shared.gate.view().term;
        if self.shared.gate.lose(term, self.shared.window(reason.to_owned())) {
            self.shared.hold_began(reason);
        }
    }

    /// Hold until `release`, or until the budget is used up. Return a token.
    #[must_use]
    pub fn hold(&self, reason: &str, budget: Duration) -> u64 {
        let shared = &self.shared;
        let token = shared.gate.hold(shared.window(reason.to_owned()));
        shared.hold_token.store(token, Release);
        shared.hold_until_ms.store(shared.ms(Instant::now() + budget), Release);
        // Workers woken by the hold may have fallen asleep before they could see when it ends.
        shared.gate.wake_all();
        shared.hold_began(reason);
        token
    }

    /// End a hold. False when there is none, or another than the token's.
    #[must_use]
    pub fn release(&self, token: Option<u64>) -> bool {
        let shared = &self.shared;
        if token.is_some_and(|token| token != shared.hold_token.load(Acquire)) {
            return false;
        }
        shared.hold_until_ms.swap(0, AcqRel);
        let is_released = shared.gate.release();
        if is_released && shared.gate.view().state == State::Open {
            shared.hold_ended();
        }
        is_released
    }

    /// Wait until nothing is under way to the primary. False after the timeout, or when nothing is
    /// held.
    #[must_use]
    pub fn drained(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let generation = self.shared.gate.view().generation;
        let mut guard = self.drain.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.shared.gate.is_drained(generation) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.shared.gate.view().state == State::Open {
                return false;
            }
            // The bell rings without the lock, so that no worker waits: a ring may be missed, and
            // is looked for again soon.
            let pause = left.min(Duration::from_millis(5));
            (guard, _) =
                self.drain.bell.wait_timeout(guard, pause).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Replace the list of replicas in sync.
    ///
    /// # Errors
    /// When a host is unknown.
    pub fn set_replicas(&self, replicas: &[(String, u16, String, u64)]) -> io::Result<()> {
        let mut known = Vec::with_capacity(replicas.len());
        for (host, port, zone, lag_bytes) in replicas {
            let address = resolve(host, *port)?;
            let named = Named { label: join(host, *port), host: host.clone() };
            self.shared.remember_name(address, named);
            known.push(Replica { address, zone: zone.clone(), lag_bytes: *lag_bytes });
        }
        self.shared.set_replicas(known);
        Ok(())
    }

    /// Read the certificates again.
    ///
    /// # Errors
    /// When they cannot be used: the old ones stay.
    pub fn reload_tls(&self) -> io::Result<()> {
        self.shared.tls.load(&self.shared.config)
    }

    /// Leave the listening sockets to another process.
    pub fn stop_accepting(&self) {
        self.shared.order(Orders { stops_accepting: true, closes_idle: false, stops: false });
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Close clients that would lose nothing. Return how many there are at most.
    #[must_use]
    pub fn close_idle(&self) -> usize {
        let connections = self.shared.connections();
        self.shared.order(Orders { stops_accepting: false, closes_idle: true, stops: false });
        connections
    }

    /// Return the listening sockets, by name.
    #[must_use]
    pub fn listener_fds(&self) -> Vec<(String, RawFd)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = Vec::new();
        let mut fds = Vec::new();
        for each in kept.iter().flatten() {
            // Workers may share a socket: hand it over once.
            let cookie = each.socket.cookie().unwrap_or(0);
            if cookie == 0 || !seen.contains(&cookie) {
                seen.push(cookie);
                fds.push((each.listener.name.clone(), each.socket.as_raw_fd()));
            }
        }
        fds
    }

    /// Return where each listener is really bound.
    #[must_use]
    pub fn addresses(&self) -> &[(String, String)] {
        &self.addresses
    }

    /// Whether the workers have ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Let clients finish for up to `grace`, close them and end the workers. Waits for it.
    pub fn stop(&self, grace: Duration) {
        self.stop_accepting();
        let stop_at = self.shared.ms(Instant::now() + grace);
        self.shared.stop_at_ms.store(stop_at, Relaxed);
        self.shared.order(Orders { stops_accepting: true, closes_idle: false, stops: true });
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker that panicked has been reported when it did.
            let _ = thread.join();
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn launch(
    shared: &Arc<Shared>,
    polls: Vec<Poll>,
    kept: &Arc<Kept>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::with_capacity(polls.len());
    for (number, poll) in polls.into_iter().enumerate() {
        let (shared, kept) = (Arc::clone(shared), Arc::clone(kept));
        let thread = std::thread::Builder::new()
            .name(format!("endpoint-{number}"))
            .spawn(move || serve(&shared, number, poll, &kept))?;
        threads.push(thread);
    }
    Ok(threads)
}

/// Run a worker. One that panics is a bug; its clients lose their connections, all others go on,
/// and a new worker takes its place at the same sockets.
fn serve(shared: &Arc<Shared>, number: usize, mut poll: Poll, kept: &Kept) {
    loop {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let sockets = {
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let own = kept.get(number).map_or(&[][..], Vec::as_slice);
                own.iter().map(Bound::try_clone).collect::<io::Result<Vec<_>>>()?
            };
            Worker::new(Arc::clone(shared), number, poll.registry(), sockets)?.run(&mut poll);
            Ok::<_, io::Error>(())
        }));
        let text = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("worker {number} could not begin: {error}"),
            Err(_) => format!("worker {number} failed and was replaced: a bug, please report it"),
        };
        shared.notices.add(Noticed::WorkerFailed, None, text);
        if shared.is_stopping() {
            return;
        }
        // Whatever it was, it must not be repeated as fast as the machine allows.
        std::thread::sleep(RESTART_PAUSE);
    }
}

/// Between the failure of a worker and the start of the next.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

fn addresses(bound: &[Vec<Bound>]) -> Vec<(String, String)> {
    let mut addresses: Vec<(String, String)> = Vec::new();
    for each in bound.iter().flatten() {
        if addresses.iter().all(|(name, _)| *name != each.listener.name) {
            addresses.push((each.listener.name.clone(), bound_address(each)));
        }
    }
    addresses
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let unknown = |why: String| {
        io::Error::new(io::ErrorKind::NotFound, format!("the host {host} is unknown: {why}"))
    };
    (bare, port)
        .to_socket_addrs()
        .map_err(|error| unknown(error.to_string()))?
        .next()
        .ok_or_else(|| unknown("it has no address".to_owned()))
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
