//! What all workers and the control see: settings, the gate, counts, and who is told what.
//!
//! Workers read it without waiting for each other; the control changes it and wakes them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use mio::Waker;

use crate::config::Config;
use crate::gate::{Gate, Window};
use crate::notices::{Noticed, Notices};
use crate::replicas::Replica;
use crate::stats::WorkerStats;
use crate::tls::TlsFiles;

/// One worker, as the control sees it.
#[derive(Debug)]
pub struct Station {
    /// What it counts.
    pub stats: WorkerStats,
    /// Wakes its loop.
    pub waker: Waker,
    stops_accepting: AtomicBool,
    closes_idle: AtomicBool,
    stops: AtomicBool,
}

/// What a worker was told to do.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    /// Leave the listening sockets alone.
    pub stops_accepting: bool,
    /// Close clients that have nothing under way.
    pub closes_idle: bool,
    /// End.
    pub stops: bool,
}

impl Station {
    /// Make a place for a worker that this wakes.
    #[must_use]
    pub fn new(waker: Waker) -> Self {
        Self {
            stats: WorkerStats::default(),
            waker,
            stops_accepting: AtomicBool::new(false),
            closes_idle: AtomicBool::new(false),
            stops: AtomicBool::new(false),
        }
    }

    /// Tell the worker to do something.
    pub fn order(&self, orders: Orders) {
        self.stops_accepting.fetch_or(orders.stops_accepting, Release);
        self.closes_idle.fetch_or(orders.closes_idle, Release);
        self.stops.fetch_or(orders.stops, Release);
        // A worker that has ended has closed its poll; it needs no waking.
        let _ = self.waker.wake();
    }

    /// Take what the worker was told.
    pub fn take_orders(&self) -> Orders {
        Orders {
            stops_accepting: self.stops_accepting.swap(false, AcqRel),
            closes_idle: self.closes_idle.swap(false, AcqRel),
            stops: self.stops.swap(false, AcqRel),
        }
    }
}

/// Who the primary is, in the words of the control.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// `HOST:PORT`.
    pub label: String,
    /// The host, which certificates must carry.
    pub host: String,
}

/// How long clients were held, over all holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holds {
    /// When the present one began.
    pub since: Option<Instant>,
    /// How many there were.
    pub count: u64,
    /// All but the present one.
    pub total: Duration,
    /// The longest that is over.
    pub longest: Duration,
}

/// What all workers and the control see.
pub struct Shared {
    /// As given at the beginning.
    pub config: Config,
    /// Certificates.
    pub tls: TlsFiles,
    /// For the control.
    pub notices: Notices,
    /// Where commands may go.
    pub gate: Arc<Gate>,
    /// The workers.
    pub stations: Vec<Arc<Station>>,
    /// Clients.
    pub connections: AtomicUsize,
    /// Clients of each listener, by its place in the configuration.
    pub by_listener: Vec<AtomicUsize>,
    /// When the hold that the control asked for ends by itself: ms of our clock; 0: never.
    pub hold_until_ms: AtomicU64,
    /// The token of that hold.
    pub hold_token: AtomicU64,
    /// The term whose primary workers may try again by themselves, plus 1; 0: none. What the
    /// control called gone is not tried.
    probed_term: AtomicU64,
    /// When the plane stops, ms of our clock: what is under way then is cut off.
    pub stop_at_ms: AtomicU64,
    /// Changes with the list of replicas.
    pub replicas_version: AtomicU64,
    replicas: Mutex<Arc<Vec<Replica>>>,
    names: Mutex<HashMap<SocketAddr, Named>>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    holds: Mutex<Holds>,
    loading: &'static [u8],
    origin: Instant,
}

impl Shared {
    /// Put it together.
    #[must_use]
    pub fn new(
        config: Config,
        tls: TlsFiles,
        notices: Notices,
        gate: Arc<Gate>,
        stations: Vec<Arc<Station>>,
    ) -> Self {
        let by_listener = config.listeners.iter().map(|_| AtomicUsize::new(0)).collect();
        let window_ms = config.hold.window.as_millis();
        let loading = format!("-LOADING everfly: no primary within {window_ms} ms, try again\r\n");
        let holds = Holds { since: Some(Instant::now()), count: 1, ..Holds::default() };
        Self {
            config,
            tls,
            notices,
            gate,
            stations,
            connections: AtomicUsize::new(0),
            by_listener,
            hold_until_ms: AtomicU64::new(0),
            hold_token: AtomicU64::new(0),
            probed_term: AtomicU64::new(0),
            stop_at_ms: AtomicU64::new(u64::MAX),
            replicas_version: AtomicU64::new(0),
            replicas: Mutex::default(),
            names: Mutex::default(),
            by_address: Mutex::default(),
            holds: Mutex::new(holds),
            // One line for the life of the process, which sessions may keep.
            loading: Box::leak(loading.into_bytes().into_boxed_slice()),
            origin: Instant::now(),
        }
    }

    /// Turn an instant into milliseconds of the clock that the gate is given.
    #[must_use]
    pub fn ms(&self, at: Instant) -> u64 {
        // The gate's 0 means open, so the clock begins later.
        let since = at.saturating_duration_since(self.origin);
        1 + u64::try_from(since.as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Turn milliseconds of that clock into an instant.
    #[must_use]
    pub fn instant(&self, ms: u64) -> Instant {
        self.origin + Duration::from_millis(ms.saturating_sub(1).min(u64::from(u32::MAX)))
    }

    /// Return the window of a hold that begins now.
    #[must_use]
    pub fn window(&self, reason: String) -> Window {
        let window = self.config.hold.window;
        Window {
            now_ms: self.ms(Instant::now()),
            budget_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            reason: reason.into(),
        }
    }

    /// A worker cannot reach or use the primary of a term: hold, and let workers try it again.
    pub fn lose_primary(&self, term: u64, reason: &str) {
        if self.gate.lose(term, self.window(reason.to_owned())) {
            self.probed_term.store(term + 1, Release);
            self.hold_began(reason);
        }
    }

    /// A worker finds that the primary of a term serves after all.
    pub fn regain_primary(&self, term: u64) {
        if self.may_probe(term) && self.gate.regain(term) {
            let text = "the primary serves again; commands go on".to_owned();
            self.notices.add(Noticed::PrimaryBack, Some(self.primary_label()), text);
            self.hold_ended();
        }
    }

    /// Whether workers may try the primary of a term again.
    #[must_use]
    pub fn may_probe(&self, term: u64) -> bool {
        self.probed_term.load(Acquire) == term + 1
    }

    /// Leave the primary alone until the control names one.
    pub fn forbid_probes(&self) {
        self.probed_term.store(0, Release);
    }

    /// Note that clients are held from now on.
    pub fn hold_began(&self, reason: &str) {
        let mut holds = lock(&self.holds);
        if holds.since.is_none() {
            holds.since = Some(Instant::now());
            holds.count += 1;
            drop(holds);
            let text = format!("commands are held: {reason}");
            self.notices.add(Noticed::HoldBegan, Some(self.primary_label()), text);
        }
    }

    /// Note that clients are no longer held.
    pub fn hold_ended(&self) {
        let mut holds = lock(&self.holds);
        if let Some(since) = holds.since.take() {
            let lasted = since.elapsed();
            holds.total += lasted;
            holds.longest = holds.longest.max(lasted);
            drop(holds);
            let text = format!("commands go on after {} ms", lasted.as_millis());
            self.notices.add(Noticed::HoldEnded, Some(self.primary_label()), text);
        }
    }

    /// Return how long clients were held.
    #[must_use]
    pub fn holds(&self) -> Holds {
        *lock(&self.holds)
    }

    /// Count a client of an address. False when there is no room for it.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> bool {
        let limit = self.config.limits.connections_per_address;
        if limit == 0 {
            return true;
        }
        let mut by_address = lock(&self.by_address);
        let count = by_address.entry(address).or_insert(0);
        if *count >= limit {
            return false;
        }
        *count += 1;
        true
    }

    /// Count it out again.
    pub fn leave(&self, address: IpAddr) {
        if self.config.limits.connections_per_address == 0 {
            return;
        }
        let mut by_address = lock(&self.by_address);
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }

    /// Return the name that the certificate of an instance must carry.
    #[must_use]
    pub fn name_of(&self, address: SocketAddr) -> String {
        if let Some(name) = self.config.upstream_tls.as_ref().and_then(|tls| tls.name.clone()) {
            return name;
        }
        let names = lock(&self.names);
        names.get(&address).map_or_else(|| address.ip().to_string(), |named| named.host.clone())
    }

    /// Return how the control calls an address.
    #[must_use]
    pub fn label_of(&self, address: SocketAddr) -> String {
        let names = lock(&self.names);
        names.get(&address).map_or_else(|| address.to_string(), |named| named.label.clone())
    }

    /// Remember how the control calls an address.
    pub fn remember_name(&self, address: SocketAddr, name: Named) {
        let mut known = lock(&self.names);
        if known.len() > NAMES_MAX {
            known.clear(); // long gone instances; those in use are named again soon
        }
        known.insert(address, name);
    }

    fn primary_label(&self) -> String {
        self.gate.view().primary.map_or_else(|| "no primary".to_owned(), |it| self.label_of(it))
    }

    /// Replace the list of replicas.
    pub fn set_replicas(&self, replicas: Vec<Replica>) {
        *lock(&self.replicas) = Arc::new(replicas);
        self.replicas_version.fetch_add(1, Release);
        self.gate.wake_all();
    }

    /// Return the list of replicas.
    #[must_use]
    pub fn replicas(&self) -> Arc<Vec<Replica>> {
        Arc::clone(&lock(&self.replicas))
    }

    /// What held commands are answered when the window is over.
    #[must_use]
    pub fn loading(&self) -> &'static [u8] {
        self.loading
    }

    /// Whether the plane is being stopped.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop_at_ms.load(Relaxed) != u64::MAX
    }

    /// Tell every worker to do something.
    pub fn order(&self, orders: Orders) {
        for station in &self.stations {
            station.order(orders);
        }
    }

    /// Return how many clients there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

/// Addresses whose names are remembered. A group has a handful, and they change with each restart
/// in a cluster of containers.
const NAMES_MAX: usize = 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they guard is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
