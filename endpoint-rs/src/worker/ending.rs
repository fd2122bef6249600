//! The end of a worker: clients finish what is under way, then all is closed.

use std::sync::atomic::Ordering::Relaxed;

use super::Worker;

impl Worker {
    /// Take nothing more from clients that owe us nothing, and let the others finish.
    pub(super) fn begin_to_stop(&mut self) {
        self.stop_accepting();
        self.is_stopping = true;
    }

    /// Close who is done. Return whether the worker may end: all are gone, or the time is over.
    pub(super) fn is_stopped(&mut self) -> bool {
        let is_late = self.shared.ms(self.now) >= self.shared.stop_at_ms.load(Relaxed);
        let done: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| is_late || client.is_idle())
            .map(|(index, _)| index)
            .collect();
        for index in done {
            self.close_client(index);
        }
        self.clients.is_empty()
    }

    /// Return when a worker that is stopping has to look again.
    pub(super) fn stop_deadline(&self) -> Option<std::time::Instant> {
        self.is_stopping.then(|| self.shared.instant(self.shared.stop_at_ms.load(Relaxed)))
    }
}
