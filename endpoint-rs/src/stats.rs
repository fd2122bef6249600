//! What a worker counts, and the sum over all workers that people see.
//!
//! Each counter has one writer, its worker, which adds by a load and a store instead of a locked
//! instruction; readers may see a value that is a pass of the loop old. Latency is sampled: one
//! command in [`SAMPLE_EVERY`], timed by the clock reading that its pass of the loop takes anyway.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One command in this many is timed.
pub const SAMPLE_EVERY: u32 = 64;

/// Upper bounds of the latency histogram in microseconds: half-decades from 50 µs to 10 s, dense
/// where a store on the same network answers.
pub const BOUNDS_US: [u64; 16] = [
    50, 100, 200, 400, 700, 1_000, 1_500, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000,
    1_000_000, 5_000_000, 10_000_000,
];

/// A count with one writer.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Add, as the only writer.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Add one, as the only writer.
    #[inline]
    pub fn one(&self) {
        self.add(1);
    }

    /// Return the value.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// An amount that goes up and down, with one writer.
#[derive(Default, Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Replace the value.
    #[inline]
    pub fn set(&self, value: usize) {
        self.0.store(i64::try_from(value).unwrap_or(i64::MAX), Relaxed);
    }

    /// Return the value.
    #[must_use]
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

/// How long sampled commands took.
#[derive(Default, Debug)]
pub struct Histogram {
    counts: [Counter; BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Count one command.
    pub fn record(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS_US.partition_point(|bound| *bound < took_us)].one();
        self.sum_us.add(took_us);
    }
}

/// The histograms of all workers in one.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct HistogramSum {
    /// One more than there are bounds: the last is above them all.
    pub counts: Vec<u64>,
    /// The sum of all.
    pub sum_us: u64,
}

macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident: $type:ident),* $(,)?) => {
        /// What one worker counts.
        #[derive(Default, Debug)]
        pub struct WorkerStats {
            $($(#[$meta])* pub $name: $type,)*
            /// Of sampled commands, from when they were taken to when their reply had come.
            pub latency: Histogram,
        }

        /// The name and the sum of each amount of these workers.
        pub fn totals<'a>(workers: impl Iterator<Item = &'a WorkerStats> + Clone) -> Vec<(&'static str, u64)> {
            vec![$((stringify!($name), workers.clone().map(|each| each.$name.get()).sum()),)*]
        }
    };
}

counters! {
    /// Clients accepted.
    connections_total: Counter,
    /// Clients turned away by a limit of connections.
    connections_refused: Counter,
    /// Clients closed by a limit of bytes or time.
    connections_closed_by_limit: Counter,
    /// Connections to instances that clients share.
    upstreams_shared: Gauge,
    /// Connections to instances of one client.
    upstreams_own: Gauge,
    /// Connections to instances that were begun.
    upstreams_opened: Counter,
    /// Connections to instances that ended without us wanting it.
    upstreams_lost: Counter,
    /// Commands read from clients.
    requests: Counter,
    /// Replies given to clients.
    replies: Counter,
    /// Bytes read from clients.
    bytes_from_clients: Counter,
    /// Bytes written to clients.
    bytes_to_clients: Counter,
    /// Bytes written to instances.
    bytes_to_instances: Counter,
    /// Bytes read from instances.
    bytes_from_instances: Counter,
    /// Clients with a command that is held.
    held: Gauge,
    /// Bytes read ahead from them.
    held_bytes: Gauge,
    /// Times that a client was held with a command.
    held_total: Counter,
    /// Commands sent again.
    replayed: Counter,
    /// Refusals that no client saw.
    refused_hidden: Counter,
    /// Commands answered by LOADING.
    answered_loading: Counter,
    /// Commands whose fate is unknown.
    ambiguous: Counter,
    /// Blocking commands cut short for a hold.
    blocking_cut: Counter,
    /// Blocking commands issued again for the time they had left.
    blocking_resumed: Counter,
    /// Sessions set up again on another connection.
    restored_sessions: Counter,
    /// Writes that enough replicas have.
    acked_writes: Counter,
    /// Writes that too few replicas had in time.
    unacked_writes: Counter,
    /// Commands sent to replicas.
    read_from_replicas: Counter,
    /// Commands of read listeners sent to the primary.
    read_fallbacks: Counter,
    /// Clients that asked for maintenance notifications.
    handoff_clients: Gauge,
    /// TLS handshakes that succeeded.
    tls_handshakes: Counter,
    /// TLS handshakes that failed.
    tls_failures: Counter,
    /// Clients that broke the protocol.
    protocol_errors: Counter,
    /// Passes of the loop.
    wakeups: Counter,
}

/// Sum the histograms of these workers.
pub fn latency<'a>(workers: impl Iterator<Item = &'a WorkerStats>) -> HistogramSum {
    let mut sum = HistogramSum { counts: vec![0; BOUNDS_US.len() + 1], sum_us: 0 };
    for worker in workers {
        for (total, count) in sum.counts.iter_mut().zip(&worker.latency.counts) {
            *total += count.get();
        }
        sum.sum_us += worker.latency.sum_us.get();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_is_not_below_it() {
        let worker = WorkerStats::default();
        for micros in [0, 50, 51, 20_000_000] {
            worker.latency.record(Duration::from_micros(micros));
        }
        let sum = latency([&worker, &worker].into_iter());
        assert_eq!(sum.counts[0], 4);
        assert_eq!(sum.counts[1], 2);
        assert_eq!(*sum.counts.last().unwrap(), 2);
        assert_eq!(sum.sum_us, 2 * 20_000_101);
    }

    #[test]
    fn totals_add_up_all_workers_by_name() {
        let workers = [WorkerStats::default(), WorkerStats::default()];
        workers[0].requests.add(3);
        workers[1].requests.one();
        workers[1].held.set(7);
        let totals = totals(workers.iter());
        assert!(totals.contains(&("requests", 4)));
        assert!(totals.contains(&("held", 7)));
    }
}
