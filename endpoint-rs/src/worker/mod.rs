//! One thread, one loop: reads what is ready, forwards it, hands replies out, then writes.
//!
//! Rules of a pass. Sockets report readiness once (edge-triggered), and every event only sets a
//! flag or leads to a read that may find nothing: a late event of a socket whose place was given
//! away does no harm. Commands and replies are gathered while a pass lasts and written at its end,
//! one write for each connection. The clock is read once. Nothing here waits, and nothing runs for
//! long: who has more to read than [`READS_A_PASS`] goes on in the next pass.

mod accept;
mod acks;
mod again;
mod blocking;
mod care;
mod ending;
mod flow;
mod forward;
mod gatekeeper;
mod handoff;
mod instance;
mod loss;
mod output;
mod reading;
mod refusal;
mod reply;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use mio::{Events, Poll, Registry, Token};
use slab::Slab;

use crate::client::Client;
use crate::listener::Bound;
use crate::notices::Noticed;
use crate::shared::{Shared, Station};
use crate::upstream::Upstream;

use accept::Listening;
use gatekeeper::Gatekeeper;
use instance::Pool;

/// What is read at once: fewer bytes cost more calls, more bytes leave the cache.
const READ_BYTES: usize = 64 * 1024;
/// Reads of one connection in one pass, so that a busy one does not keep all others waiting.
const READS_A_PASS: usize = 8;
/// Events taken at once.
const EVENTS_A_PASS: usize = 1024;
/// Between two looks at clients that are idle or slow. Their limits are seconds.
const SWEEP: Duration = Duration::from_secs(1);

/// Between two looks at connects under way. Their limit is a second.
const CONNECT_CHECK: Duration = Duration::from_millis(100);

/// What a token of the poll names: the low two bits say what kind of thing, the rest which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Waker,
    Listener(usize),
    Client(usize),
    Upstream(usize),
}

impl Source {
    fn token(self) -> Token {
        Token(match self {
            Self::Waker => 0,
            Self::Listener(index) => index << 2 | 1,
            Self::Client(index) => index << 2 | 2,
            Self::Upstream(index) => index << 2 | 3,
        })
    }

    fn of(token: Token) -> Self {
        let index = token.0 >> 2;
        match token.0 & 3 {
            0 => Self::Waker,
            1 => Self::Listener(index),
            2 => Self::Client(index),
            _ => Self::Upstream(index),
        }
    }
}

/// What the poll says of a socket.
#[derive(Clone, Copy, Debug)]
struct News {
    is_readable: bool,
    is_writable: bool,
    /// Closed by the other side, in one direction or both, or broken: a read will tell.
    is_end: bool,
}

/// The token under which a worker's loop is woken.
pub const WAKER: Token = Token(0);

/// One worker's whole state.
pub struct Worker {
    shared: Arc<Shared>,
    station: Arc<Station>,
    registry: Registry,
    listening: Vec<Listening>,
    clients: Slab<Client>,
    upstreams: Slab<Upstream>,
    /// Connections that clients share: their places by target and session.
    pools: Slab<Pool>,
    pool_of: HashMap<instance::PoolKey, usize>,
    gate: Gatekeeper,
    now: Instant,
    serial: u32,
    scratch: Vec<u8>,
    /// Clients to be looked at in this pass.
    ready: VecDeque<(usize, u32)>,
    /// Clients and instances to be read on in the next pass.
    again: Vec<(usize, u32)>,
    again_upstreams: Vec<(usize, u32)>,
    dirty_clients: Vec<(usize, u32)>,
    dirty_upstreams: Vec<(usize, u32)>,
    /// Upstreams that wait for their turn to connect.
    queued: VecDeque<(usize, u32)>,
    connecting: usize,
    /// When connects that take too long are looked for.
    next_connect_check: Instant,
    /// Connects that failed at once, and why.
    failed: Vec<(usize, u32, String)>,
    next_sweep: Instant,
    sample_in: u32,
    /// Bytes read from clients and not forwarded, and replies not written, over all clients.
    input_bytes: usize,
    output_bytes: usize,
    /// Connections to instances that belong to one client.
    own_upstreams: usize,
    is_stopping: bool,
    reading: reading::Readable,
    /// The connection for CLIENT UNBLOCK, where the settings say who sends it.
    control: Option<(usize, u32)>,
    next_cut: Option<Instant>,
    /// Clients that must hear from the primary without asking, and have no connection to it.
    homeless: Vec<(usize, u32)>,
    /// The primary was seen to ask for a login.
    wants_login: bool,
    handoff_clients: usize,
    has_told_failover: bool,
}

impl Worker {
    /// Set up a loop with these listening sockets.
    ///
    /// # Errors
    /// When the system refuses to watch a socket.
    pub fn new(
        shared: Arc<Shared>,
        number: usize,
        registry: &Registry,
        bound: Vec<Bound>,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let station = Arc::clone(&shared.stations[number]);
        let listening = accept::listen(registry, bound)?;
        Ok(Self {
            gate: Gatekeeper::new(&shared, number, now),
            shared,
            station,
            registry: registry.try_clone()?,
            listening,
            clients: Slab::new(),
            upstreams: Slab::new(),
            pools: Slab::new(),
            pool_of: HashMap::new(),
            now,
            serial: 0,
            scratch: vec![0; READ_BYTES],
            ready: VecDeque::new(),
            again: Vec::new(),
            again_upstreams: Vec::new(),
            dirty_clients: Vec::new(),
            dirty_upstreams: Vec::new(),
            queued: VecDeque::new(),
            connecting: 0,
            next_connect_check: now,
            failed: Vec::new(),
            next_sweep: now + SWEEP,
            sample_in: crate::stats::SAMPLE_EVERY,
            input_bytes: 0,
            output_bytes: 0,
            own_upstreams: 0,
            is_stopping: false,
            reading: reading::Readable::default(),
            control: None,
            next_cut: None,
            homeless: Vec::new(),
            wants_login: false,
            handoff_clients: 0,
            has_told_failover: false,
        })
    }

    /// Serve until told to stop.
    pub fn run(mut self, poll: &mut Poll) {
        let mut events = Events::with_capacity(EVENTS_A_PASS);
        self.look_at_gate();
        loop {
            if let Err(error) = poll.poll(&mut events, self.timeout())
                && error.kind() != io::ErrorKind::Interrupted
            {
                // The system has withdrawn the poll itself: there is nothing left to serve with.
                let text =
                    format!("a worker ended: its poll failed: {error}; restart the endpoint");
                self.shared.notices.add(Noticed::Limit, None, text);
                return;
            }
            self.now = Instant::now();
            self.station.stats.wakeups.one();
            for event in &events {
                let news = News {
                    is_readable: event.is_readable(),
                    is_writable: event.is_writable(),
                    is_end: event.is_read_closed() || event.is_write_closed() || event.is_error(),
                };
                match Source::of(event.token()) {
                    Source::Waker => self.obey(),
                    Source::Listener(index) => self.accept(index),
                    Source::Client(index) => self.client_event(index, news),
                    Source::Upstream(index) => self.upstream_event(index, news),
                }
            }
            self.go_on();
            self.keep_time();
            self.settle();
            if self.is_stopping && self.is_stopped() {
                return;
            }
        }
    }

    /// Return how long the loop may sleep.
    fn timeout(&self) -> Option<Duration> {
        let has_more = !self.again.is_empty()
            || !self.again_upstreams.is_empty()
            || !self.ready.is_empty()
            || !self.failed.is_empty()
            || !self.dirty_upstreams.is_empty()
            || !self.dirty_clients.is_empty();
        if has_more {
            return Some(Duration::ZERO);
        }
        let mut next = self.gate_deadline();
        if !self.clients.is_empty() || !self.upstreams.is_empty() || self.is_stopping {
            next = Some(next.map_or(self.next_sweep, |next| next.min(self.next_sweep)));
        }
        for due in [self.stop_deadline(), self.cut_deadline()].into_iter().flatten() {
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        if self.connecting > 0 {
            next = Some(next.map_or(self.next_connect_check, |it| it.min(self.next_connect_check)));
        }
        // Rounded up by the poll to whole milliseconds: never woken in vain just before its time.
        next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    /// Read on where the last pass stopped.
    fn go_on(&mut self) {
        for (index, serial, why) in std::mem::take(&mut self.failed) {
            if self.upstreams.get(index).is_some_and(|it| it.serial == serial) {
                self.lose(index, &loss::Lost::Refused(why));
            }
        }
        for (index, serial) in std::mem::take(&mut self.again_upstreams) {
            if self.upstreams.get(index).is_some_and(|it| it.serial == serial) {
                self.read_instance(index);
            }
        }
        for (index, serial) in std::mem::take(&mut self.again) {
            self.queue(index, serial);
        }
    }

    /// Look at clients until none is left to look at, and write what was gathered.
    fn settle(&mut self) {
        while let Some((index, serial)) = self.ready.pop_front() {
            if let Some(client) = self.clients.get_mut(index)
                && client.serial == serial
            {
                client.is_queued = false;
                self.pump(index);
            }
        }
        // Nothing may be written to an instance that is no longer the primary.
        self.look_at_gate();
        self.flush_instances();
        self.flush_clients();
        self.publish();
    }

    /// Let the next settle look at a client.
    fn queue(&mut self, index: usize, serial: u32) {
        if let Some(client) = self.clients.get_mut(index)
            && client.serial == serial
            && !client.is_queued
        {
            client.is_queued = true;
            self.ready.push_back((index, serial));
        }
    }

    /// Do what a change of the shared state asks for.
    fn obey(&mut self) {
        self.look_at_gate();
        self.look_at_replicas();
        let orders = self.station.take_orders();
        if orders.stops_accepting {
            self.stop_accepting();
            self.notify_moving();
        }
        if orders.closes_idle {
            self.close_idle();
        }
        if orders.stops {
            self.begin_to_stop();
        }
    }

    /// Do what is due by now.
    fn keep_time(&mut self) {
        if self.connecting > 0 && self.now >= self.next_connect_check {
            self.give_up_connects();
            self.next_connect_check = self.now + CONNECT_CHECK;
        }
        if self.now >= self.next_sweep {
            self.sweep();
        }
        if self.next_cut.is_some_and(|due| self.now >= due) {
            self.cut_blocked();
        }
        self.keep_gate_time();
    }

    fn publish(&mut self) {
        let stats = &self.station.stats;
        stats.held.set(self.gate.held_count());
        stats.held_bytes.set(self.input_bytes);
        stats.upstreams_own.set(self.own_upstreams);
        stats.upstreams_shared.set(self.upstreams.len() - self.own_upstreams);
    }

    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }
}
